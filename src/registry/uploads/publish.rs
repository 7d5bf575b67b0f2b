//! The end of an upload: its bytes become a blob, and its image becomes available.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::blob::BlobWriter;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{
    Attr, BlobKey, Digests, Image, ImageId, ImagePatch, Location, LxdIdentity, Part, PartKind, Status, StoredAt,
};
use crate::registry::uploads::session::Saving;
use crate::registry::{Caller, Registry};

/// Images with the same md5 that are looked at for the same bytes: more is an attack on md5, or a very common file whose
/// first image is as good as any.
const TWINS_MAX: usize = 4;

/// All bytes of an upload, verified.
pub(in crate::registry) struct Received {
    pub(in crate::registry) size: u64,
    /// How large the disk in them is.
    pub(in crate::registry) virtual_size: Option<u64>,
    pub(in crate::registry) digests: Digests,
    /// SHA-256 of what described them and of them, if something came before them.
    pub(in crate::registry) joint: Option<[u8; 32]>,
    /// How LXD and Incus are to know them, and what describes them if they don't do so themselves.
    pub(in crate::registry) lxd_identity: Option<(LxdIdentity, Option<Bytes>)>,
    /// Where they are.
    pub(in crate::registry) writer: Box<dyn BlobWriter>,
    /// Given back when they are durable.
    pub(in crate::registry) slot: OwnedSemaphorePermit,
}

/// Makes a row's bytes durable, puts them and `patch` on it, and makes it available.
///
/// The point of no return runs as a task of its own, and has what it needs in `hold`: a client that leaves now must not
/// leave a file without a record, or a record that falls back after the file appeared. When even the task is dropped, by
/// a server that ends, the row stays as it is, and the next start decides.
///
/// # Errors
/// `StoreFull`, `Invalid` patch, `NotFound` when the image was removed meanwhile: the row is back as it was. After
/// `Internal` the next start decides what it is.
pub(in crate::registry) async fn publish(
    mut saving: Saving,
    place: StoredAt,
    received: Received,
    who: Caller,
    patch: ImagePatch,
    hold: impl Send + 'static,
) -> Result<Image> {
    let done = tokio::spawn(async move {
        let _hold = hold;
        let registry = Arc::clone(saving.registry());
        let Received { size, virtual_size, digests, lxd_identity, writer, slot, .. } = received;
        let main = stored(PartKind::Main, place.clone(), size, digests);
        let mut parts = vec![Part { virtual_size, ..main }];
        let (offer, metadata) = lxd_identity.map_or((None, None), |(offer, metadata)| (Some(offer), metadata));
        let settled = async {
            if let Some(metadata) = metadata {
                let described = BlobKey::metadata(saving.id()).in_store(place.store.clone());
                parts.push(registry.keep_metadata(described, metadata).await?);
            }
            registry.settle_bytes(&parts[0], writer).await
        };
        let outcome = match settled.await {
            Err(error) => Err(error),
            Ok(copy) => {
                drop(slot);
                let settled = settle_row(&saving, who, parts, offer, patch).await;
                if settled.as_ref().is_err_and(|error| !was_refused(error)) {
                    // It may be in the journal all the same: neither bytes nor row are touched any more.
                    return settled;
                }
                // Not before the row is durable: until then it is what a crash leaves.
                if let Some(copy) = copy {
                    copy.abort().await;
                }
                settled
            }
        };
        if let Ok(image) = &outcome {
            registry.consider(image);
        } else {
            registry.remove_unnamed(saving.id(), place).await;
            saving.put_back().await;
        }
        outcome
    });
    done.await.map_err(Error::internal)?
}

async fn settle_row(
    saving: &Saving,
    who: Caller,
    parts: Vec<Part>,
    offer: Option<LxdIdentity>,
    patch: ImagePatch,
) -> Result<Image> {
    let (now, publish) = (saving.registry().now(), saving.registry().limits.publish);
    let published = saving.settle(move |row| {
        let before = row.clone();
        let mut image = Image {
            store: parts.first().and_then(Part::place).map(|place| place.store.clone()),
            parts: parts.clone(),
            lxd_identity: offer,
            status: Status::Available,
            ticket: None,
            uploaded_at: Some(now),
            // As the original VISOR has it, and Glance.
            updated_at: Some(now),
            ..row
        };
        patch.apply(&mut image)?;
        // Asked before, of the row as it was then.
        publish.check(&who, &before, &image)?;
        Ok(image)
    });
    published.await
}

/// A part of an image that a store has.
fn stored(kind: PartKind, place: StoredAt, size: u64, digests: Digests) -> Part {
    Part { kind, location: Location::Stored(place), size: Some(size), virtual_size: None, digests, etag: None }
}

/// Whether a change was certainly not made.
pub(in crate::registry) fn was_refused(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Internal | Kind::Busy)
}

impl Registry {
    /// Bytes that are there already are stored once: the upload becomes another name of them, and the writer, which has a
    /// copy, is given back.
    async fn settle_bytes(&self, part: &Part, mut writer: Box<dyn BlobWriter>) -> Result<Option<Box<dyn BlobWriter>>> {
        if let Some(twin) = self.twin(part).await
            && writer.link(&twin).await?
        {
            return Ok(Some(writer));
        }
        writer.finish().await?;
        Ok(None)
    }

    /// Makes durable what describes an image to LXD and Incus.
    pub(in crate::registry) async fn keep_metadata(&self, place: StoredAt, bytes: Bytes) -> Result<Part> {
        let size = bytes.len() as u64;
        let digests = Digests { sha256: Some(Sha256::digest(&bytes).into()), ..Digests::default() };
        let mut writer = self.stores.begin(&place, Some(size)).await?;
        writer.write(bytes).await?;
        writer.finish().await?;
        Ok(stored(PartKind::Metadata, place, size, digests))
    }

    /// Removes bytes that no record got.
    async fn remove_unnamed(&self, id: ImageId, main: StoredAt) {
        let Ok(image) = self.catalog.find(id).await else { return };
        let named = image.map(|image| image.parts).unwrap_or_default();
        let described = BlobKey::metadata(id).in_store(main.store.clone());
        self.remove_places([main, described], &named).await;
    }

    /// A blob with the same bytes. Only what was received is looked for: a digest alone gives nobody anything.
    async fn twin(&self, part: &Part) -> Option<BlobKey> {
        let store = &part.place()?.store;
        let md5 = part.digests.md5_hex().filter(|_| part.size > Some(0))?;
        let filter = Filter::spelled(Attr::Checksum, &md5);
        let query = Query { filter, sort: Sort::default(), limit: TWINS_MAX, after: None };
        let page = self.catalog.list(&query).await.ok()?;
        let same = |other: &Part| other.size == part.size && other.digests.sha256 == part.digests.sha256;
        let twins = page.images.iter().flat_map(|image| &image.parts).filter(|other| same(other));
        twins.filter_map(Part::place).find(|place| place.store == *store).map(|place| place.key.clone())
    }
}
