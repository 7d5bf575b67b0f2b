//! A head that makes a raw disk a qcow2: LXD takes no other disk, and nothing has to be converted.
//!
//! The head is a header, reference counts and tables that say where each cluster of the disk is: behind the head, in the
//! disk's own order. Every eight bytes of it follow from their place, so a head is never kept: it is made where it is sent.

/// Clusters of 64 KiB, as QEMU makes them itself, up to QEMU's largest.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 16..=21;

/// The largest disk: its head has 88 MiB.
const MOST: u64 = 16 << 40;

/// QEMU wants the size of a disk in whole sectors.
const SECTOR: u64 = 512;

/// Bit of an entry: the cluster is used once.
const OWN: u64 = 1 << 63;

/// A raw disk in a qcow2. The file is the head, the disk's bytes, and zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapped {
    disk: u64,
    /// The length of a cluster is 2 to this power.
    bits: u32,
    // How many clusters each part has, in the order in which they lie; before them is one for the header.
    count_tables: u64,
    count_blocks: u64,
    first_level: u64,
    second_level: u64,
    data: u64,
}

impl Wrapped {
    /// Head for a disk of this size in bytes. `None` for an empty disk, and for more than 16 TiB.
    pub fn around(disk: u64) -> Option<Self> {
        if disk == 0 || disk > MOST {
            return None;
        }
        // Small clusters make long tables, and large ones waste most of each: one size between has the shortest head.
        CLUSTER_BITS.map(|bits| Self::with_clusters(disk, bits)).min_by_key(Self::head)
    }

    fn with_clusters(disk: u64, bits: u32) -> Self {
        let cluster = 1 << bits;
        let data = disk.div_ceil(cluster);
        let second_level = (data * 8).div_ceil(cluster);
        let first_level = (second_level * 8).div_ceil(cluster);
        let mut form = Self { disk, bits, count_tables: 0, count_blocks: 0, first_level, second_level, data };
        // Counts have two bytes, and there are counts of the clusters that hold the counts.
        loop {
            let count_blocks = (form.clusters() * 2).div_ceil(cluster);
            let count_tables = (count_blocks * 8).div_ceil(cluster);
            if (count_blocks, count_tables) == (form.count_blocks, form.count_tables) {
                return form;
            }
            (form.count_blocks, form.count_tables) = (count_blocks, count_tables);
        }
    }

    /// Bytes before the disk's.
    pub fn head(&self) -> u64 {
        self.second_level_at(self.second_level)
    }

    /// Zeros after the disk's bytes, which fill up its last cluster.
    pub fn padding(&self) -> u64 {
        (self.data << self.bits) - self.disk
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.head() + (self.data << self.bits)
    }

    /// Fills in the bytes of the head that begin at this place. What lies behind the head is the disk's, and left alone.
    pub fn fill(&self, at: u64, into: &mut [u8]) {
        let wanted = usize::try_from(self.head().saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
        let (mut rest, mut at) = (&mut into[..wanted], at);
        while !rest.is_empty() {
            let word = self.word(at / 8).to_be_bytes();
            let word = &word[(at % 8) as usize..];
            let count = word.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word[..count]);
            at += count as u64;
            rest = later;
        }
    }

    /// Eight bytes of the head, the highest first.
    fn word(&self, number: u64) -> u64 {
        let cluster_words = self.bits - 3;
        let (cluster, within) = (number >> cluster_words, number & ((1 << cluster_words) - 1));
        let tables = 1 + self.count_tables;
        let blocks = tables + self.count_blocks;
        let first = blocks + self.first_level;
        let entry = |start: u64, count: u64, of: &dyn Fn(u64) -> u64| {
            let index = ((cluster - start) << cluster_words) + within;
            if index < count { of(index) } else { 0 }
        };
        match cluster {
            0 => self.header_word(within),
            _ if cluster < tables => entry(1, self.count_blocks, &|index| (tables + index) << self.bits),
            // Four counts a word, each 1 for a cluster that exists.
            _ if cluster < blocks => {
                let index = (((cluster - tables) << cluster_words) + within) * 4;
                match self.clusters().saturating_sub(index) {
                    0 => 0,
                    1 => 0x0001_0000_0000_0000,
                    2 => 0x0001_0001_0000_0000,
                    3 => 0x0001_0001_0001_0000,
                    _ => 0x0001_0001_0001_0001,
                }
            }
            _ if cluster < first => entry(blocks, self.second_level, &|index| self.second_level_at(index) | OWN),
            _ => entry(first, self.data, &|index| (self.head() + (index << self.bits)) | OWN),
        }
    }

    fn header_word(&self, number: u64) -> u64 {
        let pair = |high: u64, low: u64| (high << 32) | low;
        let blocks = 1 + self.count_tables + self.count_blocks;
        match number {
            // "QFI\xfb", version 3.
            0 => pair(0x5146_49fb, 3),
            // No backing file in word 1, nor its length.
            2 => pair(0, u64::from(self.bits)),
            3 => self.disk.next_multiple_of(SECTOR),
            // Not encrypted; the first level, as many entries as there are tables on the second.
            4 => pair(0, self.second_level),
            5 => blocks << self.bits,
            6 => 1 << self.bits,
            // And no snapshots, in words 7 and 8; no features in 9 to 11.
            7 => pair(self.count_tables, 0),
            // Counts of 2 to the 4th bits; the header has 104 bytes, and its extensions end at once.
            12 => pair(4, 104),
            _ => 0,
        }
    }

