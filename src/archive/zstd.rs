//! Frames of zstd, read as one stream, block by block.
//!
//! The library gives nothing of a frame before its window is full, or the frame has ended. So that a large window is not
//! filled for a description in the first MiB, the head of a frame can be read as if it ended there.

use std::io::{self, BufRead, Cursor, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::meter::{KEPT_MAX, Meter};
use super::streams::Count;

/// Largest block.
const BLOCK_MAX: u64 = 128 << 10;

/// Kinds of blocks: a byte that is repeated, and bytes that are compressed.
const RUN: u32 = 1;
const COMPRESSED: u32 = 2;

/// The head of a block without bytes, the last of its frame.
const EMPTY_LAST: [u8; 3] = [1, 0, 0];

/// Blocks that are read of a head.
const HEAD_BLOCKS: u32 = 16;

/// Windows up to this size are filled without a look at how much goes in.
const WINDOW_FREE: u64 = 32 << 20;

/// Reads all frames of a zstd file as one.
pub(super) struct Frames<'a, R> {
    file: R,
    decoder: FrameDecoder,
    /// The decoder is inside a frame.
    within: bool,
    count: Count,
    /// Blocks that are still read; `None` for all of them.
    blocks: Option<u32>,
    /// The file has ended within a frame.
    is_torn: bool,
    meter: Option<&'a Meter<'a>>,
    /// The most that the blocks of this frame have unpacked to, and the part of it that was given.
    unpacked: u64,
    given: u64,
}

impl<'a, R: BufRead> Frames<'a, R> {
    /// Frames of a file, or only its head. The meter is asked whether what is kept is in proportion.
    pub(super) fn new(file: R, meter: Option<&'a Meter<'a>>, head: bool) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(KEPT_MAX);
        let blocks = head.then_some(HEAD_BLOCKS);
        Self {
            file,
            decoder,
            within: false,
            count: Count::default(),
            blocks,
            is_torn: false,
            meter,
            unpacked: 0,
            given: 0,
        }
    }

    /// Goes to the next frame that has data; false at the end of the file.
    fn next(&mut self) -> io::Result<bool> {
        while !self.file.fill_buf()?.is_empty() {
            self.count.stream()?;
            match self.decoder.reset(&mut self.file) {
                Ok(()) => {
                    (self.unpacked, self.given) = (0, 0);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut self.file.by_ref().take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error @ FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(io::Error::new(io::ErrorKind::OutOfMemory, error));
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }

    /// Decodes the next block. The last one of a head is made the last of its frame, whose checksum then means nothing, and so
    /// is the last one that is whole in a file that ends early: what it has is given all the same, as `zstd -d` does.
    fn block(&mut self) -> io::Result<()> {
        let (mut head, body) = match self.next_block()? {
            Some(block) => block,
            None => {
                self.is_torn = true;
                (EMPTY_LAST, Vec::new())
            }
        };
        if let Some(blocks) = &mut self.blocks {
            *blocks = blocks.saturating_sub(1);
        }
        let is_cut = self.is_torn || self.blocks == Some(0);
        if is_cut {
            head[0] |= 1;
        }
        let (kind, size) = kind_and_size(head);
        let unpacks = if kind < COMPRESSED { size } else { BLOCK_MAX };
        self.unpacked = self.unpacked.saturating_add(unpacks.min(BLOCK_MAX));
        let kept = self.unpacked.saturating_sub(self.given);
        if let Some(meter) = self.meter.filter(|_| kept > WINDOW_FREE) {
            meter.check_kept(kept)?;
        }
        let (block, one) = (Cursor::new(head).chain(body.as_slice()), BlockDecodingStrategy::UptoBlocks(1));
        // Behind the last block, the decoder may want a checksum.
        let decoded = if is_cut {
            self.decoder.decode_blocks(block.chain(io::repeat(0)), one)
        } else {
            self.decoder.decode_blocks(block.chain(&mut self.file), one)
        };
        decoded.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The head of the next block and its body; `None` if the file ends before it does.
    fn next_block(&mut self) -> io::Result<Option<([u8; 3], Vec<u8>)>> {
        let mut head = [0; 3];
        match self.file.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (kind, size) = kind_and_size(head);
        let length = if kind == RUN { 1 } else { size };
        if length > BLOCK_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block is too large"));
        }
        let mut body = Vec::new();
        let read = self.file.by_ref().take(length).read_to_end(&mut body)?;
        Ok((read as u64 == length).then_some((head, body)))
    }

    /// Checks the checksum at the end of a frame.
    fn verify(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a frame's checksum does not match"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Frames<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if !self.next()? {
                    return Ok(0);
                }
                self.within = true;
            }
            if self.decoder.can_collect() > 0 {
                let got = self.decoder.read(into)?;
                self.count.bytes += got as u64;
                self.given += got as u64;
                return Ok(got);
            }
            if self.decoder.is_finished() {
                if self.is_torn {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if self.blocks == Some(0) {
                    return Err(io::Error::new(io::ErrorKind::OutOfMemory, "it is only the head of a file"));
                }
                self.verify()?;
                self.within = false;
            } else {
                self.block()?;
            }
        }
    }
}

/// The kind in the head of a block, and its size in bytes: stored, or of a run unpacked.
fn kind_and_size(head: [u8; 3]) -> (u32, u64) {
    let [low, middle, high] = head.map(u32::from);
    ((low >> 1) & 3, u64::from((low | (middle << 8) | (high << 16)) >> 3))
}
