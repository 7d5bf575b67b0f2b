//! Linux's encrypted disks: their content cannot be inspected.

use super::{Detected, Found, Seen};

/// Recognises a file of this format.
pub(super) fn look(seen: &Seen) -> Option<Found> {
    let known = matches!(seen.head().get(..8)?, [b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, 1 | 2]);
    known.then_some(Found { format: Detected::Luks, disk_size: None, danger: None })
}
