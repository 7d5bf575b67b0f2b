//! Hosts: which of them can't be used at the moment, so that a dead one costs one wait and not one for each request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fetch::FetchError;
use crate::image::Timestamp;

/// Longest time that a host is not asked.
const DEAD_FOR_MAX: Duration = Duration::from_secs(600);

/// Failures on the side of a host that answers, after which it counts as dead.
const FAILURES_MAX: u32 = 3;

/// Tries that tell whether there is a way out at all.
const TRIES: usize = 5;

/// Hosts that are remembered.
const HOSTS_MAX: usize = 1000;

/// State of a host as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Host, with its port if it is not the usual one.
    pub host: String,
    /// Time since which it can't be used; `None` if it answers.
    pub dead_since: Option<Timestamp>,
    /// Its last failure, in words.
    pub words: Option<String>,
}

#[derive(Debug, Default)]
struct Host {
    dead_since: Option<Timestamp>,
    /// Not asked before this.
    until: Option<Instant>,
    failures: u32,
    words: Option<String>,
    /// Its answers are not waited for before this.
    slow_until: Option<Instant>,
}

/// Memory of hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    dead_for: Duration,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    hosts: BTreeMap<String, Host>,
    /// Ends of the last tries: the host, if it could not be reached.
    tries: VecDeque<Option<String>>,
    /// Time since which no host can be reached.
    cut_off: Option<Timestamp>,
    /// Next try of any host, while none can be reached.
    probe_at: Option<Instant>,
}

impl Hosts {
    pub(super) fn new(dead_for: Duration) -> Self {
        Self { dead_for, memory: Mutex::new(Memory::default()) }
    }

    /// Time for which a host is not asked after some failures: each doubles it.
    fn waits(&self, failures: u32) -> Duration {
        self.dead_for.saturating_mul(1 << failures.min(10)).min(DEAD_FOR_MAX.max(self.dead_for))
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells why a host is not asked at the moment; `None` if it may be.
    pub(super) fn barred(&self, host: &str) -> Option<String> {
        let mut memory = self.memory();
        let now = Instant::now();
        let known = memory.hosts.get(host);
        if let Some(known) = known.filter(|known| known.until.is_some_and(|until| now < until)) {
            let left = known.until.map_or(0, |until| (until - now).as_secs() + 1);
            return Some(format!("{}, and is asked again in {left} s", known.words.as_deref().unwrap_or_default()));
        }
        if memory.cut_off.is_some() {
            // One request now and then finds out whether the way out is back.
            if memory.probe_at.is_some_and(|at| now < at) {
                return Some("no server can be reached at the moment".to_owned());
            }
            memory.probe_at = Some(now + self.dead_for / 6);
        }
        None
    }

    /// Remembers that a host let a client wait as long as it may: until it answers, or for a while, copies of its files go out at once.
    pub(super) fn slow(&self, host: &str) {
        let until = Instant::now() + self.dead_for;
        self.memory().host(host).slow_until = Some(until);
    }

    /// Tells whether a host let a client wait lately.
    pub(super) fn is_slow(&self, host: &str) -> bool {
        let memory = self.memory();
        memory.hosts.get(host).and_then(|known| known.slow_until).is_some_and(|until| Instant::now() < until)
    }

    /// Remembers that a host answered, whatever it said.
    pub(super) fn answered(&self, host: &str) {
        let mut memory = self.memory();
        *memory.host(host) = Host::default();
        memory.note(None);
        memory.cut_off = None;
    }

    /// Remembers a failure of a host that answers: an error of its own, or too many requests. `pause` is what it asks for.
    pub(super) fn failed(&self, host: &str, words: String, pause: Option<Duration>, now: Timestamp) {
        let mut memory = self.memory();
        let known = memory.host(host);
        known.failures += 1;
        known.slow_until = None;
        known.words = Some(words);
        let again = known.failures.checked_sub(FAILURES_MAX).map(|more| self.waits(more));
        if let Some(pause) = pause.or(again) {
            known.dead_since = known.dead_since.or(Some(now));
            known.until = Some(Instant::now() + pause);
        }
        memory.note(None);
        memory.cut_off = None;
    }

    /// Remembers that a host could not be reached. Each failure after a wait doubles the next one.
    pub(super) fn unreached(&self, host: &str, error: &FetchError, now: Timestamp) {
        let mut memory = self.memory();
        let known = memory.host(host);
        // Requests that were on their way together are one failure.
        if known.until.is_none_or(|until| until <= Instant::now()) {
            known.until = Some(Instant::now() + self.waits(known.failures));
            known.failures += 1;
        }
        known.dead_since = known.dead_since.or(Some(now));
        known.words = Some(error.words().into_owned());
        memory.note(Some(host.to_owned()));
        let all_dead = memory.tries.len() == TRIES && memory.tries.iter().all(Option::is_some);
        let several = memory.tries.iter().flatten().any(|other| other != host);
        if all_dead && several && memory.cut_off.is_none() {
            memory.cut_off = Some(now);
            memory.probe_at = Some(Instant::now() + self.dead_for / 6);
        }
    }

    /// Time since which no host can be reached.
    pub(super) fn cut_off(&self) -> Option<Timestamp> {
        self.memory().cut_off
    }

    /// Number of hosts that have not answered since they were found dead.
    pub(super) fn dead(&self) -> u64 {
        self.memory().hosts.values().filter(|host| host.dead_since.is_some()).count() as u64
    }

    pub(super) fn views(&self) -> Vec<HostView> {
        let memory = self.memory();
        let view = |(host, known): (&String, &Host)| HostView {
            host: host.clone(),
            dead_since: known.dead_since,
            words: known.words.clone(),
        };
        memory.hosts.iter().map(view).collect()
    }
}

impl Memory {
    fn host(&mut self, host: &str) -> &mut Host {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(host) {
            self.hosts.pop_first();
        }
        self.hosts.entry(host.to_owned()).or_default()
    }

