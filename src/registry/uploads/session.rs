//! The state between: an image whose bytes are in transit. Knows no protocol.
//!
//! Every early end of an upload (an error, a client that disconnects and drops the future, a panic) drops the
//! [`Saving`], and that puts the image back. When the process dies, the sweep at the next start does.

use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::not_found;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::{Fallback, Image, ImageId, Status, StoreName};
use crate::jobs::Handle;
use crate::registry::core::Core;

/// An image in the state *saving*. Put back when this is dropped.
///
/// Its metadata may change meanwhile. In this state, with a ticket of this run, the row belongs to this upload alone:
/// another one begins only after this one has put it back.
pub(in crate::registry) struct Saving {
    core: Arc<Core>,
    id: ImageId,
    /// True while there is a state to put back.
    armed: bool,
    /// Stores that get a copy of the bytes before the image is available, and the job that they are brought by.
    pub(in crate::registry) also: (Vec<StoreName>, Handle),
}

impl Saving {
    /// Stores an image in the state *saving*, as a new one or over the one that it was made from.
    ///
    /// Runs in a task of its own: a client that disconnects during this can't know if the change was made. The task
    /// does, and its unclaimed result puts the image back.
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
            Ok(Self { core, id, armed: true, also: Default::default() })
        });
        task.await.map_err(Error::internal)?
    }

    /// Takes charge of an image that is in this state already. Disarmed, as after [`Saving::disarm`].
    pub(in crate::registry) fn adopt(core: &Arc<Core>, id: ImageId) -> Self {
        Self { core: Arc::clone(core), id, armed: false, also: Default::default() }
    }

    pub(in crate::registry) fn id(&self) -> ImageId {
        self.id
    }

    /// Tells if there is a state to put back.
    pub(in crate::registry) fn is_armed(&self) -> bool {
        self.armed
    }

    /// Leaves the row to [`Saving::settle`] and [`Saving::put_back`], or else to the next start: dropping this has no
    /// effect any more.
    pub(in crate::registry) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Checks that the row still waits for this upload.
    ///
    /// # Errors
    /// `NotFound` when the image was removed meanwhile.
    pub(in crate::registry) async fn check(&self) -> Result<()> {
        let row = self.core.catalog.get(self.id).await.map_err(|error| removed_meanwhile(error, self.id))?;
        if is_saving(&row, self.core.boot) { Ok(()) } else { Err(Reason::ImageRemoved.about(self.id)) }
    }

    /// Applies the upload's result to the row.
    ///
    /// # Errors
    /// `NotFound` when the image was removed meanwhile; errors of `make` and of the catalogue.
    pub(in crate::registry) async fn settle(
        &self,
        make: impl Fn(Image) -> Result<Image> + Send + 'static,
    ) -> Result<Image> {
        let (id, boot) = (self.id, self.core.boot);
        let settled = self.core.catalog.amend(id, move |row| match is_saving(row, boot) {
            true => make(row.clone()).map(Some),
            false => Err(Reason::ImageRemoved.about(id)),
        });
        let settled = settled.await.map_err(|error| removed_meanwhile(error, id))?;
        settled.ok_or_else(|| Error::internal("an upload left no image"))
    }

    /// Puts the image back as dropping does, but waits for it: a client that is told of a failure sees its end.
    pub(in crate::registry) async fn put_back(&mut self) {
        self.armed = false;
        put_back(&self.core, self.id).await;
    }
}

/// Puts back an image that waits for an upload of this run.
pub(in crate::registry) async fn put_back(core: &Core, id: ImageId) {
    // `NotFound`: another request removed the image meanwhile, and there is nothing to put back.
    if let Err(error) = core.catalog.amend(id, back(core.boot)).await
        && error.kind() != Kind::NotFound
    {
        log::error!("an image could not be put back after a failed upload: {error}");
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // No await here: the writer takes the change over, in order with all its other work.
        if self.armed {
            self.core.catalog.amend_later(self.id, back(self.core.boot));
        }
    }
}

/// Error for an upload whose image was removed.
pub(in crate::registry) fn removed_meanwhile(error: Error, id: ImageId) -> Error {
    match error.reason() {
        Reason::ImageNotFound => Reason::ImageRemoved.about(id),
        _ => error,
    }
}

/// Tells if a row waits for an upload of this run.
pub(in crate::registry) fn is_saving(row: &Image, boot: Uuid) -> bool {
    row.status == Status::Saving && row.ticket.is_some_and(|ticket| ticket.boot == boot)
}

fn back(boot: Uuid) -> impl Fn(&Image) -> Result<Option<Image>> {
    move |row| match is_saving(row, boot) {
        true => Ok(fallen_back(row.clone())),
        false => Err(not_found(row.id)),
    }
}

/// State of an image after a failed upload; `None` if it is removed.
pub(in crate::registry) fn fallen_back(mut image: Image) -> Option<Image> {
    match image.ticket.take().map(|ticket| ticket.fallback) {
        Some(Fallback::Discard) if !image.protected => None,
        Some(Fallback::Discard | Fallback::Fail) | None => Some(Image { status: Status::Failed, ..image }),
    }
}
