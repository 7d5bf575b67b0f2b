//! Operations: what goes on behind an answer, for clients to follow, wait for and stop. Kept in memory, and for a while
//! after their end; what an operation does is its starter's business, and is safe to be dropped at any moment.
//!
//! An operation is seen by whoever started it and by administrators; others can't tell it from one that never was.

mod record;
pub(super) mod routes;
mod task;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::AbortHandle;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

pub use self::record::{About, Class, Operation, Status};
pub use self::task::Progress;
use self::token::Token;
pub use self::token::{Owner, Purpose, Ticket};
use super::events::{Events, Topic};
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;
use crate::registry::{Caller, Clock};

/// What has ended can be read for so long: some clients ask first and wait then.
const KEPT: Duration = Duration::from_secs(60);

/// Tasks of one caller, and of all, that have not ended.
const TASKS_MAX: usize = 256;
const ALL_TASKS_MAX: usize = 2048;

/// Secrets of one caller, and of all, that wait for their use. Counted apart: they lie around for an hour, and keep nobody
/// from doing something.
const TOKENS_MAX: usize = 64;
const ALL_TOKENS_MAX: usize = 1024;

/// Operations of one caller that have ended and can still be read; the oldest makes room.
const ENDED_MAX: usize = 1024;

/// Operations of all callers that have ended.
const ALL_ENDED_MAX: usize = 4096;

/// Those who wait for one operation at the same time.
const WAITERS_MAX: usize = 64;

/// What changes about an operation.
#[derive(Debug)]
struct State {
    shown: Operation,
    /// When it ended.
    ended: Option<Instant>,
    /// When others were last told of it.
    told: Instant,
    token: Option<Token>,
    abort: Option<AbortHandle>,
}

/// An operation.
#[derive(Debug)]
struct Entry {
    owner: Caller,
    state: Mutex<State>,
    done: watch::Sender<bool>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> Operation {
        self.state().shown.clone()
    }

    fn is_for(&self, caller: &Caller) -> bool {
        caller.is_admin() || (caller.account().is_some() && caller.account() == self.owner.account())
    }
}

#[derive(Debug)]
struct Store {
    /// By id. Few enough to look through.
    entries: Mutex<BTreeMap<Uuid, Arc<Entry>>>,
    events: Events,
    clock: Clock,
    /// How many tasks go on.
    running: watch::Sender<usize>,
    ended: watch::Sender<bool>,
}

/// The operations of a server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Operations(Arc<Store>);

