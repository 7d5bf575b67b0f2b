//! Fetching again: a request that fails for the moment is repeated after a pause. Refusals, and answers that will not change,
//! are not ([`FetchError::may_pass`]). A body that breaks off is continued (`transfer.rs`).

use std::future::Future;
use std::sync::Arc;

use reqwest::{StatusCode, Url};
use tokio::time::sleep;

use super::answer::{self, Told, passing};
use super::backoff::{Backoff, OnRetry, Retries, RetryEvent};
use super::transfer::Transfer;
use super::{Body, Document, FetchError, Fetcher, Request};

impl Fetcher {
    /// This fetcher, which tells of its pauses.
    pub fn telling(&self, listener: impl Fn(RetryEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::clone(&self.0), Some(OnRetry::new(listener)))
    }

    /// Bounds on repeated requests; for one that may be sent only once, no second one.
    pub fn retries(&self, request: Option<&Request>) -> Retries {
        let rules = self.0.rules.retries;
        if request.is_some_and(|request| request.once) { Retries { tries: 1, ..rules } } else { rules }
    }

    pub(super) fn tell(&self, event: RetryEvent<'_>) {
        if let Some(listener) = &self.1 {
            listener.tell(event);
        }
    }

    /// Waits before the next request.
    ///
    /// # Errors
    /// The failure, if no request is to follow it.
    pub(super) async fn pause_after(&self, error: FetchError, backoff: &mut Backoff) -> Result<(), FetchError> {
        if !error.may_pass() {
            return Err(error);
        }
        let Some(pause) = backoff.pause(error.asks_for()) else {
            return Err(if backoff.failed_before() { FetchError::Spent(Box::new(error)) } else { error });
        };
        log::info!("fetching again in {pause:?}: {error}");
        self.tell(RetryEvent::Pause(&error, pause));
        sleep(pause).await;
        Ok(())
    }

    /// Sends a request, again and again while `failing` says that its answer may be another one later. The last answer is
    /// returned all the same: the server's own words say more than ours.
    async fn repeated<T, F>(
        &self,
        backoff: &mut Backoff,
        send: impl Fn() -> F,
        failing: impl Fn(&T) -> Option<FetchError>,
    ) -> Result<T, FetchError>
    where
        F: Future<Output = Result<T, FetchError>>,
    {
        loop {
            let (failed, answer) = match send().await {
                Ok(answer) => match failing(&answer) {
                    None => break Ok(answer),
                    Some(failed) => (failed, Some(answer)),
                },
                Err(failed) => (failed, None),
            };
            if let Err(error) = self.pause_after(failed, backoff).await {
                break answer.ok_or(error);
            }
        }
        .inspect(|_| self.go_on(backoff))
    }

    /// The URL of a request, and no failure yet.
    fn first(&self, request: &Request) -> Result<(Url, Backoff), FetchError> {
        let (at, _) = self.0.guard.parse(&request.url)?;
        Ok((at, Backoff::new(self.retries(Some(request)))))
    }

    /// Tells that bytes come, if there was a pause.
    fn go_on(&self, backoff: &Backoff) {
        if backoff.has_failed() {
            self.tell(RetryEvent::Going);
        }
    }

    /// Requests a document as [`Fetcher::document`] does, again and again while its server can't answer.
    ///
    /// # Errors
    /// As [`Fetcher::document`].
    pub async fn document_again(&self, request: &Request, bytes_max: usize) -> Result<Document, FetchError> {
        let (at, mut backoff) = self.first(request)?;
        let failing = |document: &Document| passing(&at, document.status, document.told.headers());
        self.repeated(&mut backoff, || self.document(request, bytes_max), failing).await
    }

    /// Asks for headers as [`Fetcher::headers`] does, again and again while the server can't answer.
    ///
    /// # Errors
    /// As [`Fetcher::headers`].
    pub async fn headers_again(&self, request: &Request) -> Result<(u16, Told), FetchError> {
        let (at, mut backoff) = self.first(request)?;
        let failing = |(status, told): &(u16, Told)| passing(&at, *status, told.headers());
        self.repeated(&mut backoff, || self.headers(request), failing).await
    }

    /// Requests the bytes under a URL as [`Fetcher::get`] does, again and again while its server can't answer; a body that
    /// breaks off is continued.
    ///
    /// # Errors
    /// As [`Fetcher::get`].
    pub async fn get_again(&self, url: &str) -> Result<Body, FetchError> {
        let body = self.open_again(&Request::to(url)).await?;
        match StatusCode::from_u16(body.status) {
            Ok(StatusCode::OK) => Ok(body),
            Ok(status) => {
                let (url, _) = self.0.guard.parse(url)?;
                Err(answer::refused(&url, status, body.told.headers()))
            }
            Err(_) => Err(FetchError::NotFound),
        }
    }

    /// Sends a request as [`Fetcher::open`] does, again and again while its server can't answer; a body that breaks off is
    /// continued.
    ///
    /// # Errors
    /// As [`Fetcher::open`].
    pub async fn open_again(&self, request: &Request) -> Result<Body, FetchError> {
        let (at, mut backoff) = self.first(request)?;
        let failing = |body: &Body| passing(&at, body.status, body.told.headers());
        let body = self.repeated(&mut backoff, || self.open(request), failing).await?;
        // The parts of a form are marked by a text that differs from answer to answer.
        let is_form = body.told.text("content-type").is_some_and(|kind| kind.starts_with("multipart/"));
        if body.status != 200 || is_form || request.once {
            return Ok(body);
        }
        Ok(Transfer::of(self, request, body, backoff))
    }
}
