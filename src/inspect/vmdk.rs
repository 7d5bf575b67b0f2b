//! VMware's format. Numbers have their lowest byte first.
//!
//! A text, the descriptor, lists the files that a disk consists of; it can name any file or device. Only the two kinds
//! that are one file, with the descriptor inside, can be kept here: monolithicSparse and streamOptimized.
//!
//! A directory and tables say where each grain of the disk lies. They lie before the grains, or, in a file that was written
//! as a stream, behind them: then the file ends with a footer.

use std::ops::Range;

use super::bytes::{le32, le64, slice};
use super::queue::TableQueue;
use super::{Danger, Detected, HeaderFacts, SeenBytes, bytes};

const MAGIC: &[u8] = b"KDMV";
/// The sparse files of ESX servers: they need a descriptor beside them.
const MAGIC_ESX: &[u8] = b"COWD";
const SECTOR: usize = 512;
/// Place of the descriptor: QEMU reads it only there, whatever the header says.
const DESCRIPTOR_SECTOR: u64 = 1;
/// Bytes that QEMU reads there, whatever the header says.
const DESCRIPTOR_READ: usize = 20 * SECTOR;
/// Bytes of a longer descriptor that may be left behind the zero. QEMU writes a new CID as `%x`, without zeros in front: of
/// eight digits seven can go. They are too few to name a file.
const LEFT_BEHIND: usize = 7;
/// In the place of the grain directory's offset: a footer has it.
const IN_FOOTER: u64 = u64::MAX;
const FOOTER_MARKER: u32 = 3;
/// A marker, the footer, and an empty sector.
const FOOTER: usize = 3 * SECTOR;

/// Most entries of the directory and of a table that QEMU opens.
const DIRECTORY_MAX: u64 = 32 << 20;
const TABLE_MAX: u64 = 512;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    if head.starts_with(MAGIC) && head.len() >= SECTOR {
        let size = le64(head, 12)?.checked_mul(SECTOR as u64).and_then(bytes::disk_size);
        let end = match le64(head, 56) {
            Some(IN_FOOTER) if seen.whole => footer(head, seen.tail()),
            _ => Ok(()),
        };
        let cut = end == Err(Footer::None);
        let danger = sparse(head, size).and(end.map_err(|_| Danger::Broken("its footer makes no sense"))).err();
        let least = if cut { seen.size.saturating_add(FOOTER as u64) } else { seen.tables.least };
        return Some(HeaderFacts { format: Detected::Vmdk, disk_size: size, danger, least });
    }
    let elsewhere = head.starts_with(MAGIC_ESX) || is_descriptor(head);
    elsewhere.then_some(HeaderFacts::unsafe_as(Detected::Vmdk, None, Danger::Subformat))
}

