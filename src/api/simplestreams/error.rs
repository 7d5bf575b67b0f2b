//! Errors as a line of text: this protocol defines no form of errors. Programs read the status, people the text.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use crate::api::wording::{neutral_for_readers, neutral_outside_lxd};
use crate::error::{Error, Kind, Reason};
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
        Kind::Upstream | Kind::Verification => StatusCode::BAD_GATEWAY,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Invalid
        | Kind::TooLarge
        | Kind::TooMany
        | Kind::MediaType
        | Kind::BadContent
        | Kind::Unsupported
        | Kind::DigestMismatch
        | Kind::Incomplete
        | Kind::TooSlow => StatusCode::BAD_REQUEST,
    }
}

/// Reasons that simplestreams words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | neutral_outside_lxd!() | neutral_for_readers!()
    };
}

/// Words for a reason that differ from the error's own, and a status if it differs from that of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::NotFound | R::ImageNotFound | R::PathNotFound => Wording::words("There is no such file."),
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => Wording::NEUTRAL.with(StatusCode::METHOD_NOT_ALLOWED),
        R::Unauthenticated | R::BadCredentials => Wording::words(
            "This needs the keys of an account. Without them, public images are read only if auth.public_read is set.",
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
    response.content_type("text/plain; charset=utf-8").body(format!("{words}\n"))
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}
