//! Answers of the cache: what is asked of it, and what it gives.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::core::Cache;
use super::fill::{End, Fill, Reader};
use super::follow::{self, Section};
use super::shelf::Shelved;
use super::{side, verify};
use crate::blob::{BlobBody, BlobFile};
use crate::error::{Error, Reason, Result};
use crate::vendor::{Level, SumAlgorithm};

/// Age of an answer that a request accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// As the servers and the settings say.
    #[default]
    Usual,
    /// The server is asked first (`no-cache`), at most once in five seconds for a key.
    Revalidate,
    /// No server is asked (`only-if-cached`).
    OnlyIfCached,
}

/// Terms of a request for a key.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// Only the head of the answer is wanted.
    pub head: bool,
    /// Age that is accepted.
    pub freshness: Freshness,
    /// Level that the bytes have to reach.
    pub require: Option<Level>,
    /// Values of the request's `Via`: servers like this one that it came through.
    pub via: Vec<String>,
}

impl Lookup {
    /// Servers that the request came through, in one value.
    pub(super) fn chain(&self) -> Option<String> {
        (!self.via.is_empty()).then(|| self.via.join(", "))
    }
}

/// Part of the cache in an answer, for `Cache-Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Here, and current for these seconds.
    Hit {
        /// Time until it is stale; `None` for what never changes.
        ttl: Option<i64>,
    },
    /// Here, and not known to be current.
    Stale {
        /// Reason in a word or two joined by `-`.
        detail: &'static str,
    },
    /// A transfer that began with this request.
    Fill,
    /// A transfer that another request began.
    Follow,
    /// Here, and its server says that it is current.
    Revalidated,
    /// Here, and no server is asked because this one is offline.
    Offline,
    /// Not here: the head is its server's.
    Passed,
}

impl Outcome {
    /// Word for counters.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Stale { .. } => "stale",
            Self::Fill => "fill",
            Self::Follow => "follow",
            Self::Revalidated => "revalidated",
            Self::Offline => "offline",
            Self::Passed => "passed",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Served {
    /// Size in bytes, if it is known.
    pub size: Option<u64>,
    /// Entity tag as in the header.
    pub etag: Option<String>,
    /// `Last-Modified`, stable to the byte for the same bytes.
    pub last_modified: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Time since a server last said that the bytes are current.
    pub age: Duration,
    /// Part of the cache in it.
    pub outcome: Outcome,
    /// Level that the bytes reached; of a transfer that is not verified yet, the lowest that they will have.
    pub level: Level,
    /// Line about the level, for people.
    pub words: String,
    pub(super) source: Supply,
}

/// Place of an answer's bytes.
pub(super) enum Supply {
    /// A whole file.
    Held(Arc<Cache>, Arc<Shelved>),
    /// A transfer, and the level that the request demands of it.
    Fill(Arc<Cache>, Reader, Level),
    /// Nowhere: only the head was asked for.
    Nowhere,
}

impl std::fmt::Debug for Supply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Held(..) => "Held",
            Self::Fill(..) => "Fill",
            Self::Nowhere => "Nowhere",
        })
    }
}

impl Served {
    /// SHA-256 of the bytes, if all of them are here.
    pub fn sha256(&self) -> Option<Vec<u8>> {
        let Supply::Held(_, held) = &self.source else { return None };
        held.see(|entry| entry.sum(SumAlgorithm::Sha256).map(|sum| sum.bytes().to_vec()))
    }

    /// Opens the bytes, or the part `range` of them (the end is exclusive).
    ///
    /// # Errors
    /// `BadRange` for a range that is not inside; `WeakerThanRequired` if the bytes do not reach the level that the request demands.
    pub async fn open(&self, range: Option<Range<u64>>) -> Result<BlobBody> {
        let is_inside = |range: &Range<u64>| range.start <= range.end && self.size.is_none_or(|size| range.end <= size);
        if range.as_ref().is_some_and(|range| !is_inside(range)) {
            return Err(Reason::BadRange.into());
        }
        match &self.source {
            Supply::Nowhere => Err(Reason::NotCached.about("The file")),
            Supply::Held(cache, held) => open_held(cache, held, range),
            Supply::Fill(cache, reader, require) => open_fill(cache, reader, *require, range).await,
        }
    }
}

/// Opens a whole file.
fn open_held(cache: &Cache, held: &Arc<Shelved>, range: Option<Range<u64>>) -> Result<BlobBody> {
    let Range { start, end } = range.unwrap_or(0..held.size());
    if end > held.size() {
        return Err(Reason::BadRange.into());
    }
    let file = File::open(held.path()).map_err(Error::internal)?;
    cache.counters.bytes("cache", end - start);
    let body = BlobFile { file: Arc::new(file), offset: start, length: end - start, held: None };
    Ok(BlobBody::File(body).holding(Arc::clone(held)))
}

/// Opens a transfer.
async fn open_fill(cache: &Arc<Cache>, reader: &Reader, require: Level, range: Option<Range<u64>>) -> Result<BlobBody> {
    let fill = &reader.0;
    cache.promises(fill, require).await?;
    let waits = require > fill.require || (range.is_some() && require >= Level::Checksum);
    if waits && let Some(held) = verdict(fill).await? {
        let evidence = held.see(|entry| entry.evidence.clone());
        if evidence.level < require {
            return Err(verify::unverified(&fill.key, require, &evidence));
        }
        return open_held(cache, &held, range);
    }
    // A small part of a large file: a reader of it has far from all.
    let is_large = fill.state.borrow().length.is_some_and(|length| length > 16 * side::SMALL);
    let small =
        range.as_ref().is_some_and(|range| is_large && range.start > 0 && range.end - range.start <= side::SMALL);
    let token = range.as_ref().and_then(|range| side::begin(cache, fill, range));
    let wanted = Section {
        start: range.as_ref().map_or(0, |range| range.start),
        end: range.map(|range| range.end),
        tail_too: small && require < Level::Checksum,
        patience: cache.settings.patience,
        buffers: cache.buffers.clone(),
    };
    match follow::open(fill.reader(), wanted).await {
        Ok(body) => Ok(body.holding(token)),
        Err(error) => Err(failure(fill).unwrap_or_else(|| error.into())),
    }
}

/// The reason for which a transfer ended, if it failed.
fn failure(fill: &Fill) -> Option<Error> {
    match &fill.state.borrow().end {
        Some(End::Failed(failure)) => Some(failure.clone().into()),
        Some(End::Replaced) => Some(Reason::UpstreamChanged.about(fill.key.shown())),
        Some(End::Done(_)) | None => None,
    }
}

/// Waits for the end of a transfer.
pub(super) async fn verdict(fill: &Arc<Fill>) -> Result<Option<Arc<Shelved>>> {
    let mut state = fill.state.subscribe();
    let end = state.wait_for(|state| state.end.is_some()).await.map_err(Error::internal)?.end.clone();
    match end {
        Some(End::Done(held)) => Ok(held),
        Some(End::Failed(failure)) => Err(failure.into()),
        Some(End::Replaced) | None => Err(Reason::UpstreamChanged.about(fill.key.shown())),
    }
}
