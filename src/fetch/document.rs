//! Small answers, read whole: what a server says about its things, or about what it was given.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Body, FetchError, Fetcher, Request, Told};

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub struct Document {
    /// Whatever the server answered; of redirects only the last.
    pub status: u16,
    /// Its headers.
    pub told: Told,
    /// The bytes.
    pub bytes: Bytes,
}

impl Fetcher {
    /// Requests a document of `bytes_max` at most, whatever the answer's status.
    ///
    /// # Errors
    /// As [`Fetcher::open`]; `WrongLength` when it is longer, `TimedOut` when it takes too long over all.
    pub async fn document(&self, request: &Request, bytes_max: usize) -> Result<Document, FetchError> {
        let body = self.open(request).await?;
        Document::read(body, bytes_max, self.time_for(request)).await
    }

    /// Reads an open answer as a document of `bytes_max` at most.
    ///
    /// # Errors
    /// As [`Fetcher::document`].
    pub async fn rest(&self, body: Body, bytes_max: usize) -> Result<Document, FetchError> {
        Document::read(body, bytes_max, self.0.rules.document_timeout).await
    }

    /// Time for a document from its first byte to its last.
    pub(super) fn time_for(&self, request: &Request) -> Duration {
        self.0.rules.document_timeout.max(request.patience.unwrap_or_default())
    }
}

impl Document {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// As [`Fetcher::document`].
    pub(super) async fn read(body: Body, bytes_max: usize, limit: Duration) -> Result<Self, FetchError> {
        let too_long = || FetchError::WrongLength(format!("a document of more than {bytes_max} bytes"));
        if body.length.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_long());
        }
        let Body { status, told, length, mut stream, .. } = body;
        let whole = async {
            // Growing would take twice as much for a while.
            let mut bytes = BytesMut::with_capacity(length.and_then(|length| length.try_into().ok()).unwrap_or(0));
            while let Some(piece) = stream.next().await.transpose()? {
                if bytes.len() + piece.len() > bytes_max {
                    return Err(too_long());
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        };
        let bytes = tokio::time::timeout(limit, whole)
            .await
            .map_err(|_| FetchError::TimedOut(format!("a document that is not complete after {limit:?}")))??;
        Ok(Self { status, told, bytes })
    }
}
