//! Why a file is no image, in LXD's words where it has some: clients show them, and scripts look for them.

use std::io;

use crate::error::{Error, Kind};

/// Reasons why the metadata of an image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There are no bytes at all.
    #[error("EOF")]
    Empty,
    /// It is packed in no known way.
    #[error("Unsupported compression")]
    Unsupported,
    /// It ends in the middle.
    #[error("unexpected EOF")]
    Truncated,
    /// It can't be unpacked.
    #[error("The {0} is damaged")]
    Damaged(&'static str, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// There is no `metadata.yaml` in it.
    #[error("Metadata tarball is missing metadata.yaml")]
    NoMetadata,
    /// It has something in it that no image has.
    #[error("{0}")]
    Refused(&'static str),
    /// It asks for more than an image may.
    #[error("The image {0}")]
    TooMuch(&'static str),
    /// The metadata are no YAML, or not of the form that they have to have.
    #[error("Could not parse metadata.yaml: {0}")]
    Yaml(String),
    /// The metadata name no processor, or one that is not known.
    #[error("Architecture isn't supported: {0}")]
    Architecture(String),
    /// The metadata don't say when the image was made.
    #[error("Missing creation date")]
    NoCreationDate,
    /// The caller stopped the work.
    #[error("Reading the image was given up")]
    Stopped,
    /// The file itself could not be read.
    #[error("Reading the image failed")]
    Io(#[source] io::Error),
}

impl BundleError {
    pub(super) fn damaged(what: &'static str) -> Self {
        Self::Damaged(what, None)
    }
}

impl From<BundleError> for Error {
    fn from(error: BundleError) -> Self {
        let words = error.to_string();
        match error {
            BundleError::Io(cause) => Self::internal(cause),
            BundleError::Stopped => Self::new(Kind::Busy, words),
            BundleError::Damaged(_, Some(cause)) => Self::new(Kind::BadContent, words).because(cause),
            _ => Self::new(Kind::BadContent, words),
        }
    }
}
