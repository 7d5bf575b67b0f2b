//! The record of a job: values only.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::Error;
use crate::image::{ImageId, Timestamp};

/// The id of a job. Not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(super) Uuid);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Uuid::try_parse(text).map(Self).map_err(|_| ())
    }
}

/// The work of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Staged bytes become an image's.
    ImportStaged,
    /// The bytes of a URL become an image's.
    ImportUrl,
    /// The bytes under a URL are read once, to register them with digests.
    RegisterUrl,
    /// An image is copied into more stores.
    Copy,
    /// An image is moved into another store.
    Move,
    /// A file of the operator's is registered as an image, and read once for it.
    Register,
    /// All images of an account are removed.
    DeleteAll,
    /// An image is copied from another image server.
    Pull,
    /// A vendor's image, or a file under a URL, is brought and becomes an image.
    VendorPull,
    /// A copy is compared with its source, and replaced by a newer one.
    Refresh,
    /// Received bytes, or a directory, become an image.
    Publish,
    /// An image is sent to another server.
    Push,
    /// An image is removed.
    Delete,
    /// A secret waits for its use.
    Secret,
    /// Interrupted uploads and removals are brought to an end.
    Sweep,
    /// Interrupted uploads and removals in stores on other machines are brought to an end, once after a start.
    SweepStores,
    /// Expired images are removed.
    Expiry,
    /// Disks are prepared for LXD and Incus.
    Offers,
    /// Missing digests are computed.
    Digests,
    /// Copies that follow their source are refreshed.
    Update,
    /// The catalogue's journal is compacted.
    Compaction,
}

impl JobKind {
    /// Every kind, for tests that must not forget one.
    pub const ALL: [JobKind; 21] = [
        JobKind::ImportStaged,
        JobKind::ImportUrl,
        JobKind::RegisterUrl,
        JobKind::Copy,
        JobKind::Move,
        JobKind::Register,
        JobKind::DeleteAll,
        JobKind::Pull,
        JobKind::VendorPull,
        JobKind::Refresh,
        JobKind::Publish,
        JobKind::Push,
        JobKind::Delete,
        JobKind::Secret,
        JobKind::Sweep,
        JobKind::SweepStores,
        JobKind::Expiry,
        JobKind::Offers,
        JobKind::Digests,
        JobKind::Update,
        JobKind::Compaction,
    ];

    /// A word for programs and logs.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::ImportStaged => "import-staged",
            JobKind::ImportUrl => "import-url",
            JobKind::RegisterUrl => "register-url",
            JobKind::Copy => "copy",
            JobKind::Move => "move",
            JobKind::Register => "register",
            JobKind::DeleteAll => "delete-all",
            JobKind::Pull => "pull",
            JobKind::VendorPull => "vendor-pull",
            JobKind::Refresh => "refresh",
            JobKind::Publish => "publish",
            JobKind::Push => "push",
            JobKind::Delete => "delete",
            JobKind::Secret => "secret",
            JobKind::Sweep => "sweep",
            JobKind::SweepStores => "sweep-stores",
            JobKind::Expiry => "expiry",
            JobKind::Offers => "offers",
            JobKind::Digests => "digests",
            JobKind::Update => "update",
            JobKind::Compaction => "compaction",
        }
    }

    /// The class whose limits a job of this kind has.
    pub fn class(self) -> JobClass {
        match self {
            JobKind::ImportStaged | JobKind::ImportUrl | JobKind::RegisterUrl | JobKind::Copy => JobClass::Import,
            JobKind::Move | JobKind::Register | JobKind::DeleteAll | JobKind::VendorPull => JobClass::Task,
            JobKind::Pull | JobKind::Refresh | JobKind::Publish | JobKind::Push | JobKind::Delete => {
                JobClass::Operation
            }
            JobKind::Secret => JobClass::Secret,
            JobKind::Sweep
            | JobKind::SweepStores
            | JobKind::Expiry
            | JobKind::Offers
            | JobKind::Digests
            | JobKind::Update
            | JobKind::Compaction => JobClass::Background,
        }
    }
}

/// Jobs with common limits. Each class is counted apart, so that one does not push another out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobClass {
    /// Imports after an answer; shown for two days.
    Import,
    /// Long requests of an account.
    Task,
    /// Requests of clients that follow every request as a job.
    Operation,
    /// Secrets that wait for their use, for an hour. Counted apart, they do not block other work of an account.
    Secret,
    /// Background work of the server.
    Background,
}

/// Bounds on the jobs of a class.
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    /// Jobs of one account that have not ended.
    pub open_of_one: usize,
    /// Jobs of all accounts that have not ended.
    pub open: usize,
    /// Jobs of one account that are kept after their end; the oldest makes room.
    pub kept_of_one: usize,
    /// Jobs of all accounts that are kept after their end.
    pub kept: usize,
    /// Time for which they are kept.
    pub kept_for: Duration,
    /// Text of the refusal when too many have not ended.
    pub refusal: &'static str,
}

