//! Reasons why a file is no image of a container or a virtual machine.

use std::io;

use crate::error::{Error, Reason};

/// Reasons why the metadata of an image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No bytes.
    #[error("The image file is empty.")]
    Empty,
    /// Unknown packing.
    #[error("The image file is packed in a way that is not known.")]
    Unsupported,
    /// A file that ends in the middle.
    #[error("The image file ends early.")]
    Truncated,
    /// A file that can't be unpacked.
    #[error("The {0} is damaged")]
    Damaged(&'static str, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// No `metadata.yaml`.
    #[error("The image has no metadata.yaml.")]
    NoMetadata,
    /// A member that no image has.
    #[error("{0}")]
    Refused(&'static str),
    /// More than an image may have.
    #[error("The image {0}")]
    TooMuch(&'static str),
    /// The metadata are no YAML, or not of the form that they have to have.
    #[error("metadata.yaml can't be parsed: {0}")]
    Yaml(String),
    /// The metadata name no processor, or one that is not known.
    #[error("The architecture '{0}' is not known.")]
    Architecture(String),
    /// The metadata don't say when the image was made.
    #[error("metadata.yaml has no creation date.")]
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
            BundleError::Stopped => Reason::Busy.saying(words),
            BundleError::Empty => Reason::FileEmpty.into(),
            BundleError::Unsupported => Reason::UnknownPacking.into(),
            BundleError::Truncated => Reason::FileTruncated.into(),
            BundleError::NoMetadata => Reason::NoMetadata.into(),
            BundleError::Yaml(why) => Reason::BadMetadata.about(why),
            BundleError::Architecture(name) => Reason::UnknownArchitecture.about(name),
            BundleError::NoCreationDate => Reason::NoCreationDate.into(),
            BundleError::Damaged(_, Some(cause)) => Reason::BadArchive.saying(words).because(cause),
            BundleError::Damaged(_, None) | BundleError::Refused(_) | BundleError::TooMuch(_) => {
                Reason::BadArchive.saying(words)
            }
        }
    }
}
