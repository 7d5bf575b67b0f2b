//! Errors in Keystone's form: `{"error":{"code":…,"message":…,"title":…}}`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};

use super::wire;
use crate::error::{Error, Kind, Reason};
use crate::http::observe::{RequestId, report};
use crate::http::refusal::{Wording, begin};

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
        Reason::NotFound | Reason::PathNotFound | Reason::ImageNotFound | Reason::ImageRemoved
        | Reason::AliasNotFound | Reason::InstanceNotFound | Reason::MemberNotFound | Reason::TagNotFound
        | Reason::FileMissing | Reason::BytesMissing | Reason::NotActive | Reason::SourceNotFound
        | Reason::UrlNotFound | Reason::UploadNotFound | Reason::AccountNotFound | Reason::CertificateNotFound
        | Reason::ProjectNotFound | Reason::ProfileNotFound | Reason::DefinitionNotFound | Reason::JobNotFound
        | Reason::JobEnded | Reason::JobNotStoppable | Reason::JobStopped | Reason::Interrupted
        | Reason::TooManyWaiters | Reason::RemoteImageNotFound | Reason::NoUpdateSource | Reason::NothingMatches
        | Reason::InvalidValue | Reason::Malformed | Reason::NoSuchStore | Reason::MarkerNotFound
        | Reason::WrongCompanion | Reason::AmbiguousName | Reason::NoImageNamed | Reason::FormatNotSet
        | Reason::StoreTakesNoFiles | Reason::WrongStore | Reason::ChecksumOfUrl | Reason::UrlRefused
        | Reason::ImportUrlRefused | Reason::ServerRefused | Reason::InStoresAlready | Reason::Conflict
        | Reason::TakesNoData | Reason::TakesNoLocation | Reason::FormatFixed | Reason::StoreFixed
        | Reason::StoreNotThere | Reason::NoFile | Reason::Withheld | Reason::NothingToWithhold
        | Reason::NotCopyable | Reason::StaysUnderUrl | Reason::InStoreAlready | Reason::NotInStore
        | Reason::FileExists | Reason::FileChanged | Reason::NotImportable | Reason::NothingStaged
        | Reason::StagingIncomplete | Reason::UploadComplete | Reason::UploadOffset | Reason::UploadLength
        | Reason::UploadTakenOver | Reason::LastAdministrator | Reason::AccountOwnsImages
        | Reason::AmbiguousCertificate | Reason::AmbiguousRemoteName | Reason::ImageExists | Reason::IdRetired
        | Reason::AliasTaken | Reason::AliasExists | Reason::FingerprintTaken | Reason::MemberExists
        | Reason::AccountTaken | Reason::CertificateTrusted | Reason::DefinitionExists | Reason::ChangedMeanwhile
        | Reason::ConditionFailed | Reason::BadCredentials | Reason::Forbidden | Reason::WrongHost
        | Reason::ForeignRequest | Reason::NotTrusted | Reason::NoScope | Reason::AdminOnly | Reason::NotOwner
        | Reason::MayNotPublish | Reason::OwnerFixed | Reason::ReadOnly | Reason::ImageProtected
        | Reason::NotShared | Reason::MayNotShare | Reason::MembersChoice | Reason::NoImportDirectory
        | Reason::OnlyCopy | Reason::DefinitionsProtected | Reason::BodyTooLarge | Reason::FileTooLarge
        | Reason::DefinitionsFull | Reason::TooMany | Reason::BadRange | Reason::WrongMediaType
        | Reason::BadContent | Reason::FormatMismatch | Reason::UnsafeImage | Reason::BadArchive
        | Reason::FileEmpty | Reason::FileTruncated | Reason::UnknownPacking | Reason::NoMetadata
        | Reason::BadMetadata | Reason::NoCreationDate | Reason::UnknownArchitecture | Reason::Mismatch
        | Reason::SourceMismatch | Reason::FingerprintMismatch | Reason::RemoteMismatch | Reason::BodyIncomplete
        | Reason::UploadIncomplete | Reason::TooSlow | Reason::StoreFull | Reason::DiskFull | Reason::Unsupported
        | Reason::ArchitectureUnsupported | Reason::StoreUnsupported | Reason::StoreReadOnly | Reason::Busy
        | Reason::Stopping | Reason::TooManyTries | Reason::TooManyUploads | Reason::TooManyOpenUploads
        | Reason::TooManyJobs | Reason::BeingCopied | Reason::UploadBusy | Reason::Upstream | Reason::HeaderMissing
        | Reason::ServerUnreachable | Reason::StoreUnavailable | Reason::Internal | Reason::ChangesStopped
    };
}

/// Keystone's own words for reasons, and statuses that differ from the status of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
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
    let wording = wording(error.reason());
    (wording.status.unwrap_or_else(|| status(error.kind())), wording.text(error))
}

/// The answer to a request that failed.
pub(in crate::api) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    render_with(request, error, |_| {})
}

fn render_with(request: &HttpRequest, error: &Error, headers: impl FnOnce(&mut HttpResponseBuilder)) -> HttpResponse {
    report(request.extensions().get::<RequestId>(), error);
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
