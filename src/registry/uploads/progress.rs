//! The state of an upload in pieces, as its clients are told.

use crate::error::{Error, Kind, Result};
use crate::image::{Image, ImageId, Resumable, Status, Timestamp};

/// How far an upload is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its image.
    pub image: Image,
    /// So many bytes are durable.
    pub offset: u64,
    /// How many there will be, if that is known.
    pub size: Option<u64>,
    /// When it is given up; none when it is complete.
    pub expires_at: Option<Timestamp>,
}

impl Progress {
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

    /// Whether all bytes are there and the image is available.
    pub fn is_complete(&self) -> bool {
        self.expires_at.is_none()
    }
}

fn no_upload(id: ImageId) -> Error {
    Error::new(Kind::NotFound, format!("No upload found with id '{id}'."))
}
