//! Virtual PC's format. Numbers are in network order.
//!
//! A footer at the end says what the disk is; before it lie the disk's bytes (fixed), or a copy of the footer begins the
//! file (dynamic, differencing). A differencing disk lies over another one, which it names by paths.

use super::bytes::{be32, be64, disk_size};
use super::{Danger, Detected, HeaderFacts, SeenBytes};

const MAGIC: &[u8] = b"conectix";
const FOOTER: usize = 512;
/// Old versions of Virtual PC wrote a byte less.
const OLD_FOOTER: usize = 511;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let first = seen.head().get(..FOOTER).filter(|header| header.starts_with(MAGIC));
    let tail = seen.tail();
    let ending = |length| tail.len().checked_sub(length).map(|at| &tail[at..]).filter(|end| end.starts_with(MAGIC));
    let last = ending(FOOTER).or_else(|| ending(OLD_FOOTER));
    let (kind, size) = facts(first.or(last)?)?;
    let danger = match (first, last) {
        // Some programs believe the one, some the other.
        (Some(_), Some(last)) if facts(last) != Some((kind, size)) => {
            Some(Danger::Broken("its header and its footer differ"))
        }
        _ => match (kind, disk_size(size)) {
            (_, None) => Some(Danger::Broken("its header makes no sense")),
            (FIXED | DYNAMIC, Some(_)) => None,
            _ => Some(Danger::Parent),
        },
    };
    // All but the disk's own bytes lies between the two.
    let cut = seen.whole && last.is_none();
    let least = if cut { seen.size.saturating_add(FOOTER as u64) } else { 0 };
    Some(HeaderFacts { format: Detected::Vhd, disk_size: disk_size(size), danger, least })
}

/// Tells whether the file begins with the disk's own bytes, which may look like any format.
pub(super) fn is_fixed(seen: &SeenBytes) -> bool {
    !seen.head().starts_with(MAGIC)
}

/// Reads the type and size of the disk from a footer.
fn facts(footer: &[u8]) -> Option<(u32, u64)> {
    be32(footer, 60).zip(be64(footer, 48))
}
