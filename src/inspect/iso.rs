//! Optical discs: ISO 9660, and UDF without it. The first 32 KiB are anybody's: boot loaders and partition tables lie
//! there, so that the same image starts from a stick.

use super::bytes::slice;
use super::{Detected, HeaderFacts, SeenBytes};

/// Behind the type of the first volume descriptor.
const IDENTIFIER: usize = (32 << 10) + 1;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let identifier = slice(seen.head(), IDENTIFIER, 5)?;
    let known = identifier == b"CD001" || identifier == b"BEA01";
    known.then_some(HeaderFacts { format: Detected::Iso, disk_size: None, danger: None })
}
