//! Bytes that come in behind the request that asks for them: those put aside before, or those of a URL. What became of it is
//! remembered for a while as a [`Task`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use uuid::Uuid;

use super::source::without_query;
use super::{Append, Caller, Claim, Progress, Registry};
use crate::error::{Error, Kind, Result};
use crate::image::{Image, ImageId, ImagePatch, Status, Timestamp};

/// A task that ended is remembered for so long, and of all of them only so many.
const REMEMBERED: Duration = Duration::from_secs(48 * 60 * 60);
const TASKS_MAX: usize = 1024;

/// How bytes are brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMethod {
    /// They were put aside by [`Registry::stage`].
    Staged,
    /// From a URL.
    Download,
}

impl ImportMethod {
    /// Glance's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staged => "glance-direct",
            Self::Download => "web-download",
        }
    }
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
#[derive(Debug, Default)]
pub(super) struct Imports(Mutex<VecDeque<Task>>);

impl Imports {
    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<Task>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, task: Task) {
        self.with(|tasks| {
            let now = task.created_at;
            tasks.retain(|old| old.expires_at().is_none_or(|expiry| expiry > now));
            if tasks.len() >= TASKS_MAX
                && let Some(oldest) = tasks.iter().rposition(|task| !task.is_running())
            {
                tasks.remove(oldest);
            }
            tasks.push_front(task);
        });
    }

    fn end(&self, id: Uuid, outcome: Outcome, now: Timestamp) {
        self.with(|tasks| {
            if let Some(task) = tasks.iter_mut().find(|task| task.id == id) {
                (task.outcome, task.updated_at) = (outcome, now);
            }
        });
    }
}

/// Tells the end of a task even when what does it is dropped.
struct Running {
    registry: Arc<Registry>,
    task: Uuid,
    outcome: Option<Outcome>,
}

impl Running {
    fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Failed("It was interrupted.".into()));
        self.registry.imports.end(self.task, outcome, self.registry.now());
    }
}

impl Registry {
    /// The imports that are running or not forgotten yet, newest first.
    pub fn imports(&self) -> Vec<Task> {
        self.imports.with(|tasks| tasks.iter().cloned().collect())
    }

    /// The last import into an image, as long as it says something of how the image stands: it runs, or it failed and the
    /// image still waits for bytes.
    pub fn import_of(&self, image: &Image) -> Option<Task> {
        // Of most images there is nothing to say, and lists ask for each of theirs.
        if matches!(image.status, Status::Available | Status::Deactivated | Status::Deleting) {
            return None;
        }
        let last = self.imports.with(|tasks| tasks.iter().find(|task| task.image == image.id).cloned())?;
        let waits = matches!(image.status, Status::Queued | Status::Failed);
        (last.is_running() || (waits && last.reason().is_some())).then_some(last)
    }

    /// Puts bytes aside for an image, which become its own by [`Registry::import_staged`]. For a day, if nobody does that.
    ///
    /// # Errors
    /// As [`Registry::begin_resumable`].
    pub async fn stage(self: &Arc<Self>, who: &Caller, id: ImageId, claim: Claim) -> Result<Stage> {
        let (registry, who) = (Arc::clone(self), who.clone());
        // A task of its own: what it begins for a caller that went away is given up as its unclaimed result.
        let begun = tokio::spawn(async move {
            let size = claim.size;
            registry.begin_resumable(&who, Some(id), &ImagePatch::default(), claim).await?;
            let mut stage = Stage { registry, who, id, size, append: None, done: false };
            stage.append = Some(stage.registry.append(&stage.who, id, 0, None).await?);
            Ok(stage)
        });
        begun.await.map_err(Error::internal)?
    }

