//! The end of an upload: its bytes become a blob, and its image becomes available.

use std::sync::Arc;

use super::Registry;
use super::saving::Saving;
use crate::blob::BlobWriter;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, BlobKey, Image, ImagePatch, Location, Part, Status};

/// Images with the same md5 that are looked at for the same bytes: more is an attack on md5, or a very common file whose
/// first image is as good as any.
const TWINS_MAX: usize = 4;

/// Makes a row's bytes durable, puts them and `patch` on it, and makes it available.
///
/// The point of no return runs as a task of its own: a client that leaves now must not leave a file without a record, or
/// a record that falls back after the file appeared. When even the task is dropped, by a server that ends, the row stays
/// as it is, and the next start removes both.
///
/// # Errors
/// `StoreFull`, `Invalid` patch, `NotFound` when the image was removed meanwhile: the row is back as it was. After
/// `Internal` the next start decides what it is.
pub(super) async fn publish(
    mut saving: Saving,
    key: BlobKey,
    part: Part,
    patch: ImagePatch,
    writer: Box<dyn BlobWriter>,
) -> Result<Image> {
    let done = tokio::spawn(async move {
        let registry = Arc::clone(saving.registry());
        let outcome = match registry.settle_bytes(&key, &part, writer).await {
            Err(error) => Err(error),
            Ok(()) => match settle_row(&saving, part, patch).await {
                // It may be in the journal all the same: neither bytes nor row are touched any more.
                Err(error) if !was_refused(&error) => return Err(error),
                done => done,
            },
        };
        if outcome.is_err() {
            if let Err(error) = registry.store.delete(&key).await {
                log::error!("the bytes of a failed upload could not be removed: {error}");
            }
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
    /// Bytes that are there already are stored once: the upload becomes another name of them.
    async fn settle_bytes(&self, key: &BlobKey, part: &Part, writer: Box<dyn BlobWriter>) -> Result<()> {
        if let Some((twin, size)) = self.twin(part).await {
            match self.store.link(&twin, size, key).await {
                Ok(true) => {
                    writer.abort().await;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => log::warn!("bytes that are there already are stored again: {error}"),
            }
        }
        writer.finish().await?;
        Ok(())
    }

    /// A blob with the same bytes. Only what was received is looked for: a digest alone gives nobody anything.
    async fn twin(&self, part: &Part) -> Option<(BlobKey, u64)> {
        let (size, md5) = (part.size.filter(|size| *size > 0)?, part.digests.md5_hex()?);
        let filter = Filter::spelled(Attr::Checksum, &md5);
        let query = Query { filter, sort: Sort::default(), limit: TWINS_MAX, after: None };
        let page = self.catalog.list(&query).await.ok()?;
        let same = |other: &Part| other.size == part.size && other.digests.sha256 == part.digests.sha256;
        page.images.iter().filter_map(Image::whole).filter(|other| same(other)).find_map(|other| {
            match &other.location {
                Location::Stored { store, key } if *store == self.store_name() => Some((key.clone(), size)),
                _ => None,
            }
        })
    }
}
