//! Requests: a URL, and a few settings.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::{HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE, VIA};

use super::pin::Pin;
use crate::error::{Error, Result};

/// Headers that a request may have besides the usual ones. A closed set: this room decides what is sent, not the caller
/// with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Processors that an LXD server asks images for.
    LxdArchitectures,
    /// Version of LXD.
    LxdVersion,
    /// Processors that an Incus server asks images for.
    IncusArchitectures,
    /// Version of Incus.
    IncusVersion,
    /// Secret for sending an image to an LXD server.
    LxdSecret,
    /// Fingerprint of an image that is sent to an LXD server.
    LxdFingerprint,
    /// Its file name.
    LxdFilename,
    /// The names under which it is to be found.
    LxdAliases,
    /// Secret for sending an image to an Incus server.
    IncusSecret,
    /// Fingerprint of an image that is sent to an Incus server.
    IncusFingerprint,
    /// Its file name.
    IncusFilename,
    /// The names under which it is to be found.
    IncusAliases,
}

impl Header {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LxdArchitectures => "lxd-server-architectures",
            Self::LxdVersion => "lxd-server-version",
            Self::IncusArchitectures => "incus-server-architectures",
            Self::IncusVersion => "incus-server-version",
            Self::LxdSecret => "x-lxd-secret",
            Self::LxdFingerprint => "x-lxd-fingerprint",
            Self::LxdFilename => "x-lxd-filename",
            Self::LxdAliases => "x-lxd-aliases",
            Self::IncusSecret => "x-incus-secret",
            Self::IncusFingerprint => "x-incus-fingerprint",
            Self::IncusFilename => "x-incus-filename",
            Self::IncusAliases => "x-incus-aliases",
        }
    }
}

/// A request that says more than a URL.
#[derive(Clone)]
pub struct Request {
    pub(super) url: String,
    pub(super) pin: Option<Pin>,
    pub(super) said: Vec<(Header, HeaderValue)>,
    pub(super) patience: Option<Duration>,
    pub(super) once: bool,
}

/// A request for a resource, or a part of it.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// The URL.
    pub url: String,
    /// `HEAD` in place of `GET`.
    pub head: bool,
    /// First byte, and the end (exclusive) if there is one.
    pub range: Option<(u64, Option<u64>)>,
    /// The condition of the range, as its header has it: a strong entity tag in quotes, or a date.
    pub if_range: Option<String>,
    /// Entity tags in quotes, weak ones with `W/`: an answer is wanted only if it has none of these.
    pub if_none_match: Vec<String>,
    /// A date of the server's own: an answer is wanted only if it is newer.
    pub if_modified_since: Option<String>,
    /// Value of `Via`.
    pub via: Option<String>,
    /// Time for everything until the head of the answer: names, connections, redirects. Without it, the usual limits.
    pub head_within: Option<Duration>,
    /// Place that redirects led to, so far; empty without one.
    pub led_to: Arc<Mutex<Option<String>>>,
}

impl Exchange {
    /// Adds the headers.
    pub(super) fn put_headers(&self, mut outgoing: RequestBuilder) -> RequestBuilder {
        if let Some((start, end)) = self.range {
            let last = end.map_or_else(String::new, |end| end.saturating_sub(1).to_string());
            outgoing = outgoing.header(RANGE, format!("bytes={start}-{last}"));
        }
        if !self.if_none_match.is_empty() {
            outgoing = outgoing.header(IF_NONE_MATCH, self.if_none_match.join(", "));
        }
        let texts = [(IF_RANGE, &self.if_range), (IF_MODIFIED_SINCE, &self.if_modified_since), (VIA, &self.via)];
        for (name, value) in texts {
            if let Some(value) = value {
                outgoing = outgoing.header(name, value);
            }
        }
        outgoing
    }
}

/// The bytes that a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// All of them.
    All,
    /// A range.
    Range(&'a Range<u64>),
    /// All from a place on, if the thing still has this strong entity tag.
    From(u64, &'a str),
    /// The headers of an exchange.
    Exchange(&'a Exchange),
}

impl Wanted<'_> {
    /// Adds the headers.
    pub(super) fn put_headers(self, outgoing: RequestBuilder) -> RequestBuilder {
        match self {
            Self::All => outgoing,
            Self::Range(range) => outgoing.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1)),
            Self::From(start, etag) => {
                outgoing.header(RANGE, format!("bytes={start}-")).header(IF_RANGE, format!("\"{etag}\""))
            }
            Self::Exchange(exchange) => exchange.put_headers(outgoing),
        }
    }
}

impl Request {
    /// A request for what is under a URL.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), pin: None, said: Vec::new(), patience: None, once: false }
    }

    /// With a certificate, the server has to have this one, and leads nowhere else. Without, one that the system trusts.
    pub fn pinned(self, pin: Option<Pin>) -> Self {
        Self { pin, ..self }
    }

    /// Sets the time to wait for the head of the answer, and then for each piece of it.
    pub fn within(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// With true, the request is never repeated: what it says is good for one.
    pub fn once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    /// Adds a header.
    ///
    /// # Errors
    /// `Invalid` for a value that can't stand in one: only visible ASCII can.
    pub fn saying(mut self, header: Header, value: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Error::invalid(format!("This can't be said in the header {}.", header.name())))?;
        value.set_sensitive(matches!(header, Header::LxdSecret | Header::IncusSecret));
        self.said.push((header, value));
        Ok(self)
    }
}

impl std::fmt::Debug for Request {
    /// Says nothing of the URL, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("said", &self.said).finish_non_exhaustive()
    }
}
