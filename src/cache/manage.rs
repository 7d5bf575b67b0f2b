//! Management: opening the cache, looking at it, and changing what it keeps.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::task::spawn_blocking;

use super::core::{Cache, KeySlot};
use super::documents::CachedDocuments;
use super::entry::{Entry, EntryView, Sidecar};
use super::fresh;
use super::hosts::HostView;
use super::key::Key;
use super::proof::Prover;
use super::settings::CacheSettings;
use super::settle::DOCUMENT_BYTES_MAX;
use super::shelf::{Scan, Shelf, Shelved};
use super::stats::CacheStats;
use crate::error::{Error, Reason, Result};
use crate::fetch::Fetcher;
use crate::image::Timestamp;
use crate::vendor::{Documents, Level, Sum, SumAlgorithm};

impl Cache {
    /// Opens the directory of the settings. Blocking: it reads what is there.
    ///
    /// # Errors
    /// `Internal` for a directory that can't be used.
    pub fn open(
        settings: CacheSettings,
        fetcher: Fetcher,
        prover: Arc<dyn Prover>,
        clock: fn() -> Timestamp,
    ) -> Result<Arc<Self>> {
        let shelf = Shelf::open(&settings.dir).map_err(Error::internal)?;
        let scan = shelf.scan(clock()).map_err(Error::internal)?;
        let id = own_id(&shelf).map_err(Error::internal)?;
        let via = format!("1.1 visor-{id}");
        let cache = Arc::new_cyclic(|cache| {
            let documents = Arc::new(CachedDocuments(Weak::clone(cache)));
            Self::new(settings, fetcher, prover, clock, shelf, via, documents)
        });
        cache.take(scan);
        Ok(cache)
    }

    /// Takes in what is in the directory.
    fn take(&self, scan: Scan) {
        let mut entries = scan.entries;
        // Of two entries for a key, a process died while one replaced the other: the newer one stands.
        entries.sort_by_key(|entry| entry.fetched_at);
        for entry in entries {
            let Ok(key) = entry.key() else { continue };
            if entry.document
                && entry.size <= DOCUMENT_BYTES_MAX
                && let Ok(bytes) = fs::read(self.shelf.file(&entry.id))
            {
                self.learn(&entry, &bytes);
            }
            self.know_names(&key, &entry);
            self.install(&key, &Shelved::new(&self.shelf, entry));
        }
        let mut partials = scan.partials;
        partials.sort_by_key(|sidecar| sidecar.written_at);
        for sidecar in partials {
            let Ok(key) = Key::parse(&sidecar.key) else { continue };
            if let Some(older) = self.slot(&key, |slot| slot.partial.replace(sidecar))
                && let Err(error) = self.shelf.remove_partial(&older.id)
            {
                log::warn!("an old transfer can't be removed: {error}");
            }
        }
        for suspect in scan.suspects {
            let name = suspect.entry.sum(SumAlgorithm::Sha256).map(Sum::hex);
            if let Some(name) = name {
                self.index().suspects.insert(name, suspect);
            }
        }
    }

    /// The directory of its files.
    pub fn dir(&self) -> &Path {
        self.shelf.dir()
    }

    /// Digests of the bytes of a key, as far as they are known; none if it is not here.
    pub fn sums(&self, key: &Key) -> Vec<Sum> {
        self.held(&self.answering(key)).map_or_else(Vec::new, |held| held.see(|entry| entry.sums.clone()))
    }

    /// The way to documents through the cache.
    pub fn documents(&self) -> Arc<dyn Documents> {
        Arc::clone(&self.documents)
    }

    /// All entries and transfers, by their URLs.
    pub fn entries(&self) -> Vec<EntryView> {
        let now = self.now();
        let index = self.index();
        index.slots.iter().flat_map(|(key, slot)| views(key, slot, now)).collect()
    }

