//! Errors in LXD's form: an envelope whose `error_code` is the status.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::envelope::failed;
use crate::error::{Error, Kind};
use crate::http::observe::{RequestId, report};

/// What whoever is not trusted is told, whatever it asked for.
const NOT_AUTHORIZED: &str = "not authorized";

/// The status for each kind.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid
        | Kind::TooMany
        | Kind::MediaType
        | Kind::BadContent
        | Kind::DigestMismatch
        | Kind::Incomplete
        | Kind::Unsupported => StatusCode::BAD_REQUEST,
        Kind::AlreadyExists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Unauthenticated | Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Busy | Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The refusal of somebody who is not trusted.
pub fn not_authorized() -> Error {
    Error::new(Kind::Forbidden, NOT_AUTHORIZED)
}

/// The answer to a request that failed.
pub fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    report(request.extensions().get::<RequestId>(), error);
    let status = status(error.kind());
    let mut response = HttpResponse::build(status);
    match error.kind() {
        Kind::Busy => _ = response.insert_header((header::RETRY_AFTER, "1")),
        // What is left of the body can't be told from the next request.
        Kind::TooSlow | Kind::Incomplete => _ = response.force_close(),
        _ => {}
    }
    // The core's words for it speak of signatures and tokens, which this protocol does not have.
    let text = if error.kind() == Kind::Unauthenticated { NOT_AUTHORIZED } else { error.message() };
    failed(&mut response, status, text)
}

/// The answer to a path that is not served.
pub(super) fn no_path(_: &HttpRequest) -> HttpResponse {
    failed(&mut HttpResponse::NotFound(), StatusCode::NOT_FOUND, "not found")
}

/// The answer to a method that a path does not have, as LXD gives it.
pub(super) fn no_method(_: &HttpRequest, _: &str) -> HttpResponse {
    failed(&mut HttpResponse::NotImplemented(), StatusCode::NOT_IMPLEMENTED, "not implemented")
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn every_kind_is_a_failure() {
        for kind in Kind::ALL {
            assert!(status(kind).is_client_error() || status(kind).is_server_error(), "{kind:?}");
        }
    }

    #[actix_web::test]
    async fn errors_have_their_envelope() {
        let request = TestRequest::get().to_http_request();
        for (error, expected) in [
            (Error::new(Kind::NotFound, "Image not found"), r#""error":"Image not found","error_code":404"#),
            (Error::new(Kind::Unauthenticated, "No signature."), r#""error":"not authorized","error_code":403"#),
            (Error::new(Kind::Forbidden, "Not by that name."), r#""error":"Not by that name.","error_code":403"#),
        ] {
            let response = render(&request, &error);
            assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
            let text = to_bytes(response.into_body()).await.unwrap();
            let expected = format!(r#"{{"type":"error",{expected},"metadata":null}}"#);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }
}
