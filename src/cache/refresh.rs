//! Beginning of transfers, and questions whether what is here is current: one at a time for a key, however many ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::core::{Cache, Question, Refreshed};
use super::fill::{Fill, Terms};
use super::fresh;
use super::key::Key;
use super::route::refusal;
use super::settle::First;
use super::shelf::Shelved;
use super::transfer;
use super::trouble::Setback;
use crate::error::{Error, Reason, Result};
use crate::fetch::Exchange;

/// Transfers that run or wait for a place: each has an open file.
const FILLS_WAITING_MAX: usize = 256;

/// Time for which a server that refuses is not asked again whether a copy is current.
const UNSETTLED_FOR: Duration = Duration::from_secs(60);

/// Terms of a question.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// `Via` of the client's request.
    pub(super) via: Option<String>,
    /// True if digests from elsewhere say that the copy is an old one: equal dates and lengths prove nothing then.
    pub(super) is_contradicted: bool,
}

impl Cache {
    /// The transfer of a key: that in progress, or a new one (then true), which goes on with what an earlier one left.
    ///
    /// # Errors
    /// `Internal` when the disk fails; `Busy` when too many transfers wait.
    pub(super) fn start(self: &Arc<Self>, key: &Key, terms: &Terms, first: Option<First>) -> Result<(Arc<Fill>, bool)> {
        let mut stale = None;
        let (fill, earlier, first) = {
            let mut index = self.index();
            if index.slots.values().filter(|slot| slot.fill.is_some()).count() >= FILLS_WAITING_MAX
                && index.slots.get(key).is_none_or(|slot| slot.fill.is_none())
            {
                return Err(Reason::Busy.into());
            }
            let slot = index.slots.entry(key.clone()).or_default();
            if let Some(fill) = &slot.fill {
                return Ok((Arc::clone(fill), false));
            }
            let mut earlier = slot.partial.take();
            let mut first = first;
            if let (Some(sidecar), Some(answer)) = (&earlier, &first) {
                let told = fresh::head_of(&answer.answer.exchanged);
                match sidecar.head.has_strong_tag_of(&told) {
                    // The rest is asked for instead of everything.
                    true => first = None,
                    false => stale = earlier.take(),
                }
            }
            let resumed = earlier.as_ref().map(|sidecar| Fill::new(&self.shelf, key, terms, Some(sidecar)));
            let fill = match resumed {
                Some(Ok(fill)) => fill,
                _ => {
                    stale = stale.or(earlier.take());
                    match Fill::new(&self.shelf, key, terms, None) {
                        Ok(fill) => fill,
                        Err(error) => {
                            slot.partial = stale.take();
                            return Err(Error::internal(error));
                        }
                    }
                }
            };
            slot.fill = Some(Arc::clone(&fill));
            (fill, earlier, first)
        };
        if let Some(sidecar) = stale {
            let shelf = Arc::clone(&self.shelf);
            spawn_blocking(move || {
                if let Err(error) = shelf.remove_partial(&sidecar.id) {
                    log::warn!("an old transfer can't be removed: {error}");
                }
            });
        }
        tokio::spawn(transfer::run(Arc::clone(self), Arc::clone(&fill), earlier.map(|sidecar| sidecar.head), first));
        Ok((fill, true))
    }

    /// Terms of a transfer that a request begins.
    pub(super) fn terms(&self, key: &Key, document: bool) -> Terms {
        let require = if document { crate::vendor::Level::None } else { self.required(key) };
        Terms { document, require, bytes_max: self.settings.file_bytes_max, ..Terms::default() }
    }

