//! Ways to a key's bytes: parents first, then mirrors, then the host itself; each with its own memory of failures.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::core::Cache;
use super::entry::Head;
use super::hosts::is_dead;
use super::key::Key;
use crate::error::{Error, Reason};
use crate::fetch::{Exchange, Exchanged, FetchError};
use crate::image::Timestamp;

/// Longest pause that a server gets when it asks for one.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Time for the head of an answer from the last place that is asked.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Time for the head of an answer while there are other places to ask.
const HEAD_WITHIN_BEFORE_OTHERS: Duration = Duration::from_secs(3);

/// Statuses by which a host says that it can't answer now.
const FAILING: [u16; 6] = [408, 429, 500, 502, 503, 504];

/// A place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) url: String,
    /// Host, for its memory.
    pub(super) host: String,
    /// True for a server like this one, which is told where the request comes from.
    pub(super) parent: bool,
}

impl Hop {
    /// Name for counters of bytes.
    pub(super) fn source(&self) -> &'static str {
        if self.parent { "parent" } else { "upstream" }
    }
}

/// Questions that are asked again because they were led to a server that can't be reached.
const REDIRECTS_AGAIN: u32 = 2;

/// A question without an answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: FetchError,
    /// Host that redirects led to, which is the one that failed.
    pub(super) led_to: Option<String>,
}

/// An answer, and where it came from.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) exchanged: Exchanged,
    pub(super) hop: Hop,
}

impl Cache {
    /// Places to ask for a key. A mirror without encryption is one only for bytes that a digest from elsewhere vouches for.
    pub(super) fn hops(&self, key: &Key, digest: bool) -> Vec<Hop> {
        let hop = |url: String, parent| Key::parse(&url).ok().map(|at| Hop { host: at.host().to_owned(), url, parent });
        let through = |parent: &String| {
            let url = format!("{}/cache/{}/{}{}", parent.trim_end_matches('/'), key.scheme(), key.host(), key.target());
            hop(url, true)
        };
        let mirrors = self.settings.mirrors.get(key.host()).into_iter().flatten();
        let mirrors = mirrors.filter(|mirror| digest || key.scheme() == "http" || mirror.starts_with("https://"));
        let mirrored =
            mirrors.filter_map(|mirror| hop(format!("{}{}", mirror.trim_end_matches('/'), key.target()), false));
        let own = Hop { url: key.url().to_owned(), host: key.host().to_owned(), parent: false };
        self.settings.parents.iter().filter_map(through).chain(mirrored).chain([own]).collect()
    }

    /// A place that answered earlier, after redirects.
    pub(super) fn hop_at(&self, url: &str) -> Option<Hop> {
        let parent = self.settings.parents.iter().any(|parent| url.starts_with(parent.trim_end_matches('/')));
        Key::parse(url).ok().map(|at| Hop { url: url.to_owned(), host: at.host().to_owned(), parent })
    }

    /// Host of the parent or mirror that the bytes of a key came from; `None` if it was the key's own.
    pub(super) fn stand_in(&self, key: &Key, head: &Head) -> Option<String> {
        let from = Key::parse(&head.url).ok()?;
        // The host itself is the last place.
        let mut others = self.hops(key, true).into_iter().rev().skip(1);
        // A redirect may have led from there to elsewhere, which the host's own answer can do too.
        others.find(|hop| hop.url == head.url || hop.host == from.host()).map(|hop| hop.host)
    }

    /// Asks the places for a key, one after the other, until one answers about it. `shape` has all of the request but its URL. With
    /// `insist`, places that failed lately are asked too.
    ///
    /// # Errors
    /// The failure of the last place.
    pub(super) async fn ask(&self, key: &Key, shape: &Exchange, digest: bool, insist: bool) -> Result<Answered, Error> {
        let hops = self.hops(key, digest);
        let mut last = None;
        for (at, hop) in hops.iter().enumerate() {
            let is_last = at + 1 == hops.len();
            if let Some(words) = self.hosts.barred(&hop.host).filter(|_| !insist) {
                let cut_off = self.hosts.cut_off().map(|since| offline_since(key, since));
                last = Some(cut_off.unwrap_or_else(|| self.dead(key, &format!("{} {words}", hop.host))));
                continue;
            }
            let within = if is_last { HEAD_WITHIN } else { HEAD_WITHIN_BEFORE_OTHERS };
            match self.ask_there(hop, shape, within).await {
                Ok(answer) if is_last || matches!(answer.exchanged.status, 200 | 206 | 304 | 416) => return Ok(answer),
                Ok(answer) => last = Some(refusal(key, &answer)),
                Err(failed) => last = Some(self.explain(key, failed)),
            }
        }
        Err(last.unwrap_or_else(|| self.dead(key, "there is no place to ask")))
    }

