//! The form of every answer: what was asked for, what was made, an operation that goes on, or an error.
//!
//! Real daemons put an empty `error` into answers that are none. It is left out here: a client that asks for it first would
//! take an operation that failed for an error without a text.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::operations::Operation;
use crate::digest::hex;
use crate::http::route::answer_json;

/// An entity tag for what a client may change, over just that.
pub fn etag(value: &impl Serialize) -> String {
    // Texts, numbers and lists of them: all of it can be written.
    let text = serde_json::to_vec(value).unwrap_or_default();
    format!("\"{}\"", hex(&Sha256::digest(text)))
}

/// What was asked for.
pub fn sync(metadata: &impl Serialize) -> HttpResponse {
    sync_with(&mut HttpResponse::Ok(), metadata)
}

/// The same with a status and headers of its own.
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

/// Done, and nothing to say about it: the answer to changes and removals.
pub fn done() -> HttpResponse {
    sync(&json!({}))
}

/// Something was made, or has another name now, and this is its path.
pub fn created(location: &str) -> HttpResponse {
    sync_with(HttpResponse::Created().insert_header((header::LOCATION, location)), &Value::Null)
}

/// Something goes on, and this is what it can be followed by.
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

/// An error.
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
