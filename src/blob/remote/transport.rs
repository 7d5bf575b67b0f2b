//! Transport of OpenDAL's requests: the guarded client, with a few attempts if needed. Answers that are no success become
//! one of a closed set of reasons, so that nothing else of them leaves this file.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_RANGE, IF_NONE_MATCH, RANGE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use opendal::raw::Operation;
use opendal::{Buffer, HttpBody, HttpTransport};
use tokio::time::timeout_at;

use super::signing::Signing;
use super::trouble::{Trouble, Why, code_of};
use super::webhdfs;
use crate::fetch::{Answer, Call, FetchError, Fetcher};

/// Pause before each further try, and the time after which there is none. Tests can't wait.
const PAUSE: u64 = if cfg!(test) { 10 } else { 200 };
const PAUSES: [Duration; 3] =
    [Duration::from_millis(PAUSE), Duration::from_millis(PAUSE * 5), Duration::from_millis(PAUSE * 20)];
const TRIES_FOR: Duration = Duration::from_secs(30);

/// Time in which a store that takes no connection is tried for a request that changes something: a client waits for the answer.
const REACHED_WITHIN: Duration = Duration::from_millis(PAUSE * 7);

/// Longest answer that is no image: a page of a list has a tenth of this.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Time for such an answer.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Longest answer about an error that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Differences between the servers.
#[derive(Debug)]
pub(super) enum Dialect {
    /// S3: what signs requests that have to be changed.
    S3(Signing),
    /// The user for WebHDFS.
    Hdfs { user: String },
}

/// The way to one store. Clones are the same way.
#[derive(Debug, Clone)]
pub(super) struct Transport(Arc<Way>);

#[derive(Debug)]
struct Way {
    store: String,
    fetcher: Fetcher,
    dialect: Dialect,
    /// The server does not know how to create only what is not there.
    unconditional: AtomicBool,
    /// The last request made no connection in all of its tries: until one does, each has a single try.
    unreached: AtomicBool,
}

impl Transport {
    /// A way to the store of this name, through a fetcher that was granted its server.
    pub(super) fn new(store: &str, fetcher: Fetcher, dialect: Dialect) -> Self {
        Self(Arc::new(Way {
            store: store.to_owned(),
            fetcher,
            dialect,
            unconditional: AtomicBool::new(false),
            unreached: AtomicBool::new(false),
        }))
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        let body: Vec<Bytes> = Iterator::collect(body);
        let once = self.0.prepare(&mut parts, &body);
        let (began, mut pauses, mut doubt) = (Instant::now(), PAUSES.iter(), false);
        loop {
            if self.0.unconditional.load(Ordering::Relaxed) {
                self.0.ask_without_condition(&mut parts).await?;
            }
            let attempt = self.0.attempt(&parts, &body).await;
            if !matches!(attempt, Err(Why::Unreached)) {
                self.0.unreached.store(false, Ordering::Relaxed);
            }
            let why = match attempt {
                Ok(response) => return Ok(response),
                Err(why) => why,
            };
            if why == Why::NotImplemented && parts.headers.contains_key(IF_NONE_MATCH) {
                log::info!("the store {} does not support conditional writes; they are not used", self.0.store);
                self.0.unconditional.store(true, Ordering::Relaxed);
                continue;
            }
            match pauses.next() {
                Some(pause)
                    if why.may_pass()
                        && !once
                        && began.elapsed() < TRIES_FOR
                        && (why != Why::Unreached || self.0.waits_for_it(&parts, began.elapsed() + *pause)) =>
                {
                    log::debug!("the store {} is asked again in {pause:?}: {why:?}", self.0.store);
                    doubt |= why != Why::Unreached;
                    tokio::time::sleep(*pause).await;
                }
                _ => {
                    self.0.unreached.fetch_or(why == Why::Unreached, Ordering::Relaxed);
                    return Err(Trouble { why, doubt }.into());
                }
            }
        }
    }
}

impl Way {
    /// Adds what the dialect wants, and says whether the request may be sent only once.
    fn prepare(&self, parts: &mut Parts, body: &[Bytes]) -> bool {
        match &self.dialect {
            Dialect::S3(_) => false,
            Dialect::Hdfs { user } => {
                // The datanode gets what the namenode's answer has for it, and nothing of ours.
                if self.fetcher.is_granted(&parts.uri.to_string()) {
                    webhdfs::say_who(parts, user);
                }
                if !body.is_empty() {
                    webhdfs::say_what(parts);
                }
                // Bytes that are appended twice are there twice.
                parts.method == Method::POST && !body.is_empty()
            }
        }
    }

    /// Tells if a store that takes no connection is tried again, this time after the first try.
    fn waits_for_it(&self, parts: &Parts, after: Duration) -> bool {
        let changes = parts.method != Method::GET && parts.method != Method::HEAD;
        // An upload is lost with one of its parts. Its clean-up is not that urgent.
        if changes && parts.method != Method::DELETE && has_query(parts, "uploadId") {
            return true;
        }
        !self.unreached.load(Ordering::Relaxed) && (!changes || after <= REACHED_WITHIN)
    }

