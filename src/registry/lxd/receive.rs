//! Import of images in LXD's and Incus' form: one file that has everything, or a description and then a root. Knows no
//! protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::archive::{self, Bundle, BundleError, Packing, Root};
use crate::blob::reader::Reading;
use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::image::change::{NAME_CHARS_MAX, cleaned, on_one_line};
use crate::image::{Container, Format, Image, ImageKind, ImagePatch, LxdIdentity, StoredAt, Visibility};
use crate::ingest::{ByteSink, Expected, Pauses, pump};
use crate::registry::Caller;
use crate::registry::gate::{Arrived, admit_disk};
use crate::registry::looks::LookTime;
use crate::registry::lxd::names::own_with;
use crate::registry::lxd::service::LxdImages;
use crate::registry::records::PreparedChange;
use crate::registry::uploads::one_shot::{Description, Target, Upload};
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::Saving;

/// Largest description in a file of its own. Usual ones are a few KiB; it is held in memory.
pub const METADATA_BYTES_MAX: usize = 8 << 20;

/// Choices for an imported image that go beyond its own description.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Values that override the image's own description.
    pub patch: ImagePatch,
    /// Fingerprint that the image must have.
    pub fingerprint: Option<[u8; 32]>,
}

/// Permit to import an image.
pub struct Slot(OwnedSemaphorePermit);

/// An image whose bytes are about to arrive.
pub struct IncomingImage {
    /// Permit of the import.
    pub slot: Slot,
    /// Description and kind of the root, if they came before the bytes.
    pub metadata: Option<(Bytes, ImageKind)>,
    /// Announced size and digests.
    pub claim: Expected,
    /// Pauses that the sender makes on purpose.
    pub pauses: Pauses,
}

/// All bytes of an image, hashed and not yet durable. Dropping this removes them.
pub struct ReceivedImage {
    saving: Saving,
    uploads: Arc<Uploads>,
    place: StoredAt,
    who: Caller,
    /// Present until the end.
    received: Option<Arrived>,
    metadata: Option<Bytes>,
    kind: Option<ImageKind>,
    fingerprint: [u8; 32],
    size: u64,
}

impl LxdImages {
    /// Receives the bytes of an image: its one file, or its root after a description. `seen` is told the number of
    /// bytes received so far.
    ///
    /// # Errors
    /// `BadContent` for bytes that are no image, before the rest is read; as [`Uploads::begin`]; `TooSlow`, and the
    /// stream's own errors as `broken` maps them. Nothing is left of the image then.
    pub async fn take_in<E>(
        self: &Arc<Self>,
        who: &Caller,
        arriving: IncomingImage,
        bytes: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin),
        broken: impl Fn(E) -> Error,
        seen: impl Fn(u64) + Send + Sync,
    ) -> Result<Upload> {
        let mut rate = self.ingest.rate_guard().excusing(&arriving.pauses);
        // A short stream has ended before the next read of it.
        let mut bytes = bytes.fuse();
        let mut first = BytesMut::new();
        while first.len() < Packing::HEAD
            && let Some(chunk) = rate.next(&mut bytes, &broken).await?
        {
            first.extend_from_slice(&chunk);
        }
        if first.is_empty() {
            return Err(BundleError::Empty.into());
        }
        let upload = self.upload_bundle(who, arriving, Packing::of(&first)).await?;
        let mut sink = CountedUpload { upload, count: 0, seen };
        pump(Some(first.freeze()), &mut bytes, &mut rate, broken, &mut sink).await?;
        Ok(sink.upload)
    }

    async fn upload_bundle(
        self: &Arc<Self>,
        who: &Caller,
        IncomingImage { slot: Slot(slot), metadata, claim, .. }: IncomingImage,
        packing: Option<Packing>,
    ) -> Result<Upload> {
        let format = match packing.ok_or(BundleError::Unsupported)? {
            Packing::Squashfs => Format::Squashfs,
            Packing::Qcow2 => Format::Qcow2,
            _ => Format::Tar,
        };
        let (metadata, kind) = metadata.map_or((None, None), |(bytes, kind)| (Some(bytes), Some(kind)));
        let kind = match (kind, format == Format::Qcow2) {
            // A disk alone has no description.
            (None, true) => return Err(BundleError::NoMetadata.into()),
            (Some(ImageKind::VirtualMachine), false) => return Err(BundleError::Unsupported.into()),
            // LXD exports a machine as if it were a container. No container's root is a disk.
            (Some(_), true) => Some(ImageKind::VirtualMachine),
            (kind, false) => kind,
        };
        let patch = ImagePatch {
            format: Some(Some(format)),
            container: Some(Some(Container::Bare)),
            kind: Some(kind),
            visibility: Some(Visibility::Private),
            ..ImagePatch::default()
        };
        let described = metadata.map_or(Description::Within, Description::Ahead);
        self.uploads.begin_behind(who, Target::New, &patch, claim, described, slot).await
    }

    /// Takes a permit to import an image, of which there is a limited number. Needed before the first byte.
    ///
    /// # Errors
    /// `Busy`.
    pub fn slot(&self) -> Result<Slot> {
        self.ingest.slot().map(Slot)
    }
}

