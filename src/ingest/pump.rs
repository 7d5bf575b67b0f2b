//! The loop that every transfer runs: next chunk, write, and an end in good order when either fails.

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
    /// Those of the destination. The transfer is over then.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Waits for a reason to stop that does not come from the bytes; never ends where there is none.
    fn interrupted(&mut self) -> impl Future<Output = Error> + Send {
        pending()
    }

    /// Ends a transfer that stopped before the end of its bytes.
    ///
    /// # Errors
    /// Those of the destination, where they matter more than why the transfer stopped.
    fn abandon(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Moves all bytes of a stream into a sink: `first`, which was read from it already, and then what follows. A transfer that
/// stops early has been abandoned when this returns.
///
/// When this is dropped, nothing was called that the sink's own drop would not have to expect.
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
