//! The unread rest of a request: an upload that was refused while its client still sends.
//!
//! actix-http 3 drains a chunked body without a reader endlessly, however much arrives and however long it takes. It
//! closes a connection whose body still has a reader, after an answer with `Connection: close` and after a moment of
//! reading on, so that the client sees the answer and not a reset. Every body needs the latter, so an unread one is
//! kept until its answer is sent.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures_util::{FutureExt, Stream, StreamExt};

/// Chunks that are discarded before an answer: a small body has arrived already, and its connection may be reused.
const CHUNKS_MAX: usize = 16;

/// A body with two owners: the handler, and the answer that keeps it until it is sent.
#[derive(Clone)]
struct SharedPayload(Rc<RefCell<Option<Payload>>>);

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut payload = self.0.borrow_mut();
        let Some(open) = payload.as_mut() else { return Poll::Ready(None) };
        let polled = open.poll_next_unpin(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            *payload = None;
        }
        polled
    }
}

/// An answer, with the unread rest of its request.
struct AnswerWithRest {
    body: BoxBody,
    _unread: Option<Payload>,
}

impl MessageBody for AnswerWithRest {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Middleware: closes connections whose request was not read to its end.
pub(super) async fn end_cleanly(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let payload = request.take_payload();
    // Other kinds are empty, or HTTP/2, where a stream ends by itself.
    if !matches!(payload, Payload::H1 { .. }) {
        request.set_payload(payload);
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let mut shared = SharedPayload(Rc::new(RefCell::new(Some(payload))));
    request.set_payload(Payload::Stream { payload: Box::pin(shared.clone()) });
    let response = next.call(request).await?.map_into_boxed_body();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The bytes that follow are no body: they belong to the other protocol.
        return Ok(response);
    }
    if shared.0.borrow().is_some() {
        // An immediate answer precedes the connection's reader, which has not yet seen the bytes after the head.
        tokio::task::yield_now().await;
    }
    for _ in 0..CHUNKS_MAX {
        if !matches!(shared.next().now_or_never(), Some(Some(Ok(_)))) {
            break;
        }
    }
    let unread = shared.0.take();
    Ok(response.map_body(|_, body| AnswerWithRest { body, _unread: unread }).map_into_boxed_body())
}
