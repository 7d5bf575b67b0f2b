//! The source of the bytes of an answer, and the buffers that they pass through. Knows no image and no protocol.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::blob::stream;
pub use crate::blob::{BlobBody, Buffers};
use crate::error::{Error, Result};

/// The source of the bytes of an answer. Clones share a body that was opened earlier.
#[derive(Clone)]
pub struct Origin<F> {
    open: F,
    opened: OpenBody,
}

/// A body that was opened earlier, and its range.
type OpenBody = Arc<Mutex<Option<(Option<Range<u64>>, BlobBody)>>>;

impl<F, Opening> Origin<F>
where
    F: Fn(Option<Range<u64>>) -> Opening + Clone + Send + 'static,
    Opening: Future<Output = Result<BlobBody>> + Send,
{
    /// A source that `open` opens: all of it, or a range.
    pub fn new(open: F) -> Self {
        Self { open, opened: OpenBody::default() }
    }

    /// Keeps a body that was opened earlier, for the first reader that asks for its range.
    pub fn keeping(self, range: Option<Range<u64>>, body: BlobBody) -> Self {
        Self { opened: Arc::new(Mutex::new(Some((range, body)))), ..self }
    }

    /// Opens the bytes, or a part of them.
    ///
    /// # Errors
    /// As the source's own opening.
    pub(super) async fn open(&self, range: Option<Range<u64>>) -> Result<BlobBody> {
        // A body that this reader cannot use is released at once.
        let kept = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept.filter(|(of, _)| *of == range) {
            Some((_, body)) => Ok(body),
            None => (self.open)(range).await,
        }
    }
}

/// The bytes of an open body as a stream, for an answer or an outgoing request.
pub fn bytes_of(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes>> {
    stream(body, buffers).map(|chunk| chunk.map_err(Error::from)).boxed()
}
