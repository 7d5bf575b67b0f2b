//! Parts of an upload that arrive beside each other, and are put together when all of them are there. Knows no protocol.
//!
//! A part is an upload in pieces that no request completes. Its record is hidden and private, and says by a free attribute
//! that it is a part: so it survives the server, and ends after a day like any other upload.

use std::sync::Arc;

use futures_util::StreamExt;

use crate::blob::stream;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::{Image, ImageId, ImagePatch, Visibility};
use crate::ingest::Expected;
use crate::registry::Caller;
use crate::registry::uploads::append::Append;
use crate::registry::uploads::lock::UploadLock;
use crate::registry::uploads::progress::UploadProgress;
use crate::registry::uploads::resumable::arriving;
use crate::registry::uploads::service::Uploads;

/// Free attribute of a part, and its value.
const PART: (&str, &str) = ("upload_concat", "partial");

/// Maximum number of parts of an upload.
const PARTS_MAX: usize = 64;

/// Tells if an image is the part of an upload.
pub(in crate::registry) fn is_part(image: &Image) -> bool {
    image.properties.get(PART.0).is_some_and(|value| value == PART.1)
}

impl UploadProgress {
    /// Tells if this is a part of an upload, which is complete only together with the others.
    pub fn is_part(&self) -> bool {
        is_part(&self.image)
    }
}

/// Complete parts of an upload, in order, which no other request writes to.
struct Joined {
    parts: Vec<(Image, UploadLock)>,
    bytes: u64,
}

impl Uploads {
    /// Begins a part of an upload.
    ///
    /// # Errors
    /// As [`Uploads::begin_resumable`].
    pub async fn begin_part(self: &Arc<Self>, who: &Caller, claim: Expected) -> Result<UploadProgress> {
        let patch = ImagePatch {
            name: Some(Some("part of an upload".to_owned())),
            visibility: Some(Visibility::Private),
            hidden: Some(true),
            offer_to_lxd: Some(false),
            properties: [(PART.0.to_owned(), Some(PART.1.to_owned()))].into(),
            ..ImagePatch::default()
        };
        self.begin_resumable(who, None, &patch, claim).await
    }

    /// Makes an upload of its parts, completes it, and removes the parts. When that was done already, it is shown.
    ///
    /// # Errors
    /// `Invalid` for too many parts, a part that is there twice, and an upload that is no part; `Conflict` for a part that is not
    /// complete; `NotFound`, `Forbidden`; `Busy` when another request writes to a part; as [`Uploads::begin_resumable`] and
    /// [`Append::finish`]. The parts stay.
    pub async fn concatenate(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Expected,
        parts: &[ImageId],
    ) -> Result<UploadProgress> {
        let joined = match self.join(who, parts).await {
            Err(error) if error.kind() == Kind::NotFound => {
                return self.joined_before(who, into, parts).await.ok_or(error);
            }
            joined => joined?,
        };
        let claim = claim.and_size(Some(joined.bytes))?;
        let (uploads, who, patch, parts) = (Arc::clone(self), who.clone(), patch.clone(), parts.to_vec());
        // A task of its own: a client that disconnects must not leave half of an upload, whose id it was never told.
        let done = tokio::spawn(async move {
            let id = uploads.begin_resumable(&who, into, &patch, claim).await?.image.id;
            let filled = async {
                let mut append = uploads.append(&who, id, 0, None).await?;
                uploads.fill(&mut append, &joined).await?;
                append.finish(&ImagePatch::default()).await
            };
            let progress = match filled.await {
                Ok(progress) => progress,
                Err(error) => {
                    // The parts are still there, and the client may ask again.
                    let _ = uploads.cancel(&who, id).await;
                    return Err(error);
                }
            };
            uploads.joins.note(parts, id);
            uploads.remove_parts(joined).await;
            Ok(progress)
        });
        done.await.map_err(Error::internal)?
    }

    /// The complete upload that these parts are in already.
    async fn joined_before(&self, who: &Caller, into: Option<ImageId>, parts: &[ImageId]) -> Option<UploadProgress> {
        let id = self.joins.of(parts).filter(|id| into.is_none_or(|into| into == *id))?;
        self.progress_now(who, id).await.ok().filter(UploadProgress::is_complete)
    }

    /// Finds the parts of an upload, each of which has to be complete, and keeps other requests from them.
    async fn join(&self, who: &Caller, ids: &[ImageId]) -> Result<Joined> {
        if ids.is_empty() || ids.len() > PARTS_MAX {
            return Err(Error::invalid(format!("An upload is put together of 1 to {PARTS_MAX} parts.")));
        }
        let mut joined = Joined { parts: Vec::new(), bytes: 0 };
        for id in ids {
            if joined.parts.iter().any(|(image, _)| image.id == *id) {
                return Err(Error::invalid("A part of an upload can be named once."));
            }
            self.progress_now(who, *id).await?;
            let lock = self.locks.take(*id).await?;
            let progress = self.progress_now(who, *id).await?;
            if !progress.is_part() || progress.is_complete() {
                return Err(Error::invalid(format!("The upload '{id}' is not a part of one.")));
            }
            match progress.size {
                Some(size) if size == progress.offset => joined.bytes = joined.bytes.saturating_add(size),
                size => {
                    let size = size.map_or_else(|| "an unknown number".to_owned(), |size| size.to_string());
                    return Err(Reason::PartIncomplete.about(id).and(progress.offset).and(size));
                }
            }
            joined.parts.push((progress.image, lock));
        }
        Ok(joined)
    }

    /// Copies the bytes of parts into an upload, in their order.
    async fn fill(&self, append: &mut Append, joined: &Joined) -> Result<()> {
        for (image, _) in &joined.parts {
            let bytes = image.ticket.and_then(|ticket| ticket.resumable).map_or(0, |resumable| resumable.offset);
            let mut writer = self.core.stores.resume(&arriving(image), bytes, Some(bytes)).await?;
            let mut chunks = stream(writer.reread().await?, &self.ingest.buffers);
            while let Some(chunk) = chunks.next().await {
                append.write(chunk?).await?;
            }
        }
        Ok(())
    }

    /// Removes parts whose bytes are in another upload.
    async fn remove_parts(&self, joined: Joined) {
        for (image, lock) in joined.parts {
            if let Err(error) = self.end_upload(&image).await {
                log::warn!("the part {} of an upload can't be removed, it expires: {}", image.id, error.logged());
            }
            drop(lock);
        }
    }
}
