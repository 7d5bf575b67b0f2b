//! Refusals in all protocols: the stable code in a header, and a protocol's wording of a reason. The words and statuses
//! are in each protocol's `error.rs`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::deliver::unsatisfiable;
use crate::error::{Error, Kind, Reason};

/// The header of the reason's code, in every refusal.
pub const CODE: HeaderName = HeaderName::from_static("x-visor-error");

/// Reasons that every protocol words as the core does. A protocol names the others in its own match, so that a new reason is
/// a compile error in each until it stands here or there.
#[rustfmt::skip]
macro_rules! neutral_everywhere {
    () => {
        Reason::TagNotFound | Reason::VendorNotFound | Reason::BuildNotFound | Reason::BytesMissing
        | Reason::ImageIncomplete | Reason::UrlNotFound | Reason::DefinitionNotFound | Reason::RemoteImageNotFound | Reason::NothingMatches | Reason::InvalidValue
        | Reason::Malformed | Reason::WrongStore | Reason::ChecksumOfUrl | Reason::UrlRefused | Reason::Conflict
        | Reason::FormatFixed | Reason::StoreFixed | Reason::NoFile | Reason::StaysUnderUrl | Reason::InStoreAlready
        | Reason::NotInStore | Reason::FileExists | Reason::FileChanged | Reason::StagingIncomplete
        | Reason::UploadComplete | Reason::JobStopped | Reason::TooManyWaiters | Reason::UploadOffset
        | Reason::UploadLength | Reason::PartIncomplete | Reason::UploadTakenOver | Reason::LastAdministrator
        | Reason::AccountOwnsImages | Reason::AmbiguousRemoteName | Reason::ImageExists | Reason::IdRetired
        | Reason::MemberExists | Reason::DefinitionExists | Reason::ChangedMeanwhile | Reason::Forbidden
        | Reason::WrongHost | Reason::ForeignRequest | Reason::NoScope | Reason::ReadOnlyAccount
        | Reason::TokensElsewhere | Reason::IdentityUnavailable | Reason::AdminOnly | Reason::NotOwner
        | Reason::MayNotPublish | Reason::OwnerFixed | Reason::ReadOnly | Reason::ImageProtected | Reason::NotShared
        | Reason::MayNotShare | Reason::MembersChoice | Reason::NoImportDirectory | Reason::OnlyCopy
        | Reason::DefinitionsProtected | Reason::BodyTooLarge | Reason::FileTooLarge | Reason::DefinitionsFull
        | Reason::TooMany | Reason::BadRange | Reason::WrongMediaType | Reason::BadContent | Reason::BadArchive
        | Reason::Mismatch | Reason::VendorMismatch | Reason::GivenMismatch | Reason::SumsRefused
        | Reason::PlaceRefused | Reason::SignatureMissing | Reason::SignatureRefused | Reason::KeyMissing | Reason::WeakerThanRequired | Reason::WeakerThanBefore
        | Reason::RolledBack | Reason::BodyIncomplete | Reason::UploadIncomplete | Reason::TooSlow | Reason::StoreFull
        | Reason::DiskFull | Reason::Unsupported | Reason::StoreUnsupported | Reason::StoreReadOnly | Reason::Busy
        | Reason::Stopping | Reason::TooManyTries | Reason::TooManyUploads | Reason::TooManyOpenUploads
        | Reason::TooManyJobs | Reason::BeingCopied | Reason::UploadBusy | Reason::Upstream
        | Reason::StoreUnavailable | Reason::Internal | Reason::ChangesStopped | Reason::LinkNotFound
        | Reason::LinkRefused
    };
}
pub(crate) use neutral_everywhere;

/// A protocol's words for a reason.
#[derive(Debug, Clone, Copy)]
pub enum Words {
    /// The error's own words.
    Neutral,
    /// Other words, with the error's subjects in place of `{}`.
    As(&'static str),
    /// Other words, computed from the error.
    Made(fn(&Error) -> String),
}

/// A protocol's wording of a reason.
#[derive(Debug, Clone, Copy)]
pub struct Wording {
    /// A status that differs from that of the reason's kind.
    pub status: Option<StatusCode>,
    /// The words.
    pub words: Words,
}

impl Wording {
    /// The error's own words, and the status of its kind.
    pub const NEUTRAL: Self = Self { status: None, words: Words::Neutral };

    /// The protocol's own words.
    pub const fn words(words: &'static str) -> Self {
        Self { words: Words::As(words), ..Self::NEUTRAL }
    }

    /// Adds a status to the wording.
    pub const fn with(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The status and the words of an error. `status` is the protocol's for each kind.
    pub fn told(&self, error: &Error, status: impl Fn(Kind) -> StatusCode) -> (StatusCode, String) {
        (self.status.unwrap_or_else(|| status(error.kind())), self.text(error))
    }

    /// The words for an error.
    pub fn text(&self, error: &Error) -> String {
        match self.words {
            Words::Neutral => error.message().to_owned(),
            Words::As(words) => error.fill(words),
            Words::Made(make) => make(error),
        }
    }
}

/// Begins the answer to an error in a protocol of plain HTTP: a client without an account is told how to show its keys.
pub fn begin_plain(status: StatusCode, error: &Error) -> HttpResponseBuilder {
    let mut response = begin(status, error);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((WWW_AUTHENTICATE, "Basic realm=\"visor\""));
    }
    response
}

/// Begins the answer to an error: its code, and the effects of its kind on a connection or a range.
pub fn begin(status: StatusCode, error: &Error) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    put_code(&mut response, error.reason());
    match error.kind() {
        // The rest of the body can't be told from the next request.
        Kind::TooSlow | Kind::Incomplete => _ = response.force_close(),
        Kind::BadRange => {
            if let Some(size) = error.subject(0).and_then(|size| size.parse().ok()) {
                response.insert_header(unsatisfiable(size));
            }
        }
        _ => {}
    }
    response
}

/// The answer to a request of which not even the path is known, and so no protocol.
pub(super) fn plain(error: &Error) -> HttpResponse {
    let status = match error.reason() {
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::TooSlow => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    };
    begin(status, error).content_type("text/plain; charset=utf-8").body(format!("{}\n", error.message()))
}

/// Adds the code of a reason to an answer.
pub fn put_code(response: &mut HttpResponseBuilder, reason: Reason) {
    response.insert_header((CODE, HeaderValue::from_static(reason.code())));
}

/// The reason of an answer that the framework made, as far as its status shows it.
pub fn of_status(status: StatusCode) -> Option<Reason> {
    match status {
        StatusCode::NOT_FOUND => Some(Reason::PathNotFound),
        StatusCode::METHOD_NOT_ALLOWED => Some(Reason::MethodNotAllowed),
        StatusCode::REQUEST_TIMEOUT => Some(Reason::TooSlow),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Reason::BodyTooLarge),
        status if status.is_client_error() => Some(Reason::Malformed),
        status if status.is_server_error() => Some(Reason::Internal),
        _ => None,
    }
}
