//! Opens the cache of vendors' files that the configuration describes.

use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use crate::cache::{Abandoned, Cache, CacheSettings, Vendors};
use crate::config::{Config, DataDir, WhenAbandoned};
use crate::fetch::Fetcher;
use crate::registry::system_clock;
use crate::vendor::Catalogue;

/// The cache below a data directory; `None` where it is switched off.
///
/// # Errors
/// Its directory or its disk can't be used.
pub(super) fn open(
    config: &Config,
    data_dir: &Path,
    fetcher: &Fetcher,
    catalogue: &Arc<Catalogue>,
) -> Result<Option<Arc<Cache>>, Failure> {
    if !config.cache.enabled {
        fetcher.silence(config.cache.offline);
        return Ok(None);
    }
    let settings = settings(config, data_dir)?;
    let opened = Cache::open(settings, fetcher.clone(), Arc::new(Vendors::new(catalogue)), system_clock);
    opened.map(Some).map_err(|error| Failure::general(format!("cannot open the cache: {error}")))
}

/// The settings of the cache, with shares of the disk as bytes.
fn settings(config: &Config, data_dir: &Path) -> Result<CacheSettings, Failure> {
    let section = &config.cache;
    let disk = rustix::fs::statvfs(data_dir)
        .map_err(|error| Failure::general(format!("cannot see the disk of {}: {error}", data_dir.display())))?;
    let disk_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    Ok(CacheSettings {
        budget: Some(section.budget.of(disk_bytes)),
        free_min: section.free_min.of(disk_bytes),
        file_bytes_max: config.upload.image_max.bytes(),
        patience: section.patience.duration(),
        stale_after: section.stale_after.duration(),
        dead_for: section.dead_for.duration(),
        abandoned: match section.abandoned {
            WhenAbandoned::Finish => Abandoned::Finish,
            WhenAbandoned::Keep => Abandoned::Keep,
        },
        require: section.require,
        offline: section.offline,
        public: section.public,
        hosts: section.hosts.clone(),
        parents: section.parents.clone(),
        mirrors: section.mirrors.clone(),
        ..CacheSettings::at(DataDir::cache(data_dir))
    })
}