impl Operations {
    /// Where nothing goes on yet. What goes on is told as `events`.
    pub fn new(clock: Clock, events: Events) -> Self {
        let store = Store {
            entries: Mutex::default(),
            events,
            clock,
            running: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        };
        Self(Arc::new(store))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Uuid, Arc<Entry>>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// `Busy` when too many go on.
    fn insert(&self, owner: &Caller, class: Class, about: About, token: Option<Token>) -> Result<Arc<Entry>> {
        self.settle(Instant::now());
        let (now, id) = (self.now(), Uuid::new_v4());
        let shown = Operation {
            id,
            class,
            description: about.description,
            created_at: now,
            updated_at: now,
            status: Status::Pending,
            images: about.images,
            metadata: about.metadata,
            may_cancel: about.may_cancel,
            err: String::new(),
        };
        let state = State { shown, ended: None, told: Instant::now(), token, abort: None };
        let entry = Arc::new(Entry { owner: owner.clone(), state: Mutex::new(state), done: watch::Sender::new(false) });
        {
            let mut entries = self.entries();
            make_room(&mut entries, owner, class)?;
            entries.insert(id, Arc::clone(&entry));
        }
        self.tell(&entry, &mut entry.state());
        Ok(entry)
    }

    /// Changes an operation that has not ended, and tells others of it. False if it has.
    fn change(&self, entry: &Entry, change: impl FnOnce(&mut State)) -> bool {
        let mut state = entry.state();
        if state.shown.status.is_final() {
            return false;
        }
        change(&mut state);
        state.shown.updated_at = self.now();
        if state.shown.status.is_final() {
            state.ended = Some(Instant::now());
            (state.abort, state.token) = (None, None);
            state.shown.may_cancel = false;
        }
        let ended = state.ended.is_some();
        self.tell(entry, &mut state);
        drop(state);
        if ended {
            entry.done.send_replace(true);
        }
        true
    }

    /// Tells listeners of an operation as it is. Under its lock, so that they hear everything in its order.
    fn tell(&self, entry: &Entry, state: &mut State) {
        state.told = Instant::now();
        self.0.events.send(Topic::Operation, entry.owner.account(), || state.shown.json());
    }

    /// Ends tokens whose time is over, and forgets what ended long ago.
    fn settle(&self, now: Instant) {
        let mut over = Vec::new();
        self.entries().retain(|_, entry| {
            let state = entry.state();
            if let Some(token) = state.token.as_ref().filter(|token| token.until <= now) {
                over.push((Arc::clone(entry), token.outcome()));
            }
            state.ended.is_none_or(|at| now.saturating_duration_since(at) < KEPT)
        });
        for (entry, status) in over {
            self.change(&entry, |state| state.shown.status = status);
        }
    }

    /// The operations that a caller may see, in the order in which they began.
    pub fn list(&self, caller: &Caller) -> Vec<Operation> {
        self.settle(Instant::now());
        let mut seen: Vec<Operation> =
            self.entries().values().filter(|entry| entry.is_for(caller)).map(|entry| entry.show()).collect();
        seen.sort_by_key(|operation| operation.created_at);
        seen
    }

    /// An operation that a caller may see.
    ///
    /// # Errors
    /// `NotFound`.
    fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Entry>> {
        self.any(id).filter(|entry| entry.is_for(caller)).ok_or_else(|| not_found(id))
    }

    /// An operation, whosever it is.
    fn any(&self, id: &str) -> Option<Arc<Entry>> {
        self.settle(Instant::now());
        self.entries().get(&Uuid::try_parse(id).ok()?).cloned()
    }

    /// Waits until an operation has ended, and no longer than `patience`. Also ended by the server's end.
    ///
    /// # Errors
    /// `Busy` when too many wait for it.
    async fn wait(&self, entry: &Entry, patience: Option<Duration>) -> Result<Operation> {
        if entry.done.receiver_count() >= WAITERS_MAX {
            return Err(Reason::Busy.saying("too many wait for this operation"));
        }
        let (mut done, mut ended) = (entry.done.subscribe(), self.0.ended.subscribe());
        let far = Instant::now() + Duration::from_secs(365 * 86_400);
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience)).unwrap_or(far);
        loop {
            let over = entry.state().token.as_ref().map_or(far, |token| token.until);
            tokio::select! {
                biased;
                _ = done.wait_for(|done| *done) => break,
                () = sleep_until(deadline) => break,
                () = sleep_until(over) => self.settle(Instant::now()),
                _ = ended.wait_for(|ended| *ended) => break,
            }
        }
        Ok(entry.show())
    }

    /// Stops an operation that its starter lets others stop.
    ///
    /// # Errors
    /// `Invalid`.
    fn cancel(&self, entry: &Entry) -> Result<()> {
        let refused = |text| Err(Error::invalid(text));
        let mut outcome = refused("Only running operations can be cancelled");
        self.change(entry, |state| {
            outcome = match (state.shown.status, state.shown.may_cancel, &state.abort) {
                (Status::Running, true, Some(abort)) => {
                    // The end comes from the task itself, when its work has been dropped.
                    abort.abort();
                    state.shown.status = Status::Cancelling;
                    Ok(())
                }
                (Status::Running, true, None) => {
                    state.shown.status = Status::Cancelled;
                    Ok(())
                }
                (Status::Running, false, _) => refused("This operation can't be cancelled"),
                _ => refused("Only running operations can be cancelled"),
            };
        });
        outcome
    }

    /// Waits for the tasks that go on, and then ends every wait for something else.
    pub(super) async fn end(&self) {
        let _ = self.0.running.subscribe().wait_for(|running| *running == 0).await;
        self.0.ended.send_replace(true);
    }
}

/// Forgets the oldest of what has ended, where there is too much of it.
///
/// # Errors
/// `Busy` when too much of this class has not ended.
fn make_room(entries: &mut BTreeMap<Uuid, Arc<Entry>>, owner: &Caller, class: Class) -> Result<()> {
    let (mut open, mut own_open, mut ended) = (0, 0, Vec::new());
    for (id, entry) in &*entries {
        let own = entry.owner.account() == owner.account();
        let state = entry.state();
        match state.ended {
            Some(at) => ended.push((at, *id, own)),
            None if state.shown.class == class => (open, own_open) = (open + 1, own_open + usize::from(own)),
            None => {}
        }
    }
    let (max, all_max, text) = match class {
        Class::Task => (TASKS_MAX, ALL_TASKS_MAX, "too many operations go on"),
        Class::Token => (TOKENS_MAX, ALL_TOKENS_MAX, "too many secrets wait for their use; take some back"),
    };
    if own_open >= max || open >= all_max {
        return Err(Reason::TooManyJobs.saying(text));
    }
    ended.sort_unstable();
    let own: Vec<Uuid> = ended.iter().filter(|(_, _, own)| *own).map(|(_, id, _)| *id).collect();
    let spare = |count: usize, max: usize| (count + 1).saturating_sub(max);
    let of_all = ended.iter().map(|(_, id, _)| *id).take(spare(ended.len(), ALL_ENDED_MAX));
    for id in own.iter().copied().take(spare(own.len(), ENDED_MAX)).chain(of_all) {
        entries.remove(&id);
    }
    Ok(())
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
