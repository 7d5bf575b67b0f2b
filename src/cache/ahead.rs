//! Indexes that name builds whose files are not there yet: vendors publish a list before the last of their servers has the files. Until
//! then clients get the older index.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;

use super::core::Cache;
use super::entry::{AheadIndex, Entry};
use super::fill::{End, Fill};
use super::key::Key;
use super::settle::DOCUMENT_BYTES_MAX;
use super::shelf::Shelved;
use crate::error::{Error, Result};
use crate::fetch::Exchange;
use crate::image::Timestamp;
use crate::vendor::{is_products_url, newest_files};

/// Longest time for which an index is held back, in microseconds.
const HELD_BACK_US: i64 = 30 * 60 * 1_000_000;

/// Time for which an index that is held back is not fetched again, in microseconds.
const PAUSE_US: i64 = 5 * 60 * 1_000_000;

/// New builds of an index that are looked for.
const BUILDS_MAX: usize = 32;

/// Questions that wait for their answers together.
const QUESTIONS_MAX: usize = 4;

/// Time for the questions of an index.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

impl Cache {
    /// Waits until an index that is coming in the place of an older one is judged; false if that takes too long. Files are judged as they
    /// come.
    pub(super) async fn is_judged(&self, fill: &Arc<Fill>, within: Duration) -> bool {
        if !is_index(fill) {
            return true;
        }
        // A client that leaves, or that gets the older one, does not end it.
        fill.want();
        let reader = fill.reader();
        let judged = async {
            let mut next = Some(reader);
            while let Some(reader) = next.take() {
                let mut state = reader.0.state.subscribe();
                let ended = state.wait_for(|state| state.end.is_some()).await;
                if ended.is_ok_and(|state| matches!(state.end, Some(End::Replaced))) {
                    next = self.slot(&reader.0.key, |slot| slot.fill.as_ref().map(Fill::reader));
                }
            }
        };
        tokio::time::timeout(within, judged).await.is_ok()
    }

    /// The older index of a fill's key, if the one that came names a build of a product in use whose files are not there.
    ///
    /// # Errors
    /// `Internal` when the disk fails.
    pub(super) async fn older_index(self: &Arc<Self>, fill: &Arc<Fill>) -> Result<Option<Arc<Shelved>>> {
        let Some(held) = self.held(&fill.key).filter(|_| is_index(fill)) else { return Ok(None) };
        let now = self.now().0;
        // Long after the last look it is another index that is ahead.
        let known = held.see(|entry| entry.ahead).filter(|ahead| now - ahead.seen_at < HELD_BACK_US);
        let since = known.map_or(now, |ahead| ahead.since);
        if now - since >= HELD_BACK_US {
            return Ok(None);
        }
        let (cache, new, old) = (Arc::clone(self), Arc::clone(fill), Arc::clone(&held));
        let builds = spawn_blocking(move || cache.new_builds(&old, &new)).await.map_err(Error::internal)?;
        let builds = builds.map_err(Error::internal)?;
        let asked = stream::iter(builds).map(|build| self.not_there(build)).buffer_unordered(QUESTIONS_MAX);
        let mut missing = std::pin::pin!(asked.filter_map(std::future::ready));
        let missing = match tokio::time::timeout(ASKED_WITHIN, missing.next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(file)) => format!("{} is not there yet", file.shown()),
            Err(_) => "its builds can't be asked for".to_owned(),
        };
        log::info!("{} is held back: {missing}", fill.key.shown());
        let old = Arc::clone(&held);
        let written =
            spawn_blocking(move || old.change(|entry| entry.ahead = Some(AheadIndex { since, seen_at: now })));
        written.await.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(Some(held))
    }

    /// A file each of the builds that an index has and the older one had not, of products in use. Blocking: they may be long.
    fn new_builds(&self, old: &Shelved, new: &Fill) -> io::Result<Vec<Key>> {
        if old.size() > DOCUMENT_BYTES_MAX || new.here() > DOCUMENT_BYTES_MAX {
            return Ok(Vec::new());
        }
        let url = new.key.url();
        let is_here = |file: &str| Key::parse(file).is_ok_and(|key| self.held(&key).is_some());
        let known = newest_files(url, &std::fs::read(old.path())?, |_, file| is_here(file));
        let bytes = std::fs::read(new.shelf.partial(&new.id))?;
        let newest = newest_files(url, &bytes, |product, file| known.contains_key(product) || is_here(file));
        let is_new = |(product, file): &(String, String)| known.get(product) != Some(file) && !is_here(file);
        let builds = newest.into_iter().filter(is_new);
        Ok(builds.filter_map(|(_, file)| Key::parse(&file).ok()).take(BUILDS_MAX).collect())
    }

    /// The file, if its servers do not say that it is there.
    async fn not_there(&self, file: Key) -> Option<Key> {
        let shape = Exchange { head: true, ..Exchange::default() };
        let answer = self.ask(&file, &shape, false, false).await;
        // A server that knows no HEAD says nothing about the file.
        let is_there = answer.is_ok_and(|answer| matches!(answer.exchanged.status, 200 | 405 | 501));
        (!is_there).then_some(file)
    }
}

/// Tells whether an entry is an index whose newer one was looked at a moment ago and held back.
pub(super) fn is_paused(entry: &Entry, now: Timestamp) -> bool {
    entry.ahead.is_some_and(|ahead| now.0 - ahead.seen_at < PAUSE_US)
}

/// Tells whether a fill brings an index of a simplestreams tree.
fn is_index(fill: &Fill) -> bool {
    fill.document && is_products_url(fill.key.url())
}
