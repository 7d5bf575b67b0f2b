//! Failures of commands: a message for people, an exit code for scripts.

use std::fmt;
use std::io;

use crate::fetch::FetchError;

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
    /// Command of `visor run` that can't be run, as shells have it.
    NotRunnable = 126,
    /// Command of `visor run` that does not exist, as shells have it.
    NoCommand = 127,
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

    /// This failure with the name of the thing before its message.
    #[must_use]
    pub fn at(self, thing: impl fmt::Display) -> Self {
        Self { message: format!("{thing}: {}", self.message), ..self }
    }

    /// General failure with a message.
    pub fn general(message: impl fmt::Display) -> Self {
        Self::new(Exit::General, message)
    }
}

/// Words for an error of the system, without its number and without names of files that the caller does not know.
pub(super) fn words_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not use it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory: name a file".to_owned(),
        io::ErrorKind::NotADirectory => "a part of its path is no directory".to_owned(),
        io::ErrorKind::StorageFull => "there is no space left for it".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "its disk can only be read".to_owned(),
        io::ErrorKind::InvalidData => "it is no text".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error ").next().unwrap_or_default().to_owned()
        }
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
        // Without a server, the user of the machine is told what a server tells administrators only.
        if let Some(exact) = FetchError::unresolved(&error) {
            return Self::new(Exit::Network, exact.message());
        }
        let exit = match error.kind() {
            // By its form, before anything was asked.
            _ if error.reason() == Reason::UrlRefused && FetchError::of(&error).is_none() => Exit::Usage,
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
    fn an_error_of_the_system_is_said_without_its_number() {
        for number in 1..=133 {
            let text = words_of(&io::Error::from_raw_os_error(number));
            assert!(!text.is_empty() && !text.contains("os error"), "{number}: {text}");
        }
        let aside = tempfile::NamedTempFile::new_in("/nowhere").unwrap_err();
        assert_eq!(words_of(&aside), "it does not exist");
    }

    #[test]
    fn a_name_that_can_not_be_resolved_is_the_networks_fault() {
        let unknown = FetchError::Unresolved { host: "lab.example".into(), why: "no such host".into() };
        let failure = Failure::from(unknown.of_url("https://lab.example/x?sig=SECRET"));
        assert_eq!(failure.exit, Exit::Network);
        assert!(failure.message.contains("lab.example: its name can't be resolved"), "{failure:?}");
        assert!(!failure.message.contains("server") && !failure.message.contains("SECRET"), "{failure:?}");
    }

    #[test]
    fn a_refused_address_is_told_from_a_wrong_request() {
        let exit = |error: Error| Failure::from(error).exit;
        assert_eq!(exit(FetchError::Refused.of_file("https://10.0.0.1/")), Exit::Auth);
        assert_eq!(exit(Reason::UrlRefused.about("it has no file name at its end")), Exit::Usage);
        assert_eq!(exit(Reason::ServerRefused.about("10.0.0.1").and("it is private")), Exit::Auth);
        assert_eq!(exit(Error::invalid("no name")), Exit::General);
        assert_eq!(exit(Reason::NotCached.about("x")), Exit::Network);
    }
}