    fn second_level_at(&self, index: u64) -> u64 {
        (1 + self.count_tables + self.count_blocks + self.first_level + index) << self.bits
    }

    /// Of the whole file.
    fn clusters(&self) -> u64 {
        1 + self.count_tables + self.count_blocks + self.first_level + self.second_level + self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Detected, Inspection, Inspector};

    const SIZES: [u64; 12] = [
        1,
        512,
        1000,
        64 << 10,
        (64 << 10) + 1,
        (1 << 20) + 512,
        100 << 20,
        (3 << 30) + 7,
        20 << 30,
        (1 << 40) - 1,
        5_000_000_000_001,
        MOST,
    ];

    fn number(wrapped: &Wrapped, at: u64, length: usize) -> u64 {
        let mut bytes = [0; 8];
        wrapped.fill(at, &mut bytes[8 - length..]);
        u64::from_be_bytes(bytes)
    }

    /// Numbers below `count`: all, or about 50,000 with the last.
    fn some(count: u64) -> impl Iterator<Item = u64> {
        (0..count).rev().step_by((count / 50_000).max(1) as usize)
    }

    fn head(wrapped: &Wrapped) -> Vec<u8> {
        let mut head = vec![0xaa; wrapped.head() as usize];
        wrapped.fill(0, &mut head);
        head
    }

    /// Follows the tables as QEMU does: from the header to the first table, to the second, to the cluster.
    #[test]
    fn every_cluster_of_the_disk_is_behind_the_head_in_its_place() {
        for disk in SIZES {
            let wrapped = Wrapped::around(disk).unwrap();
            let (bits, size) = (number(&wrapped, 20, 4), number(&wrapped, 24, 8));
            assert!((16..=21).contains(&bits));
            assert_eq!(size, disk.next_multiple_of(512));
            let (entries, first) = (number(&wrapped, 36, 4), number(&wrapped, 40, 8));
            let per_table = 1 << (bits - 3);
            assert_eq!(entries, size.div_ceil(per_table << bits));
            for cluster in some(size.div_ceil(1 << bits)) {
                let second = number(&wrapped, first + cluster / per_table * 8, 8);
                let place = number(&wrapped, (second & !OWN) + cluster % per_table * 8, 8);
                assert_eq!(
                    (second & OWN, place),
                    (OWN, OWN | (wrapped.head() + (cluster << bits))),
                    "{disk} {cluster}"
                );
            }
            assert_eq!(wrapped.length(), wrapped.head() + disk + wrapped.padding());
            assert_eq!(wrapped.length() % (1 << bits), 0);
        }
    }

    /// Every cluster of the file is counted once, and none beyond it.
    #[test]
    fn every_cluster_is_counted() {
        for disk in SIZES {
            let wrapped = Wrapped::around(disk).unwrap();
            let (bits, table) = (number(&wrapped, 20, 4), number(&wrapped, 48, 8));
            let per_block = 1 << (bits - 1);
            let slots = (number(&wrapped, 56, 4) << bits) / 8;
            let count = |cluster: u64| match number(&wrapped, table + cluster / per_block * 8, 8) {
                0 => 0,
                block => number(&wrapped, block + cluster % per_block * 2, 2),
            };
            let clusters = wrapped.length() >> bits;
            assert!(slots * per_block >= clusters);
            assert!(some(clusters).all(|cluster| count(cluster) == 1), "{disk}");
            let end = clusters.next_multiple_of(per_block);
            assert!(some(end - clusters).all(|cluster| count(clusters + cluster) == 0), "{disk}");
            assert!((end / per_block..slots).all(|slot| number(&wrapped, table + slot * 8, 8) == 0), "{disk}");
        }
    }

    #[test]
    fn a_head_can_be_made_in_pieces() {
        let wrapped = Wrapped::around(3 << 30).unwrap();
        let whole = head(&wrapped);
        for (at, length) in [(0, 7), (3, 8), (65_530, 20), (70_001, 100_003), (whole.len() - 3, 3)] {
            let mut piece = vec![0; length];
            wrapped.fill(at as u64, &mut piece);
            assert_eq!(piece, whole[at..at + length]);
        }
        let mut beyond = [7; 10];
        wrapped.fill(wrapped.head() - 4, &mut beyond);
        assert_eq!(beyond[4..], [7; 6]);
        wrapped.fill(wrapped.head(), &mut beyond);
        wrapped.fill(u64::MAX, &mut beyond);
        assert_eq!(beyond[4..], [7; 6]);
    }

    #[test]
    fn heads_are_small() {
        for (disk, most) in
            [(1, 320 << 10), (1 << 30, 512 << 10), (16 << 30, 2 << 20), (1 << 40, 12 << 20), (MOST, 88 << 20)]
        {
            let head = Wrapped::around(disk).unwrap().head();
            assert!(head <= most, "{disk} {head}");
        }
        assert_eq!(Wrapped::around(0), None);
        assert_eq!(Wrapped::around(MOST + 1), None);
        assert_eq!(Wrapped::around(u64::MAX), None);
    }

    #[test]
    fn it_is_a_disk_that_names_nothing() {
        let wrapped = Wrapped::around(1000).unwrap();
        let mut file = head(&wrapped);
        file.resize(wrapped.length() as usize, 0);
        let mut inspector = Inspector::new();
        inspector.feed(&file);
        let (size, least) = (wrapped.length(), wrapped.head() + 1024);
        let expected = Inspection { format: Detected::Qcow2, size, disk_size: Some(1024), danger: None, least };
        assert_eq!(inspector.finish(), expected);
    }
}
