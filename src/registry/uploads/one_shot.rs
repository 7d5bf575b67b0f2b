//! Uploads: state before bytes, flip after durable and verified bytes, a guard in between.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Kind, Result};
use crate::image::{
    BlobKey, Fallback, Format, Image, ImageId, ImagePatch, Resumable, Status, StoreName, StoredAt, UploadTicket,
};
use crate::ingest::intake::{Intake, Received, over};
use crate::ingest::{ByteSink, Expected};
use crate::registry::Caller;
use crate::registry::policy::Action;
use crate::registry::records::{PreparedChange, RETRIES_MAX, not_for_bytes, outrun};
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::Saving;

/// Bytes on their way into an image.
pub struct Upload {
    // Dropped in this order: the staged file goes first, then the image falls back.
    pub(in crate::registry) intake: Option<Intake>,
    pub(in crate::registry) saving: Saving,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) place: StoredAt,
    pub(in crate::registry) who: Caller,
    /// What describes the bytes to LXD and Incus, if that came before them.
    pub(in crate::registry) metadata: Option<Bytes>,
    /// Bytes since the row was last looked at.
    unseen: u64,
}

/// After so many bytes it is looked whether the image is still there: who removes it ends its upload.
const LOOK_BYTES: u64 = 64 << 20;

/// Which image bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A new one, of which nothing is left if its bytes do not come to their end.
    New,
    /// A new one, under this id if the caller chose one, that has failed then and may be tried again.
    Kept(Option<ImageId>),
    /// One that is there, and has failed then.
    Existing(ImageId),
}

/// What describes bytes to LXD and Incus.
pub(in crate::registry) enum Description {
    /// Nothing does, or nobody asks.
    None,
    /// Other bytes, which came before them.
    Ahead(Bytes),
    /// They do themselves, and are read for it when all of them are there.
    Within,
}

impl From<Option<ImageId>> for Target {
    fn from(id: Option<ImageId>) -> Self {
        id.map_or(Self::New, Self::Existing)
    }
}

impl Uploads {
    /// Begins the upload of a new image, or into one that takes bytes. What is left if it does not come to its end, the
    /// [`Target`] says.
    ///
    /// # Errors
    /// As [`crate::registry::Registry::create`]; `NotFound`, `Forbidden`; `Conflict` when the image has bytes or gets some now;
    /// `TooLarge`, `StoreFull`, `Busy`, `Unsupported` store: all before the first byte.
    pub async fn begin(
        self: &Arc<Self>,
        who: &Caller,
        into: impl Into<Target>,
        patch: &ImagePatch,
        claim: Expected,
    ) -> Result<Upload> {
        let slot = self.ingest.slot()?;
        self.begin_behind(who, into.into(), patch, claim, Description::None, slot).await
    }

    /// The same for bytes that something describes to LXD and Incus.
    pub(in crate::registry) async fn begin_behind(
        self: &Arc<Self>,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: Expected,
        described: Description,
        slot: OwnedSemaphorePermit,
    ) -> Result<Upload> {
        let (saving, place) = self.expect_bytes(who, into, patch, &claim, None).await?;
        let writer = match described {
            Description::Within => self.core.stores.begin_readable(&place, claim.size).await?,
            Description::None | Description::Ahead(_) => self.core.stores.begin(&place, claim.size).await?,
        };
        let (digesting, metadata) = match described {
            Description::Ahead(bytes) => {
                (self.ingest.hash_pool.begin().behind(Sha256::new_with_prefix(&bytes)), Some(bytes))
            }
            Description::None | Description::Within => (self.ingest.hash_pool.begin(), None),
        };
        let intake = Intake::start(&self.ingest, place.store.clone(), writer, 0, digesting, claim, slot)?;
        let uploads = Arc::clone(self);
        Ok(Upload { uploads, intake: Some(intake), saving, place, who: who.clone(), metadata, unseen: 0 })
    }

    /// Puts an image into the state *saving*, if there is room for its bytes, and says under which key they go.
    pub(in crate::registry) async fn expect_bytes(
        self: &Arc<Self>,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: &Expected,
        resumable: Option<Resumable>,
    ) -> Result<(Saving, StoredAt)> {
        for _ in 0..RETRIES_MAX {
            let image = match into {
                Target::New | Target::Kept(None) => self.records.draft(who, patch).await?,
                Target::Kept(Some(id)) => Image { id, ..self.records.draft(who, patch).await? },
                Target::Existing(id) => self.waiting(who, id, patch).await?,
            };
            // That it takes no bytes is the better news.
            let store = self.store_for(&image)?;
            self.ingest.admit(&store, claim).await?;
            let has_failed = image.status == Status::Failed;
            match self.begin_saving(image, store, into, resumable).await {
                // Its metadata was changed meanwhile, or somebody else began; the next look tells.
                Err(error) if error.kind() == Kind::Precondition => {}
                Ok((saving, place)) if has_failed => {
                    // What an earlier try may have left where it could not be removed: no record names it.
                    self.core.stores.delete(&place).await?;
                    return Ok((saving, place));
                }
                begun => return begun,
            }
        }
        Err(outrun())
    }

