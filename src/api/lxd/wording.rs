//! LXD's words and statuses for every kind and reason: for answers, and for operations that failed.

use actix_web::http::StatusCode;

use crate::error::{Error, Kind, Reason};
use crate::http::refusal::{Wording, neutral_everywhere};

/// The answer to each request of a client that is not trusted.
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
        Kind::Verification => StatusCode::BAD_GATEWAY,
        Kind::Busy | Kind::Upstream => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reasons that LXD words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        neutral_everywhere!() | Reason::NotFound | Reason::MemberNotFound | Reason::FileMissing | Reason::NotActive
        | Reason::SourceNotFound | Reason::UploadNotFound | Reason::AccountNotFound | Reason::NoSuchStore
        | Reason::MarkerNotFound | Reason::WrongCompanion | Reason::FormatNotSet | Reason::StoreTakesNoFiles
        | Reason::ImportUrlRefused | Reason::InStoresAlready | Reason::TakesNoData | Reason::TakesNoLocation
        | Reason::StoreNotThere | Reason::Withheld | Reason::NothingToWithhold | Reason::NotCopyable
        | Reason::NotImportable | Reason::NothingStaged | Reason::AccountTaken | Reason::FormatMismatch
        | Reason::UnsafeImage | Reason::SourceMismatch | Reason::Offline | Reason::NotCached
        | Reason::UpstreamDead | Reason::UpstreamChanged | Reason::CacheLoop | Reason::HostNotServed
    };
}

/// LXD's own words for reasons, and statuses that differ from the status of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::ImageNotFound | R::ImageRemoved => Wording::words("Image not found"),
        R::AliasNotFound => Wording::words("Image alias not found"),
        R::InstanceNotFound => Wording::words("Instance not found"),
        R::JobNotFound => Wording::words("Operation not found"),
        R::Interrupted => Wording::words("The server stopped before this was done."),
        R::JobNotStoppable => Wording::words("This operation can't be cancelled").with(StatusCode::BAD_REQUEST),
        R::JobEnded => Wording::words("Only running operations can be cancelled").with(StatusCode::BAD_REQUEST),
        R::CertificateNotFound => Wording::words("Certificate not found"),
        R::ProjectNotFound => Wording::words("Project not found"),
        R::ProfileNotFound => Wording::words("Profile not found"),
        R::NoUpdateSource => Wording::words("Image source not found"),
        R::PathNotFound => Wording::words("not found"),
        R::HeadersTooLarge => Wording::NEUTRAL.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        R::MethodNotAllowed => Wording::words("not implemented").with(StatusCode::NOT_IMPLEMENTED),
        R::AmbiguousName => Wording::words("More than one image matches"),
        R::AmbiguousCertificate => Wording::words("More than one certificate matches"),
        R::NoImageNamed => Wording::words("must specify one of alias or fingerprint for init from image"),
        R::ServerRefused => Wording::words("Unable to connect to: {}: {}"),
        R::ServerUnreachable => Wording::words("Unable to connect to: {}"),
        R::HeaderMissing => Wording::words("Missing {} header"),
        R::RemoteMismatch => Wording::words("Hash mismatch for \"{}\": {} != {}"),
        R::FingerprintMismatch => Wording::words("fingerprints don't match, got {} expected {}"),
        R::AliasTaken => Wording::words("Alias already exists: {}"),
        R::AliasExists => Wording::words("Alias \"{}\" already exists"),
        R::FingerprintTaken => Wording::words("Image with same fingerprint already exists"),
        R::CertificateTrusted => Wording::words("Certificate already in trust store"),
        R::CertificateExpired => Wording::words("The provided certificate is expired"),
        R::CertificateNotYetValid => Wording::words("The provided certificate isn't valid yet"),
        R::CertificateFixed => Wording::words("Only the certificate can be changed"),
        R::FileEmpty => Wording::words("EOF"),
        R::FileTruncated => Wording::words("unexpected EOF"),
        R::UnknownPacking => Wording::words("Unsupported compression"),
        R::NoMetadata => Wording::words("Metadata tarball is missing metadata.yaml"),
        R::BadMetadata => Wording::words("Could not parse metadata.yaml: {}"),
        R::UnknownArchitecture | R::ArchitectureUnsupported => Wording::words("Architecture isn't supported: {}"),
        R::NoCreationDate => Wording::words("Missing creation date"),
        R::ConditionFailed => Wording::NEUTRAL,
        R::Unauthenticated | R::BadCredentials | R::NotTrusted => Wording::words(NOT_AUTHORIZED),
        // No image is named: a stranger learns nothing about any.
        R::AnonymousRead => Wording::words(
            "not authorized: without a trusted certificate, public images are read only if auth.public_read is set",
        ),
        neutral!() => Wording::NEUTRAL,
    }
}

/// The status and the words of an error: for an answer, and for an operation that failed.
pub(in crate::api) fn told(error: &Error) -> (StatusCode, String) {
    wording(error.reason()).told(error, status)
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
