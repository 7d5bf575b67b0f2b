//! The one way out: every request that the server makes for a caller.
//!
//! A URL comes from outside, so it could make the server talk to itself, to its neighbours, or to the
//! metadata service of its cloud. Nothing else in the program that fetches a given URL opens a connection; here each
//! URL, each address of its host and each redirect is judged before anything is sent. Knows nothing of images,
//! callers or protocols and holds no credentials; all it says beyond a URL is of a closed set ([`Header`]), and what is given
//! away ([`Payload`]) goes to the server that was named or nowhere. A server that the operator configured is another matter
//! ([`Fetcher::granting`]): it may have any address, and is asked what its protocol wants ([`Call`]); where it points at is
//! judged like any URL.
//!
//! How many bytes are wanted at the most, and how slow is too slow over all, is for the caller to say, who counts and
//! times the stream like that of any upload.

mod address;
mod again;
#[cfg(test)]
mod again_tests;
mod answer;
mod backoff;
mod call;
mod client;
mod document;
mod error;
mod exchange;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
pub(crate) mod fake;
mod follow;
mod guard;
mod pin;
mod proxy;
#[cfg(test)]
mod proxy_tests;
mod request;
mod rules;
mod send;
#[cfg(test)]
mod tests;
mod transfer;
mod watch;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::ACCEPT_ENCODING;
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, RequestBuilder, Response, Url};
pub use reqwest::{Method, StatusCode};

pub use self::address::is_public;
pub use self::answer::{ContentRange, Told};
pub use self::backoff::{Backoff, OnRetry, Retries, RetryEvent};
pub use self::call::{Answer, Call};
use self::client::{Clients, Connections};
pub use self::document::Document;
use self::error::redacted;
pub use self::error::{FetchError, barred_for};
pub use self::exchange::Exchanged;
use self::guard::{AddressGuard, Reach};
pub use self::pin::Pin;
pub use self::proxy::Proxies;
use self::request::Wanted;
pub use self::request::{Exchange, Header, Request};
pub use self::rules::FetchRules;
pub use self::send::Payload;
use self::watch::Watch;
use crate::error::{Error, Result};

/// Facts about a URL, from its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Size in bytes, if it says so.
    pub size: Option<u64>,
    /// Strong entity tag without its quotes, if there is one.
    pub etag: Option<String>,
}

/// Bytes from under a URL.
pub struct Body {
    /// 200, or 206 for a range; from [`Fetcher::open`] any.
    pub status: u16,
    /// Length of the body; always known for a range.
    pub length: Option<u64>,
    /// Strong entity tag without its quotes, to see that two answers are about the same bytes.
    pub etag: Option<String>,
    /// Other headers of the answer.
    pub told: Told,
    /// The bytes. An end before `length`, or a byte after it, is an error; after an error there is nothing more.
    pub stream: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

/// Longest URL, as written down: what servers and proxies take. It becomes a part of a record.
const URL_BYTES_MAX: usize = 4096;

/// The guarded client, and a listener to its pauses. Clones share everything.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<FetcherInner>, Option<OnRetry>);

#[derive(Debug)]
struct FetcherInner {
    guard: AddressGuard,
    rules: FetchRules,
    /// Certificates that vouch for servers, in place of the system's.
    roots: Option<Vec<Certificate>>,
    clients: Clients,
    /// True while nothing may be sent.
    silent: Arc<AtomicBool>,
}

impl Fetcher {
    /// A fetcher under `rules`. Opens nothing yet.
    pub fn new(rules: FetchRules) -> Self {
        let guard = AddressGuard::new(&rules);
        Self::under(guard, rules, None, Arc::default())
    }

    fn under(guard: AddressGuard, rules: FetchRules, roots: Option<Vec<Certificate>>, silent: Arc<AtomicBool>) -> Self {
        Self(Arc::new(FetcherInner { guard, rules, roots, clients: Clients::default(), silent }), None)
    }

