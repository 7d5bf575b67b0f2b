//! The envelope of every answer: data, a new object's path, a running operation, or an error. Knows no routes.
//!
//! Real daemons put an empty `error` into successful answers. It is left out here: a client that looks for it first would
//! take a failed operation for an error without a text.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::operations::Operation;
use crate::digest::hex;
use crate::error::{Reason, Result};
use crate::http::route::answer_json;

/// Characters that no URL has, besides those that are not ASCII (RFC 3986, section 2). Escapes stay.
const NOT_IN_URLS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Entity tag over the fields that a client may change.
pub fn etag(value: &impl Serialize) -> String {
    // Serialization can't fail: only texts, numbers and lists occur.
    let text = serde_json::to_vec(value).unwrap_or_default();
    format!("\"{}\"", hex(&Sha256::digest(text)))
}

/// Checks that an object has the entity tag that a client saw. The tag may stand in quotes or not.
pub fn matches(wanted: Option<&str>, tag: &str) -> Result<()> {
    let Some(wanted) = wanted.map(str::trim).filter(|wanted| !wanted.is_empty() && *wanted != "*") else {
        return Ok(());
    };
    if wanted.trim_matches('"') == tag.trim_matches('"') {
        return Ok(());
    }
    Err(Reason::ConditionFailed.saying(format!("ETag doesn't match: {wanted} vs {tag}")))
}

/// Successful answer with data.
pub fn sync(metadata: &impl Serialize) -> HttpResponse {
    sync_with(&mut HttpResponse::Ok(), metadata)
}

/// Successful answer with data, and its own status and headers.
pub fn sync_with(response: &mut HttpResponseBuilder, metadata: &impl Serialize) -> HttpResponse {
    #[derive(Serialize)]
    struct Sync<'a, T> {
        r#type: &'static str,
        status: &'static str,
        status_code: u16,
        metadata: &'a T,
    }
    answer_json(response, &Sync { r#type: "sync", status: "Success", status_code: 200, metadata })
}

/// Successful answer without data, to changes and removals.
pub fn done() -> HttpResponse {
    sync(&json!({}))
}

/// Answer to the making or renaming of an object, with its path.
pub fn created(location: &str) -> HttpResponse {
    let location = utf8_percent_encode(location, NOT_IN_URLS).to_string();
    sync_with(HttpResponse::Created().insert_header((header::LOCATION, location)), &Value::Null)
}

/// Answer with the operation that does the work.
pub fn accepted(operation: &Operation) -> HttpResponse {
    let url = operation.url();
    let body = json!({
        "type": "async",
        "status": "Operation created",
        "status_code": 100,
        "operation": url,
        "metadata": operation,
    });
    answer_json(HttpResponse::Accepted().insert_header((header::LOCATION, url)), &body)
}

/// Answer with an error.
pub(super) fn failed(response: &mut HttpResponseBuilder, status: StatusCode, text: &str) -> HttpResponse {
    let body = json!({ "type": "error", "error": text, "error_code": status.as_u16(), "metadata": null });
    answer_json(response, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_what_they_are_about() {
        let (one, other) = (etag(&json!({ "a": 1 })), etag(&json!({ "a": 2 })));
        assert!(one != other && one.len() == 66 && one.starts_with('"') && one.ends_with('"'));
    }
}
