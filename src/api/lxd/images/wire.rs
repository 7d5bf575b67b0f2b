//! Images and aliases as LXD writes them.

use serde_json::{Map, Value, json};

use super::super::envelope::etag;
use super::super::time::{NEVER, time};
use crate::archive::kernel_name;
use crate::digest::hex;
use crate::image::{Access, Image, ImageKind, LxdIdentity, Timestamp, Visibility};
use crate::registry::{Alias, files_of};

/// How an upload without an end is written, by LXD itself too.
const NO_END: &str = "1970-01-01T00:00:00Z";

/// The path of an image.
pub(super) fn path_of(image: &Image) -> String {
    format!("/1.0/images/{}", fingerprint(image))
}

/// The fingerprint of an image in hexadecimal.
pub(super) fn fingerprint(image: &Image) -> String {
    image.fingerprint().map(|bytes| hex(&bytes)).unwrap_or_default()
}

/// What LXD calls the kind of an image.
pub(super) fn type_of(image: &Image) -> &'static str {
    match image.kind {
        Some(ImageKind::Container) => "container",
        None | Some(ImageKind::VirtualMachine | ImageKind::Machine | ImageKind::Kernel | ImageKind::Ramdisk) => {
            "virtual-machine"
        }
    }
}

/// An image.
pub(super) fn image(image: &Image, access: Access) -> Value {
    let aliases: Vec<_> =
        image.aliases.iter().map(|(name, text)| json!({ "name": name, "description": text })).collect();
    let size: u64 = files_of(image).unwrap_or_default().iter().map(|file| file.size).sum();
    let stored = image.uploaded_at.unwrap_or(image.created_at);
    let moment = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), time);
    let mut properties = image.properties.clone();
    // What other protocols call a disk is all that says to people here what it is.
    if let (Some(name), Some(LxdIdentity { made: true, .. })) = (&image.name, image.lxd_identity) {
        properties.entry("description".to_owned()).or_insert_with(|| name.clone());
    }
    let mut value = json!({
        "auto_update": image.auto_update,
        "properties": properties,
        "public": image.visibility == Visibility::Public,
        "expires_at": moment(end_of(image), NO_END),
        "profiles": ["default"],
        "aliases": aliases,
        "architecture": image.architecture.map_or("", kernel_name),
        "cached": false,
        "filename": file_name(image),
        "fingerprint": fingerprint(image),
        "size": size,
        "type": type_of(image),
        "created_at": time(image.built_at.unwrap_or(stored)),
        "last_used_at": moment(access.last, NEVER),
        "uploaded_at": time(stored),
        "project": "default",
    });
    if let (Value::Object(fields), Some(source)) = (&mut value, update_source(image)) {
        fields.insert("update_source".into(), source);
    }
    value
}

/// What LXD shows as the end of an image: when it goes, or else until when its makers stand by it, which ends nothing here.
pub(super) fn end_of(image: &Image) -> Option<Timestamp> {
    image.expires_at.or(image.supported_until)
}

/// Where a copy came from. LXD does not tell when it last looked there and what came of it.
fn update_source(image: &Image) -> Option<Value> {
    let source = image.update_source.as_ref()?;
    let mut value = Map::new();
    let mut put = |name: &str, text: &str| drop(value.insert(name.to_owned(), text.into()));
    put("alias", &source.alias);
    put("certificate", source.certificate.as_deref().unwrap_or_default());
    put("protocol", source.protocol.name());
    put("server", &source.server);
    put("image_type", source.kind.map_or("", ImageKind::name));
    if let Some(checked_at) = source.checked_at {
        put("last_checked_at", &time(checked_at));
        put("last_error", source.error.as_deref().unwrap_or_default());
    }
    Some(Value::Object(value))
}

/// Under which name clients save an image that did not come with one.
fn file_name(image: &Image) -> String {
    if let Some(name) = &image.filename {
        return name.clone();
    }
    match (image.lxd_identity.is_some_and(|offer| offer.made), &image.name) {
        (true, Some(name)) => format!("{}.qcow2", name.trim_start_matches('.').replace(['/', '\\'], "_")),
        _ => String::new(),
    }
}

/// The entity tag of what a client may change.
pub(super) fn image_etag(image: &Image) -> String {
    etag(&(image.visibility == Visibility::Public, image.auto_update, &image.properties))
}

/// An alias.
pub(super) fn alias(alias: &Alias) -> Value {
    json!({
        "name": alias.name,
        "target": fingerprint(&alias.image),
        "description": alias.description,
        "type": type_of(&alias.image),
    })
}

/// The entity tag of an alias.
pub(super) fn alias_etag(alias: &Alias) -> String {
    etag(&(&alias.name, fingerprint(&alias.image), &alias.description))
}
