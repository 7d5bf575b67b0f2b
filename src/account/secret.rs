//! Secrets: texts that never print, their digests, and how they are made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};

/// Random bytes of a secret key: 40 characters of base64, as VISOR's have.
const SECRET_BYTES: usize = 30;

/// Random bytes of a secret that is made for one use, and of a token.
const RANDOM_BYTES: usize = 32;

/// A text that never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Makes a random secret in hexadecimal: base64 may begin with a dash, which most commands take for an option.
    ///
    /// # Errors
    /// `Internal` when the system has no random numbers.
    pub fn random() -> Result<Self> {
        Ok(Self(random_hex(RANDOM_BYTES)?))
    }

    /// The text. For checking and for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares a guess in constant time.
    pub fn is(&self, guess: &str) -> bool {
        let (own, other) = (Sha256::digest(&self.0), Sha256::digest(guess));
        own.iter().zip(other).fold(0, |different, (own, other)| different | (own ^ other)) == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A digest of a secret that is random and too long to be found by trying.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Print(String);

impl Print {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        Self(hex(&Sha256::digest(text)))
    }
}

/// Random bytes in hexadecimal.
///
/// # Errors
/// `Internal` when the system has no random numbers.
pub(super) fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| Error::internal(error.to_string()))?;
    Ok(hex(&random))
}

/// A secret key for an account.
///
/// # Errors
/// `Internal` when the system has no random numbers.
pub(super) fn new_secret() -> Result<Secret> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Secret(STANDARD.encode(bytes)))
}
