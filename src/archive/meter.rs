//! Counts what goes into a decoder and what comes out, and ends the work when it is out of proportion.
//!
//! A decoder knows only `io::Error`, so what stopped it is kept here and found again by [`Meter::explain`].

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Seek, SeekFrom};

use super::BundleError;

/// Most bytes that a decoder keeps: the largest window that `zstd -d` accepts, and twice that of `xz -9`.
pub(super) const KEPT_MAX: u64 = 128 << 20;

/// Bytes up to which any ratio is accepted. Windows grow by doubling, so a bomb gets 32 MiB of one.
const FREE_OUTPUT: u64 = 24 << 20;

/// Beyond, so many bytes may have come out for each one that went in. Root file systems are packed 2:1 to 10:1; gzip could do
/// 1032:1, xz 7000:1 and bzip2 more, but only of one byte over and over.
const MOST_OUTPUT: u64 = 128;

/// Bytes of input that may give no output. Some programs write small empty frames, and a block of bzip2 is unpacked as a whole.
const FREE_INPUT: u64 = 1 << 20;

/// Counts the bytes that have passed, and keeps the first error.
pub(super) struct Meter<'a> {
    go_on: &'a dyn Fn() -> bool,
    /// Bytes of input that may still give no output; None without a decoder.
    for_nothing: Cell<Option<u64>>,
    taken: Cell<u64>,
    given: Cell<u64>,
    /// Bytes of output that are not in the proportion.
    allowed: Cell<u64>,
    ended: Cell<bool>,
    /// A decoder needs more memory than it may have.
    short: Cell<bool>,
    /// More came out than is in proportion.
    excessive: Cell<bool>,
    trouble: RefCell<Option<BundleError>>,
}

/// The file, on its way to a decoder.
pub(super) struct Taken<'a, R> {
    file: R,
    meter: &'a Meter<'a>,
}

/// Output of a decoder, counted.
pub(super) struct Given<'a, R> {
    decoder: R,
    meter: &'a Meter<'a>,
    most: u64,
}

impl<'a> Meter<'a> {
    /// A meter at zero. `go_on` is asked for every piece of the file.
    pub(super) fn new(go_on: &'a dyn Fn() -> bool) -> Self {
        Self {
            go_on,
            for_nothing: Cell::new(None),
            taken: Cell::new(0),
            given: Cell::new(0),
            allowed: Cell::new(0),
            ended: Cell::new(false),
            short: Cell::new(false),
            excessive: Cell::new(false),
            trouble: RefCell::new(None),
        }
    }

    pub(super) fn taken<R>(&'a self, file: R) -> Taken<'a, R> {
        Taken { file, meter: self }
    }

    /// `kept_back`: how much the decoder may keep to itself before it gives anything. `most`: how much it may give, which is
    /// out of memory beyond.
    pub(super) fn given<R>(&'a self, decoder: R, kept_back: u64, most: u64) -> Given<'a, R> {
        self.for_nothing.set(Some(FREE_INPUT.saturating_add(kept_back)));
        Given { decoder, meter: self, most }
    }

    /// Tells whether a decoder needed more memory than it may have.
    pub(super) fn is_short(&self) -> bool {
        self.short.get()
    }

    /// Tells whether the work ended because more came out than is in proportion.
    pub(super) fn is_excessive(&self) -> bool {
        self.excessive.get()
    }

    /// Asks the caller, for work that reads nothing meanwhile.
    ///
    /// # Errors
    /// The caller stopped the work.
    pub(super) fn ask(&self) -> Result<(), BundleError> {
        if (self.go_on)() { Ok(()) } else { Err(BundleError::Stopped) }
    }

    /// Refuses what a decoder keeps to itself, if that is far more than what went in.
    ///
    /// # Errors
    /// What it holds is out of proportion.
    pub(super) fn check_kept(&self, kept: u64) -> io::Result<()> {
        self.check_proportion(self.given.get().saturating_add(kept))
    }

    fn check_proportion(&self, unpacked: u64) -> io::Result<()> {
        let counted = unpacked.saturating_sub(self.allowed.get());
        if counted > FREE_OUTPUT && counted / MOST_OUTPUT > self.taken.get() {
            self.excessive.set(true);
            return self.stop(BundleError::TooMuch("unpacks to far more than it is"));
        }
        Ok(())
    }

    /// Lets this many more bytes come out in any proportion: a disk may be all zeros, and the caller bounds it.
    pub(super) fn allow(&self, bytes: u64) {
        self.allowed.set(self.allowed.get().saturating_add(bytes));
    }

    /// Replaces an error by its real cause.
    pub(super) fn explain(&self, error: BundleError) -> BundleError {
        self.trouble.take().unwrap_or(error)
    }

    /// Tells the cause of a decoder's error: the file ended, the caller stopped, or the data is bad.
    pub(super) fn blame(&self, what: &'static str, error: io::Error) -> BundleError {
        let reason = match error.kind() {
            io::ErrorKind::OutOfMemory => {
                self.short.set(true);
                BundleError::TooMuch("takes more memory to unpack than it may")
            }
            _ if self.ended.get() => BundleError::Truncated,
            _ => BundleError::Damaged(what, Some(error.into())),
        };
        self.explain(reason)
    }

    fn stop<T>(&self, trouble: BundleError) -> io::Result<T> {
        let words = trouble.to_string();
        self.trouble.borrow_mut().get_or_insert(trouble);
        Err(io::Error::other(words))
    }
}

impl<R: Read> Read for Taken<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let meter = self.meter;
        if !(meter.go_on)() {
            return meter.stop(BundleError::Stopped);
        }
        let count = loop {
            match self.file.read(into) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A file that is waited for may be told of the stop first.
                Err(_) if !(meter.go_on)() => return meter.stop(BundleError::Stopped),
                Err(error) => return meter.stop(BundleError::Io(error)),
            }
        };
        if count == 0 && !into.is_empty() {
            meter.ended.set(true);
        }
        let taken = meter.taken.get().saturating_add(count as u64);
        meter.taken.set(taken);
        // Nothing is packed so badly that more goes in than twice what comes out: these are empty streams without end.
        let limit = meter.for_nothing.get().map(|free| meter.given.get().saturating_mul(2).saturating_add(free));
        if limit.is_some_and(|limit| taken > limit) {
            return meter.stop(BundleError::TooMuch("has next to nothing in it"));
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Taken<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to).or_else(|error| self.meter.stop(BundleError::Io(error)))
    }
}

impl<R: Read> Read for Given<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(into)?;
        let meter = self.meter;
        let given = meter.given.get().saturating_add(count as u64);
        meter.given.set(given);
        meter.check_proportion(given)?;
        if given > self.most {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(count)
    }
}
