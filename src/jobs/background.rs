//! Jobs of the server's own: each stands in the list as long as the server runs, with its last run and its next one.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{Aborted, abortable};

use super::work::report;
use super::{Entry, Handle, JobId, JobKind, JobProgress, JobStatus, Jobs, Schedule, Spec, Stop};
use crate::error::{Error, Result};
use crate::image::Timestamp;

impl Jobs {
    /// A background job between two runs. There is one of each kind.
    ///
    /// # Errors
    /// `Busy` when there are too many.
    pub fn background(&self, kind: JobKind, next: Option<Timestamp>) -> Result<Background> {
        let spec = Spec::new(kind, None).stop(Stop::Drops);
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
    /// Runs it once, here. A stop drops the work where it waits, and ends this run alone. `next` is asked afterwards for the
    /// begin of the next run.
    pub async fn run<F>(&self, next: impl FnOnce() -> Option<Timestamp>, work: impl FnOnce(Handle) -> F)
    where
        F: Future<Output = Result<()>>,
    {
        let (work, abort) = abortable(work(Handle::of(&self.jobs, &self.entry)));
        self.entry.asked.send_replace(false);
        let now = self.jobs.now();
        self.jobs.change(&self.entry, |state| {
            (state.job.status, state.began, state.abort) = (JobStatus::Running, Instant::now(), Some(abort));
            state.job.progress = JobProgress::default();
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

    /// Says when it runs next.
    pub fn plan(&self, next: Option<Timestamp>) {
        self.jobs.change(&self.entry, |state| {
            if let Some(schedule) = &mut state.job.schedule {
                schedule.next = next;
            }
        });
    }

    /// Ends it: nothing more is to be done until the next start.
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
        let broken = || (Ok(Err(Error::internal("a background job panicked or was dropped"))), None);
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
