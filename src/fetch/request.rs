//! What is asked, and of whom: a URL, and the little that may be said besides.

use std::time::Duration;

use reqwest::header::HeaderValue;

use super::pin::Pin;
use crate::error::{Error, Result};

/// All that a request may say in its headers besides what every one says. A closed set: what goes out is decided here,
/// not by whoever brings a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Which processors an LXD server asks images for.
    LxdArchitectures,
    /// Which LXD it is.
    LxdVersion,
    /// The same from an Incus server.
    IncusArchitectures,
    /// Which Incus it is.
    IncusVersion,
    /// What allows to give an LXD server an image.
    LxdSecret,
    /// What an image that an LXD server is given has to hash to.
    LxdFingerprint,
    /// Its file name.
    LxdFilename,
    /// The names under which it is to be found.
    LxdAliases,
    /// What allows to give an Incus server an image.
    IncusSecret,
    /// What an image that an Incus server is given has to hash to.
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
}

impl Request {
    /// A request for what is under a URL.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), pin: None, said: Vec::new(), patience: None }
    }

    /// With a certificate, the server has to have this one, and leads nowhere else. Without, one that the system trusts.
    pub fn pinned(self, pin: Option<Pin>) -> Self {
        Self { pin, ..self }
    }

    /// The same request, which waits so long for the head of the answer and then for each piece of it.
    pub fn within(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// The same request with a header.
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
