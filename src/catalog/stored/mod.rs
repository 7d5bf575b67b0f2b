//! The stored shape of an image: its own types, never the domain's and never a protocol's. The journal has it as JSON, the
//! database as rows ([`super::row`]); both are the shape that has the number [`SHAPE`].
//!
//! JSON is the shape of truth. A new field has a serde default, so that older lines are read unchanged; a change beyond a
//! default is a step in `migrations/`. Rows are never converted: a database of another shape is rebuilt from the journal.

mod convert;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of the shape. Raised by every change of [`StoredImage`], of the encoding of rows and of the set of index entries:
/// a database with another number is rebuilt, and an older program refuses a journal that it would truncate.
pub(crate) const SHAPE: u8 = 7;

/// Reason why stored bytes are not an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("a row fails its checksum")]
    Damaged,
    #[error("a row has shape {0}; this program knows up to {SHAPE}")]
    Newer(u8),
    #[error("a row has shape {0}; this program reads rows of shape {SHAPE} only")]
    Older(u8),
    #[error("a row can't be read: {0}")]
    Malformed(String),
}

pub(super) fn malformed(why: impl std::fmt::Display) -> RowError {
    RowError::Malformed(why.to_string())
}

/// An image as stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredImage {
    id: Uuid,
    revision: u64,
    name: Option<String>,
    owner: Option<String>,
    visibility: String,
    status: String,
    format: Option<String>,
    container: Option<String>,
    kind: Option<String>,
    architecture: Option<String>,
    store: Option<String>,
    kernel: Option<Uuid>,
    ramdisk: Option<Uuid>,
    parts: Vec<StoredPart>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    members: BTreeMap<String, StoredMember>,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    min_disk_gib: u32,
    #[serde(default)]
    min_ram_mib: u32,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    filename: Option<String>,
    offer: Option<StoredIdentity>,
    #[serde(default = "yes")]
    offered: bool,
    #[serde(default = "yes")]
    name_is_alias: bool,
    update_source: Option<StoredSource>,
    #[serde(default)]
    auto_update: bool,
    built_at_us: Option<i64>,
    supported_until_us: Option<i64>,
    expires_at_us: Option<i64>,
    created_at_us: i64,
    updated_at_us: Option<i64>,
    uploaded_at_us: Option<i64>,
    ticket: Option<StoredTicket>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredIdentity {
    fingerprint: String,
    root_sha256: Option<String>,
    made: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredSource {
    server: String,
    protocol: String,
    alias: String,
    certificate: Option<String>,
    kind: Option<String>,
    checked_at_us: Option<i64>,
    error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredPart {
    kind: String,
    location: StoredLocation,
    size_bytes: Option<u64>,
    virtual_size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    sha512: Option<String>,
    etag: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredLocation {
    Stored { store: String, key: String },
    File { path: String },
    Http { url: String },
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredMember {
    status: String,
    can_share: bool,
    created_at_us: i64,
    updated_at_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredTicket {
    boot: Uuid,
    fallback: String,
    resumable: Option<StoredResumable>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredResumable {
    offset: u64,
    size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    sha512: Option<String>,
    expires_at_us: i64,
    #[serde(default)]
    staged: bool,
}

/// The default of images older than a choice: offered, and under their names.
fn yes() -> bool {
    true
}
