//! Exchanges: requests as a cache sends them, with conditions and open ranges, where every status is an answer.

use std::fmt;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{Method, Url};

use super::error::redacted;
use super::request::{Exchange, Wanted};
use super::watch::Watch;
use super::{FetchError, Fetcher, Request, Told, answer, compressed};

/// The answer to an exchange.
pub struct Exchanged {
    /// Whatever the server answered.
    pub status: u16,
    /// Place of the answer, after redirects.
    pub url: String,
    /// Headers.
    pub told: Told,
    /// Length of the body, if it is known.
    pub length: Option<u64>,
    /// The bytes. An end before `length`, or a byte after it, is an error; after an error there is nothing more.
    pub stream: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// As [`Fetcher::open`]; `TimedOut` when there is no head within `head_within`.
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Exchanged, FetchError> {
        let request = Request::to(&exchange.url);
        let method = if exchange.head { Method::HEAD } else { Method::GET };
        let asked = self.follow(method, &request, Wanted::Exchange(exchange));
        let (response, at) = match exchange.head_within {
            None => asked.await?,
            Some(limit) => tokio::time::timeout(limit, asked)
                .await
                .map_err(|_| FetchError::TimedOut(format!("{}: no answer within {limit:?}", shown(&exchange.url))))??,
        };
        let status = response.status().as_u16();
        if matches!(status, 200 | 206) && !answer::is_plain(response.headers()) {
            return Err(compressed(&at));
        }
        let bodiless = exchange.head || matches!(status, 204 | 304);
        let length = answer::length(response.headers());
        let told = Told::of(response.headers());
        let left = if bodiless { Some(0) } else { length };
        let (url, idle_timeout) = (at.to_string(), self.0.rules.idle_timeout);
        let watch = Watch { body: response.bytes_stream().boxed(), left, idle_timeout, url: at };
        Ok(Exchanged { status, url, told, length, stream: watch.stream() })
    }
}

/// A URL for a log, which was judged.
fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| String::new(), |url| redacted(&url))
}
