//! Requests to a server that the operator configured, as the client of its protocol made them. The URL is judged like
//! every other, and so is every place that an answer points at.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};

use super::client::Connections;
use super::follow::{REDIRECTS_MAX, is_redirect, next_hop};
use super::guard::Reach;
use super::watch::Watch;
use super::{FetchError, Fetcher, FetcherInner, answer, upstream};

/// Largest piece that is handed to the connection at once: with it is told that bytes go on leaving.
const PIECE_BYTES: usize = 256 * 1024;

/// Factor of the usual time for an answer that takes the server long.
const SLOW: u32 = 4;

/// A request, ready to go out.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: String,
    /// Headers. Credentials go to the host of `url` only.
    pub headers: HeaderMap,
    /// The body, in pieces.
    pub body: Vec<Bytes>,
    /// Follow redirects; otherwise a redirect is an answer like any other. A request with a body is never redirected.
    pub follow: bool,
    /// The answer may take the server long.
    pub slow: bool,
}

/// An answer.
pub struct Answer {
    /// Whatever the server answered.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// Length of the body, if it is known.
    pub length: Option<u64>,
    /// The bytes. An end before `length`, or a byte after it, is an error; after an error there is nothing more.
    pub stream: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher under the same rules for a server that the operator configured: its host and port may have any address, and
    /// so may what it points at, if that is on the same machine. Opens nothing yet.
    ///
    /// # Errors
    /// [`FetchError::Refused`] for what is no plain `http` or `https` URL.
    pub fn granting(&self, server: &str) -> Result<Self, FetchError> {
        Ok(Self::under(
            self.0.guard.granting(server)?,
            self.0.rules.clone(),
            self.0.roots.clone(),
            Arc::clone(&self.0.silent),
        ))
    }

    /// Tells whether a URL names the server that this fetcher was granted (see [`Fetcher::granting`]).
    pub fn is_granted(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.0.guard.is_own(&url))
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// As [`Fetcher::open`] and [`Fetcher::send`].
    pub async fn call(&self, call: Call) -> Result<Answer, FetchError> {
        let (mut url, mut reach) = self.0.guard.parse(&call.url)?;
        let (follow, mut headers) = (call.follow && call.body.is_empty(), call.headers.clone());
        for _ in 0..=REDIRECTS_MAX {
            let response = self.0.exchange(&call, &headers, &url, reach).await?;
            if !follow || !is_redirect(response.status()) {
                return self.0.reply(response, url, &call.method);
            }
            let next = next_hop(&url, response.headers())?;
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
                headers.remove(COOKIE);
            }
            reach = self.0.guard.judge(&next)?;
            url = next;
        }
        Err(upstream(&url, "too many redirects"))
    }
}

impl FetcherInner {
    /// One hop.
    async fn exchange(
        &self,
        call: &Call,
        headers: &HeaderMap,
        url: &Url,
        reach: Reach,
    ) -> Result<Response, FetchError> {
        let client = self.client(reach, Connections::usual(reach))?;
        let mut outgoing = client.request(call.method.clone(), url.clone()).headers(headers.clone());
        outgoing = outgoing.header(ACCEPT_ENCODING, "identity");
        let idle = self.patience(call);
        let length: u64 = call.body.iter().map(|piece| piece.len() as u64).sum();
        let may_have_body = !matches!(call.method, Method::GET | Method::HEAD | Method::DELETE);
        if may_have_body && !headers.contains_key(CONTENT_LENGTH) {
            outgoing = outgoing.header(CONTENT_LENGTH, length);
        }
        if length == 0 {
            return self.answer(outgoing, url, Some(idle)).await;
        }
        let pieces: Vec<Bytes> = call.body.clone();
        let pieces = stream::iter(pieces).flat_map(|piece| stream::iter(cut(piece))).map(Ok).boxed();
        self.deliver(outgoing, url, pieces, Some(length), idle).await
    }

    fn patience(&self, call: &Call) -> Duration {
        if call.slow { self.rules.idle_timeout * SLOW } else { self.rules.idle_timeout }
    }

