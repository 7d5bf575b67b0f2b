//! A transfer of one content: its file, what of it is here, and who waits for it. Knows no network.
//!
//! A fill is of one content. When its server has another one, that is another fill, and the readers of this one end with an error:
//! nothing that was sent is ever followed by bytes of something else.

mod files;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use self::files::OnDisk;
use super::entry::{Head, Sidecar};
use super::extents::Extents;
use super::key::Key;
use super::shelf::{Shelf, Shelved};
use super::trouble::Setback;
use crate::vendor::{Expectation, Level};

/// Bytes at the end that no reader gets before the verdict: with them missing, no client has a complete file that nothing vouches for.
pub(super) const TAIL: u64 = 64 << 10;

/// Transfers of a key that a request follows one after the other, when contents change under it.
pub(super) const TRANSFERS_MAX: usize = 4;

/// Knowledge of what the bytes have to be.
#[derive(Debug, Clone, Default)]
pub(super) enum Voucher {
    /// It is being looked for.
    #[default]
    Sought,
    /// Nothing says it.
    Absent,
    /// It is known.
    Known(Arc<Expectation>),
    /// It is said by documents that are not to be trusted.
    Refused(Setback),
}

/// End of a fill.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// All bytes are here and passed; without an entry, they are not kept.
    Done(Option<Arc<Shelved>>),
    /// No more will come.
    Failed(Setback),
    /// Its server has another content now, which another fill has.
    Replaced,
}

/// State that readers wait on.
#[derive(Debug, Default)]
pub(super) struct FillState {
    /// Head of the content, once its server answered.
    pub(super) head: Option<Arc<Head>>,
    /// Bytes that are here.
    pub(super) extents: Extents,
    /// Spans that requests of their own are bringing.
    pub(super) sides: Vec<Range<u64>>,
    /// Length, once it is known.
    pub(super) length: Option<u64>,
    /// True if all bytes are here.
    pub(super) complete: bool,
    /// True if the last bytes may go out.
    pub(super) released: bool,
    /// Knowledge of what the bytes have to be.
    pub(super) proof: Voucher,
    /// True if no request of its own may bring a part: answers about equal bytes differ in their tags, and only a whole one can be
    /// compared.
    pub(super) undivided: bool,
    /// Place from which bytes may be of another content than those before it, which nothing but a digest can tell.
    pub(super) loose_from: Option<u64>,
    /// True while it ends without being complete: a request that comes now waits for the end, and begins the next one.
    pub(super) closing: bool,
    /// True while it waits for other transfers to end.
    pub(super) queued: bool,
    pub(super) end: Option<End>,
}

/// A transfer.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) key: Key,
    /// Name of its files.
    pub(super) id: String,
    pub(super) document: bool,
    /// The file; bytes are written and read at offsets.
    pub(super) file: Arc<File>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) state: watch::Sender<FillState>,
    readers: watch::Sender<usize>,
    /// True if it goes on without readers.
    wanted: AtomicBool,
    /// Bytes of the budget that are set aside for it.
    pub(super) reserved: AtomicU64,
    /// Bytes that came in this run, and since when.
    received: AtomicU64,
    began: Instant,
    /// Expectation of the caller that began it. A digest on the caller's own word decides for that caller alone, and is made, so that it can be
    /// compared; what a vendor's documents say is what the bytes have to be.
    pub(super) given: Option<Expectation>,
    /// Level that the file has to reach before its end goes out.
    pub(super) require: Level,
    /// Largest length that is taken.
    pub(super) bytes_max: u64,
    /// `Via` of the request that began it, for parents.
    pub(super) via: Option<String>,
    /// Transfer of another run or request that this one goes on with.
    pub(super) earlier: Option<Sidecar>,
    /// Held while bytes are written, so that two requests never write one place. True when no more may be.
    closed: Mutex<bool>,
    /// Held while the sidecar is written: it is written by one at a time, and not after the files moved.
    disk: Mutex<OnDisk>,
    /// Bytes that are durable: that lock is held while the disk works.
    durable: AtomicU64,
}

/// Terms of a new fill.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub(super) document: bool,
    pub(super) given: Option<Expectation>,
    pub(super) require: Level,
    pub(super) bytes_max: u64,
    pub(super) via: Option<String>,
}

/// A reader of a fill, or another that wants its bytes: while there is one, the fill goes on.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Arc<Fill>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers -= 1);
    }
}

impl FillState {
    /// Spans that another run may go on with: those of one content.
    fn lasting(&self) -> Extents {
        Extents::of(self.extents.spans(), self.loose_from.unwrap_or(u64::MAX))
    }

    /// Tells whether a digest of the content is known.
    pub(super) fn has_digest(&self) -> bool {
        matches!(&self.proof, Voucher::Known(known) if !known.sums.is_empty())
    }
}

