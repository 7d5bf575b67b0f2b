//! Uploads: in one request, or in pieces that are gone on with until all of them are there.

use std::io::SeekFrom;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::{Client, ClientError, Progress, Record, Result, checked, garbled, json, put_meta, record};

/// Files are read in pieces of this size.
const PIECE: usize = 256 * 1024;

/// Tries that bring no further before it is given up, with pauses between them that grow to a quarter of a minute.
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// A file on its way to the server.
pub struct Upload {
    /// Its bytes.
    pub stream: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send + Sync>>,
    /// Number of bytes, if it is known.
    pub length: Option<u64>,
}

impl Upload {
    /// Upload of all bytes of a reader, with progress; `before` bytes were sent already.
    pub fn of(
        from: impl AsyncRead + Unpin + Send + Sync + 'static,
        length: Option<u64>,
        before: u64,
        progress: Progress,
    ) -> Self {
        let stream = stream::try_unfold((from, before), move |(mut from, sent)| {
            let progress = progress.clone();
            async move {
                let mut piece = bytes::BytesMut::with_capacity(PIECE);
                let read = from.read_buf(&mut piece).await?;
                if read == 0 {
                    return Ok(None);
                }
                let sent = sent + read as u64;
                progress(sent);
                Ok(Some((piece.freeze(), (from, sent))))
            }
        });
        Self { stream: Box::pin(stream), length }
    }

    /// Makes it the body of a request.
    pub(super) fn send_with(self, request: &mut Request, content_type: &'static str) {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(length) = self.length {
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *request.body_mut() = Some(reqwest::Body::wrap_stream(self.stream));
    }
}

/// A file to send in pieces.
pub struct Pieces<'a> {
    /// The image that gets the file; without one a new one is made.
    pub into: Option<&'a str>,
    /// Attributes.
    pub meta: &'a [(String, String)],
    /// The file.
    pub file: &'a Path,
    /// Its length.
    pub length: u64,
    /// An upload of this file that was begun earlier.
    pub begun: Option<String>,
}

/// State of an upload on the server.
enum Standing {
    At(u64),
    Complete,
}

impl Client {
    /// Sends a file in pieces, and goes on by itself when the connection breaks or the server restarts. `began` is told
    /// the upload's id, with which another call can go on. `None`: this server knows no such uploads.
    ///
    /// # Errors
    /// As the server says; `Interrupted` and `Unreachable` when it came no further for too long.
    pub async fn send_in_pieces(
        &self,
        what: Pieces<'_>,
        began: impl Fn(&str),
        progress: Progress,
    ) -> Result<Option<Record>> {
        let standing = match &what.begun {
            Some(id) => match self.standing(id).await {
                Err(ClientError::NotFound(_) | ClientError::Conflict(_)) => None,
                found => Some((id.clone(), found?)),
            },
            None => None,
        };
        let (id, mut at) = match standing {
            Some((id, Standing::Complete)) => return self.head(&id).await.map(Some),
            Some((id, Standing::At(at))) => (id, at),
            None => {
                let begun = match (self.begin_pieces(&what).await, what.into) {
                    // An upload into this image that was never finished, of another file perhaps.
                    (Err(ClientError::Conflict(_)), Some(into)) if self.cancel_pieces(into).await.is_ok() => {
                        self.begin_pieces(&what).await
                    }
                    (begun, _) => begun,
                };
                match begun? {
                    Some(id) => (id, 0),
                    None => return Ok(None),
                }
            }
        };
        began(&id);
        let mut tries = 0;
        loop {
            let mut trouble = match self.piece(&id, &what, at, progress.clone()).await {
                Ok(record) => return Ok(Some(record)),
                Err(error) => error,
            };
            at = loop {
                if !is_passing(&trouble) || tries == TRIES_MAX {
                    return Err(trouble);
                }
                tokio::time::sleep(PAUSE_MAX.min(PAUSE * 2u32.pow(tries))).await;
                tries += 1;
                match self.standing(&id).await {
                    Ok(Standing::Complete) => return self.head(&id).await.map(Some),
                    Ok(Standing::At(now)) => {
                        if now > at {
                            tries = 0;
                        }
                        break now;
                    }
                    Err(error) => trouble = error,
                }
            };
        }
    }

    async fn begin_pieces(&self, what: &Pieces<'_>) -> Result<Option<String>> {
        let url = match what.into {
            None => self.url("/uploads")?,
            Some(into) => self.named("uploads", into)?,
        };
        let mut request = Request::new(Method::POST, url);
        put_meta(request.headers_mut(), what.meta)?;
        request.headers_mut().insert("upload-complete", HeaderValue::from_static("?0"));
        request.headers_mut().insert("upload-length", what.length.into());
        let answer = self.send(request).await?;
        if matches!(answer.status().as_u16(), 404 | 405 | 501) {
            return Ok(None);
        }
        let answer = checked(answer).await?;
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let id = location.and_then(|location| location.rsplit('/').next()).ok_or_else(garbled)?;
        Ok(Some(id.to_owned()))
    }

    /// Gives an upload in pieces up. The server would do so in a day.
    ///
    /// # Errors
    /// As the server says; `Conflict` when it is complete.
    pub async fn cancel_pieces(&self, id: &str) -> Result<()> {
        checked(self.send(Request::new(Method::DELETE, self.named("uploads", id)?)).await?).await.map(drop)
    }

    async fn standing(&self, id: &str) -> Result<Standing> {
        let answer = checked(self.send(Request::new(Method::HEAD, self.named("uploads", id)?)).await?).await?;
        let text = |headers: &HeaderMap, name| headers.get(name).and_then(|v| v.to_str().ok().map(ToOwned::to_owned));
        if text(answer.headers(), "upload-complete").as_deref() == Some("?1") {
            return Ok(Standing::Complete);
        }
        let offset = text(answer.headers(), "upload-offset").and_then(|offset| offset.parse().ok());
        offset.map(Standing::At).ok_or_else(garbled)
    }

    /// Sends all that is left.
    async fn piece(&self, id: &str, what: &Pieces<'_>, at: u64, progress: Progress) -> Result<Record> {
        let opened = async {
            let mut file = tokio::fs::File::open(what.file).await?;
            file.seek(SeekFrom::Start(at)).await?;
            Ok(file)
        };
        let file = opened.await.map_err(|error| ClientError::from_file(what.file, &error))?;
        let left = what.length.saturating_sub(at);
        let mut request = Request::new(Method::PATCH, self.named("uploads", id)?);
        request.headers_mut().insert("upload-offset", at.into());
        request.headers_mut().insert("upload-complete", HeaderValue::from_static("?1"));
        Upload::of(file.take(left), Some(left), at, progress).send_with(&mut request, "application/partial-upload");
        record(json(checked(self.send(request).await?).await?, "image").await?)
    }
}

/// Tells whether another try may succeed.
fn is_passing(error: &ClientError) -> bool {
    matches!(error, ClientError::Interrupted(_) | ClientError::Unreachable(_) | ClientError::Conflict(_))
}
