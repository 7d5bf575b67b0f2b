//! Images of LXD and Incus: a manifest, and the root of a container or the disk of a machine.
//!
//! Reading looks for `metadata.yaml` and for what root there is, inspects a disk, and looks at nothing else. Nothing is unpacked to a disk or run,
//! and every number, name and length comes from a stranger: time, memory and what is read are bounded. Making is the other
//! way round: the small tarball that LXD wants beside a disk, and the head that makes a raw disk one that it takes.
//!
//! Synchronous: the caller has a thread for it, and a way to end it.

mod architecture;
mod contents;
mod disks;
mod error;
mod extract;
mod make;
mod manifest;
mod meter;
pub(crate) mod pack_dir;
mod packing;
pub mod qcow2;
mod sparse;
mod squashfs;
mod streams;
mod tar;
mod unpack;
mod written;
mod yaml;
mod zstd;

use std::io::{Read, Seek, SeekFrom};

pub use self::architecture::kernel_name;
use self::contents::{Contents, Task};
pub use self::disks::{inspect_members, inspect_unpacked};
pub use self::error::BundleError;
pub use self::extract::{Content, Wrapping, sniff, unpack};
pub use self::make::make_metadata;
pub use self::manifest::Manifest;
use self::meter::Meter;
pub use self::packing::Packing;
use self::tar::{MOST_HEADERS, TarEntries};
use self::unpack::{ReadingWay, Stream};
pub use self::written::{metadata_yaml, rewritten};
use crate::inspect::Inspection;

/// Kinds of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// The files of a container.
    Container,
    /// The disk of a machine.
    VirtualMachine,
}

/// The content of an image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The image's description.
    pub manifest: Manifest,
    /// The root, if it is in there: of a split image it is in a second file.
    pub root: Option<Root>,
    /// Inspection of the disk, if the root is one.
    pub disk: Option<Inspection>,
}

/// Reads the content of an image of `length` bytes. It ends where both the manifest and the root are known. A second manifest
/// after that place is not seen; LXD stops there as well, so no program takes it for the image's description.
///
/// `go_on` is asked at least once for each 64 KiB of the file; `false` ends the work with [`BundleError::Stopped`].
/// Memory stays below 128 MiB and a bit, twice that for zstd, which only packings with such a window reach, and only where
/// the manifest is so far behind.
///
/// # Errors
/// The file is not an image, or not a safe one. The words are LXD's where it has some.
pub fn read(mut file: impl Read + Seek, length: u64, go_on: &dyn Fn() -> bool) -> Result<Bundle, BundleError> {
    let head = disks::read_head(&mut file)?;
    if head.is_empty() {
        return Err(BundleError::Empty);
    }
    let packing = Packing::of(&head).ok_or(BundleError::Unsupported)?;
    let mut ways = ReadingWay::of(packing).iter().peekable();
    loop {
        let way = ways.next().copied().unwrap_or(ReadingWay::Whole);
        file.seek(SeekFrom::Start(0)).map_err(BundleError::Io)?;
        let meter = Meter::new(go_on);
        let found = search(packing, way, &mut file, length, &meter).map_err(|error| meter.explain(error));
        if !(meter.is_short() && ways.peek().is_some()) {
            return found;
        }
    }
}

fn search<R: Read + Seek>(
    packing: Packing,
    way: ReadingWay,
    file: R,
    length: u64,
    meter: &Meter<'_>,
) -> Result<Bundle, BundleError> {
    let mut contents = Contents::default();
    match packing {
        Packing::Squashfs => squashfs::search(meter.taken(file), length, meter, &mut contents)?,
        // A disk describes nothing.
        Packing::Qcow2 => {}
        packing => {
            let mut members = TarEntries::new(Stream::open(packing, way, file, length, meter)?, MOST_HEADERS);
            while let Some(member) = members.next()? {
                match contents.member(&member.name, member.kind)? {
                    Task::Read => {
                        let yaml = members.content(manifest::MOST_BYTES)?;
                        let yaml = yaml.ok_or(BundleError::TooMuch("has a metadata.yaml of more than 1 MiB"))?;
                        contents.manifest = Some(Manifest::parse(&yaml)?);
                    }
                    Task::Inspect => contents.disk = Some(members.inspect_disk(&member)?),
                    Task::Skip => {}
                }
                if contents.complete() {
                    break;
                }
            }
        }
    }
    let Contents { manifest, root, disk } = contents;
    Ok(Bundle { manifest: manifest.ok_or(BundleError::NoMetadata)?, root, disk })
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
