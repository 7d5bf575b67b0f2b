//! Parts that every service of the registry is made of: catalogue, stores, the way out, the clock and the limits.
//!
//! Holds values and no use case; the services act on them.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::clock::Clock;
use super::looks::Looks;
use super::mirror::unhashed::Unhashed;
use super::pages::Pages;
use super::policy::Publish;
use super::readers::Readers;
use crate::blob::{Linked, Stores};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::fetch::Fetcher;
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, Image, Status, Timestamp, Visibility};
use crate::ingest::RateLimits;
use crate::inspect::Rules;
use crate::jobs::Jobs;

/// Bounds on the work of one caller, or of all together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Size of the largest image, in bytes.
    pub image_bytes_max: u64,
    /// Concurrent uploads, at most; each holds a few buffers of 1 MiB.
    pub uploads_max: usize,
    /// Free space to leave in the store, in bytes.
    pub free_bytes_min: u64,
    /// Checks of image bytes that are switched off.
    pub inspect: Rules,
    /// Slowest rates at which bytes that the service itself fetches may arrive.
    pub patience: RateLimits,
    /// Images get a sha512 besides their other digests.
    pub sha512: bool,
    /// Images that stay under a URL get digests, for which their bytes are read once.
    pub url_digests: bool,
    /// The accounts that may make images public.
    pub publish: Publish,
    /// Disks that arrived through other protocols are offered to LXD and Incus.
    pub offer_disks: bool,
    /// Compressed disks that an import brings are unpacked.
    pub unpack_imports: bool,
    /// Time for which the files of published images can be fetched after removal.
    pub keep_removed: Duration,
}

/// The parts.
pub(in crate::registry) struct Core {
    pub(in crate::registry) catalog: Arc<Catalog>,
    pub(in crate::registry) stores: Arc<Stores>,
    pub(in crate::registry) linked: Linked,
    pub(in crate::registry) fetcher: Fetcher,
    pub(in crate::registry) clock: Clock,
    pub(in crate::registry) limits: Limits,
    /// Id of this run: an upload ticket of another run is dead.
    pub(in crate::registry) boot: Uuid,
    /// Images whose bytes are being read.
    pub(in crate::registry) in_use: Readers,
    pub(in crate::registry) jobs: Jobs,
    /// Looks for the descriptions of LXD's images.
    pub(in crate::registry) descriptions: Looks,
    /// Looks at the disks inside of files, which may take longer: a description does not wait behind them.
    pub(in crate::registry) disks: Looks,
    /// Images under URLs whose digests may be missing.
    pub(in crate::registry) unhashed: Unhashed,
}

impl Core {
    pub(in crate::registry) fn new(
        catalog: Catalog,
        stores: Arc<Stores>,
        linked: Linked,
        fetcher: Fetcher,
        clock: Clock,
        limits: Limits,
    ) -> Arc<Self> {
        let looks = || Looks::new(limits.image_bytes_max);
        let (descriptions, disks) = (looks(), looks());
        let (boot, in_use) = (Uuid::new_v4(), Readers::default());
        let catalog = Arc::new(catalog);
        Arc::new(Self {
            catalog,
            stores,
            linked,
            fetcher,
            clock,
            limits,
            boot,
            in_use,
            jobs: Jobs::new(clock),
            descriptions,
            disks,
            unhashed: Unhashed::default(),
        })
    }

    /// The time for this service.
    pub(in crate::registry) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Pages of all images that pass a filter, for administration: no rights are checked.
    pub(in crate::registry) fn pages(&self, filter: Filter) -> Pages {
        Pages::of(&self.catalog, filter)
    }

    /// Collects all images that pass a filter, for administration: no rights are checked.
    pub(in crate::registry) async fn all(&self, filter: Filter) -> Result<Vec<Image>> {
        let query = Query { filter, sort: Sort::default(), limit: usize::MAX, after: None };
        Ok(self.catalog.list(&query).await?.images)
    }

    /// Collects all images in a state, for administration: no rights are checked.
    pub(in crate::registry) async fn all_in(&self, status: Status) -> Result<Vec<Image>> {
        self.all(Filter::spelled(Attr::Status, status.word())).await
    }

    /// Tells if the files of a removed image are kept for clients that have read a list with it.
    pub(in crate::registry) fn lingers(&self, image: &Image) -> bool {
        if image.status != Status::Deleting || !is_published(image) {
            return false;
        }
        let kept = i64::try_from(self.limits.keep_removed.as_micros()).unwrap_or(i64::MAX);
        let removed = image.updated_at.unwrap_or(image.created_at);
        self.now() < Timestamp(removed.0.saturating_add(kept))
    }
}

/// Tells if every client may fetch the files of an image.
fn is_published(image: &Image) -> bool {
    image.visibility == Visibility::Public && image.lxd_identity.is_some()
}
