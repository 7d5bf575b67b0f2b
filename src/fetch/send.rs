//! Sending bytes to another server: to the named one, and to none that it redirects to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::Connections;
use super::error::redacted;
use super::follow::is_redirect;
use super::{Document, FetchError, Fetcher, FetcherInner, Request, upstream};
use crate::error::{Error, Result};

/// Bytes to send.
pub struct Payload {
    /// Its media type.
    pub content_type: String,
    /// Number of bytes, if it is known; a stream of another length fails.
    pub length: Option<u64>,
    /// The bytes. An error ends the request, and is what the caller gets to know.
    pub stream: BoxStream<'static, crate::error::Result<Bytes>>,
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Sends bytes in a `POST` and reads the answer, of `bytes_max` at most and whatever its status.
    ///
    /// # Errors
    /// `Upstream` for a redirect too: nothing is sent to a server that was not named. `TimedOut` when the server takes no more bytes,
    /// or does not answer when it has all; `Payload` when our own stream breaks off.
    pub async fn send(&self, request: &Request, payload: Payload, bytes_max: usize) -> Result<Document, FetchError> {
        let (url, reach) = self.0.guard.parse(&request.url)?;
        let idle = request.patience.unwrap_or(self.0.rules.idle_timeout);
        let Payload { content_type, length, stream } = payload;
        let connections = Connections::usual(reach);
        let mut outgoing = self.0.request(Method::POST, request, &url, reach, connections)?;
        let content_type =
            HeaderValue::from_str(&content_type).map_err(|error| FetchError::Payload(Error::internal(error)))?;
        outgoing = outgoing.header(CONTENT_TYPE, content_type);
        if let Some(length) = length {
            outgoing = outgoing.header(CONTENT_LENGTH, length);
        }
        let response = self.0.deliver(outgoing, &url, stream, length, idle).await?;
        if is_redirect(response.status()) {
            return Err(upstream(&url, "a redirect, which is not followed with what was to be given"));
        }
        let body = self.0.body(response, url, request)?;
        Document::read(body, bytes_max, self.time_for(request)).await
    }
}

impl FetcherInner {
    /// Sends a request with a body, as long as the other side goes on taking it, and waits for the head of the answer.
    pub(super) async fn deliver(
        &self,
        outgoing: RequestBuilder,
        url: &Url,
        stream: BoxStream<'static, crate::error::Result<Bytes>>,
        length: Option<u64>,
        idle: Duration,
    ) -> Result<Response, FetchError> {
        let progress = Arc::new(SendProgress::default());
        let body = watched(stream, length, Arc::clone(&progress));
        let mut sending = std::pin::pin!(outgoing.body(reqwest::Body::wrap_stream(body)).send());
        let answer = loop {
            tokio::select! {
                answer = &mut sending => break answer,
                // The first piece is taken when there is a connection.
                moved = timeout(self.rules.connect_timeout + idle, progress.moved.notified()) => if moved.is_err() {
                    let text = format!("{}: it took nothing for {idle:?}", redacted(url));
                    return Err(FetchError::TimedOut(text));
                },
            }
        };
        if let Some(error) = progress.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(FetchError::Payload(error));
        }
        answer.map_err(|error| FetchError::from_client(error, url))
    }
}

/// Progress of the bytes, for the task that waits for the answer.
#[derive(Default)]
struct SendProgress {
    moved: Notify,
    /// The error of our own stream, if it broke off.
    broken: Mutex<Option<Error>>,
}

/// The bytes as the client library takes them: each tells that it was taken, and there are as many as was said.
fn watched(
    stream: BoxStream<'static, crate::error::Result<Bytes>>,
    length: Option<u64>,
    progress: Arc<SendProgress>,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let state = Some((stream, length, progress));
    let pieces = stream::unfold(state, |state| async move {
        let (mut stream, left, progress) = state?;
        progress.moved.notify_one();
        let next = match (stream.next().await.transpose(), left) {
            (Ok(None), None | Some(0)) => return None,
            (Ok(Some(piece)), None) => Ok((piece, None)),
            (Ok(Some(piece)), Some(left)) => match left.checked_sub(piece.len() as u64) {
                Some(left) => Ok((piece, Some(left))),
                None => Err(Error::internal("there are more bytes than was said")),
            },
            (Ok(None), Some(left)) => Err(Error::internal(format!("{left} bytes are missing"))),
            (Err(error), _) => Err(error),
        };
        match next {
            Ok((piece, left)) => Some((Ok(piece), Some((stream, left, progress)))),
            Err(error) => {
                let text = error.to_string();
                *progress.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some((Err(std::io::Error::other(text)), None))
            }
        }
    });
    pieces.fuse().boxed()
}
