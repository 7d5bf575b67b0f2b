//! Entries: what is known of bytes that are here completely, and how it is written down. Values only.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::digest::Digests;
use crate::error::Result;
use crate::image::Timestamp;
use crate::vendor::{Evidence, Expectation, Level, Sum, SumAlgorithm};

/// Facts about a content from the head of its server's answer: what a later request is conditional on, and how long it is fresh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Place of the bytes, after redirects.
    pub(super) url: String,
    /// Entity tag as in its header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// `Last-Modified`, to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    /// `Date` of the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) date: Option<String>,
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    /// Length in bytes, if it was announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) length: Option<u64>,
    /// Seconds that the server calls it fresh for, or for which it is likely to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lifetime: Option<u64>,
    /// True if that was guessed from the dates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) guessed: bool,
    /// Seconds for which another cache had it when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) age: Option<u64>,
    /// True if its server forbids to use it when it is not fresh.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) must_revalidate: bool,
    /// True if its server does not want it kept for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unshared: bool,
    /// True if the end of the body can't be told from a connection that broke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) open_ended: bool,
}

impl Head {
    /// Entity tag that stands for the very bytes.
    pub(super) fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/"))
    }

    /// Condition under which a part of the content may be asked for: a strong tag, or a date if it was an old one at the first answer.
    pub(super) fn if_range(&self) -> Option<String> {
        if let Some(tag) = self.strong() {
            return Some(tag.to_owned());
        }
        self.last_modified.clone().filter(|_| self.etag.is_none() && self.has_old_date())
    }

    /// Tells whether the content had been as it is for a while at the first answer: a date is to the second (RFC 9110, section 8.8.2.2).
    pub(super) fn has_old_date(&self) -> bool {
        let date = |text: &Option<String>| httpdate::parse_http_date(text.as_deref()?).ok();
        let since = date(&self.date).zip(date(&self.last_modified));
        since
            .and_then(|(now, then)| now.duration_since(then).ok())
            .is_some_and(|since| since >= Duration::from_secs(60))
    }

    /// Tells whether it is that of a page for people.
    pub(super) fn is_page(&self) -> bool {
        let kind = self.content_type.as_deref().unwrap_or_default().trim_start().to_ascii_lowercase();
        kind.starts_with("text/html") || kind.starts_with("application/xhtml")
    }

    /// Tells whether another head came from the host that this one came from.
    pub(super) fn is_from_host_of(&self, other: &Self) -> bool {
        let host = |head: &Self| Key::parse(&head.url).map(|key| key.host().to_owned()).ok();
        host(self) == host(other)
    }

    /// Tells whether another head has this tag, by comparing weakly.
    pub(super) fn has_tag_of(&self, other: &Self) -> bool {
        let bare = |head: &Self| head.etag.as_deref().map(|tag| tag.trim_start_matches("W/").to_owned());
        self.etag.is_some() && bare(self) == bare(other)
    }

    /// Tells whether another head has this strong tag: then its bytes are these.
    pub(super) fn has_strong_tag_of(&self, other: &Self) -> bool {
        self.strong().is_some() && self.strong() == other.strong()
    }

    /// Tells whether another head is that of the same content, by its tag, or by length and date: mirrors have tags of their own.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_date = self.last_modified.is_some() && self.last_modified == other.last_modified;
        let lengths = (self.length, other.length);
        let same_length = lengths.0.is_none() || lengths.1.is_none() || lengths.0 == lengths.1;
        same_length && (self.has_tag_of(other) || (same_date && lengths.0.is_some() && lengths.0 == lengths.1))
    }
}

/// A content that is here completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Name of its files: random, and nothing of the network's.
    pub(super) id: String,
    /// The key, as a URL.
    pub(super) key: String,
    pub(super) head: Head,
    pub(super) size: u64,
    /// Digests of the bytes.
    pub(super) sums: Vec<Sum>,
    /// Level that the bytes reached, and on whose word.
    pub(super) evidence: Evidence,
    /// Digests that were expected, if any were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) expected: Vec<Sum>,
    /// True for what is read for its text: lists, sums, signatures.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) document: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) pinned: bool,
    /// Moving names that stand for it, or stood, with the time at which a list last said so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) names: BTreeMap<String, i64>,
    /// Time at which the last byte came.
    pub(super) fetched_at: i64,
    /// Time at which a server last said that it is current.
    pub(super) checked_at: i64,
    /// Time of the last use, to the minute.
    pub(super) used_at: i64,
    /// The newer index that is held back, of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ahead: Option<AheadIndex>,
}

