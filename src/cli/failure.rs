//! How a command fails: words for a person, an exit code for a script.

use std::fmt;

/// Exit codes. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Failed, in general.
    General = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Nothing there.
    NotFound = 3,
    /// The bytes are not those that were expected.
    Mismatch = 4,
    /// The server can't be reached, or broke off.
    Network = 5,
    /// No room.
    Full = 6,
    /// Not allowed.
    Auth = 7,
    /// It exists already, or is in another state.
    Conflict = 8,
    /// Stopped by the user; may be resumed.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// For scripts.
    pub exit: Exit,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// A failure in general.
    pub fn general(message: impl fmt::Display) -> Self {
        Self::new(Exit::General, message)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Self {
        use crate::error::Kind;
        let exit = match error.kind() {
            Kind::NotFound => Exit::NotFound,
            Kind::AlreadyExists | Kind::Conflict | Kind::Precondition => Exit::Conflict,
            Kind::Unauthenticated | Kind::Forbidden => Exit::Auth,
            Kind::DigestMismatch | Kind::BadContent | Kind::Incomplete => Exit::Mismatch,
            Kind::StoreFull | Kind::TooLarge => Exit::Full,
            Kind::Upstream | Kind::TooSlow | Kind::Busy => Exit::Network,
            Kind::Invalid | Kind::TooMany | Kind::MediaType | Kind::BadRange | Kind::Unsupported | Kind::Internal => {
                Exit::General
            }
        };
        // The person at the console is the operator: the causes are theirs.
        let causes = error.causes();
        let message = if causes.is_empty() { error.to_string() } else { format!("{error} ({causes})") };
        Self { exit, message }
    }
}
