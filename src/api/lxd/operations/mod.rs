//! Operations: jobs as LXD shows them. A job that this protocol began carries the notes of its operation; other jobs are not
//! shown. Knows nothing of limits and of forgetting: that is the jobs' business.
//!
//! Its owner and administrators see an operation; to other callers it does not exist.

mod record;
pub(super) mod routes;
mod secret;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

pub use self::record::is_operation;
pub use self::record::{About, Class, Operation, Status};
use self::record::{OperationNotes, is_for};
pub use self::secret::{Owner, Purpose, Ticket};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::ImageId;
use crate::jobs::{Handle, Job, JobClass, JobId, Jobs, Spec, Stop};
use crate::registry::Caller;

/// The operations of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Operations(Jobs);

impl Operations {
    /// Operations among these jobs.
    pub fn new(jobs: Jobs) -> Self {
        Self(jobs)
    }

    /// Does `work` as an operation of `owner`. The value it returns is merged into the operation's metadata; its error
    /// becomes the operation's, and metadata reported before stay.
    ///
    /// The work is dropped at an `await` when a client stops it, if it is `cancellable`, and when the server ends.
    ///
    /// # Errors
    /// `Busy` when too many operations run.
    pub fn run<W, F>(&self, owner: &Caller, about: About, work: W) -> Result<Operation>
    where
        W: FnOnce(Progress) -> F,
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        let stop = if about.may_cancel { Stop::Drops } else { Stop::Refused };
        let notes = OperationNotes::new(Class::Task, &about, None);
        let spec = about.spec(owner).stop(stop).notes(Arc::new(notes.clone()));
        let job = self.0.spawn(spec, |handle| {
            let progress = Progress { handle, notes: Arc::new(Mutex::new(notes)) };
            let work = work(progress.clone());
            async move {
                let said = work.await?;
                progress.finish(said);
                Ok(())
            }
        });
        let job = job.map_err(|error| busy("too many operations go on", error))?;
        Ok(shown(&job))
    }

    /// Operations that a caller may see, oldest first.
    pub fn list(&self, caller: &Caller) -> Vec<Operation> {
        let seen = self.0.list(|job| is_operation(job) && is_for(job, caller));
        seen.iter().rev().filter_map(Operation::of).collect()
    }

    /// Tells if an operation that a caller may see has not ended. Secrets, which wait for their use, do not count.
    pub(super) fn go_on(&self, caller: &Caller) -> bool {
        let goes_on = |job: &Job| !job.status.is_final() && job.kind.class() != JobClass::Secret;
        !self.0.list(|job| goes_on(job) && is_operation(job) && is_for(job, caller)).is_empty()
    }

    /// An operation that a caller may see.
    ///
    /// # Errors
    /// `NotFound`.
    fn find(&self, caller: &Caller, id: &str) -> Result<Operation> {
        let found = self.job(id).filter(|job| is_for(job, caller));
        found.as_ref().and_then(Operation::of).ok_or_else(|| not_found(id))
    }

    /// An operation of any owner.
    fn any(&self, id: &str) -> Option<Operation> {
        self.job(id).as_ref().and_then(Operation::of)
    }

    fn job(&self, id: &str) -> Option<Job> {
        self.0.find(id.parse().ok()?)
    }

    /// Waits until an operation has ended, `patience` at most. The server's end ends the wait too.
    ///
    /// # Errors
    /// `Busy` when too many requests wait for it.
    async fn wait(&self, id: JobId, patience: Option<Duration>) -> Result<Operation> {
        let job = self.0.wait(id, patience).await.map_err(|error| match error.kind() {
            Kind::NotFound => not_found(&id.to_string()),
            _ => busy("too many wait for this operation", error),
        });
        Ok(shown(&job?))
    }

    /// Stops an operation that is `cancellable`.
    ///
    /// # Errors
    /// As [`Jobs::stop`].
    fn cancel(&self, id: JobId) -> Result<()> {
        self.0.stop(id)
    }
}

/// Operation of a job that this room began.
fn shown(job: &Job) -> Operation {
    Operation::of(job).unwrap_or_else(|| Operation::unknown(job))
}

/// Refusal of one operation too many, in LXD's words.
fn busy(text: &'static str, error: Error) -> Error {
    if error.kind() == Kind::Busy { error.reason().saying(text) } else { error }
}

fn not_found(id: &str) -> Error {
    Reason::JobNotFound.about(id.escape_default())
}

/// Merges new fields into metadata; a new value replaces an old one.
fn merge(metadata: &mut Map<String, Value>, new: Value) {
    if let Value::Object(new) = new {
        metadata.extend(new);
    }
}

/// Handle through which work reports its progress.
#[derive(Debug, Clone)]
pub struct Progress {
    handle: Handle,
    notes: Arc<Mutex<OperationNotes>>,
}

impl Progress {
    fn notes(&self) -> MutexGuard<'_, OperationNotes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a field of the operation's metadata. Listeners are told at once, or with the next report if reports are
    /// frequent.
    pub fn say(&self, name: &str, value: impl Into<Value>) {
        let mut notes = self.notes();
        notes.metadata.insert(name.to_owned(), value.into());
        self.handle.notes(Arc::new(notes.clone()));
    }

    /// The handle of the job: for work that reports the bytes received (shown as `download_progress`) and its troubles.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reports the image that the operation is about, as soon as it is known.
    pub fn image(&self, id: impl Into<Option<ImageId>>, fingerprint: &str) {
        let mut notes = self.notes();
        notes.images = vec![fingerprint.to_owned()];
        self.handle.image_now(id.into(), Arc::new(notes.clone()));
    }

    /// Merges the value returned by the work into the metadata; listeners are told with the end.
    fn finish(&self, said: Value) {
        let mut notes = self.notes();
        merge(&mut notes.metadata, said);
        self.handle.last_notes(Arc::new(notes.clone()));
    }
}

impl About {
    fn spec(&self, owner: &Caller) -> Spec {
        let spec = Spec::new(self.kind, owner.account());
        match self.id {
            Some(id) => spec.image(id),
            None => spec,
        }
    }
}
