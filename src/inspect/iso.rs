//! Optical discs: ISO 9660, and UDF without it. The first 32 KiB are anybody's: boot loaders and partition tables lie
//! there, so that the same image starts from a stick.

use super::bytes::{le16, le32, slice};
use super::{Detected, HeaderFacts, SeenBytes};

/// Behind the type of the first volume descriptor.
const IDENTIFIER: usize = (32 << 10) + 1;
const PRIMARY: u8 = 1;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let identifier = slice(seen.head(), IDENTIFIER, 5)?;
    let least = match identifier {
        b"CD001" => volume(seen.head()).unwrap_or(0),
        b"BEA01" => 0,
        _ => return None,
    };
    Some(HeaderFacts::fine(Detected::Iso, least))
}

/// Bytes of the volume that the first descriptor describes, if it is a primary one.
fn volume(head: &[u8]) -> Option<u64> {
    let descriptor = slice(head, IDENTIFIER - 1, 2048)?;
    let block = le16(descriptor, 128).filter(|block| matches!(block, 512 | 1024 | 2048))?;
    (descriptor[0] == PRIMARY).then(|| Some(u64::from(le32(descriptor, 80)?) * u64::from(block)))?
}
