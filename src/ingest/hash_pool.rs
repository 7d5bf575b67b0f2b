//! The hash pool: digests are computed on threads of their own, beside the writing and never after it. MD5 is the
//! slowest part of an upload; everything else has to fit next to it. On most processors one stream computes both
//! digests of an upload, elsewhere one each, and one more where sha512 is asked for.
//!
//! A stream also inspects the bytes (see [`Inspector`]), so that all facts about the bytes of an upload
//! are in one place, even between two requests.
//!
//! All streams share a few threads. When several have a chunk waiting, one thread takes them together, which costs little more
//! than one of them (see [`Hasher::update_together`]). Knows bytes, and no images.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::Sha256;
use tokio::sync::{Semaphore, oneshot};

use crate::blob::{BlobBody, Buffers, stream};
use crate::digest::{Algorithm, Hasher};
use crate::error::{Error, Result};
use crate::image::Digests;
use crate::inspect::{Inspection, Inspector};

/// Chunks that may wait in a stream. With chunks of 1 MiB this is the memory of an upload; deeper queues
/// only hide that the slowest stream sets the pace.
const DEPTH: usize = 3;

/// Most streams that are taken together.
const TOGETHER: usize = 8;

/// Number of waiting streams from which taking them together on half of the cores beats one by one on all: the other half
/// receives and writes.
const CROWD: usize = 3;

/// State of the digests and the inspection, at rest.
pub(crate) struct HashState {
    hashers: Vec<Hasher>,
    inspector: Inspector,
}

impl HashState {
    /// Adds a SHA-256 that continues `before` with these bytes. For the state of no bytes.
    pub(crate) fn behind(mut self, before: Sha256) -> Self {
        self.hashers.push(Hasher::Joint(before));
        self
    }

    /// States of the SHA-256s of [`HashState::behind`], in the order of the requests.
    pub(crate) fn joint(&self) -> Vec<Sha256> {
        let joint = |hasher: &Hasher| if let Hasher::Joint(state) = hasher { Some(state.clone()) } else { None };
        self.hashers.iter().filter_map(joint).collect()
    }

    /// Final digests, and the result of the inspection.
    pub(crate) fn finish(self) -> (Digests, Inspection) {
        let digests = self.hashers.into_iter().fold(Digests::default(), |all, hasher| all.or(hasher.finish()));
        (digests, self.inspector.finish())
    }
}

/// The threads, and the streams with work. The threads end when this is dropped.
pub(crate) struct HashPool {
    shared: Arc<PoolShared>,
    /// True if sha512 is computed too.
    sha512: bool,
}

struct PoolShared {
    line: Mutex<WaitingLine>,
    bell: Condvar,
    cores: usize,
}

#[derive(Default)]
struct WaitingLine {
    /// Streams with work, none twice.
    ready: VecDeque<Arc<Lane>>,
    lanes: usize,
    threads: usize,
    working: usize,
    closed: bool,
}

struct Lane {
    state: Mutex<LaneState>,
    room: Semaphore,
}

