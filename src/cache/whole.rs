//! Whole files for this program itself: pulls, documents, and comparisons with what is expected of a file that is here.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::ahead;
use super::core::{Cache, Refreshed};
use super::fill::{End, Fill, Reader, TRANSFERS_MAX, Terms};
use super::fresh::{self, ASKED_LATELY_US, AgeState};
use super::hash::Lanes;
use super::key::Key;
use super::refresh::Asking;
use super::route::HEAD_WITHIN;
use super::served::Freshness;
use super::shelf::Shelved;
use super::standing::ANSWER_WITHIN;
use super::trouble::Setback;
use super::verify::{self, Passed};
use crate::digest::Digests;
use crate::error::{Error, Reason, Result};
use crate::vendor::{Evidence, Expectation, Level, Sum, is_moving};

/// State of a file that is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bringing {
    /// It waits for other transfers to end.
    Waiting,
    /// Bytes are coming.
    Filling {
        /// Bytes that are here.
        bytes: u64,
        /// Bytes of all, if that is known.
        of: Option<u64>,
    },
    /// All bytes are here, and are being compared with what is expected.
    Verifying,
}

/// A whole file, which stays where it is as long as this lives.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Key that was asked for.
    pub key: Key,
    /// Place of the bytes, after redirects.
    pub final_url: String,
    /// The file. It may be linked to, and is never written to.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// MD5 and SHA-256 at least.
    pub digests: Digests,
    /// Digests that were expected, and the evidence for the level that was reached.
    pub expectation: Expectation,
    /// `Content-Type` of its server.
    pub content_type: Option<String>,
    /// `Last-Modified` of its server.
    pub last_modified: Option<String>,
    /// Keeps the file from being removed.
    #[expect(dead_code, reason = "its end is what it is for")]
    held: Arc<Shelved>,
}

/// Use of servers for a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are asked for what is missing.
    Usual,
    /// They are asked whether what is here is current.
    Anew,
    /// None is asked.
    OnlyHere,
}

/// Terms of a whole file.
pub(super) struct Want<'a> {
    pub(super) terms: Terms,
    pub(super) mode: Mode,
    /// Time to wait for the answer whether a copy is current.
    pub(super) within: Duration,
    pub(super) seen: &'a (dyn Fn(Bringing) + Send + Sync),
}

