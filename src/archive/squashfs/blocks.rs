//! The blocks of a squashfs, each packed by itself.

use std::io::{Cursor as Bytes, Read, Seek, SeekFrom};

use flate2::bufread::ZlibDecoder;
use lzma_rust2::{LzmaReader, XzReader};

use super::{damaged, lzo};
use crate::archive::BundleError;
use crate::archive::meter::{Meter, Taken};
use crate::archive::unpack::XZ_MEMORY;
use crate::archive::zstd::Frames;

/// Size of a block of tables, in bytes.
const METADATA: usize = 8 << 10;

/// Compression of blocks.
#[derive(Clone, Copy)]
enum BlockForm {
    Zlib,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

/// Stored bytes of a block. One bit of the stored length says that the block is not compressed.
pub(super) fn length(stored: u32) -> u32 {
    stored & !(1 << 24)
}

/// Reads blocks of a file.
pub(super) struct Blocks<'a, R> {
    file: Taken<'a, R>,
    length: u64,
    meter: &'a Meter<'a>,
    form: BlockForm,
    block_size: u32,
}

impl<'a, R: Read + Seek> Blocks<'a, R> {
    pub(super) fn new(file: Taken<'a, R>, length: u64, meter: &'a Meter<'a>) -> Self {
        Self { file, length, meter, form: BlockForm::Zlib, block_size: 0 }
    }

    /// Sets the compression and block size of the superblock.
    pub(super) fn set_form(&mut self, compression: u16, block_size: u32) -> Result<(), BundleError> {
        self.form = match compression {
            1 => BlockForm::Zlib,
            2 => BlockForm::Lzma,
            3 => BlockForm::Lzo,
            4 => BlockForm::Xz,
            5 => BlockForm::Lz4,
            6 => BlockForm::Zstd,
            _ => return Err(BundleError::Unsupported),
        };
        self.block_size = block_size;
        Ok(())
    }

    /// Up to 1 MiB.
    pub(super) fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Bytes as they are in the file.
    pub(super) fn stored(&mut self, at: u64, length: usize) -> Result<Vec<u8>, BundleError> {
        let end = at.checked_add(length as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(BundleError::Truncated);
        }
        let mut bytes = vec![0; length];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|error| self.meter.blame("squashfs", error))?;
        Ok(bytes)
    }

    /// A block of a table, and where the next one is.
    pub(super) fn metadata(&mut self, at: u64) -> Result<(Vec<u8>, u64), BundleError> {
        let header = self.stored(at, 2)?;
        let header = Cursor(&header).u16()?;
        let length = usize::from(header & 0x7fff);
        if length > METADATA {
            return Err(damaged());
        }
        // Within the file, so these can't overflow.
        let bytes = self.stored(at + 2, length)?;
        let block = if header & 0x8000 == 0 { self.unpack(&bytes, METADATA)? } else { bytes };
        Ok((block, at + 2 + length as u64))
    }

    /// A block of a file, or of several. One that is not stored is all zeros.
    pub(super) fn data(&mut self, at: u64, stored: u32, most: usize) -> Result<Vec<u8>, BundleError> {
        let length = length(stored);
        if length > self.block_size {
            return Err(damaged());
        }
        if length == 0 {
            return Ok(vec![0; most]);
        }
        let bytes = self.stored(at, length as usize)?;
        if stored == length { self.unpack(&bytes, most) } else { Ok(bytes) }
    }

    fn unpack(&self, bytes: &[u8], most: usize) -> Result<Vec<u8>, BundleError> {
        let mut block = Vec::new();
        // One more, to see that there is no more.
        let limit = most as u64 + 1;
        let packed = bytes;
        let bytes = Bytes::new(packed);
        let unpacked = match self.form {
            // These two are not streams.
            BlockForm::Lzo => return lzo::unpack(packed, most).ok_or_else(damaged),
            BlockForm::Lz4 => {
                block.resize(most, 0);
                let length = lz4_flex::block::decompress_into(packed, &mut block).map_err(|_| damaged())?;
                block.truncate(length);
                return Ok(block);
            }
            BlockForm::Zlib => ZlibDecoder::new(bytes).take(limit).read_to_end(&mut block),
            BlockForm::Lzma => LzmaReader::new_mem_limit(bytes, XZ_MEMORY, None)
                .and_then(|decoder| decoder.take(limit).read_to_end(&mut block)),
            BlockForm::Xz => XzReader::new_mem_limit(bytes, false, XZ_MEMORY).take(limit).read_to_end(&mut block),
            BlockForm::Zstd => Frames::new(bytes, None, false).take(limit).read_to_end(&mut block),
        };
        unpacked.map_err(|error| self.meter.blame("squashfs", error))?;
        if block.len() > most { Err(damaged()) } else { Ok(block) }
    }
}

/// Reads numbers, the lowest byte first.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], BundleError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), BundleError> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, BundleError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BundleError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BundleError> {
        self.array().map(u64::from_le_bytes)
    }
}
