//! The running side of a job: begin, reports, and end, however the work ends. Knows no kinds of work.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Aborted, abortable};
use futures_util::{Stream, StreamExt, stream};

use super::{Entry, Job, JobId, JobStatus, Jobs, Notes, Retried, Spec, State};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::ImageId;

/// Shortest time between two reports of progress to listeners.
const TELL_EVERY: Duration = Duration::from_millis(250);

impl Jobs {
    /// Does `work` as a job, in a task of the current runtime.
    ///
    /// # Errors
    /// `Busy` when too many jobs of its class have not ended.
    pub fn spawn<F>(&self, spec: Spec, work: impl FnOnce(Handle) -> F) -> Result<Job>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Ok(self.begin(spec)?.run(work))
    }

    /// Registers a job before its work exists. Dropped without a run, the job has failed.
    ///
    /// # Errors
    /// As [`Jobs::spawn`].
    pub fn begin(&self, spec: Spec) -> Result<Begun> {
        let entry = self.insert(spec, None)?;
        if entry.show().kind.class().holds_the_end() {
            self.0.running.send_modify(|running| *running += 1);
        }
        Ok(Begun { jobs: self.clone(), entry })
    }
}

/// A job that has not ended; dropping this ends it.
pub struct Begun {
    jobs: Jobs,
    entry: Arc<Entry>,
}

impl Begun {
    /// The id of the job.
    pub fn id(&self) -> JobId {
        self.entry.id
    }

    /// Does the work in a task of its own.
    pub fn run<F>(self, work: impl FnOnce(Handle) -> F) -> Job
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (work, abort) = abortable(work(Handle::of(&self.jobs, &self.entry)));
        self.jobs.change(&self.entry, |state| {
            state.abort = Some(abort);
            (state.job.status, state.began) = (JobStatus::Running, Instant::now());
        });
        let shown = self.entry.show();
        tokio::spawn(async move {
            // The work is dropped before listeners are told of its end.
            let outcome = work.await;
            self.finish(outcome);
        });
        shown
    }

    fn finish(&self, outcome: Result<Result<()>, Aborted>) {
        self.jobs.change(&self.entry, |state| end(state, &self.entry, outcome));
    }
}

/// Records the outcome of the work in its job.
fn end(state: &mut State, entry: &Entry, outcome: Result<Result<()>, Aborted>) {
    let error = match outcome {
        Ok(Ok(())) => return state.job.status = JobStatus::Done,
        Err(Aborted) => return state.job.status = JobStatus::Stopped,
        // Any error counts as stopped: the work was told to end. A fault of the server is logged all the same.
        Ok(Err(error)) if *entry.asked.borrow() => {
            if matches!(error.kind(), Kind::Internal | Kind::StoreFull) {
                report(&state.job, &error);
            }
            return state.job.status = JobStatus::Stopped;
        }
        Ok(Err(error)) => error,
    };
    report(&state.job, &error);
    state.job.status = JobStatus::Failed;
    state.job.error = Some(error.message().to_owned());
    state.job.failure = Some(Arc::new(error));
}

/// Logs the failure of a job: the server's own faults as errors, others at a lower level.
pub(super) fn report(job: &Job, error: &Error) {
    let level = match error.kind() {
        Kind::Internal | Kind::StoreFull | Kind::Upstream => log::Level::Error,
        _ => log::Level::Debug,
    };
    let image = job.image.map(|image| format!(" of image {image}")).unwrap_or_default();
    log::log!(level, "the job {} ({}{image}) failed: {}", job.id, job.kind.name(), error.logged());
}

impl Drop for Begun {
    fn drop(&mut self) {
        // At the server's end all waits are over, and clients were told how the job stood then.
        let is_server_over = *self.jobs.0.over.borrow() && !std::thread::panicking();
        if !*self.entry.ended.borrow() && !is_server_over {
            let error = match std::thread::panicking() {
                true => Error::internal("a job panicked"),
                false => Reason::Interrupted.into(),
            };
            self.finish(Ok(Err(error)));
        }
        if self.entry.show().kind.class().holds_the_end() {
            self.jobs.0.running.send_modify(|running| *running -= 1);
        }
    }
}

/// Handle of the work: reports progress, and learns of a stop. The default belongs to no job and is never stopped.
#[derive(Clone, Default)]
pub struct Handle(Option<(Jobs, Arc<Entry>)>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({:?})", self.0.as_ref().map(|(_, entry)| entry.id))
    }
}

impl Handle {
    pub(super) fn of(jobs: &Jobs, entry: &Arc<Entry>) -> Self {
        Self(Some((jobs.clone(), Arc::clone(entry))))
    }

