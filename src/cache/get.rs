//! Requests of clients: from what is here, from what is coming, or by beginning to fetch.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::ahead;
use super::core::{Cache, Refreshed};
use super::entry::{Entry, Head};
use super::fill::{End, Fill, FillState, Reader, TRANSFERS_MAX, Terms};
use super::fresh::{self, ASKED_LATELY_US, AgeState};
use super::key::Key;
use super::refresh::Asking;
use super::route::refusal;
use super::served::{Freshness, Lookup, Outcome, Served, Supply};
use super::shelf::Shelved;
use super::trouble::Setback;
use super::verify::{self, Passed};
use crate::error::{Error, Kind, Reason, Result};
use crate::fetch::Exchange;
use crate::vendor::{Level, is_moving};

const MINUTE_US: i64 = 60_000_000;

/// An older index in the place of one that is held back.
const AHEAD: Outcome = Outcome::Stale { detail: "upstream-differs" };

/// End of a wait for the head of a transfer.
enum Begun {
    Head(Arc<Head>),
    Ended(End),
}

impl Cache {
    /// Answers a request for a key.
    ///
    /// # Errors
    /// `UrlNotFound`; `Offline` and `NotCached` for what is not here; `UpstreamDead`, `VendorMismatch`, `WeakerThanRequired`; `CacheLoop`.
    pub async fn get(self: &Arc<Self>, key: &Key, lookup: &Lookup) -> Result<Served> {
        let answer = self.answer_for(key, lookup).await;
        self.counters.request(answer.as_ref().map_or("refused", |served| served.outcome.word()));
        answer
    }

    /// Answers a request by the entry of a key, or the transfer that makes it.
    pub(super) async fn answer(self: &Arc<Self>, key: &Key, lookup: &Lookup) -> Result<Served> {
        let document = fresh::is_document(key);
        let require = self.demanded(key, lookup);
        let held = self.usable(key);
        // A newer list says that a moving name stands for other bytes: until those are here, the older ones do.
        let mut fallback =
            self.held(key).filter(|old| is_moving(key.url()) && old.see(|entry| self.reached(key, entry)) >= require);
        let mut fill = None;
        if let Some(held) = &held {
            self.demand(key, held, require).await?;
            match self.choose(key, held, lookup).await? {
                Choice::Serve(outcome) => return Ok(self.serve(held, outcome)),
                Choice::Follow(following) => fill = Some(following),
            }
            fallback = Some(Arc::clone(held));
        }
        for _ in 0..TRANSFERS_MAX {
            let (reader, outcome) = match fill.take() {
                Some(fill) => (fill.reader(), Outcome::Fill),
                None => match self.begin(key, lookup, document, require).await {
                    Ok(Beginning::Served(served)) => return Ok(*served),
                    Ok(Beginning::Reader(reader, outcome)) => (reader, outcome),
                    Err(error) => return self.instead(fallback, error.into()),
                },
            };
            match begun(&reader.0, self.settings.patience).await? {
                Begun::Head(head) => return Ok(self.following(reader, &head, outcome, require)),
                Begun::Ended(End::Done(Some(held))) => {
                    self.demand(key, &held, require).await?;
                    let is_older = held.see(|entry| entry.ahead.is_some());
                    return Ok(self.serve(&held, if is_older { AHEAD } else { outcome }));
                }
                Begun::Ended(End::Done(None) | End::Replaced) => {}
                Begun::Ended(End::Failed(failure)) if failure.reason == Reason::Interrupted => {}
                Begun::Ended(End::Failed(failure)) => return self.instead(fallback, failure),
            }
        }
        Err(Reason::UpstreamChanged.about(key.shown()))
    }

    /// Level that the bytes of a key have to reach for a request.
    pub(super) fn demanded(&self, key: &Key, lookup: &Lookup) -> Level {
        let floor = if fresh::is_document(key) { Level::None } else { self.required(key) };
        lookup.require.unwrap_or(floor).max(floor)
    }

    /// Refuses a request that comes back to this server.
    pub(super) fn refuse_loop(&self, key: &Key, lookup: &Lookup) -> Result<()> {
        match lookup.via.iter().any(|via| via.contains(self.via.trim_start_matches("1.1 "))) {
            true => Err(Reason::CacheLoop.about(key.shown())),
            false => Ok(()),
        }
    }

    /// Tells whether the operator opens the cache to clients of which nothing is known.
    pub fn is_public(&self) -> bool {
        self.settings.public
    }

    /// Checks that a key is for clients of which nothing is known: its host is listed, or it is a vendor's.
    ///
    /// # Errors
    /// `HostNotServed`.
    pub fn serves_all(&self, key: &Key) -> Result<()> {
        let is_listed = || self.settings.hosts.iter().any(|host| host.eq_ignore_ascii_case(key.host()));
        match self.settings.public && (is_listed() || self.prover.require(key.url()).is_some()) {
            true => Ok(()),
            false => Err(Reason::HostNotServed.about(key.host())),
        }
    }

