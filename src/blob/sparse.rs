//! Finding the parts of an image that are nothing but zeros: they need no space.

use std::ops::Range;

/// Zeros are looked for in blocks of this, at multiples of this in the file. Smaller holes cost more in extents than
/// they save.
const BLOCK: usize = 64 * 1024;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A stretch of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Bytes to be written.
    Data(Range<usize>),
    /// Whole blocks of zeros.
    Zeros(Range<usize>),
}

/// Divides a chunk that stands at `offset` of its file. Neighbours are of different kinds.
pub(super) fn stretches(chunk: &[u8], offset: u64) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut at = 0;
    while at < chunk.len() {
        let into_block = ((offset + at as u64) % BLOCK as u64) as usize;
        let end = chunk.len().min(at + BLOCK - into_block);
        // A comparison with constants ends at the first byte of what is not zero: data costs next to nothing.
        let zeros = end - at == BLOCK && chunk[at..end] == ZEROS;
        match found.last_mut() {
            Some(Stretch::Zeros(range)) if zeros => range.end = end,
            Some(Stretch::Data(range)) if !zeros => range.end = end,
            _ => found.push(if zeros { Stretch::Zeros(at..end) } else { Stretch::Data(at..end) }),
        }
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Stretch::{Data, Zeros};
    use super::*;

    #[test]
    fn whole_blocks_of_zeros_are_found() {
        let mut chunk = vec![0; BLOCK * 4];
        assert_eq!(stretches(&chunk, 0), [Zeros(0..BLOCK * 4)]);
        chunk[BLOCK * 2] = 1;
        assert_eq!(
            stretches(&chunk, 0),
            [Zeros(0..BLOCK * 2), Data(BLOCK * 2..BLOCK * 3), Zeros(BLOCK * 3..BLOCK * 4)]
        );
        // At another place in the file the blocks are other ones.
        let edges = [0, 1, 1 + BLOCK, 1 + BLOCK * 2, 1 + BLOCK * 3, BLOCK * 4];
        let [first, second, third, fourth, fifth] = [0, 1, 2, 3, 4].map(|n| edges[n]..edges[n + 1]);
        let moved = [Data(first), Zeros(second), Data(third), Zeros(fourth), Data(fifth)];
        assert_eq!(stretches(&chunk, BLOCK as u64 - 1), moved);
        assert_eq!(stretches(&chunk[..BLOCK - 1], 0), [Data(0..BLOCK - 1)]);
        assert_eq!(stretches(&[], 5), []);
    }

    #[test]
    fn the_stretches_are_the_chunk() {
        for (offset, length) in [(0, 0), (0, 1), (7, BLOCK * 3 + 5), (BLOCK as u64, BLOCK)] {
            let mut at = 0;
            for stretch in stretches(&vec![0; length], offset) {
                let (Data(range) | Zeros(range)) = stretch;
                assert_eq!(range.start, at);
                at = range.end;
            }
            assert_eq!(at, length);
        }
    }
}
