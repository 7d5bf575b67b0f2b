//! A body over several answers: one that breaks off is continued by a range, if its server gave it a strong entity tag; otherwise
//! it is fetched from its beginning, and what came before is left out if it is the same. So nothing behind this room begins
//! again: digests and files just go on. Two versions of a file are never mixed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::backoff::{Backoff, RetryEvent};
use super::error::redacted;
use super::request::Wanted;
use super::{Body, FetchError, Fetcher, Request, upstream};

/// Bytes after which a transfer counts as going on: failures before do not count any more.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Slowest rate at which bytes are read that came before, in bytes a second, and the time that is added to it.
const SKIP_RATE: u64 = 256 << 10;
const SKIP_PATIENCE: Duration = Duration::from_secs(60);

/// Marks of the version of a file whose bytes are fetched.
struct Version {
    etag: Option<String>,
    length: Option<u64>,
    headers: HeaderMap,
}

impl Version {
    /// Compares the marks with those of another answer with all bytes. A mark that one side lacks is not compared.
    fn is_of(&self, headers: &HeaderMap) -> bool {
        let equal = |name| match (self.headers.get(&name), headers.get(&name)) {
            (Some(before), Some(now)) => before == now,
            _ => true,
        };
        let length = self.length.zip(answer::length(headers)).is_none_or(|(before, now)| before == now);
        length && equal(ETAG) && equal(LAST_MODIFIED)
    }
}

/// Bytes that came before, and are read again to be left out.
struct Skipping {
    left: u64,
    sum: crc32fast::Hasher,
    until: Instant,
}

/// A body, over as many answers as it takes.
pub(super) struct Transfer {
    fetcher: Fetcher,
    request: Request,
    backoff: Backoff,
    stream: BoxStream<'static, Result<Bytes, FetchError>>,
    version: Version,
    /// Bytes that were handed on, and their sum: against other bytes by chance. A server that wants to can send any.
    done: u64,
    sum: crc32fast::Hasher,
    skipping: Option<Skipping>,
    /// Bytes since the last failure.
    fresh: u64,
    /// True between a pause and the next byte.
    paused: bool,
}

impl Transfer {
    /// The body of an answer, continued as often as it takes.
    pub(super) fn of(fetcher: &Fetcher, request: &Request, body: Body, backoff: Backoff) -> Body {
        let Body { status, length, etag, told, stream } = body;
        let transfer = Self {
            fetcher: fetcher.clone(),
            request: request.clone(),
            backoff,
            stream,
            version: Version { etag: etag.clone(), length, headers: told.headers().clone() },
            done: 0,
            sum: crc32fast::Hasher::new(),
            skipping: None,
            fresh: 0,
            paused: false,
        };
        let pieces = stream::unfold(Some(transfer), |transfer| async move {
            let mut transfer = transfer?;
            let piece = transfer.next().await?;
            let rest = piece.is_ok().then_some(transfer);
            Some((piece, rest))
        });
        Body { status, length, etag, told, stream: pieces.fuse().boxed() }
    }

    /// The next piece. After an error there is nothing more.
    async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        loop {
            let outcome = match &self.skipping {
                None => Ok(self.stream.next().await),
                Some(skipping) => timeout_at(skipping.until, self.stream.next()).await,
            };
            let failed = match outcome {
                Ok(Some(Ok(piece))) => match self.take(piece) {
                    Ok(Some(piece)) => return Some(Ok(piece)),
                    Ok(None) => continue,
                    Err(error) => error,
                },
                Ok(Some(Err(error))) => error,
                // A part may have been shorter than what was left.
                Ok(None) if self.skipping.is_some() || self.version.length.is_some_and(|length| self.done < length) => {
                    FetchError::WrongLength(format!("the body ends after {} bytes", self.done))
                }
                Ok(None) => return None,
                Err(_) => FetchError::TimedOut(format!("the first {} bytes do not come again in time", self.done)),
            };
            if let Err(error) = self.reopen(failed).await {
                return Some(Err(error));
            }
        }
    }

    /// Takes a piece, and returns what of it is new.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, FetchError> {
        if let Some(skipping) = &mut self.skipping {
            let known = piece.split_to(piece.len().min(usize::try_from(skipping.left).unwrap_or(usize::MAX)));
            skipping.sum.update(&known);
            skipping.left -= known.len() as u64;
            if skipping.left > 0 {
                return Ok(None);
            }
            if skipping.sum.clone().finalize() != self.sum.clone().finalize() {
                return Err(FetchError::Changed(format!("its first {} bytes are others now", self.done)));
            }
            self.skipping = None;
        }
        if piece.is_empty() {
            return Ok(None);
        }
        if std::mem::take(&mut self.paused) {
            self.fetcher.tell(RetryEvent::Going);
        }
        self.sum.update(&piece);
        self.done += piece.len() as u64;
        self.fresh += piece.len() as u64;
        if self.fresh >= PROGRESS_BYTES {
            self.backoff.forget();
        }
        Ok(Some(piece))
    }

    /// Asks for the rest, until there is an answer or it is not worth asking again.
    async fn reopen(&mut self, mut failed: FetchError) -> Result<(), FetchError> {
        self.fresh = 0;
        loop {
            self.paused = true;
            self.fetcher.pause_after(failed, &mut self.backoff).await?;
            match self.ask().await {
                Ok(()) => return Ok(()),
                Err(error) => failed = error,
            }
        }
    }

    /// Asks once for the rest.
    async fn ask(&mut self) -> Result<(), FetchError> {
        let strong = self.version.etag.as_deref().filter(|_| self.done > 0);
        let wanted = strong.map_or(Wanted::All, |etag| Wanted::From(self.done, etag));
        let (response, at) = self.fetcher.follow(Method::GET, &self.request, wanted).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let changed = |what: &str| Err(FetchError::Changed(format!("{}: {what}", redacted(&at))));
        match status {
            StatusCode::PARTIAL_CONTENT if strong.is_some() => {
                let Some((part, total)) = answer::part(&headers).filter(|(part, _)| part.start == self.done) else {
                    return Err(upstream(&at, "another part than was asked for"));
                };
                let now = answer::etag(&headers);
                if now.is_some() && now.as_deref() != strong {
                    return changed("the part has another entity tag");
                }
                if self.version.length.zip(total).is_some_and(|(before, now)| before != now) {
                    return changed("it has another length");
                }
                // Otherwise the end of a part that is shorter than the rest would pass for the end of all.
                self.version.length = self.version.length.or(total);
                let length = part.end - part.start;
                self.stream = self.fetcher.0.body_of(response, at, &self.request, Some(length))?.stream;
                self.skipping = None;
            }
            StatusCode::OK if !self.version.is_of(&headers) => return changed("it is another version"),
            StatusCode::OK => {
                let length = self.version.length.or(answer::length(&headers));
                self.stream = self.fetcher.0.body_of(response, at, &self.request, length)?.stream;
                let until = Instant::now() + SKIP_PATIENCE + Duration::from_secs(self.done / SKIP_RATE);
                let skipping = Skipping { left: self.done, sum: crc32fast::Hasher::new(), until };
                self.skipping = Some(skipping).filter(|skipping| skipping.left > 0);
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => return changed("it is shorter"),
            status => return Err(answer::refused(&at, status, &headers)),
        }
        Ok(())
    }
}
