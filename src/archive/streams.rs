//! Files that consist of several compressed streams, as programs write them that use all cores. These are the two packings whose
//! libraries read either one stream, or any number without a bound.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest window of zstd that is decoded.
pub(super) const ZSTD_WINDOW: u64 = 32 << 20;

/// Counts streams, which are not all allowed to be small: each costs its decoder some work, and one of bzip2 4 MB of memory
/// that have to be cleared.
#[derive(Default)]
struct Count {
    streams: u64,
    bytes: u64,
}

impl Count {
    const FREE: u64 = 1000;
    const LEAST_BYTES: u64 = 4 << 10;

    fn stream(&mut self) -> io::Result<()> {
        self.streams += 1;
        if self.streams <= Self::FREE + self.bytes / Self::LEAST_BYTES {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "its streams are too small"))
    }
}

/// Reads all streams of a bzip2 file as one.
pub(super) struct Streams<R> {
    /// `None` at the end of the file.
    decoder: Option<BzDecoder<R>>,
    count: Count,
}

impl<R: BufRead> Streams<R> {
    pub(super) fn new(file: R) -> Self {
        Self { decoder: Some(BzDecoder::new(file)), count: Count::default() }
    }
}

impl<R: BufRead> Read for Streams<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = self.decoder.as_mut().filter(|_| !into.is_empty()) {
            let got = decoder.read(into)?;
            if got > 0 {
                self.count.bytes += got as u64;
                return Ok(got);
            }
            let Some(mut file) = self.decoder.take().map(BzDecoder::into_inner) else { break };
            if !file.fill_buf()?.is_empty() {
                self.count.stream()?;
                self.decoder = Some(BzDecoder::new(file));
            }
        }
        Ok(0)
    }
}

/// Reads all frames of a zstd file as one.
pub(super) struct Frames<R> {
    file: R,
    decoder: FrameDecoder,
    /// The decoder is inside a frame.
    within: bool,
    count: Count,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(file: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self { file, decoder, within: false, count: Count::default() }
    }

    /// Goes to the next frame that has data; false at the end of the file.
    fn next(&mut self) -> io::Result<bool> {
        while !self.file.fill_buf()?.is_empty() {
            self.count.stream()?;
            match self.decoder.reset(&mut self.file) {
                Ok(()) => return Ok(true),
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

impl<R: BufRead> Read for Frames<R> {
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
                return self.decoder.read(into).inspect(|got| self.count.bytes += *got as u64);
            }
            if self.decoder.is_finished() {
                self.verify()?;
                self.within = false;
            } else {
                let block = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.file, block);
                decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
        }
    }
}
