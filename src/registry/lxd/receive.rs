//! Taking in an image as LXD and Incus have them: one file that has everything, or what describes it and then its root.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::archive::{self, Bundle, BundleError, Packing, Root};
use crate::blob::reader::Reading;
use crate::digest::hex;
use crate::error::{Error, Kind, Result};
use crate::image::change::{NAME_CHARS_MAX, on_one_line};
use crate::image::{Container, Format, Image, ImageKind, ImagePatch, LxdIdentity, StoredAt, Visibility};
use crate::ingest::intake::Received;
use crate::ingest::{ByteSink, Expected, pump};
use crate::registry::Caller;
use crate::registry::lxd::names::own_with;
use crate::registry::lxd::service::LxdImages;
use crate::registry::records::PreparedChange;
use crate::registry::uploads::one_shot::{Description, Target, Upload};
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::Saving;

/// Largest description of an image that comes besides it. They are a few KiB; it is held in memory.
pub const METADATA_BYTES_MAX: usize = 8 << 20;

/// So long it may take to find what an image says of itself: ten GiB, and that at their end.
const READING_MAX: Duration = Duration::from_secs(600);

/// What is wanted of an image, besides what it says of itself.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Goes over what it says of itself.
    pub patch: ImagePatch,
    /// What it has to be called.
    pub fingerprint: Option<[u8; 32]>,
}

/// The right to take an image in.
pub struct Slot(OwnedSemaphorePermit);

/// An image whose bytes come now.
pub struct Incoming {
    /// The right to take it in.
    pub slot: Slot,
    /// What describes it and of what kind its root is, if that came before them.
    pub metadata: Option<(Bytes, ImageKind)>,
    /// What is said of them.
    pub claim: Expected,
}

/// All bytes of an image, hashed and not yet durable. Gone when this is dropped.
pub struct ReceivedImage {
    saving: Saving,
    uploads: Arc<Uploads>,
    place: StoredAt,
    who: Caller,
    /// There until the end.
    received: Option<Received>,
    metadata: Option<Bytes>,
    kind: Option<ImageKind>,
    fingerprint: [u8; 32],
    size: u64,
}

impl LxdImages {
    /// Takes in the bytes of an image: its one file, or behind what describes it its root of this kind. `seen` is told how many
    /// there are so far.
    ///
    /// # Errors
    /// `BadContent` for something that is no image, before it is read to its end; as [`Uploads::begin`]; `TooSlow`, and what
    /// `broken` makes of the stream's own. Nothing is left of it then.
    pub async fn take_in<E>(
        self: &Arc<Self>,
        who: &Caller,
        arriving: Incoming,
        bytes: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin),
        broken: impl Fn(E) -> Error,
        seen: impl Fn(u64) + Send + Sync,
    ) -> Result<Upload> {
        let mut rate = self.ingest.rate_guard();
        // A short one has ended before it is asked for more.
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
        let mut sink = Counted { upload, count: 0, seen };
        pump(Some(first.freeze()), &mut bytes, &mut rate, broken, &mut sink).await?;
        Ok(sink.upload)
    }

    async fn upload_bundle(
        self: &Arc<Self>,
        who: &Caller,
        Incoming { slot: Slot(slot), metadata, claim }: Incoming,
        packing: Option<Packing>,
    ) -> Result<Upload> {
        let format = match packing.ok_or(BundleError::Unsupported)? {
            Packing::Squashfs => Format::Squashfs,
            Packing::Qcow2 => Format::Qcow2,
            _ => Format::Tar,
        };
        let (metadata, kind) = metadata.map_or((None, None), |(bytes, kind)| (Some(bytes), Some(kind)));
        let kind = match (kind, format == Format::Qcow2) {
            // It describes nothing.
            (None, true) => return Err(BundleError::NoMetadata.into()),
            (Some(ImageKind::VirtualMachine), false) => return Err(BundleError::Unsupported.into()),
            // LXD gives a machine away as if it were a container. No container's root is a disk.
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

    /// The right to take an image in, of which there are only so many. Taken before the first byte of it.
    ///
    /// # Errors
    /// `Busy`.
    pub fn slot(&self) -> Result<Slot> {
        self.ingest.slot().map(Slot)
    }
}

/// An upload, with an eye on how far it is.
struct Counted<S> {
    upload: Upload,
    count: u64,
    seen: S,
}

impl<S: Fn(u64) + Send + Sync> ByteSink for Counted<S> {
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
    /// Ends the bytes of an image: what it is called follows from them.
    ///
    /// # Errors
    /// `DigestMismatch`, `BadContent`, `StoreFull`, `NotFound` when it was removed meanwhile. Nothing is left of it then.
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
        let size = received.size + metadata.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let fingerprint = received.joint.or(received.digests.sha256).unwrap_or_default();
        Ok(ReceivedImage { saving, uploads, place, who, received: Some(received), metadata, kind, fingerprint, size })
    }
}

