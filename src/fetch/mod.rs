//! The one way out: every request that the server makes on somebody's behalf.
//!
//! A URL comes from outside, so whoever gives one could make the server talk to itself, to its neighbours, or to the
//! metadata service of its cloud. Nothing else in the program that fetches a given URL opens a connection; here each
//! URL, each address of its host and each redirect is judged before anything is sent. Knows nothing of images,
//! callers or protocols, holds no credentials and sends none.
//!
//! How many bytes are wanted at the most, and how slow is too slow over all, is for the caller to say, who counts and
//! times the stream like that of any upload.

mod address;
mod answer;
mod error;
#[cfg(test)]
mod fake;
mod guard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use ipnet::IpNet;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

pub use self::address::is_public;
pub use self::error::FetchError;
use self::error::redacted;
use self::guard::{Guard, Reach, Resolver};

/// Redirects that are followed: mirrors of distributions need two or three.
const REDIRECTS_MAX: usize = 5;

/// What may be fetched, and how patiently.
#[derive(Debug, Clone)]
pub struct FetchRules {
    /// Addresses that are allowed although they are not public, with any port.
    pub allow: Vec<IpNet>,
    /// Ports that are allowed with a public address.
    pub ports: Vec<u16>,
    /// How long a name may take to become addresses.
    pub resolve_timeout: Duration,
    /// How long a connection may take, its TLS handshake included.
    pub connect_timeout: Duration,
    /// How long the other server may take to answer, and then to send another piece.
    pub idle_timeout: Duration,
}

impl Default for FetchRules {
    /// Public addresses on the web's own ports. The times suit a bad line, not a dead one.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            ports: vec![80, 443],
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// What a server says about what is under a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Size in bytes, if it says so.
    pub size: Option<u64>,
    /// Strong entity tag without its quotes, if there is one.
    pub etag: Option<String>,
}

/// Bytes from under a URL.
pub struct Body {
    /// 200, or 206 for a range.
    pub status: u16,
    /// How many bytes there will be; always known for a range.
    pub length: Option<u64>,
    /// Strong entity tag without its quotes, to see that two answers are about the same bytes.
    pub etag: Option<String>,
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

/// The guarded client. Clones share everything.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guard: Guard,
    rules: FetchRules,
    /// One client for each reach, since a client knows only the name when it resolves. Made when first needed:
    /// reading the system's certificates takes a while, and many servers never fetch anything.
    public: OnceLock<Result<Client, String>>,
    listed: OnceLock<Result<Client, String>>,
}

impl Fetcher {
    /// A fetcher under `rules`. Opens nothing yet.
    pub fn new(rules: FetchRules) -> Self {
        let guard = Guard::new(rules.allow.clone(), rules.ports.clone(), rules.resolve_timeout);
        Self(Arc::new(Inner { guard, rules, public: OnceLock::new(), listed: OnceLock::new() }))
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

    /// What is under a URL. Anything but a plain yes is [`FetchError::NotFound`].
    ///
    /// A server that does not know `HEAD` is asked with `GET`, of which only the headers are read.
    pub async fn head(&self, url: &str) -> Result<Found, FetchError> {
        let (mut response, _) = self.follow(Method::HEAD, url, None).await?;
        if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            (response, _) = self.follow(Method::GET, url, None).await?;
        }
        if response.status() != StatusCode::OK {
            return Err(FetchError::NotFound);
        }
        let headers = response.headers();
        let plain = answer::is_plain(headers);
        Ok(Found { size: answer::length(headers).filter(|_| plain), etag: answer::etag(headers) })
    }

    /// The bytes under a URL, or the part `range` of them (the end is exclusive). A server that answers a range with
    /// anything else than exactly this part is an error.
    pub async fn get(&self, url: &str, range: Option<Range<u64>>) -> Result<Body, FetchError> {
        if range.as_ref().is_some_and(|range| range.is_empty()) {
            return Err(FetchError::BadRange);
        }
        let (response, at) = self.follow(Method::GET, url, range.as_ref()).await?;
        let status = response.status();
        let length = match (status, &range) {
            (StatusCode::OK, None) => answer::length(response.headers()),
            (StatusCode::PARTIAL_CONTENT, Some(range)) if answer::is_part(response.headers(), range) => {
                Some(range.end - range.start)
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => return Err(FetchError::BadRange),
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => return Err(FetchError::NotFound),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => return Err(FetchError::NotFound),
            (StatusCode::OK | StatusCode::PARTIAL_CONTENT, _) => {
                return Err(upstream(
                    &at,
                    format_args!("{status}, which is not the range {range:?} that was asked for"),
                ));
            }
            _ => return Err(upstream(&at, status)),
        };
        if !answer::is_plain(response.headers()) {
            return Err(upstream(&at, "the body is compressed although that was not asked for"));
        }
        let etag = answer::etag(response.headers());
        let body = response.bytes_stream().boxed();
        let watch = Watch { body, left: length, idle_timeout: self.0.rules.idle_timeout, url: at };
        Ok(Body { status: status.as_u16(), length, etag, stream: watch.stream() })
    }

    /// Sends a request and follows redirects, each judged like the first URL. Returns where the answer came from.
    async fn follow(
        &self,
        method: Method,
        url: &str,
        range: Option<&Range<u64>>,
    ) -> Result<(Response, Url), FetchError> {
        let (mut url, mut reach) = self.0.guard.parse(url)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.0.client(reach)?.request(method.clone(), url.clone());
            // As it is: a compressed answer would have other bytes, another length and other ranges.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(range) = range {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            }
            let response = self.0.answer(request, &url).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, url));
            }
            let next = next_hop(&url, response.headers())?;
            reach = self.0.guard.judge(&next)?;
            url = next;
        }
        Err(upstream(&url, "too many redirects"))
    }
}

