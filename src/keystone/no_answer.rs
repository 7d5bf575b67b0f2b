//! Reasons why a Keystone has no answer about a token.

use crate::fetch::FetchError;

/// A reason. Its text is for the log; callers get [`NoAnswer::words`].
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// No answer came.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Nothing was said in time.
    #[error("there is no answer within {0:?}")]
    Slow(std::time::Duration),
    /// The service user is not let in.
    #[error("the login of identity.username is refused: check identity.username, password, project and their domains")]
    Login,
    /// The service user may not ask.
    #[error("identity.username may not validate tokens: give it the role service or admin in identity.project")]
    MayNot,
    /// An answer that means nothing to us.
    #[error("the answer to {0} has the status {1}")]
    Status(&'static str, u16),
    /// A body that is no token.
    #[error("the answer to {0} is not Keystone's: {1}")]
    Garbled(&'static str, String),
}

impl NoAnswer {
    /// Words for callers, without names and addresses.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_)) => {
                "it can't be reached"
            }
            Self::Fetch(FetchError::TimedOut(_)) | Self::Slow(_) => "it takes too long to answer",
            Self::Fetch(FetchError::Certificate(_)) => "its certificate is not trusted",
            Self::Login => "it refuses the login of this server",
            Self::MayNot => "it does not let this server validate tokens",
            Self::Fetch(_) | Self::Status(..) | Self::Garbled(..) => "it does not answer as it should",
        }
    }
}
