//! The domain: the record of an image. Pure values, no I/O, no async, no protocol.
//!
//! An image is one superset record; each protocol shows its part of it under its own names.

pub mod attr;
pub mod change;
mod declared;
#[cfg(test)]
pub(crate) mod full_tests;
mod id;
mod lxd_identity;
mod part;
pub mod query;
pub mod status;
mod store_name;
mod vocab;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

pub use self::attr::{Attr, Value, ValueType};
pub use self::change::ImagePatch;
pub use self::declared::Declared;
pub use self::id::ImageId;
pub use self::lxd_identity::{AliasSlot, LxdIdentity, Protocol, UpdateSource};
pub use self::part::{BlobKey, Location, Part, PartKind, StoredAt};
pub use self::status::Status;
pub use self::store_name::StoreName;
pub use self::vocab::{Architecture, Container, Format, ImageKind, MemberStatus, Visibility, Vocabulary};
pub use crate::digest::Digests;

/// A moment: microseconds since 1970-01-01T00:00:00Z. Comes from the clock that `registry` holds, never from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch, as in HTTP dates.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// Fate of an image whose upload does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The image was made for this upload: it is removed.
    Discard,
    /// The image existed before: it waits for another upload.
    Fail,
}

/// An upload in flight, noted in the row before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadTicket {
    /// Run of the server that holds the upload. Uploads of earlier runs are dead.
    pub boot: Uuid,
    /// Fate of the image when the upload is dead.
    pub fallback: Fallback,
    /// Progress, if the upload may be interrupted: the end of a run then does not end it.
    pub resumable: Option<Resumable>,
}

/// Progress of an upload in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumable {
    /// Number of durable bytes.
    pub offset: u64,
    /// Number of all bytes, once known.
    pub size: Option<u64>,
    /// Digests that the sender announced.
    pub digests: Digests,
    /// Time at which the upload is abandoned.
    pub expires_at: Timestamp,
    /// True for bytes that are put aside for an import, which alone makes them the image's own.
    pub staged: bool,
}

/// An account that an image is shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Answer of the account.
    pub status: MemberStatus,
    /// Permission to share the image with others.
    pub can_share: bool,
    /// Time of the invitation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// The record. `revision` is the optimistic lock: it grows with every committed change of the whole catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Id.
    pub id: ImageId,
    /// Number of the committed change that made this version.
    pub revision: u64,
    /// Free text, not unique; may be absent.
    pub name: Option<String>,
    /// Account that made it; absent without accounts.
    pub owner: Option<String>,
    /// Circle of accounts that see it.
    pub visibility: Visibility,
    /// Stage of its life.
    pub status: Status,
    /// Disk format.
    pub format: Option<Format>,
    /// Container around the disk.
    pub container: Option<Container>,
    /// Purpose.
    pub kind: Option<ImageKind>,
    /// Processor that it runs on.
    pub architecture: Option<Architecture>,
    /// Requested store; once bytes exist, the store that has them.
    pub store: Option<StoreName>,
    /// Kernel that it boots with.
    pub kernel: Option<ImageId>,
    /// Initial ramdisk that it boots with.
    pub ramdisk: Option<ImageId>,
    /// Parts; empty until there are bytes.
    pub parts: Vec<Part>,
    /// Free attributes.
    pub properties: BTreeMap<String, String>,
    /// Words for searching.
    pub tags: BTreeSet<String>,
    /// Accounts that it is shared with. Only counts while the visibility is *shared*.
    pub members: BTreeMap<String, Member>,
    /// Protection against removal.
    pub protected: bool,
    /// Left out of lists that do not ask for hidden images, where a protocol can ask.
    pub hidden: bool,
    /// Smallest disk that it fits on, in GiB.
    pub min_disk: u32,
    /// Least memory that it runs in, in MiB.
    pub min_ram: u32,
    /// Aliases, each with a description. An alias of an owner stands for one image of each [`AliasSlot`].
    pub aliases: BTreeMap<String, String>,
    /// Original name of the file, for clients that save it.
    pub filename: Option<String>,
    /// Identity in LXD and Incus; absent where they don't know it.
    pub lxd_identity: Option<LxdIdentity>,
    /// Offered to LXD and Incus as a virtual machine, if it is a usable disk.
    pub offer_to_lxd: bool,
    /// Its name works like an alias in LXD and Incus, while it is a disk that is offered there.
    pub name_is_alias: bool,
    /// Server that it was copied from.
    pub update_source: Option<UpdateSource>,
    /// Replaced by the image that `update_source` has under its alias, whenever that is a new one.
    pub auto_update: bool,
    /// Build time, if its metadata says so.
    pub built_at: Option<Timestamp>,
    /// End of support by its makers, if its metadata says so.
    pub supported_until: Option<Timestamp>,
    /// Expiry date, set on this server only.
    pub expires_at: Option<Timestamp>,
    /// Time of registration.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Option<Timestamp>,
    /// Time at which its bytes were complete.
    pub uploaded_at: Option<Timestamp>,
    /// The upload in flight, while the status is *saving*.
    pub ticket: Option<UploadTicket>,
}

