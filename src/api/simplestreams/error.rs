//! Errors as a line of text: this protocol defines no form of errors. Programs read the status, people the text.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};

use crate::error::{Error, Kind, Reason};
use crate::http::refusal::{Wording, begin};

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
        Kind::Upstream => StatusCode::BAD_GATEWAY,
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

/// Words for a reason that differ from the error's own, and a status if it differs from that of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::NotFound | R::ImageNotFound | R::PathNotFound => Wording::words("There is no such file."),
        R::MethodNotAllowed => Wording::NEUTRAL.with(StatusCode::METHOD_NOT_ALLOWED),
        R::Unauthenticated | R::BadCredentials => Wording::words("This needs the keys of an account."),
        R::ImageRemoved
        | R::AliasNotFound
        | R::InstanceNotFound
        | R::MemberNotFound
        | R::TagNotFound
        | R::FileMissing
        | R::BytesMissing
        | R::NotActive
        | R::SourceNotFound
        | R::UrlNotFound
        | R::UploadNotFound
        | R::AccountNotFound
        | R::CertificateNotFound
        | R::ProjectNotFound
        | R::ProfileNotFound
        | R::DefinitionNotFound
        | R::JobNotFound
        | R::JobEnded
        | R::JobNotStoppable
        | R::JobStopped
        | R::ServerStopped
        | R::TooManyWaiters
        | R::RemoteImageNotFound
        | R::NoUpdateSource
        | R::NothingMatches
        | R::InvalidValue
        | R::Malformed
        | R::NoSuchStore
        | R::MarkerNotFound
        | R::WrongCompanion
        | R::AmbiguousName
        | R::NoImageNamed
        | R::FormatNotSet
        | R::StoreTakesNoFiles
        | R::WrongStore
        | R::ChecksumOfUrl
        | R::UrlRefused
        | R::ImportUrlRefused
        | R::ServerRefused
        | R::InStoresAlready
        | R::Conflict
        | R::TakesNoData
        | R::TakesNoLocation
        | R::FormatFixed
        | R::StoreFixed
        | R::StoreNotThere
        | R::NoFile
        | R::Withheld
        | R::NothingToWithhold
        | R::NotCopyable
        | R::StaysUnderUrl
        | R::InStoreAlready
        | R::NotInStore
        | R::FileExists
        | R::FileChanged
        | R::NotImportable
        | R::NothingStaged
        | R::StagingIncomplete
        | R::UploadComplete
        | R::UploadOffset
        | R::UploadLength
        | R::UploadTakenOver
        | R::LastAdministrator
        | R::AccountOwnsImages
        | R::AmbiguousCertificate
        | R::AmbiguousRemoteName
        | R::ImageExists
        | R::IdRetired
        | R::AliasTaken
        | R::AliasExists
        | R::FingerprintTaken
        | R::MemberExists
        | R::AccountTaken
        | R::CertificateTrusted
        | R::DefinitionExists
        | R::ChangedMeanwhile
        | R::ConditionFailed
        | R::Forbidden
        | R::WrongHost
        | R::ForeignRequest
        | R::NotTrusted
        | R::NoScope
        | R::AdminOnly
        | R::NotOwner
        | R::MayNotPublish
        | R::OwnerFixed
        | R::ReadOnly
        | R::ImageProtected
        | R::NotShared
        | R::MayNotShare
        | R::MembersChoice
        | R::NoImportDirectory
        | R::OnlyCopy
        | R::DefinitionsProtected
        | R::BodyTooLarge
        | R::FileTooLarge
        | R::DefinitionsFull
        | R::TooMany
        | R::BadRange
        | R::WrongMediaType
        | R::BadContent
        | R::FormatMismatch
        | R::UnsafeImage
        | R::BadArchive
        | R::FileEmpty
        | R::FileTruncated
        | R::UnknownPacking
        | R::NoMetadata
        | R::BadMetadata
        | R::NoCreationDate
        | R::UnknownArchitecture
        | R::Mismatch
        | R::SourceMismatch
        | R::FingerprintMismatch
        | R::RemoteMismatch
        | R::BodyIncomplete
        | R::UploadIncomplete
        | R::TooSlow
        | R::StoreFull
        | R::DiskFull
        | R::Unsupported
        | R::ArchitectureUnsupported
        | R::StoreUnsupported
        | R::StoreReadOnly
        | R::Busy
        | R::Stopping
        | R::TooManyTries
        | R::TooManyUploads
        | R::TooManyOpenUploads
        | R::TooManyJobs
        | R::BeingCopied
        | R::UploadBusy
        | R::Upstream
        | R::HeaderMissing
        | R::ServerUnreachable
        | R::StoreUnavailable
        | R::Internal
        | R::ChangesStopped => Wording::NEUTRAL,
    }
}

/// The status and the words of an error.
pub(in crate::api) fn told(error: &Error) -> (StatusCode, String) {
    let wording = wording(error.reason());
    (wording.status.unwrap_or_else(|| status(error.kind())), wording.text(error))
}

/// Renders an error.
pub(in crate::api) fn render(_: &HttpRequest, error: &Error) -> HttpResponse {
    if error.kind() == Kind::Internal {
        log::error!("{error}: {}", error.causes());
    }
    let (status, words) = told(error);
    let mut response = begin(status, error);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"visor\""));
    }
    response.content_type("text/plain; charset=utf-8").body(format!("{words}\n"))
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}
