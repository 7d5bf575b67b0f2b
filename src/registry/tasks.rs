//! What became of imports, for as long as somebody may ask.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::Caller;
use super::clock::Clock;
use crate::error::{Reason, Result};
use crate::image::{Image, ImageId, Status, StoreName, Timestamp};

/// A task that ended is remembered for so long, and of all of them only so many.
const REMEMBERED: Duration = Duration::from_secs(48 * 60 * 60);
const TASKS_MAX: usize = 1024;
/// Of one account, so that it does not push out everybody else's; and so many of those may run.
const TASKS_OF_ONE_MAX: usize = 256;
const RUNNING_OF_ONE_MAX: usize = 16;

/// How bytes are brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMethod {
    /// They were put aside by [`crate::registry::Uploads::stage`].
    Staged,
    /// From a URL.
    Download,
    /// They are there already, and get into other stores too.
    Copy,
}

/// How an import stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Running,
    Done,
    Failed(String),
}

/// An import, running or ended.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// The image that gets the bytes.
    pub image: ImageId,
    /// The account that asked for it.
    pub owner: Option<String>,
    /// How.
    pub method: ImportMethod,
    /// From where, if from a URL; without what stands behind its `?`, which may be a secret.
    pub url: Option<String>,
    /// The stores that were asked for; none means the one that takes what asks for none.
    pub stores: Vec<StoreName>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended, or else began.
    pub updated_at: Timestamp,
    outcome: Outcome,
}

impl Task {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.outcome == Outcome::Running
    }

    /// Why it failed, if it did.
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Running | Outcome::Done => None,
        }
    }

    /// When it is forgotten.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let lifetime = i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
        (!self.is_running()).then(|| Timestamp(self.updated_at.0.saturating_add(lifetime)))
    }
}

/// The imports of this run, newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Arc<TasksInner>);

#[derive(Debug, Default)]
struct TasksInner {
    all: Mutex<VecDeque<Task>>,
    /// Whether any has ever asked for stores: until then there is nothing to say of images that have their bytes.
    spreads: AtomicBool,
}

impl Tasks {
    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<Task>) -> T) -> T {
        work(&mut self.0.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, task: Task) -> Result<()> {
        self.0.spreads.fetch_or(!task.stores.is_empty(), Ordering::Relaxed);
        self.with(|tasks| {
            tasks.retain(|old| old.expires_at().is_none_or(|expiry| expiry > task.created_at));
            let own = |old: &&Task| old.owner == task.owner;
            if tasks.iter().filter(own).filter(|old| old.is_running()).count() >= RUNNING_OF_ONE_MAX {
                return Err(Reason::TooManyJobs.into());
            }
            let ended = |old: &Task| !old.is_running();
            let too_many = tasks.len() >= TASKS_MAX;
            if (too_many || tasks.iter().filter(own).count() >= TASKS_OF_ONE_MAX)
                && let Some(oldest) = tasks.iter().rposition(|old| ended(old) && (too_many || own(&old)))
            {
                tasks.remove(oldest);
            }
            tasks.push_front(task);
            Ok(())
        })
    }

    fn end(&self, id: Uuid, outcome: Outcome, now: Timestamp) {
        self.with(|tasks| {
            if let Some(task) = tasks.iter_mut().find(|task| task.id == id) {
                (task.outcome, task.updated_at) = (outcome, now);
            }
        });
    }
}

/// An import that is running: told as interrupted when this is dropped before its end.
pub(super) struct Running {
    tasks: Tasks,
    clock: Clock,
    id: Uuid,
    outcome: Option<Outcome>,
}

impl Running {
    pub(super) fn end(mut self, outcome: &Result<()>) {
        self.outcome = Some(match outcome {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error.message().to_owned()),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Failed("It was interrupted.".into()));
        self.tasks.end(self.id, outcome, (self.clock)());
    }
}

impl Tasks {
    /// Notes that an import begins.
    ///
    /// # Errors
    /// `Busy` when too many of the caller's are running.
    pub(super) fn begin(
        &self,
        clock: Clock,
        who: &Caller,
        image: ImageId,
        method: ImportMethod,
        url: Option<String>,
        stores: Vec<StoreName>,
    ) -> Result<Running> {
        let (id, now) = (Uuid::new_v4(), clock());
        let owner = who.account().map(ToOwned::to_owned);
        let outcome = Outcome::Running;
        self.add(Task { id, image, owner, method, url, stores, created_at: now, updated_at: now, outcome })?;
        Ok(Running { tasks: self.clone(), clock, id, outcome: None })
    }

    /// The imports that are running or not forgotten yet, newest first: all of them, or those into one image.
    pub(super) fn of(&self, image: Option<ImageId>) -> Vec<Task> {
        let meant = |task: &&Task| image.is_none_or(|image| task.image == image);
        self.with(|tasks| tasks.iter().filter(meant).cloned().collect())
    }

    /// The last import into an image, as long as it says something of how the image stands: it runs, or it failed and the
    /// image still waits for bytes.
    pub(super) fn last_into(&self, image: &Image) -> Option<Task> {
        // Of most images there is nothing to say, and lists ask for each of theirs.
        let complete = matches!(image.status, Status::Available | Status::Deactivated | Status::Deleting);
        if complete && !self.0.spreads.load(Ordering::Relaxed) {
            return None;
        }
        let spreads = |task: &&Task| task.image == image.id && (!complete || !task.stores.is_empty());
        let last = self.with(|tasks| tasks.iter().find(spreads).cloned())?;
        let homes = || image.homes();
        let waits = match complete {
            true => last.stores.iter().any(|store| !homes().contains(store)),
            false => matches!(image.status, Status::Queued | Status::Failed),
        };
        (last.is_running() || (waits && last.reason().is_some())).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn task(owner: &str, at: i64, outcome: Outcome) -> Task {
        let (now, method) = (Timestamp(at), ImportMethod::Download);
        let (id, image) = (Uuid::new_v4(), ImageId::random());
        Task {
            id,
            image,
            owner: Some(owner.into()),
            method,
            url: None,
            stores: Vec::new(),
            created_at: now,
            updated_at: now,
            outcome,
        }
    }

    #[test]
    fn tasks_are_bounded_and_forgotten() {
        let tasks = Tasks::default();
        let count = |owner: &str| tasks.with(|all| all.iter().filter(|t| t.owner.as_deref() == Some(owner)).count());
        for n in 0..RUNNING_OF_ONE_MAX as i64 {
            tasks.add(task("busy", n, Outcome::Running)).unwrap();
        }
        assert_eq!(tasks.add(task("busy", 99, Outcome::Running)).unwrap_err().kind(), Kind::Busy);
        for n in 0..2 * TASKS_OF_ONE_MAX as i64 {
            tasks.add(task("eager", n, Outcome::Done)).unwrap();
        }
        assert_eq!((count("busy"), count("eager")), (RUNNING_OF_ONE_MAX, TASKS_OF_ONE_MAX));
        for n in 0..2 * TASKS_MAX {
            tasks.add(task(&format!("of {n}"), 1000, Outcome::Failed("x".into()))).unwrap();
        }
        assert_eq!((tasks.with(|all| all.len()), count("busy"), count("eager")), (TASKS_MAX, RUNNING_OF_ONE_MAX, 0));
        let later = i64::try_from(REMEMBERED.as_micros()).unwrap() + 2000;
        tasks.add(task("later", later, Outcome::Done)).unwrap();
        assert_eq!(tasks.with(|all| all.len()), RUNNING_OF_ONE_MAX + 1, "what runs is not forgotten");
    }
}
