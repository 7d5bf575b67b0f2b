//! Errors of stores: one type for all of them.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, Reason};
use crate::image::StoreName;

/// Failures of a store. `Display` names no path and no key: the caller knows them and logs them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such blob; or a file that may not be read, which must look the same.
    #[error("there is no such blob")]
    NotFound,
    /// The range reaches beyond the end.
    #[error("the range lies outside the blob")]
    BadRange,
    /// No room left: the disk, a quota, or the largest file of the file system.
    #[error("the store is full")]
    Full,
    /// The store can't be written to at all.
    #[error("the store is read-only")]
    ReadOnly,
    /// The operator has not opened any directory for such files.
    #[error("no import directory is configured")]
    NotAllowed,
    /// No store of this name is configured.
    #[error("there is no store '{0}'")]
    Unknown(StoreName),
    /// There is such a blob already, and the store does not write over one. That one is another's: it was not touched.
    #[error("there is such a blob already")]
    Exists,
    /// Another server that keeps the bytes can't be used just now, or not as it is configured. The text is for everybody: it
    /// names the store and the plain reason.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else; the bytes can't be relied on.
    #[error("the store does not work")]
    Broken(#[source] io::Error),
}

impl StoreError {
    /// A fault without an error of the system behind it.
    pub(super) fn broken(what: &'static str) -> Self {
        Self::Broken(io::Error::other(what))
    }
}

impl From<io::Error> for StoreError {
    /// Tells apart what a caller can act on. That a name is missing is judged where it is looked up: anywhere else
    /// it is a fault (the staging directory is gone, say) and must not read as "no such blob".
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full,
            Some(Errno::ROFS) => Self::ReadOnly,
            _ => Self::Broken(error),
        }
    }
}

impl From<Errno> for StoreError {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            StoreError::NotFound => Reason::BytesMissing,
            StoreError::BadRange => Reason::BadRange,
            StoreError::Full => Reason::StoreFull,
            StoreError::ReadOnly => Reason::StoreReadOnly,
            StoreError::NotAllowed => Reason::NoImportDirectory,
            StoreError::Unknown(name) => return Reason::StoreUnsupported.about(name),
            StoreError::Exists => Reason::FileExists,
            StoreError::Unavailable(text) => return Reason::StoreUnavailable.saying(text.clone()).because(error),
            StoreError::Broken(_) => return Error::internal(error),
        };
        Error::from(reason).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn errors_of_the_system_become_what_a_caller_can_act_on() {
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(StoreError::from(full), StoreError::Full), "{full}");
        }
        assert!(matches!(StoreError::from(Errno::ROFS), StoreError::ReadOnly));
        for broken in [Errno::IO, Errno::NOENT, Errno::ACCESS] {
            assert!(matches!(StoreError::from(broken), StoreError::Broken(_)), "{broken}");
        }
    }

    #[test]
    fn a_fault_of_the_system_is_only_in_the_log() {
        let error = Error::from(StoreError::from(Errno::IO));
        assert_eq!(error.kind(), Kind::Internal);
        assert!(!error.message().contains("Input/output"));
        assert!(error.causes().contains("nput/output"), "{}", error.causes());
    }
}
