//! The unread rest of a request: an upload that was refused while its client still sends.
//!
//! actix-http 3 drains a chunked body without a reader endlessly, however much arrives and however long it takes. It
//! ends a connection whose body still has a reader, after an answer with `Connection: close`. Every body needs the
//! latter, so an unread one is kept until its answer is sent. `linger.rs` then drops the rest.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures_util::{FutureExt, Stream, StreamExt};

use super::exchange::{CurrentExchange, Rest};
use super::headers::text;

/// Chunks that are discarded before an answer: a small body has arrived already, and its connection may be reused.
const CHUNKS_MAX: usize = 16;

/// A body with two owners: the handler, and the answer that keeps it until it is sent.
#[derive(Clone)]
struct SharedPayload(Rc<RefCell<Arriving>>);

/// A body on its way.
struct Arriving {
    /// The body, until its end.
    payload: Option<Payload>,
    /// True if it ended in an error: the bytes that follow it mean nothing.
    broken: bool,
}

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut arriving = self.0.borrow_mut();
        let Some(open) = arriving.payload.as_mut() else { return Poll::Ready(None) };
        let polled = open.poll_next_unpin(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            arriving.broken = !matches!(polled, Poll::Ready(None));
            arriving.payload = None;
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

/// Middleware: closes connections whose request was not read to its end, and notes the rest for the connection.
pub(super) async fn end_cleanly(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let exchange = request.request().conn_data::<CurrentExchange>().cloned().unwrap_or_default();
    exchange.begin();
    let payload = request.take_payload();
    // Other kinds are empty.
    if !matches!(payload, Payload::H1 { .. }) {
        request.set_payload(payload);
        let response = next.call(request).await;
        exchange.answered(None);
        return response.map(ServiceResponse::map_into_boxed_body);
    }
    let length = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let mut shared = SharedPayload(Rc::new(RefCell::new(Arriving { payload: Some(payload), broken: false })));
    request.set_payload(Payload::Stream { payload: Box::pin(shared.clone()) });
    let response = next.call(request).await?.map_into_boxed_body();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The bytes that follow are no body: they belong to the other protocol.
        exchange.answered(None);
        return Ok(response);
    }
    if shared.0.borrow().payload.is_some() {
        // An immediate answer precedes the connection's reader, which has not yet seen the bytes after the head.
        tokio::task::yield_now().await;
    }
    for _ in 0..CHUNKS_MAX {
        if !matches!(shared.next().now_or_never(), Some(Some(Ok(_)))) {
            break;
        }
    }
    let (unread, broken) = {
        let mut arriving = shared.0.borrow_mut();
        (arriving.payload.take(), arriving.broken)
    };
    exchange.answered(match (&unread, broken, length) {
        (None, false, _) => None,
        (Some(_), false, Some(length)) => Some(Rest::Announced(length)),
        _ => Some(Rest::Unknown),
    });
    Ok(response.map_body(|_, body| AnswerWithRest { body, _unread: unread }).map_into_boxed_body())
}
