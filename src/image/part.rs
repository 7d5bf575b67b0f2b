//! The bytes of an image: which part of it they are, and where.

use std::fmt;
use std::str::FromStr;

use super::{Digests, Format, ImageId, StoreName};

/// Where the bytes of a part are. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In one of our stores, written by us and ours to delete.
    Stored(StoredAt),
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

/// A blob of one of our stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredAt {
    /// Which store.
    pub store: StoreName,
    /// Under which key.
    pub key: BlobKey,
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

    /// The blob of this key in a store.
    pub fn in_store(self, store: StoreName) -> StoredAt {
        StoredAt { store, key: self }
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

impl Part {
    /// Where the bytes are in our stores, if they are.
    pub fn place(&self) -> Option<&StoredAt> {
        match &self.location {
            Location::Stored(place) => Some(place),
            Location::File { .. } | Location::Http { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
