//! The loop of every transfer: next chunk, write, and an orderly end when either fails. Knows no bytes' meaning.

use std::future::{Future, pending};

use bytes::Bytes;
use futures_util::Stream;

use super::rate::RateGuard;
use crate::error::{Error, Result};

/// A destination of bytes.
pub trait ByteSink {
    /// Takes a chunk.
    ///
    /// # Errors
    /// Those of the destination. They end the transfer.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Waits for a reason to stop other than the bytes; waits forever where none exists.
    fn interrupted(&mut self) -> impl Future<Output = Error> + Send {
        pending()
    }

    /// Ends a transfer that stopped before the last byte.
    ///
    /// # Errors
    /// Those of the destination, where they matter more than the reason for stopping.
    fn abandon(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Moves all bytes of a stream into a sink: `first`, which was already read from it, and then the rest. A transfer that
/// stops early is abandoned when this returns.
///
/// If this future is dropped, the sink's own drop has to clean up.
///
/// # Errors
/// `TooSlow`, what `broken` makes of the stream's errors, and those of the sink.
pub async fn pump<E>(
    first: Option<Bytes>,
    stream: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin),
    rate: &mut RateGuard,
    broken: impl Fn(E) -> Error,
    sink: &mut impl ByteSink,
) -> Result<()> {
    let moved = async {
        let mut next = first;
        loop {
            let chunk = match next.take() {
                Some(chunk) => Some(chunk),
                None => tokio::select! {
                    chunk = rate.next(stream, &broken) => chunk?,
                    reason = sink.interrupted() => return Err(reason),
                },
            };
            match chunk {
                Some(chunk) => sink.write(chunk).await?,
                None => return Ok(()),
            }
        }
    };
    match moved.await {
        Ok(()) => Ok(()),
        Err(error) => {
            sink.abandon().await?;
            Err(error)
        }
    }
}
