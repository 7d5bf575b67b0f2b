//! The bytes of a file that were kept while it passed by, for the readers of headers.
//!
//! Does not know how they were chosen: that is the inspector's.

use super::bytes::slice;

/// The stretches of a file that were kept, each with its place; the first begins at zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Regions(pub(super) Vec<(u64, Vec<u8>)>);

/// The kept bytes of a whole file, and its size.
pub(super) struct SeenBytes {
    pub(super) size: u64,
    pub(super) held: Regions,
    pub(super) tail: Vec<u8>,
}

impl Regions {
    /// The first bytes of the file.
    pub(super) fn head(&self) -> &[u8] {
        self.0.first().map_or(&[], |(_, bytes)| bytes)
    }

    /// The bytes at a place, if all of them were kept.
    pub(super) fn read(&self, at: u64, length: usize) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            slice(bytes, from, length)
        })
    }
}

impl SeenBytes {
    /// The first bytes: 64 KiB, or all there are.
    pub(super) fn head(&self) -> &[u8] {
        self.held.head()
    }

    /// The last bytes: 1.5 KiB, or all there are.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }
}
