//! The cache against upstreams that break off, change, lie and die: right bytes or an error, never other bytes.

mod ahead;
mod crash;
mod fills;
mod freshness;
mod patience;
mod resuming;
mod sides;
mod standing;
mod verifying;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::StreamExt;
use sha2::Digest as _;

use super::fake::Upstream;
use super::proof::Prover;
use super::{Cache, CacheSettings, Key, Lookup, Outcome, Served};
use crate::blob::{self, Buffers};
use crate::error::{Reason, Result};
use crate::fetch::{FetchRules, Fetcher};
use crate::image::Timestamp;
use crate::vendor::{Documents, Evidence, Expectation, Level, Sum, SumAlgorithm};

/// Sums as the tests say, in place of vendors.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) known: Mutex<HashMap<String, Expectation>>,
    /// Held while sums are not to be found yet.
    pub(super) gate: tokio::sync::RwLock<()>,
    pub(super) require: Level,
    /// True if the sums are not to be trusted.
    pub(super) refused: AtomicBool,
    /// Bytes that a signature over the file itself is good for, and its words.
    pub(super) signed: Mutex<Option<(Vec<u8>, String)>>,
    /// Builds that moving names stand for.
    pub(super) builds: Mutex<HashMap<String, String>>,
    /// True while the list that has them can't be asked.
    pub(super) list_is_gone: AtomicBool,
    /// Questions for builds.
    pub(super) questions: AtomicUsize,
}

#[async_trait]
impl Prover for Sums {
    async fn prove(
        &self,
        url: &str,
        _: &dyn Documents,
        _: Option<&Evidence>,
        _: Timestamp,
    ) -> Result<Option<Expectation>> {
        let _open = self.gate.read().await;
        if self.refused.load(Ordering::SeqCst) {
            return Err(Reason::SignatureRefused.about("the sums").and("it is not the vendor's"));
        }
        Ok(self.known.lock().unwrap().get(url).cloned())
    }

    async fn prove_file(
        &self,
        _: &str,
        file: &Path,
        _: &dyn Documents,
        _: Option<&Evidence>,
        _: Timestamp,
    ) -> Result<Option<Evidence>> {
        let Some((signed, words)) = &*self.signed.lock().unwrap() else { return Ok(None) };
        match std::fs::read(file).unwrap() == *signed {
            true => Ok(Some(Evidence { level: Level::Signature, words: words.clone(), ..Evidence::default() })),
            false => Err(Reason::SignatureRefused.about("the file").and("it is of other bytes")),
        }
    }

    async fn dated(&self, url: &str, _: &dyn Documents, _: Option<&Evidence>, _: Timestamp) -> Result<Option<String>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        match self.list_is_gone.load(Ordering::SeqCst) {
            true => Err(crate::error::Reason::UpstreamDead.about("the list").and("it does not answer")),
            false => Ok(self.builds.lock().unwrap().get(url).cloned()),
        }
    }

    fn learn(&self, url: &str, _: &str, bytes: &[u8]) -> Vec<(String, Expectation)> {
        let base = url.rsplit_once('/').unwrap().0;
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter_map(|line| line.split_once("  "));
        let sums = lines.filter_map(|(hex, name)| Some((format!("{base}/{name}"), expectation(Sum::of_hex(hex)?))));
        sums.collect()
    }

    fn require(&self, _: &str) -> Option<Level> {
        Some(self.require)
    }
}

fn expectation(sum: Sum) -> Expectation {
    let evidence = Evidence { level: Level::Checksum, words: "matches SHA256SUMS".into(), ..Evidence::default() };
    Expectation { sums: vec![sum], evidence, ..Expectation::default() }
}

fn sha256(bytes: &[u8]) -> Sum {
    Sum::new(SumAlgorithm::Sha256, sha2::Sha256::digest(bytes).to_vec()).unwrap()
}

fn clock() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}

fn settings(dir: &Path) -> CacheSettings {
    CacheSettings {
        retry_after: Duration::from_millis(20),
        linger: Duration::from_millis(200),
        patience: Duration::from_secs(20),
        ..CacheSettings::at(dir)
    }
}

fn fetcher() -> Fetcher {
    Fetcher::new(FetchRules {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(10),
        ..FetchRules::default()
    })
}

/// A cache in a directory of its own, its sums, and an upstream.
struct Place {
    dir: tempfile::TempDir,
    cache: Arc<Cache>,
    sums: Arc<Sums>,
    upstream: Upstream,
}

impl Place {
    fn new(upstream: Upstream) -> Self {
        Self::under(upstream, |_| {}, Sums::default())
    }

    fn under(upstream: Upstream, change: impl FnOnce(&mut CacheSettings), sums: Sums) -> Self {
        let (dir, sums) = (tempfile::tempdir().unwrap(), Arc::new(sums));
        let mut settings = settings(dir.path());
        change(&mut settings);
        let cache = Cache::open(settings, fetcher(), Arc::clone(&sums) as Arc<dyn Prover>, clock).unwrap();
        Self { dir, cache, sums, upstream }
    }

    /// As a new run would find it.
    fn reopened(self) -> Self {
        let Self { dir, cache, sums, upstream } = self;
        drop(cache);
        let cache = Cache::open(settings(dir.path()), fetcher(), Arc::clone(&sums) as Arc<dyn Prover>, clock).unwrap();
        Self { dir, cache, sums, upstream }
    }

    fn key(&self) -> Key {
        Key::parse(&self.upstream.url("f-1.img")).unwrap()
    }

    fn expect(&self, bytes: &[u8]) {
        self.sums.known.lock().unwrap().insert(self.upstream.url("f-1.img"), expectation(sha256(bytes)));
    }

    async fn get(&self) -> Result<Served> {
        self.cache.get(&self.key(), &Lookup::default()).await
    }

    async fn bytes(&self) -> Result<(Outcome, Vec<u8>), String> {
        let served = self.get().await.map_err(|error| error.to_string())?;
        Ok((served.outcome.clone(), read(&served, None).await?))
    }

    /// Makes what is here old, so that its server is asked again.
    fn age(&self) {
        let held = self.cache.held(&self.key()).unwrap();
        held.change(|entry| entry.checked_at -= 100 * 24 * 3600 * 1_000_000).unwrap();
    }

    /// Waits until something holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    /// Bytes of the file's transfer that are here.
    fn here(&self) -> u64 {
        self.cache.entries().iter().filter(|view| view.of.is_none_or(|of| view.size < of)).map(|view| view.size).sum()
    }
}

/// All bytes of an answer, or of a part of it.
async fn read(served: &Served, range: Option<Range<u64>>) -> Result<Vec<u8>, String> {
    let body = served.open(range).await.map_err(|error| error.to_string())?;
    let announced = body.length();
    let (mut bytes, mut pieces) = (Vec::new(), blob::stream(body, &Buffers::for_reads()));
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| error.to_string())?);
    }
    assert!(announced.is_none_or(|length| length == bytes.len() as u64), "a clean end before the announced length");
    Ok(bytes)
}
