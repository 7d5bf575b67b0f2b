//! Hyper-V's format. Numbers have their lowest byte first.
//!
//! The facts lie behind two tables: the region table says where the metadata are, and the metadata table where in them
//! each item is. A disk that lies over another one has a parent locator, and a bit that says so.

use std::ops::Range;

use super::bytes::{disk_size, le16, le32, le64, slice};
use super::seen::Regions;
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
const FILE_PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const DISK_SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const PARENT_LOCATOR: [u8; 16] = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
const HAS_PARENT: u32 = 1 << 1;

/// The next stretch that the inspector has to keep, as far as the kept parts tell.
pub(super) fn wants(held: &Regions) -> Option<Range<u64>> {
    if !held.head().starts_with(MAGIC) {
        return None;
    }
    match held.read(REGION_TABLES, 2 * TABLE) {
        None => Some(REGION_TABLES..REGION_TABLES + 2 * TABLE as u64),
        Some(tables) => metadata_at(tables).ok().map(|at| at..at + METADATA as u64),
    }
}

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    if !seen.head().starts_with(MAGIC) {
        return None;
    }
    Some(match facts(&seen.held) {
        Ok((size, danger)) => HeaderFacts { format: Detected::Vhdx, disk_size: Some(size), danger },
        Err(danger) => HeaderFacts { format: Detected::Vhdx, disk_size: None, danger: Some(danger) },
    })
}

/// The disk's size, and whether it lies over another one.
fn facts(held: &Regions) -> Result<(u64, Option<Danger>), Danger> {
    let broken = Danger::Broken("its metadata are not where they should be");
    let tables = held.read(REGION_TABLES, 2 * TABLE).ok_or(broken)?;
    let metadata = metadata_at(tables)?;
    let table = held.read(metadata, TABLE).ok_or(broken)?;
    if !table.starts_with(b"metadata") {
        return Err(broken);
    }
    let count = usize::from(le16(table, 10).ok_or(broken)?);
    if count > ENTRIES_MAX {
        return Err(broken);
    }
    let (mut size, mut parameters, mut parent) = (None, None, false);
    for entry in entries(table, 32, count) {
        let item = |length| {
            let offset = le32(entry, 16).filter(|offset| *offset >= TABLE as u32)?;
            held.read(metadata.checked_add(u64::from(offset))?, length)
        };
        // An id that stands twice would mean one thing here and another elsewhere.
        if entry.starts_with(&DISK_SIZE) && size.is_none() {
            size = Some(item(8).and_then(|item| le64(item, 0)).and_then(disk_size).ok_or(broken)?);
        } else if entry.starts_with(&FILE_PARAMETERS) && parameters.is_none() {
            parameters = Some(item(8).and_then(|item| le32(item, 4)).ok_or(broken)?);
        } else if entry.starts_with(&PARENT_LOCATOR) {
            parent = true;
        } else if entry.starts_with(&DISK_SIZE) || entry.starts_with(&FILE_PARAMETERS) {
            return Err(broken);
        }
    }
    let (size, parameters) = size.zip(parameters).ok_or(broken)?;
    parent |= parameters & HAS_PARENT != 0;
    Ok((size, parent.then_some(Danger::Parent)))
}

/// Finds the metadata. Both copies of the table have to agree: some programs read the second one when the checksum of the
/// first is wrong.
fn metadata_at(tables: &[u8]) -> Result<u64, Danger> {
    let broken = Danger::Broken("its region tables make no sense");
    let (first, second) = tables.split_at_checked(TABLE).ok_or(broken)?;
    let at = metadata_in(first).ok_or(broken)?;
    if second.starts_with(b"regi") && metadata_in(second) != Some(at) {
        return Err(broken);
    }
    Ok(at)
}

fn metadata_in(table: &[u8]) -> Option<u64> {
    let count = usize::try_from(le32(table, 8)?).ok().filter(|count| *count <= ENTRIES_MAX)?;
    if !table.starts_with(b"regi") {
        return None;
    }
    let mut found = entries(table, 16, count).filter(|entry| entry.starts_with(&METADATA_REGION));
    let at = le64(found.next()?, 16)?;
    (found.next().is_none() && (REGIONS_BEGIN..METADATA_WITHIN).contains(&at)).then_some(at)
}

/// The entries of a table: both kinds begin with an id and have the same length.
fn entries(table: &[u8], start: usize, count: usize) -> impl Iterator<Item = &[u8]> {
    slice(table, start, count.saturating_mul(32)).unwrap_or_default().chunks_exact(32)
}
