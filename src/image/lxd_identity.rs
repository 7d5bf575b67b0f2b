//! The identity of an image in LXD and Incus, and the source of a pulled image.

use super::vocab::{Vocabulary, vocabulary};
use super::{Architecture, Image, ImageKind, Timestamp};

/// The identity of an image in LXD and Incus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LxdIdentity {
    /// Fingerprint: SHA-256 over the metadata and then the root, or over the one file that has both.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the root as served, where it differs from the main file: a raw disk gets the head of a qcow2.
    pub root_sha256: Option<[u8; 32]>,
    /// True if the service made the metadata, from its record of a disk.
    pub made: bool,
}

/// The part of an alias' key that its image decides: an account may give an alias to one image of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasSlot {
    /// Processor of the image.
    pub architecture: Option<Architecture>,
    /// The image is of a container; otherwise it is of a virtual machine.
    pub is_container: bool,
}

vocabulary! {
    /// Protocol of a server that images are copied from.
    Protocol {
        /// LXD's own.
        Lxd = "lxd",
        /// LXD's, as Incus speaks it.
        Incus = "incus",
        /// JSON files with the paths of the others.
        Simplestreams = "simplestreams",
    }
}

/// The source of a pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSource {
    /// URL of the server.
    pub server: String,
    /// Protocol of the server.
    pub protocol: Protocol,
    /// Alias of the image on the server.
    pub alias: String,
    /// The one certificate (PEM) that the server must present; without one, any that the system trusts.
    pub certificate: Option<String>,
    /// Kind of image that the alias means there, if it may mean several.
    pub kind: Option<ImageKind>,
    /// Time of the last check for a newer image.
    pub checked_at: Option<Timestamp>,
    /// Error of that check, if it failed.
    pub error: Option<String>,
}

impl Image {
    /// Fingerprint, if LXD and Incus know the image.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.lxd_identity.map(|offer| offer.fingerprint)
    }

    /// Tells if the image is of a container. Every other image is of a machine.
    pub fn is_container(&self) -> bool {
        self.kind == Some(ImageKind::Container)
    }

    /// Slot that the image takes in the key of each of its aliases.
    pub fn alias_slot(&self) -> AliasSlot {
        AliasSlot { architecture: self.architecture, is_container: self.is_container() }
    }
}
