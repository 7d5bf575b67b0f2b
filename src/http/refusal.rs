//! Refusals as all protocols answer them: the stable code in a header, and how a protocol words a reason. Which words and
//! statuses those are, each protocol says in its own `error.rs`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::deliver::unsatisfiable;
use crate::error::{Error, Kind, Reason};

/// The header of the reason's code, in every answer that refuses something.
pub const CODE: HeaderName = HeaderName::from_static("x-visor-error");

/// Words of a protocol for a reason.
#[derive(Debug, Clone, Copy)]
pub enum Words {
    /// The error's own.
    Neutral,
    /// Others, with the error's subjects in the places of `{}`.
    As(&'static str),
    /// Others, made of the error.
    Made(fn(&Error) -> String),
}

/// A protocol's way to tell a reason.
#[derive(Debug, Clone, Copy)]
pub struct Wording {
    /// A status other than that of the reason's kind.
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

    /// The wording with a status of its own.
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

/// The head of an answer to an error: its code, and what follows from its kind for a connection or a range.
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

/// Puts the code of a reason into an answer.
pub fn put_code(response: &mut HttpResponseBuilder, reason: Reason) {
    response.insert_header((CODE, HeaderValue::from_static(reason.code())));
}

/// The reason of an answer that the framework made itself, as far as its status tells it.
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
