//! The domain: what an image is. Pure values, no I/O, no async, no protocol.
//!
//! An image is one superset record; each protocol shows the part it knows under its own names.

pub mod attr;
pub mod bundle;
pub mod change;
pub mod digest;
pub mod inspect;
mod offer;
pub mod query;
pub mod status;
#[cfg_attr(not(target_arch = "x86_64"), path = "unstitched.rs")]
pub mod stitched;
mod vocab;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

pub use self::attr::{Attr, Value, ValueType};
pub use self::change::ImagePatch;
pub use self::digest::Digests;
pub use self::offer::{Offer, Protocol, UpdateSource};
pub use self::status::Status;
pub use self::vocab::{Architecture, Container, Format, ImageKind, MemberStatus, StoreName, Visibility, Vocabulary};

/// Names an image for ever: a UUID, in lower case and with hyphens wherever it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(Uuid);

impl ImageId {
    /// A new random (version 4) id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id with these sixteen bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes, in the order in which ids sort.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for ImageId {
    type Err = ();

    /// Only the canonical spelling names an image: 36 characters, hyphens in their places. The other spellings of
    /// a UUID (braces, no hyphens, `urn:`) would give one image many URLs.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 36 {
            return Err(());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| ())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A moment: microseconds since 1970-01-01T00:00:00Z. Comes from the clock that `registry` holds, never from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch, as HTTP dates count.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// Where the bytes of a part are. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In one of our stores, written by us and ours to delete.
    Stored {
        /// Which store.
        store: StoreName,
        /// Under which key.
        key: BlobKey,
    },
    /// A file of the operator's, below a directory that the configuration opens for this. Read, never deleted.
    File {
        /// Absolute path.
        path: String,
    },
    /// At somebody's URL. Read through the guarded fetcher, never deleted.
    Http {
        /// `http` or `https`, without user information.
        url: String,
    },
}

/// Names a blob within its store: `<image id>.<suffix>`, made by us out of an id and a closed set of suffixes.
///
/// Nothing from the network is ever part of it, so it is safe as a file name by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(String);

/// The suffix of [`BlobKey::metadata`]; no format is called so.
const METADATA: &str = "metadata";

impl BlobKey {
    /// The key of an image's main file. The suffix is its format, as a person would name the file; `none` without one.
    pub fn main(id: ImageId, format: Option<Format>) -> Self {
        Self(format!("{id}.{}", format.map_or("none", Format::name)))
    }

    /// The key of what describes an image to LXD and Incus.
    pub fn metadata(id: ImageId) -> Self {
        Self(format!("{id}.{METADATA}"))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which image the blob belongs to.
    pub fn image(&self) -> Option<ImageId> {
        self.0.split_once('.').and_then(|(id, _)| id.parse().ok())
    }
}

impl FromStr for BlobKey {
    type Err = ();

    /// Accepts exactly what [`BlobKey::main`] and [`BlobKey::metadata`] make: this is the gate for names read back from a disk.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, suffix) = text.split_once('.').ok_or(())?;
        id.parse::<ImageId>()?;
        let known = ["none", METADATA].contains(&suffix) || Format::parse(suffix).is_some_and(|f| f.name() == suffix);
        if known { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which part of an image some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKind {
    /// The image's file: the disk, the root file system, or an archive that holds everything. All that most protocols know.
    Main,
    /// A small archive that describes the main file to LXD and Incus, where that does not do so itself.
    Metadata,
}

/// Bytes of an image, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which part.
    pub kind: PartKind,
    /// Where the bytes are.
    pub location: Location,
    /// How many there are; unknown only for a URL whose server does not say.
    pub size: Option<u64>,
    /// How large the disk in them is, where that can be told.
    pub virtual_size: Option<u64>,
    /// What they hash to, as far as we computed it ourselves.
    pub digests: Digests,
    /// The entity tag that the owner of a URL gave, without quotes.
    pub etag: Option<String>,
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
pub struct Ticket {
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
    pub offer: Option<Offer>,
    /// Whether they are to be offered it, if it is a disk that they can use.
    pub offered: bool,
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
    pub ticket: Option<Ticket>,
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

    /// Every key under which the store may have bytes of this image, now or by an upload that is running.
    pub fn keys(&self) -> Vec<BlobKey> {
        let stored = self.parts.iter().filter_map(|part| match &part.location {
            Location::Stored { key, .. } => Some(key.clone()),
            Location::File { .. } | Location::Http { .. } => None,
        });
        let arriving = self.ticket.map(|_| BlobKey::main(self.id, self.format));
        // What describes it comes before its record says so.
        let described = self.offer.is_none() && matches!(self.format, Some(Format::Qcow2 | Format::Raw));
        let perhaps = (described || self.ticket.is_some()).then(|| BlobKey::metadata(self.id));
        stored.chain(arriving).chain(perhaps).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let id = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";
        assert_eq!(id.parse::<ImageId>().map(|i| i.to_string()), Ok(id.to_owned()));
        assert_eq!(id.to_uppercase().parse::<ImageId>().map(|i| i.to_string()), Ok(id.to_owned()));
        for bad in
            ["", "x", "{edfa919a-0415-4d26-b54d-ae78ffc4dc79}", "edfa919a04154d26b54dae78ffc4dc79", "../../etc/passwd"]
        {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn blob_keys_read_back_only_what_we_write() {
        let id = ImageId::random();
        for key in [BlobKey::main(id, None), BlobKey::main(id, Some(Format::Qcow2)), BlobKey::metadata(id)] {
            assert_eq!(key.as_str().parse(), Ok(key.clone()));
            assert_eq!(key.image(), Some(id));
        }
        for bad in [format!("{id}"), format!("{id}.exe"), format!("../{id}.iso"), format!("{id}.iso/x"), "x.iso".into()]
        {
            assert!(bad.parse::<BlobKey>().is_err(), "{bad}");
        }
    }
}
