//! Errors in VISOR's form: `{"code": …, "message": …}` or its XML; in headers for HEAD.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::wire::{Field, respond};
use crate::api::wording::neutral_outside_lxd;
use crate::error::{Error, Kind, Reason};
use crate::http::observe::report;
use crate::http::refusal::{Wording, begin, neutral_everywhere};

/// The status for each kind. The original's client knows 400, 403, 404, 409, 500 and 503 and takes all others for
/// success. The others are used only where none of its requests leads, and (413, 507) where other clients need the
/// distinction.
fn status(kind: Kind) -> StatusCode {
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
        Kind::Verification => StatusCode::BAD_GATEWAY,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Busy | Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reasons that VISOR words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | neutral_outside_lxd!() | Reason::NotFound | Reason::MemberNotFound
        | Reason::NotActive | Reason::FormatNotSet | Reason::ImportUrlRefused | Reason::InStoresAlready
        | Reason::StoreNotThere | Reason::Withheld | Reason::NothingToWithhold | Reason::NotCopyable
        | Reason::NotImportable | Reason::NothingStaged | Reason::BadCredentials | Reason::SourceMismatch
    };
}

/// The original's words for a reason, if it has any, and a status if it differs from that of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::ImageNotFound | R::ImageRemoved => Wording::words("No image found with id '{}'."),
        R::FileMissing => Wording::words("No image file found for id '{}'."),
        R::SourceNotFound => Wording::words("No image file found at {}"),
        R::UploadNotFound => Wording::words("No upload found with id '{}'."),
        R::AccountNotFound => Wording::words("No user found with access_key '{}'."),
        R::AccountTaken => Wording::words("The access_key '{}' was already taken."),
        R::PathNotFound => Wording::words("Invalid operation or path."),
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => Wording::NEUTRAL.with(StatusCode::METHOD_NOT_ALLOWED),
        R::JobNotFound => Wording::words("No job found with id '{}'."),
        R::MarkerNotFound => Wording::words("There is no image '{}' to begin after."),
        R::NoSuchStore => Wording::words("Invalid store '{}', available options: {}"),
        R::WrongCompanion => Wording::words("The image with id {} is not a {} image."),
        R::StoreTakesNoFiles => Wording::words("Cannot post an image file to a HTTP backend"),
        R::TakesNoData | R::TakesNoLocation => Wording::words("Can only assign image file to a locked or error image"),
        R::FormatMismatch => Wording::words("Image disk_format {} does not match stream data {}"),
        R::UnsafeImage => Wording::words("Image failed safety checks: {}"),
        R::Unauthenticated => Wording::words("Authorization not provided."),
        neutral!() => Wording::NEUTRAL,
    }
}

/// The status and the words of an error.
pub(in crate::api) fn told(error: &Error) -> (StatusCode, String) {
    wording(error.reason()).told(error, status)
}

/// Renders an error.
pub(in crate::api) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    render_with(request, error, |_| {})
}

/// Renders an error with more headers.
pub(super) fn render_with(
    request: &HttpRequest,
    error: &Error,
    headers: impl FnOnce(&mut HttpResponseBuilder),
) -> HttpResponse {
    report(request, error);
    let (status, words) = told(error);
    let mut response = begin(status, error);
    headers(&mut response);
    if error.kind() == Kind::Busy {
        response.insert_header(("Retry-After", "1"));
    }
    if request.method() == Method::HEAD {
        response.insert_header(("x-error-code", status.as_str().to_owned()));
        response.insert_header(("x-error-message", words.replace(|c: char| c.is_control(), " ")));
        return response.finish();
    }
    let fields = [("code".into(), Field::Number(u64::from(status.as_u16()))), ("message".into(), Field::Text(words))];
    respond(request, &mut response, None, &fields)
}

/// The answer to a method that a path lacks. It has no body, as the original's.
pub(super) fn no_method(_: &HttpRequest, allow: &str) -> HttpResponse {
    let error = Reason::MethodNotAllowed.into();
    begin(told(&error).0, &error).insert_header((header::ALLOW, allow)).finish()
}

/// The answer to a path that no protocol has. It is always JSON, as the original's.
pub(super) fn no_path(_: &HttpRequest) -> HttpResponse {
    let error = Reason::PathNotFound.into();
    let (status, words) = told(&error);
    let body = serde_json::json!({ "code": status.as_u16(), "message": words });
    begin(status, &error).content_type("application/json; charset=utf-8").body(body.to_string())
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
