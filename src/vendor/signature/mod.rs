//! Signatures of vendors: OpenPGP, signify and minisign, over documents and files; which keys count is said by the caller.
//!
//! The one place with a policy of signatures: the libraries below have none. Knows no list, no vendor and no URL.

mod certificate;
mod cleartext;
mod keyring;
mod lines;
mod openpgp;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek};

pub use self::keyring::Keyring;
pub(super) use self::lines::is_key as is_line_key;
use crate::image::Timestamp;

/// Most bytes of a signature that stands alone.
pub const SIGNATURE_BYTES_MAX: usize = 256 << 10;

/// Keys that count, and the time at which.
#[derive(Debug, Clone, Copy)]
pub struct TrustedKeys<'a> {
    /// Certificates that are here.
    pub keyring: &'a Keyring,
    /// Keys that count: fingerprints of primary keys in hexadecimal; keys of signify and minisign as `RW…`.
    pub pins: &'a [String],
    /// Present time: a signature of tomorrow is not believed.
    pub now: Timestamp,
}

/// A good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Key that is pinned: the fingerprint of the primary key in upper-case hexadecimal, or the `RW…` line.
    pub key: String,
    /// Time at which it was made, if it says so.
    pub at: Option<Timestamp>,
}

/// Reasons why a signature is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("there is no signature")]
    NoSignature,
    /// None of the pinned keys that could have made it is here.
    #[error("the key {} is missing here: get its file from the vendor, compare the fingerprint, and put it into keys/vendors/ of the data directory", .wanted.join(", "))]
    KeyMissing {
        /// Pinned keys that are not here.
        wanted: Vec<String>,
    },
    /// Another key made it.
    #[error("it was made by the key {by}, which is none of the keys that count")]
    WrongKey {
        /// Fingerprint or number that the signature names.
        by: String,
    },
    /// A pinned key would have made it over other bytes.
    #[error("it does not fit what it is over: one of the two was changed")]
    Bad,
    /// The key had expired before it was made.
    #[error("its key {key} had expired when it was made")]
    ExpiredKey {
        /// Fingerprint.
        key: String,
    },
    /// A key made it that is in no file, and the file of a pinned one knows only signing keys that had expired: it may be too old, or the
    /// signature a stranger's, which can't be told apart.
    #[error(
        "no key file has the key {by} that made the signature. That of {of} may be too old: all signing keys in it had expired by then; get \
         a new one from the vendor, and if {by} is not in that either, the signature is a stranger's"
    )]
    KeyTooOld {
        /// Fingerprint or number that the signature names.
        by: String,
        /// Fingerprint of the pinned key.
        of: String,
    },
    /// The key was taken back by its owner.
    #[error("its key {key} was revoked by its owner")]
    RevokedKey {
        /// Fingerprint.
        key: String,
    },
    /// The key is of a pinned owner, for another purpose.
    #[error("its key {key} is not one for signing")]
    NotForSigning {
        /// Fingerprint.
        key: String,
    },
    /// Other documents can be made that the signature fits as well.
    #[error("it rests on {algorithm}, which is too weak")]
    WeakHash {
        /// Name of the hash.
        algorithm: String,
    },
    /// It says of itself that it was made later than now.
    #[error("it was made in the future, on {day}: one of two clocks is wrong")]
    Future {
        /// Date.
        day: String,
    },
    /// It said itself how long it is good.
    #[error("it was good for a time that is over")]
    Outdated,
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Malformed(String),
    /// The bytes that it is over can't be read here.
    #[error("what it is over can't be read: {0}")]
    Unreadable(String),
}

impl SignatureError {
    /// Place among several that failed: the one to tell is about a key that counts.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Unreadable(_) => 10,
            Self::Bad => 9,
            Self::RevokedKey { .. } => 8,
            Self::ExpiredKey { .. } | Self::NotForSigning { .. } => 7,
            Self::WeakHash { .. } | Self::Future { .. } | Self::Outdated => 6,
            Self::KeyTooOld { .. } => 5,
            Self::KeyMissing { .. } => 4,
            Self::WrongKey { .. } => 3,
            Self::Malformed(_) => 2,
            Self::NoSignature => 1,
        }
    }
}

/// Verifies a signature that stands alone, over a document or a file; the form is told by its bytes. The file is read from its beginning.
///
/// # Errors
/// A [`SignatureError`] when no signature of a pinned key is good.
pub fn verify_detached<R: Read + Seek>(
    signature: &[u8],
    over: &mut R,
    trust: &TrustedKeys<'_>,
) -> Result<Signed, SignatureError> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::Malformed(format!("it has more than {} KiB", SIGNATURE_BYTES_MAX >> 10)));
    }
    if lines::is_one(signature) {
        return lines::verify(signature, over, trust);
    }
    openpgp::verify(signature, over, trust)
}

/// Verifies a document that has its signature inside, and gives the content that is signed: nothing before, behind or between.
///
/// # Errors
/// A [`SignatureError`] when no signature of a pinned key is good; `NoSignature` when the document has no form of a signed one.
pub fn verify_inside<'a>(
    document: &'a [u8],
    trust: &TrustedKeys<'_>,
) -> Result<(Cow<'a, [u8]>, Signed), SignatureError> {
    if let Some(parts) = cleartext::split(document)? {
        let signed = openpgp::verify(parts.signature, &mut Cursor::new(&parts.text), trust)?;
        return Ok((Cow::Owned(parts.text), signed));
    }
    let (signature, message) = lines::split(document).ok_or(SignatureError::NoSignature)?;
    let signed = lines::verify(signature, &mut Cursor::new(message), trust)?;
    Ok((Cow::Borrowed(message), signed))
}

/// Content of a document that may have its signature inside, without looking at the signature.
///
/// # Errors
/// [`SignatureError::Malformed`] when it begins as a signed one and does not end as one.
pub fn content(document: &[u8]) -> Result<Cow<'_, [u8]>, SignatureError> {
    if let Some(parts) = cleartext::split(document)? {
        return Ok(Cow::Owned(parts.text));
    }
    Ok(Cow::Borrowed(lines::split(document).map_or(document, |(_, message)| message)))
}

/// Date of a time, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}
