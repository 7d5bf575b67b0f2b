//! Builds that a newer one replaced, as the cache's budget has them: which may go, and how they go. Images that were uploaded, and those
//! that have a name, never go by themselves.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::blob::{BlobBody, BlobStore};
use crate::cache::{FileOnDisk, Stock, Superseded, SupersededBuild};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, ImageId, Status};
use crate::registry::core::Core;
use crate::registry::pulls::locks::locked;
use crate::registry::pulls::provenance::{Provenance, superseded_at};
use crate::registry::removal::{Removal, take_out_of_sight};

/// Seconds for which a build stays after it was replaced: a client may be about to read it.
const YOUNG: i64 = 600;

/// Pulled images, for the cache's budget.
pub(super) struct SupersededBuilds {
    pub(super) core: Arc<Core>,
    pub(super) removal: Arc<Removal>,
    /// Directory of the list of lock files.
    pub(super) locks: PathBuf,
}

/// Tells if an image is a replaced build that was not named, kept or protected since. A lock file may hold it all the same.
fn may_go(image: &Image) -> bool {
    let is_unpinned = Provenance::of(image).is_some_and(|origin| !origin.is_pinned);
    image.status == Status::Available && image.aliases.is_empty() && !image.protected && image.hidden && is_unpinned
}

impl SupersededBuilds {
    /// Tells if an image may go now; the time at which it was replaced.
    fn replaced(&self, image: &Image) -> Option<i64> {
        let at = superseded_at(image)?;
        let is_old = at + YOUNG <= self.core.now().seconds();
        (is_old && may_go(image) && !self.core.in_use.has(image.id)).then_some(at)
    }

    async fn build(&self, image: &Image) -> Option<SupersededBuild> {
        let origin = Provenance::of(image)?;
        let mut files = Vec::new();
        for place in image.places() {
            // Files of other stores take no room here.
            if self.core.stores.named(&place.store).is_ok_and(BlobStore::has_files)
                && let Ok(BlobBody::File(blob)) = self.core.stores.open(&place, None).await
            {
                let file = blob.file.metadata().ok()?;
                files.push(FileOnDisk::of(&file));
            }
        }
        let reason = "a newer build took its place, and no pin, lock or reader holds it".to_owned();
        let build = SupersededBuild { id: image.id.to_string(), what: origin.name, reason, url: origin.origin, files };
        (!build.files.is_empty()).then_some(build)
    }
}

#[async_trait]
impl Superseded for SupersededBuilds {
    async fn stock(&self) -> Result<Stock> {
        let dir = self.locks.clone();
        let locked = spawn_blocking(move || locked(&dir)).await.map_err(Error::internal)?;
        let is_known = locked.as_ref().map_err(|error| {
            log::warn!("no build is removed for room, because a lock file can't be read: {error}");
        });
        let is_known = is_known.is_ok();
        let mut stock = Stock { locked: locked.unwrap_or_default(), ..Stock::default() };
        let mut found = Vec::new();
        let mut pages = self.core.pages(Filter::spelled(Attr::Status, Status::Available.word()));
        while let Some(images) = pages.next().await? {
            for image in images {
                let Some(origin) = Provenance::of(&image) else { continue };
                let is_locked = origin.published(&image).is_some_and(|(sum, _)| stock.locked.contains(&sum));
                stock.documents.extend(origin.evidence.documents);
                if let Some(at) = self.replaced(&image).filter(|_| is_known && !is_locked) {
                    found.push((at, self.build(&image).await));
                }
            }
        }
        found.sort_by_key(|(at, _)| *at);
        stock.builds = found.into_iter().filter_map(|(_, build)| build).collect();
        Ok(stock)
    }

    async fn remove(&self, build: &SupersededBuild) -> Result<bool> {
        let Ok(id) = build.id.parse::<ImageId>() else { return Ok(false) };
        if self.core.in_use.has(id) {
            return Ok(false);
        }
        let now = self.core.now();
        let gone = self.core.catalog.amend(id, move |row| {
            if superseded_at(row).is_none() || !may_go(row) {
                return Err(Reason::ChangedMeanwhile.about(row.id));
            }
            let mut row = row.clone();
            take_out_of_sight(&mut row, now);
            Ok(Some(row))
        });
        let gone = match gone.await {
            // Another request named it, kept it, or removed it.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Precondition) => return Ok(false),
            gone => gone?,
        };
        let Some(gone) = gone else { return Ok(false) };
        log::info!("image {id}, {}, is removed for room", build.what);
        // Its files do not linger: the room is needed now.
        Ok(self.removal.remove_files(gone).await.is_ok())
    }
}
