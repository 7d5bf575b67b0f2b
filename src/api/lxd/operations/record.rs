//! What is known of an operation, and how it is written.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api::lxd::time::time;
use crate::image::Timestamp;

/// What kind of operation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something that is being done.
    Task,
    /// A secret that is good for something until it is used.
    Token,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// About to begin.
    Pending,
    /// Going on.
    Running,
    /// Told to stop.
    Cancelling,
    /// Done.
    Success,
    /// Failed; `err` says why.
    Failure,
    /// Stopped.
    Cancelled,
}

impl Status {
    /// LXD's word for it.
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

    /// LXD's number for it.
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

    /// Whether nothing more comes.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Success | Status::Failure | Status::Cancelled)
    }
}

/// What an operation is about: what its starter has to say.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub(super) description: &'static str,
    pub(super) images: Vec<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) may_cancel: bool,
}

impl About {
    /// An operation in a few words, such as `Downloading image`.
    pub fn new(description: &'static str) -> Self {
        Self { description, ..Self::default() }
    }

    /// The fingerprint of an image that it is about.
    pub fn image(mut self, fingerprint: &str) -> Self {
        self.images.push(fingerprint.to_owned());
        self
    }

    /// Something to be told from the beginning.
    pub fn metadata(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Clients may stop it: its work can be dropped at any moment.
    pub fn cancellable(mut self) -> Self {
        self.may_cancel = true;
        self
    }
}

/// An operation at one moment.
#[derive(Clone, PartialEq)]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// What kind it is.
    pub class: Class,
    /// What it does, in a few words.
    pub description: &'static str,
    /// When it began.
    pub created_at: Timestamp,
    /// When something last changed about it.
    pub updated_at: Timestamp,
    /// How far it is.
    pub status: Status,
    /// The fingerprints of the images that it is about.
    pub images: Vec<String>,
    /// What it has to say; may hold the secret that it is there for.
    pub metadata: Map<String, Value>,
    /// Whether clients may stop it.
    pub may_cancel: bool,
    /// Why it failed; empty if it did not.
    pub err: String,
}

impl Operation {
    /// Its path.
    pub fn url(&self) -> String {
        format!("/1.0/operations/{}", self.id)
    }

    /// The secret that it is there for, or by which others may wait for it.
    pub(super) fn secret(&self) -> Option<&str> {
        self.metadata.get("secret").and_then(Value::as_str)
    }

    /// As LXD writes it.
    pub fn json(&self) -> Value {
        let images: Vec<String> = self.images.iter().map(|image| format!("/1.0/images/{image}")).collect();
        json!({
            "id": self.id,
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
    /// Without its metadata, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({} {:?} {:?} {:?})", self.id, self.class, self.description, self.status)
    }
}
