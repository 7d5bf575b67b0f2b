//! Uploads in one request: the state is recorded before the bytes arrive, and the image becomes available after they
//! are durable and verified. Knows no protocol.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Kind, Reason, Result};
use crate::image::{
    BlobKey, Declared, Fallback, Image, ImageId, ImagePatch, Resumable, Status, StoreName, StoredAt, UploadTicket,
};
use crate::ingest::intake::{Intake, over};
use crate::ingest::{ByteSink, Expected};
use crate::registry::Caller;
use crate::registry::gate::{Arrived, WayIn, let_in};
use crate::registry::policy::Action;
use crate::registry::records::{PreparedChange, RETRIES_MAX, outrun, takes_no_data};
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::{Saving, removed_meanwhile};

/// Bytes in transit into an image.
pub struct Upload {
    // Dropped in this order: the staged file is removed first, then the image falls back.
    pub(in crate::registry) intake: Option<Intake>,
    pub(in crate::registry) saving: Saving,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) place: StoredAt,
    pub(in crate::registry) who: Caller,
    /// Description for LXD and Incus, if it came before the bytes.
    pub(in crate::registry) metadata: Option<Bytes>,
    way: WayIn,
    /// Bytes since the last check of the row.
    unseen: u64,
}

/// Bytes between two checks that the image still exists: its removal ends the upload.
const LOOK_BYTES: u64 = 64 << 20;

/// Image that the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A new image, removed again if the upload fails.
    New,
    /// A new image, under this id if the caller chose one; if the upload fails it stays as *failed*, and may be tried
    /// again.
    Kept(Option<ImageId>),
    /// An existing image, *failed* if the upload fails.
    Existing(ImageId),
}

/// Origin of the description for LXD and Incus.
pub(in crate::registry) enum Description {
    /// There is none, or none is needed.
    None,
    /// Other bytes, which came before the image's.
    Ahead(Bytes),
    /// The bytes themselves, read for it when all have arrived.
    Within,
}

impl From<Option<ImageId>> for Target {
    fn from(id: Option<ImageId>) -> Self {
        id.map_or(Self::New, Self::Existing)
    }
}

impl Uploads {
    /// Begins the upload of a new image, or into one that takes bytes. The [`Target`] tells what a failure leaves.
    ///
    /// # Errors
    /// As [`crate::registry::Registry::create`]; `NotFound`, `Forbidden`; `Conflict` when the image has bytes or is
    /// receiving some; `TooLarge`, `StoreFull`, `Busy`, `Unsupported` store: all before the first byte.
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

    /// Begins an upload, as [`Uploads::begin`], with a description for LXD and Incus.
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
        let way = if matches!(described, Description::None) { WayIn::Upload } else { WayIn::Bundle };
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
        Ok(Upload { uploads, intake: Some(intake), saving, place, who: who.clone(), metadata, way, unseen: 0 })
    }

    /// Puts an image into the state *saving*, if there is room for its bytes, and returns their key.
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
            // Report "takes no data" before "no space": it is the more useful error.
            let store = self.store_for(&image)?;
            self.ingest.admit(&store, claim).await?;
            let has_failed = image.status == Status::Failed;
            match self.begin_saving(image, store, into, resumable).await {
                // The metadata changed meanwhile, or another upload began; the next check tells.
                Err(error) if error.kind() == Kind::Precondition => {}
                Ok((saving, place)) if has_failed => {
                    // Leftover of an earlier try that could not be removed: no record names it.
                    self.core.stores.delete(&place).await?;
                    return Ok((saving, place));
                }
                begun => return begun,
            }
        }
        Err(outrun())
    }

    /// Image that waits for bytes, with a patch applied.
    async fn waiting(&self, who: &Caller, id: ImageId, patch: &ImagePatch) -> Result<Image> {
        let mut image = self.core.catalog.get(id).await?;
        who.may(Action::UploadBytes, &image)?;
        if !image.status.takes_bytes() {
            return Err(takes_no_data(&image));
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
        // Recorded before the first byte: a start after a crash looks in this store, whatever the default is by then.
        image.store = Some(store.clone());
        let place = BlobKey::main(image.id, image.format).in_store(store);
        let new = !matches!(into, Target::Existing(_));
        Ok((Saving::begin(&self.core, image, new).await?, place))
    }

    /// Store that takes the bytes of an image.
    fn store_for(&self, image: &Image) -> Result<StoreName> {
        match &image.store {
            None => Ok(self.core.stores.default_name().clone()),
            Some(name) if *name == StoreName::HTTP => Err(Reason::StoreTakesNoFiles.about(name)),
            Some(name) => self.core.stores.named(name).map(|_| name.clone()).map_err(Error::from),
        }
    }

    /// The change that ends an upload, if it fits the image; it is applied to the row as it is at the end. Returns also
    /// what the image then says of its bytes.
    pub(in crate::registry) async fn last_change(
        &self,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
    ) -> Result<(PreparedChange, Declared)> {
        let change = self.records.prepare(who, patch).await?;
        let mut image = self.core.catalog.get(id).await.map_err(|error| removed_meanwhile(error, id))?;
        change.apply(&mut image)?;
        Ok((change, image.declared()))
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
    /// Id of the image that gets the bytes.
    pub fn image(&self) -> ImageId {
        self.saving.id()
    }

    /// Says that this server fetches the bytes itself.
    pub(in crate::registry) fn fetched(self) -> Self {
        Self { way: WayIn::Fetched, ..self }
    }

    /// Says that the bytes come out of a file that the cache brought.
    pub(in crate::registry) fn pulled(self) -> Self {
        Self { way: WayIn::Pulled, ..self }
    }

    /// Adds to the sender's claim: a form may have it after the bytes.
    pub fn claim(&mut self, more: Expected) {
        if let Some(intake) = &mut self.intake {
            intake.claim(more);
        }
    }

    /// Receives a chunk. After an error the upload is over, and the image is as before the try.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when more bytes arrive than announced, `StoreFull`, `Internal`; `NotFound` when the
    /// image was removed meanwhile.
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

    /// Ends the upload: verifies the claim, makes the bytes durable, applies `patch` and makes the image available.
    ///
    /// # Errors
    /// `DigestMismatch`, `BadContent` when the bytes are not of the image's format or are dangerous, `StoreFull`,
    /// `Invalid` patch, `NotFound` when the image was removed meanwhile. The image is then as before the try. After
    /// `Internal` the next start decides on its state.
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

    /// Verifies all bytes against the claim, lets them in, and prepares the change that accompanies them.
    pub(in crate::registry) async fn verified(&mut self, patch: &ImagePatch) -> Result<(Arrived, PreparedChange)> {
        let (change, declared) = self.uploads.last_change(&self.who, self.saving.id(), patch).await?;
        let received = self.intake.take().ok_or_else(over)?.finish().await?;
        Ok((let_in(&self.uploads.core, self.way, received, declared).await?, change))
    }

    /// Ends a failed upload: the staged bytes are removed and the image has fallen back when this returns.
    pub async fn abandon(mut self) {
        self.give_up().await;
    }

    pub(in crate::registry) async fn give_up(&mut self) {
        if let Some(intake) = self.intake.take() {
            intake.abort().await;
        }
        // Once: the image may be waiting for another upload by now.
        if self.saving.is_armed() {
            self.saving.put_back().await;
        }
    }
}
