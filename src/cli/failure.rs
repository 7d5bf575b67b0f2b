//! Failures of commands: a message for people, an exit code for scripts.

use std::fmt;

/// Exit codes. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// General failure.
    General = 1,
    /// Wrong command line or configuration.
    Usage = 2,
    /// Not found.
    NotFound = 3,
    /// Bytes differ from the expected ones.
    Mismatch = 4,
    /// Unreachable server, or broken connection.
    Network = 5,
    /// No space.
    Full = 6,
    /// Not allowed.
    Auth = 7,
    /// Already existing, or in another state.
    Conflict = 8,
    /// Stopped by the user; may be resumed.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// Exit code for scripts.
    pub exit: Exit,
    /// Message for people.
    pub message: String,
}

impl Failure {
    /// Failure with an exit code and a message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// General failure with a message.
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
        use crate::error::{Kind, Reason};
        let exit = match error.kind() {
            // By its address or its host, and nothing is wrong with the request.
            _ if matches!(error.reason(), Reason::UrlRefused | Reason::ServerRefused) => Exit::Auth,
            Kind::NotFound => Exit::NotFound,
            Kind::AlreadyExists | Kind::Conflict | Kind::Precondition => Exit::Conflict,
            Kind::Unauthenticated | Kind::Forbidden => Exit::Auth,
            Kind::DigestMismatch | Kind::Verification | Kind::BadContent | Kind::Incomplete => Exit::Mismatch,
            Kind::StoreFull | Kind::TooLarge => Exit::Full,
            Kind::Upstream | Kind::TooSlow | Kind::Busy => Exit::Network,
            Kind::Invalid | Kind::TooMany | Kind::MediaType | Kind::BadRange | Kind::Unsupported | Kind::Internal => {
                Exit::General
            }
        };
        // The user of the console is the operator and may see the causes.
        let causes = error.causes();
        let text = error.to_string();
        // Some errors say their cause themselves.
        let message = if text.contains(&causes) { text } else { format!("{text} ({causes})") };
        Self { exit, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Reason};

    #[test]
    fn a_refused_address_is_told_from_a_wrong_request() {
        let exit = |error: Error| Failure::from(error).exit;
        assert_eq!(exit(Reason::UrlRefused.about("https://10.0.0.1/")), Exit::Auth);
        assert_eq!(exit(Reason::ServerRefused.about("10.0.0.1").and("it is private")), Exit::Auth);
        assert_eq!(exit(Error::invalid("no name")), Exit::General);
        assert_eq!(exit(Reason::NotCached.about("x")), Exit::Network);
    }
}
