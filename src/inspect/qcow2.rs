//! QEMU's own formats: qcow, qcow2, qed. Numbers are in network order, but in qed.
//!
//! What they can name: a backing file that lies under the disk, and (qcow2) an external file with all of the data. Both
//! are opened by every program that opens the image, with the rights of that program.

use super::bytes::{be32, be64, disk_size};
use super::{Danger, Detected, HeaderFacts, SeenBytes};

const MAGIC: &[u8] = b"QFI\xfb";
const MAGIC_QED: &[u8] = b"QED\0";
/// The header of version 2, and the shortest of version 3.
const HEADER_V2: usize = 72;
const HEADER_V3: usize = 104;
/// An incompatible feature: the data are in another file.
const DATA_FILE_BIT: u64 = 1 << 2;
/// Dirty, corrupt, data file, compression type, extended L2 entries: an image with any other is not understood.
const KNOWN_BITS: u64 = 0b1_1111;
/// The header extension with the name of the data file.
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    if head.starts_with(MAGIC_QED) {
        return Some(HeaderFacts { format: Detected::Qed, disk_size: None, danger: Some(Danger::Obsolete("qed")) });
    }
    if !head.starts_with(MAGIC) || head.len() < HEADER_V2 {
        return None;
    }
    let version = be32(head, 4)?;
    let size = disk_size(be64(head, 24)?);
    if version == 1 {
        return Some(HeaderFacts {
            format: Detected::Qcow,
            disk_size: size,
            danger: Some(Danger::Obsolete("qcow version 1")),
        });
    }
    let danger = match version {
        2 | 3 => danger(head, version, size).err(),
        _ => Some(Danger::Broken("its version is not known")),
    };
    Some(HeaderFacts { format: Detected::Qcow2, disk_size: size, danger })
}

fn danger(head: &[u8], version: u32, size: Option<u64>) -> Result<(), Danger> {
    let broken = Danger::Broken("its header makes no sense");
    size.ok_or(broken)?;
    // A name without a place is nothing to QEMU, but no writer leaves one either.
    if be64(head, 8) != Some(0) || be32(head, 16) != Some(0) {
        return Err(Danger::BackingFile);
    }
    let cluster = match be32(head, 20) {
        Some(bits @ 9..=21) => 1_usize << bits,
        _ => return Err(broken),
    };
    let mut length = HEADER_V2;
    if version == 3 {
        let features = be64(head, 72).ok_or(broken)?;
        if features & DATA_FILE_BIT != 0 {
            return Err(Danger::DataFile);
        }
        if features & !KNOWN_BITS != 0 {
            return Err(Danger::UnknownFeatures);
        }
        length = be32(head, 100).and_then(|length| usize::try_from(length).ok()).ok_or(broken)?;
        if length < HEADER_V3 || !length.is_multiple_of(8) || length > cluster {
            return Err(broken);
        }
    }
    extensions(head, length, cluster)
}

/// Walks along the header extensions, which end with one of type 0 or with the first cluster. They have a few hundred
/// bytes in practice; one that leads out of what was kept leads nowhere good.
fn extensions(head: &[u8], mut at: usize, end: usize) -> Result<(), Danger> {
    let broken = Danger::Broken("its header extensions make no sense");
    while at.saturating_add(8) <= end {
        let (kind, length) = be32(head, at).zip(be32(head, at + 4)).ok_or(broken)?;
        match kind {
            0 => return Ok(()),
            DATA_FILE_NAME => return Err(Danger::DataFile),
            _ => {}
        }
        let length =
            usize::try_from(length).ok().and_then(|length| length.checked_next_multiple_of(8)).ok_or(broken)?;
        at = at.checked_add(8).and_then(|at| at.checked_add(length)).filter(|at| *at <= end).ok_or(broken)?;
    }
    Ok(())
}
