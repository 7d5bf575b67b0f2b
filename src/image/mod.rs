//! The domain: what an image is. Pure values, no I/O, no async, no protocol.
//!
//! An image is one superset record; each protocol shows the part it knows under its own names.

pub mod attr;
pub mod change;
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
pub use self::id::ImageId;
pub use self::lxd_identity::{LxdIdentity, Protocol, UpdateSource};
pub use self::part::{BlobKey, Location, Part, PartKind, StoredAt};
pub use self::status::Status;
pub use self::store_name::StoreName;
pub use self::vocab::{Architecture, Container, Format, ImageKind, MemberStatus, Visibility, Vocabulary};
pub use crate::digest::Digests;

/// A moment: microseconds since 1970-01-01T00:00:00Z. Comes from the clock that `registry` holds, never from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch, as HTTP dates count.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// What happens to an image whose upload does not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The image was made for this upload: it goes.
    Discard,
    /// The image was there before: it waits for another try.
    Fail,
}

/// An upload in flight, noted in the row before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadTicket {
    /// Which run of the server holds it. One of an earlier run is dead.
    pub boot: Uuid,
    /// What to do when it is dead.
    pub fallback: Fallback,
    /// How far it is, if it may be interrupted: then the end of a run does not end it.
    pub resumable: Option<Resumable>,
}

/// How far an upload is that comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumable {
    /// So many bytes are durable.
    pub offset: u64,
    /// How many there will be, once that is known.
    pub size: Option<u64>,
    /// What the sender says they hash to.
    pub digests: Digests,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// An account that an image is shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What it thinks of that.
    pub status: MemberStatus,
    /// Whether it may share the image with others.
    pub can_share: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// When any of this last changed.
    pub updated_at: Timestamp,
}

/// The record. `revision` is the optimistic lock: it grows with every committed change of the whole catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Number of the committed change that made this version.
    pub revision: u64,
    /// Free text, not unique; may be absent.
    pub name: Option<String>,
    /// The account that made it; absent when there are no accounts.
    pub owner: Option<String>,
    /// Who sees it.
    pub visibility: Visibility,
    /// What state it is in.
    pub status: Status,
    /// Disk format.
    pub format: Option<Format>,
    /// What the disk comes wrapped in.
    pub container: Option<Container>,
    /// What it is for.
    pub kind: Option<ImageKind>,
    /// The processor it is for.
    pub architecture: Option<Architecture>,
    /// The store asked for, and once there are bytes the one that has them.
    pub store: Option<StoreName>,
    /// The kernel that goes with it.
    pub kernel: Option<ImageId>,
    /// The initial ramdisk that goes with it.
    pub ramdisk: Option<ImageId>,
    /// The bytes; empty until there are any.
    pub parts: Vec<Part>,
    /// Free attributes.
    pub properties: BTreeMap<String, String>,
    /// Words to find it by.
    pub tags: BTreeSet<String>,
    /// Whom it is shared with, by account. Only counts while the visibility is *shared*.
    pub members: BTreeMap<String, Member>,
    /// Whether it can't be removed.
    pub protected: bool,
    /// Whether lists leave it out unless they are asked for such images, where a protocol knows of that.
    pub hidden: bool,
    /// The smallest disk that it fits on, in GiB.
    pub min_disk: u32,
    /// The least memory that it runs in, in MiB.
    pub min_ram: u32,
    /// Names that stand for it, each with a description. A name stands for one image at a time.
    pub aliases: BTreeMap<String, String>,
    /// Under which name the file came, for those who save it.
    pub filename: Option<String>,
    /// How LXD and Incus know it; absent when they don't.
    pub lxd_identity: Option<LxdIdentity>,
    /// Whether they are to be offered it, if it is a disk that they can use.
    pub offer_to_lxd: bool,
    /// Where it was copied from.
    pub update_source: Option<UpdateSource>,
    /// Whether its place is taken by what its update_source has under the same alias, whenever that is something new.
    pub auto_update: bool,
    /// When what is in it was made, as far as it says so itself.
    pub built_at: Option<Timestamp>,
    /// Until when its makers stand by it, as far as it says so itself.
    pub supported_until: Option<Timestamp>,
    /// When it is removed, because somebody here said so.
    pub expires_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// When its bytes were complete.
    pub uploaded_at: Option<Timestamp>,
    /// The upload in flight, while the status is *saving*.
    pub ticket: Option<UploadTicket>,
}

impl Image {
    /// The image's file, if it is there.
    pub fn main(&self) -> Option<&Part> {
        self.part(PartKind::Main)
    }

    /// A part, if it is there.
    pub fn part(&self, kind: PartKind) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind)
    }

    /// Every place where bytes of this image may be, now or by an upload that is running.
    pub fn places(&self) -> Vec<StoredAt> {
        let stored = self.parts.iter().filter_map(Part::place).cloned();
        let arriving = self.ticket.map(|_| BlobKey::main(self.id, self.format));
        // What describes a disk comes before its record says so, and goes after; by then it may be something else.
        let described = self.main().is_some() && self.lxd_identity.is_none();
        let perhaps = (described || self.ticket.is_some()).then(|| BlobKey::metadata(self.id));
        let unsaid = arriving.into_iter().chain(perhaps);
        let unsaid = unsaid.flat_map(|key| self.homes().into_iter().map(move |store| key.clone().in_store(store)));
        let mut places: Vec<StoredAt> = stored.chain(unsaid).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The stores that have this image's bytes; before it has any, or with bytes that are elsewhere, the one that what we
    /// write for it goes to. Never empty.
    pub fn homes(&self) -> Vec<StoreName> {
        let mains = self.parts.iter().filter(|part| part.kind == PartKind::Main);
        let stores: Vec<_> = mains.filter_map(|part| part.place().map(|place| place.store.clone())).collect();
        if !stores.is_empty() {
            return stores;
        }
        vec![self.store.clone().filter(|store| *store != StoreName::HTTP).unwrap_or(StoreName::FILE)]
    }

    /// The first of them.
    pub fn home(&self) -> StoreName {
        self.homes().swap_remove(0)
    }

    /// The format that the bytes have to have; none when what they are is a container with the disk in it.
    pub fn format_of_bytes(&self) -> Option<Format> {
        self.format.filter(|_| match self.container {
            None | Some(Container::Bare | Container::Ami | Container::Aki | Container::Ari) => true,
            Some(Container::Ovf | Container::Ova | Container::Docker | Container::Compressed) => false,
        })
    }

    /// Size in bytes, if known.
    pub fn size(&self) -> Option<u64> {
        self.main().and_then(|part| part.size)
    }
}

/// How often an image was read. In a row of its own, so that a download does not rewrite the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// How many times.
    pub count: u64,
    /// When last.
    pub last: Option<Timestamp>,
}
