//! Errors in VISOR's form: `{"code": …, "message": …}` or its XML, and for HEAD in headers.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};

use super::wire::{Field, respond};
use crate::error::{Error, Kind};
use crate::http::observe::{RequestId, report};

/// A header that tells apart what has one status.
const REASON: &str = "x-visor-error";
/// Bytes are not those that were announced.
const MISMATCH: &str = "mismatch";

/// The status for each kind. The original's client knows 400, 403, 404, 409, 500 and 503 and takes everything else
/// for success, so others stand only where no request of its can lead, or (413, 507) where a program that does
/// understand them has to be told apart what it can do about it.
pub(super) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid
        | Kind::TooMany
        | Kind::BadContent
        | Kind::DigestMismatch
        | Kind::Incomplete
        | Kind::Unsupported => StatusCode::BAD_REQUEST,
        Kind::AlreadyExists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Unauthenticated | Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Busy | Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a request that failed.
pub(super) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    render_with(request, error, |_| {})
}

/// The answer to a method that a path does not have, as the original gives it.
pub(super) fn no_method(_: &HttpRequest, allow: &str) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, allow)).finish()
}

/// The answer to a path that no protocol has.
pub(super) fn no_path(_: &HttpRequest) -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("application/json; charset=utf-8")
        .body(r#"{"code":404,"message":"Invalid operation or path."}"#)
}

/// The same, with more headers.
pub(super) fn render_with(
    request: &HttpRequest,
    error: &Error,
    headers: impl FnOnce(&mut HttpResponseBuilder),
) -> HttpResponse {
    report(request.extensions().get::<RequestId>(), error);
    let status = status(error.kind());
    let mut response = HttpResponse::build(status);
    headers(&mut response);
    if matches!(error.kind(), Kind::TooSlow | Kind::Incomplete) {
        // What is left of the body can't be told from the next request.
        response.force_close();
    }
    if error.kind() == Kind::DigestMismatch {
        // For whoever sent the bytes: to be sent again, and not to be asked for differently.
        response.insert_header((REASON, MISMATCH));
    }
    if error.kind() == Kind::Busy {
        response.insert_header(("Retry-After", "1"));
    }
    if request.method() == Method::HEAD {
        response.insert_header(("x-error-code", status.as_str().to_owned()));
        response.insert_header(("x-error-message", error.message().replace(|c: char| c.is_control(), " ")));
        return response.finish();
    }
    let fields = [
        ("code".into(), Field::Number(u64::from(status.as_u16()))),
        ("message".into(), Field::Text(error.message().to_owned())),
    ];
    respond(request, &mut response, None, &fields)
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
