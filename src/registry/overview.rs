//! The server at a glance, for its operator: numbers of images and jobs, and the room in its stores. Knows no format that shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::policy::{Action, On};
use super::{Caller, Core, Registry};
use crate::error::Result;
use crate::image::query::Filter;
use crate::image::{StoreName, Timestamp};
use crate::jobs::JobStatus;

/// Images of one state in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageCount {
    /// Number of images.
    pub images: u64,
    /// Sum of their sizes, as far as these are known.
    pub bytes: u64,
}

/// Images by state and store. An image with copies counts in each of its stores.
pub type ImageCounts = BTreeMap<(&'static str, StoreName), ImageCount>;

/// The server at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Start of this run.
    pub started_at: Timestamp,
    /// The moment.
    pub now: Timestamp,
    /// Number of images.
    pub images: u64,
    /// Images by state and store.
    pub counts: Arc<ImageCounts>,
    /// Running and recent jobs by kind and state.
    pub jobs: BTreeMap<(&'static str, &'static str), u64>,
    /// Jobs that run now.
    pub jobs_running: u64,
    /// Stores and their free bytes, where those are known.
    pub stores: Vec<(StoreName, Option<u64>)>,
}

/// Images of the catalogue in one version of it.
struct Census {
    version: u64,
    images: u64,
    counts: Arc<ImageCounts>,
}

/// Maker of overviews. The images are counted anew only when the catalogue has changed, and once for all who ask meanwhile.
pub(in crate::registry) struct Overviews {
    started_at: Timestamp,
    census: Mutex<Option<Census>>,
}

impl Overviews {
    pub(in crate::registry) fn new(started_at: Timestamp) -> Self {
        Self { started_at, census: Mutex::default() }
    }

    /// Counts the images. Dropped half way, it leaves the earlier count.
    async fn count(&self, core: &Core) -> Result<(u64, Arc<ImageCounts>)> {
        let mut census = self.census.lock().await;
        // Read before the images: a change while they are counted has them counted again next time.
        let version = core.catalog.version()?;
        if let Some(census) = census.as_ref().filter(|census| census.version == version) {
            return Ok((census.images, Arc::clone(&census.counts)));
        }
        let (mut images, mut counts) = (0, ImageCounts::new());
        let mut pages = core.pages(Filter::everything());
        while let Some(page) = pages.next().await? {
            for image in page {
                images += 1;
                let mut stores = image.holders();
                if stores.is_empty() {
                    stores.push(image.serving_store());
                }
                for store in stores {
                    let count = counts.entry((image.status.word(), store)).or_default();
                    count.images += 1;
                    count.bytes = count.bytes.saturating_add(image.size().unwrap_or_default());
                }
            }
        }
        let counts = Arc::new(counts);
        *census = Some(Census { version, images, counts: Arc::clone(&counts) });
        Ok((images, counts))
    }
}

impl Registry {
    /// Looks at the whole server.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`; `Internal` when the catalogue does not work.
    pub async fn overview(&self, who: &Caller) -> Result<Overview> {
        who.may(Action::SeeMetrics, On::Server)?;
        let (images, counts) = self.overviews.count(&self.core).await?;
        let (mut jobs, mut jobs_running) = (BTreeMap::new(), 0);
        for job in self.core.jobs.list(|_| true) {
            *jobs.entry((job.kind.name(), job.status.name())).or_default() += 1;
            jobs_running += u64::from(matches!(job.status, JobStatus::Running | JobStatus::Stopping));
        }
        let mut stores = Vec::new();
        for store in self.core.stores.iter() {
            stores.push((store.name.clone(), store.blobs.free().await));
        }
        Ok(Overview {
            started_at: self.overviews.started_at,
            now: self.now(),
            images,
            counts,
            jobs,
            jobs_running,
            stores,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::registry::tests::{Bench, ROOT};

    #[tokio::test]
    async fn images_are_counted_by_state_and_store_and_again_after_a_change() {
        let bench = Bench::new();
        let seen = bench.registry.overview(&ROOT).await.unwrap();
        assert_eq!((seen.images, seen.counts.len(), seen.jobs_running), (0, 0, 0));
        bench.queued("a").await;
        bench.queued("b").await;
        let seen = bench.registry.overview(&ROOT).await.unwrap();
        let expected = BTreeMap::from([(("queued", StoreName::FILE), ImageCount { images: 2, bytes: 0 })]);
        assert_eq!((seen.images, &*seen.counts), (2, &expected));
        let again = bench.registry.overview(&ROOT).await.unwrap();
        assert!(Arc::ptr_eq(&seen.counts, &again.counts), "nothing has changed");
        assert_eq!(seen.stores.len(), 1);
    }

    #[tokio::test]
    async fn it_is_for_administrators() {
        let bench = Bench::new();
        for (who, expected) in [
            (Caller::Anonymous, Kind::Unauthenticated),
            (Caller::Reader("ann".into()), Kind::Forbidden),
            (Caller::User("ann".into()), Kind::Forbidden),
        ] {
            assert_eq!(bench.registry.overview(&who).await.unwrap_err().kind(), expected, "{who:?}");
        }
    }
}
