//! Freshness: how long what a server said may be believed. Pure; RFC 9111, within bounds of our own.
//!
//! A server's `immutable`, and a year for a name that says `latest`, are not believed: vendors have served broken files so.

use super::entry::{Entry, Head};
use super::key::Key;
use crate::fetch::{Exchanged, Told};
use crate::image::Timestamp;
use crate::vendor::{Level, is_moving};

/// Freshness that is never cut short, whatever a server says.
const LEAST: u64 = 5;

const HOUR: u64 = 3600;

/// Documents without a time of their own.
const DOCUMENTS: u64 = 15 * 60;

/// Time for which a server is not asked again, whatever a client says.
pub(super) const ASKED_LATELY_US: i64 = 5_000_000;

/// State of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgeState {
    /// No server is ever asked again.
    Immutable,
    /// No server is asked for these seconds.
    Fresh(i64),
    /// A server has to be asked, if one can be.
    Stale,
}

impl AgeState {
    /// Word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Immutable => "immutable",
            Self::Fresh(_) => "fresh",
            Self::Stale => "stale",
        }
    }
}

/// Judges an entry.
pub(super) fn state(entry: &Entry, key: &Key, now: Timestamp) -> AgeState {
    let is_named = !is_moving(key.url()) && !entry.document;
    if is_named && entry.evidence.level >= Level::Checksum {
        return AgeState::Immutable;
    }
    let left = ttl(entry, key) - (now.seconds() - entry.checked_at.div_euclid(1_000_000));
    if left > 0 { AgeState::Fresh(left) } else { AgeState::Stale }
}

/// Seconds for which an entry is fresh after a check.
fn ttl(entry: &Entry, key: &Key) -> i64 {
    let usual = if entry.document { DOCUMENTS } else { HOUR };
    let said = entry.head.lifetime.map_or(usual, |said| if entry.head.guessed { said.min(usual) } else { said });
    let seconds = match (entry.document, is_moving(key.url())) {
        (true, _) => said.clamp(60, HOUR),
        (false, true) => said.clamp(LEAST, HOUR),
        (false, false) => said.clamp(LEAST, 24 * HOUR),
    };
    let left = seconds.saturating_sub(entry.head.age.unwrap_or(0)).max(LEAST);
    i64::try_from(left).unwrap_or(i64::MAX)
}

/// Reads the head of an answer about a whole content.
pub(super) fn head_of(answer: &Exchanged) -> Head {
    let told = &answer.told;
    let text = |name: &str| told.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let control = Control::of(told);
    let said = control.lifetime(told);
    let length = match answer.status {
        206 | 416 => told.content_range().and_then(|range| range.total),
        304 => None,
        _ => answer.length,
    };
    Head {
        url: answer.url.clone(),
        etag: told.etag().map(str::to_owned),
        last_modified: text("last-modified"),
        date: text("date"),
        content_type: text("content-type"),
        length,
        lifetime: said.or_else(|| guessed(told)),
        guessed: said.is_none(),
        age: told.text("age").and_then(|age| age.trim().parse().ok()),
        must_revalidate: control.must_revalidate,
        unshared: control.unshared || told.text("vary").is_some_and(|vary| vary.contains('*')),
        open_ended: length.is_none() && told.text("transfer-encoding").is_none(),
    }
}

/// Takes over what a 304 says anew.
pub(super) fn freshen(head: &mut Head, answer: &Exchanged) {
    let new = head_of(answer);
    (head.lifetime, head.guessed, head.age) = (new.lifetime, new.guessed, new.age);
    head.must_revalidate = new.must_revalidate;
    head.url = new.url;
}

#[derive(Debug, Default)]
struct Control {
    s_maxage: Option<u64>,
    max_age: Option<u64>,
    no_cache: bool,
    must_revalidate: bool,
    unshared: bool,
}

impl Control {
    fn of(told: &Told) -> Self {
        let mut control = Self::default();
        for directive in told.text("cache-control").unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || value.trim().trim_matches('"').parse().ok();
            match name.trim().to_ascii_lowercase().as_str() {
                "s-maxage" => control.s_maxage = seconds(),
                "max-age" => control.max_age = seconds(),
                "no-cache" => control.no_cache = true,
                "must-revalidate" | "proxy-revalidate" => control.must_revalidate = true,
                "no-store" | "private" => control.unshared = true,
                _ => {}
            }
        }
        control
    }

    /// Seconds that the server says.
    fn lifetime(&self, told: &Told) -> Option<u64> {
        if self.no_cache {
            return Some(0);
        }
        // An `Expires` that is no date, or a past one, means now.
        let expires = || told.text("expires").map(|_| between(told, "date", "expires").unwrap_or(0));
        self.s_maxage.or(self.max_age).or_else(expires)
    }
}

/// Seconds for which a content is likely to stay as it is: a tenth of those since its last change (RFC 9111, section 4.2.2).
fn guessed(told: &Told) -> Option<u64> {
    between(told, "last-modified", "date").map(|unchanged| unchanged / 10)
}

/// Seconds between two dates of an answer.
fn between(told: &Told, from: &str, to: &str) -> Option<u64> {
    let date = |name| told.text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    Some(date(to)?.duration_since(date(from)?).ok()?.as_secs())
}

/// Endings of what is read for its text.
const TEXTS: [&str; 24] = [
    ".json",
    ".sjson",
    ".yaml",
    ".yml",
    ".txt",
    ".html",
    ".htm",
    ".xml",
    ".gpg",
    ".asc",
    ".sig",
    ".sign",
    ".minisig",
    ".md5",
    ".sha1",
    ".sha256",
    ".sha512",
    ".sha256sum",
    ".sha512sum",
    ".checksum",
    ".digests",
    ".toml",
    ".pem",
    ".csv",
];

/// Names of documents, in lower case.
const NAMES: [&str; 9] = [
    "sha512sums",
    "sha256sums",
    "sha1sums",
    "md5sums",
    "checksum",
    "sha256",
    "sha512",
    "meta-release",
    "imagelist-fedora",
];

/// Tells whether a key is that of a document: a list, sums, a signature; short, and wanted current.
pub(super) fn is_document(key: &Key) -> bool {
    let last = key.path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let is_sums =
        |name: &&str| last == **name || last.ends_with(&format!("-{name}")) || last.starts_with(&format!("{name}."));
    last.is_empty() || TEXTS.iter().any(|end| last.ends_with(end)) || NAMES.iter().any(is_sums)
}

/// Endings of files that are no pages.
const FILES: [&str; 16] = [
    ".qcow2",
    ".img",
    ".raw",
    ".iso",
    ".vmdk",
    ".vhd",
    ".vhdx",
    ".vdi",
    ".squashfs",
    ".tar",
    ".xz",
    ".gz",
    ".bz2",
    ".zst",
    ".tgz",
    ".ova",
];

/// Tells whether a key is that of an image or an archive, by its name.
pub(super) fn is_file(key: &Key) -> bool {
    let path = key.path().to_ascii_lowercase();
    FILES.iter().any(|ending| path.ends_with(ending))
}