/// An upload that reports its progress.
struct CountedUpload<S> {
    upload: Upload,
    count: u64,
    seen: S,
}

impl<S: Fn(u64) + Send + Sync> ByteSink for CountedUpload<S> {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.count += chunk.len() as u64;
        self.upload.write(chunk).await?;
        (self.seen)(self.count);
        Ok(())
    }

    async fn abandon(&mut self) -> Result<()> {
        self.upload.give_up().await;
        Ok(())
    }
}

impl Upload {
    /// Ends the bytes of an image, which fixes its fingerprint.
    ///
    /// # Errors
    /// `DigestMismatch`, `BadContent`, `StoreFull`, `NotFound` when the image was removed meanwhile. Nothing is left of
    /// it then.
    pub async fn seal(mut self) -> Result<ReceivedImage> {
        let received = match self.verified(&ImagePatch::default()).await {
            Ok((received, _)) => received,
            Err(error) => {
                self.give_up().await;
                return Err(error);
            }
        };
        let kind = self.uploads.records.get(&self.who, self.saving.id()).await?.kind;
        let Self { saving, uploads, place, who, metadata, .. } = self;
        let size = received.0.size + metadata.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let fingerprint = received.0.joint.or(received.0.digests.sha256).unwrap_or_default();
        Ok(ReceivedImage { saving, uploads, place, who, received: Some(received), metadata, kind, fingerprint, size })
    }
}

impl ReceivedImage {
    /// A container whose root is here already, with its description.
    pub(in crate::registry) fn of_container(
        uploads: &Arc<Uploads>,
        who: &Caller,
        (saving, place): (Saving, StoredAt),
        received: Arrived,
        metadata: Bytes,
    ) -> Self {
        let size = received.0.size + metadata.len() as u64;
        let fingerprint = received.0.joint.unwrap_or_default();
        let (uploads, who, kind) = (Arc::clone(uploads), who.clone(), Some(ImageKind::Container));
        Self {
            saving,
            uploads,
            place,
            who,
            received: Some(received),
            metadata: Some(metadata),
            kind,
            fingerprint,
            size,
        }
    }

