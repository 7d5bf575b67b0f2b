//! Errors of a call to a server.

use reqwest::Url;

/// Failures of a call, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing there.
    #[error("{0}")]
    NotFound(String),
    /// The request breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// Not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// Already existing, or in another state.
    #[error("{0}")]
    Conflict(String),
    /// The server has no room, or we have none.
    #[error("{0}")]
    NoRoom(String),
    /// The server's own fault.
    #[error("{0}")]
    Server(String),
    /// The server can't be reached.
    #[error("{0}")]
    Unreachable(String),
    /// A transfer broke off; it can be resumed.
    #[error("{0}")]
    Interrupted(String),
    /// The bytes are not those that the server announced.
    #[error("{0}")]
    Mismatch(String),
    /// A file of ours can't be used.
    #[error("{0}")]
    File(String),
}

impl ClientError {
    /// Explains a failed exchange.
    pub(super) fn from_transport(base: &Url, error: &reqwest::Error) -> Self {
        if error.is_connect() {
            return Self::Unreachable(format!(
                "no VISOR server was found at {base}: start one with visor serve, or name another one with --address"
            ));
        }
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            text = next.to_string();
            cause = next.source();
        }
        Self::Interrupted(format!("the exchange with {base} broke off: {text}"))
    }

    /// Explains a failed operation on a local file.
    pub(super) fn from_file(name: &std::path::Path, error: &std::io::Error) -> Self {
        let text = format!("{}: {error}", name.display());
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoRoom(text),
            std::io::ErrorKind::AlreadyExists => Self::Conflict(format!("{} already exists", name.display())),
            _ => Self::File(text),
        }
    }
}
