//! QEMU's own formats: qcow, qcow2, qed. Numbers are in network order, but in qed.
//!
//! What they can name: a backing file that lies under the disk, and (qcow2) an external file with all of the data. Both
//! are opened by every program that opens the image, with the rights of that program.
//!
//! A qcow2 does not say how long it is. But tables on two levels say where each cluster of the disk lies, and the last of
//! these has to be there.

use std::ops::Range;

use super::bytes::{be32, be64, disk_size};
use super::queue::TableQueue;
use super::{Danger, Detected, HeaderFacts, SeenBytes};

const MAGIC: &[u8] = b"QFI\xfb";
const MAGIC_QED: &[u8] = b"QED\0";
/// The header of version 2, and the shortest of version 3.
const HEADER_V2: usize = 72;
const HEADER_V3: usize = 104;
/// An incompatible feature: the data are in another file.
const DATA_FILE_BIT: u64 = 1 << 2;
/// Dirty, corrupt, data file, compression type, extended L2 entries: an image with any other is not understood.
const KNOWN_BITS: u64 = 0b1_1111;
/// The header extension with the name of the data file.
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// Longest tables that QEMU opens: of the places of counts, and of the first level.
const COUNTS_MAX: u64 = 8 << 20;
const FIRST_MAX: u64 = 32 << 20;

/// Recognises a file of this format.
pub(super) fn look(seen: &SeenBytes) -> Option<HeaderFacts> {
    let head = seen.head();
    if head.starts_with(MAGIC_QED) {
        return Some(HeaderFacts::unsafe_as(Detected::Qed, None, Danger::Obsolete("qed")));
    }
    if !head.starts_with(MAGIC) || head.len() < HEADER_V2 {
        return None;
    }
    let version = be32(head, 4)?;
    let size = disk_size(be64(head, 24)?);
    if version == 1 {
        return Some(HeaderFacts::unsafe_as(Detected::Qcow, size, Danger::Obsolete("qcow version 1")));
    }
    let danger = match version {
        2 | 3 => danger(head, version, size).err(),
        _ => Some(Danger::Broken("its version is not known")),
    };
    Some(HeaderFacts { format: Detected::Qcow2, disk_size: size, danger, least: seen.tables.least })
}

fn danger(head: &[u8], version: u32, size: Option<u64>) -> Result<(), Danger> {
    let broken = Danger::Broken("its header makes no sense");
    size.ok_or(broken)?;
    // A name without a place is nothing to QEMU, but no writer leaves one either.
    if be64(head, 8) != Some(0) || be32(head, 16) != Some(0) {
        return Err(Danger::BackingFile);
    }
    let cluster = match be32(head, 20) {
        Some(bits @ 9..=21) => 1_usize << bits,
        _ => return Err(broken),
    };
    let (first, counts) = be32(head, 36).zip(be32(head, 56)).ok_or(broken)?;
    if u64::from(first) * 8 > FIRST_MAX || u64::from(counts).saturating_mul(cluster as u64) > COUNTS_MAX {
        return Err(Danger::Broken("its tables are too long"));
    }
    let mut length = HEADER_V2;
    if version == 3 {
        let features = be64(head, 72).ok_or(broken)?;
        if features & DATA_FILE_BIT != 0 {
            return Err(Danger::DataFile);
        }
        if features & !KNOWN_BITS != 0 {
            return Err(Danger::UnknownFeatures);
        }
        length = be32(head, 100).and_then(|length| usize::try_from(length).ok()).ok_or(broken)?;
        if length < HEADER_V3 || !length.is_multiple_of(8) || length > cluster {
            return Err(broken);
        }
    }
    extensions(head, length, cluster)
}

/// Walks along the header extensions, which end with one of type 0 or with the first cluster. They have a few hundred
/// bytes in practice; one that leads out of what was kept leads nowhere good.
fn extensions(head: &[u8], mut at: usize, end: usize) -> Result<(), Danger> {
    let broken = Danger::Broken("its header extensions make no sense");
    while at.saturating_add(8) <= end {
        let (kind, length) = be32(head, at).zip(be32(head, at + 4)).ok_or(broken)?;
        match kind {
            0 => return Ok(()),
            DATA_FILE_NAME => return Err(Danger::DataFile),
            _ => {}
        }
        let length =
            usize::try_from(length).ok().and_then(|length| length.checked_next_multiple_of(8)).ok_or(broken)?;
        at = at.checked_add(8).and_then(|at| at.checked_add(length)).filter(|at| *at <= end).ok_or(broken)?;
    }
    Ok(())
}

/// Bytes of a snapshot in the list of snapshots, at least.
const SNAPSHOT: u64 = 40;
/// Header extensions that say where something is: the keys of an encrypted disk, and the list of bitmaps of changes.
const CRYPTO_HEADER: u32 = 0x0537_be77;
const BITMAPS: u32 = 0x2385_2875;
/// An incompatible feature: entries of the second level have twice the length.
const EXTENDED_BIT: u64 = 1 << 4;
/// Clusters at the beginning that are kept: header, both tables, and what counts references.
const FIRST_CLUSTERS: u64 = 8;
const FIRST_CLUSTERS_MAX: u64 = 1 << 20;
/// Place of a cluster in an entry of either level.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an entry of the second level: the cluster is compressed, and it reads as zeros.
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// The tables of both levels: what they say of the place of the last cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterTables {
    cluster_bits: u32,
    disk_size: u64,
    extended: bool,
    least: u64,
    waiting: TableQueue<Level>,
}

/// Level of a table.
#[derive(Debug, Clone, Copy)]
enum Level {
    /// Places of the blocks that count how often each cluster is used.
    Counts,
    First,
    /// `table` is the number of its entry on the first level.
    Second {
        table: u64,
    },
}

