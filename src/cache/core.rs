//! The cache: what is known of each key, and the parts that all of its operations share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::entry::{Entry, Sidecar, Suspect};
use super::fill::Fill;
use super::hosts::Hosts;
use super::key::Key;
use super::names::MovingName;
use super::offline::OfflineFlag;
use super::proof::Prover;
use super::settings::CacheSettings;
use super::shelf::{Shelf, Shelved};
use super::stats::Counters;
use super::superseded::Superseded;
use super::trouble::Setback;
use crate::blob::Buffers;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::image::Timestamp;
use crate::vendor::{Documents, Expectation, Level};

/// Time to connect to a parent, which is near: a laptop that left its place is not kept waiting for it.
const PARENT_CONNECTS_WITHIN: Duration = Duration::from_millis(300);

/// Transfers of files at the same time.
const FILLS_MAX: usize = 32;

/// Transfers of files from one host at the same time.
const FILLS_OF_HOST_MAX: usize = 4;

/// Transfers of documents at the same time. They have places of their own: a file's transfer waits for its sums.
const DOCUMENTS_MAX: usize = 32;

/// Requests for parts at the same time.
const SIDES_MAX: usize = 16;

/// Files that are known from documents, of all documents together.
const LEARNED_MAX: usize = 500_000;

/// Keys beyond which those without any bytes are looked for.
const EMPTY_SLOTS_MAX: usize = 10_000;

/// The cache of vendors' files.
pub struct Cache {
    pub(super) settings: CacheSettings,
    pub(super) fetcher: Fetcher,
    /// The one for parents, which others stand in for when they are away.
    pub(super) to_parents: Fetcher,
    pub(super) clock: fn() -> Timestamp,
    pub(super) prover: Arc<dyn Prover>,
    pub(super) shelf: Arc<Shelf>,
    /// Name of this server in `Via`.
    pub(super) via: String,
    pub(super) hosts: Hosts,
    pub(super) offline: OfflineFlag,
    pub(super) counters: Counters,
    pub(super) buffers: Buffers,
    pub(super) sides: Arc<Semaphore>,
    /// Held while room is made, so that two transfers do not take the same room.
    pub(super) room: tokio::sync::Mutex<()>,
    /// Other files that count towards the budget.
    pub(super) others: OnceLock<Arc<dyn Superseded>>,
    /// Bytes of those that the cache's files do not have, and the time at which they were counted.
    pub(super) builds: Mutex<Option<(Instant, u64)>>,
    /// Documents through this cache.
    pub(super) documents: Arc<dyn Documents>,
    index: Mutex<Knowledge>,
    fills: Arc<Semaphore>,
    documents_places: Arc<Semaphore>,
    host_places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Knowledge of all keys.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) slots: BTreeMap<Key, KeySlot>,
    /// Number of those that had bytes when the others were last looked for.
    swept: usize,
    /// Moving names that were asked for.
    pub(super) names: HashMap<Key, MovingName>,
    /// Bytes in quarantine, by SHA-256 in hexadecimal.
    pub(super) suspects: BTreeMap<String, Suspect>,
    /// Digests of files that documents name, by URL.
    pub(super) learned: HashMap<String, Arc<Expectation>>,
}

/// Knowledge of a key.
#[derive(Debug, Default)]
pub(super) struct KeySlot {
    /// Whole content.
    pub(super) held: Option<Arc<Shelved>>,
    /// Transfer in progress.
    pub(super) fill: Option<Arc<Fill>>,
    /// Transfer that stopped and can go on.
    pub(super) partial: Option<Sidecar>,
    /// Question in progress whether the content is current.
    pub(super) question: Option<Question>,
    /// Failure that is not tried again before a time.
    pub(super) quiet: Option<(Instant, Setback)>,
}

/// Question in progress: when it began, and its answer.
pub(super) type Question = (Instant, watch::Receiver<Option<Refreshed>>);

