//! Renders images as JSON for v2. Knows no request.

use std::slice;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::super::spell::{changed_at, properties};
use super::asked_task::AskedTask;
use super::names::{is_base, name_of};
use crate::digest::hex;
use crate::http::time::to_the_second;
use crate::image::attr::ATTRS;
use crate::image::{Attr, Image, Status, StoreName};
use crate::jobs::{Job, JobKind};
use crate::registry::{Import, has_failed};

/// v2's word for a status. A failed upload waits for another one, like a queued image.
pub(super) fn status_word(image: &Image, importing: bool) -> &'static str {
    match image.status {
        Status::Queued | Status::Failed if importing => "importing",
        Status::Queued | Status::Failed => "queued",
        Status::Saving if importing => "importing",
        // An upload in pieces, or staged bytes.
        Status::Saving if image.ticket.is_some_and(|ticket| ticket.resumable.is_some()) => "uploading",
        Status::Saving => "saving",
        Status::Available => "active",
        Status::Deactivated => "deactivated",
        Status::Deleting => "deleted",
    }
}

/// Statuses that a word of v2 may stand for.
pub(super) fn statuses(word: &str) -> &'static [Status] {
    match word {
        "queued" => &[Status::Queued, Status::Failed],
        "saving" | "uploading" | "importing" => &[Status::Saving],
        "active" => &[Status::Available],
        "deactivated" => &[Status::Deactivated],
        _ => &[],
    }
}

/// An image in v2's JSON: properties first, as in Glance.
pub(super) struct ShownImage<'a> {
    pub(super) image: &'a Image,
    /// The last import into the image, if it matters for its status.
    pub(super) import: Option<Job>,
}

// By hand: a list of a thousand images is written without a tree of values.
impl Serialize for ShownImage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (image, mut map) = (self.image, serializer.serialize_map(None)?);
        let part = image.main();
        for (name, value) in properties(image).iter().filter(|(name, _)| !is_base(name)) {
            map.serialize_entry(name, value)?;
        }
        if let Some(job) = &self.import {
            self.put_import(job, &mut map)?;
        }
        let digests = part.map(|part| part.digests).unwrap_or_default();
        let (algorithm, digest) = match (digests.sha512, digests.sha256) {
            (Some(sha512), _) => (Some("sha512"), Some(hex(&sha512))),
            (None, Some(sha256)) => (Some("sha256"), Some(hex(&sha256))),
            (None, None) => (None, None),
        };
        for row in &ATTRS {
            if let Some(name) = name_of(row.attr) {
                self.put(row.attr, name, &mut map)?;
            }
        }
        let path = format!("/v2/images/{}", image.id);
        map.serialize_entry("os_hash_algo", &algorithm)?;
        map.serialize_entry("os_hash_value", &digest)?;
        map.serialize_entry("tags", &image.tags)?;
        map.serialize_entry("self", &path)?;
        map.serialize_entry("file", &format!("{path}/file"))?;
        map.serialize_entry("schema", "/v2/schemas/image")?;
        map.end()
    }
}

impl ShownImage<'_> {
    /// Writes what an import leaves: the task while it runs, and the stores that it goes to or failed for. Both lists stay when
    /// they are empty, as in Glance; clients wait for that.
    fn put_import<M: SerializeMap>(&self, job: &Job, map: &mut M) -> Result<(), M::Error> {
        let (image, importing) = (self.image, self.is_importing());
        let notes = job.notes::<Import>();
        let by_import = notes.and_then(|import| import.request::<AskedTask>()).is_some_and(AskedTask::is_import);
        if job.kind == JobKind::RegisterUrl || (!importing && !has_failed(job) && !by_import) {
            return match importing {
                true => map.serialize_entry("os_glance_import_task", &job.id.to_string()),
                false => Ok(()),
            };
        }
        let (homes, holders) = (image.homes(), image.holders());
        let wanted = notes.map(|import| &import.stores).filter(|stores| !stores.is_empty()).unwrap_or(&homes);
        let missing = |there: bool, of: &[StoreName]| match there {
            true => listed(of.iter().filter(|store| !holders.contains(store))),
            false => String::new(),
        };
        // Of stores that all had to take the bytes, as in Glance: the one that did not.
        let failed = notes.and_then(|import| import.failed_in.as_ref()).map_or(wanted.as_slice(), slice::from_ref);
        if importing {
            map.serialize_entry("os_glance_import_task", &job.id.to_string())?;
        }
        map.serialize_entry("os_glance_importing_to_stores", &missing(importing, wanted))?;
        map.serialize_entry("os_glance_failed_import", &missing(has_failed(job), failed))
    }

    /// Writes an attribute under its name.
    fn put<M: SerializeMap>(&self, attr: Attr, name: &str, map: &mut M) -> Result<(), M::Error> {
        let (image, part) = (self.image, self.image.main());
        match attr {
            Attr::Id => map.serialize_entry(name, &image.id.to_string()),
            Attr::Name => map.serialize_entry(name, &image.name),
            Attr::Format => map.serialize_entry(name, &image.format.map(|format| format.name())),
            Attr::Container => map.serialize_entry(name, &image.container.map(|container| container.name())),
            Attr::Visibility => map.serialize_entry(name, image.visibility.name()),
            Attr::Size => {
                let staged = || image.ticket?.resumable.map(|resumable| resumable.size.unwrap_or(resumable.offset));
                map.serialize_entry(name, &image.size().or_else(staged))
            }
            Attr::VirtualSize => map.serialize_entry(name, &part.and_then(|part| part.virtual_size)),
            Attr::Status => map.serialize_entry(name, status_word(image, self.is_importing())),
            Attr::Checksum => map.serialize_entry(name, &part.and_then(|part| part.digests.md5_hex())),
            Attr::Protected => map.serialize_entry(name, &image.protected),
            Attr::MinRam => map.serialize_entry(name, &image.min_ram),
            Attr::MinDisk => map.serialize_entry(name, &image.min_disk),
            Attr::Owner => map.serialize_entry(name, &image.owner),
            Attr::Hidden => map.serialize_entry(name, &image.hidden),
            Attr::CreatedAt => map.serialize_entry(name, &to_the_second(image.created_at)),
            Attr::UpdatedAt => map.serialize_entry(name, &to_the_second(changed_at(image))),
            // Left out if empty, never null.
            Attr::Store if part.is_none() => Ok(()),
            Attr::Store => map.serialize_entry(name, &stores_of(image)),
            // Written beside `os_hash_algo`.
            Attr::Sha256 | Attr::Sha512 => Ok(()),
            // No name in v2; some of them are properties.
            Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Kind => Ok(()),
            Attr::UploadedAt | Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered => Ok(()),
        }
    }

    fn is_importing(&self) -> bool {
        self.import.as_ref().is_some_and(|job| !job.status.is_final())
    }
}

/// The stores of an image, comma-separated; the one that serves downloads comes first.
fn stores_of(image: &Image) -> String {
    let mut stores = image.holders();
    if image.under_url().is_some() {
        stores.push(StoreName::HTTP);
    }
    if stores.is_empty() { image.home().to_string() } else { listed(stores.iter()) }
}

fn listed<'a>(stores: impl Iterator<Item = &'a StoreName>) -> String {
    stores.map(StoreName::as_str).collect::<Vec<_>>().join(",")
}

/// A page of a list of images.
#[derive(Serialize)]
pub(super) struct ImagePage<'a> {
    pub(super) images: Vec<ShownImage<'a>>,
    /// The path of the first page.
    pub(super) first: String,
    /// The path of the next page, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    pub(super) schema: &'static str,
}
