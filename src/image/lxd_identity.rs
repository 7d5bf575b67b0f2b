//! What an image is to LXD and Incus, and where copies come from.

use super::vocab::{Vocabulary, vocabulary};
use super::{Image, ImageKind, Timestamp};

/// How LXD and Incus know an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LxdIdentity {
    /// Its name there: SHA-256 over its metadata and then its root, or over the one file that has both.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the root as it is given out, where that is not the main file as it is: a raw disk gets the head of a qcow2.
    pub root_sha256: Option<[u8; 32]>,
    /// Whether the service made the metadata, of what it knows about a disk.
    pub made: bool,
}

vocabulary! {
    /// The language of a server that images are copied from.
    Protocol {
        /// LXD's own.
        Lxd = "lxd",
        /// The same, as Incus speaks it.
        Incus = "incus",
        /// Files of JSON that say where the others lie.
        Simplestreams = "simplestreams",
    }
}

/// Where an image was copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSource {
    /// URL of the server.
    pub server: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Under which alias it was found there.
    pub alias: String,
    /// The one certificate (PEM) that the server has to show; any that the system trusts, without one.
    pub certificate: Option<String>,
    /// Which kind of image the alias means there, if it may mean several.
    pub kind: Option<ImageKind>,
    /// When it was last asked for something newer.
    pub checked_at: Option<Timestamp>,
    /// Why that failed, if it did.
    pub error: Option<String>,
}

impl Image {
    /// The fingerprint, if LXD and Incus know it.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.lxd_identity.map(|offer| offer.fingerprint)
    }
}
