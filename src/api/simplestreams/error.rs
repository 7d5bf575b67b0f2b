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

/// Reasons that simplestreams words as the core does. Each is named, so that a new reason is a compile error here.
#[rustfmt::skip]
macro_rules! neutral {
    () => {
        Reason::ImageRemoved | Reason::AliasNotFound | Reason::InstanceNotFound | Reason::MemberNotFound
        | Reason::TagNotFound | Reason::FileMissing | Reason::BytesMissing | Reason::NotActive
        | Reason::SourceNotFound | Reason::UrlNotFound | Reason::UploadNotFound | Reason::AccountNotFound
        | Reason::CertificateNotFound | Reason::ProjectNotFound | Reason::ProfileNotFound
        | Reason::DefinitionNotFound | Reason::JobNotFound | Reason::JobEnded | Reason::JobNotStoppable
        | Reason::JobStopped | Reason::Interrupted | Reason::TooManyWaiters | Reason::RemoteImageNotFound
        | Reason::NoUpdateSource | Reason::NothingMatches | Reason::InvalidValue | Reason::Malformed
        | Reason::NoSuchStore | Reason::MarkerNotFound | Reason::WrongCompanion | Reason::AmbiguousName
        | Reason::NoImageNamed | Reason::FormatNotSet | Reason::StoreTakesNoFiles | Reason::WrongStore
        | Reason::ChecksumOfUrl | Reason::UrlRefused | Reason::ImportUrlRefused | Reason::ServerRefused
        | Reason::InStoresAlready | Reason::Conflict | Reason::TakesNoData | Reason::TakesNoLocation
        | Reason::FormatFixed | Reason::StoreFixed | Reason::StoreNotThere | Reason::NoFile | Reason::Withheld
        | Reason::NothingToWithhold | Reason::NotCopyable | Reason::StaysUnderUrl | Reason::InStoreAlready
        | Reason::NotInStore | Reason::FileExists | Reason::FileChanged | Reason::NotImportable
        | Reason::NothingStaged | Reason::StagingIncomplete | Reason::UploadComplete | Reason::UploadOffset
        | Reason::UploadLength | Reason::UploadTakenOver | Reason::LastAdministrator | Reason::AccountOwnsImages
        | Reason::AmbiguousCertificate | Reason::AmbiguousRemoteName | Reason::ImageExists | Reason::IdRetired
        | Reason::AliasTaken | Reason::AliasExists | Reason::FingerprintTaken | Reason::MemberExists
        | Reason::AccountTaken | Reason::CertificateTrusted | Reason::DefinitionExists | Reason::ChangedMeanwhile
        | Reason::ConditionFailed | Reason::Forbidden | Reason::WrongHost | Reason::ForeignRequest
        | Reason::NotTrusted | Reason::NoScope | Reason::AdminOnly | Reason::NotOwner | Reason::MayNotPublish
        | Reason::OwnerFixed | Reason::ReadOnly | Reason::ImageProtected | Reason::NotShared | Reason::MayNotShare
        | Reason::MembersChoice | Reason::NoImportDirectory | Reason::OnlyCopy | Reason::DefinitionsProtected
        | Reason::BodyTooLarge | Reason::FileTooLarge | Reason::DefinitionsFull | Reason::TooMany
        | Reason::BadRange | Reason::WrongMediaType | Reason::BadContent | Reason::FormatMismatch
        | Reason::UnsafeImage | Reason::BadArchive | Reason::FileEmpty | Reason::FileTruncated
        | Reason::UnknownPacking | Reason::NoMetadata | Reason::BadMetadata | Reason::NoCreationDate
        | Reason::UnknownArchitecture | Reason::Mismatch | Reason::SourceMismatch | Reason::FingerprintMismatch
        | Reason::RemoteMismatch | Reason::BodyIncomplete | Reason::UploadIncomplete | Reason::TooSlow
        | Reason::StoreFull | Reason::DiskFull | Reason::Unsupported | Reason::ArchitectureUnsupported
        | Reason::StoreUnsupported | Reason::StoreReadOnly | Reason::Busy | Reason::Stopping | Reason::TooManyTries
        | Reason::TooManyUploads | Reason::TooManyOpenUploads | Reason::TooManyJobs | Reason::BeingCopied
        | Reason::UploadBusy | Reason::Upstream | Reason::HeaderMissing | Reason::ServerUnreachable
        | Reason::StoreUnavailable | Reason::Internal | Reason::ChangesStopped
    };
}

/// Words for a reason that differ from the error's own, and a status if it differs from that of the kind.
pub(in crate::api) fn wording(reason: Reason) -> Wording {
    use Reason as R;
    match reason {
        R::NotFound | R::ImageNotFound | R::PathNotFound => Wording::words("There is no such file."),
        R::MethodNotAllowed => Wording::NEUTRAL.with(StatusCode::METHOD_NOT_ALLOWED),
        R::Unauthenticated | R::BadCredentials => Wording::words("This needs the keys of an account."),
        neutral!() => Wording::NEUTRAL,
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
