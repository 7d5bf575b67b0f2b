//! A connection from its first byte to its last: actix-http serves its requests, and this room does what actix-http
//! leaves out. A request that can't be parsed gets an answer like any other, and a client that still sends when its answer
//! is there is heard until it can read it.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_http::error::{DispatchError, ParseError};
use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::exchange::Rest;
use super::linger::linger;
use super::wire::{ConnectionStream, Wire};
use crate::error::Reason;

/// Maximum time for the last bytes to a client and the end of TLS.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Maximum time for the answer to a request that could not be parsed.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);

/// A stream, and the address of its other end.
pub(super) type Arrived<S> = (S, Option<SocketAddr>);

/// Limits of all connections of a thread.
#[derive(Clone)]
pub(super) struct Closing {
    /// The server's stop, which ends lingering.
    pub(super) ending: GracefulShutdownSignal,
    /// Maximum number of connections that linger at a time.
    pub(super) lingering_max: usize,
}

/// Serves connections with actix-http's service.
pub(super) fn served_with<S, F>(
    http: F,
    closing: Closing,
) -> impl ServiceFactory<Arrived<S>, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    S: ConnectionStream,
    F: ServiceFactory<Arrived<Wire<S>>, Config = (), Response = (), Error = DispatchError, InitError = ()> + 'static,
    F::Service: 'static,
{
    let http = Rc::new(http);
    fn_factory(move || {
        let (http, closing) = (Rc::clone(&http), closing.clone());
        async move {
            let http = Rc::new(http.new_service(()).await?);
            Ok(fn_service(move |(stream, peer)| serve(Rc::clone(&http), closing.clone(), stream, peer)))
        }
    })
}

async fn serve<S, H>(http: Rc<H>, closing: Closing, stream: S, peer: Option<SocketAddr>) -> Result<(), DispatchError>
where
    S: ConnectionStream,
    H: Service<Arrived<Wire<S>>, Response = (), Error = DispatchError>,
{
    let wire = Wire::new(stream);
    let ended = run(&*http, &wire, peer).await;
    let mut rest = wire.exchange().rest();
    if let Some((reason, words)) = refusal(&wire, &ended) {
        wire.refuse(reason, words);
        // A client that does not read it does without.
        let _ = timeout(REFUSAL_PATIENCE, run(&*http, &wire, peer)).await;
        rest = Some(Rest::Unknown);
    } else if ended.is_ok() {
        wire.release();
    } else if !matches!(ended, Err(DispatchError::Parse(_))) {
        return ended;
    }
    let sent = timeout(CLOSE_PATIENCE, poll_fn(|cx| wire.poll_released(cx))).await;
    let (Ok(Ok(())), Some(mut stream)) = (sent, wire.into_stream()) else { return ended };
    if let (Ok(Ok(())), Some(rest)) = (timeout(CLOSE_PATIENCE, stream.shutdown()).await, rest)
        && let Some(_place) = Place::take(closing.lingering_max)
    {
        tokio::select! {
            () = linger(stream.tcp(), rest) => {}
            () = closing.ending.notified() => {}
        }
    }
    ended
}

/// Serves the requests of a wire until actix-http ends.
async fn run<S, H>(http: &H, wire: &Wire<S>, peer: Option<SocketAddr>) -> Result<(), DispatchError>
where
    S: ConnectionStream,
    H: Service<Arrived<Wire<S>>, Response = (), Error = DispatchError>,
{
    let mut serving = pin!(http.call((wire.clone(), peer)));
    poll_fn(|cx| {
        let polled = serving.as_mut().poll(cx);
        if polled.is_pending() {
            // An error of actix-http's ends it in the poll that wrote the head.
            wire.release();
            if let Poll::Ready(Err(error)) = wire.poll_released(cx) {
                return Poll::Ready(Err(error.into()));
            }
        }
        polled
    })
    .await
}

/// The refusal that a request gets which actix-http could not parse.
fn refusal<S: ConnectionStream>(wire: &Wire<S>, ended: &Result<(), DispatchError>) -> Option<(Reason, &'static str)> {
    let exchange = wire.exchange();
    match ended {
        // A broken body: the request has its answer.
        Err(DispatchError::Parse(_)) if exchange.rest().is_some() => None,
        Err(DispatchError::Parse(error)) if wire.withheld().is_some() => Some(reason_of(error)),
        Ok(()) if wire.withheld() == Some(408) && !exchange.asked() => {
            Some((Reason::TooSlow, "The head of the request came too slowly."))
        }
        // A broken body on a connection that can't stay open for the answer.
        Ok(()) if exchange.is_open() && !wire.ended() => {
            Some((Reason::Malformed, "The body of the request is not framed as its headers say."))
        }
        _ => None,
    }
}

fn reason_of(error: &ParseError) -> (Reason, &'static str) {
    let words = match error {
        ParseError::TooLarge => return (Reason::HeadersTooLarge, Reason::HeadersTooLarge.words()),
        ParseError::Method => "The method in the request line is not one.",
        ParseError::Uri(_) => "The address in the request line is not one, or it is too long.",
        ParseError::Version => "The request line names no version of HTTP that is spoken here: HTTP/1.1 or HTTP/1.0.",
        // A request line that is none is told in this way too.
        ParseError::Header => {
            "The request line or a header of the request breaks a rule of HTTP/1.1. Look at Content-Length, \
             Transfer-Encoding and Host: each may be there once, and the first two not together."
        }
        _ => "The request is not one of HTTP/1.1.",
    };
    (Reason::Malformed, words)
}

thread_local! {
    /// Number of connections of this thread that linger: of all listeners, as the limit of open connections is.
    static LINGERING: Cell<usize> = const { Cell::new(0) };
}

/// A place among the connections of this thread that linger.
struct Place(());

impl Place {
    fn take(max: usize) -> Option<Self> {
        (LINGERING.get() < max).then(|| {
            LINGERING.set(LINGERING.get() + 1);
            Self(())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LINGERING.set(LINGERING.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_over_all_listeners_of_a_thread() {
        let (first, second) = (Place::take(2), Place::take(2));
        assert!(first.is_some() && second.is_some() && Place::take(2).is_none());
        drop(first);
        assert!(Place::take(2).is_some(), "a place that was given back is free");
        let elsewhere = std::thread::spawn(|| Place::take(1).is_some());
        assert!(elsewhere.join().unwrap(), "another thread has places of its own");
    }
}
