//! Kills at random moments, while a server fills its cache from others that cut their answers and change their files: each time it is
//! started anew on the same directory, and at the end all files are there, and no other.
//!
//! `VISOR_CACHE_KILLS` is the number of kills, and `VISOR_CACHE_SEED` makes the choices of an earlier run again.

mod shelf;
mod subject;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use self::shelf::{check, unaccounted};
use self::subject::{Subject, Sums, date};
use super::{NEAR, Reading, configuration};
use crate::harness::{Server, eventually, noise};
use crate::upstream::{File, Upstream};

/// Servers that files come from: each gives four of them at once.
const UPSTREAMS: usize = 4;

/// Files of a directory.
const FILES: usize = 20;

/// Clients that read at once.
const CLIENTS: u64 = 8;

/// Most kills on one directory. Then its files are there, and another one begins.
const KILLS_OF_ONE: u64 = 16;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Choices that another run can make again.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    /// A number below a bound.
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = noise(self.0, 8).into_iter().fold(0, |number, byte| (number << 8) | u64::from(byte));
        self.0 % below
    }
}

#[test]
fn no_wrong_byte_and_no_file_is_left_by_kills() {
    let kills = number("VISOR_CACHE_KILLS").unwrap_or(6);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("VISOR_CACHE_SEED").unwrap_or_else(now);
    eprintln!("VISOR_CACHE_SEED={seed}");
    let (mut dice, mut left, mut served) = (Dice(seed), kills, 0);
    while left > 0 {
        let of_this = left.min(KILLS_OF_ONE);
        served += Directory::new(dice.clone()).run(of_this);
        left -= of_this;
        dice.roll(2);
        eprintln!("{} of {kills} kills, {served} answers with bytes", kills - left);
    }
    assert!(served > 0, "the clients had something");
}

/// A directory of a cache, and the files that come into it.
struct Directory {
    dice: Dice,
    data: tempfile::TempDir,
    config: tempfile::NamedTempFile,
    upstreams: Vec<Upstream>,
    subjects: Vec<Subject>,
}

impl Directory {
    fn new(mut dice: Dice) -> Self {
        let upstreams: Vec<_> = (0..UPSTREAMS).map(|_| Upstream::start()).collect();
        let subjects: Vec<_> = (0..FILES).map(|number| Subject::new(number, &mut dice)).collect();
        let this = Self { dice, data: tempfile::tempdir().unwrap(), config: configuration(""), upstreams, subjects };
        this.subjects.iter().for_each(|subject| this.publish(subject));
        this
    }

    /// Puts a file on its server, and the sums beside it.
    fn publish(&self, subject: &Subject) {
        let of_place = || self.subjects.iter().filter(|other| other.place() == subject.place());
        let lines: String = of_place().filter_map(Subject::sum).collect();
        let changes = of_place().map(|other| other.versions.len()).sum();
        let upstream = self.upstream(subject);
        upstream.put(subject.path(), subject.file());
        if subject.sums != Sums::Missing {
            upstream.put(&subject.path_of_sums(), File { modified: Some(date(changes)), ..File::new(lines) });
        }
    }

    fn upstream(&self, subject: &Subject) -> &Upstream {
        &self.upstreams[subject.upstream]
    }

    fn cache(&self) -> std::path::PathBuf {
        self.data.path().join("data/cache")
    }

    fn start(&self) -> Server {
        let config = ["--config", self.config.path().to_str().unwrap()];
        Server::on(&self.data.path().join("data"), &[&config, &NEAR[..]].concat())
    }

    /// Kills so often, and then waits for all files. Returns the number of answers that had bytes of one.
    fn run(mut self, kills: u64) -> usize {
        let mut served = 0;
        for _ in 0..kills {
            if self.dice.roll(2) == 0 {
                self.change_one();
            }
            served += self.kill_once();
            self.check_disk();
        }
        self.finish();
        served
    }

    /// Another content for a file, while no server runs.
    fn change_one(&mut self) {
        let changed = self.dice.roll(FILES as u64) as usize;
        self.subjects[changed].change(&mut self.dice);
        self.publish(&self.subjects[changed]);
    }

