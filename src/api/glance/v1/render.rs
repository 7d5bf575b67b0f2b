//! An image as JSON and as headers.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::super::spell::{changed_at, properties};
use crate::http::time::python;
use crate::image::{Image, Status, Visibility};

/// Before the name of each attribute.
pub(super) const PREFIX: &str = "x-image-meta-";
/// Before the name of each property, behind the other.
pub(super) const PROPERTY: &str = "property-";

/// What can't stand in the name of a header (RFC 9110, section 5.6.2).
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

/// What v1 calls a state. One that is being removed is never shown.
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

/// The md5 of the bytes, which is also their entity tag: bare, as v1's clients read it.
pub(super) fn checksum(image: &Image) -> Option<String> {
    image.main().and_then(|part| part.digests.md5_hex())
}

/// What stands in a list that was not asked for more.
pub(super) fn brief(image: &Image) -> Value {
    json!({
        "id": image.id.to_string(),
        "name": image.name,
        "size": image.size().unwrap_or(0),
        "disk_format": image.format.map(|format| format.name()),
        "container_format": image.container.map(|container| container.name()),
        "checksum": checksum(image),
    })
}

/// An image.
pub(super) fn detail(image: &Image) -> Value {
    let mut all = base(image);
    all.insert("properties".to_owned(), json!(properties(image)));
    Value::Object(all)
}

fn base(image: &Image) -> Map<String, Value> {
    let mut all = match brief(image) {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    let more = [
        ("status", json!(status_word(image.status))),
        ("virtual_size", json!(image.main().and_then(|part| part.virtual_size))),
        ("min_disk", json!(image.min_disk)),
        ("min_ram", json!(image.min_ram)),
        ("owner", json!(image.owner)),
        ("is_public", json!(image.visibility == Visibility::Public)),
        ("protected", json!(image.protected)),
        ("deleted", json!(false)),
        ("created_at", json!(python(image.created_at))),
        ("updated_at", json!(python(changed_at(image)))),
        ("deleted_at", Value::Null),
    ];
    all.extend(more.map(|(name, value)| (name.to_owned(), value)));
    all
}

/// Puts an image into headers. What has no value is left out.
pub(super) fn put_headers(response: &mut HttpResponseBuilder, image: &Image) {
    let mut put = |name: String, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            response.append_header((name, value));
        }
    };
    for (name, value) in base(image) {
        let text = match value {
            Value::Null => continue,
            // As Python prints them.
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        put(format!("{PREFIX}{name}"), &text);
    }
    for (name, value) in properties(image) {
        put(format!("{PREFIX}{PROPERTY}{}", utf8_percent_encode(name, NO_TOKEN)), &value);
    }
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
