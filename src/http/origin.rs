//! Where the bytes of an answer come from, and the buffers that they pass through.

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

/// Where the bytes of an answer are.
#[derive(Clone)]
pub struct Origin {
    /// Who has them.
    pub registry: Arc<Registry>,
    /// Who gets them.
    pub who: Caller,
    /// The image that they are of.
    pub image: Image,
    /// Which of its files, as LXD and Incus have them; without one, the file that everybody knows.
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
