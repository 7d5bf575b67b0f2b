//! The end of images by the clock: those that have expired go, and the files of published ones stay a while longer.

use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Registry;
use super::lxd::names::no_image;
use crate::digest::hex;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, Image, ImageId, Status, StoreName, Timestamp, Value, Visibility};
use crate::jobs::Handle;

/// Records looked at together.
const PAGE: usize = 64;
const DAY_US: i64 = 86_400 * 1_000_000;

/// What the clock of the machine said when it was last looked at, beside one that only goes forward.
#[derive(Debug, Default)]
pub(super) struct ClockWatch(Mutex<Option<(Instant, Timestamp)>>);

impl ClockWatch {
    /// Whether the clock has gone as far as time has, give or take a day. One that was set anew is believed from the next time on.
    fn is_steady(&self, now: Timestamp) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace((Instant::now(), now));
        then.is_none_or(|(instant, then)| {
            let passed = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
            now.0.saturating_sub(then.0).saturating_sub(passed).saturating_abs() < DAY_US
        })
    }
}

impl Registry {
    /// Removes those of the images meant that have expired. Those that are protected stay, and those that somebody reads wait
    /// for the next time.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(super) async fn expire(&self, meant: impl Fn(&Image) -> bool, handle: &Handle) -> Result<()> {
        // What gave it more time may be what was lost.
        if self.catalog.may_have_lost_changes() {
            return Ok(());
        }
        let now = self.now();
        if !self.clock_seen.is_steady(now) {
            log::warn!("the clock has leapt: nothing expires before it has been looked at again");
            return Ok(());
        }
        let filter = Filter::Within(Attr::ExpiresAt, Bound::Unbounded, Bound::Included(Value::Time(now)))
            .and(Filter::Equals(Attr::Protected, Value::Flag(false)))
            .and(Filter::spelled(Attr::Status, Status::Available.word()));
        let (mut after, mut done) = (None, 0);
        loop {
            let query = Query { filter: filter.clone(), sort: Sort::default(), limit: PAGE, after };
            let page = self.catalog.list(&query).await?;
            for image in page.images.iter().filter(|image| meant(image) && !self.in_use.has(image.id)) {
                match self.expire_one(image.id, filter.clone()).await {
                    Ok(()) => {
                        log::info!("image {} has expired and is removed", image.id);
                        done += 1;
                        handle.steps(done, None);
                    }
                    // Somebody else was faster, and removed it, protected it, or gave it more time.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Precondition) => {}
                    Err(error) => log::error!("image {} has expired and can't be removed: {error}", image.id),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn expire_one(&self, id: ImageId, due: Filter) -> Result<()> {
        let now = self.now();
        let gone = self.catalog.amend(id, move |row| {
            if !due.passes(row) {
                return Err(Error::new(Kind::Precondition, "It was changed meanwhile."));
            }
            let mut row = row.clone();
            Self::take_out_of_sight(&mut row, now);
            Ok(Some(row))
        });
        if let Some(gone) = gone.await? {
            let _ = self.remove_deleted(gone).await;
        }
        Ok(())
    }

    /// Whether the files of an image that was removed stay for those who have read a list that it was in.
    pub(super) fn lingers(&self, image: &Image) -> bool {
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
        for status in [Status::Available, Status::Deleting] {
            let filter = Filter::Equals(Attr::Fingerprint, Value::Text(hex(fingerprint).into()))
                .and(Filter::spelled(Attr::Visibility, Visibility::Public.name()))
                .and(Filter::spelled(Attr::Status, status.word()));
            let query = Query { filter, sort: Sort::default(), limit: PAGE, after: None };
            let found = self.catalog.list(&query).await?.images;
            let fits = |image: &Image| status == Status::Available || self.lingers(image);
            if let Some(image) = found.into_iter().find(fits) {
                return Ok(image);
            }
        }
        Err(no_image())
    }

    /// Whether the files of a removed image are of no use to anybody, because the same are there once more.
    pub(super) async fn is_published_again(&self, image: &Image) -> bool {
        let Some(fingerprint) = image.fingerprint() else { return false };
        self.published(&fingerprint).await.is_ok_and(|other| other.id != image.id)
    }

    /// Gives up what lingers, because its room is needed for so many bytes; unless that would not be enough.
    pub(super) async fn make_room(&self, store: &StoreName, size: u64) -> Result<()> {
        let mut gone = self.all_in(Status::Deleting).await?;
        gone.retain(|image| image.places().iter().any(|place| place.store == *store));
        let lingering: u64 = gone.iter().filter_map(Image::size).sum();
        let (_, room) = self.room_for(store, size).await;
        if room.saturating_add(lingering) < size {
            return Ok(());
        }
        self.remove_each(gone, 0).await;
        Ok(())
    }
}

/// Whether everybody may fetch an image by the files that it has.
fn is_published(image: &Image) -> bool {
    image.visibility == Visibility::Public && image.lxd_identity.is_some()
}
