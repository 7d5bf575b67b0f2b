//! Taking in an image as LXD and Incus have them: one file that has everything, or what describes it and then its root.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::super::publish::{Received, publish};
use super::super::saving::Saving;
use super::super::upload::Upload;
use super::super::{Caller, Claim, Pace, Registry, Target};
use super::reading::Reading;
use crate::error::{Error, Kind, Result};
use crate::image::bundle::{self, Bundle, BundleError, Packing, Root};
use crate::image::change::NAME_CHARS_MAX;
use crate::image::digest::hex;
use crate::image::{BlobKey, Container, Format, Image, ImageKind, ImagePatch, Offer, Visibility};

/// Largest description of an image that comes besides it. They are a few KiB; it is held in memory.
pub const METADATA_BYTES_MAX: usize = 8 << 20;

/// Images that are read at a time to find what they say of themselves: a decoder may hold 64 MiB.
pub(in crate::registry) const READERS_MAX: usize = 4;

/// What is wanted of an image, besides what it says of itself.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Goes over what it says of itself.
    pub patch: ImagePatch,
    /// What it has to be called.
    pub fingerprint: Option<[u8; 32]>,
}

/// All bytes of an image, hashed and not yet durable. Gone when this is dropped.
pub struct Sealed {
    saving: Saving,
    key: BlobKey,
    who: Caller,
    /// There until the end.
    received: Option<Received>,
    metadata: Option<Bytes>,
    kind: Option<ImageKind>,
    fingerprint: [u8; 32],
    size: u64,
}

