//! The end of images by the clock: those that have expired go, and the files of published ones stay a while longer.

use std::ops::Bound;

use super::super::{Caller, Registry};
use super::names::no_image;
use crate::error::{Kind, Result};
use crate::image::digest::hex;
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, Image, Status, Timestamp, Value, Visibility};

/// Records looked at together.
const PAGE: usize = 64;

impl Registry {
    /// Removes the images that have expired. Those that are protected stay, and those that somebody reads wait for the next time.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn expire(&self) -> Result<()> {
        let now = Value::Time(self.now());
        let filter = Filter::Within(Attr::ExpiresAt, Bound::Unbounded, Bound::Included(now))
            .and(Filter::Equals(Attr::Protected, Value::Flag(false)))
            .and(Filter::spelled(Attr::Status, Status::Available.word()));
        let mut after = None;
        loop {
            let query = Query { filter: filter.clone(), sort: Sort::default(), limit: PAGE, after };
            let page = self.catalog.list(&query).await?;
            for image in page.images.iter().filter(|image| !self.in_use.has(image.id)) {
                match self.delete(&Caller::Admin(None), image.id).await {
                    Ok(_) => log::info!("image {} has expired and is removed", image.id),
                    // Somebody else was faster, and removed or protected it.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Forbidden) => {}
                    Err(error) => log::error!("image {} has expired and can't be removed: {error}", image.id),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
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

    /// The published image with this fingerprint, also when it was removed a while ago.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn published(&self, fingerprint: &[u8; 32]) -> Result<Image> {
        let filter = Filter::Equals(Attr::Fingerprint, Value::Text(hex(fingerprint).into()));
        let query = Query { filter, sort: Sort::default(), limit: PAGE, after: None };
        let found = self.catalog.list(&query).await?.images;
        let fit = |image: &&Image| match image.status {
            Status::Available => is_published(image),
            _ => self.lingers(image),
        };
        let image = found.iter().filter(fit).max_by_key(|image| image.status == Status::Available);
        image.cloned().ok_or_else(no_image)
    }

    /// Gives up what lingers, because its room is needed.
    pub(in crate::registry) async fn make_room(&self) -> Result<()> {
        for image in self.all_in(Status::Deleting).await? {
            self.remove_files(image).await;
        }
        Ok(())
    }
}

/// Whether everybody may fetch an image by the files that it has.
fn is_published(image: &Image) -> bool {
    image.visibility == Visibility::Public && image.offer.is_some()
}