impl ReceivedImage {
    /// What it is called.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// How many bytes it has, of all its files.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes it an image. What it says of itself is read from it, `wanted` goes over that.
    ///
    /// # Errors
    /// `DigestMismatch` when it is called otherwise than wanted; `AlreadyExists` when the caller has an image of that name,
    /// or another has one of the aliases; `BadContent` when it does not say what it is; as [`Upload::finish`]. Nothing is left
    /// of it then.
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

    async fn described(&mut self, wanted: &ImportOptions) -> Result<(Received, PreparedChange)> {
        if let Some(expected) = wanted.fingerprint.filter(|expected| *expected != self.fingerprint) {
            let text = format!("fingerprints don't match, got {} expected {}", hex(&self.fingerprint), hex(&expected));
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        if own_with(&self.uploads.core, &self.who, &self.fingerprint).await?.is_some() {
            return Err(Error::new(Kind::AlreadyExists, "Image with same fingerprint already exists"));
        }
        let bundle = self.read().await?;
        let mut patch = said_by(&bundle, self.kind)?.then(wanted.patch.clone());
        if self.metadata.is_some() {
            // What its root is has been seen, whatever others take it for.
            patch.kind = Some(self.kind);
        }
        if patch.name.is_none() {
            patch.name = name_of(&patch).map(Some);
        }
        let (change, _) = self.uploads.last_change(&self.who, self.saving.id(), &patch).await?;
        let over = || Error::internal("an image was published twice");
        Ok((self.received.take().ok_or_else(over)?, change))
    }

    /// What the image says of itself.
    async fn read(&mut self) -> Result<Bundle> {
        let reading = match (&self.metadata, &mut self.received) {
            (Some(metadata), _) => Reading::of_bytes(metadata.clone()),
            (None, Some(received)) => Reading::of_body(received.writer.reread().await?).await?,
            (None, None) => return Err(Error::internal("an image was published twice")),
        };
        // Each may take a core, and tens of MiB for what it unpacks.
        let turn = Arc::clone(&self.uploads.core.inspections).acquire_owned().await.map_err(Error::internal)?;
        let (go_on, stop) = Reading::leash();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let (length, began) = (reading.length(), Instant::now());
            let go_on = || go_on.load(std::sync::atomic::Ordering::Relaxed) && began.elapsed() < READING_MAX;
            archive::read(reading, length, &go_on)
        });
        let read = read.await.map_err(Error::internal)?;
        drop(stop);
        read.map_err(|error| match error {
            BundleError::Stopped => Error::new(Kind::BadContent, "What the image says of itself is not found in time."),
            other => other.into(),
        })
    }

    /// Ends it: the bytes are gone and the image is too when this returns.
    pub async fn give_up(&mut self) {
        if let Some(received) = self.received.take() {
            received.writer.abort().await;
        }
        if self.saving.is_armed() {
            self.saving.put_back().await;
        }
    }
}

/// What an image says of itself. Of one in two files the kind is that of the second.
fn said_by(bundle: &Bundle, kind: Option<ImageKind>) -> Result<ImagePatch> {
    let inside = bundle.root.map(|root| match root {
        Root::Container => ImageKind::Container,
        Root::VirtualMachine => ImageKind::VirtualMachine,
    });
    let no_root = || Error::new(Kind::BadContent, "The image has neither a rootfs nor a rootfs.img");
    let kind = kind.or(inside).ok_or_else(no_root)?;
    let manifest = &bundle.manifest;
    Ok(ImagePatch {
        kind: Some(Some(kind)),
        architecture: Some(Some(manifest.architecture)),
        built_at: Some(Some(manifest.created_at)),
        supported_until: Some(manifest.expires_at),
        properties: on_one_line(&manifest.properties),
        ..ImagePatch::default()
    })
}

/// What people may call it, whose programs know names and no fingerprints.
fn name_of(patch: &ImagePatch) -> Option<String> {
    let description = patch.properties.get("description").cloned().flatten();
    let alias = || patch.aliases.as_ref()?.keys().next().cloned();
    let filename = || patch.filename.clone().flatten();
    let name = description.or_else(alias).or_else(filename).filter(|name| !name.is_empty())?;
    Some(name.chars().take(NAME_CHARS_MAX).collect())
}