    /// Asks one place, and once more when it led to a server that can't be reached: it may have others to lead to.
    async fn ask_there(&self, hop: &Hop, shape: &Exchange, within: Duration) -> Result<Answered, Unanswered> {
        for _ in 0..REDIRECTS_AGAIN {
            match self.ask_at(hop, shape, within).await {
                Err(Unanswered { error: FetchError::Unreached(_), led_to: Some(_) }) => {}
                answer => return answer,
            }
        }
        self.ask_at(hop, shape, within).await
    }

    /// Asks one place, and remembers how that went. A parent is told which servers the request came through (RFC 9110, section 7.6.3).
    pub(super) async fn ask_at(&self, hop: &Hop, shape: &Exchange, within: Duration) -> Result<Answered, Unanswered> {
        if self.offline.since().is_some() {
            return Err(Unanswered { error: FetchError::Silent, led_to: None });
        }
        let chain = shape.via.as_deref().map_or_else(String::new, |before| format!("{before}, "));
        let via = hop.parent.then(|| format!("{chain}{}", self.via));
        let led_to = Arc::default();
        let exchange = Exchange {
            url: hop.url.clone(),
            via,
            head_within: Some(within),
            led_to: Arc::clone(&led_to),
            ..shape.clone()
        };
        let fetcher = if hop.parent { &self.to_parents } else { &self.fetcher };
        match fetcher.exchange(&exchange).await {
            Ok(exchanged) if FAILING.contains(&exchanged.status) => {
                self.counters.failure(&hop.host, "status");
                let words = format!("answers with status {}", exchanged.status);
                self.hosts.failed(
                    &hop.host,
                    words,
                    exchanged.told.pause().map(|pause| pause.min(PAUSE_MAX)),
                    self.now(),
                );
                Ok(Answered { exchanged, hop: hop.clone() })
            }
            Ok(exchanged) => {
                self.hosts.answered(&hop.host);
                Ok(Answered { exchanged, hop: hop.clone() })
            }
            Err(error) => {
                // The place that answered with a redirect is not to blame for the one that it led to.
                let led_to = led_to.lock().unwrap_or_else(PoisonError::into_inner).take();
                let led_to = led_to.and_then(|url| Some(Key::parse(&url).ok()?.host().to_owned()));
                let host = led_to.as_ref().unwrap_or(&hop.host);
                self.counters.failure(host, if is_dead(&error) { "unreached" } else { "other" });
                if is_dead(&error) {
                    self.hosts.unreached(host, &error, self.now());
                }
                if led_to.is_some() {
                    self.hosts.answered(&hop.host);
                }
                Err(Unanswered { error, led_to })
            }
        }
    }

    /// The error for a place that gave no answer.
    pub(super) fn explain(&self, key: &Key, failed: Unanswered) -> Error {
        let Unanswered { error, led_to } = failed;
        match (is_dead(&error), led_to) {
            (true, led_to) => {
                let host = led_to.as_deref().unwrap_or(key.host());
                self.dead(key, &format!("{host} {}", error.words())).because(error)
            }
            (false, Some(host)) => error.of_server(&host),
            (false, None) => error.of_url(key.url()),
        }
    }

    fn dead(&self, key: &Key, words: &str) -> Error {
        Reason::UpstreamDead.about(key.shown()).and(words)
    }

    /// The error for what is not here while nothing is sent.
    pub(super) fn not_here(&self, key: &Key) -> Option<Error> {
        self.offline.since().map(|since| offline_since(key, since))
    }
}

/// The error for what is not here, of a server that sends nothing or reaches no other since a time.
fn offline_since(key: &Key, since: Timestamp) -> Error {
    let time = jiff::Timestamp::from_microsecond(since.0).unwrap_or_default();
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    Reason::Offline.about(key.shown()).and(local.strftime("%H:%M"))
}

/// The error for an answer without the bytes.
pub(super) fn refusal(key: &Key, answer: &Answered) -> Error {
    match answer.exchanged.status {
        404 | 410 => Reason::UrlNotFound.saying(format!("There is nothing under {}.", key.shown())),
        status if FAILING.contains(&status) => {
            Reason::UpstreamDead.about(key.shown()).and(format!("{} answers with status {status}", answer.hop.host))
        }
        status => {
            Reason::Upstream.saying(format!("{} answers with status {status} for {}.", answer.hop.host, key.shown()))
        }
    }
}

/// The error for a page in the place of a file: some servers answer so, with 200, in the place of an error.
pub(super) fn page(key: &Key, answer: &Answered) -> Error {
    Reason::Upstream.saying(format!("{} sends a page of text in place of {}.", answer.hop.host, key.shown()))
}
