//! Keeps of a stream of bytes what tells its format: the first 64 KiB, the last 1.5 KiB, and what a header points to.

use std::ops::Range;

use super::seen::{Regions, SeenBytes};
use super::{Inspection, vhdx};

/// Bytes kept from the beginning of every file: every header but VHDX's tables, and the first descriptors of a disc.
const HEAD: u64 = 64 << 10;

/// Bytes kept from its end, where VHD and streamed VMDK files have footers.
const TAIL: usize = 3 * 512;

/// Inspects the bytes of a file while they pass. Holds 320 KiB at the most, and mostly 64.
#[derive(Debug, Clone)]
pub struct Inspector {
    /// Bytes that have passed.
    size: u64,
    held: Regions,
    /// The next stretch to keep; it begins at `size` or later.
    wanted: Option<Range<u64>>,
    tail: Vec<u8>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

impl Inspector {
    /// An inspector for a new file.
    pub fn new() -> Self {
        Self { size: 0, held: Regions(vec![(0, Vec::new())]), wanted: Some(0..HEAD), tail: Vec::new() }
    }

    /// Takes the next bytes, in pieces of any size. Once the first ones are there this costs a comparison and the tail.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.keep_tail(bytes);
        while let Some(wanted) = &self.wanted {
            let before = wanted.start.saturating_sub(self.size).min(bytes.len() as u64);
            self.size += before;
            bytes = &bytes[before as usize..];
            let taken = wanted.end.saturating_sub(self.size).min(bytes.len() as u64);
            let full = self.size + taken == wanted.end;
            if taken > 0
                && let Some((_, kept)) = self.held.0.last_mut()
            {
                kept.extend_from_slice(&bytes[..taken as usize]);
            }
            self.size += taken;
            bytes = &bytes[taken as usize..];
            if !full {
                return;
            }
            // Only VHDX points to more; each answer lies behind the one before.
            self.wanted = vhdx::wants(&self.held).filter(|next| next.start >= self.size);
            if let Some(next) = &self.wanted {
                self.held.0.push((next.start, Vec::new()));
            }
        }
        self.size += bytes.len() as u64;
    }

    /// The next stretch to feed of a file of `size` bytes; bytes before it may be left out with [`Inspector::skip_to`].
    /// `None`: nothing more is needed.
    pub fn wants(&self, size: u64) -> Option<Range<u64>> {
        let tail = size.saturating_sub(TAIL as u64);
        let next = match &self.wanted {
            Some(wanted) if wanted.start < tail => wanted.start..wanted.end.min(size),
            _ => tail..size,
        };
        let next = next.start.max(self.size)..next.end;
        (!next.is_empty()).then_some(next)
    }

    /// Leaves out what lies before this place and is not wanted.
    pub fn skip_to(&mut self, at: u64) {
        if at > self.size {
            self.tail.clear();
            self.size = at;
        }
    }

    /// Ends the file and inspects it.
    pub fn finish(self) -> Inspection {
        Inspection::of(&SeenBytes { size: self.size, held: self.held, tail: self.tail })
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let stays = TAIL.saturating_sub(bytes.len());
        let goes = self.tail.len().saturating_sub(stays);
        self.tail.drain(..goes);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }
}
