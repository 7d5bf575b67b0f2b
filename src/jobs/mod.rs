//! Jobs: work that continues after an answer, or that the server begins itself. Clients follow, await and stop them.
//!
//! Kept in memory, and for a while after their end (`JobClass::limits`): a restart forgets all, running ones are not
//! resumed, and the sweep at the start repairs their images. A stop asks the work to end or drops it at an `await`; work
//! must be safe either way.
//!
//! Knows errors, image ids and the time; no account rules, no HTTP and no protocol. A caller passes its rights in as a test.

mod background;
mod events;
mod job;
mod table;
mod work;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::AbortHandle;
use tokio::sync::watch;
use tokio::time::sleep;
use uuid::Uuid;

pub use self::background::Background;
pub use self::events::{Event, EventQueue, EventStream, NoEvent, Subject};
pub use self::job::{Job, JobClass, JobId, JobKind, JobLimits, JobProgress, JobStatus, Notes, Retried, Schedule};
use self::table::JobTable;
pub use self::work::{Begun, Handle};
use crate::error::{Error, Reason, Result};
use crate::image::{ImageId, Timestamp};

/// The time; tests bring their own.
pub type Clock = fn() -> Timestamp;

/// Requests that wait for one job, at most.
pub const WAITERS_MAX: usize = 64;

/// The effect of [`Jobs::stop`] on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// None: the stop is refused.
    Refused,
    /// The work learns of it from [`Handle::stopped`], undoes its changes, and ends.
    Asks,
    /// The work is dropped at an `await`. The job has ended when the work is gone.
    Drops,
    /// Like `Drops`, for work that has nothing to undo: the job has ended at once.
    AtOnce,
}

/// A job to begin.
#[derive(Clone)]
pub struct Spec {
    owner: Option<String>,
    kind: JobKind,
    image: Option<ImageId>,
    stop: Stop,
    notes: Option<Notes>,
}

impl Spec {
    /// A job of an account, which can't be stopped.
    pub fn new(kind: JobKind, owner: Option<&str>) -> Self {
        Self { owner: owner.map(ToOwned::to_owned), kind, image: None, stop: Stop::Refused, notes: None }
    }

    /// Names its image.
    pub fn image(self, image: ImageId) -> Self {
        Self { image: Some(image), ..self }
    }

    /// Sets the effect of a stop.
    pub fn stop(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Attaches notes.
    pub fn notes(self, notes: Notes) -> Self {
        Self { notes: Some(notes), ..self }
    }
}

/// The part of a job that changes.
struct State {
    job: Job,
    /// The moment at which listeners were last told.
    told: Instant,
    began: Instant,
    abort: Option<AbortHandle>,
}

struct Entry {
    id: JobId,
    /// Ascending in the order of their begin.
    order: u64,
    stop: Stop,
    state: Mutex<State>,
    ended: watch::Sender<bool>,
    asked: watch::Sender<bool>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> Job {
        self.state().job.clone()
    }
}

struct Store {
    table: Mutex<JobTable>,
    order: AtomicU64,
    events: EventStream,
    clock: Clock,
    /// Unfinished jobs that the server's end waits for.
    running: watch::Sender<usize>,
    /// True when the server ends: every wait ends.
    over: watch::Sender<bool>,
}

/// The jobs of a server. Clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<Store>);

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jobs({})", self.table().len())
    }
}

