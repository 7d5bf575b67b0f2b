//! The end of an upload: its bytes become a blob, and its image becomes available. Knows no protocol.

use std::sync::Arc;

use bytes::Bytes;

use crate::blob::BlobWriter;
use crate::error::{Error, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{
    Attr, BlobKey, Digests, Image, ImageId, Location, LxdIdentity, Part, Status, StoreName, StoredAt, Timestamp,
};
use crate::ingest::intake::Received;
use crate::registry::carry::Carrier;
use crate::registry::gate::Admitted;
use crate::registry::parts::{keep_metadata, remove_places, was_refused};
use crate::registry::records::PreparedChange;
use crate::registry::retries::FetchReport;
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::Saving;

/// Images with one md5 whose bytes are compared, at most: more are an attack on md5, or a very common file whose first
/// image will do.
const TWINS_MAX: usize = 4;

async fn settle_row(
    saving: &Saving,
    now: Timestamp,
    parts: Vec<Part>,
    offer: Option<LxdIdentity>,
    change: PreparedChange,
    admitted: Admitted,
) -> Result<Image> {
    let published = saving.settle(move |row| {
        let mut image = Image {
            store: parts.first().and_then(Part::place).map(|place| place.store.clone()),
            parts: parts.clone(),
            lxd_identity: offer,
            status: Status::Available,
            ticket: None,
            uploaded_at: Some(now),
            // As in the original VISOR, and in Glance.
            updated_at: Some(now),
            ..row
        };
        change.apply(&mut image)?;
        admitted.check_said(&image)?;
        Ok(image)
    });
    published.await
}

impl Uploads {
    /// Makes the bytes of a row durable, records them with `change`, and makes the image available.
    ///
    /// The point of no return runs as a task of its own, which owns `hold`: a client that disconnects now must not
    /// leave a file without a record, or a record that falls back after the file appeared. When a server that shuts
    /// down drops even the task, the row stays as it is, and the next start decides.
    ///
    /// # Errors
    /// `StoreFull`, `Invalid` patch, `NotFound` when the image was removed meanwhile: the row has fallen back. After
    /// `Internal` the next start decides on its state.
    pub(in crate::registry) async fn publish(
        self: &Arc<Self>,
        mut saving: Saving,
        place: StoredAt,
        (received, mut admitted): (Received, Admitted),
        described: Option<(LxdIdentity, Option<Bytes>)>,
        change: PreparedChange,
        hold: impl Send + 'static,
    ) -> Result<Image> {
        saving.disarm();
        let uploads = Arc::clone(self);
        let done = tokio::spawn(async move {
            let _hold = hold;
            let Received { size, digests, writer, slot, .. } = received;
            let (offer, metadata) = described.map_or((None, None), |(offer, metadata)| (Some(offer), metadata));
            let settled = async {
                let mut described = None;
                if let Some(metadata) = metadata {
                    let place = BlobKey::metadata(saving.id()).in_store(place.store.clone());
                    described = Some(keep_metadata(&uploads.core.stores, place, metadata).await?);
                }
                let copy = uploads.settle_bytes(&place, size, digests, writer).await?;
                // A look inside takes no part in the transfer, and each further copy has a permit of its own.
                drop(slot);
                if admitted.is_wrapped() {
                    let body = uploads.core.stores.open(&place, None).await?;
                    admitted.look_inside(&uploads.core, body).await?;
                }
                let main = admitted.part(Location::Stored(place.clone()), Some(size), digests)?;
                let copies = uploads.copies_before(&saving, &main).await?;
                Ok((copy, [main].into_iter().chain(copies).chain(described).collect()))
            };
            let outcome = match settled.await {
                Err(error) => Err(error),
                Ok((copy, parts)) => {
                    let settled = settle_row(&saving, uploads.core.now(), parts, offer, change, admitted).await;
                    if settled.as_ref().is_err_and(|error| !was_refused(error)) {
                        // The change may be in the journal all the same: bytes and row stay untouched from here on.
                        return settled;
                    }
                    // Only when the row is durable: a crash before that needs the copy.
                    if let Some(copy) = copy {
                        copy.abort().await;
                    }
                    settled
                }
            };
            if let Ok(image) = &outcome {
                uploads.offers.consider(image);
            } else {
                uploads.remove_unnamed(saving.id(), place, &saving.also.0).await;
                saving.put_back().await;
            }
            outcome
        });
        done.await.map_err(Error::internal)?
    }

    /// Stores equal bytes once: the upload becomes another name of stored bytes, and the writer with the second copy is
    /// returned.
    async fn settle_bytes(
        &self,
        place: &StoredAt,
        size: u64,
        digests: Digests,
        mut writer: Box<dyn BlobWriter>,
    ) -> Result<Option<Box<dyn BlobWriter>>> {
        if let Some(twin) = self.twin(&place.store, size, digests).await
            && writer.link(&twin).await?
        {
            return Ok(Some(writer));
        }
        writer.finish().await?;
        Ok(None)
    }

    /// Copies durable bytes into the stores that must have them before the image is available.
    async fn copies_before(&self, saving: &Saving, part: &Part) -> Result<Vec<Part>> {
        let (stores, handle) = &saving.also;
        if stores.is_empty() {
            return Ok(Vec::new());
        }
        let image = self.core.catalog.get(saving.id()).await?;
        let progress = (0, part.size.unwrap_or(0).saturating_mul(stores.len() as u64));
        let (core, ingest, report) = (&self.core, &self.ingest, FetchReport::to(handle));
        Carrier { core, ingest, report, progress }.multiply(&image, part, stores).await
    }

    /// Removes bytes that no record names.
    async fn remove_unnamed(&self, id: ImageId, main: StoredAt, also: &[StoreName]) {
        let Ok(image) = self.core.catalog.find(id).await else { return };
        let named = image.map(|image| image.parts).unwrap_or_default();
        let described = BlobKey::metadata(id).in_store(main.store.clone());
        let copies = also.iter().map(|store| main.key.clone().in_store(store.clone()));
        let all: Vec<_> = copies.chain([main.clone(), described]).collect();
        remove_places(&self.core.stores, all, &named).await;
    }

    /// Finds a blob with these bytes. Only received bytes are looked up: a digest alone gives a client no access.
    async fn twin(&self, store: &StoreName, size: u64, digests: Digests) -> Option<BlobKey> {
        let md5 = digests.md5_hex().filter(|_| size > 0)?;
        let filter = Filter::spelled(Attr::Checksum, &md5);
        let query = Query { filter, sort: Sort::default(), limit: TWINS_MAX, after: None };
        let page = self.core.catalog.list(&query).await.ok()?;
        let same = |other: &Part| other.size == Some(size) && other.digests.sha256 == digests.sha256;
        let twins = page.images.iter().flat_map(|image| &image.parts).filter(|other| same(other));
        twins.filter_map(Part::place).find(|place| place.store == *store).map(|place| place.key.clone())
    }
}
