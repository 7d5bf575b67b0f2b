//! Files that consist of several compressed streams, as programs write them that use all cores. These are the packings whose
//! libraries read either one stream, or any number without a bound. [`super::zstd`] has another one.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use lz4_flex::frame::{Error as Lz4Error, FrameDecoder};

/// Counts streams, which are not all allowed to be small: each costs its decoder some work, and one of bzip2 4 MB of memory
/// that have to be cleared.
#[derive(Default)]
pub(super) struct Count {
    streams: u64,
    pub(super) bytes: u64,
}

impl Count {
    const FREE: u64 = 1000;
    const LEAST_BYTES: u64 = 4 << 10;

    pub(super) fn stream(&mut self) -> io::Result<()> {
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

/// Reads all frames of an lz4 file as one.
pub(super) struct Lz4Frames<R: Read> {
    decoder: FrameDecoder<R>,
    count: Count,
}

impl<R: BufRead> Lz4Frames<R> {
    pub(super) fn new(file: R) -> Self {
        Self { decoder: FrameDecoder::new(file), count: Count::default() }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let skipped = match self.decoder.read(into) {
                Ok(0) => 0,
                Ok(got) => {
                    self.count.bytes += got as u64;
                    return Ok(got);
                }
                Err(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
                    Some(Lz4Error::SkippableFrame(length)) => u64::from(*length),
                    _ => return Err(error),
                },
            };
            // A frame has ended, or is to be skipped.
            let file = self.decoder.get_mut();
            if io::copy(&mut file.by_ref().take(skipped), &mut io::sink())? < skipped {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if file.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.count.stream()?;
        }
    }
}