struct LaneState {
    /// Present unless a thread has it.
    hasher: Option<Hasher>,
    chunks: VecDeque<Bytes>,
    /// True while the stream is in the line, or a thread works on it.
    busy: bool,
    /// Task that waits for the end.
    paused: Option<oneshot::Sender<Hasher>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs between two changes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HashPool {
    pub(crate) fn new(sha512: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        Self { shared: Arc::new(PoolShared { line: Mutex::default(), bell: Condvar::new(), cores }), sha512 }
    }

    pub(crate) fn computes_sha512(&self) -> bool {
        self.sha512
    }

    /// Makes the state of no bytes.
    pub(crate) fn begin(&self) -> HashState {
        self.begin_with(self.sha512)
    }

    /// Makes the state of no bytes, for a comparison with these digests: a sha512 among them is computed in any case.
    pub(crate) fn begin_for(&self, claimed: &Digests) -> HashState {
        self.begin_with(self.sha512 || claimed.sha512.is_some())
    }

    fn begin_with(&self, sha512: bool) -> HashState {
        let more = sha512.then_some(Algorithm::Sha512);
        let hashers = Algorithm::for_images().iter().copied().chain(more).map(Hasher::new).collect();
        HashState { hashers, inspector: Inspector::new() }
    }

    /// Makes the state of SHA-256s that continue other bytes, and no other digest.
    pub(crate) fn begin_joint(&self, before: [Sha256; 2]) -> HashState {
        let nothing = HashState { hashers: Vec::new(), inspector: Inspector::new() };
        before.into_iter().fold(nothing, HashState::behind)
    }

    /// Opens streams that continue digests. Their threads are not of the blocking pool: they have work for as long as clients
    /// send, and would leave no thread for the writers.
    pub(crate) fn resume(&self, digesting: HashState) -> Result<HashStream> {
        let mut line = locked(&self.shared.line);
        while line.threads < self.shared.cores.min(line.lanes + digesting.hashers.len()) {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("digest".into());
            thread.spawn(move || shared.work()).map_err(Error::internal)?;
            line.threads += 1;
        }
        line.lanes += digesting.hashers.len();
        let lane = |hasher| {
            let state = LaneState { hasher: Some(hasher), chunks: VecDeque::new(), busy: false, paused: None };
            Arc::new(Lane { state: Mutex::new(state), room: Semaphore::new(DEPTH) })
        };
        let lanes = digesting.hashers.into_iter().map(lane).collect();
        Ok(HashStream { shared: Arc::clone(&self.shared), lanes, inspector: digesting.inspector })
    }

    /// Digests and counts the bytes of a body.
    pub(crate) async fn digest(&self, body: BlobBody, buffers: &Buffers) -> Result<(u64, HashState)> {
        self.digest_into(self.begin(), body, buffers).await
    }

    /// Digests and counts the bytes of a body, after the bytes of an earlier state.
    pub(crate) async fn digest_into(
        &self,
        before: HashState,
        body: BlobBody,
        buffers: &Buffers,
    ) -> Result<(u64, HashState)> {
        let mut lanes = self.resume(before)?;
        let mut size = 0;
        let mut bytes = stream(body, buffers);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            lanes.update(&chunk).await?;
        }
        Ok((size, lanes.pause().await?))
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        locked(&self.shared.line).closed = true;
        self.shared.bell.notify_all();
    }
}

impl PoolShared {
    fn enter(&self, lane: &Arc<Lane>) {
        locked(&self.line).ready.push_back(Arc::clone(lane));
        self.bell.notify_one();
    }

    /// Runs a thread of the pool.
    fn work(&self) {
        let mut line = locked(&self.line);
        while !line.closed {
            let most = if line.lanes >= CROWD { (self.cores / 2).max(1) } else { self.cores };
            if line.ready.is_empty() || line.working >= most {
                line = self.bell.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // While there is a thread for each stream, each gets one.
            let free = most - line.working;
            let count = if line.ready.len() <= free { 1 } else { line.ready.len().div_ceil(free).min(TOGETHER) };
            let batch: Vec<_> = line.ready.drain(..count).collect();
            line.working += 1;
            drop(line);
            let again = take(&batch);
            line = locked(&self.line);
            line.working -= 1;
            line.ready.extend(again);
            if !line.ready.is_empty() {
                self.bell.notify_one();
            }
        }
    }
}

/// Hashes a chunk of each stream. Returns the streams that have more.
fn take(batch: &[Arc<Lane>]) -> Vec<Arc<Lane>> {
    let mut work: Vec<(Hasher, Bytes)> = Vec::with_capacity(batch.len());
    let mut whose = Vec::with_capacity(batch.len());
    for lane in batch {
        let mut state = locked(&lane.state);
        match (state.hasher.take(), state.chunks.pop_front()) {
            (Some(hasher), Some(chunk)) => {
                work.push((hasher, chunk));
                whose.push(lane);
            }
            // Abandoned meanwhile.
            (hasher, _) => {
                state.hasher = hasher;
                state.busy = false;
            }
        }
    }
    Hasher::update_together(&mut work);
    let mut again = Vec::new();
    for ((hasher, chunk), lane) in work.into_iter().zip(whose) {
        drop(chunk);
        lane.room.add_permits(1);
        let mut state = locked(&lane.state);
        if !state.chunks.is_empty() {
            state.hasher = Some(hasher);
            again.push(Arc::clone(lane));
            continue;
        }
        state.busy = false;
        match state.paused.take() {
            // An abandoned upload has no receiver.
            Some(paused) => drop(paused.send(hasher)),
            None => state.hasher = Some(hasher),
        }
    }
    again
}

/// Digests under construction. Dropping this abandons them.
pub(crate) struct HashStream {
    shared: Arc<PoolShared>,
    lanes: Vec<Arc<Lane>>,
    inspector: Inspector,
}

impl HashStream {
    /// Passes a chunk to every stream; waits until the slowest has room.
    pub(crate) async fn update(&mut self, chunk: &Bytes) -> Result<()> {
        self.inspector.feed(chunk);
        for lane in &self.lanes {
            lane.room.acquire().await.map_err(Error::internal)?.forget();
            let mut state = locked(&lane.state);
            state.chunks.push_back(chunk.clone());
            if !std::mem::replace(&mut state.busy, true) {
                drop(state);
                self.shared.enter(lane);
            }
        }
        Ok(())
    }