impl Cache {
    /// Brings all bytes of a key, verified. Dropping the future leaves the transfer running.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn bring(
        self: &Arc<Self>,
        key: &Key,
        expect: Option<Expectation>,
        require: Level,
        seen: &(dyn Fn(Bringing) + Send + Sync),
    ) -> Result<Whole> {
        self.bring_by(key, expect, require, Mode::Usual, seen).await
    }

    /// Gives all bytes of a key that are here, verified; no server is asked.
    ///
    /// # Errors
    /// `NotCached` when they are not here; as [`Cache::bring`].
    pub async fn bring_here(
        self: &Arc<Self>,
        key: &Key,
        expect: Option<Expectation>,
        require: Level,
        seen: &(dyn Fn(Bringing) + Send + Sync),
    ) -> Result<Whole> {
        self.bring_by(key, expect, require, Mode::OnlyHere, seen).await
    }

    /// Asks the server of a key whether its entry is current, and brings the bytes if not.
    ///
    /// # Errors
    /// As [`Cache::bring`]; and `UpstreamDead` when it can't be asked.
    pub async fn refresh(self: &Arc<Self>, key: &Key) -> Result<Whole> {
        self.bring_by(key, None, self.required(key), Mode::Anew, &|_| {}).await
    }

    async fn bring_by(
        self: &Arc<Self>,
        key: &Key,
        given: Option<Expectation>,
        require: Level,
        mode: Mode,
        seen: &(dyn Fn(Bringing) + Send + Sync),
    ) -> Result<Whole> {
        let is_silent = mode == Mode::OnlyHere || self.offline.since().is_some();
        let source = match is_silent {
            true => self.answering(key),
            false => {
                self.build_of(key, Freshness::Revalidate, ANSWER_WITHIN).await.map_or(key.clone(), |build| build.key)
            }
        };
        let (asked, key) = (key, &source);
        let document = given.is_none() && fresh::is_document(key);
        let usual = self.terms(key, document);
        let is_given = given.is_some();
        // The transfer may serve others too, who demand the usual level.
        let terms = Terms { given, require: usual.require.min(require), ..usual };
        let want = Want { terms, mode, within: HEAD_WITHIN, seen };
        let held = self.whole(key, &want).await?;
        let entry = held.entry();
        if !is_given || entry.evidence.level < require {
            self.demand(key, &held, require).await?;
        }
        let entry = held.entry();
        Ok(Whole {
            key: asked.clone(),
            final_url: entry.head.url.clone(),
            path: held.path(),
            size: entry.size,
            digests: entry.digests(),
            expectation: entry.expectation(),
            content_type: entry.head.content_type.clone(),
            last_modified: entry.head.last_modified.clone(),
            held,
        })
    }

    /// A whole content: the one that is here if it will do, or one that is brought.
    pub(super) async fn whole(self: &Arc<Self>, key: &Key, want: &Want<'_>) -> Result<Arc<Shelved>> {
        let mut reader = match self.from_here(key, want).await? {
            Ok(held) => return Ok(held),
            Err(_) if want.mode == Mode::OnlyHere => return Err(Reason::NotCached.about(key.shown())),
            Err(changed) => changed.map(|fill| fill.reader()),
        };
        for _ in 0..TRANSFERS_MAX {
            let following = match reader.take() {
                Some(reader) => reader,
                None => {
                    if let Some(error) = self.not_here(key) {
                        let older = self.held(key).filter(|_| want.terms.given.is_none() && is_moving(key.url()));
                        return older.filter(|_| want.mode != Mode::Anew).ok_or(error);
                    }
                    if let Some(failure) = self.quiet(key).filter(|_| want.terms.document && want.mode != Mode::Anew) {
                        return Err(failure.into());
                    }
                    if want.terms.given.is_none()
                        && let Some(held) = self.corrected(key).await?
                    {
                        return Ok(held);
                    }
                    self.start(key, &want.terms, None)?.0.reader()
                }
            };
            let given = want.terms.given.as_ref();
            let held = match ended(&following, want.seen).await? {
                End::Done(Some(held)) => held,
                End::Failed(failure) if failure.reason == Reason::WeakerThanRequired && want.mode != Mode::Anew => {
                    self.held(key).ok_or_else(|| Error::from(failure))?
                }
                End::Failed(failure) if failure.reason != Reason::Interrupted => {
                    // Bytes that the vendor's documents do not vouch for may be those that the caller means.
                    let Some(given) = given else { return Err(failure.into()) };
                    return self.adopt(key, given).await.ok_or_else(|| failure.into());
                }
                End::Done(None) => return Err(Reason::Upstream.saying(format!("{} is not for keeping.", key.shown()))),
                End::Failed(_) | End::Replaced => continue,
            };
            return match given {
                None => Ok(held),
                Some(given) => self.met(key, &held, given).await,
            };
        }
        Err(Reason::UpstreamChanged.about(key.shown()))
    }

    /// The content that is here, if it will do; or else the transfer that brings another content already.
    async fn from_here(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
    ) -> Result<Result<Arc<Shelved>, Option<Arc<Fill>>>> {
        if let Some(given) = &want.terms.given {
            return self.given_from_here(key, want, given).await;
        }
        let Some(held) = self.usable(key) else { return Ok(Err(None)) };
        let (entry, now) = (held.entry(), self.now());
        let is_new = now.0 - entry.checked_at <= ASKED_LATELY_US;
        let will_do = fresh::state(&entry, key, now) != AgeState::Stale && want.mode != Mode::Anew;
        if will_do
            || is_new
            || want.mode == Mode::OnlyHere
            || ahead::is_paused(&entry, now)
            || (self.offline.since().is_some() && want.mode != Mode::Anew)
        {
            return Ok(Ok(held));
        }
        match self.refreshed(key, &held, want.within, Asking::default()).await {
            Refreshed::Current => Ok(Ok(held)),
            Refreshed::Changed(fill) => Ok(Err(Some(fill))),
            Refreshed::Unknown(_, failure) if want.mode == Mode::Anew => Err(failure.into()),
            Refreshed::Unknown(_, failure) if entry.document && entry.head.must_revalidate => Err(failure.into()),
            Refreshed::Unknown(..) => Ok(Ok(held)),
        }
    }

    /// The content that a caller expects, if it is here; or else the transfer of another one than is here, unless its server says that
    /// there is none.
    async fn given_from_here(
        self: &Arc<Self>,
        key: &Key,
        want: &Want<'_>,
        given: &Expectation,
    ) -> Result<Result<Arc<Shelved>, Option<Arc<Fill>>>> {
        let held = self.held(key);
        let met = match &held {
            Some(held) => Some(self.met(key, held, given).await),
            None => None,
        };
        if let Some(Ok(held)) = met {
            return Ok(Ok(held));
        }
        if let Some(adopted) = self.adopt(key, given).await {
            return Ok(Ok(adopted));
        }
        let (Some(held), Some(Err(mismatch))) = (held, met) else { return Ok(Err(None)) };
        if want.mode == Mode::OnlyHere || self.offline.since().is_some() {
            return Ok(Err(None));
        }
        let asking = Asking { is_contradicted: true, ..Asking::default() };
        match self.refreshed(key, &held, want.within, asking).await {
            Refreshed::Current => Err(mismatch),
            Refreshed::Changed(fill) => Ok(Err(Some(fill))),
            Refreshed::Unknown(_, failure) => Err(failure.into()),
        }
    }

    /// Holds what was brought to an expectation.
    async fn met(&self, key: &Key, held: &Arc<Shelved>, given: &Expectation) -> Result<Arc<Shelved>> {
        match self.compare(held, given).await? {
            Passed::Not(how) => Err(verify::mismatch(key, &how)),
            Passed::As(evidence, expected) => {
                if held.see(|entry| entry.evidence.level) < evidence.level {
                    self.reach(held, evidence, expected).await?;
                }
                Ok(Arc::clone(held))
            }
        }
    }

    /// Compares a whole content with an expectation, hashing it again for a digest that is not known yet.
    pub(super) async fn compare(&self, held: &Arc<Shelved>, expectation: &Expectation) -> Result<Passed> {
        let entry = held.entry();
        let is_known = |wanted: &Sum| entry.sum(wanted.algorithm()).is_some();
        if !expectation.sums.iter().all(is_known) && expectation.size.is_none_or(|size| size == entry.size) {
            let (held, sums) = (Arc::clone(held), expectation.sums.clone());
            let hashed = spawn_blocking(move || {
                let mut lanes = Lanes::new();
                lanes.want(&sums);
                let file = File::open(held.path())?;
                while lanes.at() < held.size() {
                    lanes.advance(&file, held.size())?;
                }
                let sums = lanes.finish();
                held.change(|entry| entry.sums = sums)
            });
            hashed.await.map_err(Error::internal)?.map_err(Error::internal)?;
        }
        Ok(verify::compare(expectation, entry.size, &held.entry().sums))
    }

    /// Writes down the level that a whole content reached.
    pub(super) async fn reach(&self, held: &Arc<Shelved>, evidence: Evidence, expected: Vec<Sum>) -> Result<()> {
        let held = Arc::clone(held);
        let written = spawn_blocking(move || {
            held.change(|entry| {
                entry.evidence = evidence;
                entry.expected = expected;
            })
        });
        written.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

/// Waits for the end of a transfer and tells how it goes.
async fn ended(reader: &Reader, seen: &(dyn Fn(Bringing) + Send + Sync)) -> Result<End> {
    let fill = &reader.0;
    fill.want();
    let mut state = fill.state.subscribe();
    let mut last = None;
    loop {
        let (end, bringing) = {
            let state = state.borrow_and_update();
            let bringing = match (state.queued, state.complete) {
                (true, _) => Bringing::Waiting,
                (_, true) => Bringing::Verifying,
                _ => Bringing::Filling { bytes: state.extents.total(), of: state.length },
            };
            (state.end.clone(), bringing)
        };
        if last != Some(bringing) {
            seen(bringing);
            last = Some(bringing);
        }
        if let Some(end) = end {
            return Ok(end);
        }
        state.changed().await.map_err(|_| {
            Error::from(Setback { reason: Reason::Interrupted, words: "It ended.".into(), unresolved: None })
        })?;
    }
}
