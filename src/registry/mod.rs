//! The service: what can be done with images, and who may do it. Protocols call this, and nothing below it.
//!
//! Has never heard of HTTP. Checks of rights and values happen here and nowhere else.

mod access;
mod backfill;
mod background;
mod copies;
mod download;
mod expiry;
mod images;
mod imports;
mod intake;
mod later;
mod lxd;
mod members;
mod metadefs;
mod mirror;
mod readers;
mod recheck;
mod removal;
mod sweep;
mod uploads;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;
use uuid::Uuid;

pub use self::access::{Caller, ListScope};
use self::copies::Copying;
use self::expiry::ClockWatch;
use self::imports::Imports;
pub use self::imports::{Import, failure};
use self::lxd::Offers;
pub use self::lxd::{
    Alias, ImportOptions, Incoming, Instances, LxdFile, METADATA_BYTES_MAX, ReceivedImage, Role, Slot, files_of,
    fingerprint_of,
};
pub use self::metadefs::{Draft, Metadefs, Seen, Wanted};
pub use self::mirror::pull::Copied;
pub use self::mirror::source::Source;
use self::readers::Readers;
pub use self::sweep::Swept;
pub use self::uploads::append::{Append, taken_over};
use self::uploads::lock::UploadLocks;
pub use self::uploads::one_shot::{Target, Upload};
pub use self::uploads::resumable::Progress;
pub use self::uploads::staging::Stage;
use crate::blob::{Buffers, Linked, Stores};
use crate::catalog::Catalog;
use crate::fetch::Fetcher;
use crate::image::Timestamp;
use crate::ingest::hash_pool::HashPool;
pub use crate::ingest::{Expected, RateGuard, RateLimits, too_slow};
use crate::inspect::Rules;
use crate::jobs::Jobs;
use crate::upstream::Upstream;
pub use crate::upstream::{Ask, Outgoing, Parcel, Push, this_machine};

/// So many look into images at the same time.
const READERS: usize = 2;

/// What the time is. Tests bring their own.
pub type Clock = fn() -> Timestamp;

/// The time of the machine.
pub fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is a clock that was never set; nothing here depends on it being right.
    Timestamp(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

/// Bounds on what one caller, or all together, can ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest image.
    pub image_bytes_max: u64,
    /// Uploads at the same time; each holds a few buffers of 1 MiB.
    pub uploads_max: usize,
    /// So much of the store's space stays free.
    pub free_bytes_min: u64,
    /// What is not asked of the bytes of an image.
    pub inspect: Rules,
    /// How slowly bytes may come that the service itself fetches.
    pub patience: RateLimits,
    /// Whether images get a sha512 besides what they always get.
    pub sha512: bool,
    /// Whether disks are offered to LXD and Incus that came through other protocols.
    pub offer_disks: bool,
    /// So long the files of images that were published and removed can still be fetched.
    pub keep_removed: Duration,
}

/// The service.
pub struct Registry {
    catalog: Catalog,
    stores: Stores,
    linked: Linked,
    fetcher: Fetcher,
    upstream: Upstream,
    clock: Clock,
    limits: Limits,
    /// Names this run: an upload's ticket of another run is dead.
    boot: Uuid,
    uploads: Arc<Semaphore>,
    upload_locks: UploadLocks,
    jobs: Jobs,
    imports: Imports,
    in_use: Readers,
    copying: Copying,
    /// Held while uploads of earlier runs are taken over or ended.
    settling: tokio::sync::Mutex<()>,
    offers: Offers,
    instances: Instances,
    /// For those who look into images.
    readers: Arc<Semaphore>,
    clock_seen: ClockWatch,
    hub: HashPool,
    buffers: Buffers,
}

impl Registry {
    /// Puts the service together.
    pub fn new(
        catalog: Catalog,
        stores: Stores,
        linked: Linked,
        instances: Instances,
        fetcher: Fetcher,
        clock: Clock,
        limits: Limits,
    ) -> Arc<Self> {
        let uploads = Arc::new(Semaphore::new(limits.uploads_max));
        Arc::new(Self {
            catalog,
            stores,
            linked,
            upstream: Upstream::new(fetcher.clone()),
            fetcher,
            clock,
            boot: Uuid::new_v4(),
            uploads,
            upload_locks: UploadLocks::default(),
            jobs: Jobs::new(clock),
            imports: Imports::default(),
            in_use: Readers::default(),
            copying: Copying::default(),
            settling: tokio::sync::Mutex::default(),
            offers: Offers::default(),
            instances,
            readers: Arc::new(Semaphore::new(READERS)),
            clock_seen: ClockWatch::default(),
            hub: HashPool::new(limits.sha512),
            buffers: Buffers::for_uploads(),
            limits,
        })
    }

    /// What the time is for this service.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// How large an image may be.
    pub fn image_bytes_max(&self) -> u64 {
        self.limits.image_bytes_max
    }

    /// The jobs that go on, and those that ended a while ago. Whom one is shown to, [`Caller::sees_job`] says.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The stores that are configured.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Bytes left in the store that takes what asks for none, if it knows.
    pub async fn free_bytes(&self) -> Option<u64> {
        self.stores.free(self.stores.default_name()).await
    }

    /// Ends in good order: what was acknowledged is kept, the database is closed. Blocks.
    pub fn close(&self) {
        self.catalog.close();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("boot", &self.boot).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod between_tests;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
