//! The parts that every service of the registry is made of: catalogue, stores, the way out, the clock and the limits.
//!
//! Values to hold and no use case: what is done with them is the services' business.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::clock::Clock;
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

/// Archives looked into at the same time, at most.
const INSPECTIONS_MAX: usize = 2;

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
    /// The accounts that may make images public.
    pub publish: Publish,
    /// Whether disks are offered to LXD and Incus that came through other protocols.
    pub offer_disks: bool,
    /// So long the files of images that were published and removed can still be fetched.
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
    /// Names this run: an upload's ticket of another run is dead.
    pub(in crate::registry) boot: Uuid,
    /// Images whose bytes are being read.
    pub(in crate::registry) in_use: Readers,
    pub(in crate::registry) jobs: Jobs,
    /// The right to look into an archive.
    pub(in crate::registry) inspections: Arc<Semaphore>,
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
        let inspections = Arc::new(Semaphore::new(INSPECTIONS_MAX));
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
            inspections,
        })
    }

    /// The time for this service.
    pub(in crate::registry) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// All images that a filter lets pass, page by page, for administration: no rights are checked.
    pub(in crate::registry) fn pages(&self, filter: Filter) -> Pages {
        Pages::of(&self.catalog, filter)
    }

    /// Images by filter, for administration: no rights are checked.
    pub(in crate::registry) async fn all(&self, filter: Filter) -> Result<Vec<Image>> {
        let query = Query { filter, sort: Sort::default(), limit: usize::MAX, after: None };
        Ok(self.catalog.list(&query).await?.images)
    }

    /// All images in a state, for administration: no rights are checked.
    pub(in crate::registry) async fn all_in(&self, status: Status) -> Result<Vec<Image>> {
        self.all(Filter::spelled(Attr::Status, status.word())).await
    }

    /// Whether the files of an image that was removed stay for those who have read a list that it was in.
    pub(in crate::registry) fn lingers(&self, image: &Image) -> bool {
        if image.status != Status::Deleting || !is_published(image) {
            return false;
        }
        let kept = i64::try_from(self.limits.keep_removed.as_micros()).unwrap_or(i64::MAX);
        let removed = image.updated_at.unwrap_or(image.created_at);
        self.now() < Timestamp(removed.0.saturating_add(kept))
    }
}

/// Whether everybody may fetch an image by the files that it has.
fn is_published(image: &Image) -> bool {
    image.visibility == Visibility::Public && image.lxd_identity.is_some()
}
