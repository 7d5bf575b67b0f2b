//! The source of the bytes of an answer, and the buffers that they pass through.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::blob::stream;
pub use crate::blob::{BlobBody, Buffers};
use crate::error::{Error, Result};
use crate::image::{Image, Location, Part};
use crate::registry::{Caller, Delivery, LxdFile, Registry};

/// The source of the bytes of an answer.
#[derive(Clone)]
pub struct Origin {
    /// The service that holds the bytes.
    pub registry: Arc<Registry>,
    /// The caller that receives them.
    pub who: Caller,
    /// The image of the bytes.
    pub image: Image,
    /// One of the image's files for LXD and Incus; without it, the main file.
    pub file: Option<LxdFile>,
    /// A body with all bytes, if it was opened earlier.
    pub opened: OpenBody,
}

/// An open body, for the first reader that asks for all of it.
#[derive(Clone, Default)]
pub struct OpenBody(Arc<Mutex<Option<BlobBody>>>);

impl OpenBody {
    /// Keeps a body with all bytes.
    pub fn new(body: BlobBody) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn take(&self) -> Option<BlobBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Origin {
    /// Opens the bytes, or a part of them if they can be had in parts.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn deliver(&self, range: Option<Range<u64>>) -> Result<Delivery> {
        // A body that a part cannot use is released at once.
        if let Some(body) = self.opened.take().filter(|_| range.is_none()) {
            return Ok(Delivery { body, is_whole: true, takes_ranges: true });
        }
        match &self.file {
            None => self.registry.deliver(&self.who, &self.image, range).await,
            Some(_) => {
                let is_whole = range.is_none();
                Ok(Delivery { body: self.open(range).await?, is_whole, takes_ranges: true })
            }
        }
    }

    /// Opens the bytes, or exactly a part of them.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open(&self, range: Option<Range<u64>>) -> Result<BlobBody> {
        // A body that a part cannot use is released at once.
        if let Some(body) = self.opened.take().filter(|_| range.is_none()) {
            return Ok(body);
        }
        match &self.file {
            None => self.registry.open(&self.who, &self.image, range).await,
            Some(file) => self.registry.lxd().open_file(&self.who, &self.image, file, range).await,
        }
    }

    /// True if parts of the bytes can be had for certain: of those under a URL, only the answer of its server says so.
    pub fn has_parts(&self) -> bool {
        let is_url = |part: &Part| matches!(part.location, Location::Http { .. });
        self.file.is_some() || !self.image.main().is_some_and(is_url)
    }
}

/// The bytes of an open body as a stream, for an answer or an outgoing request.
pub fn bytes_of(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes>> {
    stream(body, buffers).map(|chunk| chunk.map_err(Error::from)).boxed()
}
