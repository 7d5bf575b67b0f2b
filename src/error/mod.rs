//! The error of the core: a reason from a closed table, words for the caller, and the cause for the log.
//!
//! Knows nothing of HTTP and no protocol's words. Each protocol maps every [`Kind`] to its status and words every
//! [`Reason`] in exhaustive matches: a new one is a compile error in each protocol.

mod kind;
mod near;
mod reason;
mod shown;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

pub use self::kind::Kind;
pub use self::near::did_you_mean;
pub use self::reason::Reason;
pub use self::shown::shown;

/// An error with two audiences: [`Error::message`] is for the caller, the source is for the log.
///
/// `Display` shows only the public half, so the private one can't leak by accident.
#[derive(Debug)]
pub struct Error {
    reason: Reason,
    /// Things that the words name, in order, for protocols that word the reason themselves.
    subjects: Vec<String>,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of the core's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Reason {
    /// Builds an error whose words name a subject; [`Error::and`] names another.
    pub fn about(self, subject: impl ToString) -> Error {
        Error::from(self).and(subject)
    }

    /// Builds an error in words of its own, where the neutral ones say too little.
    pub fn saying(self, words: impl Into<Cow<'static, str>>) -> Error {
        Error::worded(self, words.into())
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Self::worded(reason, Cow::Borrowed(reason.words()))
    }
}

impl Error {
    fn worded(reason: Reason, message: Cow<'static, str>) -> Self {
        Self { reason, subjects: Vec::new(), message, source: None }
    }

    /// A broken rule about values: [`Reason::InvalidValue`], in words that name the rule.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Reason::InvalidValue.saying(message)
    }

    /// A fault of the server itself. The caller learns no more than that; the cause is logged.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::from(Reason::Internal).because(source)
    }

    /// Adds the next subject of the words.
    pub fn and(mut self, subject: impl ToString) -> Self {
        self.subjects.push(subject.to_string());
        self.message = Cow::Owned(self.fill(self.reason.words()));
        self
    }

    /// Adds the private cause.
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The kind of the reason.
    pub fn kind(&self) -> Kind {
        self.reason.kind()
    }

    /// A thing that the words name, by its position.
    pub fn subject(&self, at: usize) -> Option<&str> {
        self.subjects.get(at).map(String::as_str)
    }

    /// Words for the caller, unless its protocol has others.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Fills the subjects into a protocol's words for the reason, in the places of `{}`.
    pub fn fill(&self, words: &str) -> String {
        let mut pieces = words.split("{}");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        let mut subjects = self.subjects.iter();
        for piece in pieces {
            text.push_str(subjects.next().map_or("?", String::as_str));
            text.push_str(piece);
        }
        text
    }

    /// The words and the private causes, for one log line.
    pub fn logged(&self) -> String {
        let causes = self.causes();
        let separator = if causes.is_empty() { "" } else { ": " };
        format!("{self}{separator}{causes}")
    }

    /// Private causes, outermost first, for one log line.
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&(dyn StdError + 'static)> = self.source.as_deref().map(|s| s as _);
        while let Some(cause) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_never_shows_the_private_half() {
        let error = Error::internal(std::io::Error::other("/srv/secret: EIO"));
        assert!(!error.to_string().contains("secret"));
        assert_eq!(error.causes(), "/srv/secret: EIO");
        assert_eq!(error.logged(), format!("{}: /srv/secret: EIO", Reason::Internal.words()));
        assert_eq!(Error::from(Reason::Busy).logged(), Reason::Busy.words(), "nothing follows the words");
    }

    #[test]
    fn subjects_stand_where_the_words_have_room_for_them() {
        let error = Reason::UploadOffset.about(5).and("{}");
        assert_eq!((error.message(), error.kind()), ("The upload stands at 5, not at {}.", Kind::Conflict));
        assert_eq!(error.fill("at {}"), "at 5");
        assert_eq!(error.fill("at last"), "at last");
        let own = Reason::NotFound.saying("No {}.");
        assert_eq!((own.message(), own.reason()), ("No {}.", Reason::NotFound));
    }
}
