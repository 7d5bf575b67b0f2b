//! The walk of a request from its URL over redirects to an answer. Each place on the way is judged like the first.

use std::sync::PoisonError;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::client::Connections;
use super::guard::Reach;
use super::request::Wanted;
use super::{FetchError, Fetcher, FetcherInner, Request, upstream};

/// Redirects that are followed: mirrors of distributions need two or three.
pub(super) const REDIRECTS_MAX: usize = 5;

impl Fetcher {
    /// Sends a request and follows redirects. Returns where the answer came from.
    pub(super) async fn follow(
        &self,
        method: Method,
        request: &Request,
        wanted: Wanted<'_>,
    ) -> Result<(Response, Url), FetchError> {
        let (mut url, mut reach) = self.0.guard.parse(&request.url)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.0.ask(&method, request, wanted, &url, reach).await?;
            if !is_redirect(response.status()) {
                return Ok((response, url));
            }
            let next = next_hop(&url, response.headers())?;
            if request.pin.is_some() && next.origin() != url.origin() {
                return Err(upstream(&url, "a redirect to elsewhere, although its certificate is pinned"));
            }
            if let Wanted::Exchange(exchange) = wanted {
                *exchange.led_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(next.to_string());
            }
            reach = self.0.guard.judge(&next)?;
            url = next;
        }
        Err(upstream(&url, "too many redirects"))
    }
}

impl FetcherInner {
    /// Asks one place. An exchange takes a connection that was kept, which its server may close just then; so it is sent once more,
    /// on a new one. Other requests may say what is good for one time: they make their own, and never go out twice.
    async fn ask(
        &self,
        method: &Method,
        request: &Request,
        wanted: Wanted<'_>,
        url: &Url,
        reach: Reach,
    ) -> Result<Response, FetchError> {
        let send = async |connections| {
            let outgoing = self.request(method.clone(), request, url, reach, connections)?;
            self.answer(wanted.put_headers(outgoing), url, request.patience).await
        };
        if !matches!(wanted, Wanted::Exchange(_)) {
            return send(Connections::usual(reach)).await;
        }
        match send(Connections::Kept).await {
            Err(FetchError::Failing(_)) => send(Connections::New).await,
            answer => answer,
        }
    }
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The target of a redirect.
pub(super) fn next_hop(url: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(LOCATION).ok_or_else(|| upstream(url, "a redirect to nowhere"))?;
    let next = url
        .join(&String::from_utf8_lossy(location.as_bytes()))
        .map_err(|_| upstream(url, "a redirect to a malformed URL"))?;
    if url.scheme() == "https" && next.scheme() == "http" {
        // A request for https must not get bytes that could have been changed on the way.
        return Err(upstream(url, "a redirect from https to http"));
    }
    Ok(next)
}
