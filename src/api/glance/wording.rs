//! Glance's statuses of all kinds and words for all reasons, in both of its versions.

use actix_web::http::StatusCode;

use crate::api::wording::neutral_outside_lxd;
use crate::error::{Error, Kind, Reason};
use crate::http::refusal::{Wording, Words, neutral_everywhere};

/// Glance's status of a kind.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid | Kind::DigestMismatch | Kind::Incomplete | Kind::Unsupported => StatusCode::BAD_REQUEST,
        Kind::AlreadyExists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        // Glance answers 413 for a full store too; its clients know no other status for it.
        Kind::TooLarge | Kind::TooMany | Kind::StoreFull => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::MediaType | Kind::BadContent => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::Verification => StatusCode::BAD_GATEWAY,
        Kind::Busy | Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Version of the API in a request. The two versions word some reasons differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum ApiVersion {
    /// Version 1.
    V1,
    /// Version 2, and requests without a version.
    V2,
}

/// A version's own words for a reason, and its status if that differs from the kind's.
pub(in crate::api) fn wording(version: ApiVersion, reason: Reason) -> Wording {
    match version {
        ApiVersion::V1 => wording_v1(reason),
        ApiVersion::V2 => wording_v2(reason),
    }
}

/// Wording of version 1 where it differs from that of version 2, which has a match over all reasons.
fn wording_v1(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::ImageNotFound => Wording::words("Image with identifier {} not found"),
        R::ImageRemoved => Wording::words("Image with identifier {} not found").with(StatusCode::PRECONDITION_FAILED),
        R::NotActive => Wording::words("Image is not active"),
        R::MemberNotFound => Wording::words("Membership could not be found."),
        R::TakesNoData => Wording::words("Cannot upload to an unqueued image"),
        R::TakesNoLocation => Wording::words("Attempted to update Location field for an image not in queued status.")
            .with(StatusCode::BAD_REQUEST),
        R::SourceMismatch => Wording::NEUTRAL.with(StatusCode::CONFLICT),
        R::FormatNotSet | R::NotImportable => Wording::NEUTRAL,
        other => wording_v2(other),
    }
}

/// Reasons that Glance words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | neutral_outside_lxd!() | Reason::NotFound | Reason::FileMissing | Reason::NotActive
        | Reason::SourceNotFound | Reason::UploadNotFound | Reason::AccountNotFound | Reason::WrongCompanion
        | Reason::StoreTakesNoFiles | Reason::AccountTaken | Reason::BadCredentials | Reason::SourceMismatch
    };
}

fn wording_v2(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::ImageNotFound => Wording::words("No image found with id '{}'."),
        R::ImageRemoved => Wording::words("No image found with id '{}'.").with(StatusCode::GONE),
        R::MemberNotFound => Wording::words("{} not found in the member list of the image"),
        R::TakesNoData => Wording { words: Words::Made(takes_no_data), ..Wording::NEUTRAL },
        R::TakesNoLocation => Wording { words: Words::Made(takes_no_location), ..Wording::NEUTRAL },
        R::FormatNotSet => Wording::words("Properties disk_format, container_format must be set prior to saving data."),
        R::NotImportable => Wording::words("Properties disk_format, container_format must be set before an import."),
        R::PathNotFound => Wording::words("The resource could not be found."),
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => {
            Wording::words("The method is not allowed for this resource.").with(StatusCode::METHOD_NOT_ALLOWED)
        }
        R::JobNotFound => Wording::words("No task found with ID {}"),
        R::MarkerNotFound => Wording::words("Marker image {} not found."),
        R::NoSuchStore | R::StoreNotThere => Wording::words("Requested store {} is not available on this server."),
        R::ImportUrlRefused => Wording::words("URI for web-download does not pass filtering: {}: {}"),
        R::InStoresAlready => Wording::words("Image is already present at these stores."),
        R::NotCopyable => Wording::words("Only images with status active can be copied."),
        R::Withheld => Wording::words("The requested image has been deactivated. Image data download is forbidden.")
            .with(StatusCode::FORBIDDEN),
        R::NothingToWithhold => Wording::NEUTRAL.with(StatusCode::FORBIDDEN),
        R::NothingStaged => Wording::words("Nothing is staged for this image; put its data to /stage first."),
        R::FormatMismatch => Wording::words("Image disk_format {} does not match stream data {}"),
        R::UnsafeImage => Wording::words("Image failed safety checks: {}"),
        R::Unauthenticated => Wording::words("This request needs a valid token in X-Auth-Token."),

        neutral!() => Wording::NEUTRAL,
    }
}

/// Glance's word for the current status of the image that an error is about.
fn status_now(error: &Error) -> &str {
    match error.subject(0) {
        Some("available") => "active",
        other => other.unwrap_or("this"),
    }
}

/// Refuses data.
fn takes_no_data(error: &Error) -> String {
    format!("Image status transition from {} to saving is not allowed.", status_now(error))
}

/// Refuses a URL.
fn takes_no_location(error: &Error) -> String {
    format!("It's not allowed to add locations if image status is {}.", status_now(error))
}

/// The status and the words of an error.
pub(in crate::api) fn told(version: ApiVersion, error: &Error) -> (StatusCode, String) {
    wording(version, error.reason()).told(error, status)
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
