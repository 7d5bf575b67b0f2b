//! The bytes of a file that were kept while it passed by, for the readers of headers.
//!
//! Does not know how they were chosen: that is the inspector's.

use super::Danger;

/// The kept bytes of a file, and its size.
pub(super) struct SeenBytes {
    pub(super) size: u64,
    /// The first bytes: 64 KiB, or all there are.
    pub(super) head: Vec<u8>,
    /// The last bytes: 1.5 KiB, or all there are.
    pub(super) tail: Vec<u8>,
    /// Facts out of the tables that a header points to.
    pub(super) tables: TableFacts,
    /// False if the file was not read to its end: then nothing is missing because it was not seen.
    pub(super) whole: bool,
}

/// Facts out of the tables that a header points to.
pub(super) struct TableFacts {
    /// Bytes that the file has at least.
    pub(super) least: u64,
    /// The size of the disk, and whether it lies over another one; `None` where the tables do not say that.
    pub(super) disk: Option<Result<(u64, bool), Danger>>,
}

impl SeenBytes {
    /// The first bytes: 64 KiB, or all there are.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The last bytes: 1.5 KiB, or all there are.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }
}