    fn reply(&self, response: Response, url: Url, method: &Method) -> Result<Answer, FetchError> {
        if !answer::is_plain(response.headers()) {
            return Err(upstream(&url, "the body is compressed although that was not asked for"));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        // What is announced there is what another request would bring.
        let bodiless = method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = if bodiless { Some(0) } else { answer::length(&headers) };
        let idle_timeout = self.rules.idle_timeout;
        let watch = Watch { body: response.bytes_stream().boxed(), left: length, idle_timeout, url };
        Ok(Answer { status, headers, length, stream: watch.stream() })
    }
}

/// A piece in smaller ones, without copying.
fn cut(mut piece: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(PIECE_BYTES))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::FetchRules;
    use crate::fetch::fake::{Fake, Say, answer, certificate_for};

    fn call(url: String) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "proof".parse().unwrap());
        Call { method: Method::GET, url, headers, body: Vec::new(), follow: true, slow: false }
    }

    #[tokio::test]
    async fn what_proves_who_we_are_stays_with_the_server_that_was_named() {
        let other = Fake::serving(None, |_| answer("200 OK", "", "there"));
        let place = other.url("x");
        let named = Fake::serving(None, move |asked| match asked.target() {
            "/a" => answer("307 Temporary Redirect", "Location: /b\r\n", ""),
            _ => answer("307 Temporary Redirect", &format!("Location: {place}\r\n"), ""),
        });
        let fetcher = Fetcher::new(FetchRules::default()).granting(&named.url("")).unwrap();
        assert!(fetcher.is_granted(&named.url("x")) && !fetcher.is_granted(&other.url("x")));
        let mut reply = fetcher.call(call(named.url("a"))).await.unwrap();
        assert_eq!(reply.stream.next().await.unwrap().unwrap(), "there");
        assert!(named.asked().iter().all(|asked| asked.header("authorization") == Some("proof")));
        assert_eq!(other.asked()[0].header("authorization"), None);

        // A body goes nowhere else, and a redirect that is not to be followed is an answer.
        let posting = Call { body: vec![Bytes::from_static(b"x")], method: Method::POST, ..call(named.url("c")) };
        assert_eq!(fetcher.call(posting).await.unwrap().status, 307);
        assert_eq!(fetcher.call(Call { follow: false, ..call(named.url("c")) }).await.unwrap().status, 307);
        assert_eq!(other.connections(), 1);
        // Without the grant nothing of this machine is asked.
        let refused = Fetcher::new(FetchRules::default()).call(call(named.url("a"))).await;
        assert!(matches!(refused, Err(FetchError::Refused)));
    }

    #[tokio::test]
    async fn redirects_come_to_an_end() {
        let circular = Fake::serving(None, |_| answer("307 Temporary Redirect", "Location: /a\r\n", ""));
        let fetcher = Fetcher::new(FetchRules::default()).granting(&circular.url("")).unwrap();
        assert!(matches!(fetcher.call(call(circular.url("a"))).await, Err(FetchError::Upstream(_))));
        assert_eq!(circular.connections(), 6);
    }

    #[tokio::test]
    async fn only_who_was_named_vouches_for_a_server() {
        let (pem, tls) = certificate_for("127.0.0.1");
        let (other, _) = certificate_for("127.0.0.1");
        let server = Fake::serving(Some(tls), |_| answer("200 OK", "", "hello"));
        let fetcher = Fetcher::new(FetchRules::default());
        let granted = fetcher.trusting(pem.as_bytes()).unwrap().granting(&server.url("")).unwrap();
        assert_eq!(granted.call(call(server.url("a"))).await.unwrap().status, 200);
        let distrusting = [fetcher.clone(), fetcher.trusting(other.as_bytes()).unwrap()];
        for fetcher in distrusting.map(|fetcher| fetcher.granting(&server.url("")).unwrap()) {
            assert!(matches!(fetcher.call(call(server.url("a"))).await, Err(FetchError::Certificate(_))));
        }
        assert_eq!(server.asked().len(), 1);
        for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA"] {
            assert!(fetcher.trusting(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_has_a_length_even_when_it_is_empty() {
        let server = Fake::serving(None, |_| Say::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
        let fetcher = Fetcher::new(FetchRules::default()).granting(&server.url("")).unwrap();
        for (method, length) in [(Method::PUT, 0), (Method::POST, 0), (Method::PUT, 600_000)] {
            let body = if length == 0 { Vec::new() } else { vec![Bytes::from(vec![7; length])] };
            let mut reply = fetcher.call(Call { method, body, ..call(server.url("")) }).await.unwrap();
            assert!(reply.stream.next().await.is_none());
            let asked = server.asked().pop().unwrap();
            assert_eq!(asked.header("content-length"), Some(&*length.to_string()));
            assert_eq!(asked.body.len(), length);
        }
    }
}