/// Recognises a descriptor by its first line, or as QEMU does: a version after nothing but comments and blank lines.
fn is_descriptor(head: &[u8]) -> bool {
    const FIRST_LINE: &[u8] = b"# disk descriptorfile";
    if head.get(..FIRST_LINE.len()).is_some_and(|line| line.eq_ignore_ascii_case(FIRST_LINE)) {
        return true;
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    // Many a text begins like that; without this one QEMU gives up.
    let typed = || head.windows(10).any(|window| window.eq_ignore_ascii_case(b"createtype"));
    matches!(first, Some(b"version=1" | b"version=2" | b"version=3")) && typed()
}

fn sparse(head: &[u8], size: Option<u64>) -> Result<(), Danger> {
    let broken = Danger::Broken("its header makes no sense");
    // Without a size QEMU takes the descriptor for that of a disk in several files.
    if !matches!(le32(head, 4), Some(1..=3)) || size.is_none_or(|size| size == 0) {
        return Err(broken);
    }
    let (grain, entries) = le64(head, 20).zip(le32(head, 44).map(u64::from)).ok_or(broken)?;
    let covered = grain.saturating_mul(SECTOR as u64).saturating_mul(entries).max(1);
    if entries > TABLE_MAX || size.unwrap_or(0).div_ceil(covered) > DIRECTORY_MAX {
        return Err(Danger::Broken("its tables are too long"));
    }
    let sectors = le64(head, 36).and_then(|sectors| usize::try_from(sectors).ok()).ok_or(broken)?;
    if le64(head, 28) != Some(DESCRIPTOR_SECTOR) || sectors == 0 {
        return Err(Danger::Broken("its descriptor is not where it should be"));
    }
    let too_long = Danger::Broken("its descriptor is too long");
    let stated = sectors.checked_mul(SECTOR).and_then(|length| slice(head, SECTOR, length)).ok_or(too_long)?;
    let read = head.get(SECTOR..).unwrap_or_default();
    let read = &read[..read.len().min(stated.len().max(DESCRIPTOR_READ))];
    let length = read.iter().position(|byte| *byte == 0).unwrap_or(read.len());
    // Who stops at the first zero must not read something else than who does not.
    let left = if read[..length].ends_with(b"\n") { LEFT_BEHIND } else { 0 };
    if stated.iter().skip(length + left).any(|byte| *byte != 0) {
        return Err(Danger::Broken("its descriptor goes on behind its end"));
    }
    descriptor(&String::from_utf8_lossy(&read[..length]).to_ascii_lowercase())
}

/// Reads a descriptor, in lower case. Every line has to be one that is understood.
fn descriptor(text: &str) -> Result<(), Danger> {
    // QEMU looks for this word anywhere.
    if text.contains("parentfilenamehint") {
        return Err(Danger::Parent);
    }
    let (mut kinds, mut extents) = (0, 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))) {
            Some((key, _)) if key.starts_with("ddb.") => {}
            Some(("createtype", "monolithicsparse" | "streamoptimized")) => kinds += 1,
            Some(("createtype", _)) => return Err(Danger::Subformat),
            Some(("parentcid", parent)) if parent != "ffffffff" => return Err(Danger::Parent),
            Some(("changetrackpath", _)) => return Err(Danger::Extents),
            Some((key, _)) if !key.contains(char::is_whitespace) => {}
            _ => {
                extent(line)?;
                extents += 1;
            }
        }
    }
    if kinds == 0 {
        Err(Danger::Subformat)
    } else if extents != 1 {
        Err(Danger::Extents)
    } else {
        Ok(())
    }
}

/// `RW 4192256 SPARSE "disk.vmdk"`: the file itself, under the name it had when it was made.
fn extent(line: &str) -> Result<(), Danger> {
    let mut words = line.splitn(4, char::is_whitespace);
    if !matches!(words.next(), Some("rw" | "rdonly" | "noaccess")) {
        return Err(Danger::Broken("its descriptor has a line that is not understood"));
    }
    match (words.nth(1), words.next()) {
        (Some("sparse"), Some(name)) if !name.contains(['/', '\\']) => Ok(()),
        _ => Err(Danger::Extents),
    }
}

/// Faults of a footer.
#[derive(Debug, PartialEq, Eq)]
enum Footer {
    /// The file does not end with one.
    None,
    /// Not of this header.
    Other,
}

/// A file that was written as a stream has a second header at its end, which goes over the first: they have to say the
/// same, but for the offset that was not known at first.
fn footer(head: &[u8], tail: &[u8]) -> Result<(), Footer> {
    let place = tail.len().checked_sub(FOOTER).ok_or(Footer::None)?;
    let (marker, rest) = tail[place..].split_at(SECTOR);
    let (footer, end) = rest.split_at(SECTOR);
    let marked = le32(marker, 8) == Some(0) && le32(marker, 12) == Some(FOOTER_MARKER);
    if !marked && !footer.starts_with(MAGIC) {
        return Err(Footer::None);
    }
    let ended = end.iter().all(|byte| *byte == 0);
    // Magic, version, flags, capacity, grain size, and where the descriptor is.
    let alike = footer[..8] == head[..8] && footer[12..44] == head[12..44];
    if marked && ended && alike && le64(footer, 56) != Some(IN_FOOTER) { Ok(()) } else { Err(Footer::Other) }
}

