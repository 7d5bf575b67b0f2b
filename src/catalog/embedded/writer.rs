//! The one writer: a thread that takes all waiting changes, journals them with one sync, applies
//! them to the engine in one batch, and answers.
//!
//! While a batch is synced the next one gathers, so a busy catalogue pays less for each change. As
//! the only writer, it can check every guard against its last write without asking the engine twice.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::journal::{AppendError, Journal};
use super::{database, open};

use super::prepare::{CatalogChange, ChangeDraft, Pending};
use super::retired_ids::Spent;
use super::state::State;
use crate::catalog::embedded::compaction::Compaction;
use crate::catalog::engine::memory::MemoryEngine;
use crate::catalog::engine::{Batch, Engine, EngineError, Table};
use crate::catalog::row;
use crate::error::{Error, Reason, Result};
use crate::image::{Access, Image, ImageId};

/// Most changes of one batch: enough to make the sync's share small, few enough that the first change waits only a moment
/// for the last (sled applies about 5,000 changes a second).
const BATCH_MAX: usize = 256;

/// Shortest journal that is compacted.
const COMPACT_BYTES_MIN: u64 = 1 << 20;

/// The engine for reads. Exchanged when it fails.
pub(crate) type Current = Arc<RwLock<Arc<dyn Engine>>>;

/// The current engine.
pub(crate) fn current(engine: &Current) -> Arc<dyn Engine> {
    Arc::clone(&engine.read().unwrap_or_else(PoisonError::into_inner))
}

/// A request to the writer.
enum WriteRequest {
    CatalogChange(Box<CatalogChange>, Option<oneshot::Sender<Result<Option<Image>>>>),
    Accesses(HashMap<ImageId, Access>),
    Distrust(String, Arc<dyn Engine>, oneshot::Sender<()>),
    Stop,
}

