//! Parts of the service for pulls. Holds them, and has no use case of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cache::Cache;
use crate::image::Architecture;
use crate::ingest::intake::Ingest;
use crate::jobs::JobId;
use crate::registry::core::Core;
use crate::registry::mirror::service::Mirror;
use crate::registry::pulls::room::SupersededBuilds;
use crate::registry::records::Records;
use crate::registry::uploads::service::Uploads;
use crate::registry::{Caller, NameRequest, Registry};
use crate::vendor::Catalogue;

/// A request that a pull is under way for: the account, the name, and the images that it may mean.
type Asked = (Option<String>, NameRequest, Vec<String>);

/// Locks of the names that images are being made for; one that is not held is forgotten at the next use.
type Locks = HashMap<(Option<String>, String, Option<Architecture>), Weak<tokio::sync::Mutex<()>>>;

/// Service for vendors' images and files under URLs.
pub struct Pulls {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) ingest: Arc<Ingest>,
    pub(in crate::registry) records: Arc<Records>,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) mirror: Arc<Mirror>,
    pub(in crate::registry) cache: Arc<Cache>,
    pub(in crate::registry) catalogue: Arc<Catalogue>,
    locks: Mutex<Locks>,
    /// Pulls that were begun for clients that asked for an image.
    pub(in crate::registry) asked: Mutex<HashMap<Asked, JobId>>,
}

impl Pulls {
    /// Pulls into a registry, through a cache, whose budget is for replaced builds too.
    pub fn new(registry: &Registry, cache: Arc<Cache>, catalogue: Arc<Catalogue>) -> Arc<Self> {
        let mirror = &registry.mirror;
        cache.share_budget(Arc::new(SupersededBuilds {
            core: Arc::clone(&registry.core),
            removal: Arc::clone(&registry.removal),
            locks: cache.dir().to_path_buf(),
        }));
        Arc::new(Self {
            core: Arc::clone(&registry.core),
            ingest: Arc::clone(&mirror.ingest),
            records: Arc::clone(&registry.records),
            uploads: Arc::clone(&registry.uploads),
            mirror: Arc::clone(mirror),
            cache,
            catalogue,
            locks: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    /// Waits until no other pull makes an image of this name for this owner, and keeps it so.
    pub(in crate::registry) async fn alone(
        &self,
        who: &Caller,
        alias: &str,
        architecture: Option<Architecture>,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let key = (who.account().map(str::to_owned), alias.to_owned(), architecture);
            let found = locks.get(&key).and_then(Weak::upgrade);
            found.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}
