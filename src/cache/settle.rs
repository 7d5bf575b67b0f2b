//! End of a fill: its bytes become an entry, go into quarantine, or stay for the next request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::core::Cache;
use super::entry::{Entry, Head};
use super::fill::{End, Fill};
use super::quarantine::put_away;
use super::route::Answered;
use super::shelf::Shelved;
use super::trouble::Setback;
use super::verify::{self, Passed};
use crate::error::{Error, Kind, Reason};
use crate::vendor::{Evidence, Level, PRODUCTS_BYTES_MAX, Sum};

/// Time for which what is not there is not asked for again: today's build may come any minute.
const MISSING_FOR: Duration = Duration::from_secs(10);

/// Time for which a document that is not there is not asked for again.
const DOCUMENT_MISSING_FOR: Duration = Duration::from_secs(60);

/// Time for which bytes that did not pass are not fetched again.
const MISMATCH_FOR: Duration = Duration::from_secs(60);

/// Time for which a parent or a mirror that sent wrong bytes is not asked.
const WRONG_FOR: Duration = Duration::from_secs(10 * 60);

/// Largest document that is read for the digests of other files.
pub(super) const DOCUMENT_BYTES_MAX: u64 = PRODUCTS_BYTES_MAX as u64;

/// An answer with all bytes of a content, of which the first are here under another fill.
pub(super) struct First {
    pub(super) answer: Answered,
    /// Bytes that are the same as those that are here, and are no more in the answer.
    pub(super) copied: u64,
}

/// End of a transfer.
pub(super) enum Ended {
    /// All bytes are here, with these digests.
    Whole(Vec<Sum>),
    Failed(Error),
    /// No reader waits any more.
    Abandoned,
    /// There is another content now, and maybe an answer with it.
    Replaced(Option<Box<First>>),
}

/// Ends a fill, and returns the one that comes in its place.
pub(super) async fn settle(cache: &Arc<Cache>, fill: &Arc<Fill>, ended: Ended) -> Option<(Arc<Fill>, Option<First>)> {
    let end = match ended {
        Ended::Whole(sums) => conclude(cache, fill, sums).await.unwrap_or_else(|error| fail(cache, fill, error)),
        Ended::Failed(error) => {
            fill.state.send_modify(|state| state.closing = true);
            keep(cache, fill).await;
            fail(cache, fill, error)
        }
        Ended::Abandoned => {
            fill.state.send_modify(|state| state.closing = true);
            keep(cache, fill).await;
            let error = cache.not_here(&fill.key).unwrap_or_else(|| Reason::Interrupted.into());
            End::Failed(error.into())
        }
        Ended::Replaced(first) => match replace(cache, fill, first.map(|first| *first)).await {
            Ok(next) => {
                fill.finish(End::Replaced);
                return Some(next);
            }
            Err(error) => {
                fill.dispose().await;
                fail(cache, fill, error)
            }
        },
    };
    cache.slot(&fill.key, |slot| slot.fill.take_if(|current| Arc::ptr_eq(current, fill)));
    fill.finish(end);
    None
}

/// Remembers a failure that the next request would meet again.
fn fail(cache: &Cache, fill: &Fill, error: Error) -> End {
    log::info!("{} was not fetched: {}", fill.key.shown(), error.logged());
    let failure = Setback::from(error);
    let quiet = match failure.reason {
        Reason::UrlNotFound if fill.document => Some(DOCUMENT_MISSING_FOR),
        Reason::UrlNotFound => Some(MISSING_FOR),
        // A server that it was led to: the memory of hosts does not keep its own from being asked.
        Reason::UpstreamDead if fill.state.borrow().head.is_none() => Some(MISSING_FOR),
        reason if reason.kind() == Kind::Verification => Some(MISMATCH_FOR),
        _ => None,
    };
    if let Some(quiet) = quiet {
        cache.slot(&fill.key, |slot| slot.quiet = Some((Instant::now() + quiet, failure.clone())));
    }
    End::Failed(failure)
}