    /// An image that waits for bytes, with a patch on it.
    async fn waiting(&self, who: &Caller, id: ImageId, patch: &ImagePatch) -> Result<Image> {
        let mut image = self.core.catalog.get(id).await?;
        who.may(Action::UploadBytes, &image)?;
        if !image.status.takes_bytes() {
            return Err(not_for_bytes());
        }
        self.records.change(who, &mut image, patch).await?;
        image.updated_at = Some(self.core.now());
        Ok(image)
    }

    async fn begin_saving(
        self: &Arc<Self>,
        mut image: Image,
        store: StoreName,
        into: Target,
        resumable: Option<Resumable>,
    ) -> Result<(Saving, StoredAt)> {
        let fallback = if into == Target::New { Fallback::Discard } else { Fallback::Fail };
        image.status = Status::Saving;
        image.ticket = Some(UploadTicket { boot: self.core.boot, fallback, resumable });
        // Said before the first byte comes: a start after a crash looks there, whatever the default is by then.
        image.store = Some(store.clone());
        let place = BlobKey::main(image.id, image.format).in_store(store);
        let new = !matches!(into, Target::Existing(_));
        Ok((Saving::begin(&self.core, image, new).await?, place))
    }

    /// The store that takes the bytes of an image.
    fn store_for(&self, image: &Image) -> Result<StoreName> {
        match &image.store {
            None => Ok(self.core.stores.default_name().clone()),
            Some(name) if *name == StoreName::HTTP => {
                Err(Error::invalid("Cannot post an image file to a HTTP backend"))
            }
            Some(name) => self.core.stores.named(name).map(|_| name.clone()).map_err(Error::from),
        }
    }

    /// The change that ends an upload, if it fits the image; it is put on whatever the row is in the end. Returns also the format
    /// that the bytes then have to have: while bytes are on their way to an image nobody else changes that.
    pub(in crate::registry) async fn last_change(
        &self,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
    ) -> Result<(PreparedChange, Option<Format>)> {
        let change = self.records.prepare(who, patch).await?;
        let mut image = self.core.catalog.get(id).await?;
        change.apply(&mut image)?;
        Ok((change, image.format_of_bytes()))
    }
}

impl ByteSink for Upload {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        Upload::write(self, chunk).await
    }

    async fn abandon(&mut self) -> Result<()> {
        self.give_up().await;
        Ok(())
    }
}

impl Upload {
    /// The image that gets the bytes.
    pub fn image(&self) -> ImageId {
        self.saving.id()
    }

    /// Adds to what the sender says of its bytes: a form may say it behind them.
    pub fn claim(&mut self, more: Expected) {
        if let Some(intake) = &mut self.intake {
            intake.claim(more);
        }
    }

    /// Takes a chunk. After an error the upload is over, and the image is as if it had not been tried.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when there is more than was announced, `StoreFull`, `Internal`; `NotFound` when the image
    /// was removed meanwhile.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let Some(intake) = &mut self.intake else { return Err(over()) };
        self.unseen += chunk.len() as u64;
        let mut outcome = intake.take(chunk).await;
        if outcome.is_ok() && self.unseen >= LOOK_BYTES {
            self.unseen = 0;
            outcome = self.saving.check().await;
        }
        if outcome.is_err() {
            self.give_up().await;
        }
        outcome
    }

    /// Ends the upload: verifies the claim, makes the bytes durable, puts `patch` on the image and makes it available.
    ///
    /// # Errors
    /// `DigestMismatch`, `BadContent` when the bytes are not of the image's format or are dangerous, `StoreFull`, `Invalid`
    /// patch, `NotFound` when the image was removed meanwhile. The image is then as if the upload had not been tried.
    /// After `Internal` the next start decides what it is.
    pub async fn finish(mut self, patch: &ImagePatch) -> Result<Image> {
        match self.verified(patch).await {
            Ok((received, change)) => {
                let Self { uploads, saving, place, .. } = self;
                uploads.publish(saving, place, received, None, change, ()).await
            }
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// All bytes, if they are those that were announced, and the change that is to go with them.
    pub(in crate::registry) async fn verified(&mut self, patch: &ImagePatch) -> Result<(Received, PreparedChange)> {
        let (change, format) = self.uploads.last_change(&self.who, self.saving.id(), patch).await?;
        let received = self.intake.take().ok_or_else(over)?.finish(format).await?;
        Ok((received, change))
    }

    /// Ends an upload that can't go on: the staged bytes are gone and the image is back when this returns.
    pub async fn abandon(mut self) {
        self.give_up().await;
    }

    pub(in crate::registry) async fn give_up(&mut self) {
        if let Some(intake) = self.intake.take() {
            intake.abort().await;
        }
        // Once: the image may wait for another upload by now.
        if self.saving.is_armed() {
            self.saving.put_back().await;
        }
    }
}
