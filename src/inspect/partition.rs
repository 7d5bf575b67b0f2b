//! Disks with a table of partitions. Such a table names nothing outside of the disk, so whether it is a good one is not
//! asked here: the sanity is only there to tell it from a boot sector, which ends with the same two bytes.

use super::bytes::{le32, slice};
use super::{Detected, HeaderFacts, SeenBytes};

/// The partition that stands for a GPT in the older table.
const PROTECTIVE: u8 = 0xee;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    if slice(head, 510, 2)? != [0x55, 0xaa] {
        return None;
    }
    let mut used =
        slice(head, 446, 64)?.chunks_exact(16).filter(|entry| entry.iter().any(|byte| *byte != 0)).peekable();
    used.peek()?;
    let mut gpt = false;
    for entry in used {
        let (active, kind) = (entry[0], entry[4]);
        if !matches!(active, 0 | 0x80) || kind == 0 || le32(entry, 12) == Some(0) {
            return None;
        }
        gpt |= kind == PROTECTIVE;
    }
    // Behind the first sector, of which there are two sizes.
    let header = [512, 4096].iter().any(|at| slice(head, *at, 8) == Some(b"EFI PART"));
    let format = if gpt && header { Detected::Gpt } else { Detected::Mbr };
    Some(HeaderFacts::fine(format, 0))
}
