//! Hyper-V's format. Numbers have their lowest byte first.
//!
//! The facts lie behind two tables: the region table says where the metadata are, and the metadata table where in them
//! each item is. A disk that lies over another one has a parent locator, and a bit that says so. The block table says where
//! each block of the disk lies.

use std::ops::Range;

use super::bytes::{disk_size, le16, le32, le64, slice};
use super::queue::TableQueue;
use super::{Danger, Detected, HeaderFacts, SeenBytes};

const MAGIC: &[u8] = b"vhdxfile";
/// Two copies of the region table, one behind the other.
const REGION_TABLES: u64 = 192 << 10;
const TABLE: usize = 64 << 10;
/// Entries that a table has room for.
const ENTRIES_MAX: usize = TABLE / 32 - 1;
/// The table and the items behind it, all that any program writes there. They fill a few hundred bytes of each.
const METADATA: usize = 2 * TABLE;
/// The metadata begin within so much of the file: no program puts more than log and block table before them.
const METADATA_WITHIN: u64 = 1 << 30;
/// Bytes before the first region.
const REGIONS_BEGIN: u64 = 1 << 20;

const METADATA_REGION: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const BLOCK_REGION: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
const FILE_PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const DISK_SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const PARENT_LOCATOR: [u8; 16] = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
const SECTOR_SIZE: [u8; 16] = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
const HAS_PARENT: u32 = 1 << 1;

/// Sectors that a sector bitmap stands for; its entry follows the entries of as many sectors of blocks.
const CHUNK_SECTORS: u64 = 1 << 23;
/// States of a block that has a place of its own: it is there, or a part of it is.
const PRESENT: std::ops::RangeInclusive<u64> = 6..=7;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let Some(disk) = &seen.tables.disk else {
        let danger = Danger::Broken("its region tables make no sense");
        return seen.head().starts_with(MAGIC).then(|| HeaderFacts::unsafe_as(Detected::Vhdx, None, danger));
    };
    let (disk_size, danger) = match disk {
        Ok((size, has_parent)) => (Some(*size), has_parent.then_some(Danger::Parent)),
        Err(danger) => (None, Some(*danger)),
    };
    Some(HeaderFacts { format: Detected::Vhdx, disk_size, danger, least: seen.tables.least })
}

/// Regions, metadata and blocks, as far as they passed.
#[derive(Debug, Clone)]
pub(super) struct VhdxTables {
    regions: Vec<u8>,
    /// Place of the metadata.
    metadata_at: u64,
    metadata: Vec<u8>,
    least: u64,
    /// Place and number in the table of the last block that was found in the file.
    last: Option<(u64, u64)>,
    waiting: TableQueue<VhdxTable>,
}

#[derive(Debug, Clone, Copy)]
enum VhdxTable {
    Regions,
    Metadata,
    Blocks,
}

/// Facts out of the metadata.
struct VhdxFacts {
    disk_size: u64,
    block: u64,
    /// Bytes of a sector, where they are known.
    sector: u64,
    has_parent: bool,
}

