//! The bytes of an archive, out of whatever it is packed in.
//!
//! Decoders run in this process and keep no more than [`KEPT_MAX`] in memory, whatever window a file asks for: most descriptions
//! come early, so a window that is larger never fills up. [`ReadingWay`] has the ways to read an archive, the cheapest first.

use std::io::{self, BufRead, BufReader, Read, Seek};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::{LzmaReader, XzReader};

use super::meter::{Given, KEPT_MAX, Meter, Taken};
use super::streams::{Lz4Frames, Streams};
use super::zstd::Frames;
use super::{BundleError, Packing};

/// Largest block of lz4, which is unpacked as a whole.
const LZ4_BLOCK_MAX: u64 = 4 << 20;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// For the window of xz in KiB, and a bit for the decoder's tables.
pub(super) const XZ_MEMORY: u32 = (KEPT_MAX >> 10) as u32 + 512;

/// Ways to read an archive. Each is for archives that the one before it does not reach into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadingWay {
    /// The first MiB only, of a packing that gives nothing before its window is full.
    Head,
    /// All of it, if its window is no larger than what may be kept.
    Whole,
    /// As much as may be kept, whatever its window is.
    Kept,
}

impl ReadingWay {
    /// The ways to read archives of a packing, in their order.
    pub(super) const fn of(packing: Packing) -> &'static [Self] {
        match packing {
            Packing::Zstd => &[Self::Head, Self::Whole],
            Packing::Xz | Packing::Lzma => &[Self::Whole, Self::Kept],
            _ => &[Self::Whole],
        }
    }
}

/// An archive to be read from its beginning to its end.
pub(super) enum Stream<'a, R> {
    /// A plain file: unwanted bytes are skipped, not read.
    Plain { file: BufReader<Taken<'a, R>>, left: u64, meter: &'a Meter<'a> },
    /// Out of a decoder.
    Unpacked { bytes: BufReader<Given<'a, Box<dyn Read + 'a>>>, meter: &'a Meter<'a> },
}

impl<'a, R: Read + Seek + 'a> Stream<'a, R> {
    /// The archive in a file of this length, which stands at its beginning.
    ///
    /// # Errors
    /// There is no archive in files of this packing, or what the decoder says of the first bytes.
    pub(super) fn open(
        packing: Packing,
        way: ReadingWay,
        file: R,
        length: u64,
        meter: &'a Meter<'a>,
    ) -> Result<Self, BundleError> {
        let file = BufReader::with_capacity(PIECE, meter.taken(file));
        let mut kept_back = 0;
        let (memory, most) = if way == ReadingWay::Kept { (u32::MAX, KEPT_MAX) } else { (XZ_MEMORY, u64::MAX) };
        let decoder: Box<dyn Read + 'a> = match packing {
            Packing::Tar => return Ok(Self::Plain { file, left: length, meter }),
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Bzip2 => Box::new(Streams::new(file)),
            Packing::Xz => Box::new(XzReader::new_mem_limit(file, true, memory)),
            Packing::Lzma => {
                Box::new(LzmaReader::new_mem_limit(file, memory, None).map_err(|error| meter.blame("archive", error))?)
            }
            Packing::Zstd => {
                kept_back = KEPT_MAX;
                Box::new(Frames::new(file, Some(meter), way == ReadingWay::Head))
            }
            Packing::Lz4 => {
                kept_back = LZ4_BLOCK_MAX;
                Box::new(Lz4Frames::new(file))
            }
            Packing::Squashfs | Packing::Qcow2 => return Err(BundleError::Unsupported),
        };
        let bytes = BufReader::with_capacity(PIECE, meter.given(decoder, kept_back, most));
        Ok(Self::Unpacked { bytes, meter })
    }

    /// The count of what is read and unpacked.
    pub(super) fn meter(&self) -> &'a Meter<'a> {
        match self {
            Self::Plain { meter, .. } | Self::Unpacked { meter, .. } => meter,
        }
    }

    /// Fills as much as there are bytes for, and says how much that is.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, BundleError> {
        let mut count = 0;
        while let Some(rest) = into.get_mut(count..).filter(|rest| !rest.is_empty()) {
            let got = match self {
                Self::Plain { file, left, .. } => {
                    let wanted = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    file.read(&mut rest[..wanted]).inspect(|got| *left -= *got as u64)
                }
                Self::Unpacked { bytes, .. } => bytes.read(rest),
            };
            match got.map_err(|error| self.blame(error))? {
                0 => break,
                got => count += got,
            }
        }
        Ok(count)
    }

    /// Fills all of it.
    pub(super) fn read_exact(&mut self, into: &mut [u8]) -> Result<(), BundleError> {
        if self.read(into)? == into.len() { Ok(()) } else { Err(BundleError::Truncated) }
    }

    /// Skips `count` bytes, which must exist.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), BundleError> {
        match self {
            Self::Plain { file, left, meter } => {
                *left = left.checked_sub(count).ok_or(BundleError::Truncated)?;
                let count = i64::try_from(count).map_err(|_| BundleError::Truncated)?;
                file.seek_relative(count).map_err(|error| meter.blame("archive", error))
            }
            Self::Unpacked { bytes, meter } => {
                while count > 0 {
                    let there = bytes.fill_buf().map_err(|error| meter.blame("archive", error))?.len();
                    if there == 0 {
                        return Err(BundleError::Truncated);
                    }
                    let over = usize::try_from(count).map_or(there, |count| count.min(there));
                    bytes.consume(over);
                    count -= over as u64;
                }
                Ok(())
            }
        }
    }

    fn blame(&self, error: io::Error) -> BundleError {
        self.meter().blame("archive", error)
    }
}
