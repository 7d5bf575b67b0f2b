//! Files of an image for LXD and Incus: one, or a description and a root. A raw disk gets the head of a qcow2 when it
//! is read, for they take no other format.

use std::ops::Range;

use bytes::Bytes;

use crate::archive::qcow2::Wrapped;
use crate::error::{Error, Result};
use crate::image::{Format, Image, ImageKind, Part, PartKind};

/// Role of a file in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// The whole image.
    Unified,
    /// The description.
    Metadata,
    /// The root of a container.
    Rootfs,
    /// The disk of a virtual machine.
    Disk,
}

/// A file of an image, as clients receive it.
#[derive(Debug, Clone)]
pub struct LxdFile {
    /// Role of the file.
    pub role: FileRole,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Option<[u8; 32]>,
    pub(in crate::registry) part: PartKind,
    /// Frame around the bytes of the part.
    pub(in crate::registry) frame: Option<Wrapped>,
}

/// Frame that makes a disk fit for LXD and Incus; none where it is fit already.
pub(in crate::registry) fn frame_of(image: &Image, part: &Part) -> Result<Option<Wrapped>> {
    if image.format != Some(Format::Raw) {
        return Ok(None);
    }
    let size = part.size.ok_or_else(|| Error::internal("a disk without a size is offered"))?;
    let too_large = || Error::invalid("The disk is too large to be offered as qcow2.");
    Wrapped::around(size).map(Some).ok_or_else(too_large)
}

/// Makes a stretch of the head of a frame.
pub(in crate::registry) fn head_of(frame: &Wrapped, stretch: Range<u64>) -> Bytes {
    let mut bytes = vec![0; usize::try_from(stretch.end - stretch.start).unwrap_or(0)];
    frame.fill(stretch.start, &mut bytes);
    bytes.into()
}

/// Lists the files of an image, in their order.
///
/// # Errors
/// `Internal` for an image that is not offered.
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
        return Ok(vec![plain(FileRole::Unified, main)]);
    };
    let role = if image.kind == Some(ImageKind::Container) { FileRole::Rootfs } else { FileRole::Disk };
    let mut root = plain(role, main);
    if offer.made {
        root.frame = frame_of(image, main)?;
        root.size = root.frame.as_ref().map_or(root.size, Wrapped::length);
        root.sha256 = offer.root_sha256.or(root.sha256);
    }
    Ok(vec![plain(FileRole::Metadata, metadata), root])
}