    /// Asks whether what is here is current, unless that was asked already. The answer comes even if this is not waited for.
    fn question(self: &Arc<Self>, key: &Key, held: &Arc<Shelved>, asking: Asking) -> Question {
        self.slot(key, |slot| {
            if let Some(question) = &slot.question {
                return question.clone();
            }
            let (answer, question) = watch::channel(None);
            let question = (Instant::now(), question);
            slot.question = Some(question.clone());
            let (cache, key, held) = (Arc::clone(self), key.clone(), Arc::clone(held));
            tokio::spawn(async move {
                let refreshed = cache.check(&key, &held, asking).await;
                cache.slot(&key, |slot| slot.question = None);
                answer.send_replace(Some(refreshed));
            });
            question
        })
    }

    /// Asks whether what is here is current, and waits for a while, counted from the beginning of the question.
    pub(super) async fn refreshed(
        self: &Arc<Self>,
        key: &Key,
        held: &Arc<Shelved>,
        within: Duration,
        asking: Asking,
    ) -> Refreshed {
        if let Some(fill) = self.slot(key, |slot| slot.fill.clone()) {
            // It was asked already.
            return Refreshed::Changed(fill);
        }
        let (began, mut question) = self.question(key, held, asking);
        let within = within.saturating_sub(began.elapsed());
        let slow =
            || Refreshed::Unknown("upstream-slow", Reason::UpstreamDead.about(key.shown()).and("no answer yet").into());
        match tokio::time::timeout(within, question.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(slow),
            _ => {
                self.hosts.slow(key.host());
                slow()
            }
        }
    }

    async fn check(self: &Arc<Self>, key: &Key, held: &Arc<Shelved>, asking: Asking) -> Refreshed {
        let entry = held.entry();
        let shape = Exchange {
            if_none_match: entry.head.etag.iter().cloned().collect(),
            if_modified_since: entry.head.last_modified.clone(),
            via: asking.via.clone(),
            ..Exchange::default()
        };
        let answer = match self.ask(key, &shape, !entry.expected.is_empty(), false).await {
            Ok(answer) => answer,
            Err(error) => return Refreshed::Unknown("upstream-dead", error.into()),
        };
        let mut known = entry.head.clone();
        known.length = Some(entry.size);
        let is_current = match answer.exchanged.status {
            304 => true,
            // Sums of other files have the same length, and there is no large transfer to save.
            200 if entry.document || asking.is_contradicted => known.has_tag_of(&fresh::head_of(&answer.exchanged)),
            200 => known.is_same(&fresh::head_of(&answer.exchanged)),
            404 | 410 => return self.unsettled(key, "upstream-gone", refusal(key, &answer)),
            _ => return self.unsettled(key, "upstream-error", refusal(key, &answer)),
        };
        if !is_current {
            let terms = Terms { via: asking.via, ..self.terms(key, entry.document) };
            return match self.start(key, &terms, Some(First { answer, copied: 0 })) {
                Ok((fill, _)) => Refreshed::Changed(fill),
                Err(error) => Refreshed::Unknown("disk", error.into()),
            };
        }
        let (held, now) = (Arc::clone(held), self.now().0);
        let written = spawn_blocking(move || {
            held.change(|entry| {
                entry.checked_at = now;
                entry.ahead = None;
                fresh::freshen(&mut entry.head, &answer.exchanged);
            })
        });
        match written.await {
            Ok(Ok(())) => Refreshed::Current,
            other => {
                log::warn!("{} is current, which can't be written down: {other:?}", key.shown());
                Refreshed::Current
            }
        }
    }

    /// The answer of a server that says nothing of what is here. It is not asked again for a while.
    fn unsettled(&self, key: &Key, detail: &'static str, error: Error) -> Refreshed {
        let failure = Setback::from(error);
        self.slot(key, |slot| slot.quiet = Some((Instant::now() + UNSETTLED_FOR, failure.clone())));
        Refreshed::Unknown(detail, failure)
    }

    /// Failure of a key that is not tried again yet.
    pub(super) fn quiet(&self, key: &Key) -> Option<Setback> {
        let now = Instant::now();
        self.slot(key, |slot| slot.quiet.as_ref().filter(|(until, _)| now < *until).map(|(_, failure)| failure.clone()))
    }
}