    /// Changes the job, and tells listeners unless they were told within `TELL_EVERY`.
    fn report(&self, change: impl FnOnce(&mut State)) {
        let Some((jobs, entry)) = &self.0 else { return };
        let mut state = entry.state();
        if state.job.status.is_final() {
            return;
        }
        change(&mut state);
        state.job.updated_at = jobs.now();
        if state.told.elapsed() >= TELL_EVERY {
            jobs.tell(&mut state);
        }
    }

    /// Reports the bytes that are done, and the total.
    pub fn bytes(&self, done: u64, total: Option<u64>) {
        self.report(|state| {
            let progress = &mut state.job.progress;
            (progress.bytes, progress.bytes_total) = (Some(done), total);
            progress.elapsed = state.began.elapsed();
        });
    }

    /// Reports the steps that are done, and the total.
    pub fn steps(&self, done: u64, total: Option<u64>) {
        self.report(|state| (state.job.progress.steps, state.job.progress.steps_total) = (Some(done), total));
    }

    /// Reports that something failed and is done again.
    pub fn retry(&self, trouble: impl Into<String>) {
        self.report(|state| {
            let times = state.job.retried.as_ref().map_or(0, |retried| retried.times) + 1;
            state.job.retried = Some(Retried { times, trouble: trouble.into() });
        });
    }

    /// Reports the image that the job is about, as soon as it is known.
    pub fn image(&self, image: ImageId) {
        if let Some((jobs, entry)) = &self.0 {
            jobs.table().set_image(entry, image);
        }
        self.report(|_| ());
    }

    /// Replaces the notes. Listeners are told soon, or with the next change.
    pub fn notes(&self, notes: Notes) {
        self.report(|state| state.job.notes = Some(notes));
    }

    /// Reports the image that the job is about, with the notes about it; listeners are told now.
    pub fn image_now(&self, image: Option<ImageId>, notes: Notes) {
        if let Some((jobs, entry)) = &self.0 {
            if let Some(image) = image {
                jobs.table().set_image(entry, image);
            }
            jobs.change(entry, |state| state.job.notes = Some(notes));
        }
    }

    /// Replaces the notes; listeners are told with the end, which follows.
    pub fn last_notes(&self, notes: Notes) {
        if let Some((_, entry)) = &self.0 {
            entry.state().job.notes = Some(notes);
        }
    }

    /// Changes the notes, if they are of this type; listeners are told with the next change.
    pub fn amend_notes<T: Clone + Send + Sync + 'static>(&self, change: impl FnOnce(&mut T)) {
        if let Some((_, entry)) = &self.0 {
            let mut state = entry.state();
            if let Some(mut notes) = state.job.notes::<T>().cloned() {
                change(&mut notes);
                state.job.notes = Some(Arc::new(notes));
            }
        }
    }

    /// Ends when the job is told to stop.
    pub async fn stopped(&self) {
        match &self.0 {
            Some((_, entry)) => drop(entry.asked.subscribe().wait_for(|asked| *asked).await),
            None => std::future::pending().await,
        }
    }

    /// True if the job is told to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, entry)| *entry.asked.borrow())
    }

    /// Error of work that ends because of a stop.
    pub fn stop_error() -> Error {
        Reason::JobStopped.into()
    }

    /// Marks the job as stopped and returns the error that the work must return: for work whose time is over.
    pub fn give_up(&self) -> Error {
        if let Some((_, entry)) = &self.0 {
            entry.asked.send_replace(true);
        }
        Self::stop_error()
    }

    /// Counts the pieces of a stream as the job's bytes, after `before`. The stream ends with an error when the job is told
    /// to stop.
    pub fn watch<S, B>(
        &self,
        pieces: S,
        before: u64,
        total: Option<u64>,
    ) -> impl Stream<Item = Result<B>> + Send + Unpin + use<S, B>
    where
        S: Stream<Item = Result<B>> + Send + Unpin,
        B: AsRef<[u8]> + Send,
    {
        let handle = self.clone();
        let watched = stream::unfold((pieces, handle, before), move |(mut pieces, handle, mut done)| async move {
            let piece = tokio::select! {
                biased;
                () = handle.stopped() => Some(Err(Self::stop_error())),
                piece = pieces.next() => piece,
            };
            if let Some(Ok(piece)) = &piece {
                done = done.saturating_add(piece.as_ref().len() as u64);
                handle.bytes(done, total);
            }
            piece.map(|piece| (piece, (pieces, handle, done)))
        });
        Box::pin(watched)
    }
}