    /// Whole content of a key, unless a document says by now that it has to be another one.
    pub(super) fn usable(&self, key: &Key) -> Option<Arc<Shelved>> {
        let held = self.held(key)?;
        let entry = held.entry();
        let is_contradicted = self.learned(key).is_some_and(|learned| {
            let known: Vec<_> = learned.sums.iter().filter(|sum| entry.sum(sum.algorithm()).is_some()).collect();
            !known.is_empty() && known.iter().any(|sum| entry.sum(sum.algorithm()) != Some(sum))
        });
        (!is_contradicted).then_some(held)
    }

    /// Level that an entry has for every client: a digest that one caller gave says nothing to others where the vendor has its own.
    pub(super) fn reached(&self, key: &Key, entry: &Entry) -> Level {
        let is_givers = entry.evidence.level == Level::Given && self.prover.require(key.url()).is_some();
        if is_givers { Level::Tls } else { entry.evidence.level }
    }

    /// Demands a level of what is here, which may reach it by documents that are there now.
    pub(super) async fn demand(&self, key: &Key, held: &Arc<Shelved>, require: Level) -> Result<()> {
        let entry = held.entry();
        if self.reached(key, &entry) >= require {
            return Ok(());
        }
        if self.offline.since().is_none()
            && let Some(expectation) = self.expected(key, false).await?
            && let Passed::As(evidence, expected) = self.compare(held, &expectation).await?
            && evidence.level >= require
        {
            return self.reach(held, evidence, expected).await;
        }
        Err(verify::unverified(key, require, &entry.evidence))
    }

    /// Chooses between what is here and a question to its server.
    async fn choose(self: &Arc<Self>, key: &Key, held: &Arc<Shelved>, lookup: &Lookup) -> Result<Choice> {
        let entry = held.entry();
        let now = self.now();
        let state = fresh::state(&entry, key, now);
        let insists = lookup.freshness == Freshness::Revalidate && now.0 - entry.checked_at > ASKED_LATELY_US;
        let outcome = match state {
            _ if self.offline.since().is_some() => Some(Outcome::Offline),
            AgeState::Immutable => Some(Outcome::Hit { ttl: None }),
            AgeState::Fresh(ttl) if !insists => Some(Outcome::Hit { ttl: Some(ttl) }),
            _ if lookup.freshness == Freshness::OnlyIfCached => Some(Outcome::Stale { detail: "only-if-cached" }),
            _ if ahead::is_paused(&entry, now) => Some(AHEAD),
            // Documents that must be current are asked for, come what may.
            _ if self.hosts.is_slow(key.host()) && !entry.head.must_revalidate => {
                Some(Outcome::Stale { detail: "upstream-slow" })
            }
            _ => self.quiet(key).map(|failure| Outcome::Stale { detail: stale_for(&failure) }),
        };
        if let Some(outcome) = outcome {
            return Ok(Choice::Serve(outcome));
        }
        let within = self.settings.stale_after;
        let asking = Asking { via: lookup.chain(), is_contradicted: false };
        match self.refreshed(key, held, within, asking).await {
            Refreshed::Current => Ok(Choice::Serve(Outcome::Revalidated)),
            Refreshed::Changed(fill) if !entry.head.must_revalidate && !self.is_judged(&fill, within).await => {
                Ok(Choice::Serve(Outcome::Stale { detail: "upstream-slow" }))
            }
            Refreshed::Changed(fill) => Ok(Choice::Follow(fill)),
            Refreshed::Unknown(_, failure)
                if entry.document && entry.head.must_revalidate && self.hosts.cut_off().is_none() =>
            {
                Err(failure.into())
            }
            Refreshed::Unknown(detail, _) => Ok(Choice::Serve(Outcome::Stale { detail })),
        }
    }

    /// Joins or begins the transfer of a key; or serves what can be without one.
    async fn begin(self: &Arc<Self>, key: &Key, lookup: &Lookup, document: bool, require: Level) -> Result<Beginning> {
        let running = self.slot(key, |slot| slot.fill.as_ref().map(Fill::reader));
        if let Some(reader) = running {
            return Ok(Beginning::Reader(reader, Outcome::Follow));
        }
        if let Some(error) = self.not_here(key) {
            return Err(error);
        }
        if lookup.freshness == Freshness::OnlyIfCached {
            return Err(Reason::NotCached.about(key.shown()));
        }
        if let Some(failure) = self.quiet(key) {
            return Err(failure.into());
        }
        if let Some(expectation) = self.learned(key).filter(|learned| learned.evidence.level >= require)
            && let Some(held) = self.adopt(key, &expectation).await
        {
            self.demand(key, &held, require).await?;
            return Ok(Beginning::Served(Box::new(self.serve(&held, Outcome::Hit { ttl: None }))));
        }
        if let Some(held) = self.corrected(key).await? {
            self.demand(key, &held, require).await?;
            return Ok(Beginning::Served(Box::new(self.serve(&held, Outcome::Hit { ttl: None }))));
        }
        if lookup.head {
            return Ok(Beginning::Served(Box::new(self.head(key, lookup).await?)));
        }
        let terms = Terms { via: lookup.chain(), ..self.terms(key, document) };
        let (fill, is_new) = self.start(key, &terms, None)?;
        Ok(Beginning::Reader(fill.reader(), if is_new { Outcome::Fill } else { Outcome::Follow }))
    }

