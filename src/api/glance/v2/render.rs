//! An image as JSON.

use serde_json::{Map, Value, json};

use super::super::spell::{changed_at, properties, time};
use crate::image::digest::hex;
use crate::image::{Image, Status, Visibility};
use crate::registry::Task;

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

/// The word for who sees an image.
pub(super) fn visibility_word(visibility: Visibility) -> &'static str {
    visibility.name()
}

/// An image, properties first, as Glance has them; `import` is what was last tried to bring its bytes.
pub(super) fn image(image: &Image, import: Option<&Task>) -> Value {
    let mut all: Map<String, Value> =
        properties(image).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let importing = import.filter(|task| task.is_running());
    if let Some(task) = import {
        all.insert("os_glance_import_task".into(), task.id.to_string().into());
        let store = |there: bool| if there { super::info::STORE } else { "" };
        all.insert("os_glance_importing_to_stores".into(), store(importing.is_some()).into());
        all.insert("os_glance_failed_import".into(), store(task.reason().is_some()).into());
    }
    let part = image.whole();
    let digests = part.map(|part| part.digests).unwrap_or_default();
    let (algorithm, digest) = match (digests.sha512, digests.sha256) {
        (Some(sha512), _) => (Some("sha512"), Some(hex(&sha512))),
        (None, Some(sha256)) => (Some("sha256"), Some(hex(&sha256))),
        (None, None) => (None, None),
    };
    let staged = || image.ticket?.resumable.map(|resumable| resumable.size.unwrap_or(resumable.offset));
    let path = format!("/v2/images/{}", image.id);
    let base = [
        ("name", json!(image.name)),
        ("disk_format", json!(image.format.map(|format| format.name()))),
        ("container_format", json!(image.container.map(|container| container.name()))),
        ("visibility", json!(visibility_word(image.visibility))),
        ("size", json!(image.size().or_else(staged))),
        ("virtual_size", json!(part.and_then(|part| part.virtual_size))),
        ("status", json!(status_word(image, importing.is_some()))),
        ("checksum", json!(digests.md5_hex())),
        ("protected", json!(image.protected)),
        ("min_ram", json!(image.min_ram)),
        ("min_disk", json!(image.min_disk)),
        ("owner", json!(image.owner)),
        ("os_hidden", json!(image.hidden)),
        ("os_hash_algo", json!(algorithm)),
        ("os_hash_value", json!(digest)),
        ("id", json!(image.id.to_string())),
        ("created_at", json!(time(image.created_at))),
        ("updated_at", json!(time(changed_at(image)))),
        ("tags", json!(image.tags)),
        ("self", json!(path)),
        ("file", json!(format!("{path}/file"))),
        ("schema", json!("/v2/schemas/image")),
    ];
    for (name, value) in base {
        // An attribute that another protocol let somebody call so gives way.
        all.remove(name);
        all.insert(name.to_owned(), value);
    }
    // Unlike the others it is there or not, never null.
    all.remove("stores");
    if part.is_some() {
        all.insert("stores".to_owned(), super::info::STORE.into());
    }
    Value::Object(all)
}