impl Registry {
    /// Takes in the bytes of an image: its one file, or behind what describes it its root of this kind. `seen` is told how many
    /// there are so far.
    ///
    /// # Errors
    /// `BadContent` for something that is no image, before it is read to its end; as [`Registry::upload`]; `TooSlow`, and what
    /// `broken` makes of the stream's own. Nothing is left of it then.
    pub async fn take_in<E>(
        self: &Arc<Self>,
        who: &Caller,
        metadata: Option<(Bytes, ImageKind)>,
        claim: Claim,
        bytes: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin),
        broken: impl Fn(E) -> Error,
        seen: impl Fn(u64),
    ) -> Result<Upload> {
        let mut pace = Pace::new(self.limits.patience, Instant::now());
        // A short one has ended before it is asked for more.
        let mut bytes = bytes.fuse();
        let mut first = BytesMut::new();
        while first.len() < Packing::HEAD
            && let Some(chunk) = pace.next(&mut bytes, &broken).await?
        {
            first.extend_from_slice(&chunk);
        }
        if first.is_empty() {
            return Err(BundleError::Empty.into());
        }
        let mut upload = self.upload_bundle(who, Packing::of(&first), metadata, claim).await?;
        let (mut next, mut count) = (Some(first.freeze()), 0);
        let received = async {
            while let Some(chunk) = next.take() {
                count += chunk.len() as u64;
                upload.write(chunk).await?;
                seen(count);
                next = pace.next(&mut bytes, &broken).await?;
            }
            Ok(())
        };
        match received.await {
            Ok(()) => Ok(upload),
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    async fn upload_bundle(
        self: &Arc<Self>,
        who: &Caller,
        packing: Option<Packing>,
        metadata: Option<(Bytes, ImageKind)>,
        claim: Claim,
    ) -> Result<Upload> {
        let format = match packing.ok_or(BundleError::Unsupported)? {
            Packing::Squashfs => Format::Squashfs,
            Packing::Qcow2 => Format::Qcow2,
            _ => Format::Tar,
        };
        let (metadata, kind) = metadata.map_or((None, None), |(bytes, kind)| (Some(bytes), Some(kind)));
        // A disk describes nothing, and no other root is one.
        if (kind == Some(ImageKind::VirtualMachine)) != (format == Format::Qcow2) {
            return Err(BundleError::Unsupported.into());
        }
        let patch = ImagePatch {
            format: Some(Some(format)),
            container: Some(Some(Container::Bare)),
            kind: Some(kind),
            visibility: Some(Visibility::Private),
            ..ImagePatch::default()
        };
        self.upload_behind(who, Target::New, &patch, claim, metadata).await
    }

    /// The image with a fingerprint that the caller knows of already, if there is one.
    pub(super) async fn known_as(&self, who: &Caller, fingerprint: &[u8; 32]) -> Result<Option<Image>> {
        match self.by_fingerprint(who, &hex(fingerprint)).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

impl Upload {
    /// Ends the bytes of an image: what it is called follows from them.
    ///
    /// # Errors
    /// `DigestMismatch`, `BadContent`, `StoreFull`, `NotFound` when it was removed meanwhile. Nothing is left of it then.
    pub async fn seal(mut self) -> Result<Sealed> {
        let received = match self.verified(&ImagePatch::default()).await {
            Ok(received) => received,
            Err(error) => {
                self.give_up().await;
                return Err(error);
            }
        };
        let kind = self.saving.registry().get(&self.who, self.saving.id()).await?.kind;
        let metadata = self.metadata.take();
        let size = received.size + metadata.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let fingerprint = received.joint.or(received.digests.sha256).unwrap_or_default();
        let (key, who, saving) = (self.key.clone(), self.who.clone(), self.saving.hand_over());
        Ok(Sealed { saving, key, who, received: Some(received), metadata, kind, fingerprint, size })
    }
}

impl Sealed {
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
    /// `DigestMismatch` when it is called otherwise than wanted; `AlreadyExists` when the caller knows an image of that name,
    /// or another has one of the aliases; `BadContent` when it does not say what it is; as [`Upload::finish`]. Nothing is left
    /// of it then.
    pub async fn publish(mut self, wanted: &Wishes) -> Result<Image> {
        match self.described(wanted).await {
            Ok((received, patch)) => publish(self.saving.disarm(), self.key.clone(), received, patch, ()).await,
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    async fn described(&mut self, wanted: &Wishes) -> Result<(Received, ImagePatch)> {
        let registry = Arc::clone(self.saving.registry());
        if let Some(expected) = wanted.fingerprint.filter(|expected| *expected != self.fingerprint) {
            let text = format!("fingerprints don't match, got {} expected {}", hex(&self.fingerprint), hex(&expected));
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        if registry.known_as(&self.who, &self.fingerprint).await?.is_some() {
            return Err(Error::new(Kind::AlreadyExists, "Image with same fingerprint already exists"));
        }
        let bundle = self.read().await?;
        let mut patch = said_by(&bundle, self.kind)?.then(wanted.patch.clone());
        if patch.name.is_none() {
            patch.name = name_of(&patch).map(Some);
        }
        registry.check_patch(&self.who, self.saving.id(), &patch).await?;
        let over = || Error::internal("an image was published twice");
        let mut received = self.received.take().ok_or_else(over)?;
        let offer = Offer { fingerprint: self.fingerprint, root_sha256: None, made: false };
        received.offered = Some((offer, self.metadata.take()));
        Ok((received, patch))
    }

    /// What the image says of itself.
    async fn read(&mut self) -> Result<Bundle> {
        let registry = Arc::clone(self.saving.registry());
        let _turn = registry.readers.acquire().await.map_err(Error::internal)?;
        let reading = match (&self.metadata, &mut self.received) {
            (Some(metadata), _) => Reading::of_bytes(metadata.clone()),
            (None, Some(received)) => Reading::of_body(received.writer.reread().await?).await?,
            (None, None) => return Err(Error::internal("an image was published twice")),
        };
        let (go_on, stop) = Reading::leash();
        let read = tokio::task::spawn_blocking(move || {
            let length = reading.length();
            bundle::read(reading, length, &|| go_on.load(std::sync::atomic::Ordering::Relaxed))
        });
        let read = read.await.map_err(Error::internal)?;
        drop(stop);
        Ok(read?)
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
    let properties = manifest.properties.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    Ok(ImagePatch {
        kind: Some(Some(kind)),
        architecture: Some(Some(manifest.architecture)),
        built_at: Some(Some(manifest.created_at)),
        expires_at: Some(manifest.expires_at),
        properties: properties.collect(),
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
