//! The files of an image as LXD and Incus get them: one, or a description and a root. A raw disk gets the head of a qcow2 on
//! its way out, for they take no other.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream as streams};

use crate::archive::Packing;
use crate::archive::qcow2::Wrapped;
use crate::blob::{BlobBody, stream};
use crate::error::{Error, Result};
use crate::image::{Format, Image, ImageKind, Part, PartKind};
use crate::registry::Caller;
use crate::registry::lxd::service::LxdImages;

/// So much of a head is made at a time: what a connection holds for a client that does not read on.
const STRETCH: u64 = 32 << 10;

/// What a file is to its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    Unified,
    /// What describes it.
    Metadata,
    /// The root of a container.
    Rootfs,
    /// The disk of a virtual machine.
    Disk,
}

/// A file of an image, as it is given out.
#[derive(Debug, Clone)]
pub struct LxdFile {
    /// What it is.
    pub role: Role,
    /// How long it is.
    pub size: u64,
    /// What it hashes to.
    pub sha256: Option<[u8; 32]>,
    part: PartKind,
    /// What is put around the bytes of the part.
    frame: Option<Wrapped>,
}

/// What is put around the bytes of a disk, so that it is one for LXD and Incus; nothing where it is one already.
pub(in crate::registry) fn frame_of(image: &Image, part: &Part) -> Result<Option<Wrapped>> {
    if image.format != Some(Format::Raw) {
        return Ok(None);
    }
    let size = part.size.ok_or_else(|| Error::internal("a disk without a size is offered"))?;
    let too_large = || Error::invalid("The disk is too large to be offered as qcow2.");
    Wrapped::around(size).map(Some).ok_or_else(too_large)
}

/// A stretch of the head of a frame.
pub(in crate::registry) fn head_of(frame: &Wrapped, stretch: Range<u64>) -> Bytes {
    let mut bytes = vec![0; usize::try_from(stretch.end - stretch.start).unwrap_or(0)];
    frame.fill(stretch.start, &mut bytes);
    bytes.into()
}

/// The files of an image, in their order.
///
/// # Errors
/// `Internal` for one that is not offered.
pub fn files_of(image: &Image) -> Result<Vec<LxdFile>> {
    let (Some(offer), Some(main)) = (image.lxd_identity, image.main()) else {
        return Err(Error::internal("an image that is not offered has no files"));
    };
    let plain = |role, part: &Part| LxdFile {
        role,
        size: part.size.unwrap_or(0),
        sha256: part.digests.sha256,
        part: part.kind,
        frame: None,
    };
    let Some(metadata) = image.part(PartKind::Metadata) else {
        return Ok(vec![plain(Role::Unified, main)]);
    };
    let role = if image.kind == Some(ImageKind::Container) { Role::Rootfs } else { Role::Disk };
    let mut root = plain(role, main);
    if offer.made {
        root.frame = frame_of(image, main)?;
        root.size = root.frame.as_ref().map_or(root.size, Wrapped::length);
        root.sha256 = offer.root_sha256.or(root.sha256);
    }
    Ok(vec![plain(Role::Metadata, metadata), root])
}

impl LxdImages {
    /// Opens a file of an image, or a part of it (the end is exclusive, and within the file).
    ///
    /// # Errors
    /// As [`crate::registry::Registry::open`].
    pub async fn open_file(
        &self,
        who: &Caller,
        image: &Image,
        file: &LxdFile,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        let part = self.downloads.part_for(who, image, file.part)?;
        let Some(frame) = &file.frame else { return self.downloads.bytes_of(image, part, range).await };
        let Range { start, end } = range.unwrap_or(0..file.size);
        let (head, behind) = (frame.head(), file.size - frame.padding());
        let cut = |place: u64| place.clamp(head, behind) - head;
        let (frame, front) = (*frame, start.min(head)..end.min(head));
        let front = streams::iter(front.clone().step_by(STRETCH as usize)).map(move |at| {
            let stretch = at..(at + STRETCH).min(front.end);
            Ok(head_of(&frame, stretch))
        });
        let middle = self.downloads.bytes_of(image, part, Some(cut(start)..cut(end))).await?;
        // Less than a cluster.
        let zeros = vec![0; usize::try_from(end.max(behind) - start.max(behind)).unwrap_or(0)];
        let zeros = streams::iter((!zeros.is_empty()).then(|| Ok(Bytes::from(zeros))));
        let stream = front.chain(stream(middle, &self.ingest.buffers)).chain(zeros).boxed();
        Ok(BlobBody::Stream { stream, length: Some(end - start) })
    }

    /// How a file is packed, as its first bytes say.
    ///
    /// # Errors
    /// As [`crate::registry::Registry::open`].
    pub async fn packing(&self, who: &Caller, image: &Image, file: &LxdFile) -> Result<Option<Packing>> {
        let head = 0..file.size.min(Packing::HEAD as u64);
        let mut bytes = stream(self.open_file(who, image, file, Some(head)).await?, &self.ingest.buffers);
        let mut first = Vec::new();
        while let Some(piece) = bytes.next().await {
            first.extend(piece?);
        }
        Ok(Packing::of(&first))
    }
}
