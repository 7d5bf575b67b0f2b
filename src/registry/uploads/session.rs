//! The state between: an image whose bytes are on their way.
//!
//! Whatever ends an upload early (an error, a client that goes away and takes the future with it, a panic) drops the
//! [`Saving`], and that puts the image back. When the process dies, the sweep at the next start does.

use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::{Fallback, Image, ImageId, Status};
use crate::registry::core::Core;

/// An image in the state *saving*. Put back when this is dropped.
///
/// Its metadata may be changed meanwhile. While it is in this state with a ticket of this run the row is this
/// upload's and nobody else's: another one begins only after this has put it back.
pub(in crate::registry) struct Saving {
    core: Arc<Core>,
    id: ImageId,
    /// Whether there is something to put back.
    armed: bool,
}

impl Saving {
    /// Stores an image in the state *saving*, as a new one or over the one that it was made from.
    ///
    /// In a task of its own: a caller that goes away while this waits can't know whether the change was made. The
    /// task does, and its unclaimed result puts the image back.
    ///
    /// # Errors
    /// As [`crate::catalog::Catalog::insert`] and [`crate::catalog::Catalog::replace`].
    pub(in crate::registry) async fn begin(core: &Arc<Core>, image: Image, new: bool) -> Result<Self> {
        let (core, id) = (Arc::clone(core), image.id);
        let task = tokio::spawn(async move {
            let catalog = &core.catalog;
            if new {
                catalog.insert(image).await?
            } else {
                catalog.replace(image).await?
            };
            Ok(Self { core, id, armed: true })
        });
        task.await.map_err(Error::internal)?
    }

    /// An image that is in this state already, with nobody else's responsibility for it. As after [`Saving::disarm`].
    pub(in crate::registry) fn adopt(core: &Arc<Core>, id: ImageId) -> Self {
        Self { core: Arc::clone(core), id, armed: false }
    }

    pub(in crate::registry) fn id(&self) -> ImageId {
        self.id
    }

    /// Whether there is something to put back.
    pub(in crate::registry) fn is_armed(&self) -> bool {
        self.armed
    }

    /// Leaves what becomes of the row to [`Saving::settle`] and [`Saving::put_back`], or else to the next start: dropping this does
    /// nothing any more.
    pub(in crate::registry) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Whether the row still waits for this upload.
    ///
    /// # Errors
    /// `NotFound` when the image was removed meanwhile.
    pub(in crate::registry) async fn check(&self) -> Result<()> {
        let row = self.core.catalog.get(self.id).await?;
        if is_saving(&row, self.core.boot) { Ok(()) } else { Err(not_found(self.id)) }
    }

    /// Makes the row what the upload made of it.
    ///
    /// # Errors
    /// `NotFound` when the image was removed meanwhile; what `make` and the catalogue say.
    pub(in crate::registry) async fn settle(
        &self,
        make: impl Fn(Image) -> Result<Image> + Send + 'static,
    ) -> Result<Image> {
        let (id, boot) = (self.id, self.core.boot);
        let settled = self.core.catalog.amend(id, move |row| match is_saving(row, boot) {
            true => make(row.clone()).map(Some),
            false => Err(not_found(id)),
        });
        settled.await?.ok_or_else(|| Error::internal("an upload left no image"))
    }

    /// What dropping does, but waits for it, so that whoever is told of a failure sees its end.
    pub(in crate::registry) async fn put_back(&mut self) {
        self.armed = false;
        put_back(&self.core, self.id).await;
    }
}

/// Makes an image that waits for an upload of this run what it was before.
pub(in crate::registry) async fn put_back(core: &Core, id: ImageId) {
    // `NotFound`: somebody removed the image meanwhile, and nothing is left to put back.
    if let Err(error) = core.catalog.amend(id, back(core.boot)).await
        && error.kind() != Kind::NotFound
    {
        log::error!("an image could not be put back after a failed upload: {error}");
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // No await here: the writer takes the change over, in order with everything else that it was asked for.
        if self.armed {
            self.core.catalog.amend_later(self.id, back(self.core.boot));
        }
    }
}

/// Whether a row waits for an upload of this run.
pub(in crate::registry) fn is_saving(row: &Image, boot: Uuid) -> bool {
    row.status == Status::Saving && row.ticket.is_some_and(|ticket| ticket.boot == boot)
}

fn back(boot: Uuid) -> impl Fn(&Image) -> Result<Option<Image>> {
    move |row| match is_saving(row, boot) {
        true => Ok(fallen_back(row.clone())),
        false => Err(not_found(row.id)),
    }
}

/// What becomes of an image whose upload did not come to its end; `None`: nothing is left of it.
pub(in crate::registry) fn fallen_back(mut image: Image) -> Option<Image> {
    match image.ticket.take().map(|ticket| ticket.fallback) {
        Some(Fallback::Discard) if !image.protected => None,
        Some(Fallback::Discard | Fallback::Fail) | None => Some(Image { status: Status::Failed, ..image }),
    }
}
