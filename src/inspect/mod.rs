//! Inspection of the bytes of an image: their format, and the dangers of opening them.
//!
//! A disk image can name other files, and a program that opens it opens those too: that is how images have read `/etc/shadow`
//! off hypervisors. So nothing that names another file is kept, and nothing is kept under a format that it does not
//! have. Nor is a part of a disk kept, as far as its own headers tell that something is missing. Only headers and tables are
//! read, by code of our own and never by a tool that would open what they name; every number in them is hostile. No I/O
//! here: bytes are fed as they pass by.

mod bytes;
mod inspector;
mod iso;
mod luks;
mod partition;
mod qcow2;
mod queue;
mod rules;
mod seen;
mod tables;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;

pub use self::inspector::Inspector;
pub use self::rules::{Refusal, Rules, check, check_brought};
use self::seen::SeenBytes;
use crate::image::Format;

/// Formats that are recognised by their bytes.
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
    /// Any other bytes.
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

/// Reasons why bytes must not be opened as a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Danger {
    /// A disk on top of another file.
    BackingFile,
    /// Data in another file.
    DataFile,
    /// Features that did not exist when this was written.
    UnknownFeatures,
    /// A format that is out of use and unsafe.
    Obsolete(&'static str),
    /// A kind of VMDK that consists of several files.
    Subformat,
    /// A disk that consists of other files.
    Extents,
    /// A disk on top of another disk.
    Parent,
    /// Headers that no program writes: programs may understand them in different ways.
    Broken(&'static str),
    /// Bytes of two formats at once.
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

/// The result of an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// The format. If a file can be read as two formats, the one that a hypervisor would choose.
    pub format: Detected,
    /// Bytes of the file.
    pub size: u64,
    /// Size of the disk that a header describes.
    pub disk_size: Option<u64>,
    /// The danger of opening the file, if there is one.
    pub danger: Option<Danger>,
    /// Bytes that the file has to have by its own headers and tables, at least.
    pub least: u64,
}

/// The result of a reader of one format.
struct HeaderFacts {
    format: Detected,
    disk_size: Option<u64>,
    danger: Option<Danger>,
    /// Bytes that the file has at least.
    least: u64,
}

impl HeaderFacts {
    /// Facts of a file that can be opened, and says no more of its disk than its own length at the least.
    fn fine(format: Detected, least: u64) -> Self {
        Self { format, disk_size: None, danger: None, least }
    }

    /// Facts of a file that must not be opened, and says nothing of its length.
    fn unsafe_as(format: Detected, disk_size: Option<u64>, danger: Danger) -> Self {
        Self { format, disk_size, danger: Some(danger), least: 0 }
    }
}

impl Inspection {
    fn of(seen: &SeenBytes) -> Self {
        let mut found = LOOKS.iter().filter_map(|look| look(seen));
        let raw = HeaderFacts::fine(Detected::Raw, 0);
        let first = found.next().unwrap_or(raw);
        let second = found.find(|second| !may_hold(first.format, second.format, seen));
        let two = second.map(|second| Danger::Two(first.format, second.format));
        Self {
            format: first.format,
            size: seen.size,
            disk_size: first.disk_size,
            danger: two.or(first.danger),
            least: if seen.whole { first.least } else { 0 },
        }
    }

    /// The size of the disk for an image of this format: from its header, or the size of the file where the file is the
    /// disk. None for formats that are not disks, and for empty files.
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
const LOOKS: [fn(&SeenBytes) -> Option<HeaderFacts>; 9] =
    [qcow2::look, vmdk::look, vhdx::look, vdi::look, vhd::look, iso::look, luks::look, partition::look, squashfs];

/// Tells whether a file of one format may also look like another one, which comes later in [`LOOKS`].
fn may_hold(outer: Detected, inner: Detected, seen: &SeenBytes) -> bool {
    let plain = matches!(inner, Detected::Gpt | Detected::Mbr | Detected::Squashfs);
    match outer {
        // The disk's own bytes with a footer behind them.
        Detected::Vhd if vhd::is_fixed(seen) => true,
        // Discs that start from a stick as well have a table of partitions.
        Detected::Iso | Detected::Luks | Detected::Gpt | Detected::Mbr => plain,
        _ => false,
    }
}

fn squashfs(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    // The bytes in use, where version 4.0 has them; programs add some to fill up a sector.
    let used = || bytes::le32(head, 28).filter(|version| *version == 4).and_then(|_| bytes::le64(head, 40));
    head.starts_with(b"hsqs").then(|| HeaderFacts::fine(Detected::Squashfs, used().unwrap_or(0)))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;