    /// Returns the state after all chunks.
    pub(crate) async fn pause(mut self) -> Result<HashState> {
        let mut hashers = Vec::new();
        for lane in &self.lanes {
            let waiting = {
                let mut state = locked(&lane.state);
                let busy = state.busy;
                match state.hasher.take_if(|_| !busy) {
                    Some(hasher) => Err(hasher),
                    None => {
                        let (paused, waiting) = oneshot::channel();
                        state.paused = Some(paused);
                        Ok(waiting)
                    }
                }
            };
            hashers.push(match waiting {
                Err(hasher) => hasher,
                Ok(waiting) => waiting.await.map_err(Error::internal)?,
            });
        }
        Ok(HashState { hashers, inspector: std::mem::take(&mut self.inspector) })
    }
}

impl Drop for HashStream {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| locked(&lane.state).chunks.clear());
        locked(&self.shared.line).lanes -= self.lanes.len();
        // Fewer streams may mean more threads for each.
        self.shared.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_on_behind_other_bytes_is_no_digest_of_these() {
        use sha2::Digest;
        let hub = HashPool::new(false);
        let mut lanes = hub.resume(hub.begin().behind(Sha256::new_with_prefix("a"))).unwrap();
        lanes.update(&Bytes::from_static(b"bc")).await.unwrap();
        let digesting = lanes.pause().await.unwrap();
        let [joint] = <[Sha256; 1]>::try_from(digesting.joint()).unwrap();
        assert!(crate::digest::hex(&joint.finalize()).starts_with("ba7816bf8f01cfea"));
        assert_eq!(digesting.finish().0.sha256, Some(Sha256::digest("bc").into()));
    }

    #[tokio::test]
    async fn lanes_agree_with_the_published_vectors_and_may_rest_between() {
        let hub = HashPool::new(true);
        let mut digesting = hub.begin();
        for part in ["a", "", "bc"] {
            let mut lanes = hub.resume(digesting).unwrap();
            lanes.update(&Bytes::from_static(part.as_bytes())).await.unwrap();
            digesting = lanes.pause().await.unwrap();
        }
        let (digests, inspection) = digesting.finish();
        assert_eq!(inspection.size, 3);
        assert_eq!(digests.md5_hex().as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert!(digests.sha256_hex().unwrap().starts_with("ba7816bf8f01cfea"));
        assert!(digests.sha512_hex().unwrap().starts_with("ddaf35a193617aba"));
    }

    /// Streams of different lengths on few threads, some of them abandoned.
    #[tokio::test]
    async fn many_lanes_share_the_threads_and_do_not_mix() {
        let hub = Arc::new(HashPool::new(false));
        let streams = (0..24u8).map(|seed| {
            let hub = Arc::clone(&hub);
            tokio::spawn(async move {
                let mut lanes = hub.resume(hub.begin()).unwrap();
                let mut alone = Hasher::new(Algorithm::Both);
                for round in 0..20 {
                    let chunk =
                        Bytes::from(vec![seed ^ round; 4096 + 64 * usize::from(seed % 3) + usize::from(seed / 20)]);
                    alone.update(&chunk);
                    lanes.update(&chunk).await.unwrap();
                    if seed % 7 == 6 && round == 10 {
                        return;
                    }
                }
                assert_eq!(lanes.pause().await.unwrap().finish().0, alone.finish(), "{seed}");
            })
        });
        for stream in futures_util::future::join_all(streams).await {
            stream.unwrap();
        }
        let line = locked(&hub.shared.line);
        assert_eq!(line.lanes, 0);
        assert!(line.threads <= hub.shared.cores);
    }
}