    /// A fetcher under the same rules with a silence of its own: what the server needs itself goes on when images are not fetched.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::under(self.0.guard.clone(), self.0.rules.clone(), self.0.roots.clone(), Arc::default())
    }

    /// Sends nothing from now on, or sends again; with all that were made of this one.
    pub fn silence(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::SeqCst);
    }

    /// A fetcher under the same rules for servers that only these certificates vouch for, not those of the system. A server's own
    /// will do.
    ///
    /// # Errors
    /// `Invalid` for what is no PEM with certificates.
    pub fn trusting(&self, pem: &[u8]) -> Result<Self, Error> {
        let bad = || Error::invalid("there is no certificate in PEM in it");
        let roots = Certificate::from_pem_bundle(pem).ok().filter(|roots| !roots.is_empty()).ok_or_else(bad)?;
        Ok(Self::under(self.0.guard.clone(), self.0.rules.clone(), Some(roots), Arc::clone(&self.0.silent)))
    }

    /// A fetcher under the same rules that waits only so long for a connection.
    #[must_use]
    pub fn connecting_within(&self, limit: Duration) -> Self {
        let rules = FetchRules { connect_timeout: limit, ..self.0.rules.clone() };
        Self::under(self.0.guard.clone(), rules, self.0.roots.clone(), Arc::clone(&self.0.silent))
    }

    /// A URL as it is written down, if it may be fetched as far as can be told without asking anybody. What is given may have
    /// blanks around it that mean nothing, as many as the sender likes.
    ///
    /// # Errors
    /// [`FetchError::Refused`], for one that is too long as well.
    pub fn canonical(&self, url: &str) -> Result<String, FetchError> {
        let (url, _) = self.0.guard.parse(url)?;
        if url.as_str().len() > URL_BYTES_MAX { Err(FetchError::Refused) } else { Ok(url.into()) }
    }

    /// Asks for the facts about a URL.
    ///
    /// A server that does not know `HEAD` is asked with `GET`, of which only the headers are read.
    pub async fn head(&self, url: &str) -> Result<Found, FetchError> {
        let request = Request::to(url);
        let (mut response, mut at) = self.follow(Method::HEAD, &request, Wanted::All).await?;
        if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            (response, at) = self.follow(Method::GET, &request, Wanted::All).await?;
        }
        if response.status() != StatusCode::OK {
            return Err(answer::refused(&at, response.status(), response.headers()));
        }
        if !answer::is_plain(response.headers()) {
            return Err(compressed(&at));
        }
        Ok(Found { size: answer::length(response.headers()), etag: answer::etag(response.headers()) })
    }

    /// Asks for the facts about a URL whose bytes are to be read later. Answers to `HEAD` may leave out that the bytes are
    /// compressed, or that they can't be had at all, so that the first byte is asked for too.
    pub async fn probe(&self, url: &str) -> Result<Found, FetchError> {
        let found = self.head(url).await?;
        let (response, at) = self.follow(Method::GET, &Request::to(url), Wanted::Range(&(0..1))).await?;
        match response.status() {
            // An empty file has no first byte.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
            status => return Err(answer::refused(&at, status, response.headers())),
        }
        if !answer::is_plain(response.headers()) {
            return Err(compressed(&at));
        }
        Ok(found)
    }

    /// The status and the headers of the answer to a `HEAD`.
    pub async fn headers(&self, request: &Request) -> Result<(u16, Told), FetchError> {
        let (response, _) = self.follow(Method::HEAD, request, Wanted::All).await?;
        Ok((response.status().as_u16(), Told::of(response.headers())))
    }

    /// The bytes under a URL, or the part `range` of them (the end is exclusive). A server that answers a range with
    /// anything else than exactly this part is an error.
    pub async fn get(&self, url: &str, range: Option<Range<u64>>) -> Result<Body, FetchError> {
        let partial = range.is_some();
        let body = self.part_or_whole(url, range).await?;
        match partial && body.status == StatusCode::OK {
            false => Ok(body),
            true => Err(upstream(&self.0.guard.parse(url)?.0, "it ignores ranges")),
        }
    }

    /// The bytes under a URL, or the part `range` of them; everything, with the status 200, from a server that ignores
    /// ranges.
    pub async fn part_or_whole(&self, url: &str, range: Option<Range<u64>>) -> Result<Body, FetchError> {
        if range.as_ref().is_some_and(|range| range.is_empty()) {
            return Err(FetchError::BadRange);
        }
        let request = Request::to(url);
        let wanted = range.as_ref().map_or(Wanted::All, Wanted::Range);
        let (response, at) = self.follow(Method::GET, &request, wanted).await?;
        let status = response.status();
        match (status, &range) {
            (StatusCode::OK, _) => self.0.body(response, at, &request),
            (StatusCode::PARTIAL_CONTENT, Some(range)) if answer::is_part(response.headers(), range) => {
                self.0.body_of(response, at, &request, Some(range.end - range.start))
            }
            (StatusCode::PARTIAL_CONTENT, _) => {
                Err(upstream(&at, format_args!("{status}, which is not the range {range:?} that was asked for")))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, None) => Err(answer::trouble(&at, status.as_u16(), response.headers())),
            _ => Err(answer::refused(&at, status, response.headers())),
        }
    }

    /// Sends a request and returns the answer, whatever its status: some servers explain an error in the body.
    pub async fn open(&self, request: &Request) -> Result<Body, FetchError> {
        let (response, at) = self.follow(Method::GET, request, Wanted::All).await?;
        self.0.body(response, at, request)
    }
}