    /// Starts a server, reads from it, and kills it. Returns the number of answers that had bytes of a file.
    fn kill_once(&mut self) -> usize {
        let server = self.start();
        let address = server.address().to_owned();
        // Most of them when bytes are coming, which takes its time on a machine that is busy.
        let wait = self.dice.roll(4) > 0;
        let moment = Duration::from_millis(self.dice.roll(700));
        let dices: Vec<_> = (0..CLIENTS).map(|client| Dice(self.dice.0 ^ client)).collect();
        let (killed, served, mut log) = (AtomicBool::new(false), AtomicUsize::new(0), String::new());
        let this = &*self;
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let clients: Vec<_> = dices
                .into_iter()
                .map(|dice| {
                    let (address, killed, served) = (&address, &killed, &served);
                    scope.spawn(move || this.read_until_killed(address, dice, killed, served))
                })
                .collect();
            if wait {
                eventually("an answer", || served.load(Ordering::SeqCst) > 0);
            }
            std::thread::sleep(moment);
            log.push_str(&server.log());
            killed.store(true, Ordering::SeqCst);
            server.kill();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let mut whole = Vec::new();
        for outcome in outcomes {
            whole.extend(outcome.unwrap_or_else(|fault| panic!("{fault}\n{log}")));
        }
        for (number, version) in &whole {
            let subject = &mut self.subjects[*number];
            assert!(*version >= subject.seen, "{} went back to an older content\n{log}", subject.path());
        }
        for (number, version) in &whole {
            let subject = &mut self.subjects[*number];
            subject.seen = subject.seen.max(*version);
        }
        served.into_inner()
    }

    /// Reads files until the server is gone. Returns which versions of which files came whole.
    fn read_until_killed(
        &self,
        address: &str,
        mut dice: Dice,
        killed: &AtomicBool,
        served: &AtomicUsize,
    ) -> Result<Vec<(usize, usize)>, String> {
        let mut whole = Vec::new();
        loop {
            let number = dice.roll(FILES as u64) as usize;
            let subject = &self.subjects[number];
            let headers = subject.request(&mut dice);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reading = Reading::attempt(address, &self.upstream(subject).door(subject.path()), &headers);
            match reading.map(Reading::finish) {
                Ok(outcome) => {
                    whole.extend(subject.judge(&outcome)?.map(|version| (number, version)));
                    let is_served = outcome.status < 400 && !outcome.body.is_empty();
                    served.fetch_add(usize::from(is_served), Ordering::SeqCst);
                }
                Err(_) if killed.load(Ordering::SeqCst) => return Ok(whole),
                Err(words) => return Err(format!("{}: {words}", subject.path())),
            }
        }
    }

    /// Holds what a killed server left to the contents of the files.
    fn check_disk(&self) {
        let url_of = |subject: &Subject| self.upstream(subject).url(subject.path());
        let versions = |url: &str| self.subjects.iter().find(|subject| url_of(subject) == url);
        check(&self.cache(), |url| versions(url).map(|subject| &*subject.versions));
    }

    /// Waits for all files.
    fn finish(self) {
        for subject in &self.subjects {
            let calm = |file: &mut File| (file.rate, file.cuts) = (None, Vec::new());
            self.upstream(subject).change(subject.path(), calm);
        }
        // Sums that changed a moment ago are not asked for again at once, and files that differ from them neither.
        let mut server = self.start();
        for round in 0.. {
            let missing: Vec<_> = self.subjects.iter().filter(|subject| !self.is_right(subject, &server)).collect();
            if missing.is_empty() {
                break;
            }
            let paths: Vec<_> = missing.iter().map(|subject| subject.path()).collect();
            assert!(round < 12, "these do not come: {paths:?}\n{}", server.log());
            std::thread::sleep(Duration::from_secs(1));
            server.kill();
            self.check_disk();
            server = self.start();
        }
        let cache = self.cache();
        eventually("each file of the cache is accounted for", || unaccounted(&cache).is_empty());
        server.kill();
        let server = self.start();
        assert_eq!(unaccounted(&cache), [""; 0], "a start removes what it does not need");
        let quarantined = std::fs::read_dir(cache.join("quarantine")).unwrap().count();
        assert!(quarantined >= 2, "bytes that did not fit their sums are put away");
        self.check_disk();
        server.kill();
    }

    /// Tells whether a file is served whole; of one that never fits its sums, whether it is refused.
    fn is_right(&self, subject: &Subject, server: &Server) -> bool {
        let door = self.upstream(subject).door(subject.path());
        let outcome = Reading::begin(server, &door, &[]).finish();
        let whole = subject.judge(&outcome).unwrap_or_else(|fault| panic!("{fault}\n{}", server.log()));
        whole.is_some() != (subject.sums == Sums::Wrong)
    }
}
