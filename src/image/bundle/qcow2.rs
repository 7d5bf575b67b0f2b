//! A head that makes a raw disk a qcow2: LXD takes no other disk, and nothing has to be converted.
//!
//! The head is a header, reference counts and tables that say where each cluster of the disk is: behind the head, in the
//! disk's own order. Every eight bytes of it follow from their place, so a head is never kept: it is made where it is sent.

/// Clusters of 64 KiB, as QEMU makes them itself, up to QEMU's largest.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 16..=21;

/// Clusters grow until the head is no larger, or can't grow any more: 8 GiB have a head of this size.
const SMALL_HEAD: u64 = 2 << 20;

/// The largest disk: its head has 82 MiB.
const MOST: u64 = 16 << 40;

/// QEMU wants the size of a disk in whole sectors.
const SECTOR: u64 = 512;

/// Of an entry: nobody else has this cluster.
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
    /// Around a disk of so many bytes. None without any, and for more than 16 TiB.
    pub fn around(disk: u64) -> Option<Self> {
        if disk == 0 || disk > MOST {
            return None;
        }
        let mut forms = CLUSTER_BITS.map(|bits| Self::with_clusters(disk, bits));
        let mut form = forms.next()?;
        for larger in forms {
            if form.head() <= SMALL_HEAD {
                break;
            }
            form = larger;
        }
        Some(form)
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

    /// How many bytes come before the disk's.
    pub fn head(&self) -> u64 {
        self.second_level_at(self.second_level)
    }

    /// How many zeros come behind the disk's bytes: whatever its last cluster lacks.
    pub fn padding(&self) -> u64 {
        (self.data << self.bits) - self.disk
    }

    /// How many bytes there are in all.
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
