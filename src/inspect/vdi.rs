//! VirtualBox's format. Numbers have their lowest byte first.
//!
//! Undo and differencing images lie over another one, which they name by its id.

use super::bytes::{disk_size, le32, le64, slice};
use super::{Danger, Detected, HeaderFacts, SeenBytes};

const MAGIC: u32 = 0xbeda_107f;
const HEADER: usize = 0x200;
/// Image types that stand for themselves.
const DYNAMIC: u32 = 1;
const FIXED: u32 = 2;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    if le32(head, 0x40) != Some(MAGIC) || head.len() < HEADER {
        return None;
    }
    // The fields below are where version 1 has them.
    if le32(head, 0x44)? >> 16 != 1 {
        return Some(HeaderFacts::unsafe_as(Detected::Vdi, None, Danger::Broken("its version is not known")));
    }
    let size = disk_size(le64(head, 0x170)?);
    // The ids of the image below, and of its last change.
    let alone = slice(head, 0x1a8, 32)?.iter().all(|byte| *byte == 0);
    let danger = match le32(head, 0x4c)? {
        DYNAMIC | FIXED if size.is_none() => Some(Danger::Broken("its header makes no sense")),
        DYNAMIC | FIXED if alone => None,
        _ => Some(Danger::Parent),
    };
    Some(HeaderFacts { format: Detected::Vdi, disk_size: size, danger, least: least(head, size).unwrap_or(0) })
}

/// End of the last block in the file: blocks lie behind the header, one after the other. The last block of the disk
/// reaches beyond its end.
fn least(head: &[u8], disk_size: Option<u64>) -> Option<u64> {
    let field = |at| le32(head, at).map(u64::from);
    let (data, block, extra, blocks, there) =
        (field(0x158)?, field(0x178)?, field(0x17c)?, field(0x180)?, field(0x184)?);
    let beyond = block.checked_mul(blocks)?.saturating_sub(disk_size?);
    let used = (block + extra).checked_mul(there)?.saturating_sub(beyond.min(block));
    if there == 0 { None } else { data.checked_add(used) }
}
