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
use crate::registry::Delivery;

/// The source of the bytes of an answer. Clones share a body that was opened earlier.
#[derive(Clone)]
pub struct Origin<F> {
    open: F,
    opened: OpenBody,
    in_parts: bool,
    several_parts: bool,
    content_type: Arc<str>,
}

/// The type of every image; the record has its format.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A body that was opened earlier, and its range.
type OpenBody = Arc<Mutex<Option<(Option<Range<u64>>, BlobBody)>>>;

impl<F, Opening> Origin<F>
where
    F: Fn(Option<Range<u64>>) -> Opening + Clone + Send + 'static,
    Opening: Future<Output = Result<Delivery>> + Send,
{
    /// A source that `open` opens: all of it, or a range.
    pub fn new(open: F) -> Self {
        let content_type = CONTENT_TYPE.into();
        Self { open, opened: OpenBody::default(), in_parts: true, several_parts: true, content_type }
    }

    /// Says whether parts of the bytes can be had for certain: of those under a URL, only the answer of its server says so.
    pub fn in_parts(self, in_parts: bool) -> Self {
        Self { in_parts, ..self }
    }

    /// Says that one part can be had at a time: a request for several of them gets all bytes.
    pub fn in_one_part(self) -> Self {
        Self { several_parts: false, ..self }
    }

    /// Says of which type the bytes are.
    pub fn of_type(self, content_type: &str) -> Self {
        Self { content_type: content_type.into(), ..self }
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Tells whether several parts of the bytes can be had in one answer.
    pub(super) fn has_several_parts(&self) -> bool {
        self.in_parts && self.several_parts
    }

    /// Tells whether parts of the bytes can be had for certain.
    pub(super) fn has_parts(&self) -> bool {
        self.in_parts
    }

    /// Keeps a body that was opened earlier, for the first reader that asks for its range.
    pub fn keeping(self, range: Option<Range<u64>>, body: BlobBody) -> Self {
        Self { opened: Arc::new(Mutex::new(Some((range, body)))), ..self }
    }

    /// Opens the bytes, or a part of them if they can be had in parts.
    ///
    /// # Errors
    /// As the source's own opening.
    pub(super) async fn open(&self, range: Option<Range<u64>>) -> Result<Delivery> {
        // A body that this reader cannot use is released at once.
        let kept = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept.filter(|(of, _)| *of == range) {
            Some((_, body)) => Ok(Delivery::exact(body, range.is_none())),
            None => (self.open)(range).await,
        }
    }
}

/// The bytes of an open body as a stream, for an answer or an outgoing request.
pub fn bytes_of(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes>> {
    stream(body, buffers).map(|chunk| chunk.map_err(Error::from)).boxed()
}