impl Fill {
    /// A fill with an empty file, or one that goes on where an earlier one stopped.
    pub(super) fn new(
        shelf: &Arc<Shelf>,
        key: &Key,
        terms: &Terms,
        earlier: Option<&Sidecar>,
    ) -> io::Result<Arc<Self>> {
        let id = earlier.map_or_else(Shelf::new_id, |sidecar| sidecar.id.clone());
        let file = shelf.open_partial(&id, earlier.is_none())?;
        let (mut state, mut durable) = (FillState::default(), Extents::default());
        if let Some(sidecar) = earlier {
            let length = file.metadata()?.len();
            state.extents = Extents::of(sidecar.spans(shelf.boot()), length);
            state.length = sidecar.head.length;
            durable = Extents::of(&sidecar.extents, length);
        }
        Ok(Arc::new(Self {
            key: key.clone(),
            id,
            document: terms.document,
            file: Arc::new(file),
            shelf: Arc::clone(shelf),
            reserved: AtomicU64::new(state.extents.total()),
            state: watch::Sender::new(state),
            readers: watch::Sender::new(0),
            wanted: AtomicBool::new(false),
            received: AtomicU64::new(0),
            began: Instant::now(),
            given: terms.given.clone(),
            require: terms.require,
            bytes_max: terms.bytes_max,
            via: terms.via.clone(),
            earlier: earlier.cloned(),
            closed: Mutex::default(),
            durable: AtomicU64::new(durable.total()),
            disk: Mutex::new(OnDisk::with(durable)),
        }))
    }

    /// Terms of it, for the transfer that takes its place.
    pub(super) fn terms(&self) -> Terms {
        let (given, via) = (self.given.clone(), self.via.clone());
        Terms { document: self.document, given, require: self.require, bytes_max: self.bytes_max, via }
    }

    /// A reader of it.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        self.readers.send_modify(|readers| *readers += 1);
        Reader(Arc::clone(self))
    }

    /// Makes it go on to its end without readers.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Ends when it had no readers for a while and too little of it is here to finish.
    pub(super) async fn abandoned(&self, linger: Duration) {
        let mut readers = self.readers.subscribe();
        loop {
            // The sender is a field of this.
            let _ = readers.wait_for(|readers| *readers == 0).await;
            let back = tokio::time::timeout(linger, readers.wait_for(|readers| *readers > 0)).await;
            if back.is_err() && !self.wanted.load(Ordering::SeqCst) && !self.is_worth_finishing() {
                return;
            }
        }
    }

    fn is_worth_finishing(&self) -> bool {
        const LITTLE: u64 = 64 << 20;
        let state = self.state.borrow();
        let here = state.extents.total();
        state.length.is_some_and(|length| here >= length / 2 || length - here.min(length) <= LITTLE)
    }

    /// Bytes from the beginning on without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.state.borrow().extents.prefix()
    }

    /// Bytes that are here.
    pub(super) fn here(&self) -> u64 {
        self.state.borrow().extents.total()
    }

    /// Time since it began, in this run.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Bytes of this run a second.
    pub(super) fn rate(&self) -> f64 {
        self.received.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64().max(0.01)
    }

    /// Writes bytes where there are none yet, and tells the readers. What is here was read and hashed: a later answer with other bytes
    /// does not change it. Blocking.
    pub(super) fn write(&self, mut at: u64, pieces: &[Bytes]) -> io::Result<()> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        let start = at;
        for piece in pieces {
            let span = at..at + piece.len() as u64;
            let gaps = self.state.borrow().extents.gaps(span.clone());
            for gap in gaps {
                // A piece is in memory: its length is one of an array.
                let part = (gap.start - at) as usize..(gap.end - at) as usize;
                self.file.write_all_at(&piece[part], gap.start)?;
            }
            at = span.end;
        }
        self.received.fetch_add(at - start, Ordering::Relaxed);
        self.state.send_modify(|state| state.extents.add(start..at));
        Ok(())
    }

    /// Lets no more bytes be written: a request that was dropped may still be at it. Blocking.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Tells whether parts behind a gap are here or on their way.
    pub(super) fn is_scattered(&self) -> bool {
        let state = self.state.borrow();
        state.extents.total() > state.extents.prefix() || !state.sides.is_empty()
    }

    /// End of the bytes that a reader can have from `at` on; `None` while there are none.
    pub(super) fn readable(&self, at: u64, tail_too: bool) -> Option<u64> {
        let state = self.state.borrow();
        let here = match (state.extents.end_of(at)?, state.loose_from, &state.proof) {
            // It is decided at the end whether they go together.
            (here, Some(from), Voucher::Known(_)) if !state.released => here.min(from),
            (here, ..) => here,
        };
        let limit = match state.length {
            _ if state.released || tail_too => here,
            Some(length) => here.min(length.saturating_sub(TAIL)),
            None => here.saturating_sub(TAIL),
        };
        (at < limit).then_some(limit)
    }

    /// Ends it, once.
    pub(super) fn finish(&self, end: End) {
        self.state.send_modify(|state| {
            state.released |= matches!(end, End::Done(_));
            state.end.get_or_insert(end);
        });
    }

    /// Goes on without readers if another one did.
    pub(super) fn inherit(&self, other: &Self) {
        self.wanted.store(other.wanted.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}