/// An index that names files which are not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AheadIndex {
    /// Time at which it was found to be so first.
    pub(super) since: i64,
    /// Time at which it was found to be so last.
    pub(super) seen_at: i64,
}

impl Entry {
    /// Digest of the bytes by one algorithm.
    pub(super) fn sum(&self, algorithm: SumAlgorithm) -> Option<&Sum> {
        self.sums.iter().find(|sum| sum.algorithm() == algorithm)
    }

    /// Entity tag for our clients: the server's, or one of the bytes' own where that is none.
    pub(super) fn etag(&self) -> Option<String> {
        let own = || self.sum(SumAlgorithm::Sha256).map(|sum| format!("\"{}\"", sum.hex()));
        self.head.etag.clone().or_else(own)
    }

    /// Digests in the form that images have.
    pub(super) fn digests(&self) -> Digests {
        Digests {
            md5: self.sum(SumAlgorithm::Md5).and_then(|sum| sum.bytes().try_into().ok()),
            sha256: self.sum(SumAlgorithm::Sha256).and_then(|sum| sum.bytes().try_into().ok()),
            sha512: self.sum(SumAlgorithm::Sha512).and_then(|sum| sum.bytes().try_into().ok()),
        }
    }

    /// Expectation that the bytes met.
    pub(super) fn expectation(&self) -> Expectation {
        let (sums, evidence) = (self.expected.clone(), self.evidence.clone());
        Expectation { size: Some(self.size), sums, evidence, others: Vec::new() }
    }

    /// The key.
    ///
    /// # Errors
    /// As [`Key::parse`], for one that was changed by other hands.
    pub(super) fn key(&self) -> Result<Key> {
        Key::parse(&self.key)
    }
}

/// A transfer that can go on: written down while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    /// Name of its files.
    pub(super) id: String,
    /// The key, as a URL.
    pub(super) key: String,
    pub(super) head: Head,
    /// Durable bytes: starts and ends of spans.
    pub(super) extents: Vec<(u64, u64)>,
    /// Written bytes, which a process that dies leaves behind, and a machine that does may not.
    #[serde(default)]
    pub(super) written: Vec<(u64, u64)>,
    /// Run of the machine in which they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<String>,
    /// True for what is read for its text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) document: bool,
    /// Time of the last progress.
    pub(super) written_at: i64,
}

impl Sidecar {
    /// Spans that can be relied on in a run of the machine.
    pub(super) fn spans(&self, boot: Option<&str>) -> &[(u64, u64)] {
        if boot.is_some() && self.boot.as_deref() == boot { &self.written } else { &self.extents }
    }

    /// Bytes that its file may have.
    pub(super) fn bytes(&self) -> u64 {
        self.extents.iter().chain(&self.written).map(|(_, end)| *end).max().unwrap_or(0)
    }
}

/// Bytes that were not the expected ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suspect {
    /// The entry that they would have become.
    pub(super) entry: Entry,
    /// Time at which they were put away.
    pub(super) put_at: i64,
}

impl EntryView {
    /// State of a file that is coming in.
    pub const FILLING: &str = "filling";
}

/// An entry as people see it.
#[derive(Debug, Clone)]
pub struct EntryView {
    /// URL that it is an answer for.
    pub url: String,
    /// Size in bytes; of a transfer, those that are here.
    pub size: u64,
    /// Bytes that it will have, of a transfer whose length is known.
    pub of: Option<u64>,
    /// State in one word: `immutable`, `fresh`, `stale`, `filling`, `partial`.
    pub state: &'static str,
    /// Level that the bytes reached.
    pub level: Level,
    /// Line about the level, for people.
    pub words: String,
    /// SHA-256 in hexadecimal, of what is complete.
    pub sha256: Option<String>,
    /// True for lists, sums and signatures.
    pub document: bool,
    /// True if it is never removed for room.
    pub pinned: bool,
    /// Time at which the last byte came.
    pub fetched_at: Timestamp,
    /// Time at which a server last said that it is current.
    pub checked_at: Timestamp,
    /// Time of the last use, to the minute.
    pub used_at: Timestamp,
}
