//! Linux's encrypted disks: their content cannot be inspected.

use super::{Detected, HeaderFacts, SeenBytes};

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let known = matches!(seen.head().get(..8)?, [b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, 1 | 2]);
    known.then_some(HeaderFacts::fine(Detected::Luks, 0))
}
