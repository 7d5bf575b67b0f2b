//! `multipart/byteranges` (RFC 9110, section 14.6): several parts of one image in one answer, and its length before the
//! first byte is read.

use std::future::Future;
use std::ops::Range;

use actix_web::web::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream as streams};

use super::origin::{Buffers, Origin};
use crate::blob::{StoreError, stream};
use crate::error::{Error, Result};
use crate::registry::Delivery;

/// An answer of several parts.
pub(super) struct Parts {
    boundary: String,
    /// The head of each part, and its range.
    parts: Vec<(String, Range<u64>)>,
}

impl Parts {
    /// Plans an answer.
    pub(super) fn new(ranges: Vec<Range<u64>>, size: u64, content_type: &str) -> Self {
        // The boundary is random, so that no image can contain it on purpose.
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let head = |range: Range<u64>| {
            let (start, last) = (range.start, range.end - 1);
            let text = format!(
                "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{last}/{size}\r\n\r\n"
            );
            (text, range)
        };
        let parts = ranges.into_iter().map(head).collect();
        Self { boundary, parts }
    }

    /// The answer's `Content-Type`.
    pub(super) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    /// The answer's length.
    pub(super) fn length(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(|(head, range)| head.len() as u64 + (range.end - range.start)).sum();
        parts + self.end().len() as u64
    }

    /// The answer's bytes. Each part is opened in its turn; a part that was deleted meanwhile ends the answer early.
    pub(super) fn stream<F, Opening>(
        self,
        origin: &Origin<F>,
        buffers: &Buffers,
    ) -> BoxStream<'static, Result<Bytes, StoreError>>
    where
        F: Fn(Option<Range<u64>>) -> Opening + Clone + Send + Sync + 'static,
        Opening: Future<Output = Result<Delivery>> + Send + 'static,
    {
        let end = self.end();
        let (origin, buffers) = (origin.clone(), buffers.clone());
        let opened = streams::iter(self.parts).then(move |(head, range)| {
            let (origin, buffers) = (origin.clone(), buffers.clone());
            async move {
                let head = streams::iter([Ok(Bytes::from(head))]);
                match origin.open(Some(range)).await {
                    Ok(delivery) => head.chain(stream(delivery.body, &buffers)).boxed(),
                    Err(error) => streams::iter([Err(failed(error))]).boxed(),
                }
            }
        });
        opened.flatten().chain(streams::iter([Ok(Bytes::from(end))])).boxed()
    }
}

fn failed(error: Error) -> StoreError {
    StoreError::Broken(std::io::Error::other(error))
}