/// A place in a table that stands for a grain of zeros.
const ZEROS: u32 = 1;
/// Flags of the header: grains are compressed, and each begins with its length.
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// Bytes before a compressed grain: its place on the disk, and its length.
const MARKER: u64 = 12;

/// The tables of grains: what they say of the place of the last grain.
#[derive(Debug, Clone)]
pub(super) struct GrainTables {
    disk_size: u64,
    /// Bytes of a grain.
    grain: u64,
    /// Entries of a table.
    entries: u64,
    flags: u32,
    least: u64,
    /// The last of the compressed grains that were found, whose length is read last.
    last: u64,
    waiting: TableQueue<GrainTable>,
}

#[derive(Debug, Clone, Copy)]
enum GrainTable {
    Directory,
    /// The grains from this number on.
    Grains(u64),
    /// The marker before a compressed grain.
    Marker,
}

impl GrainTables {
    /// The tables of a file that begins with these bytes, if it is a VMDK that has them before its grains.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let sectors = |at| le64(head, at)?.checked_mul(SECTOR as u64);
        if !head.starts_with(MAGIC) || le64(head, 56)? == IN_FOOTER {
            return None;
        }
        let (disk_size, grain, directory) = (sectors(12)?, sectors(20)?, sectors(56)?);
        let entries = u64::from(le32(head, 44)?);
        let covered = grain.checked_mul(entries).filter(|covered| *covered > 0)?;
        let mut tables =
            Self { disk_size, grain, entries, flags: le32(head, 8)?, least: 0, last: 0, waiting: TableQueue::new() };
        if directory > 0 {
            let end = directory.checked_add(disk_size.div_ceil(covered).checked_mul(4)?)?;
            tables.least = end;
            let kept = directory.saturating_add(DIRECTORY_MAX * 4);
            tables.waiting.push(directory..end.min(kept), GrainTable::Directory);
        }
        Some(tables)
    }

    /// Bytes that the file has at least.
    pub(super) fn least(&self) -> u64 {
        self.least
    }

    /// The next stretch to read.
    pub(super) fn next(&mut self, from: u64) -> Option<Range<u64>> {
        self.waiting.next(from).or_else(|| {
            let last = std::mem::take(&mut self.last);
            self.waiting.push(last..last.saturating_add(MARKER), GrainTable::Marker);
            self.waiting.next(from.max(1))
        })
    }

    /// Takes the next piece of a table.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8]) {
        let Some((table, before)) = self.waiting.took(at, bytes.len() as u64) else { return };
        let entries = || bytes.chunks_exact(4).filter_map(|entry| le32(entry, 0));
        match table {
            GrainTable::Directory => {
                for (number, entry) in (before / 4..).zip(entries()).filter(|(_, entry)| *entry > 0) {
                    let place = u64::from(entry) * SECTOR as u64;
                    let end = place + self.entries * 4;
                    self.least = self.least.max(end);
                    let kept = place..end.min(place + TABLE_MAX * 4);
                    self.waiting.push(kept, GrainTable::Grains(number.saturating_mul(self.entries)));
                }
            }
            GrainTable::Grains(first) => {
                let compressed = self.flags & COMPRESSED != 0;
                for (number, entry) in (first.saturating_add(before / 4)..).zip(entries()) {
                    if entry <= ZEROS {
                        continue;
                    }
                    let place = u64::from(entry) * SECTOR as u64;
                    // The last grain reaches beyond the end of the disk.
                    let left = self.disk_size.saturating_sub(number.saturating_mul(self.grain));
                    let used = if compressed { 1 } else { left.clamp(1, self.grain) };
                    self.least = self.least.max(place + used);
                    if compressed && self.flags & MARKERS != 0 {
                        self.last = self.last.max(place);
                    }
                }
            }
            GrainTable::Marker => {
                let length = le32(bytes, 8).map_or(0, u64::from);
                self.least = self.least.max(at + MARKER + length);
            }
        }
    }
}
