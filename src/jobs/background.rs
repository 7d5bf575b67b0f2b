//! Background jobs of the server: each is listed as long as the server runs, with its last run and its next one.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{Aborted, abortable};

use super::work::report;
use super::{Entry, Handle, JobId, JobKind, JobProgress, JobStatus, Jobs, Schedule, Spec, Stop};
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

impl Jobs {
    /// Registers a background job, of which there is one of each kind.
    ///
    /// # Errors
    /// `Busy` when there are too many jobs.
    pub fn background(&self, kind: JobKind, next: Option<Timestamp>) -> Result<Background> {
        // The catalogue's writer runs compactions; here they are only watched.
        let stop = if kind == JobKind::Compaction { Stop::Refused } else { Stop::Drops };
        let spec = Spec::new(kind, None).stop(stop);
        let entry = self.insert(spec, Some(Schedule { next, ..Schedule::default() }))?;
        Ok(Background { jobs: self.clone(), entry })
    }
}

/// A background job.
pub struct Background {
    jobs: Jobs,
    entry: Arc<Entry>,
}

impl Background {
    /// Runs it once, in the current task. A stop drops the work at an `await` and ends this run alone. `next` gives the
    /// begin of the next run afterwards.
    pub async fn run<F>(&self, next: impl FnOnce() -> Option<Timestamp>, work: impl FnOnce(Handle) -> F)
    where
        F: Future<Output = Result<()>>,
    {
        let (work, abort) = abortable(work(Handle::of(&self.jobs, &self.entry)));
        self.entry.asked.send_replace(false);
        let now = self.jobs.now();
        self.jobs.change(&self.entry, |state| {
            (state.job.status, state.began, state.abort) = (JobStatus::Running, Instant::now(), Some(abort));
            (state.job.progress, state.job.retried) = (JobProgress::default(), None);
            state.job.schedule = Some(Schedule { last_began: Some(now), ..Schedule::default() });
        });
        let run = Run { background: self, outcome: None };
        let outcome = work.await;
        run.end(outcome, next());
    }

    /// The id of the job.
    pub fn id(&self) -> JobId {
        self.entry.id
    }

    /// Sets the begin of the next run.
    pub fn plan(&self, next: Option<Timestamp>) {
        self.jobs.change(&self.entry, |state| {
            if let Some(schedule) = &mut state.job.schedule {
                schedule.next = next;
            }
        });
    }

    /// Ends it until the next start of the server.
    pub fn end(self) {
        self.jobs.change(&self.entry, |state| {
            let error = state.job.schedule.as_ref().and_then(|schedule| schedule.last_error.clone());
            state.job.status = if error.is_some() { JobStatus::Failed } else { JobStatus::Done };
            state.job.error = error;
        });
    }
}

/// The end of a run, and the begin of the next one.
type Outcome = (Result<Result<()>, Aborted>, Option<Timestamp>);

/// A run, which ends also when it is dropped or panics.
struct Run<'a> {
    background: &'a Background,
    outcome: Option<Outcome>,
}

impl Run<'_> {
    fn end(mut self, outcome: Result<Result<()>, Aborted>, next: Option<Timestamp>) {
        self.outcome = Some((outcome, next));
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let Background { jobs, entry } = self.background;
        let now = jobs.now();
        let broken = || match std::thread::panicking() {
            true => (Ok(Err(Error::internal("a background job panicked"))), None),
            false => (Ok(Err(Reason::Interrupted.into())), None),
        };
        let (outcome, next) = self.outcome.take().unwrap_or_else(broken);
        jobs.change(entry, |state| {
            let error = match outcome {
                Ok(Ok(())) => None,
                Err(Aborted) => Some(Handle::stop_error().message().to_owned()),
                Ok(Err(error)) => {
                    report(&state.job, &error);
                    Some(error.message().to_owned())
                }
            };
            (state.job.status, state.abort) = (JobStatus::Waiting, None);
            if let Some(schedule) = &mut state.job.schedule {
                (schedule.last_ended, schedule.last_error, schedule.next) = (Some(now), error, next);
            }
        });
    }
}
