//! Documents through the cache: entries like others, small, and kept for as long as they are used.

use std::sync::Weak;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::core::Cache;
use super::fill::Terms;
use super::key::Key;
use super::whole::{Mode, Want};
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;
use crate::vendor::{Documents, VendorDocument};

/// Longest wait for a document.
const PATIENCE: Duration = Duration::from_secs(60);

/// Documents of a cache, which may be gone.
pub(super) struct CachedDocuments(pub(super) Weak<Cache>);

impl CachedDocuments {
    async fn bring(&self, url: &str, bytes_max: usize, anew: bool) -> Result<Option<VendorDocument>> {
        let Some(cache) = self.0.upgrade() else { return Err(Reason::Stopping.into()) };
        let key = Key::parse(url)?;
        let bytes_max = bytes_max as u64;
        let terms = Terms { document: true, bytes_max, ..Terms::default() };
        let mode = if anew { Mode::Anew } else { Mode::Usual };
        let want = Want { terms, mode, within: cache.settings.stale_after, seen: &|_| {} };
        let waited = tokio::time::timeout(PATIENCE, cache.whole(&key, &want)).await;
        let late = |_| Err(Reason::UpstreamDead.about(key.shown()).and(format!("it is not here after {PATIENCE:?}")));
        let held = match waited.unwrap_or_else(late) {
            Err(error) if error.reason() == Reason::UrlNotFound => return Ok(None),
            held => held?,
        };
        let entry = held.entry();
        if entry.size > bytes_max {
            return Err(Reason::FileTooLarge.about(bytes_max));
        }
        let bytes = spawn_blocking(move || std::fs::read(held.path())).await.map_err(Error::internal)?;
        let bytes = bytes.map_err(Error::internal)?.into();
        Ok(Some(VendorDocument { url: entry.head.url, bytes, checked_at: Timestamp(entry.checked_at) }))
    }
}

#[async_trait]
impl Documents for CachedDocuments {
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.bring(url, bytes_max, false).await
    }

    async fn get_anew(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.bring(url, bytes_max, true).await
    }
}
