//! An image as JSON.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::super::spell::{changed_at, properties, time};
use crate::digest::hex;
use crate::image::{Image, Location, Status, StoreName};
use crate::jobs::Job;
use crate::registry::{Import, failure};

/// The states that v2 tells apart. What failed waits for another try, as what never had bytes does.
pub(super) fn status_word(image: &Image, importing: bool) -> &'static str {
    match image.status {
        Status::Queued | Status::Failed if importing => "importing",
        Status::Queued | Status::Failed => "queued",
        Status::Saving if importing => "importing",
        // In pieces, or put aside for an import.
        Status::Saving if image.ticket.is_some_and(|ticket| ticket.resumable.is_some()) => "uploading",
        Status::Saving => "saving",
        Status::Available => "active",
        Status::Deactivated => "deactivated",
        Status::Deleting => "deleted",
    }
}

/// The states of ours that a word of v2's may stand for.
pub(super) fn statuses(word: &str) -> &'static [Status] {
    match word {
        "queued" => &[Status::Queued, Status::Failed],
        "saving" | "uploading" | "importing" => &[Status::Saving],
        "active" => &[Status::Available],
        "deactivated" => &[Status::Deactivated],
        _ => &[],
    }
}

/// An image as it is written: properties first, as Glance has them.
pub(super) struct Shown<'a> {
    pub(super) image: &'a Image,
    /// What was last tried to bring its bytes, if that says something of how it stands.
    pub(super) import: Option<Job>,
}

/// The attributes that every image shows. A property that another protocol let somebody call so gives way.
const BASE: [&str; 23] = [
    "name",
    "disk_format",
    "container_format",
    "visibility",
    "size",
    "virtual_size",
    "status",
    "checksum",
    "protected",
    "min_ram",
    "min_disk",
    "owner",
    "os_hidden",
    "os_hash_algo",
    "os_hash_value",
    "id",
    "created_at",
    "updated_at",
    "tags",
    "self",
    "file",
    "schema",
    "stores",
];

// By hand: a list of a thousand images is written without making a tree of it first.
impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (image, mut map) = (self.image, serializer.serialize_map(None)?);
        let part = image.main();
        for (name, value) in properties(image).iter().filter(|(name, _)| !BASE.contains(name)) {
            map.serialize_entry(name, value)?;
        }
        let importing = self.import.as_ref().is_some_and(|job| !job.status.is_final());
        if let Some(job) = &self.import {
            let homes = image.homes();
            let wanted = job.notes::<Import>().map(|import| &import.stores).filter(|stores| !stores.is_empty());
            let wanted = wanted.unwrap_or(&homes);
            let missing = |there: bool| match there {
                true => listed(wanted.iter().filter(|store| part.is_none() || !homes.contains(store))),
                false => String::new(),
            };
            map.serialize_entry("os_glance_import_task", &job.id.to_string())?;
            map.serialize_entry("os_glance_importing_to_stores", &missing(importing))?;
            map.serialize_entry("os_glance_failed_import", &missing(failure(job).is_some()))?;
        }
        let digests = part.map(|part| part.digests).unwrap_or_default();
        let (algorithm, digest) = match (digests.sha512, digests.sha256) {
            (Some(sha512), _) => (Some("sha512"), Some(hex(&sha512))),
            (None, Some(sha256)) => (Some("sha256"), Some(hex(&sha256))),
            (None, None) => (None, None),
        };
        let staged = || image.ticket?.resumable.map(|resumable| resumable.size.unwrap_or(resumable.offset));
        let path = format!("/v2/images/{}", image.id);
        map.serialize_entry("name", &image.name)?;
        map.serialize_entry("disk_format", &image.format.map(|format| format.name()))?;
        map.serialize_entry("container_format", &image.container.map(|container| container.name()))?;
        map.serialize_entry("visibility", image.visibility.name())?;
        map.serialize_entry("size", &image.size().or_else(staged))?;
        map.serialize_entry("virtual_size", &part.and_then(|part| part.virtual_size))?;
        map.serialize_entry("status", status_word(image, importing))?;
        map.serialize_entry("checksum", &digests.md5_hex())?;
        map.serialize_entry("protected", &image.protected)?;
        map.serialize_entry("min_ram", &image.min_ram)?;
        map.serialize_entry("min_disk", &image.min_disk)?;
        map.serialize_entry("owner", &image.owner)?;
        map.serialize_entry("os_hidden", &image.hidden)?;
        map.serialize_entry("os_hash_algo", &algorithm)?;
        map.serialize_entry("os_hash_value", &digest)?;
        map.serialize_entry("id", &path["/v2/images/".len()..])?;
        map.serialize_entry("created_at", &time(image.created_at))?;
        map.serialize_entry("updated_at", &time(changed_at(image)))?;
        map.serialize_entry("tags", &image.tags)?;
        map.serialize_entry("self", &path)?;
        map.serialize_entry("file", &format!("{path}/file"))?;
        map.serialize_entry("schema", "/v2/schemas/image")?;
        // Unlike the others it is there or not, never null.
        if part.is_some() {
            map.serialize_entry("stores", &stores_of(image))?;
        }
        map.end()
    }
}

/// The stores that have an image, the one that it is read from first.
fn stores_of(image: &Image) -> String {
    let url = image.main().is_some_and(|part| matches!(part.location, Location::Http { .. }));
    if url { StoreName::HTTP.to_string() } else { listed(image.homes().iter()) }
}

fn listed<'a>(stores: impl Iterator<Item = &'a StoreName>) -> String {
    stores.map(StoreName::as_str).collect::<Vec<_>>().join(",")
}

/// A page of a list.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    pub(super) images: Vec<Shown<'a>>,
    /// The path of the first page.
    pub(super) first: String,
    /// That of the next one, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    pub(super) schema: &'static str,
}