/// Keeps what came for the next request, if another answer could go on with it.
async fn keep(cache: &Arc<Cache>, fill: &Arc<Fill>) {
    let (head, proof) = {
        let state = fill.state.borrow();
        (state.head.clone(), state.has_digest())
    };
    let is_worth_it =
        head.is_some_and(|head| !head.unshared && (head.if_range().is_some() || proof)) && fill.here() > 0;
    if let Some(earlier) = fill.earlier.as_ref().filter(|_| fill.state.borrow().head.is_none()) {
        // No server said anything about it: it is as it was.
        return cache.slot(&fill.key, |slot| slot.partial = Some(earlier.clone()));
    }
    let (ending, now) = (Arc::clone(fill), cache.now());
    let work = spawn_blocking(move || {
        ending.close();
        if is_worth_it {
            ending.checkpoint(now).or_else(|error| ending.discard().and(Err(error)))
        } else {
            ending.discard().map(|()| None)
        }
    });
    match work.await.map_err(Error::internal).and_then(|done| done.map_err(Error::internal)) {
        Ok(sidecar) => cache.slot(&fill.key, |slot| slot.partial = sidecar),
        Err(error) => log::warn!("the transfer of {} can't be kept: {}", fill.key.shown(), error.logged()),
    }
}

/// Makes the fill of another content.
async fn replace(
    cache: &Arc<Cache>,
    fill: &Arc<Fill>,
    first: Option<First>,
) -> Result<(Arc<Fill>, Option<First>), Error> {
    let terms = fill.terms();
    let (old, copied) = (Arc::clone(fill), first.as_ref().map_or(0, |first| first.copied));
    let made = spawn_blocking(move || {
        let new = Fill::new(&old.shelf, &old.key, &terms, None)?;
        if let Err(error) = new.copy_from(&old, copied) {
            new.discard()?;
            return Err(error);
        }
        old.discard()?;
        Ok::<_, std::io::Error>(new)
    });
    let new = made.await.map_err(Error::internal)?.map_err(Error::internal)?;
    new.inherit(fill);
    cache.slot(&fill.key, |slot| slot.fill = Some(Arc::clone(&new)));
    log::info!("{} has other bytes than when its transfer began: it begins again", fill.key.shown());
    Ok((new, first))
}

/// Judges a whole transfer.
async fn conclude(cache: &Arc<Cache>, fill: &Arc<Fill>, sums: Vec<Sum>) -> Result<End, Error> {
    let (head, proof, size, loose) = {
        let state = fill.state.borrow();
        (state.head.clone(), state.proof.clone(), state.extents.prefix(), state.loose_from.is_some())
    };
    let head = head.unwrap_or_default();
    match cache.older_index(fill).await {
        Ok(None) => {}
        older => {
            fill.dispose().await;
            return older.map(End::Done);
        }
    }
    let mut passed = verify::judge(&fill.key, &head, size, &sums, &proof).map_err(Error::from);
    let is_weak = |evidence: &Evidence| evidence.level < fill.require && !fill.document;
    // A list that names the file may have come behind its look-up.
    if matches!(&passed, Ok(Passed::Not(_))) || matches!(&passed, Ok(Passed::As(evidence, _)) if is_weak(evidence)) {
        passed = look_again(cache, fill, size, &sums).await.map_or(passed, Ok);
    }
    if let Ok(Passed::As(evidence, expected)) = passed {
        let path = fill.shelf.partial(&fill.id);
        let signed = match fill.document {
            true => Ok(evidence),
            false => cache.signed(&fill.key, &path, fill.require, evidence).await,
        };
        passed =
            signed.map(|evidence| verify::raised(Passed::As(evidence, expected), fill.given.as_ref(), size, &sums));
    }
    let entry = |evidence, expected| entry_of(cache, fill, &head, size, sums.clone(), evidence, expected);
    match passed {
        Ok(Passed::As(evidence, expected)) => publish(cache, fill, &head, entry(evidence, expected)).await,
        Ok(Passed::Not(how)) if loose => {
            // Bytes of two mirrors that were not of one content. Neither is to blame: the next request begins anew.
            fill.dispose().await;
            log::info!("{} came from two places with different bytes: {how}", fill.key.shown());
            Err(Reason::UpstreamChanged.about(fill.key.shown()))
        }
        Ok(Passed::Not(how)) if let Some(other) = cache.stand_in(&fill.key, &head) => {
            // The file's own server may have the right ones.
            fill.dispose().await;
            log::warn!("{other} sent other bytes for {}: {how}", fill.key.shown());
            cache.hosts.failed(&other, "sent other bytes than its origin".to_owned(), Some(WRONG_FOR), cache.now());
            Err(Reason::UpstreamChanged.about(fill.key.shown()))
        }
        Ok(Passed::Not(how)) => {
            let entry = entry(verify::plain(&fill.key, &head), Vec::new());
            put_away(cache, fill, entry).await?;
            Err(verify::put_aside(&fill.key, &how))
        }
        Err(error) => {
            put_away(cache, fill, entry(verify::plain(&fill.key, &head), Vec::new())).await?;
            Err(error)
        }
    }
}

