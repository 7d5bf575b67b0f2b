//! Requests in the log: an id for each, and a line. No value of a header, a query or a body is logged: they hold
//! signatures and names.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};
use uuid::Uuid;

use super::refusal::{CODE, of_status};

/// The header of the id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, for log lines about it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The client's id if it is safe to log, else a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let safe = |id: &&str| {
        (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(safe).map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned)
}

/// Middleware: gives each request an id, answers with it, and logs a line when the answer begins.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.call(request).await?;
    // No handler made this answer, for example to a method that the path lacks.
    if let Some(reason) = of_status(response.status()).filter(|_| !response.headers().contains_key(CODE)) {
        response.headers_mut().insert(CODE, HeaderValue::from_static(reason.code()));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    log::info!(
        target: "visor::access",
        request_id = id.as_str(),
        peer = response.request().peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default().as_str(),
        took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        "{} {} {}",
        response.request().method(),
        response.request().path().escape_default(),
        response.status().as_u16()
    );
    Ok(response)
}

/// Logs an error once, at the boundary: the server's own faults as errors with their causes, all others at debug level.
pub fn report(request: &HttpRequest, error: &crate::error::Error) {
    use crate::error::Kind;
    let level = match error.kind() {
        Kind::Internal | Kind::StoreFull | Kind::Upstream => log::Level::Error,
        _ => log::Level::Debug,
    };
    if !log::log_enabled!(level) {
        return;
    }
    match request.extensions().get::<RequestId>() {
        Some(RequestId(id)) => {
            log::log!(level, request_id = id.as_str(); "{}: {}", error.reason().code(), error.logged());
        }
        None => log::log!(level, "{}: {}", error.reason().code(), error.logged()),
    }
}
