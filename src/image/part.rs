//! The bytes of an image: their part and their place. Knows no store's inside.

use std::fmt;
use std::str::FromStr;

use super::{Digests, Format, ImageId, StoreName};

/// Place of the bytes of a part. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A blob in one of our stores, written by us and ours to delete.
    Stored(StoredAt),
    /// A file of the operator's, below a directory that the configuration opens for images. Read, never deleted.
    File {
        /// Absolute path.
        path: String,
    },
    /// A URL on another server. Read through the guarded fetcher, never deleted.
    Http {
        /// `http` or `https`, without user information.
        url: String,
    },
}

/// A blob of one of our stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredAt {
    /// Store that has it.
    pub store: StoreName,
    /// Key within the store.
    pub key: BlobKey,
}

/// Name of a blob within its store: `<image id>.<suffix>`, made by us from an id and a closed set of suffixes.
///
/// No text from the network is ever part of it, so it is safe as a file name by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(String);

/// Suffix of [`BlobKey::metadata`]; no format has this name.
const METADATA: &str = "metadata";

impl BlobKey {
    /// Key of an image's main file. The suffix is its format, as a person would name the file; `none` without one.
    pub fn main(id: ImageId, format: Option<Format>) -> Self {
        Self(format!("{id}.{}", format.map_or("none", Format::name)))
    }

    /// Key of the description of an image for LXD and Incus.
    pub fn metadata(id: ImageId) -> Self {
        Self(format!("{id}.{METADATA}"))
    }

    /// Blob of this key in a store.
    pub fn in_store(self, store: StoreName) -> StoredAt {
        StoredAt { store, key: self }
    }

    /// Text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Image that the blob belongs to.
    pub fn image(&self) -> Option<ImageId> {
        self.0.split_once('.').and_then(|(id, _)| id.parse().ok())
    }
}

impl FromStr for BlobKey {
    type Err = ();

    /// Accepts exactly the results of [`BlobKey::main`] and [`BlobKey::metadata`]: the gate for names read from a disk.
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

/// Kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKind {
    /// The main file: the disk, the root file system, or an archive that holds everything. Most protocols know no other part.
    Main,
    /// The description: a small archive about the main file for LXD and Incus, where the main file has no metadata.
    Metadata,
}

/// Bytes of an image, with their size and digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Kind of the part.
    pub kind: PartKind,
    /// Place of the bytes.
    pub location: Location,
    /// Size in bytes; unknown only for a URL whose server does not say.
    pub size: Option<u64>,
    /// Size of the disk in the bytes, if known.
    pub virtual_size: Option<u64>,
    /// Digests, as far as this server computed them.
    pub digests: Digests,
    /// Entity tag from the server of a URL, without quotes.
    pub etag: Option<String>,
}

impl Part {
    /// Blob in our stores, if the bytes are in one.
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