/// Where a redirect leads.
fn next_hop(url: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(LOCATION).ok_or_else(|| upstream(url, "a redirect to nowhere"))?;
    let next = url
        .join(&String::from_utf8_lossy(location.as_bytes()))
        .map_err(|_| upstream(url, "a redirect to a malformed URL"))?;
    if url.scheme() == "https" && next.scheme() == "http" {
        // Whoever asked for https is not to get bytes that anybody on the way could have changed.
        return Err(upstream(url, "a redirect from https to http"));
    }
    Ok(next)
}

fn upstream(url: &Url, what: impl fmt::Display) -> FetchError {
    FetchError::Upstream(format!("{}: {what}", redacted(url)))
}

impl Inner {
    /// Sends a request and waits for the head of its answer.
    async fn answer(&self, request: RequestBuilder, url: &Url) -> Result<Response, FetchError> {
        let patience = self.rules.connect_timeout + self.rules.idle_timeout;
        match tokio::time::timeout(patience, request.send()).await {
            Ok(answer) => answer.map_err(|error| FetchError::from_client(error, url)),
            Err(_) => Err(FetchError::TimedOut(format!("{}: no answer within {patience:?}", redacted(url)))),
        }
    }

    fn client(&self, reach: Reach) -> Result<&Client, FetchError> {
        let client = match reach {
            Reach::Public => &self.public,
            Reach::Listed => &self.listed,
        };
        let client = client.get_or_init(|| self.build(reach).map_err(|error| error.to_string()));
        client.as_ref().map_err(|error| FetchError::Upstream(format!("the HTTP client can't be made: {error}")))
    }

    fn build(&self, reach: Reach) -> reqwest::Result<Client> {
        // An error says that there is a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Resolver { guard: self.guard.clone(), reach })
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                // Every request makes a connection of its own, to addresses judged for it.
                .pool_max_idle_per_host(0)
                // No `read_timeout`: it also counts the time that our own reader takes between two pieces.
                .connect_timeout(self.rules.connect_timeout)
        };
        builder().build().or_else(|error| {
            log::warn!("the system's certificates can't be read, so https URLs will not be fetched: {error}");
            builder().tls_certs_only([]).build()
        })
    }
}

/// Watches over a body: that it does not stop coming, and has exactly the announced length.
struct Watch {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    left: Option<u64>,
    idle_timeout: Duration,
    url: Url,
}

impl Watch {
    /// The stream of what passes; an error is the last thing in it.
    fn stream(self) -> BoxStream<'static, Result<Bytes, FetchError>> {
        let pieces = stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            let piece = watch.next().await?;
            let watch = piece.is_ok().then_some(watch);
            Some((piece, watch))
        });
        pieces.boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        let Ok(piece) = tokio::time::timeout(self.idle_timeout, self.body.next()).await else {
            let text = format!("{}: nothing came for {:?}", redacted(&self.url), self.idle_timeout);
            return Some(Err(FetchError::TimedOut(text)));
        };
        match (piece, self.left) {
            (Some(Err(error)), _) => Some(Err(FetchError::from_body(error, &self.url))),
            (Some(Ok(piece)), None) => Some(Ok(piece)),
            (Some(Ok(piece)), Some(left)) => {
                self.left = left.checked_sub(piece.len() as u64);
                Some(if self.left.is_some() { Ok(piece) } else { Err(self.wrong_length("more bytes than announced")) })
            }
            (None, None | Some(0)) => None,
            (None, Some(left)) => Some(Err(self.wrong_length(format_args!("{left} bytes are missing")))),
        }
    }

    fn wrong_length(&self, what: impl fmt::Display) -> FetchError {
        FetchError::WrongLength(format!("{}: {what}", redacted(&self.url)))
    }
}