impl Image {
    /// The main file, if it exists.
    pub fn main(&self) -> Option<&Part> {
        self.part(PartKind::Main)
    }

    /// A part, if it exists.
    pub fn part(&self, kind: PartKind) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind)
    }

    /// Every place that may have bytes of this image, now or by a running upload.
    pub fn places(&self) -> Vec<StoredAt> {
        let stored = self.parts.iter().filter_map(Part::place).cloned();
        let arriving = self.ticket.map(|_| BlobKey::main(self.id, self.format));
        // A disk's description is written before its record names it, and removed after; the format may have changed by then.
        let described = self.main().is_some() && self.lxd_identity.is_none();
        let perhaps = (described || self.ticket.is_some()).then(|| BlobKey::metadata(self.id));
        let unsaid = arriving.into_iter().chain(perhaps);
        let unsaid = unsaid.flat_map(|key| self.homes().into_iter().map(move |store| key.clone().in_store(store)));
        let mut places: Vec<StoredAt> = stored.chain(unsaid).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Stores of ours that hold this image's bytes. Empty for an image without bytes, and for one that is only under a
    /// URL or in a file of the operator's.
    pub fn holders(&self) -> Vec<StoreName> {
        let mains = self.parts.iter().filter(|part| part.kind == PartKind::Main);
        mains.filter_map(|part| part.place().map(|place| place.store.clone())).collect()
    }

    /// The copy of this image's main file that is under a URL.
    pub fn under_url(&self) -> Option<&Part> {
        let remote = |part: &&Part| part.kind == PartKind::Main && matches!(part.location, Location::Http { .. });
        self.parts.iter().find(remote)
    }

    /// Stores that have this image's bytes. Without bytes in our stores, the store that our files for it are written
    /// to. Never empty.
    pub fn homes(&self) -> Vec<StoreName> {
        let stores = self.holders();
        if !stores.is_empty() {
            return stores;
        }
        vec![self.store.clone().filter(|store| *store != StoreName::HTTP).unwrap_or(StoreName::FILE)]
    }

    /// The store that serves downloads: the first that has the bytes, or that of URLs.
    pub fn serving_store(&self) -> StoreName {
        match self.main().map(|main| &main.location) {
            Some(Location::Http { .. }) => StoreName::HTTP,
            _ => self.home(),
        }
    }

    /// The first of its stores.
    pub fn home(&self) -> StoreName {
        self.homes().swap_remove(0)
    }

    /// Size in bytes, if known.
    pub fn size(&self) -> Option<u64> {
        self.main().and_then(|part| part.size)
    }
}

/// Number of reads of an image. In a row of its own, so that a download does not rewrite the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// Number of reads.
    pub count: u64,
    /// Time of the last read.
    pub last: Option<Timestamp>,
}