/// Answer to the question whether a content is current.
#[derive(Debug, Clone)]
pub(super) enum Refreshed {
    /// It is.
    Current,
    /// It is not, and another one is coming or came.
    Changed(Arc<Fill>),
    /// There is no answer. A word or two for clients, and all that is known.
    Unknown(&'static str, Setback),
}

/// Places that a transfer holds.
pub(super) struct Places(#[expect(dead_code, reason = "their end is what they are for")] Vec<OwnedSemaphorePermit>);

impl Cache {
    pub(super) fn new(
        settings: CacheSettings,
        fetcher: Fetcher,
        prover: Arc<dyn Prover>,
        clock: fn() -> Timestamp,
        shelf: Arc<Shelf>,
        via: String,
        documents: Arc<dyn Documents>,
    ) -> Self {
        let offline = OfflineFlag::open(shelf.dir(), settings.offline, clock());
        fetcher.silence(offline.since().is_some());
        Self {
            hosts: Hosts::new(settings.dead_for),
            settings,
            to_parents: fetcher.connecting_within(PARENT_CONNECTS_WITHIN),
            fetcher,
            clock,
            prover,
            shelf,
            via,
            offline,
            counters: Counters::default(),
            buffers: Buffers::for_reads(),
            sides: Arc::new(Semaphore::new(SIDES_MAX)),
            room: tokio::sync::Mutex::new(()),
            others: OnceLock::new(),
            builds: Mutex::default(),
            documents,
            index: Mutex::default(),
            fills: Arc::new(Semaphore::new(FILLS_MAX)),
            documents_places: Arc::new(Semaphore::new(DOCUMENTS_MAX)),
            host_places: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Knowledge of all keys. Held for moments only, and never across a wait.
    pub(super) fn index(&self) -> MutexGuard<'_, Knowledge> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the knowledge of a key.
    pub(super) fn slot<T>(&self, key: &Key, change: impl FnOnce(&mut KeySlot) -> T) -> T {
        let mut index = self.index();
        if index.slots.len() > EMPTY_SLOTS_MAX.max(2 * index.swept) {
            let now = Instant::now();
            index.slots.retain(|_, slot| !slot.is_empty(now));
            index.swept = index.slots.len();
        }
        let slot = index.slots.entry(key.clone()).or_default();
        let value = change(slot);
        if slot.is_empty(Instant::now()) {
            index.slots.remove(key);
        }
        value
    }

    /// Whole content of a key.
    pub(super) fn held(&self, key: &Key) -> Option<Arc<Shelved>> {
        self.index().slots.get(key).and_then(|slot| slot.held.clone())
    }

    /// Level that a key's file has to reach when its request says nothing: its vendor's, or that of the settings for files of no vendor.
    pub fn required(&self, key: &Key) -> Level {
        self.prover.require(key.url()).unwrap_or(self.settings.require)
    }

    /// Waits for a place among the transfers.
    pub(super) async fn place(&self, host: &str, document: bool) -> Result<Places> {
        let of_kind = if document { &self.documents_places } else { &self.fills };
        let mut places = Vec::new();
        if !document {
            let of_host = {
                let mut hosts = self.host_places.lock().unwrap_or_else(PoisonError::into_inner);
                hosts.retain(|_, places| {
                    Arc::strong_count(places) > 1 || places.available_permits() < FILLS_OF_HOST_MAX
                });
                Arc::clone(hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(FILLS_OF_HOST_MAX))))
            };
            places.push(of_host.acquire_owned().await.map_err(Error::internal)?);
        }
        places.push(Arc::clone(of_kind).acquire_owned().await.map_err(Error::internal)?);
        Ok(Places(places))
    }

    /// Puts a whole content in the place of what its key had.
    pub(super) fn install(&self, key: &Key, held: &Arc<Shelved>) {
        let old = self.slot(key, |slot| {
            slot.quiet = None;
            slot.held.replace(Arc::clone(held))
        });
        if let Some(Err(error)) = old.map(|old| old.doom()) {
            log::warn!("an old entry of the cache can't be removed: {error}");
        }
    }

    /// Remembers what a document says of other files. Blocking: a document may be long.
    pub(super) fn learn(&self, entry: &Entry, bytes: &[u8]) {
        let learned = self.prover.learn(&entry.key, &entry.head.url, bytes).into_iter();
        let lessons: Vec<_> =
            learned.filter_map(|(url, told)| Some((Key::parse(&url).ok()?, Arc::new(told)))).collect();
        let mut index = self.index();
        if index.learned.len() + lessons.len() > LEARNED_MAX {
            // They come again with their documents.
            index.learned.clear();
        }
        for (key, told) in lessons {
            let is_weaker =
                index.learned.get(key.url()).is_some_and(|known| known.evidence.level > told.evidence.level);
            if !is_weaker {
                index.learned.insert(key.url().to_owned(), told);
            }
        }
    }

    /// Digest of a file that a document named.
    pub(super) fn learned(&self, key: &Key) -> Option<Arc<Expectation>> {
        self.index().learned.get(key.url()).cloned()
    }
}

impl KeySlot {
    fn is_empty(&self, now: Instant) -> bool {
        let is_quiet = self.quiet.as_ref().is_some_and(|(until, _)| now < *until);
        !is_quiet && self.held.is_none() && self.fill.is_none() && self.partial.is_none() && self.question.is_none()
    }
}
