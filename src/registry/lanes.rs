//! Digest lanes: digests are computed on threads of their own, beside the writing and never after it. MD5 is the
//! slowest thing in an upload; everything else has to fit next to it. On most processors there is one lane for both
//! digests, elsewhere one for each.

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

use crate::blob::{BlobBody, Buffers, stream};
use crate::error::{Error, Result};
use crate::image::Digests;
use crate::image::digest::{Algorithm, Hasher};

/// Chunks that may wait in a lane. With chunks of 1 MiB this is what an upload can hold in memory; deeper queues
/// only hide that the slowest lane sets the pace.
const DEPTH: usize = 3;

/// Digests of the bytes so far, at rest.
pub(super) struct Digesting(Vec<Hasher>);

impl Digesting {
    /// Of no bytes yet.
    pub(super) fn new() -> Self {
        Self(Algorithm::for_images().iter().copied().map(Hasher::new).collect())
    }

    /// Of the bytes of a body, and how many there were.
    pub(super) async fn of(body: BlobBody, buffers: &Buffers) -> Result<(u64, Self)> {
        let lanes = Lanes::resume(Self::new())?;
        let mut size = 0;
        let mut bytes = stream(body, buffers);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            lanes.update(&chunk).await?;
        }
        Ok((size, lanes.pause().await?))
    }

    /// The digests.
    pub(super) fn finish(self) -> Digests {
        self.0.into_iter().fold(Digests::default(), |all, hasher| all.or(hasher.finish()))
    }
}

/// Digests in the making.
pub(super) struct Lanes(Vec<(Sender<Bytes>, oneshot::Receiver<Hasher>)>);

impl Lanes {
    /// Starts their threads. They end when this is dropped.
    ///
    /// Threads of their own, not of the blocking pool: they wait for bytes for as long as a client takes, and would
    /// leave no thread there for those who write the bytes that others wait for.
    pub(super) fn resume(digesting: Digesting) -> Result<Self> {
        digesting.0.into_iter().map(start_lane).collect::<Result<_>>().map(Self)
    }

    /// Hands a chunk to every lane; waits for the slowest to have room.
    pub(super) async fn update(&self, chunk: &Bytes) -> Result<()> {
        for (sender, _) in &self.0 {
            sender.send(chunk.clone()).await.map_err(|_| Error::internal("a digest lane ended early"))?;
        }
        Ok(())
    }

    /// Ends the threads: the digests of all chunks.
    pub(super) async fn pause(self) -> Result<Digesting> {
        let mut hashers = Vec::new();
        for (sender, hasher) in self.0 {
            drop(sender);
            hashers.push(hasher.await.map_err(Error::internal)?);
        }
        Ok(Digesting(hashers))
    }
}

/// Size and digests of a body, read to its end.
pub(super) async fn digests_of(body: BlobBody, buffers: &Buffers) -> Result<(u64, Digests)> {
    let (size, digesting) = Digesting::of(body, buffers).await?;
    Ok((size, digesting.finish()))
}

fn start_lane(mut hasher: Hasher) -> Result<(Sender<Bytes>, oneshot::Receiver<Hasher>)> {
    let (sender, mut chunks) = channel::<Bytes>(DEPTH);
    let (reply, paused) = oneshot::channel();
    let lane = std::thread::Builder::new().name("digest".into()).spawn(move || {
        while let Some(chunk) = chunks.blocking_recv() {
            hasher.update(&chunk);
        }
        // Nobody waits any more when an upload was given up.
        let _ = reply.send(hasher);
    });
    lane.map_err(Error::internal)?;
    Ok((sender, paused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lanes_agree_with_the_published_vectors_and_may_rest_between() {
        let mut digesting = Digesting::new();
        for part in ["a", "", "bc"] {
            let lanes = Lanes::resume(digesting).unwrap();
            lanes.update(&Bytes::from_static(part.as_bytes())).await.unwrap();
            digesting = lanes.pause().await.unwrap();
        }
        let digests = digesting.finish();
        assert_eq!(digests.md5_hex().as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert!(digests.sha256_hex().unwrap().starts_with("ba7816bf8f01cfea"));
    }
}