/// Two days, for which Glance shows its tasks.
const TWO_DAYS: Duration = Duration::from_secs(48 * 60 * 60);
/// A minute, enough for clients that read a job before they wait for it.
const A_MINUTE: Duration = Duration::from_secs(60);

impl JobClass {
    /// The bounds of this class.
    pub fn limits(self) -> JobLimits {
        let limits = |(open_of_one, open), (kept_of_one, kept), kept_for, refusal| JobLimits {
            open_of_one,
            open,
            kept_of_one,
            kept,
            kept_for,
            refusal,
        };
        match self {
            JobClass::Import => {
                limits((16, 1024), (256, 1024), TWO_DAYS, "Too many imports of yours are running; try again later.")
            }
            JobClass::Task => {
                limits((64, 1024), (256, 1024), TWO_DAYS, "Too many jobs of this account are running; try again later.")
            }
            JobClass::Operation => limits(
                (256, 2048),
                (1024, 4096),
                A_MINUTE,
                "Too many jobs of this account are running; try again later.",
            ),
            JobClass::Secret => limits(
                (64, 1024),
                (1024, 4096),
                A_MINUTE,
                "Too many secrets of this account wait for their use; take some back.",
            ),
            // One of each kind, begun by the server alone.
            JobClass::Background => limits((64, 64), (64, 64), TWO_DAYS, "Too many background jobs."),
        }
    }

    /// True if waits outlast the beginning of the server's orderly end while jobs of this class run: clients hold a connection
    /// for them. An import is asked for, and looked at from time to time.
    pub fn holds_the_end(self) -> bool {
        matches!(self, JobClass::Task | JobClass::Operation)
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Not begun; of a background job: between two runs.
    Waiting,
    /// Being done.
    Running,
    /// Told to stop, and not yet at its end.
    Stopping,
    /// Succeeded.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended by a stop.
    Stopped,
}

impl JobStatus {
    /// A word for programs and logs.
    pub fn name(self) -> &'static str {
        match self {
            JobStatus::Waiting => "waiting",
            JobStatus::Running => "running",
            JobStatus::Stopping => "stopping",
            JobStatus::Done => "done",
            JobStatus::Failed => "failed",
            JobStatus::Stopped => "stopped",
        }
    }

    /// True if no other state follows.
    pub fn is_final(self) -> bool {
        matches!(self, JobStatus::Done | JobStatus::Failed | JobStatus::Stopped)
    }
}

/// Work that is done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobProgress {
    /// Bytes, if the work counts them.
    pub bytes: Option<u64>,
    /// Bytes in all, if known.
    pub bytes_total: Option<u64>,
    /// Steps, if the work counts them.
    pub steps: Option<u64>,
    /// Steps in all, if known.
    pub steps_total: Option<u64>,
    /// Time between the begin and the last report of bytes.
    pub elapsed: Duration,
}

/// Troubles of a job that goes on all the same: something failed and is done again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retried {
    /// Number of times so far.
    pub times: u64,
    /// The last trouble, in words for the job's owner.
    pub trouble: String,
}

/// The runs of a background job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Begin of the last run.
    pub last_began: Option<Timestamp>,
    /// End of the last run.
    pub last_ended: Option<Timestamp>,
    /// Error of the last run.
    pub last_error: Option<String>,
    /// Begin of the next run, if it has a time.
    pub next: Option<Timestamp>,
}

/// Data that the room which began a job attaches to it, for its own rendering.
pub type Notes = Arc<dyn Any + Send + Sync>;

/// A job at one moment.
#[derive(Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The account that began it; none for the server's own, and on a server without accounts.
    pub owner: Option<String>,
    /// Its work.
    pub kind: JobKind,
    /// Its image; for a job that makes one, as soon as it is known.
    pub image: Option<ImageId>,
    /// Its state.
    pub status: JobStatus,
    /// Work done so far.
    pub progress: JobProgress,
    /// Troubles so far that did not end it; none at first.
    pub retried: Option<Retried>,
    /// Its begin.
    pub made_at: Timestamp,
    /// The last change of this record.
    pub updated_at: Timestamp,
    /// Its end.
    pub ended_at: Option<Timestamp>,
    /// True if it can be stopped now.
    pub may_stop: bool,
    /// Its error, in words for its owner.
    pub error: Option<String>,
    /// The error itself, for protocols that have their own wording.
    pub failure: Option<Arc<Error>>,
    /// Runs, of a background job.
    pub schedule: Option<Schedule>,
    pub(super) notes: Option<Notes>,
}

impl Job {
    /// The notes of the room that began it, if they are of this type.
    pub fn notes<T: 'static>(&self) -> Option<&T> {
        self.notes.as_deref()?.downcast_ref()
    }

    /// Time at which it is forgotten, once it has ended.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        let kept = i64::try_from(self.kind.class().limits().kept_for.as_micros()).unwrap_or(i64::MAX);
        self.ended_at.map(|ended| Timestamp(ended.0.saturating_add(kept)))
    }
}

impl fmt::Debug for Job {
    /// Leaves out the notes, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} {} {})", self.id, self.kind.name(), self.status.name())
    }
}
