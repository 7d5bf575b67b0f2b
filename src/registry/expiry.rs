//! Expiry: removes images past their date, and finds removed ones whose files are still kept. Knows no protocol.

use async_trait::async_trait;
use std::ops::Bound;

use super::removal::{Removal, take_out_of_sight};
use crate::digest::hex;
use crate::error::{Kind, Reason, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, Image, ImageId, Status, StoreName, Value, Visibility};
use crate::ingest::room::Reserve;
use crate::jobs::Handle;

/// Images of one fingerprint that are looked at, at most.
const NAMESAKES_MAX: usize = 64;

impl Removal {
    /// Removes those of the images meant that have expired. Protected images stay, and those with active readers wait
    /// for the next run.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(super) async fn expire(&self, meant: impl Fn(&Image) -> bool, handle: &Handle) -> Result<()> {
        // The lost changes may have extended an expiry date.
        if self.core.catalog.may_have_lost_changes() {
            return Ok(());
        }
        let now = self.core.now();
        if !self.clock_seen.is_steady(now) {
            log::warn!("the clock jumped: no image expires before its next check");
            return Ok(());
        }
        let filter = Filter::Within(Attr::ExpiresAt, Bound::Unbounded, Bound::Included(Value::Time(now)))
            .and(Filter::Equals(Attr::Protected, Value::Flag(false)))
            .and(Filter::spelled(Attr::Status, Status::Available.word()));
        let (mut pages, mut done) = (self.core.pages(filter.clone()), 0);
        while let Some(images) = pages.next().await? {
            for image in images.iter().filter(|image| meant(image) && !self.core.in_use.has(image.id)) {
                match self.expire_one(image.id, filter.clone()).await {
                    Ok(()) => {
                        log::info!("image {} has expired and is removed", image.id);
                        done += 1;
                        handle.steps(done, None);
                    }
                    // Another request removed the image, protected it, or extended its date.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Precondition) => {}
                    Err(error) => log::error!("image {} has expired and can't be removed: {error}", image.id),
                }
            }
        }
        Ok(())
    }

    async fn expire_one(&self, id: ImageId, due: Filter) -> Result<()> {
        let now = self.core.now();
        let gone = self.core.catalog.amend(id, move |row| {
            if !due.passes(row) {
                return Err(Reason::ChangedMeanwhile.about(row.id));
            }
            let mut row = row.clone();
            take_out_of_sight(&mut row, now);
            Ok(Some(row))
        });
        if let Some(gone) = gone.await? {
            let _ = self.remove_deleted(gone).await;
        }
        Ok(())
    }

    /// Finds the published image with this fingerprint, including one removed recently.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn published(&self, fingerprint: &[u8; 32]) -> Result<Option<Image>> {
        for status in [Status::Available, Status::Deleting] {
            let filter = Filter::Equals(Attr::Fingerprint, Value::Text(hex(fingerprint).into()))
                .and(Filter::spelled(Attr::Visibility, Visibility::Public.name()))
                .and(Filter::spelled(Attr::Status, status.word()));
            let query = Query { filter, sort: Sort::default(), limit: NAMESAKES_MAX, after: None };
            let found = self.core.catalog.list(&query).await?.images;
            let fits = |image: &Image| status == Status::Available || self.core.lingers(image);
            if let Some(image) = found.into_iter().find(fits) {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// Tells if another published image has the fingerprint of a removed one, whose files are then not needed.
    pub(super) async fn is_published_again(&self, image: &Image) -> bool {
        let Some(fingerprint) = image.fingerprint() else { return false };
        let published = self.published(&fingerprint).await;
        published.is_ok_and(|other| other.is_some_and(|other| other.id != image.id))
    }
}

#[async_trait]
impl Reserve for Removal {
    async fn release(&self, store: &StoreName, missing: u64) -> Result<()> {
        let mut gone = self.core.all_in(Status::Deleting).await?;
        gone.retain(|image| image.places().iter().any(|place| place.store == *store));
        let lingering: u64 = gone.iter().filter_map(Image::size).sum();
        if lingering >= missing {
            self.remove_each(gone, 0).await;
        }
        Ok(())
    }
}