/// Compares with documents that are asked for anew; `None` if they say no more. A vendor's word that the fill began with came with a list that
/// can't be asked for here: the next pull compares again.
async fn look_again(cache: &Cache, fill: &Fill, size: u64, sums: &[Sum]) -> Option<Passed> {
    if fill.given.as_ref().is_some_and(|given| given.evidence.level != Level::Given) {
        return None;
    }
    let expectation = cache.expected(&fill.key, true).await.ok()??;
    Some(verify::compare(&expectation, size, sums)).filter(|passed| matches!(passed, Passed::As(..)))
}

fn entry_of(
    cache: &Cache,
    fill: &Fill,
    head: &Head,
    size: u64,
    sums: Vec<Sum>,
    evidence: Evidence,
    expected: Vec<Sum>,
) -> Entry {
    let now = cache.now().0;
    Entry {
        id: fill.id.clone(),
        key: fill.key.url().to_owned(),
        head: head.clone(),
        size,
        sums,
        evidence,
        expected,
        document: fill.document,
        pinned: cache.held(&fill.key).is_some_and(|held| held.see(|entry| entry.pinned)),
        names: cache.names_of(&fill.key),
        fetched_at: now,
        checked_at: now,
        used_at: now,
        ahead: None,
    }
}

/// Makes the bytes an entry, unless others may not have them.
async fn publish(cache: &Arc<Cache>, fill: &Arc<Fill>, head: &Head, entry: Entry) -> Result<End, Error> {
    let level = entry.evidence.level;
    let mut weak = (level < fill.require).then(|| verify::unverified(&fill.key, fill.require, &entry.evidence));
    if (head.unshared && cache.settings.public) || (head.open_ended && entry.expected.is_empty() && !entry.document) {
        fill.dispose().await;
        return weak.map_or(Ok(End::Done(None)), Err);
    }
    let stands = cache.held(&fill.key).is_some_and(|held| held.see(|entry| entry.evidence.level >= fill.require));
    if let Some(weak) = weak.take_if(|_| stands) {
        // What is here was verified; what came was not.
        fill.dispose().await;
        return Err(weak);
    }
    let (ending, written, teaching) = (Arc::clone(fill), entry.clone(), Arc::clone(cache));
    let teaches = entry.document && entry.size <= DOCUMENT_BYTES_MAX;
    let work = spawn_blocking(move || {
        ending.check()?;
        let bytes = if teaches { std::fs::read(ending.shelf.partial(&ending.id))? } else { Vec::new() };
        ending.moving(|| ending.shelf.publish(&ending.file, &written))?;
        if teaches {
            teaching.learn(&written, &bytes);
        }
        Ok::<_, std::io::Error>(())
    });
    if let Err(error) = work.await.map_err(Error::internal)? {
        fill.dispose().await;
        return Err(crate::blob::StoreError::from(error).into());
    }
    cache.counters.count(|stats| {
        *stats.verified.entry(level.name()).or_default() += 1;
        stats.filled += 1;
        stats.fill_time += fill.age();
    });
    let held = Shelved::new(&cache.shelf, entry.clone());
    cache.install(&fill.key, &held);
    weak.map_or(Ok(End::Done(Some(held))), Err)
}
