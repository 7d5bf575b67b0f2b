//! Errors in Keystone's form: `{"error":{"code":…,"message":…,"title":…}}`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};

use super::wire;
use crate::error::{Error, Kind};
use crate::http::observe::{RequestId, report};

/// The status for each kind.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid | Kind::TooMany | Kind::DigestMismatch | Kind::Incomplete | Kind::Unsupported => {
            StatusCode::BAD_REQUEST
        }
        Kind::AlreadyExists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::MediaType | Kind::BadContent => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        // Nothing here keeps the server busy but those who try out keys.
        Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
        Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a request that failed.
pub(super) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    report(request.extensions().get::<RequestId>(), error);
    let mut response = HttpResponse::build(status(error.kind()));
    match error.kind() {
        Kind::Unauthenticated => {
            let challenge = format!("Keystone uri=\"{}\"", wire::identity_url(request));
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        Kind::Busy => _ = response.insert_header((header::RETRY_AFTER, "60")),
        // What is left of the body can't be told from the next request.
        Kind::TooSlow | Kind::Incomplete => _ = response.force_close(),
        _ => {}
    }
    body(&mut response, status(error.kind()), error.message())
}

/// The answer to a path that is not served.
pub(super) fn no_path(_: &HttpRequest) -> HttpResponse {
    let status = StatusCode::NOT_FOUND;
    body(&mut HttpResponse::build(status), status, "There is nothing at this path.")
}

/// The answer to a method that a path does not have.
pub(super) fn no_method(_: &HttpRequest, allow: &str) -> HttpResponse {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ALLOW, allow));
    body(&mut response, status, "This path does not have that method; accounts are kept with 'visor account'.")
}

fn body(response: &mut HttpResponseBuilder, status: StatusCode, message: &str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let error = serde_json::json!({ "code": status.as_u16(), "message": message, "title": title });
    wire::respond(response, &serde_json::json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_failure() {
        for kind in Kind::ALL {
            assert!(status(kind).is_client_error() || status(kind).is_server_error(), "{kind:?}");
        }
    }
}
