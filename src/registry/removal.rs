//! Removal of an image: out of sight, then its bytes, then its record. Knows no protocol.

use std::collections::HashSet;
use std::sync::Arc;

use super::Caller;
use super::clock::ClockWatch;
use super::core::Core;
use super::policy::{Action, On};
use crate::error::{Kind, Reason, Result};
use crate::image::query::Filter;
use crate::image::{Access, Attr, Image, ImageId, Status, StoreName, Timestamp, Value};
use crate::registry::records::{RETRIES_MAX, outrun};

/// Service that removes images: for their owners, by expiry, and for free room.
pub(in crate::registry) struct Removal {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) clock_seen: ClockWatch,
}

impl Removal {
    pub(in crate::registry) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self { core: Arc::clone(core), clock_seen: ClockWatch::default() })
    }

    /// Removes an image: first from sight, then its bytes, then its record. Returns the former image.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also for a protected image. The sweep removes bytes that can't be removed now.
    pub(in crate::registry) async fn delete(&self, who: &Caller, id: ImageId) -> Result<(Image, Access)> {
        for _ in 0..RETRIES_MAX {
            let image = self.core.catalog.get(id).await?;
            who.may(Action::DeleteImage, &image)?;
            if image.protected {
                return Err(Reason::ImageProtected.about(id));
            }
            let access = self.core.catalog.access(id);
            let mut gone = image.clone();
            take_out_of_sight(&mut gone, self.core.now());
            match self.core.catalog.replace(gone).await {
                Ok(gone) => {
                    let _ = self.remove_deleted(gone).await;
                    return Ok((image, access));
                }
                Err(error) if error.kind() == Kind::Precondition => {}
                Err(error) => return Err(error),
            }
        }
        Err(outrun())
    }

    /// Runs the second half of a removal, unless the files are kept for a while. The sweep tries a failure again.
    ///
    /// # Errors
    /// The store that failed.
    pub(super) async fn remove_deleted(&self, image: Image) -> Result<(), StoreName> {
        if !self.core.lingers(&image) || self.is_published_again(&image).await {
            return self.remove_files(image).await;
        }
        Ok(())
    }

    /// Removes the files of an image that is out of sight, and then its record.
    ///
    /// # Errors
    /// As [`Removal::remove_deleted`].
    pub(super) async fn remove_files(&self, image: Image) -> Result<(), StoreName> {
        if image.status != Status::Deleting {
            return Ok(());
        }
        // A failing store does not hold up room in another.
        let mut down = None;
        for place in image.places() {
            if down.as_ref() == Some(&place.store) {
                continue;
            }
            if let Err(error) = self.core.stores.delete(&place).await {
                log::error!("the bytes of {} could not be removed, the next sweep tries again: {error}", image.id);
                down = Some(place.store);
            }
        }
        if let Some(store) = down {
            return Err(store);
        }
        // `Precondition`: another request completed the removal.
        if let Err(error) = self.core.catalog.remove(&image).await
            && error.kind() != Kind::Precondition
        {
            log::error!("the record of {} could not be removed, the next sweep tries again: {error}", image.id);
        }
        Ok(())
    }

    /// Removes the files of images that are out of sight; of the first `lingering` only of those that are not kept for
    /// a while. A store that failed once is skipped, or each image would wait as long.
    pub(super) async fn remove_each(&self, gone: Vec<Image>, lingering: usize) {
        let mut down = HashSet::new();
        for (at, image) in gone.into_iter().enumerate() {
            if image.places().iter().any(|place| down.contains(&place.store)) {
                continue;
            }
            let removed = match at < lingering {
                true => self.remove_deleted(image).await,
                false => self.remove_files(image).await,
            };
            down.extend(removed.err());
        }
    }

    /// Removes every unprotected image of the caller. Returns the former images.
    ///
    /// # Errors
    /// `Unauthenticated`, or the error of the first image that could not be removed.
    pub(in crate::registry) async fn delete_all(&self, who: &Caller) -> Result<Vec<(Image, Access)>> {
        who.may(Action::DeleteOwnImages, On::Server)?;
        let mut removed = Vec::new();
        let own = who.own().and(Filter::Equals(Attr::Protected, Value::Flag(false)));
        let mut pages = self.core.pages(own);
        while let Some(images) = pages.next().await? {
            for image in images {
                match self.delete(who, image.id).await {
                    Ok(one) => removed.push(one),
                    // Another request removed or protected it first.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Forbidden) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(removed)
    }
}

/// Runs the first half of a removal: the image is out of sight from now on. It keeps the ticket of a running upload,
/// which tells whose files to look for.
pub(in crate::registry) fn take_out_of_sight(image: &mut Image, now: Timestamp) {
    image.status = Status::Deleting;
    image.aliases.clear();
    image.updated_at = Some(now);
}
