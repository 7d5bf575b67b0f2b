//! The end of an upload: its bytes become a blob, and its image becomes available.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Registry;
use super::saving::Saving;
use crate::blob::BlobWriter;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, BlobKey, Digests, Image, ImageId, ImagePatch, Location, Part, PartKind, Status};

/// Images with the same md5 that are looked at for the same bytes: more is an attack on md5, or a very common file whose
/// first image is as good as any.
const TWINS_MAX: usize = 4;

/// All bytes of an upload, verified.
pub(super) struct Received {
    pub(super) size: u64,
    /// How large the disk in them is.
    pub(super) virtual_size: Option<u64>,
    pub(super) digests: Digests,
    /// Where they are.
    pub(super) writer: Box<dyn BlobWriter>,
    /// Given back when they are durable.
    pub(super) slot: OwnedSemaphorePermit,
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
pub(super) async fn publish(
    mut saving: Saving,
    key: BlobKey,
    received: Received,
    patch: ImagePatch,
    hold: impl Send + 'static,
) -> Result<Image> {
    let done = tokio::spawn(async move {
        let _hold = hold;
        let registry = Arc::clone(saving.registry());
        let Received { size, virtual_size, digests, writer, slot } = received;
        let location = Location::Stored { store: registry.store_name(), key: key.clone() };
        let part = Part { kind: PartKind::Main, location, size: Some(size), virtual_size, digests, etag: None };
        let outcome = match registry.settle_bytes(&part, writer).await {
            Err(error) => Err(error),
            Ok(copy) => {
                drop(slot);
                let settled = settle_row(&saving, part, patch).await;
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
        if outcome.is_err() {
            registry.remove_unnamed(saving.id(), &key).await;
            saving.put_back().await;
        }
        outcome
    });
    done.await.map_err(Error::internal)?
}

async fn settle_row(saving: &Saving, part: Part, patch: ImagePatch) -> Result<Image> {
    let (store, now) = (saving.registry().store_name(), saving.registry().now());
    let published = saving.settle(move |row| {
        let mut image = Image {
            store: Some(store),
            parts: vec![part.clone()],
            status: Status::Available,
            ticket: None,
            uploaded_at: Some(now),
            // As the original VISOR has it, and Glance.
            updated_at: Some(now),
            ..row
        };
        patch.apply(&mut image)?;
        Ok(image)
    });
    published.await
}

/// Whether a change was certainly not made.
fn was_refused(error: &Error) -> bool {
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

    /// Removes bytes that no record got.
    async fn remove_unnamed(&self, id: ImageId, key: &BlobKey) {
        let named = |part: &Part| matches!(&part.location, Location::Stored { key: other, .. } if other == key);
        match self.catalog.get(id).await {
            Ok(image) if image.parts.iter().any(named) => return,
            Err(error) if error.kind() != Kind::NotFound => return,
            _ => {}
        }
        if let Err(error) = self.store.delete(key).await {
            log::error!("the bytes of a failed upload could not be removed: {error}");
        }
    }

    /// A blob with the same bytes. Only what was received is looked for: a digest alone gives nobody anything.
    async fn twin(&self, part: &Part) -> Option<BlobKey> {
        let md5 = part.digests.md5_hex().filter(|_| part.size > Some(0))?;
        let filter = Filter::spelled(Attr::Checksum, &md5);
        let query = Query { filter, sort: Sort::default(), limit: TWINS_MAX, after: None };
        let page = self.catalog.list(&query).await.ok()?;
        let same = |other: &Part| other.size == part.size && other.digests.sha256 == part.digests.sha256;
        page.images.iter().filter_map(Image::main).filter(|other| same(other)).find_map(|other| match &other.location {
            Location::Stored { store, key } if *store == self.store_name() => Some(key.clone()),
            _ => None,
        })
    }
}
