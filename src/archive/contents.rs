//! Members of an image: the use of each, and those that no image has.
//!
//! Nothing here is ever unpacked to a disk. Others will do that, so names and links that could lead out of the place where
//! they do are refused as far as they are seen.

use super::tar::MemberKind;
use super::{BundleError, Manifest, Root};
use crate::inspect::Inspection;

/// Parts of an image that have been found so far.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) manifest: Option<Manifest>,
    pub(super) root: Option<Root>,
    pub(super) disk: Option<Inspection>,
}

/// Work that a member asks of the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Reading it: it is the manifest.
    Read,
    /// Inspecting it: it is the disk.
    Inspect,
    /// None.
    Skip,
}

/// Meanings of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentRole {
    Manifest,
    Directory,
    InDirectory,
    Disk,
    Nothing,
}

impl Contents {
    /// Takes note of a member, and says what the caller is to do with it.
    pub(super) fn member(&mut self, name: &[u8], kind: MemberKind) -> Result<Task, BundleError> {
        match (role(name)?, kind) {
            (ContentRole::Nothing, _) => {}
            (ContentRole::Manifest, MemberKind::File) if self.manifest.is_none() => return Ok(Task::Read),
            (ContentRole::Manifest, MemberKind::File) => {
                return Err(BundleError::Refused("The image has metadata.yaml twice"));
            }
            (ContentRole::Manifest, _) => return Err(BundleError::Refused("metadata.yaml is not a plain file")),
            (ContentRole::Directory, MemberKind::Directory) | (ContentRole::InDirectory, _)
                if self.root != Some(Root::VirtualMachine) =>
            {
                self.root = Some(Root::Container);
            }
            (ContentRole::Disk, MemberKind::File | MemberKind::Sparse) if self.root.is_none() => {
                self.root = Some(Root::VirtualMachine);
                return Ok(Task::Inspect);
            }
            (ContentRole::Directory, MemberKind::Directory)
            | (ContentRole::InDirectory, _)
            | (ContentRole::Disk, MemberKind::File | MemberKind::Sparse) => {
                return Err(BundleError::Refused("The image has two roots"));
            }
            (ContentRole::Directory, _) => return Err(BundleError::Refused("rootfs is not a directory")),
            (ContentRole::Disk, _) => return Err(BundleError::Refused("rootfs.img is not a plain file")),
        }
        Ok(Task::Skip)
    }

    /// Tells whether everything is found. LXD stops there too: members after that place do not count.
    pub(super) fn complete(&self) -> bool {
        self.manifest.is_some() && self.root.is_some()
    }
}

/// Names are compared without what means nothing, `./` above all.
fn role(name: &[u8]) -> Result<ContentRole, BundleError> {
    if name.starts_with(b"/") {
        return Err(BundleError::Refused("The image has a file with an absolute name"));
    }
    if name.contains(&0) {
        return Err(BundleError::Refused("The image has a file with a zero byte in its name"));
    }
    let mut first: &[u8] = b"";
    let mut depth = 0;
    for part in name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(BundleError::Refused("The image has a file with .. in its name"));
        }
        if depth == 0 {
            first = part;
        }
        depth += 1;
    }
    Ok(match (first, depth) {
        (b"metadata.yaml", 1) => ContentRole::Manifest,
        (b"rootfs", 1) => ContentRole::Directory,
        (b"rootfs", _) => ContentRole::InDirectory,
        (b"rootfs.img", 1) => ContentRole::Disk,
        _ => ContentRole::Nothing,
    })
}
