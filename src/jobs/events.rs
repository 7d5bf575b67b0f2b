//! The event stream: changes of jobs, and notices of other rooms, in order. Knows no rights: a listener says which events it
//! hears.
//!
//! Each listener has a queue of its own, for the events that it hears. One that does not keep up misses events, and learns of
//! it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

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

type Hears = Box<dyn Fn(&Event) -> bool + Send>;

/// The sending end of a listener.
struct ListenerEnd {
    hears: Hears,
    queue: mpsc::Sender<Event>,
    missed: Arc<AtomicBool>,
}

impl ListenerEnd {
    /// Queues an event. False for a listener that is gone, or that misses this event.
    fn tell(&self, event: &Event) -> bool {
        if self.queue.is_closed() {
            return false;
        }
        if !(self.hears)(event) {
            return true;
        }
        let told = self.queue.try_send(event.clone()).is_ok();
        if !told {
            self.missed.store(true, Ordering::Release);
        }
        told
    }
}

/// End of a listener's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEvent {
    /// None waits now.
    Yet,
    /// The listener was too far behind, and hears no more.
    Missed,
    /// The stream has ended.
    Over,
}

/// The receiving end of a listener. Dropping it ends the listening.
pub struct EventQueue {
    queue: mpsc::Receiver<Event>,
    missed: Arc<AtomicBool>,
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventQueue({})", self.queue.len())
    }
}

impl EventQueue {
    fn end(&self) -> NoEvent {
        if self.missed.load(Ordering::Acquire) { NoEvent::Missed } else { NoEvent::Over }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// `Missed` and `Over`, after the events before.
    pub async fn next(&mut self) -> Result<Event, NoEvent> {
        self.queue.recv().await.ok_or_else(|| self.end())
    }

    /// The next event, if one waits.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn try_next(&mut self) -> Result<Event, NoEvent> {
        self.queue.try_recv().map_err(|error| match error {
            TryRecvError::Empty => NoEvent::Yet,
            TryRecvError::Disconnected => self.end(),
        })
    }
}

/// The stream's sending end. Clones share it.
#[derive(Clone)]
pub struct EventStream {
    listeners: Arc<Mutex<Vec<ListenerEnd>>>,
    clock: Clock,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventStream({})", self.listeners().len())
    }
}

impl EventStream {
    pub(super) fn new(clock: Clock) -> Self {
        Self { listeners: Arc::default(), clock }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<ListenerEnd>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events from now on that `hears` picks: others neither fill the queue nor wake the listener. `hears` runs where an
    /// event is made, and has to be quick.
    pub fn subscribe(&self, hears: impl Fn(&Event) -> bool + Send + 'static) -> EventQueue {
        let (sender, queue) = mpsc::channel(BEHIND_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        let mut listeners = self.listeners();
        listeners.retain(|listener| !listener.queue.is_closed());
        listeners.push(ListenerEnd { hears: Box::new(hears), queue: sender, missed: Arc::clone(&missed) });
        EventQueue { queue, missed }
    }

    /// Sends a notice about an account, if there is a listener.
    pub fn notice<T: Any + Send + Sync>(&self, owner: Option<&str>, notice: impl FnOnce() -> T) {
        self.send(owner, || Subject::Notice(Arc::new(notice())));
    }

    pub(super) fn job(&self, job: &Job) {
        self.send(job.owner.as_deref(), || Subject::Job(Arc::new(job.clone())));
    }

    fn send(&self, owner: Option<&str>, subject: impl FnOnce() -> Subject) {
        let mut listeners = self.listeners();
        if listeners.is_empty() {
            return;
        }
        let event = Event { at: (self.clock)(), owner: owner.map(Into::into), subject: subject() };
        listeners.retain(|listener| listener.tell(&event));
    }
}
