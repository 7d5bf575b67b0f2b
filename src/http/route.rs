//! Parts of paths and queries, and answers in JSON: what the handlers of every protocol read and write.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::query::pairs;
use crate::error::{Error, Result};

/// Reads a part of the path, as it was before it was written into a URL.
///
/// # Errors
/// `Invalid` for what is no text.
pub fn part(request: &HttpRequest, name: &str) -> Result<String> {
    let text = request.match_info().get(name).unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8().map(String::from);
    text.map_err(|_| Error::invalid("The path is not UTF-8."))
}

/// Reads a parameter of the query: the first of that name.
///
/// # Errors
/// `Invalid` for a query that is no text.
pub fn parameter(request: &HttpRequest, name: &str) -> Result<Option<String>> {
    Ok(pairs(request.query_string())?.into_iter().find(|(other, _)| other == name).map(|(_, value)| value))
}

/// Answers with JSON.
pub fn answer_json(response: &mut HttpResponseBuilder, value: &impl Serialize) -> HttpResponse {
    // Texts, numbers and lists of them: all of it can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    response.insert_header((header::CONTENT_TYPE, "application/json")).body(text)
}
