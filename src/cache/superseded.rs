//! The seam to other files within the budget: the images of the registry, which the cache knows nothing of.

use std::collections::HashSet;

use async_trait::async_trait;

use crate::error::Result;
use crate::vendor::Sum;

/// A file, or an image, that was or would be removed for room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// URL, or another name for people.
    pub what: String,
    /// Bytes that the disk has more without it.
    pub bytes: u64,
    /// Reason for people.
    pub reason: String,
}

/// A file on a disk, and how many names it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOnDisk {
    /// Number of the disk.
    pub device: u64,
    /// Number of the file on its disk.
    pub inode: u64,
    /// Names of the file.
    pub names: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// A build of an image that a newer one replaced, and that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupersededBuild {
    /// Id for [`Superseded::remove`].
    pub id: String,
    /// Name for people.
    pub what: String,
    /// Reason for people.
    pub reason: String,
    /// URL of the file that it was made of. What the cache has of that goes with it.
    pub url: String,
    /// Its own files.
    pub files: Vec<FileOnDisk>,
}

/// Pulled images, as far as room is made by removing them, or others must not go because of them.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// Builds that may go, the first to go first.
    pub builds: Vec<SupersededBuild>,
    /// Digests of files that have to stay.
    pub locked: HashSet<Sum>,
    /// URLs of the sums and signatures that verify an image.
    pub documents: HashSet<String>,
}

/// Images that share the budget.
#[async_trait]
pub trait Superseded: Send + Sync {
    /// Pulled images as they are now.
    ///
    /// # Errors
    /// `Internal` when it can't be told.
    async fn stock(&self) -> Result<Stock>;

    /// Removes a build, if it may still go; tells if it did.
    ///
    /// # Errors
    /// Those of the removal; the next one is tried then.
    async fn remove(&self, build: &SupersededBuild) -> Result<bool>;
}