    /// Makes the bytes that were put aside the image's own. The work goes on when this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was put aside.
    pub async fn import_staged(self: &Arc<Self>, who: &Caller, id: ImageId) -> Result<Uuid> {
        let staged = match self.progress(who, id).await {
            Err(error) if error.kind() == Kind::NotFound => {
                self.get(who, id).await?;
                let text = "Nothing is staged for this image; put its data to /stage first.";
                return Err(Error::new(Kind::Conflict, text));
            }
            progress => progress?,
        };
        let append = self.append(who, id, staged.offset, Some(staged.offset)).await?;
        let work = async move { append.finish(&ImagePatch::default()).await.map(drop) };
        Ok(self.run(who, id, ImportMethod::Staged, None, work))
    }

    /// Brings in the bytes of a URL. The work goes on when this returns.
    ///
    /// # Errors
    /// `Invalid` URL, or one that nothing is fetched from; as [`Registry::upload`].
    pub async fn import_url(self: &Arc<Self>, who: &Caller, id: ImageId, url: String) -> Result<Uuid> {
        self.fetcher.check(&url).map_err(|error| {
            let text = format!("URI for web-download does not pass filtering: {}", without_query(&url));
            Error::invalid(text).because(error)
        })?;
        let mut upload = self.upload(who, Some(id), &ImagePatch::default(), Claim::default()).await?;
        let shown = without_query(&url).to_owned();
        let registry = Arc::clone(self);
        let work = async move {
            let mut body = match registry.fetcher.get(&url, None).await {
                Ok(body) => body,
                Err(error) => {
                    upload.abandon().await;
                    return Err(error.into());
                }
            };
            upload.claim(Claim { size: body.length, ..Claim::default() });
            while let Some(chunk) = body.stream.next().await {
                match chunk {
                    Ok(chunk) => upload.write(chunk).await?,
                    Err(error) => {
                        upload.abandon().await;
                        return Err(error.into());
                    }
                }
            }
            upload.finish(&ImagePatch::default()).await.map(drop)
        };
        Ok(self.run(who, id, ImportMethod::Download, Some(shown), work))
    }

    /// Runs an import as a task of its own.
    fn run(
        self: &Arc<Self>,
        who: &Caller,
        image: ImageId,
        method: ImportMethod,
        url: Option<String>,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Uuid {
        let (id, now) = (Uuid::new_v4(), self.now());
        let owner = who.account().map(ToOwned::to_owned);
        let outcome = Outcome::Running;
        self.imports.add(Task { id, image, owner, method, url, created_at: now, updated_at: now, outcome });
        let running = Running { registry: Arc::clone(self), task: id, outcome: None };
        tokio::spawn(async move {
            running.end(match work.await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    log::warn!("the import into {image} failed: {error}: {}", error.causes());
                    Outcome::Failed(error.message().to_owned())
                }
            });
        });
        id
    }
}

/// Bytes on their way aside. Given up when this is dropped before its end.
pub struct Stage {
    registry: Arc<Registry>,
    who: Caller,
    id: ImageId,
    size: Option<u64>,
    append: Option<Append>,
    /// Whether there is nothing to give up.
    done: bool,
}

impl Stage {
    /// Takes a chunk.
    ///
    /// # Errors
    /// As [`Append::write`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match &mut self.append {
            Some(append) => append.write(chunk).await,
            None => Err(super::intake::over()),
        }
    }

    /// All bytes are there, and durable when this returns.
    ///
    /// # Errors
    /// `DigestMismatch` when there are fewer than announced; as [`Append::pause`].
    pub async fn finish(mut self) -> Result<Progress> {
        let append = self.append.take().ok_or_else(super::intake::over)?;
        if let Some(size) = self.size
            && size != append.received()
        {
            let text = format!("The file has {} bytes, not {size} as announced.", append.received());
            self.append = Some(append);
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        let progress = append.pause().await?;
        self.done = true;
        Ok(progress)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Leaves its seat, which the other end waits for.
        drop(self.append.take());
        if self.done || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (registry, who, id) = (Arc::clone(&self.registry), self.who.clone(), self.id);
        tokio::spawn(async move {
            if let Err(error) = registry.cancel(&who, id).await {
                log::debug!("what was put aside for {id} stays until it expires: {error}");
            }
        });
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("id", &self.id).finish_non_exhaustive()
    }
}
