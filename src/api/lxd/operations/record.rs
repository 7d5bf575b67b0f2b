//! The record of an operation, and its JSON. Knows jobs, and no requests.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::secret::Token;
use crate::api::lxd::time::time;
use crate::api::lxd::wording::told;
use crate::image::{ImageId, Timestamp};
use crate::jobs::{self, Job, JobId, JobKind};
use crate::registry::Caller;

/// Class of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Work.
    Task,
    /// A secret that permits one action, until it is used.
    Token,
}

/// State of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not begun.
    Pending,
    /// Being done.
    Running,
    /// Told to stop.
    Cancelling,
    /// Done.
    Success,
    /// Failed; `err` has the reason.
    Failure,
    /// Stopped.
    Cancelled,
}

impl Status {
    /// State in LXD's terms of a job's state.
    pub(super) fn of(status: jobs::JobStatus) -> Self {
        match status {
            jobs::JobStatus::Waiting => Status::Pending,
            jobs::JobStatus::Running => Status::Running,
            jobs::JobStatus::Stopping => Status::Cancelling,
            jobs::JobStatus::Done => Status::Success,
            jobs::JobStatus::Failed => Status::Failure,
            jobs::JobStatus::Stopped => Status::Cancelled,
        }
    }

    /// LXD's name of this state.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "Pending",
            Status::Running => "Running",
            Status::Cancelling => "Cancelling",
            Status::Success => "Success",
            Status::Failure => "Failure",
            Status::Cancelled => "Cancelled",
        }
    }

    /// LXD's status code of this state.
    pub fn code(self) -> u16 {
        match self {
            Status::Pending => 105,
            Status::Running => 103,
            Status::Cancelling => 104,
            Status::Success => 200,
            Status::Failure => 400,
            Status::Cancelled => 401,
        }
    }
}

/// Description of an operation to begin.
#[derive(Debug, Clone)]
pub struct About {
    pub(super) kind: JobKind,
    pub(super) id: Option<ImageId>,
    pub(super) description: &'static str,
    pub(super) images: Vec<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) may_cancel: bool,
}

impl About {
    /// An operation of this kind, in a few words such as `Downloading image`.
    pub fn new(kind: JobKind, description: &'static str) -> Self {
        let (images, metadata) = (Vec::new(), Map::new());
        Self { kind, id: None, description, images, metadata, may_cancel: false }
    }

    /// Adds the id of its image.
    pub fn id(self, id: ImageId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Adds the fingerprint of an image.
    pub fn image(mut self, fingerprint: &str) -> Self {
        self.images.push(fingerprint.to_owned());
        self
    }

    /// Adds a field of the metadata that is there from the beginning.
    pub fn metadata(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Lets clients stop it: its work can be dropped at any `await`.
    pub fn cancellable(mut self) -> Self {
        self.may_cancel = true;
        self
    }
}

/// The part of an operation that only this protocol shows, attached to its job.
#[derive(Clone)]
pub(super) struct OperationNotes {
    class: Class,
    description: &'static str,
    pub(super) images: Vec<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) token: Option<Arc<Token>>,
}

impl OperationNotes {
    pub(super) fn new(class: Class, about: &About, token: Option<Arc<Token>>) -> Self {
        let About { description, images, metadata, .. } = about.clone();
        Self { class, description, images, metadata, token }
    }
}

impl fmt::Debug for OperationNotes {
    /// Leaves out the metadata, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationNotes({:?} {:?})", self.class, self.description)
    }
}

/// True if this protocol shows a job.
pub fn is_operation(job: &Job) -> bool {
    job.notes::<OperationNotes>().is_some()
}

/// True if a caller may see the operation of a job.
pub(super) fn is_for(job: &Job, caller: &Caller) -> bool {
    caller.sees_job(job)
}

/// Progress of a download, in LXD's words.
fn download_progress(progress: &jobs::JobProgress) -> Option<String> {
    let bytes = progress.bytes?;
    let rate = bytes as f64 / progress.elapsed.as_secs_f64().max(0.001) / 1_000_000.0;
    Some(match progress.bytes_total.filter(|of| *of > 0) {
        Some(of) => format!("{}% ({rate:.2}MB/s)", (bytes.saturating_mul(100) / of).min(100)),
        None => format!("{:.2}MB ({rate:.2}MB/s)", bytes as f64 / 1_000_000.0),
    })
}

/// An operation at one moment.
#[derive(Clone, PartialEq)]
pub struct Operation {
    /// Its id.
    pub id: JobId,
    /// Its class.
    pub class: Class,
    /// Its work, in a few words.
    pub description: &'static str,
    /// Time of its begin.
    pub created_at: Timestamp,
    /// Time of its last change.
    pub updated_at: Timestamp,
    /// Its state.
    pub status: Status,
    /// Fingerprints of its images.
    pub images: Vec<String>,
    /// Its metadata; may hold its secret.
    pub metadata: Map<String, Value>,
    /// True if clients may stop it.
    pub may_cancel: bool,
    /// Reason of its failure; empty without one.
    pub err: String,
}

impl Operation {
    /// Operation of a job, if this protocol began it.
    pub fn of(job: &Job) -> Option<Self> {
        let notes = job.notes::<OperationNotes>()?;
        let mut metadata = notes.metadata.clone();
        if let Some(text) = download_progress(&job.progress) {
            metadata.insert("download_progress".into(), text.into());
        }
        if let Some(retried) = &job.retried {
            metadata.insert("retries".into(), retried.times.to_string().into());
            metadata.insert("trouble".into(), retried.trouble.as_str().into());
        }
        let (class, description, images) = (notes.class, notes.description, notes.images.clone());
        Some(Self { class, description, images, metadata, ..Self::unknown(job) })
    }

    /// Operation of a job without notes.
    pub(super) fn unknown(job: &Job) -> Self {
        Self {
            id: job.id,
            class: Class::Task,
            description: "",
            created_at: job.made_at,
            updated_at: job.updated_at,
            status: Status::of(job.status),
            images: Vec::new(),
            metadata: Map::new(),
            may_cancel: job.may_stop,
            err: match &job.failure {
                Some(error) => told(error).1,
                None => job.error.clone().unwrap_or_default(),
            },
        }
    }

    /// Its path.
    pub fn url(&self) -> String {
        format!("/1.0/operations/{}", self.id)
    }

    /// Its secret: it permits the action of a token, or waiting for a task.
    pub(super) fn secret(&self) -> Option<&str> {
        self.metadata.get("secret").and_then(Value::as_str)
    }

    /// JSON in LXD's form.
    pub fn json(&self) -> Value {
        let images: Vec<String> = self.images.iter().map(|image| format!("/1.0/images/{image}")).collect();
        json!({
            "id": self.id.to_string(),
            "class": match self.class {
                Class::Task => "task",
                Class::Token => "token",
            },
            "description": self.description,
            "created_at": time(self.created_at),
            "updated_at": time(self.updated_at),
            "status": self.status.name(),
            "status_code": self.status.code(),
            "resources": if images.is_empty() { json!({}) } else { json!({ "images": images }) },
            "metadata": if self.metadata.is_empty() { Value::Null } else { Value::Object(self.metadata.clone()) },
            "may_cancel": self.may_cancel,
            "err": self.err,
            "location": "none",
        })
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl fmt::Debug for Operation {
    /// Leaves out the metadata, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({} {:?} {:?} {:?})", self.id, self.class, self.description, self.status)
    }
}
