//! Renders an image as JSON and as headers. Knows no request.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::super::spell::{changed_at, properties};
use super::names::name_of;
use crate::http::headers::{AttributeRoom, attribute_value};
use crate::http::time::python;
use crate::image::attr::ATTRS;
use crate::image::{Attr, Image, Status, Visibility};

/// Prefix of the header of an attribute.
pub(super) const PREFIX: &str = "x-image-meta-";
/// Second prefix of the header of a property.
pub(super) const PROPERTY: &str = "property-";

/// Characters that the name of a header cannot have (RFC 9110, section 5.6.2).
const NO_TOKEN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// v1's word for a status. An image in removal is never shown.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Saving => "saving",
        Status::Available => "active",
        Status::Deactivated => "deactivated",
        Status::Failed => "killed",
        Status::Deleting => "deleted",
    }
}

/// The MD5 of the bytes, also their entity tag: without quotes, as v1's clients read it.
pub(super) fn checksum(image: &Image) -> Option<String> {
    image.main().and_then(|part| part.digests.md5_hex())
}

/// Attributes in a brief list.
const BRIEF: [Attr; 6] = [Attr::Id, Attr::Name, Attr::Size, Attr::Format, Attr::Container, Attr::Checksum];

/// Renders an image in a brief list.
pub(super) fn brief(image: &Image) -> Value {
    Value::Object(BRIEF.into_iter().filter_map(|attr| shown(attr, image)).collect())
}

/// Renders an image with all that v1 shows.
pub(super) fn detail(image: &Image) -> Value {
    let mut all = base(image);
    all.insert("properties".to_owned(), json!(properties(image)));
    Value::Object(all)
}

fn base(image: &Image) -> Map<String, Value> {
    let mut all: Map<_, _> = ATTRS.iter().filter_map(|row| shown(row.attr, image)).collect();
    all.insert("deleted".to_owned(), json!(false));
    all.insert("deleted_at".to_owned(), Value::Null);
    all
}

/// Name and value of an attribute, if v1 shows it.
fn shown(attr: Attr, image: &Image) -> Option<(String, Value)> {
    let value = match attr {
        Attr::Id => json!(image.id.to_string()),
        Attr::Name => json!(image.name),
        Attr::Size => json!(image.size().unwrap_or(0)),
        Attr::Format => json!(image.format.map(|format| format.name())),
        Attr::Container => json!(image.container.map(|container| container.name())),
        Attr::Checksum => json!(checksum(image)),
        Attr::Status => json!(status_word(image.status)),
        Attr::VirtualSize => json!(image.main().and_then(|part| part.virtual_size)),
        Attr::MinDisk => json!(image.min_disk),
        Attr::MinRam => json!(image.min_ram),
        Attr::Owner => json!(image.owner),
        Attr::Visibility => json!(image.visibility == Visibility::Public),
        Attr::Protected => json!(image.protected),
        Attr::CreatedAt => json!(python(image.created_at)),
        Attr::UpdatedAt => json!(python(changed_at(image))),
        // No name in v1; some of them are properties.
        Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Store | Attr::Kind => return None,
        Attr::Hidden | Attr::UploadedAt | Attr::Sha256 | Attr::Sha512 | Attr::Fingerprint => return None,
        Attr::Alias | Attr::ExpiresAt | Attr::Offered => return None,
    };
    Some((name_of(attr)?.to_owned(), value))
}

/// Puts an image into headers. Attributes without a value are left out, and properties that a client could not read.
pub(super) fn put_headers(response: &mut HttpResponseBuilder, image: &Image) {
    let mut put = |name: String, value: &str| {
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), attribute_value(value)) {
            response.append_header((name, value));
        }
    };
    for (name, value) in base(image) {
        let text = match value {
            Value::Null => continue,
            // Written as Python prints a flag.
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        put(format!("{PREFIX}{name}"), &text);
    }
    let mut room = AttributeRoom::default();
    for (name, value) in properties(image) {
        let name = format!("{PREFIX}{PROPERTY}{}", utf8_percent_encode(name, NO_TOKEN));
        if room.take(&name, &value) {
            put(name, &value);
        }
    }
    room.tell(response);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;

    #[test]
    fn headers_have_what_there_is() {
        let mut image = sample("Fünf");
        image.properties.insert("os_x".into(), "a b".into());
        image.properties.insert("hw:cpu %".into(), "2".into());
        let mut response = actix_web::HttpResponse::Ok();
        put_headers(&mut response, &image);
        let response = response.finish();
        let header = |name: &str| response.headers().get(name).map(|value| value.as_bytes().to_vec());
        for (name, value) in [
            ("x-image-meta-name", "Fünf"),
            ("x-image-meta-size", "0"),
            ("x-image-meta-is_public", "True"),
            ("x-image-meta-protected", "False"),
            ("x-image-meta-property-os_x", "a b"),
            ("x-image-meta-property-hw%3acpu%20%25", "2"),
        ] {
            assert_eq!(header(name).as_deref(), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(header("x-image-meta-checksum"), None);
    }

    #[test]
    fn sizes_are_never_unknown() {
        assert_eq!(brief(&sample("a"))["size"], 0);
    }
}