impl VhdxTables {
    /// The tables of a file that begins with these bytes, if it is a VHDX.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        if !head.starts_with(MAGIC) {
            return None;
        }
        let end = REGION_TABLES + 2 * TABLE as u64;
        let mut waiting = TableQueue::new();
        waiting.push_whole(REGION_TABLES..end, VhdxTable::Regions);
        Some(Self { regions: Vec::new(), metadata_at: 0, metadata: Vec::new(), least: end, last: None, waiting })
    }

    /// The next stretch to read.
    pub(super) fn next(&mut self, from: u64) -> Option<Range<u64>> {
        self.waiting.next(from)
    }

    /// Takes the next piece of a table.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8]) {
        let Some((table, before)) = self.waiting.took(at, bytes.len() as u64) else { return };
        match table {
            VhdxTable::Regions => {
                self.regions = bytes.to_vec();
                let Ok(regions) = regions(bytes) else { return };
                self.metadata_at = regions.metadata.start;
                let metadata = self.metadata_at..self.metadata_at + METADATA as u64;
                self.least = self.least.max(metadata.end).max(regions.metadata.end);
                self.waiting.push_whole(metadata, VhdxTable::Metadata);
                if let Some(blocks) = regions.blocks {
                    self.least = self.least.max(blocks.end);
                    self.waiting.push(blocks, VhdxTable::Blocks);
                }
            }
            VhdxTable::Metadata => self.metadata = bytes.to_vec(),
            VhdxTable::Blocks => {
                for (number, entry) in (before / 8..).zip(bytes.chunks_exact(8).filter_map(|entry| le64(entry, 0))) {
                    let place = entry >> 20 << 20;
                    if PRESENT.contains(&(entry & 7)) && self.last.is_none_or(|(last, _)| last < place) {
                        self.last = Some((place, number));
                    }
                }
            }
        }
    }

    /// Bytes that the file has at least.
    pub(super) fn least(&self) -> u64 {
        let (Some((place, number)), Ok(facts)) = (self.last, self.facts()) else { return self.least };
        // Entries of sector bitmaps lie between those of blocks.
        let chunk = (CHUNK_SECTORS.saturating_mul(facts.sector) / facts.block).max(1);
        let block = number - number / (chunk + 1);
        // The last block reaches beyond the end of the disk.
        let used = facts.disk_size.saturating_sub(block.saturating_mul(facts.block)).clamp(1, facts.block);
        self.least.max(place.saturating_add(used))
    }

    /// The disk's size, and whether it lies over another one.
    pub(super) fn disk(&self) -> Result<(u64, bool), Danger> {
        self.facts().map(|facts| (facts.disk_size, facts.has_parent))
    }

    fn facts(&self) -> Result<VhdxFacts, Danger> {
        let broken = Danger::Broken("its metadata are not where they should be");
        if self.regions.is_empty() {
            return Err(broken);
        }
        regions(&self.regions)?;
        let table = slice(&self.metadata, 0, TABLE).ok_or(broken)?;
        if !table.starts_with(b"metadata") {
            return Err(broken);
        }
        let count = usize::from(le16(table, 10).ok_or(broken)?);
        if count > ENTRIES_MAX {
            return Err(broken);
        }
        let (mut size, mut parameters, mut parent, mut sector) = (None, None, false, None);
        for entry in entries(table, 32, count) {
            let item = |length| {
                let offset = le32(entry, 16).and_then(|offset| usize::try_from(offset).ok());
                slice(&self.metadata, offset.filter(|offset| *offset >= TABLE)?, length)
            };
            // An id that stands twice would mean one thing here and another elsewhere.
            if entry.starts_with(&DISK_SIZE) && size.is_none() {
                size = Some(item(8).and_then(|item| le64(item, 0)).and_then(disk_size).ok_or(broken)?);
            } else if entry.starts_with(&FILE_PARAMETERS) && parameters.is_none() {
                parameters = Some(item(8).and_then(|item| le32(item, 0).zip(le32(item, 4))).ok_or(broken)?);
            } else if entry.starts_with(&PARENT_LOCATOR) {
                parent = true;
            } else if entry.starts_with(&SECTOR_SIZE) {
                sector = item(4).and_then(|item| le32(item, 0));
            } else if entry.starts_with(&DISK_SIZE) || entry.starts_with(&FILE_PARAMETERS) {
                return Err(broken);
            }
        }
        let (disk_size, (block, flags)) = size.zip(parameters).ok_or(broken)?;
        Ok(VhdxFacts {
            disk_size,
            block: u64::from(block).max(1),
            sector: u64::from(sector.unwrap_or(512)),
            has_parent: parent || flags & HAS_PARENT != 0,
        })
    }
}

/// Places that a region table names.
struct VhdxRegions {
    metadata: Range<u64>,
    blocks: Option<Range<u64>>,
}

/// Finds the regions. Both copies of the table have to agree on the metadata: some programs read the second one when the
/// checksum of the first is wrong.
fn regions(tables: &[u8]) -> Result<VhdxRegions, Danger> {
    let broken = Danger::Broken("its region tables make no sense");
    let (first, second) = tables.split_at_checked(TABLE).ok_or(broken)?;
    let metadata = region_in(first, &METADATA_REGION).ok_or(broken)?;
    let within = (REGIONS_BEGIN..METADATA_WITHIN).contains(&metadata.start);
    let other = || region_in(second, &METADATA_REGION).map(|region| region.start);
    if !within || second.starts_with(b"regi") && other() != Some(metadata.start) {
        return Err(broken);
    }
    Ok(VhdxRegions { metadata, blocks: region_in(first, &BLOCK_REGION) })
}

/// The one region of a kind that a table names.
fn region_in(table: &[u8], kind: &[u8]) -> Option<Range<u64>> {
    let count = usize::try_from(le32(table, 8)?).ok().filter(|count| *count <= ENTRIES_MAX)?;
    if !table.starts_with(b"regi") {
        return None;
    }
    let mut found = entries(table, 16, count).filter(|entry| entry.starts_with(kind));
    let entry = found.next()?;
    let (at, length) = (le64(entry, 16)?, u64::from(le32(entry, 24)?));
    (found.next().is_none()).then_some(at..at.checked_add(length)?)
}

/// The entries of a table: both kinds begin with an id and have the same length.
fn entries(table: &[u8], start: usize, count: usize) -> impl Iterator<Item = &[u8]> {
    slice(table, start, count.saturating_mul(32)).unwrap_or_default().chunks_exact(32)
}
