//! The state of an upload in pieces, for its clients. Knows no protocol.

use crate::error::{Error, Reason, Result};
use crate::image::{Image, ImageId, Resumable, Status, Timestamp};

/// Progress of an upload.
#[derive(Debug, Clone)]
pub struct UploadProgress {
    /// Image of the upload.
    pub image: Image,
    /// Number of durable bytes.
    pub offset: u64,
    /// Total number of bytes, if it is known.
    pub size: Option<u64>,
    /// Time at which the upload is given up; none when it is complete.
    pub expires_at: Option<Timestamp>,
}

impl UploadProgress {
    pub(in crate::registry) fn of(image: Image) -> Result<Self> {
        match (image.ticket.and_then(|ticket| ticket.resumable), image.status) {
            (Some(Resumable { offset, size, expires_at, .. }), Status::Saving) => {
                Ok(Self { image, offset, size, expires_at: Some(expires_at) })
            }
            (_, Status::Available) => {
                let size = image.size();
                Ok(Self { image, offset: size.unwrap_or(0), size, expires_at: None })
            }
            _ => Err(no_upload(image.id)),
        }
    }

    /// Tells if these are bytes for an import, which alone completes them.
    pub(in crate::registry) fn is_staged(&self) -> bool {
        self.image.ticket.and_then(|ticket| ticket.resumable).is_some_and(|resumable| resumable.staged)
    }

    /// Tells if all bytes are stored and the image is available.
    pub fn is_complete(&self) -> bool {
        self.expires_at.is_none()
    }
}

fn no_upload(id: ImageId) -> Error {
    Reason::UploadNotFound.about(id)
}
