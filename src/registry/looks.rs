//! Looks into bytes that have arrived, on a thread that may block: for what an archive says of itself, and for the disks inside of a
//! file. A look may take a core for minutes and a hundred MiB, so a few run at a time, and each is ended in time. Knows no rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::archive::BundleError;
use crate::blob::reader::Reading;
use crate::error::{Error, Result};

/// Looks of one kind at the same time, at most.
const TOGETHER: usize = 2;

/// Longest look: enough for some hundred GiB, unless they are packed very well.
const LOOKING_MAX: Duration = Duration::from_secs(600);

/// Slowest rate, in bytes a second, of a body that has to be read from its beginning to its end. Its time is added.
const STREAM_RATE: u64 = 8 << 20;

/// Looks of one kind.
pub(in crate::registry) struct Looks {
    turns: Arc<Semaphore>,
    /// Bytes of the longest body.
    bytes_max: u64,
}

/// Time of a look, which is over early when the result is no longer wanted.
#[derive(Clone)]
pub(in crate::registry) struct LookTime {
    wanted: Arc<AtomicBool>,
    until: Instant,
}

/// End of a look without a result.
pub(in crate::registry) enum LookEnd {
    /// The bytes can't be read, or not in time.
    Unread(BundleError),
    /// The bytes are refused.
    Refused(Error),
}

impl From<BundleError> for LookEnd {
    fn from(error: BundleError) -> Self {
        Self::Unread(error)
    }
}

impl LookTime {
    /// True while the result is wanted, however long it takes.
    pub(in crate::registry) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// True until the time is over.
    pub(in crate::registry) fn is_left(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Tells the thread that nothing waits for it any more.
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Looks {
    /// Looks into bodies of up to so many bytes.
    pub(in crate::registry) fn new(bytes_max: u64) -> Self {
        Self { turns: Arc::new(Semaphore::new(TOGETHER)), bytes_max }
    }

    /// Waits for its turn, and looks at the bytes of `reading`. `words` are for what can't be read, or not in time.
    ///
    /// # Errors
    /// Those of `look`.
    pub(in crate::registry) async fn run<T: Send + 'static>(
        &self,
        reading: Reading,
        words: impl FnOnce(BundleError) -> Error,
        look: impl FnOnce(Reading, &LookTime) -> Result<T, LookEnd> + Send + 'static,
    ) -> Result<T> {
        let streamed = if reading.is_stream() { reading.length().min(self.bytes_max) / STREAM_RATE } else { 0 };
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let until = Instant::now() + LOOKING_MAX + Duration::from_secs(streamed);
        let time = LookTime { wanted: Arc::new(AtomicBool::new(true)), until };
        let _unwanted = Unwanted(Arc::clone(&time.wanted));
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            look(reading, &time)
        });
        looked.await.map_err(Error::internal)?.map_err(|end| match end {
            LookEnd::Unread(error) => words(error),
            LookEnd::Refused(error) => error,
        })
    }
}