impl Jobs {
    /// A server's jobs, still none.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Store {
            table: Mutex::default(),
            order: AtomicU64::new(0),
            events: EventStream::new(clock),
            clock,
            running: watch::Sender::new(0),
            over: watch::Sender::new(false),
        }))
    }

    /// The event stream.
    pub fn events(&self) -> &EventStream {
        &self.0.events
    }

    fn table(&self) -> MutexGuard<'_, JobTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Adds a job.
    fn insert(&self, spec: Spec, schedule: Option<Schedule>) -> Result<Arc<Entry>> {
        self.forget_old();
        let (now, id) = (self.now(), JobId(Uuid::new_v4()));
        let Spec { owner, kind, image, stop, notes } = spec;
        let job = Job {
            id,
            owner,
            kind,
            image,
            status: JobStatus::Waiting,
            progress: JobProgress::default(),
            retried: None,
            made_at: now,
            updated_at: now,
            ended_at: None,
            may_stop: stop != Stop::Refused,
            error: None,
            failure: None,
            schedule,
            notes,
        };
        let state = State { job, told: Instant::now(), began: Instant::now(), abort: None };
        let entry = Arc::new(Entry {
            id,
            order: self.0.order.fetch_add(1, Ordering::Relaxed),
            stop,
            state: Mutex::new(state),
            ended: watch::Sender::new(false),
            asked: watch::Sender::new(false),
        });
        self.table().insert(Arc::clone(&entry))?;
        self.tell(&mut entry.state());
        Ok(entry)
    }

    /// Changes a job and tells listeners. False if the job has ended.
    fn change(&self, entry: &Entry, change: impl FnOnce(&mut State)) -> bool {
        let mut state = entry.state();
        if state.job.status.is_final() {
            return false;
        }
        change(&mut state);
        let now = self.now();
        state.job.updated_at = now;
        let ended = state.job.status.is_final();
        if ended {
            state.job.ended_at = Some(now);
            state.job.may_stop = false;
            state.abort = None;
        }
        self.tell(&mut state);
        drop(state);
        if ended {
            entry.ended.send_replace(true);
        }
        true
    }

    /// Tells listeners the present state of a job. Under its lock, so that they receive changes in order.
    fn tell(&self, state: &mut State) {
        state.told = Instant::now();
        self.0.events.job(&state.job);
    }

    /// Forgets jobs that ended long ago.
    fn forget_old(&self) {
        let now = self.now();
        self.table().forget_old(now);
    }

    /// Jobs that `meant` picks, newest first.
    pub fn list(&self, meant: impl Fn(&Job) -> bool) -> Vec<Job> {
        self.forget_old();
        let mut found: Vec<(u64, Job)> = {
            let table = self.table();
            table
                .all()
                .filter_map(|entry| {
                    let state = entry.state();
                    meant(&state.job).then(|| (entry.order, state.job.clone()))
                })
                .collect()
        };
        found.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        found.into_iter().map(|(_, job)| job).collect()
    }

    /// Jobs of an image that `meant` picks, newest first. Looks at no other image's.
    pub fn list_of(&self, image: ImageId, meant: impl Fn(&Job) -> bool) -> Vec<Job> {
        self.forget_old();
        self.table().of_image(image).map(|entry| entry.show()).filter(meant).collect()
    }

    /// The newest job of an image that `meant` picks. Looks at no other image's.
    pub fn newest_of(&self, image: ImageId, meant: impl Fn(&Job) -> bool) -> Option<Job> {
        let table = self.table();
        let newest = table.of_image(image).find(|entry| meant(&entry.state().job))?.show();
        newest.forgotten_at().is_none_or(|at| at > self.now()).then_some(newest)
    }

    fn entry(&self, id: JobId) -> Option<Arc<Entry>> {
        self.forget_old();
        self.table().get(id).cloned()
    }

    /// Finds a job.
    pub fn find(&self, id: JobId) -> Option<Job> {
        self.entry(id).map(|entry| entry.show())
    }

    /// Waits until a job has ended, `patience` at most, and returns its state then. The server's end ends the wait too.
    ///
    /// # Errors
    /// `NotFound`; `Busy` when too many requests wait for it.
    pub async fn wait(&self, id: JobId, patience: Option<Duration>) -> Result<Job> {
        let entry = self.entry(id).ok_or_else(|| not_found(&id.to_string()))?;
        if entry.ended.receiver_count() >= WAITERS_MAX {
            return Err(Reason::TooManyWaiters.into());
        }
        let (mut ended, mut over) = (entry.ended.subscribe(), self.0.over.subscribe());
        // Longer than any server runs.
        let patience = patience.unwrap_or(Duration::MAX).min(Duration::from_secs(365 * 86_400));
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => {}
            () = sleep(patience) => {}
            _ = over.wait_for(|over| *over) => {}
        }
        Ok(entry.show())
    }

    /// Stops a job, or the current run of a background job. The work itself ends the job (see [`Stop`]).
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a job that does not run, or can't be stopped.
    pub fn stop(&self, id: JobId) -> Result<()> {
        let entry = self.entry(id).ok_or_else(|| not_found(&id.to_string()))?;
        if entry.state().job.status != JobStatus::Running {
            return Err(not_running());
        }
        if entry.stop == Stop::Refused {
            return Err(Reason::JobNotStoppable.into());
        }
        let at_once = entry.stop == Stop::AtOnce;
        let stopped = self.change(&entry, |state| {
            state.job.status = if at_once { JobStatus::Stopped } else { JobStatus::Stopping };
            entry.asked.send_replace(true);
            if let Some(abort) = state.abort.take().filter(|_| entry.stop != Stop::Asks) {
                abort.abort();
            }
        });
        // The work may have ended meanwhile.
        if stopped { Ok(()) } else { Err(not_running()) }
    }

    /// Number of jobs that the server's end waits for.
    pub fn running(&self) -> usize {
        *self.0.running.borrow()
    }

    /// Waits for running jobs of clients, and then ends every other wait.
    pub async fn end(&self) {
        let _ = self.0.running.subscribe().wait_for(|running| *running == 0).await;
        self.0.over.send_replace(true);
    }
}

fn not_running() -> Error {
    Reason::JobEnded.into()
}

/// Error for a job that does not exist, or that the caller may not see.
pub fn not_found(id: &str) -> Error {
    Reason::JobNotFound.about(id.escape_default())
}

#[cfg(test)]
mod tests;