    /// Removes the entry of a key, and what a transfer of it left. False if there is none.
    ///
    /// # Errors
    /// `Internal` when the disk fails.
    pub async fn drop_entry(&self, key: &Key) -> Result<bool> {
        let (held, partial) = self.slot(&self.answering(key), |slot| (slot.held.take(), slot.partial.take()));
        let found = held.is_some() || partial.is_some();
        let shelf = Arc::clone(&self.shelf);
        let work = spawn_blocking(move || {
            held.map_or(Ok(()), |held| held.doom())?;
            partial.map_or(Ok(()), |sidecar| shelf.remove_partial(&sidecar.id))
        });
        work.await.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(found)
    }

    /// Keeps the entry of a key from being removed for room, or lets it go again.
    ///
    /// # Errors
    /// `NotCached`; `Internal` when the disk fails.
    pub async fn pin(&self, key: &Key, pinned: bool) -> Result<()> {
        let held = self.held(&self.answering(key)).ok_or_else(|| Reason::NotCached.about(key.shown()))?;
        let work = spawn_blocking(move || held.change(|entry| entry.pinned = pinned));
        work.await.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// Stops sending anything, or begins to again; another run remembers it. Transfers in progress stop, and can go on later.
    ///
    /// # Errors
    /// `Internal` when the disk fails.
    pub fn set_offline(&self, offline: bool) -> Result<()> {
        self.offline.set(offline, self.now())?;
        self.fetcher.silence(self.offline.since().is_some());
        Ok(())
    }

    /// Time since which nothing is sent, by decision or because no host can be reached.
    pub fn is_offline(&self) -> Option<Timestamp> {
        self.offline.since().or_else(|| self.hosts.cut_off())
    }

    /// Hosts that were asked lately.
    pub fn hosts(&self) -> Vec<HostView> {
        self.hosts.views()
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        let mut stats = self.counters.read();
        stats.used_bytes = self.used();
        stats.budget_bytes = self.settings.budget;
        stats.hosts_dead = self.hosts.dead();
        let index = self.index();
        stats.fills = index.slots.values().filter(|slot| slot.fill.is_some()).count() as u64;
        let held = || index.slots.values().filter_map(|slot| slot.held.as_ref());
        stats.entries = held().count() as u64;
        stats.pinned = held().filter(|held| held.see(|entry| entry.pinned)).count() as u64;
        stats.quarantine_bytes = index.suspects.values().map(|suspect| suspect.entry.size).sum();
        stats
    }
}

/// Name of this server among others, for its life.
fn own_id(shelf: &Shelf) -> std::io::Result<String> {
    let path = shelf.dir().join("id");
    match fs::read_to_string(&path) {
        Ok(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(id),
        _ => {
            let id = Shelf::new_id();
            fs::write(&path, &id)?;
            Ok(id)
        }
    }
}

fn views(key: &Key, slot: &KeySlot, now: Timestamp) -> Vec<EntryView> {
    let whole = |entry: &Entry| EntryView {
        url: key.url().to_owned(),
        size: entry.size,
        of: Some(entry.size),
        state: fresh::state(entry, key, now).word(),
        level: entry.evidence.level,
        words: entry.evidence.words.clone(),
        sha256: entry.sum(SumAlgorithm::Sha256).map(Sum::hex),
        document: entry.document,
        pinned: entry.pinned,
        fetched_at: Timestamp(entry.fetched_at),
        checked_at: Timestamp(entry.checked_at),
        used_at: Timestamp(entry.used_at),
    };
    let held = slot.held.as_ref().map(|held| held.see(whole));
    let coming = |size: u64, of: Option<u64>, state: &'static str, document: bool, at: Timestamp| EntryView {
        url: key.url().to_owned(),
        size,
        of,
        state,
        level: Level::None,
        words: "not complete".to_owned(),
        sha256: None,
        document,
        pinned: false,
        fetched_at: at,
        checked_at: at,
        used_at: at,
    };
    let fill = slot.fill.as_ref().map(|fill| {
        let state = fill.state.borrow();
        coming(state.extents.total(), state.length, EntryView::FILLING, fill.document, now)
    });
    let stopped = |sidecar: &Sidecar| {
        let at = Timestamp(sidecar.written_at);
        coming(sidecar.bytes(), sidecar.head.length, "partial", sidecar.document, at)
    };
    held.into_iter().chain(fill).chain(slot.partial.as_ref().map(stopped)).collect()
}
