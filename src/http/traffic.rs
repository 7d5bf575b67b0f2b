//! Requests in progress, counted by what they do: a server that stops says what it waits for. Knows no protocol.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;

use super::headers::announce_body;

/// Longest answer that is no download: it fits into the socket.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Requests in progress of a server. Clones share them.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Mutex<Vec<Arc<ThreadTraffic>>>>);

/// Requests in progress of one thread, which no other thread writes to.
#[derive(Default)]
pub(super) struct ThreadTraffic {
    uploads: AtomicU64,
    downloads: AtomicU64,
    others: AtomicU64,
}

/// Numbers of requests in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InProgress {
    /// Requests whose bodies are received, or were and have no answer.
    pub uploads: u64,
    /// Long answers on their way.
    pub downloads: u64,
    /// Other requests without an answer.
    pub others: u64,
}

impl Traffic {
    /// The traffic of one more thread.
    pub(super) fn of_thread(&self) -> Arc<ThreadTraffic> {
        let own = Arc::<ThreadTraffic>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        own
    }

    /// The requests in progress now.
    pub fn now(&self) -> InProgress {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&ThreadTraffic) -> &AtomicU64| {
            threads.iter().map(|thread| of(thread).load(Ordering::Relaxed)).sum()
        };
        InProgress {
            uploads: sum(|thread| &thread.uploads),
            downloads: sum(|thread| &thread.downloads),
            others: sum(|thread| &thread.others),
        }
    }
}

/// A request in progress, counted until it is dropped.
struct Counted(Arc<ThreadTraffic>, fn(&ThreadTraffic) -> &AtomicU64);

impl Counted {
    fn of(traffic: &Arc<ThreadTraffic>, kind: fn(&ThreadTraffic) -> &AtomicU64) -> Self {
        kind(traffic).fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traffic), kind)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

/// A long answer, counted until it is sent or given up.
struct Download {
    body: BoxBody,
    _counted: Counted,
}

impl MessageBody for Download {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Middleware: counts a request until its answer is sent.
pub(super) async fn count(
    traffic: Arc<ThreadTraffic>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let sends = announce_body(request.headers());
    let counted = Counted::of(&traffic, if sends { |thread| &thread.uploads } else { |thread| &thread.others });
    let response = next.call(request).await?.map_into_boxed_body();
    drop(counted);
    let is_long = match response.response().body().size() {
        BodySize::None => false,
        BodySize::Sized(bytes) => bytes > ANSWER_BYTES_MAX,
        BodySize::Stream => true,
    };
    if !is_long {
        return Ok(response);
    }
    let counted = Counted::of(&traffic, |thread| &thread.downloads);
    Ok(response.map_body(|_, body| Download { body, _counted: counted }).map_into_boxed_body())
}