fn compressed(url: &Url) -> FetchError {
    FetchError::Compressed(redacted(url))
}

fn upstream(url: &Url, what: impl fmt::Display) -> FetchError {
    FetchError::Upstream(format!("{}: {what}", redacted(url)))
}

impl FetcherInner {
    /// A request as it goes out to one place.
    fn request(
        &self,
        method: Method,
        request: &Request,
        url: &Url,
        reach: Reach,
        connections: Connections,
    ) -> Result<RequestBuilder, FetchError> {
        let mut outgoing = match &request.pin {
            None => self.client(reach, connections)?.request(method, url.clone()),
            Some(_) if url.scheme() != "https" => return Err(upstream(url, "there is no certificate without https")),
            Some(pin) => self.pinned(reach, pin)?.request(method, url.clone()),
        };
        // As it is: a compressed answer would have other bytes, another length and other ranges.
        outgoing = outgoing.header(ACCEPT_ENCODING, "identity");
        for (header, value) in &request.said {
            outgoing = outgoing.header(header.name(), value.clone());
        }
        Ok(outgoing)
    }

    /// Sends a request and waits for the head of its answer.
    async fn answer(
        &self,
        request: RequestBuilder,
        url: &Url,
        patience: Option<Duration>,
    ) -> Result<Response, FetchError> {
        let patience = self.rules.connect_timeout + patience.unwrap_or(self.rules.idle_timeout);
        match tokio::time::timeout(patience, request.send()).await {
            Ok(answer) => answer.map_err(|error| FetchError::from_client(error, url)),
            Err(_) => Err(FetchError::TimedOut(format!("{}: no answer within {patience:?}", redacted(url)))),
        }
    }

    /// The body of an answer from `at`.
    fn body(&self, response: Response, at: Url, request: &Request) -> Result<Body, FetchError> {
        let length = answer::length(response.headers());
        self.body_of(response, at, request, length)
    }

    /// The body of an answer that has to have this length.
    fn body_of(&self, response: Response, at: Url, request: &Request, length: Option<u64>) -> Result<Body, FetchError> {
        if !answer::is_plain(response.headers()) {
            return Err(compressed(&at));
        }
        let status = response.status().as_u16();
        let (etag, told) = (answer::etag(response.headers()), Told::of(response.headers()));
        let idle_timeout = request.patience.unwrap_or(self.rules.idle_timeout);
        let watch = Watch { body: response.bytes_stream().boxed(), left: length, idle_timeout, url: at };
        Ok(Body { status, length, etag, told, stream: watch.stream() })
    }
}
