//! Failures that several waiters are told of.

use crate::error::{Error, Reason};
use crate::fetch::FetchError;

/// A failure that can be told more than once. Its cause is in the log.
#[derive(Debug, Clone)]
pub(super) struct Setback {
    pub(super) reason: Reason,
    pub(super) words: String,
    /// Name that can't be resolved, which the words do not say: only some callers may know.
    pub(super) unresolved: Option<String>,
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        let unresolved = match FetchError::of(&error) {
            Some(FetchError::Unresolved { host, .. }) => Some(host.clone()),
            _ => None,
        };
        Self { reason: error.reason(), words: error.message().to_owned(), unresolved }
    }
}

impl From<Setback> for Error {
    fn from(failure: Setback) -> Self {
        let error = failure.reason.saying(failure.words);
        match failure.unresolved {
            Some(host) => error.because(FetchError::Unresolved { host, why: "it was tried a moment ago".to_owned() }),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_so_for_all_that_wait() {
        let unknown = FetchError::Unresolved { host: "a.example".into(), why: "x".into() };
        let error = Error::from(Setback::from(unknown.of_url("https://a.example/x")).clone());
        assert!(FetchError::unresolved(&error).is_some() && !error.message().contains("resolved"), "{error}");
        let other = Error::from(Setback::from(FetchError::Refused.of_url("https://a.example/x")));
        assert_eq!(other.message(), error.message());
        assert!(FetchError::unresolved(&other).is_none());
    }
}