/// Handle of the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    requests: Sender<WriteRequest>,
    pub(crate) compactions: watch::Receiver<Compaction>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(engine: Current, journal: Journal, state: State, spent: Spent) -> std::io::Result<Self> {
        let (requests, inbox) = channel();
        let (compaction, compactions) = watch::channel(Compaction::default());
        let worker = Worker { engine, journal, state, spent, sealed: false, spare: None, compact_after: 0, compaction };
        let thread = std::thread::Builder::new().name("catalog".into()).spawn(move || worker.run(&inbox))?;
        Ok(Self { requests, compactions, thread: Mutex::new(Some(thread)) })
    }

    /// Makes a change and waits until it is durable. Dropping the future does not undo it.
    ///
    /// Returns the image with its new revision; `None` after a removal.
    pub(crate) async fn change(&self, change: CatalogChange) -> Result<Option<Image>> {
        let (reply, answer) = oneshot::channel();
        self.send(WriteRequest::CatalogChange(Box::new(change), Some(reply)));
        answer.await.map_err(|_| Error::from(Reason::Stopping))?
    }

    /// Makes a change without waiting: for dropped guards.
    pub(crate) fn change_later(&self, change: CatalogChange) {
        self.send(WriteRequest::CatalogChange(Box::new(change), None));
    }

    /// Adds to the counters of images.
    pub(crate) fn count(&self, accesses: HashMap<ImageId, Access>) {
        self.send(WriteRequest::Accesses(accesses));
    }

    /// Reports that `engine` gave a wrong answer, with the reason. When this returns, another engine has replaced it, if
    /// one could be built.
    pub(crate) async fn distrust(&self, why: String, engine: Arc<dyn Engine>) {
        let (reply, answer) = oneshot::channel();
        self.send(WriteRequest::Distrust(why, engine, reply));
        // A dropped reply means a shutdown: the caller's next attempt fails with that reason.
        let _ = answer.await;
    }

    fn send(&self, request: WriteRequest) {
        // The receiver exists until `stop`; a waiting caller then sees its reply dropped.
        let _ = self.requests.send(request);
    }

    /// Finishes the requests so far, and ends the thread.
    pub(crate) fn stop(&self) {
        self.send(WriteRequest::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the catalogue's writer ended in a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

type Reply = Option<oneshot::Sender<Result<Option<Image>>>>;

struct Worker {
    engine: Current,
    journal: Journal,
    state: State,
    spent: Spent,
    /// Set after a failed sync: nothing is acknowledged from then on.
    sealed: bool,
    /// A request taken from the inbox while gathering, which waits for the end of the batch.
    spare: Option<WriteRequest>,
    /// Shortest journal for the next compaction: without it, on a full disk every batch would write most of a segment in
    /// vain.
    compact_after: u64,
    compaction: watch::Sender<Compaction>,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<WriteRequest>) {
        while let Some(first) = self.next(inbox) {
            match first {
                WriteRequest::Stop => break,
                WriteRequest::Distrust(why, engine, reply) => {
                    // Several readers may have reported one damage.
                    if Arc::ptr_eq(&engine, &current(&self.engine)) {
                        self.fall_back(&why);
                    }
                    let _ = reply.send(());
                }
                WriteRequest::Accesses(accesses) => self.count(&accesses),
                WriteRequest::CatalogChange(change, reply) => {
                    let mut changes = vec![(change, reply)];
                    while changes.len() < BATCH_MAX {
                        match inbox.try_recv() {
                            Ok(WriteRequest::CatalogChange(change, reply)) => changes.push((change, reply)),
                            Ok(other) => {
                                self.spare = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(changes);
                }
            }
        }
    }

    fn next(&mut self, inbox: &Receiver<WriteRequest>) -> Option<WriteRequest> {
        if self.spare.is_some() {
            return self.spare.take();
        }
        // The time-out only matters if every sender is gone without `Stop`, which `Drop` rules out; it costs nothing.
        loop {
            match inbox.recv_timeout(Duration::from_secs(3600)) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn commit(&mut self, changes: Vec<(Box<CatalogChange>, Reply)>) {
        let (changes, replies): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let mut before = self.state;
        let mut pending = match self.prepare_all(&changes) {
            Ok(pending) => pending,
            Err(why) => {
                self.state = before;
                self.fall_back(&why);
                before = self.state;
                self.prepare_all(&changes).unwrap_or_else(|why| self.refuse_all(changes.len(), &why))
            }
        };
        if pending.line_count > 0
            && let Err(error) = self.write(before, &mut pending)
        {
            log::error!("{error}");
            self.state = before;
            for outcome in pending.outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(write_error(&error));
            }
        }
        for (reply, outcome) in replies.into_iter().zip(pending.outcomes) {
            match (reply, outcome) {
                // The requester may be gone; the change is valid all the same.
                (Some(reply), outcome) => drop(reply.send(outcome)),
                (None, Err(error)) => log::debug!("a change without a waiting caller was not made: {error}"),
                (None, Ok(_)) => {}
            }
        }
        self.compact_if_due();
    }

    /// Checks every change against the earlier ones, and puts the accepted ones into one batch.
    ///
    /// # Errors
    /// The engine can't be read. The state may have advanced and must be reset.
    fn prepare_all(&mut self, changes: &[Box<CatalogChange>]) -> std::result::Result<Pending, String> {
        let mut pending = Pending::default();
        for change in changes {
            let outcome = match self.sealed {
                true => Err(sealed_error()),
                false => {
                    let engine = current(&self.engine);
                    ChangeDraft { engine: &*engine, spent: &self.spent, state: &mut self.state, pending: &mut pending }
                        .add(change)?
                }
            };
            pending.outcomes.push(outcome);
        }
        Ok(pending)
    }

    fn refuse_all(&mut self, count: usize, why: &str) -> Pending {
        let outcomes = (0..count).map(|_| Err(Error::internal(why.to_owned()))).collect();
        Pending { outcomes, ..Pending::default() }
    }

    /// Writes the journal first, the engine second. A journalled change is made, even if the engine fails.
    fn write(&mut self, before: State, pending: &mut Pending) -> std::result::Result<(), AppendError> {
        // Retired ids first: a retired id of an image that still exists does no harm.
        self.spent.add(pending.images.iter().filter(|(_, image)| image.is_none()).map(|(id, _)| *id));
        let outcome = self.journal.append(&pending.lines, pending.line_count);
        self.sealed |= matches!(outcome, Err(AppendError::Sync(_)));
        outcome?;
        let engine = current(&self.engine);
        let mut batch = std::mem::take(&mut pending.writes);
        let known = State::load(&*engine).ok().flatten();
        self.state.advance(known, &mut batch);
        if known.unwrap_or_default() != before {
            self.fall_back("it is not where the journal left it");
        } else if let Err(error) = engine.commit(&batch) {
            self.fall_back(&error.to_string());
        }
        Ok(())
    }

    fn count(&mut self, accesses: &HashMap<ImageId, Access>) {
        let engine = current(&self.engine);
        let add = || -> std::result::Result<(), EngineError> {
            let mut batch = Batch::default();
            for (id, more) in accesses {
                // The image may be removed since; its counters must not return.
                if engine.get(Table::Image, id.as_bytes())?.is_none() {
                    continue;
                }
                let stored = engine.get(Table::Access, id.as_bytes())?;
                let old = stored.and_then(|bytes| row::decode_access(&bytes).ok()).unwrap_or_default();
                let new = Access { count: old.count + more.count, last: old.last.max(more.last) };
                let bytes = row::encode_access(new).map_err(|error| EngineError::Broken(error.to_string()))?;
                batch.put(Table::Access, *id.as_bytes(), bytes);
            }
            engine.commit(&batch)
        };
        if let Err(error) = add() {
            log::warn!("access counters were not kept: {error}");
        }
    }

    /// Abandons the engine, and serves from memory until the next start rebuilds it from the journal.
    fn fall_back(&mut self, why: &str) {
        let memory = MemoryEngine::default();
        match open::into_engine(&mut self.journal, &memory) {
            Ok((state, _)) => {
                self.state = state;
                log::error!(
                    "the metadata database can't be trusted ({why}); serving {} images from memory, out of the \
                     journal, until the next start rebuilds it",
                    state.images
                );
                if let Err(error) = database::demand_rebuild(self.journal.dir()) {
                    log::error!("the rebuild can't be noted for the next start: {error}");
                }
                *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(memory);
            }
            Err(error) => {
                self.sealed = true;
                log::error!("the metadata database failed ({why}), and so did the journal ({error}); no more changes");
            }
        }
    }

    /// Compacts a journal that is more than twice as long as its live lines.
    fn compact_if_due(&mut self) {
        let bytes = self.journal.bytes();
        let alive = self.journal.live_bytes_estimate(self.state.images);
        if self.sealed || bytes < COMPACT_BYTES_MIN.max(self.compact_after) || alive * 2 > bytes {
            return;
        }
        self.compaction.send_replace(Compaction { running: true, from: bytes, ..Compaction::default() });
        let mut ended = Compaction { from: bytes, to: bytes, ..Compaction::default() };
        match open::fold(self.journal.dir(), &*current(&self.engine), self.state) {
            Ok(journal) => {
                log::info!("journal compacted from {bytes} to {} bytes", journal.bytes());
                ended.to = journal.bytes();
                self.journal = journal;
                self.compact_after = 0;
            }
            // The old segment is still whole and open: nothing is lost.
            Err(error) => {
                log::warn!("the journal could not be compacted: {error}");
                self.compact_after = bytes + bytes / 8;
                ended.error = Some(error.to_string());
            }
        }
        self.compaction.send_replace(ended);
    }
}

fn sealed_error() -> Error {
    Reason::ChangesStopped.into()
}

fn write_error(error: &AppendError) -> Error {
    match error {
        AppendError::Append(io) if open::is_full(io) => Error::from(Reason::DiskFull).because(io.to_string()),
        AppendError::Append(io) => Error::internal(io.to_string()),
        AppendError::Sync(io) => sealed_error().because(io.to_string()),
    }
}