    /// Fingerprint of the image.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Size of all its files together, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Publishes the image with the values of its own description, which `wanted` overrides.
    ///
    /// # Errors
    /// `DigestMismatch` when the fingerprint is not the wanted one; `AlreadyExists` when the caller has an image of
    /// this fingerprint, or another image has one of the aliases; `BadContent` when the image lacks a usable
    /// description; as [`Upload::finish`]. Nothing is left of the image then.
    pub async fn publish(mut self, wanted: &ImportOptions) -> Result<Image> {
        match self.described(wanted).await {
            Ok((received, change)) => {
                let offer = LxdIdentity { fingerprint: self.fingerprint, root_sha256: None, made: false };
                let Self { uploads, saving, place, metadata, .. } = self;
                uploads.publish(saving, place, received, Some((offer, metadata)), change, ()).await
            }
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    async fn described(&mut self, wanted: &ImportOptions) -> Result<(Arrived, PreparedChange)> {
        if let Some(expected) = wanted.fingerprint.filter(|expected| *expected != self.fingerprint) {
            return Err(Reason::FingerprintMismatch.about(hex(&self.fingerprint)).and(hex(&expected)));
        }
        if own_with(&self.uploads.core, &self.who, &self.fingerprint).await?.is_some() {
            return Err(Reason::FingerprintTaken.into());
        }
        let bundle = self.read().await?;
        admit_disk(&bundle, &self.uploads.core.limits.inspect)?;
        let mut patch = said_by(&bundle, self.kind)?.then(wanted.patch.clone());
        if self.metadata.is_some() {
            // The kind of the root was seen in its bytes, and overrides every claim.
            patch.kind = Some(self.kind);
        }
        if patch.name.is_none() {
            patch.name = name_of(&patch).map(Some);
        }
        let (change, _) = self.uploads.last_change(&self.who, self.saving.id(), &patch).await?;
        let over = || Error::internal("an image was published twice");
        Ok((self.received.take().ok_or_else(over)?, change))
    }

    /// Reads the image's own description.
    async fn read(&mut self) -> Result<Bundle> {
        let reading = match (&self.metadata, &mut self.received) {
            (Some(metadata), _) => Reading::of_bytes(metadata.clone()),
            (None, Some((received, _))) => Reading::of_body(received.writer.reread().await?).await?,
            (None, None) => return Err(Error::internal("an image was published twice")),
        };
        let words = |error| match error {
            BundleError::Stopped => Reason::BadArchive.saying("The description in the image was not found in time."),
            other => other.into(),
        };
        let look = |reading: Reading, time: &LookTime| {
            let length = reading.length();
            Ok(archive::read(reading, length, &|| time.is_wanted() && time.is_left())?)
        };
        self.uploads.core.descriptions.run(reading, words, look).await
    }

    /// Ends the import: bytes and image are removed when this returns.
    pub async fn give_up(&mut self) {
        if let Some((received, _)) = self.received.take() {
            received.writer.abort().await;
        }
        if self.saving.is_armed() {
            self.saving.put_back().await;
        }
    }
}

/// Attributes from an image's own description. The kind of one in two files is that of its root.
fn said_by(bundle: &Bundle, kind: Option<ImageKind>) -> Result<ImagePatch> {
    let inside = bundle.root.map(|root| match root {
        Root::Container => ImageKind::Container,
        Root::VirtualMachine => ImageKind::VirtualMachine,
    });
    let no_root = || Reason::BadArchive.saying("The image has neither a rootfs nor a rootfs.img");
    let kind = kind.or(inside).ok_or_else(no_root)?;
    let manifest = &bundle.manifest;
    Ok(ImagePatch {
        kind: Some(Some(kind)),
        architecture: Some(Some(manifest.architecture)),
        built_at: Some(Some(manifest.created_at)),
        supported_until: Some(manifest.expires_at),
        properties: cleaned(&manifest.properties),
        ..ImagePatch::default()
    })
}

/// Display name for programs that know names and no fingerprints.
fn name_of(patch: &ImagePatch) -> Option<String> {
    let description = patch.properties.get("description").cloned().flatten();
    let alias = || patch.aliases.as_ref()?.keys().next().cloned();
    let filename = || patch.filename.clone().flatten();
    let name = description.or_else(alias).or_else(filename).filter(|name| !name.is_empty())?;
    Some(on_one_line(name.trim_end()).chars().take(NAME_CHARS_MAX).collect())
}
