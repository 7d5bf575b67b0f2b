//! The state between: an image whose bytes are on their way.
//!
//! Whatever ends an upload early (an error, a client that goes away and takes the future with it, a panic) drops the
//! [`Saving`], and that puts the image back. When the process dies, the sweep at the next start does.

use std::sync::Arc;

use super::Registry;
use crate::error::{Error, Kind, Result};
use crate::image::{Fallback, Image, Status};

/// An image in the state *saving*. Put back when this is dropped.
pub(super) struct Saving {
    registry: Arc<Registry>,
    /// The row as it is now; `None` when there is nothing to put back.
    image: Option<Image>,
}

impl Saving {
    /// Stores an image in the state *saving*, as a new one or over the one that it was made from.
    ///
    /// In a task of its own: a caller that goes away while this waits can't know whether the change was made. The
    /// task does, and its unclaimed result puts the image back.
    ///
    /// # Errors
    /// As [`crate::catalog::Catalog::insert`] and [`crate::catalog::Catalog::replace`].
    pub(super) async fn begin(registry: &Arc<Registry>, image: Image, new: bool) -> Result<Self> {
        let registry = Arc::clone(registry);
        let task = tokio::spawn(async move {
            let catalog = &registry.catalog;
            let image = if new { catalog.insert(image).await? } else { catalog.replace(image).await? };
            Ok(Self { registry, image: Some(image) })
        });
        task.await.map_err(Error::internal)?
    }

    /// The image as it is stored.
    ///
    /// # Errors
    /// `Internal` when this is over.
    pub(super) fn image(&self) -> Result<&Image> {
        self.image.as_ref().ok_or_else(|| Error::internal("the upload is over"))
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Hands the responsibility on; dropping what is left does nothing.
    pub(super) fn take(&mut self) -> Self {
        Self { registry: Arc::clone(&self.registry), image: self.image.take() }
    }

    /// The upload came to its end: nothing is put back.
    pub(super) fn done(mut self) {
        self.image = None;
    }

    /// What dropping does, but waits for it, so that whoever is told of a failure sees its end.
    pub(super) async fn put_back(&mut self) {
        let Some(image) = self.image.take() else { return };
        let outcome = match fallen_back(image) {
            FallBack::Remove(image) => self.registry.catalog.remove(&image).await,
            FallBack::Replace(image) => self.registry.catalog.replace(image).await.map(drop),
        };
        // Somebody removed the image meanwhile: nothing is left to put back.
        if let Err(error) = outcome
            && error.kind() != Kind::Precondition
        {
            log::error!("an image could not be put back after a failed upload: {error}");
        }
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // No await here: the writer takes the change over, in order with everything else that it was asked for.
        if let Some(image) = self.image.take() {
            match fallen_back(image) {
                FallBack::Remove(image) => self.registry.catalog.remove_later(&image),
                FallBack::Replace(image) => self.registry.catalog.replace_later(image),
            }
        }
    }
}

/// What becomes of an image whose upload did not come to its end.
pub(super) enum FallBack {
    Remove(Image),
    Replace(Image),
}

pub(super) fn fallen_back(mut image: Image) -> FallBack {
    match image.ticket.take().map(|ticket| ticket.fallback) {
        Some(Fallback::Discard) => FallBack::Remove(image),
        Some(Fallback::Fail) | None => FallBack::Replace(Image { status: Status::Failed, ..image }),
    }
}