    fn note(&mut self, dead: Option<String>) {
        self.tries.push_back(dead);
        while self.tries.len() > TRIES {
            self.tries.pop_front();
        }
    }
}

/// Tells whether a failure means that a host can't be reached, rather than that it answered badly.
pub(super) fn is_dead(error: &FetchError) -> bool {
    matches!(error, FetchError::Unreached(_) | FetchError::TimedOut(_) | FetchError::Failing(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreached() -> FetchError {
        FetchError::Unreached("x".into())
    }

    #[test]
    fn a_dead_host_is_left_alone_for_a_while_and_an_answer_clears_it() {
        let hosts = Hosts::new(Duration::from_millis(40));
        assert_eq!(hosts.barred("a"), None);
        hosts.unreached("a", &unreached(), Timestamp(7));
        assert!(hosts.barred("a").unwrap().contains("can't be reached"));
        assert_eq!((hosts.barred("b"), hosts.dead()), (None, 1));
        assert_eq!(hosts.views()[0].dead_since, Some(Timestamp(7)));
        std::thread::sleep(Duration::from_millis(45));
        assert_eq!(hosts.barred("a"), None, "the time is over");
        hosts.unreached("a", &unreached(), Timestamp(9));
        std::thread::sleep(Duration::from_millis(45));
        assert!(hosts.barred("a").is_some(), "the second wait is longer");
        hosts.answered("a");
        assert_eq!((hosts.barred("a"), hosts.dead()), (None, 0));
    }

    #[test]
    fn errors_of_a_host_that_answers_count_and_its_own_pause_holds() {
        let hosts = Hosts::new(Duration::from_secs(60));
        for _ in 0..2 {
            hosts.failed("a", "answers with status 503".into(), None, Timestamp(1));
            assert_eq!(hosts.barred("a"), None);
        }
        hosts.failed("a", "answers with status 503".into(), None, Timestamp(1));
        assert!(hosts.barred("a").is_some());
        hosts.failed("b", "answers with status 429".into(), Some(Duration::from_secs(9)), Timestamp(1));
        assert!(hosts.barred("b").is_some());
    }

    #[test]
    fn when_all_hosts_are_dead_no_other_is_tried_but_now_and_then() {
        let hosts = Hosts::new(Duration::from_millis(300));
        for host in ["a", "b", "c", "d"] {
            hosts.unreached(host, &unreached(), Timestamp(1));
            assert_eq!(hosts.cut_off(), None);
        }
        hosts.unreached("e", &unreached(), Timestamp(5));
        assert_eq!(hosts.cut_off(), Some(Timestamp(5)));
        assert!(hosts.barred("f").is_some());
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(hosts.barred("f"), None, "a probe");
        assert!(hosts.barred("g").is_some(), "and one only");
        hosts.answered("f");
        assert_eq!((hosts.cut_off(), hosts.barred("g")), (None, None));
    }
}
