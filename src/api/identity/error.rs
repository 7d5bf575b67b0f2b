//! Errors in Keystone's form: `{"error":{"code":…,"message":…,"title":…}}`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::wire;
use crate::api::wording::{neutral_for_readers, neutral_outside_lxd};
use crate::error::{Error, Kind, Reason};
use crate::http::observe::report;
use crate::http::refusal::{Wording, begin, neutral_everywhere};

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
        Kind::Verification => StatusCode::BAD_GATEWAY,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        // Only repeated wrong keys are answered as busy here.
        Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
        Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reasons that Keystone words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | neutral_outside_lxd!() | neutral_for_readers!() | Reason::NotFound
        | Reason::PathNotFound | Reason::ImageNotFound | Reason::BadCredentials
    };
}

/// Keystone's own words for reasons, and statuses that differ from the status of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => {
            Wording::words("This path does not have that method; accounts are kept with 'visor account'.")
                .with(StatusCode::METHOD_NOT_ALLOWED)
        }
        R::Unauthenticated => Wording::words("This needs X-Auth-Token with a token that is valid."),
        neutral!() => Wording::NEUTRAL,
    }
}

/// The status and the words of an error.
pub(in crate::api) fn told(error: &Error) -> (StatusCode, String) {
    wording(error.reason()).told(error, status)
}

/// The answer to a request that failed.
pub(in crate::api) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    render_with(request, error, |_| {})
}

fn render_with(request: &HttpRequest, error: &Error, headers: impl FnOnce(&mut HttpResponseBuilder)) -> HttpResponse {
    report(request, error);
    let (status, words) = told(error);
    let mut response = begin(status, error);
    headers(&mut response);
    match error.kind() {
        Kind::Unauthenticated => {
            let challenge = format!("Keystone uri=\"{}\"", wire::identity_url(request));
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        Kind::Busy => _ = response.insert_header((header::RETRY_AFTER, "60")),
        _ => {}
    }
    body(&mut response, status, &words)
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}

/// The answer to a method that a path does not have.
pub(super) fn no_method(request: &HttpRequest, allow: &str) -> HttpResponse {
    render_with(request, &Reason::MethodNotAllowed.into(), |response| {
        response.insert_header((header::ALLOW, allow));
    })
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
