//! The source of the bytes of an answer, and the buffers that they pass through.

use std::ops::Range;
use std::sync::Arc;

use actix_web::web::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

pub use crate::blob::Buffers;
use crate::blob::{BlobBody, stream};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::registry::{Caller, LxdFile, Registry};

/// The source of the bytes of an answer.
#[derive(Clone)]
pub struct Origin {
    /// The service that has them.
    pub registry: Arc<Registry>,
    /// The caller that gets them.
    pub who: Caller,
    /// The image that they are of.
    pub image: Image,
    /// One of its files, as LXD and Incus have them; without it, the main file.
    pub file: Option<LxdFile>,
}

impl Origin {
    /// Opens them, or a part of them.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open(&self, range: Option<Range<u64>>) -> Result<BlobBody> {
        match &self.file {
            None => self.registry.open(&self.who, &self.image, range).await,
            Some(file) => self.registry.lxd().open_file(&self.who, &self.image, file, range).await,
        }
    }

    /// Opens all of them as a stream, for an answer or a request of a form of its own.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn stream(&self, buffers: &Buffers) -> Result<BoxStream<'static, Result<Bytes>>> {
        Ok(stream(self.open(None).await?, buffers).map(|chunk| chunk.map_err(Error::from)).boxed())
    }
}
