//! Names of what requests ask for: headers, parameters, and members of JSON bodies, by route and never with a value. Written to
//! the log at level trace under a target of its own, which the client suites switch on: they compare the names with
//! `docs/protocols/asked.md`, so that nothing a client sends goes unseen. Knows no protocol.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use super::query::pairs;

/// The target in the log.
const TARGET: &str = "visor::asked";

/// Bytes of a body that are looked at.
const BYTES_MAX: usize = 1 << 20;

/// Tells if the log takes the names.
pub(super) fn is_on() -> bool {
    log::log_enabled!(target: TARGET, log::Level::Trace)
}

/// A body whose beginning is kept in passing.
struct Kept {
    body: Payload,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl Stream for Kept {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            let mut bytes = self.bytes.borrow_mut();
            let room = BYTES_MAX.saturating_sub(bytes.len());
            bytes.extend(chunk.iter().take(room));
        }
        polled
    }
}

/// Middleware: logs the names after the handler has read the request.
pub(super) async fn asked(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let bytes: Rc<RefCell<Vec<u8>>> = Rc::default();
    let body = request.take_payload();
    request.set_payload(Payload::Stream { payload: Box::pin(Kept { body, bytes: Rc::clone(&bytes) }) });
    let response = next.call(request).await?;
    // What is refused is not dropped in silence.
    if response.status().is_client_error() || response.status().is_server_error() {
        return Ok(response);
    }
    let request = response.request();
    let headers: BTreeSet<&str> = request.headers().keys().map(|name| name.as_str()).collect();
    let query: BTreeSet<String> =
        pairs(request.query_string()).unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    let mut members = BTreeSet::new();
    if let Ok(body) = serde_json::from_slice::<Value>(&bytes.borrow()) {
        name_members(&body, "", &mut members);
    }
    let route = request.match_pattern().unwrap_or_default();
    let method = request.method().as_str();
    let names = json!({ "method": method, "route": route, "header": headers, "query": query, "body": members });
    log::trace!(target: TARGET, "asked {names}");
    Ok(response)
}

/// Adds the paths of all members: `method.uri`, `stores[]`.
fn name_members(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                name_members(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| name_members(item, &format!("{path}[]"), into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_by_their_paths() {
        let mut found = BTreeSet::new();
        let body = json!({ "method": { "name": "copy-image" }, "stores": ["a"], "list": [{ "x": 1 }, { "y": null }] });
        name_members(&body, "", &mut found);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["list", "list[].x", "list[].y", "method", "method.name", "stores"]);
    }
}
