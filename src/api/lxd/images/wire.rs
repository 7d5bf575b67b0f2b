//! Images and aliases in LXD's JSON. Pure: values in, values out.

use serde_json::{Map, Value, json};

use super::super::envelope::etag;
use super::super::time::{NEVER, time};
use crate::archive::kernel_name;
use crate::digest::hex;
use crate::image::attr::ATTRS;
use crate::image::{Access, Attr, Image, ImageKind, LxdIdentity, Timestamp, Visibility};
use crate::registry::{Alias, aliases_of, files_of};

/// The path of an image.
pub(super) fn path_of(image: &Image) -> String {
    format!("/1.0/images/{}", fingerprint(image))
}

/// The fingerprint of an image in hexadecimal.
pub(super) fn fingerprint(image: &Image) -> String {
    image.fingerprint().map(|bytes| hex(&bytes)).unwrap_or_default()
}

/// LXD's word for the kind of an image.
pub(super) fn type_of(image: &Image) -> &'static str {
    kind_word(image.is_container())
}

fn kind_word(is_container: bool) -> &'static str {
    if is_container { ImageKind::Container.name() } else { ImageKind::VirtualMachine.name() }
}

/// LXD's name of an attribute; `None` for an attribute that LXD does not know.
fn name_of(attr: Attr) -> Option<&'static str> {
    Some(match attr {
        Attr::Architecture => "architecture",
        Attr::Visibility => "public",
        Attr::Kind => "type",
        Attr::Size => "size",
        Attr::CreatedAt => "created_at",
        Attr::UploadedAt => "uploaded_at",
        Attr::Fingerprint => "fingerprint",
        Attr::Alias => "aliases",
        Attr::ExpiresAt => "expires_at",
        // Becomes the description of an offer, see `image`.
        Attr::Name => return None,
        Attr::Id | Attr::Format | Attr::Container | Attr::Store | Attr::Location | Attr::Kernel => return None,
        Attr::Ramdisk | Attr::Owner | Attr::Status | Attr::UpdatedAt | Attr::Checksum | Attr::MinDisk => return None,
        Attr::MinRam | Attr::Protected | Attr::Hidden | Attr::VirtualSize | Attr::Sha256 => return None,
        Attr::Sha512 | Attr::Offered => return None,
    })
}

/// LXD's value of an attribute; null for an attribute that LXD does not know.
fn value_of(attr: Attr, image: &Image) -> Value {
    let stored = image.uploaded_at.unwrap_or(image.created_at);
    match attr {
        Attr::Architecture => image.architecture.map_or("", kernel_name).into(),
        Attr::Visibility => (image.visibility == Visibility::Public).into(),
        Attr::Kind => type_of(image).into(),
        Attr::Size => files_of(image).unwrap_or_default().iter().map(|file| file.size).sum::<u64>().into(),
        Attr::CreatedAt => time(image.built_at.unwrap_or(stored)).into(),
        Attr::UploadedAt => time(stored).into(),
        Attr::Fingerprint => fingerprint(image).into(),
        Attr::Alias => {
            aliases_of(image).into_iter().map(|(name, text)| json!({ "name": name, "description": text })).collect()
        }
        Attr::ExpiresAt => moment(end_of(image), NEVER).into(),
        Attr::Name | Attr::Id | Attr::Format | Attr::Container | Attr::Store | Attr::Location => Value::Null,
        Attr::Kernel | Attr::Ramdisk | Attr::Owner | Attr::Status | Attr::UpdatedAt | Attr::Checksum => Value::Null,
        Attr::MinDisk | Attr::MinRam | Attr::Protected | Attr::Hidden | Attr::VirtualSize => Value::Null,
        Attr::Sha256 | Attr::Sha512 | Attr::Offered => Value::Null,
    }
}

fn moment(at: Option<Timestamp>, none: &str) -> String {
    at.map_or_else(|| none.to_owned(), time)
}

/// An image.
pub(super) fn image(image: &Image, access: Access) -> Value {
    let mut properties = image.properties.clone();
    // The name from other protocols is the only description of an offer.
    if let (Some(name), Some(LxdIdentity { made: true, .. })) = (&image.name, image.lxd_identity) {
        properties.entry("description".to_owned()).or_insert_with(|| name.clone());
    }
    let mut value = json!({
        "auto_update": image.auto_update,
        "properties": properties,
        "profiles": ["default"],
        "cached": false,
        "filename": file_name(image),
        "last_used_at": moment(access.last, NEVER),
        "project": "default",
    });
    if let Value::Object(fields) = &mut value {
        let named = ATTRS.iter().filter_map(|row| Some((row.attr, name_of(row.attr)?)));
        fields.extend(named.map(|(attr, name)| (name.to_owned(), value_of(attr, image))));
        fields.extend(update_source(image).map(|source| ("update_source".to_owned(), source)));
    }
    value
}

/// The end of an image in LXD: its expiry, or else the end of its makers' support, which removes nothing here.
pub(super) fn end_of(image: &Image) -> Option<Timestamp> {
    image.expires_at.or(image.supported_until)
}

/// The source of a copy. LXD itself does not tell the time and the outcome of the last check.
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

/// The name that clients save an image under: its own, or for an offer one made from the image's name.
fn file_name(image: &Image) -> String {
    if let Some(name) = &image.filename {
        return name.clone();
    }
    match (image.lxd_identity.is_some_and(|offer| offer.made), &image.name) {
        (true, Some(name)) => format!("{}.qcow2", name.trim_start_matches('.').replace(['/', '\\'], "_")),
        _ => String::new(),
    }
}

/// The entity tag of the fields that a client may change.
pub(super) fn image_etag(image: &Image) -> String {
    etag(&(image.visibility == Visibility::Public, image.auto_update, &image.properties))
}

/// An alias.
pub(super) fn alias(alias: &Alias) -> Value {
    json!({
        "name": alias.name,
        "target": target(alias),
        "description": alias.description,
        "type": kind_word(alias.slot.is_container),
    })
}

fn target(alias: &Alias) -> String {
    alias.fingerprint.map(|bytes| hex(&bytes)).unwrap_or_default()
}

/// The entity tag of an alias.
pub(super) fn alias_etag(alias: &Alias) -> String {
    etag(&(&alias.name, target(alias), &alias.description))
}

#[cfg(test)]
mod tests {
    use super::super::filter::ListFilter;
    use super::*;
    use crate::image::full_tests::full;

    #[test]
    fn every_attribute_with_a_name_is_shown_and_filtered_by() {
        let shown = image(&full(), Access::default());
        for row in &ATTRS {
            let Some(name) = name_of(row.attr) else {
                assert_eq!(value_of(row.attr, &full()), Value::Null, "{:?}", row.attr);
                continue;
            };
            let value = value_of(row.attr, &full());
            assert_eq!(shown[name], value, "{:?}", row.attr);
            assert!(value != Value::Null && value != "" && value != json!([]), "{:?}: {value}", row.attr);
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            if !value.is_array() {
                assert!(ListFilter::parse(&format!("{name} eq \"{text}\"")).unwrap().passes(&shown), "{name} {text}");
                assert!(
                    !ListFilter::parse(&format!("{name} eq \"no {text}\"")).unwrap().passes(&shown),
                    "{name} {text}"
                );
            }
        }
    }
}
