//! Errors as a line of text, or as JSON for clients that ask for it. The statuses are those of a gateway: what another server did
//! wrong is no fault of the client's.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};

use crate::api::wording::{neutral_for_readers, neutral_outside_lxd};
use crate::error::{Error, Kind, Reason};
use crate::http::headers::{is_type, text};
use crate::http::observe::report;
use crate::http::refusal::{Wording, begin_plain, neutral_everywhere};

/// The status for each kind.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::Conflict | Kind::AlreadyExists => StatusCode::CONFLICT,
        Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Upstream | Kind::Verification | Kind::DigestMismatch | Kind::BadContent => StatusCode::BAD_GATEWAY,
        Kind::StoreFull | Kind::TooLarge => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Invalid | Kind::TooMany | Kind::MediaType | Kind::Incomplete | Kind::TooSlow => StatusCode::BAD_REQUEST,
    }
}

/// Reasons that the door words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | neutral_outside_lxd!() | neutral_for_readers!() | Reason::NotFound
        | Reason::ImageNotFound | Reason::PathNotFound
    };
}

/// Words for a reason that differ from the error's own, and a status if it differs from that of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    #[expect(unreachable_patterns, reason = "the lists of neutral ones have these too")]
    match reason {
        R::UrlRefused | R::ServerRefused => Wording::NEUTRAL.with(StatusCode::FORBIDDEN),
        R::Offline | R::NotCached | R::UpstreamDead => Wording::NEUTRAL.with(StatusCode::GATEWAY_TIMEOUT),
        R::CacheLoop => Wording::NEUTRAL.with(StatusCode::LOOP_DETECTED),
        R::BadRange => Wording::words("The range lies outside the file."),
        R::ConditionFailed => Wording::words("The file does not meet the condition of the request."),
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => Wording::NEUTRAL.with(StatusCode::METHOD_NOT_ALLOWED),
        R::Unauthenticated | R::BadCredentials => Wording::words(
            "Clients of other machines need the keys of an account, unless cache.public opens the cache to all of them.",
        ),
        neutral!() => Wording::NEUTRAL,
    }
}

/// The status and the words of an error.
pub(in crate::api) fn told(error: &Error) -> (StatusCode, String) {
    wording(error.reason()).told(error, status)
}

/// Renders an error.
pub(in crate::api) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    report(request, error);
    let (status, words) = told(error);
    let mut response = begin_plain(status, error);
    let accepted = text(request.headers(), header::ACCEPT).unwrap_or_default();
    if accepted.split(',').any(|one| is_type(one, "application/json")) {
        let body = serde_json::json!({ "error": { "code": error.reason().code(), "message": words } });
        return response.content_type("application/json").body(body.to_string());
    }
    response.content_type("text/plain; charset=utf-8").body(format!("{words}\n"))
}

/// The answer to a method that a path lacks.
pub(super) fn no_method(request: &HttpRequest, allow: &str) -> HttpResponse {
    let mut response = render(request, &Reason::MethodNotAllowed.into());
    if let Ok(allow) = header::HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}
