//! Refusals in all protocols: the stable code in a header, and a protocol's wording of a reason. The words and statuses
//! are in each protocol's `error.rs`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
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
        crate::error::Reason::TagNotFound | crate::error::Reason::BytesMissing
        | crate::error::Reason::UrlNotFound | crate::error::Reason::DefinitionNotFound
        | crate::error::Reason::RemoteImageNotFound | crate::error::Reason::NothingMatches
        | crate::error::Reason::InvalidValue | crate::error::Reason::Malformed
        | crate::error::Reason::WrongStore | crate::error::Reason::ChecksumOfUrl
        | crate::error::Reason::UrlRefused | crate::error::Reason::Conflict | crate::error::Reason::FormatFixed
        | crate::error::Reason::StoreFixed | crate::error::Reason::NoFile | crate::error::Reason::StaysUnderUrl
        | crate::error::Reason::InStoreAlready | crate::error::Reason::NotInStore
        | crate::error::Reason::FileExists | crate::error::Reason::FileChanged
        | crate::error::Reason::StagingIncomplete | crate::error::Reason::UploadComplete
        | crate::error::Reason::JobStopped | crate::error::Reason::TooManyWaiters
        | crate::error::Reason::UploadOffset | crate::error::Reason::UploadLength
        | crate::error::Reason::UploadTakenOver | crate::error::Reason::LastAdministrator
        | crate::error::Reason::AccountOwnsImages | crate::error::Reason::AmbiguousRemoteName
        | crate::error::Reason::ImageExists | crate::error::Reason::IdRetired
        | crate::error::Reason::MemberExists | crate::error::Reason::DefinitionExists
        | crate::error::Reason::ChangedMeanwhile | crate::error::Reason::Forbidden
        | crate::error::Reason::WrongHost | crate::error::Reason::ForeignRequest | crate::error::Reason::NoScope
        | crate::error::Reason::ReadOnlyAccount | crate::error::Reason::TokensElsewhere
        | crate::error::Reason::IdentityUnavailable
        | crate::error::Reason::AdminOnly | crate::error::Reason::NotOwner | crate::error::Reason::MayNotPublish
        | crate::error::Reason::OwnerFixed | crate::error::Reason::ReadOnly
        | crate::error::Reason::ImageProtected | crate::error::Reason::NotShared
        | crate::error::Reason::MayNotShare | crate::error::Reason::MembersChoice
        | crate::error::Reason::NoImportDirectory | crate::error::Reason::OnlyCopy
        | crate::error::Reason::DefinitionsProtected | crate::error::Reason::BodyTooLarge
        | crate::error::Reason::FileTooLarge | crate::error::Reason::DefinitionsFull
        | crate::error::Reason::TooMany | crate::error::Reason::BadRange | crate::error::Reason::WrongMediaType
        | crate::error::Reason::BadContent | crate::error::Reason::BadArchive | crate::error::Reason::Mismatch
        | crate::error::Reason::BodyIncomplete | crate::error::Reason::UploadIncomplete
        | crate::error::Reason::TooSlow | crate::error::Reason::StoreFull | crate::error::Reason::DiskFull
        | crate::error::Reason::Unsupported | crate::error::Reason::StoreUnsupported
        | crate::error::Reason::StoreReadOnly | crate::error::Reason::Busy | crate::error::Reason::Stopping
        | crate::error::Reason::TooManyTries | crate::error::Reason::TooManyUploads
        | crate::error::Reason::TooManyOpenUploads | crate::error::Reason::TooManyJobs
        | crate::error::Reason::BeingCopied | crate::error::Reason::UploadBusy | crate::error::Reason::Upstream
        | crate::error::Reason::StoreUnavailable | crate::error::Reason::Internal
        | crate::error::Reason::ChangesStopped
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

    /// The words for an error.
    pub fn text(&self, error: &Error) -> String {
        match self.words {
            Words::Neutral => error.message().to_owned(),
            Words::As(words) => error.fill(words),
            Words::Made(make) => make(error),
        }
    }
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
