//! What the bytes of an image are, and whether they are what was said of them and safe to open.
//!
//! A disk image can name other files, and whoever opens it opens those too: that is how images have read `/etc/shadow`
//! off hypervisors. So nothing that names another file is kept, and nothing is kept under a format that it does not
//! have. Only headers are read, by code of our own and never by a tool that would open what they name; every number in
//! them is hostile. No I/O here: bytes are fed as they pass by.

mod bytes;
mod inspector;
mod iso;
mod luks;
mod partition;
mod qcow2;
mod rules;
mod seen;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;

pub use self::inspector::Inspector;
pub use self::rules::{Refusal, Rules, check};
use self::seen::Seen;
use crate::image::Format;

/// What some bytes are, by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// QEMU copy on write, the first version.
    Qcow,
    /// QEMU copy on write, since its second version.
    Qcow2,
    /// QEMU enhanced disk.
    Qed,
    /// VMware.
    Vmdk,
    /// Virtual PC.
    Vhd,
    /// Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// Optical disc.
    Iso,
    /// An encrypted disk.
    Luks,
    /// A disk with the newer table of partitions.
    Gpt,
    /// A disk with the older one.
    Mbr,
    /// Compressed read-only file system.
    Squashfs,
    /// Anything else.
    Raw,
}

impl Detected {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qcow => "qcow",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Iso => "iso",
            Self::Luks => "luks",
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
            Self::Squashfs => "squashfs",
            Self::Raw => "raw",
        }
    }
}

/// Why some bytes must not be opened as a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Danger {
    /// It lies over another file.
    BackingFile,
    /// Its data are in another file.
    DataFile,
    /// It needs features that did not exist when this was written.
    UnknownFeatures,
    /// A format that nobody should use any more.
    Obsolete(&'static str),
    /// A kind of VMDK that consists of several files.
    Subformat,
    /// It consists of other files.
    Extents,
    /// It lies over another disk.
    Parent,
    /// Headers that no program writes: programs may understand them in different ways.
    Broken(&'static str),
    /// It is two things at once.
    Two(Detected, Detected),
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackingFile => f.write_str("it has a backing file"),
            Self::DataFile => f.write_str("it has an external data file"),
            Self::UnknownFeatures => f.write_str("it needs features that are not known"),
            Self::Obsolete(format) => write!(f, "the format {format} is not allowed"),
            Self::Subformat => f.write_str("only monolithicSparse and streamOptimized are allowed of vmdk"),
            Self::Extents => f.write_str("it names other files"),
            Self::Parent => f.write_str("it lies over another disk"),
            Self::Broken(what) => f.write_str(what),
            Self::Two(one, other) => write!(f, "it looks like {} and like {}", one.name(), other.name()),
        }
    }
}

/// What was found out about the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// What they are. Of a file that is two things the one that a hypervisor would take it for.
    pub format: Detected,
    /// How many there are.
    pub size: u64,
    /// How large the disk is that a header describes.
    pub disk_size: Option<u64>,
    /// Why nobody should open them.
    pub danger: Option<Danger>,
}

/// What a reader of one format found.
struct Found {
    format: Detected,
    disk_size: Option<u64>,
    danger: Option<Danger>,
}

impl Inspection {
    fn of(seen: &Seen) -> Self {
        let mut found = LOOKS.iter().filter_map(|look| look(seen));
        let raw = Found { format: Detected::Raw, disk_size: None, danger: None };
        let first = found.next().unwrap_or(raw);
        let second = found.find(|second| !may_hold(first.format, second.format, seen));
        let two = second.map(|second| Danger::Two(first.format, second.format));
        Self { format: first.format, size: seen.size, disk_size: first.disk_size, danger: two.or(first.danger) }
    }

    /// How large the disk is, for an image of this format: what its header says, or all of the file where that is the
    /// disk. None for what is no disk, and for no bytes.
    pub fn virtual_size(&self, declared: Option<Format>) -> Option<u64> {
        if self.size == 0 {
            return None;
        }
        match declared {
            Some(Format::Raw | Format::Iso) => Some(self.size),
            Some(Format::Qcow2 | Format::Vmdk | Format::Vdi | Format::Vhd | Format::Vhdx) | None => self.disk_size,
            Some(Format::Ami | Format::Aki | Format::Ari | Format::Ploop | Format::Squashfs | Format::Tar) => None,
        }
    }
}

/// The readers: first the formats that hypervisors open as a disk around a disk, then what a disk itself may be.
const LOOKS: [fn(&Seen) -> Option<Found>; 9] =
    [qcow2::look, vmdk::look, vhdx::look, vdi::look, vhd::look, iso::look, luks::look, partition::look, squashfs];

/// Whether a file of one format may also look like another, which stands behind it in [`LOOKS`].
fn may_hold(outer: Detected, inner: Detected, seen: &Seen) -> bool {
    let plain = matches!(inner, Detected::Gpt | Detected::Mbr | Detected::Squashfs);
    match outer {
        // The disk's own bytes with a footer behind them.
        Detected::Vhd if vhd::is_fixed(seen) => true,
        // Discs that start from a stick as well have a table of partitions.
        Detected::Iso | Detected::Luks | Detected::Gpt | Detected::Mbr => plain,
        _ => false,
    }
}

fn squashfs(seen: &Seen) -> Option<Found> {
    let known = seen.head().starts_with(b"hsqs");
    known.then_some(Found { format: Detected::Squashfs, disk_size: None, danger: None })
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