/// Length of the first clusters, in which QEMU puts the first tables of both levels in any order.
pub(super) fn reach_of_first(head: &[u8]) -> u64 {
    let bits = be32(head, 20).filter(|bits| head.starts_with(MAGIC) && (9..=21).contains(bits));
    bits.map_or(0, |bits| (FIRST_CLUSTERS << bits).min(FIRST_CLUSTERS_MAX))
}

impl ClusterTables {
    /// The tables of a file that begins with these bytes, if it is a qcow2.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let version = be32(head, 4).filter(|version| matches!(version, 2 | 3) && head.starts_with(MAGIC))?;
        let cluster_bits = be32(head, 20).filter(|bits| (9..=21).contains(bits))?;
        let features = if version == 3 { be64(head, 72)? } else { 0 };
        let (first_count, first) = (u64::from(be32(head, 36)?), be64(head, 40)?);
        let (counts, count_clusters) = (be64(head, 48)?, u64::from(be32(head, 56)?));
        let (snapshots, snapshots_at) = (u64::from(be32(head, 60)?), be64(head, 64)?);
        let mut tables = Self {
            cluster_bits,
            disk_size: be64(head, 24)?,
            extended: features & EXTENDED_BIT != 0,
            least: 0,
            waiting: TableQueue::new(),
        };
        if first_count > 0 {
            let end = first.saturating_add(first_count * 8);
            tables.has_to_reach(end);
            tables.waiting.push(first..end.min(first.saturating_add(FIRST_MAX)), Level::First);
        }
        if count_clusters > 0 {
            // Its end may never have been written.
            tables.has_to_reach(counts.saturating_add(8));
            let length = (count_clusters << cluster_bits).min(COUNTS_MAX);
            tables.waiting.push(counts..counts.saturating_add(length), Level::Counts);
        }
        if snapshots > 0 {
            tables.has_to_reach(snapshots_at.saturating_add(snapshots * SNAPSHOT));
        }
        if version == 3 {
            tables.has_to_reach(extensions_reach(head, 1 << cluster_bits));
        }
        Some(tables)
    }

    /// Bytes that the file has at least.
    pub(super) fn least(&self) -> u64 {
        self.least
    }

    fn has_to_reach(&mut self, end: u64) {
        self.least = self.least.max(end);
    }

    /// The next stretch to read.
    pub(super) fn next(&mut self, from: u64) -> Option<Range<u64>> {
        self.waiting.next(from)
    }

    /// Takes the next piece of a table.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8]) {
        let Some((level, before)) = self.waiting.took(at, bytes.len() as u64) else { return };
        let entries = || bytes.chunks_exact(8).filter_map(|entry| be64(entry, 0));
        match level {
            Level::Counts => {
                let last = entries().map(|entry| entry & !0x1ff).max().unwrap_or(0);
                if last > 0 {
                    self.has_to_reach(last.saturating_add(1));
                }
            }
            Level::First => {
                for (table, entry) in (before / 8..).zip(entries()) {
                    let place = entry & OFFSET;
                    if place > 0 {
                        let end = place.saturating_add(1 << self.cluster_bits);
                        self.has_to_reach(end);
                        self.waiting.push(place..end, Level::Second { table });
                    }
                }
            }
            Level::Second { table } => self.clusters(table, before, bytes),
        }
    }

    /// Looks at a piece of a table of the second level that begins this many bytes behind the table's begin.
    fn clusters(&mut self, table: u64, before: u64, bytes: &[u8]) {
        let cluster = 1_u64 << self.cluster_bits;
        let length = if self.extended { 16 } else { 8 };
        let first = table.saturating_mul(cluster / length).saturating_add(before / length);
        for (number, entry) in (first..).zip(bytes.chunks_exact(length as usize)) {
            let Some(word) = be64(entry, 0) else { continue };
            if word & COMPRESSED != 0 {
                // Compressed clusters lie side by side, and the length in their entry is a bound.
                let place = word & ((1 << (62 - (self.cluster_bits - 8))) - 1);
                self.has_to_reach(place.saturating_add(1));
                continue;
            }
            // Clusters of zeros may have a place that was never written to, and so may parts of clusters.
            let written = if self.extended { be64(entry, 8).unwrap_or(0) & 0xffff_ffff } else { !word & ZERO };
            let place = word & OFFSET;
            if place == 0 || written == 0 {
                continue;
            }
            // The last cluster reaches beyond the end of the disk; and of a cluster in parts, the last may be missing.
            let parts = if self.extended {
                (u64::from(32 - (written as u32).leading_zeros()) << self.cluster_bits) / 32
            } else {
                cluster
            };
            let used = self.disk_size.saturating_sub(number.saturating_mul(cluster)).clamp(1, cluster);
            self.has_to_reach(place.saturating_add(used.min(parts)));
        }
    }
}

/// End of what the header extensions name, as far as these can be followed.
fn extensions_reach(head: &[u8], cluster: usize) -> u64 {
    let mut reach = 0;
    let mut walk = || -> Option<()> {
        let mut at = usize::try_from(be32(head, 100)?).ok()?;
        while at.saturating_add(32) <= cluster {
            let (kind, length) = be32(head, at).zip(be32(head, at + 4))?;
            let content = at.checked_add(8)?;
            let place = match kind {
                0 => return None,
                CRYPTO_HEADER => be64(head, content).zip(be64(head, content + 8)),
                // Behind their number; the length comes first.
                BITMAPS => be64(head, content + 16).zip(be64(head, content + 8)),
                _ => None,
            };
            reach = reach.max(place.map_or(0, |(place, length)| place.saturating_add(length)));
            at = content.checked_add(usize::try_from(length).ok()?.checked_next_multiple_of(8)?)?;
        }
        None
    };
    walk();
    reach
}
