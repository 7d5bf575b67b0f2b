//! Failures that several waiters are told of.

use crate::error::{Error, Reason};

/// A failure that can be told more than once. Its cause is in the log.
#[derive(Debug, Clone)]
pub(super) struct Setback {
    pub(super) reason: Reason,
    pub(super) words: String,
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Self { reason: error.reason(), words: error.message().to_owned() }
    }
}

impl From<Setback> for Error {
    fn from(failure: Setback) -> Self {
        failure.reason.saying(failure.words)
    }
}
