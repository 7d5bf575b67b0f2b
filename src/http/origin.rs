//! The source of the bytes of an answer, and the buffers that they pass through.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::blob::stream;
pub use crate::blob::{BlobBody, Buffers};
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
    /// All of them, where they had to be looked at before.
    pub opened: OpenBody,
}

/// A body that is open already, and goes to the first that asks for all of it.
#[derive(Clone, Default)]
pub struct OpenBody(Arc<Mutex<Option<BlobBody>>>);

impl OpenBody {
    /// Keeps a body that has all bytes.
    pub fn new(body: BlobBody) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn take(&self) -> Option<BlobBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Origin {
    /// Opens them, or a part of them.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open(&self, range: Option<Range<u64>>) -> Result<BlobBody> {
        // What is not wanted as a whole is given back at once.
        if let Some(body) = self.opened.take().filter(|_| range.is_none()) {
            return Ok(body);
        }
        match &self.file {
            None => self.registry.open(&self.who, &self.image, range).await,
            Some(file) => self.registry.lxd().open_file(&self.who, &self.image, file, range).await,
        }
    }
}

/// The bytes of an open body as a stream, for an answer or a request of a form of its own.
pub fn bytes_of(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes>> {
    stream(body, buffers).map(|chunk| chunk.map_err(Error::from)).boxed()
}
