//! What can go wrong with a fetch.

use reqwest::Url;

use crate::error::{Error, Kind};

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL may not be fetched, or its host has no address. One variant and one text for every reason: whoever
    /// asked must not learn which internal names and addresses exist. The log has the reason.
    #[error("the URL is not one that this server fetches")]
    Refused,
    /// The other server answered that there is no such thing, or nothing for us.
    #[error("there is nothing under the URL")]
    NotFound,
    /// The range is empty, or the other server says that it lies beyond the end.
    #[error("the range lies outside what is under the URL")]
    BadRange,
    /// The other server took too long, to connect or between two pieces.
    #[error("the other server is too slow: {0}")]
    TimedOut(String),
    /// The body had fewer bytes, or more, than were announced.
    #[error("the body has not the length that was announced: {0}")]
    WrongLength(String),
    /// The other server did something else that we can't use. The text is for the log.
    #[error("the other server does not answer as it should: {0}")]
    Upstream(String),
}

impl FetchError {
    /// What the client library reports about a request to `url`.
    pub(super) fn from_client(error: reqwest::Error, url: &Url) -> Self {
        let error = error.without_url();
        if caused_by::<Refusal>(&error) {
            return Self::Refused;
        }
        let text = format!("{}: {}", redacted(url), chain(&error));
        if error.is_timeout() { Self::TimedOut(text) } else { Self::Upstream(text) }
    }

    /// The same for an error in mid-body. There, whatever ends the connection ends the body early.
    pub(super) fn from_body(error: reqwest::Error, url: &Url) -> Self {
        match Self::from_client(error, url) {
            Self::Upstream(text) => Self::WrongLength(text),
            other => other,
        }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        let (kind, message) = match &error {
            FetchError::Refused => (
                Kind::Invalid,
                "This URL is not fetched: its host is not known, or it is not one that this server may reach.",
            ),
            FetchError::NotFound => (Kind::NotFound, "There is nothing under this URL."),
            FetchError::BadRange => (Kind::BadRange, "The range lies outside the image."),
            FetchError::TimedOut(_) => (Kind::Upstream, "The server of this URL takes too long to answer."),
            FetchError::WrongLength(_) => {
                (Kind::Upstream, "The server of this URL sent more or less than it announced.")
            }
            FetchError::Upstream(_) => (Kind::Upstream, "The server of this URL does not answer as it should."),
        };
        Error::new(kind, message).because(error)
    }
}

/// An address that must not be connected to: travels through the client library from where the name is resolved.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// A URL for a log: without its query, which may hold a signature, and without user information.
pub(super) fn redacted(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{}{port}{}{query}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

type Cause = dyn std::error::Error + 'static;

fn causes(error: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(error), |error| error.source())
}

fn caused_by<T: std::error::Error + 'static>(error: &Cause) -> bool {
    causes(error).any(|cause| cause.is::<T>())
}

fn chain(error: &Cause) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_a_log_has_no_secrets() {
        let url = |text: &str| redacted(&Url::parse(text).unwrap());
        assert_eq!(url("https://u:p@h.example:8443/a/b?sig=s#f"), "https://h.example:8443/a/b?…");
        assert_eq!(url("http://h.example/a"), "http://h.example/a");
        assert_eq!(url("file:///etc/passwd"), "file:///etc/passwd");
    }

    #[test]
    fn the_caller_is_told_nothing_of_the_cause() {
        for error in
            [FetchError::Refused, FetchError::Upstream("10.0.0.1".into()), FetchError::TimedOut("10.0.0.1".into())]
        {
            assert!(!Error::from(error).message().contains("10."));
        }
    }
}