    /// Takes the condition out of a request and signs it again.
    async fn ask_without_condition(&self, parts: &mut Parts) -> Result<(), Trouble> {
        if let (Dialect::S3(signing), Some(_)) = (&self.dialect, parts.headers.remove(IF_NONE_MATCH)) {
            signing.sign(parts).await.map_err(|_| Trouble { why: Why::Odd, doubt: false })?;
        }
        Ok(())
    }

    /// Sends a request once.
    async fn attempt(&self, parts: &Parts, body: &[Bytes]) -> Result<Response<HttpBody>, Why> {
        let hdfs = matches!(self.dialect, Dialect::Hdfs { .. });
        let read = parts.extensions.get::<Operation>() == Some(&Operation::Read);
        let completes = parts.method == Method::POST && has_query(parts, "uploadId");
        let call = Call {
            method: parts.method.clone(),
            url: parts.uri.to_string(),
            headers: parts.headers.clone(),
            body: body.to_vec(),
            // Signed requests are for one host; only WebHDFS answers with the place of the bytes.
            follow: hdfs && parts.method == Method::GET,
            slow: completes,
        };
        let answer = self.fetcher.call(call).await.map_err(|error| {
            log::debug!("the store {} gives no answer: {error}", self.store);
            Why::of_fetch(&error)
        })?;
        if hdfs && let Some(place) = webhdfs::place(parts, &answer.headers, answer.status) {
            return Ok(whole(StatusCode::OK, HeaderMap::new(), place));
        }
        if !answer.status.is_success() {
            return self.no_success(answer).await;
        }
        if read {
            return if is_wanted_part(&parts.headers, &answer) { Ok(streamed(answer)) } else { Err(Why::Odd) };
        }
        let Answer { status, headers, length, stream } = answer;
        let bytes = gather(stream, length, ANSWER_BYTES_MAX).await?;
        // A server that takes its time has said yes before it knows.
        match completes.then(|| code_of(&bytes)).flatten() {
            Some(code) => Err(Why::of_answer(StatusCode::INTERNAL_SERVER_ERROR, Some(&code))),
            None => Ok(whole(status, headers, bytes)),
        }
    }

    /// Turns a failed answer into a reason, except "not found", which the library judges.
    async fn no_success(&self, answer: Answer) -> Result<Response<HttpBody>, Why> {
        let Answer { status, headers, length, stream } = answer;
        // Whatever came of it: the status says most.
        let bytes = gather(stream, length, ERROR_BYTES_MAX).await.unwrap_or_default();
        let code = code_of(&bytes);
        let why = Why::of_answer(status, code.as_deref());
        let known = matches!(status, StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE) && why == Why::Odd;
        if known {
            return Ok(whole(status, headers, bytes));
        }
        log::debug!("the store {} answers {status} {}", self.store, code.unwrap_or_default());
        Err(why)
    }
}

/// Tells whether a request has this parameter.
fn has_query(parts: &Parts, name: &str) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.split('=').next() == Some(name))
}

/// Tells whether an answer has exactly the requested bytes. WebHDFS has the range in its URL.
fn is_wanted_part(asked: &HeaderMap, answer: &Answer) -> bool {
    let text = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    match (text(asked, RANGE), text(&answer.headers, CONTENT_RANGE)) {
        (None, _) => answer.status == StatusCode::OK,
        (Some(asked), Some(part)) if answer.status == StatusCode::PARTIAL_CONTENT => {
            // Units are compared without case.
            let part = part.trim().replacen(' ', "=", 1).to_ascii_lowercase();
            part.strip_prefix(&asked).is_some_and(|rest| rest.starts_with('/'))
        }
        (Some(_), _) => false,
    }
}

/// A short answer, read to its end.
async fn gather(
    mut stream: BoxStream<'static, Result<Bytes, FetchError>>,
    length: Option<u64>,
    bytes_max: usize,
) -> Result<Bytes, Why> {
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(Why::Odd);
    }
    let mut bytes = BytesMut::new();
    let end = tokio::time::Instant::now() + ANSWER_TIME;
    while let Some(piece) = timeout_at(end, stream.next()).await.map_err(|_| Why::Slow)? {
        let piece =
            piece.map_err(|error| if matches!(error, FetchError::TimedOut(_)) { Why::Slow } else { Why::Down })?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(Why::Odd);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn respond(status: StatusCode, headers: HeaderMap, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn whole(status: StatusCode, headers: HeaderMap, bytes: Bytes) -> Response<HttpBody> {
    let length = bytes.len() as u64;
    let body = futures_util::stream::iter([Ok(Buffer::from(bytes))]);
    respond(status, headers, HttpBody::new(body, Some(length)))
}

fn streamed(answer: Answer) -> Response<HttpBody> {
    let Answer { status, headers, length, stream } = answer;
    respond(status, headers, HttpBody::new(BodyPieces(Mutex::new(stream)), length))
}

/// A body that OpenDAL can pass between threads. Only one task ever reads, so the lock is always free.
struct BodyPieces(Mutex<BoxStream<'static, Result<Bytes, FetchError>>>);

impl Stream for BodyPieces {
    type Item = opendal::Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        stream.poll_next_unpin(cx).map(|piece| {
            piece.map(|piece| match piece {
                Ok(bytes) => Ok(Buffer::from(bytes)),
                Err(error) => Err(Trouble { why: Why::of_fetch(&error), doubt: false }.into()),
            })
        })
    }
}