    /// The head of what is not here, from its server.
    async fn head(self: &Arc<Self>, key: &Key, lookup: &Lookup) -> Result<Served> {
        let shape = Exchange { head: true, via: lookup.chain(), ..Exchange::default() };
        let mut answer = self.ask(key, &shape, false, false).await?;
        if matches!(answer.exchanged.status, 405 | 501) {
            answer = self.ask(key, &Exchange { head: false, ..shape }, false, false).await?;
        }
        if answer.exchanged.status != 200 {
            return Err(refusal(key, &answer));
        }
        let head = fresh::head_of(&answer.exchanged);
        Ok(served_head(key, &head, Outcome::Passed, Supply::Nowhere))
    }

    fn following(self: &Arc<Self>, reader: Reader, head: &Head, outcome: Outcome, require: Level) -> Served {
        let key = reader.0.key.clone();
        let size = reader.0.state.borrow().length;
        Served { size, ..served_head(&key, head, outcome, Supply::Fill(Arc::clone(self), reader, require)) }
    }

    /// Answers with a whole content, and remembers that it was used.
    pub(super) fn serve(self: &Arc<Self>, held: &Arc<Shelved>, outcome: Outcome) -> Served {
        let entry = held.entry();
        let now = self.now().0;
        if now - entry.used_at >= MINUTE_US {
            let held = Arc::clone(held);
            spawn_blocking(move || {
                if let Err(error) = held.change(|entry| entry.used_at = now) {
                    log::warn!("the use of a file of the cache can't be written down: {error}");
                }
            });
        }
        let here = Duration::from_micros(u64::try_from(now - entry.checked_at).unwrap_or(0));
        let age = here + Duration::from_secs(entry.head.age.unwrap_or(0));
        let etag = entry.etag();
        let Entry { head, size, evidence, .. } = entry;
        Served {
            size: Some(size),
            etag,
            last_modified: head.last_modified,
            content_type: head.content_type,
            age,
            outcome,
            level: evidence.level,
            words: evidence.words,
            source: Supply::Held(Arc::clone(self), Arc::clone(held)),
        }
    }

    /// Answers with the copy that a failed transfer was to replace, if there is one.
    pub(super) fn instead(self: &Arc<Self>, fallback: Option<Arc<Shelved>>, failure: Setback) -> Result<Served> {
        match fallback {
            Some(held) if self.offline.since().is_some() => Ok(self.serve(&held, Outcome::Offline)),
            Some(held) => Ok(self.serve(&held, Outcome::Stale { detail: "refresh-failed" })),
            None => Err(failure.into()),
        }
    }
}

/// Way to answer from a key that has a whole content.
enum Choice {
    Serve(Outcome),
    Follow(Arc<Fill>),
}

/// Way to answer without one.
enum Beginning {
    Served(Box<Served>),
    Reader(Reader, Outcome),
}

fn served_head(key: &Key, head: &Head, outcome: Outcome, source: Supply) -> Served {
    let evidence = verify::plain(key, head);
    Served {
        size: head.length,
        etag: head.etag.clone(),
        last_modified: head.last_modified.clone(),
        content_type: head.content_type.clone(),
        age: Duration::ZERO,
        outcome,
        level: evidence.level,
        words: "not verified yet".to_owned(),
        source,
    }
}

/// Word for a copy whose server is not asked again yet.
fn stale_for(failure: &Setback) -> &'static str {
    match failure.reason.kind() {
        Kind::Verification => "upstream-differs",
        Kind::NotFound => "upstream-gone",
        _ => "upstream-error",
    }
}

/// Waits for the head of a transfer.
async fn begun(fill: &Fill, patience: Duration) -> Result<Begun> {
    let mut state = fill.state.subscribe();
    let has_begun = |state: &FillState| state.end.is_some() || (state.head.is_some() && !state.closing);
    let late = |_| Reason::UpstreamDead.about(fill.key.shown()).and(format!("nothing of it came for {patience:?}"));
    let state = tokio::time::timeout(patience, state.wait_for(has_begun)).await.map_err(late)?;
    let state = state.map_err(Error::internal)?;
    match (&state.end, &state.head) {
        (Some(end), _) => Ok(Begun::Ended(end.clone())),
        (None, Some(head)) => Ok(Begun::Head(Arc::clone(head))),
        (None, None) => Err(Reason::Interrupted.into()),
    }
}
