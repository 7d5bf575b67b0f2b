//! Keeps of a stream of bytes what tells its format: the first 64 KiB (of a qcow2 more), the last 1.5 KiB, and what its tables say.

use std::ops::Range;

use super::Inspection;
use super::seen::SeenBytes;
use super::tables::Tables;

/// Bytes kept from the beginning of every file: every header but VHDX's tables, and the first descriptors of a disc.
const HEAD: u64 = 64 << 10;

/// Bytes kept from its end, where VHD and streamed VMDK files have footers.
const TAIL: usize = 3 * 512;

/// Stretches that are asked for of a file that can be read anywhere: each may be a request to another server.
const STRETCHES_MAX: usize = 64;

/// Zeros that are fed at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Inspects the bytes of a file while they pass. Holds 2 MiB at the most, and mostly 64 KiB.
#[derive(Debug, Clone)]
pub struct Inspector {
    /// Bytes that have passed.
    size: u64,
    head: Vec<u8>,
    /// Length of the head when it is complete.
    head_end: u64,
    tables: Tables,
    /// The next stretch to keep, from its beginning; what is kept of it is in `piece`.
    wanted: Option<Range<u64>>,
    piece: Vec<u8>,
    tail: Vec<u8>,
    /// Stretches that may still be asked for with [`Inspector::wants`].
    asks: usize,
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

impl Inspector {
    /// An inspector for a new file.
    pub fn new() -> Self {
        Self {
            size: 0,
            head: Vec::new(),
            head_end: HEAD,
            tables: Tables::None,
            wanted: None,
            piece: Vec::new(),
            tail: Vec::new(),
            asks: usize::MAX,
        }
    }

    /// An inspector for a file of which each stretch costs a request: long tables are not read to their end.
    pub fn sparing() -> Self {
        Self { asks: STRETCHES_MAX, ..Self::new() }
    }

    /// Takes the next bytes, in pieces of any size. Between tables this costs a comparison and the tail.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.keep_tail(bytes);
        while !bytes.is_empty() {
            let taken = match self.due() {
                // The head, or a stretch that has begun.
                Some(missing) if missing.start <= self.size => {
                    let taken = (missing.end - self.size).min(bytes.len() as u64);
                    self.keep(&bytes[..taken as usize]);
                    taken
                }
                Some(missing) => (missing.start - self.size).min(bytes.len() as u64),
                None => bytes.len() as u64,
            };
            self.size += taken;
            bytes = &bytes[taken as usize..];
            self.advance();
        }
    }

    /// Takes this many zeros, which stand for a hole in the file. Tables may lie in it, so it can take a while: `go_on` is asked
    /// for every 64 KiB of them.
    ///
    /// # Errors
    /// Those of `go_on`.
    pub fn feed_zeros<E>(&mut self, mut count: u64, mut go_on: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        while count > 0 {
            let end = self.size.saturating_add(count);
            // Between what is wanted and the tail, nothing has to be looked at.
            let begin = self.due().map_or(u64::MAX, |due| due.start).min(end.saturating_sub(TAIL as u64));
            if begin > self.size {
                count -= begin - self.size;
                self.skip_to(begin);
                continue;
            }
            go_on()?;
            let piece = count.min(ZEROS.len() as u64);
            self.feed(&ZEROS[..piece as usize]);
            count -= piece;
        }
        Ok(())
    }

    /// The next stretch to feed of a file of `size` bytes; bytes before it may be left out with [`Inspector::skip_to`].
    /// `None`: nothing more is needed.
    pub fn wants(&mut self, size: u64) -> Option<Range<u64>> {
        let tail = size.saturating_sub(TAIL as u64);
        let next = match self.due() {
            Some(due) if due.start < tail && self.asks > 0 => due.start..due.end.min(size),
            _ => tail..size,
        };
        self.asks = self.asks.saturating_sub(1);
        let next = next.start.max(self.size)..next.end;
        (!next.is_empty()).then_some(next)
    }

    /// Leaves out what lies before this place and is not wanted.
    pub fn skip_to(&mut self, at: u64) {
        if at > self.size {
            self.tail.clear();
            self.size = at;
            self.piece.clear();
            self.wanted = self.tables.next(at);
        }
    }

    /// Ends the file and inspects it.
    pub fn finish(self) -> Inspection {
        self.end(true)
    }

    /// Inspects a file whose rest is not read: nothing is missing in it because it was not seen.
    pub fn finish_early(self) -> Inspection {
        self.end(false)
    }

    fn end(mut self, whole: bool) -> Inspection {
        if self.size < self.head_end {
            self.begin_tables();
        }
        Inspection::of(&SeenBytes {
            size: self.size,
            head: self.head,
            tail: self.tail,
            tables: self.tables.facts(),
            whole,
        })
    }

    /// The stretch that is to be kept next, as far as it is missing.
    fn due(&self) -> Option<Range<u64>> {
        if (self.head.len() as u64) < self.head_end && self.size < self.head_end {
            return Some(self.head.len() as u64..self.head_end);
        }
        let wanted = self.wanted.as_ref()?;
        Some(wanted.start + self.piece.len() as u64..wanted.end)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.size < self.head_end { self.head.extend_from_slice(bytes) } else { self.piece.extend_from_slice(bytes) }
    }

    /// Hands a stretch that is complete to the tables, and asks for the next.
    fn advance(&mut self) {
        if self.size == HEAD && self.head_end == HEAD {
            self.head_end = HEAD.max(Tables::reach_of_first(&self.head));
        }
        if self.size == self.head_end && self.wanted.is_none() {
            self.begin_tables();
        }
        while let Some(wanted) = &self.wanted
            && self.piece.len() as u64 == wanted.end - wanted.start
        {
            let piece = std::mem::take(&mut self.piece);
            self.tables.take(wanted.start, &piece);
            self.wanted = self.tables.next(self.size);
        }
    }

    /// Begins with the tables that lie in the head. One that reaches out of it has its beginning there.
    fn begin_tables(&mut self) {
        self.tables = Tables::of(&self.head);
        // A table may point back, as long as it is in the head.
        while let Some(next) = self.tables.next(0) {
            let (start, end) = (next.start as usize, next.end as usize);
            if next.end <= self.head.len() as u64 {
                self.tables.take(next.start, &self.head[start..end]);
                continue;
            }
            self.piece = self.head.get(start..).unwrap_or_default().to_vec();
            self.wanted = Some(next);
            return;
        }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let stays = TAIL.saturating_sub(bytes.len());
        let goes = self.tail.len().saturating_sub(stays);
        self.tail.drain(..goes);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }
}
