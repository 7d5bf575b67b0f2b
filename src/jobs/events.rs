//! The event stream: changes of jobs, and notices of other rooms, in order. Knows no rights.
//!
//! A listener that does not keep up misses events, and learns of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Clock, Job};
use crate::image::Timestamp;

/// Events that a listener may be behind.
const BEHIND_MAX: usize = 512;

/// The subject of an event.
#[derive(Clone)]
pub enum Subject {
    /// A job that began, changed or ended, as it is now.
    Job(Arc<Job>),
    /// A notice of another room, for listeners that know its type.
    Notice(Arc<dyn Any + Send + Sync>),
}

/// An event.
#[derive(Clone)]
pub struct Event {
    /// The time at which it happened.
    pub at: Timestamp,
    /// Account that may receive it. Without one only administrators do.
    pub owner: Option<Arc<str>>,
    /// Its subject.
    pub subject: Subject,
}

impl fmt::Debug for Event {
    /// Leaves out notices, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Job(job) => job.fmt(f),
            Subject::Notice(_) => f.write_str("Notice"),
        }
    }
}

/// The stream's sending end. Clones share it.
#[derive(Debug, Clone)]
pub struct EventStream {
    sender: broadcast::Sender<Event>,
    clock: Clock,
}

impl EventStream {
    pub(super) fn new(clock: Clock) -> Self {
        Self { sender: broadcast::Sender::new(BEHIND_MAX), clock }
    }

    /// All events from now on. `Lagged` says that some were missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Sends a notice about an account, if there is a listener.
    pub fn notice<T: Any + Send + Sync>(&self, owner: Option<&str>, notice: impl FnOnce() -> T) {
        self.send(owner, || Subject::Notice(Arc::new(notice())));
    }

    pub(super) fn job(&self, job: &Job) {
        self.send(job.owner.as_deref(), || Subject::Job(Arc::new(job.clone())));
    }

    fn send(&self, owner: Option<&str>, subject: impl FnOnce() -> Subject) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        // The last listener may have left meanwhile.
        let event = Event { at: (self.clock)(), owner: owner.map(Into::into), subject: subject() };
        let _ = self.sender.send(event);
    }
}
