//! Members of an image: the use of each, and those that no image has.
//!
//! Nothing here is ever unpacked to a disk. Others will do that, so names and links that could lead out of the place where
//! they do are refused as far as they are seen.

use super::tar::MemberKind;
use super::{BundleError, Manifest, Root};

/// Parts of an image that have been found so far.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) manifest: Option<Manifest>,
    pub(super) root: Option<Root>,
}

/// Meanings of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Manifest,
    Directory,
    InDirectory,
    Disk,
    Nothing,
}

impl Contents {
    /// Takes note of a member; true if it is the manifest, which the caller is to read.
    pub(super) fn member(&mut self, name: &[u8], kind: MemberKind) -> Result<bool, BundleError> {
        match (role(name)?, kind) {
            (Role::Nothing, _) => {}
            (Role::Manifest, MemberKind::File) if self.manifest.is_none() => return Ok(true),
            (Role::Manifest, MemberKind::File) => {
                return Err(BundleError::Refused("The image has metadata.yaml twice"));
            }
            (Role::Manifest, _) => return Err(BundleError::Refused("metadata.yaml is not a plain file")),
            (Role::Directory, MemberKind::Directory) | (Role::InDirectory, _)
                if self.root != Some(Root::VirtualMachine) =>
            {
                self.root = Some(Root::Container);
            }
            (Role::Disk, MemberKind::File | MemberKind::Sparse) if self.root.is_none() => {
                self.root = Some(Root::VirtualMachine);
            }
            (Role::Directory, MemberKind::Directory)
            | (Role::InDirectory, _)
            | (Role::Disk, MemberKind::File | MemberKind::Sparse) => {
                return Err(BundleError::Refused("The image has two roots"));
            }
            (Role::Directory, _) => return Err(BundleError::Refused("rootfs is not a directory")),
            (Role::Disk, _) => return Err(BundleError::Refused("rootfs.img is not a plain file")),
        }
        Ok(false)
    }

    /// Tells whether everything is found. LXD stops there too: members after that place do not count.
    pub(super) fn complete(&self) -> bool {
        self.manifest.is_some() && self.root.is_some()
    }
}

/// Names are compared without what means nothing, `./` above all.
fn role(name: &[u8]) -> Result<Role, BundleError> {
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
        (b"metadata.yaml", 1) => Role::Manifest,
        (b"rootfs", 1) => Role::Directory,
        (b"rootfs", _) => Role::InDirectory,
        (b"rootfs.img", 1) => Role::Disk,
        _ => Role::Nothing,
    })
}
