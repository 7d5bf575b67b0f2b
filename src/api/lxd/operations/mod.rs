//! Operations: jobs as LXD shows them. A job that this protocol began carries the notes of its operation; other jobs are
//! none, and are not shown. What the server forgets, and when, is the jobs' business.
//!
//! An operation is seen by its owner and by administrators; others can't tell it from one that never was.

mod record;
pub(super) mod routes;
mod secret;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

pub use self::record::{About, Class, Operation, Status};
use self::record::{OperationNotes, is_for};
pub use self::secret::{Owner, Purpose, Ticket};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::ImageId;
use crate::jobs::{Handle, Job, JobId, Jobs, Spec, Stop};
use crate::registry::Caller;

/// The operations of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Operations(Jobs);

impl Operations {
    /// The operations among these jobs.
    pub fn new(jobs: Jobs) -> Self {
        Self(jobs)
    }

    /// Does `work` as an operation of `owner`. What it returns is laid over the operation's metadata; its error is what the
    /// operation failed for, and what was said before stays.
    ///
    /// The work is dropped where it waits when a client stops it, if it is `cancellable`, and when the server ends.
    ///
    /// # Errors
    /// `Busy` when too much goes on.
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

    /// The operations that a caller may see, in the order in which they began.
    pub fn list(&self, caller: &Caller) -> Vec<Operation> {
        let seen = self.0.list(|job| job.notes::<OperationNotes>().is_some() && is_for(job, caller));
        seen.iter().rev().filter_map(Operation::of).collect()
    }

    /// An operation that a caller may see.
    ///
    /// # Errors
    /// `NotFound`.
    fn find(&self, caller: &Caller, id: &str) -> Result<Operation> {
        let found = self.job(id).filter(|job| is_for(job, caller));
        found.as_ref().and_then(Operation::of).ok_or_else(|| not_found(id))
    }

    /// An operation, whosever it is.
    fn any(&self, id: &str) -> Option<Operation> {
        self.job(id).as_ref().and_then(Operation::of)
    }

    fn job(&self, id: &str) -> Option<Job> {
        self.0.find(id.parse().ok()?)
    }

    /// Waits until an operation has ended, and no longer than `patience`. Also ended by the server's end.
    ///
    /// # Errors
    /// `Busy` when too many wait for it.
    async fn wait(&self, id: JobId, patience: Option<Duration>) -> Result<Operation> {
        let job = self.0.wait(id, patience).await.map_err(|error| match error.kind() {
            Kind::NotFound => not_found(&id.to_string()),
            _ => busy("too many wait for this operation", error),
        });
        Ok(shown(&job?))
    }

    /// Stops an operation that its starter lets others stop.
    ///
    /// # Errors
    /// As [`Jobs::stop`].
    fn cancel(&self, id: JobId) -> Result<()> {
        self.0.stop(id)
    }
}

/// The operation of a job that this room has begun.
fn shown(job: &Job) -> Operation {
    Operation::of(job).unwrap_or_else(|| Operation::unknown(job))
}

/// A refusal for too much of something, in LXD's words.
fn busy(text: &'static str, error: Error) -> Error {
    if error.kind() == Kind::Busy { error.reason().saying(text) } else { error }
}

fn not_found(id: &str) -> Error {
    Reason::JobNotFound.about(id.escape_default())
}

/// Lays what is new over what is there.
fn merge(metadata: &mut Map<String, Value>, new: Value) {
    if let Value::Object(new) = new {
        metadata.extend(new);
    }
}

/// By which work says how far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    handle: Handle,
    notes: Arc<Mutex<OperationNotes>>,
}

impl Progress {
    fn notes(&self) -> MutexGuard<'_, OperationNotes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something in the operation's metadata. Others are told at once, or with what is said next if this comes often.
    pub fn say(&self, name: &str, value: impl Into<Value>) {
        let mut notes = self.notes();
        notes.metadata.insert(name.to_owned(), value.into());
        self.handle.notes(Arc::new(notes.clone()));
    }

    /// Says how many bytes have come, and of how many; shown as `download_progress`.
    pub fn bytes(&self, bytes: u64, of: Option<u64>) {
        self.handle.bytes(bytes, of);
    }

    /// Says which image the operation is about, as soon as that is known.
    pub fn image(&self, id: impl Into<Option<ImageId>>, fingerprint: &str) {
        let mut notes = self.notes();
        notes.images = vec![fingerprint.to_owned()];
        self.handle.image_now(id.into(), Arc::new(notes.clone()));
    }

    /// Lays what the work returned over the metadata; told with the end.
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
