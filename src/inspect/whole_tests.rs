//! Files that are complete by their own tables, and what is cut off them.

use proptest::prelude::*;

use super::fake;
use super::*;

fn inspect(bytes: &[u8]) -> Inspection {
    let mut inspector = Inspector::new();
    inspector.feed(bytes);
    inspector.finish()
}

/// The refusal of these bytes under their own format.
fn refusal(format: Format, bytes: &[u8]) -> Option<Refusal> {
    check(&inspect(bytes), Some(format), &Rules::default()).err()
}

fn put(bytes: &mut Vec<u8>, at: u64, piece: &[u8]) {
    let at = at as usize;
    bytes.resize(bytes.len().max(at + piece.len()), 0);
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

const BITS: u32 = 12;
const CLUSTER: u64 = 1 << BITS;
/// Entries of a table of the second level.
const ENTRIES: u64 = CLUSTER / 8;

/// A qcow2 of clusters of 4 KiB: where the table of the first level is, those of the second, and the clusters.
#[derive(Debug, Clone)]
struct Qcow2 {
    first: u64,
    /// Table on the first level, and its place in clusters.
    second: Vec<(u64, u64)>,
    /// Cluster of the disk, and its entry.
    clusters: Vec<(u64, u64)>,
    disk_size: u64,
}

impl Qcow2 {
    /// The file as it is written, with zeros up to the end of the last cluster that is named.
    fn bytes(&self, length: u64) -> Vec<u8> {
        let mut bytes = fake::qcow2(3);
        bytes.truncate(1024);
        put(&mut bytes, 20, &BITS.to_be_bytes());
        put(&mut bytes, 24, &self.disk_size.to_be_bytes());
        let tables = self.disk_size.div_ceil(CLUSTER).div_ceil(ENTRIES);
        put(&mut bytes, 36, &(tables as u32).to_be_bytes());
        put(&mut bytes, 40, &(self.first * CLUSTER).to_be_bytes());
        put(&mut bytes, self.first * CLUSTER, &vec![0; tables as usize * 8]);
        for (number, at) in &self.second {
            put(&mut bytes, self.first * CLUSTER + number * 8, &((at * CLUSTER) | (1 << 63)).to_be_bytes());
            put(&mut bytes, at * CLUSTER, &[0; CLUSTER as usize]);
        }
        for (cluster, entry) in &self.clusters {
            let (_, at) = self.second.iter().find(|(number, _)| *number == cluster / ENTRIES).unwrap();
            put(&mut bytes, at * CLUSTER + cluster % ENTRIES * 8, &entry.to_be_bytes());
        }
        bytes.resize((length as usize).max(bytes.len()), 0);
        bytes
    }
}

/// As QEMU lays it out when the file is allocated first: the table of the second level before that of the first.
#[test]
fn tables_before_those_that_point_to_them() {
    const LARGE: u64 = 64 << 10;
    let mut bytes = fake::qcow2(3);
    put(&mut bytes, 20, &16_u32.to_be_bytes());
    put(&mut bytes, 24, &(8 * LARGE).to_be_bytes());
    put(&mut bytes, 36, &1_u32.to_be_bytes());
    put(&mut bytes, 40, &(3 * LARGE).to_be_bytes());
    put(&mut bytes, LARGE, &[0; LARGE as usize]);
    for cluster in 0..8 {
        put(&mut bytes, LARGE + cluster * 8, &(((5 + cluster) * LARGE) | (1 << 63)).to_be_bytes());
    }
    put(&mut bytes, 3 * LARGE, &(LARGE | (1 << 63)).to_be_bytes());
    bytes.resize(13 * LARGE as usize, 7);
    assert_eq!(refusal(Format::Qcow2, &bytes), None);
    for cut in [1, LARGE as usize, 6 * LARGE as usize] {
        let found = refusal(Format::Qcow2, &bytes[..bytes.len() - cut]);
        assert!(matches!(found, Some(Refusal::Short { .. })), "{cut}: {found:?}");
    }
}

/// Fifty clusters of a disk of 3 MiB and a bit, which lie behind the tables in some order.
fn some_qcow2() -> impl Strategy<Value = (Qcow2, u64)> {
    let places = Just((20_u64..70).collect::<Vec<_>>()).prop_shuffle();
    let guests = Just((0_u64..800).collect::<Vec<_>>()).prop_shuffle();
    (3..18_u64, places, guests, 1..CLUSTER).prop_map(|(first, places, guests, beyond)| {
        let disk_size = 800 * CLUSTER - beyond;
        let second = vec![(0, first + 1), (1, 19)];
        let clusters: Vec<_> =
            guests.into_iter().zip(&places).map(|(guest, at)| (guest, (at * CLUSTER) | (1 << 63))).collect();
        let end = |(guest, entry): &(u64, u64)| {
            let used = if *guest == 799 { CLUSTER - beyond } else { CLUSTER };
            (entry & !(1 << 63)) + used
        };
        let least = clusters.iter().map(end).max().unwrap();
        (Qcow2 { first, second, clusters, disk_size }, least)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_qcow2_reaches_to_its_last_cluster((disk, least) in some_qcow2(), cut in any::<prop::sample::Index>(), pieces in 1..9000_usize) {
        let bytes = disk.bytes(least);
        let found = inspect(&bytes);
        prop_assert_eq!((found.danger, found.least), (None, least));
        prop_assert_eq!(refusal(Format::Qcow2, &bytes[..least as usize]), None);
        // In pieces, and in leaps.
        let mut inspector = Inspector::new();
        bytes.chunks(pieces).for_each(|piece| inspector.feed(piece));
        prop_assert_eq!(inspector.finish(), found);
        prop_assert_eq!(leaping(&bytes, Inspector::new()), found);
        // A half, a tenth, a cluster, a byte, and anything else.
        let size = least as usize;
        for cut in [size / 2, size * 9 / 10, size - CLUSTER as usize, size - 1, 104 + cut.index(size - 104)] {
            let refused = refusal(Format::Qcow2, &bytes[..cut]);
            prop_assert!(matches!(refused, Some(Refusal::Short { size, least }) if size == cut as u64 && least > size), "{cut} {refused:?}");
        }
    }
}

/// As a file that can be read anywhere.
fn leaping(bytes: &[u8], mut inspector: Inspector) -> Inspection {
    while let Some(wanted) = inspector.wants(bytes.len() as u64) {
        inspector.skip_to(wanted.start);
        inspector.feed(&bytes[wanted.start as usize..wanted.end as usize]);
    }
    inspector.finish()
}

/// What an entry names may never have been written, as real programs leave it.
#[test]
fn entries_of_a_qcow2_that_promise_no_bytes() {
    let far = 1 << 30;
    let with = |entry| Qcow2 { first: 2, second: vec![(0, 3)], clusters: vec![(5, entry)], disk_size: 9 * CLUSTER };
    let least = |entry| inspect(&with(entry).bytes(0)).least;
    let tables = 4 * CLUSTER;
    assert_eq!(least(0), tables);
    assert_eq!(least(1), tables, "zeros without a place");
    assert_eq!(least(far | 1), tables, "zeros with one");
    assert_eq!(least(far | (1 << 63)), far + CLUSTER);
    assert_eq!(
        least((1 << 62) | (3 << 58) | (far + 77)),
        far + 78,
        "compressed: any byte, and a length that is a bound"
    );
    // A table of the second level that is not there.
    let mut bytes = with(0).bytes(0);
    put(&mut bytes, 2 * CLUSTER, &far.to_be_bytes());
    assert_eq!(inspect(&bytes).least, far + CLUSTER);
    // One that lies before the first level, and so has passed, says nothing.
    let behind = Qcow2 { first: 40, second: vec![(0, 20)], clusters: vec![(5, far)], disk_size: 9 * CLUSTER };
    assert_eq!(inspect(&behind.bytes(0)).least, 40 * CLUSTER + 8);
    let within = Qcow2 { first: 14, second: vec![(0, 10)], clusters: vec![(5, far)], disk_size: 9 * CLUSTER };
    assert_eq!(inspect(&within.bytes(0)).least, far + CLUSTER, "within the first 64 KiB it does");
}

#[test]
fn a_qcow2_says_more_than_its_clusters_do() {
    let whole = Qcow2 { first: 2, second: vec![(0, 3)], clusters: Vec::new(), disk_size: 9 * CLUSTER }.bytes(0);
    let changed = |pieces: &[(u64, &[u8])]| {
        let mut bytes = whole.clone();
        pieces.iter().for_each(|(at, piece)| put(&mut bytes, *at, piece));
        inspect(&bytes).least
    };
    let far = (1_u64 << 30).to_be_bytes();
    // Counts: a table, and the blocks that it names. Snapshots. Keys.
    assert_eq!(changed(&[(48, &far), (56, &1_u32.to_be_bytes())]), (1 << 30) + 8);
    assert_eq!(changed(&[(48, &CLUSTER.to_be_bytes()), (56, &1_u32.to_be_bytes()), (CLUSTER, &far)]), (1 << 30) + 1);
    assert_eq!(changed(&[(60, &3_u32.to_be_bytes()), (64, &far)]), (1 << 30) + 120);
    let keys = [&0x0537_be77_u32.to_be_bytes()[..], &16_u32.to_be_bytes(), &far, &500_u64.to_be_bytes()].concat();
    assert_eq!(changed(&[(112, &keys)]), (1 << 30) + 500);
    let bitmaps =
        [&0x2385_2875_u32.to_be_bytes()[..], &24_u32.to_be_bytes(), &[0; 8], &300_u64.to_be_bytes(), &far].concat();
    assert_eq!(changed(&[(112, &bitmaps)]), (1 << 30) + 300);
    assert_eq!(
        changed(&[(112, &[&[0xaa; 4][..], &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], &bitmaps].concat())]),
        (1 << 30) + 300
    );
    // Entries with parts: the second of two parts of a cluster is written.
    let entry = [&((1_u64 << 30) | (1 << 63)).to_be_bytes()[..], &0b10_u64.to_be_bytes()].concat();
    let parts = changed(&[(72, &(1_u64 << 4).to_be_bytes()), (3 * CLUSTER, &entry)]);
    assert_eq!(parts, (1 << 30) + 2 * CLUSTER / 32);
}

/// A VMDK of grains of 4 KiB, with tables of 16 grains.
fn vmdk(grains: &[(u32, u32)], flags: u32) -> Vec<u8> {
    let mut bytes = fake::sparse();
    let capacity = 1000_u64;
    put(&mut bytes, 8, &(3 | flags).to_le_bytes());
    put(&mut bytes, 12, &capacity.to_le_bytes());
    put(&mut bytes, 20, &8_u64.to_le_bytes());
    put(&mut bytes, 44, &16_u32.to_le_bytes());
    put(&mut bytes, 56, &200_u64.to_le_bytes());
    let tables = capacity.div_ceil(8 * 16) as u32;
    for table in 0..tables {
        put(&mut bytes, 200 * 512 + u64::from(table) * 4, &(201 + table).to_le_bytes());
        put(&mut bytes, (201 + u64::from(table)) * 512, &[0; 64]);
    }
    for (grain, place) in grains {
        put(&mut bytes, (201 + u64::from(grain / 16)) * 512 + u64::from(grain % 16) * 4, &place.to_le_bytes());
    }
    bytes
}

#[test]
fn a_vmdk_reaches_to_its_last_grain() {
    assert_eq!(inspect(&vmdk(&[], 0)).least, 208 * 512 + 64);
    let whole = vmdk(&[(0, 400), (77, 500), (3, 1), (124, 300)], 0);
    assert_eq!(inspect(&whole).least, 500 * 512 + 4096);
    // The last one of 1000 sectors has no more than eight.
    assert_eq!(inspect(&vmdk(&[(124, 500)], 0)).least, 500 * 512 + 4096);
    assert_eq!(inspect(&vmdk(&[(125, 500)], 0)).least, 500 * 512 + 1, "behind the end of the disk");
    let mut whole = whole;
    whole.resize(508 * 512, 0);
    assert_eq!(refusal(Format::Vmdk, &whole), None);
    for cut in [whole.len() / 2, whole.len() * 9 / 10, whole.len() - 4096, whole.len() - 1] {
        assert!(matches!(refusal(Format::Vmdk, &whole[..cut]), Some(Refusal::Short { .. })), "{cut}");
    }
    // Compressed grains begin with their length.
    let mut packed = vmdk(&[(0, 300), (77, 400)], (1 << 16) | (1 << 17));
    put(&mut packed, 400 * 512 + 8, &1000_u32.to_le_bytes());
    assert_eq!(inspect(&packed).least, 400 * 512 + 12 + 1000);
    // One that was written as a stream ends with a footer.
    let streamed = fake::streamed();
    let cut = &streamed[..streamed.len() - 512];
    assert!(matches!(refusal(Format::Vmdk, cut), Some(Refusal::Short { .. })));
    let early = {
        let mut inspector = Inspector::new();
        inspector.feed(cut);
        inspector.finish_early()
    };
    assert_eq!((early.danger, early.least), (None, 0), "the end was not looked at");
}

#[test]
fn a_vdi_has_the_blocks_that_it_says() {
    let mut bytes = fake::vdi(1);
    for (at, value) in [(0x154, 512_u32), (0x158, 4096), (0x178, 1 << 20), (0x180, 10), (0x184, 3)] {
        put(&mut bytes, at, &value.to_le_bytes());
    }
    assert_eq!(inspect(&bytes).least, 4096 + (3 << 20));
    // The last block of the disk may end with it.
    put(&mut bytes, 0x170, &(fake::DISK - 1000).to_le_bytes());
    assert_eq!(inspect(&bytes).least, 4096 + (3 << 20) - 1000);
    assert!(matches!(refusal(Format::Vdi, &bytes), Some(Refusal::Short { .. })));
    put(&mut bytes, 4096 + (3 << 20) - 1001, &[0]);
    assert_eq!(refusal(Format::Vdi, &bytes), None);
    assert!(matches!(refusal(Format::Vdi, &bytes[..bytes.len() - 1]), Some(Refusal::Short { .. })));
}

#[test]
fn a_dynamic_vhd_ends_with_its_footer() {
    let whole = fake::vhd(3);
    assert_eq!(refusal(Format::Vhd, &whole), None);
    for cut in [600, whole.len() / 2, whole.len() - 512, whole.len() - 1] {
        let refused = refusal(Format::Vhd, &whole[..cut]);
        // Old versions of Virtual PC wrote a byte less.
        let old = cut == whole.len() - 1;
        assert_eq!(matches!(refused, Some(Refusal::Short { .. })), !old, "{cut} {refused:?}");
    }
}

#[test]
fn a_vhdx_reaches_to_its_last_block() {
    let blocks = b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
    let mut whole = fake::vhdx(false);
    for table in [192_u64 << 10, 256 << 10] {
        put(&mut whole, table + 8, &[3]);
        let entry = [&blocks[..], &(2_u64 << 20).to_le_bytes(), &(1_u32 << 20).to_le_bytes(), &[1, 0, 0, 0]].concat();
        put(&mut whole, table + 80, &entry);
    }
    assert_eq!(inspect(&whole).least, 4 << 20, "to the end of the metadata");
    // Blocks of 32 MiB, of which a disk of 10 MiB has one.
    let entry = |at: u64, state: u64| ((at << 20) | state).to_le_bytes();
    put(&mut whole, 2 << 20, &entry(4, 6));
    let found = inspect(&whole);
    assert_eq!((found.danger, found.least), (None, (4 << 20) + fake::DISK));
    assert!(matches!(refusal(Format::Vhdx, &whole), Some(Refusal::Short { .. })));
    for state in [0, 1, 2, 3, 5] {
        let mut other = whole.clone();
        put(&mut other, 2 << 20, &entry(900, state));
        assert_eq!(inspect(&other).least, 4 << 20, "{state}: not there");
    }
    whole.resize((4 << 20) + fake::DISK as usize, 0);
    assert_eq!(refusal(Format::Vhdx, &whole), None);
    assert_eq!(leaping(&whole, Inspector::sparing()), inspect(&whole));
    for cut in [100 << 10, 1 << 20, 3 << 20, whole.len() / 2, whole.len() - (1 << 20), whole.len() - 1] {
        let refused = refusal(Format::Vhdx, &whole[..cut]);
        assert!(matches!(refused, Some(Refusal::Short { .. })), "{cut} {refused:?}");
    }
}

#[test]
fn a_disc_and_a_squashfs_say_how_long_they_are() {
    let mut disc = fake::iso();
    put(&mut disc, (32 << 10) + 80, &100_u32.to_le_bytes());
    put(&mut disc, (32 << 10) + 128, &2048_u16.to_le_bytes());
    assert_eq!(refusal(Format::Iso, &disc), Some(Refusal::Short { size: 40 << 10, least: 200 << 10 }));
    disc.resize(200 << 10, 0);
    assert_eq!(refusal(Format::Iso, &disc), None);
    // Only the primary volume has that field, and blocks are of a size that exists.
    disc.truncate(100 << 10);
    for (at, piece) in [(0, [0, 0x43]), (128, [0, 0])] {
        let mut other = disc.clone();
        put(&mut other, (32 << 10) + at, &piece);
        assert_eq!(refusal(Format::Iso, &other), None);
    }
    let mut packed = vec![0; 4096];
    put(&mut packed, 0, b"hsqs");
    put(&mut packed, 28, &4_u16.to_le_bytes());
    put(&mut packed, 40, &5000_u64.to_le_bytes());
    assert_eq!(refusal(Format::Squashfs, &packed), Some(Refusal::Short { size: 4096, least: 5000 }));
    assert_eq!(refusal(Format::Tar, &packed), None);
}

/// Bytes as they are have no length of their own; what has no format is what its bytes say.
#[test]
fn only_a_raw_image_may_be_cut() {
    let mut disc = fake::iso();
    put(&mut disc, (32 << 10) + 80, &100_u32.to_le_bytes());
    put(&mut disc, (32 << 10) + 128, &2048_u16.to_le_bytes());
    let found = inspect(&disc);
    let short = Err(Refusal::Short { size: 40 << 10, least: 200 << 10 });
    assert_eq!(check(&found, Some(Format::Raw), &Rules::default()), Ok(()));
    assert_eq!(check(&found, None, &Rules::default()), short);
    assert_eq!(check(&found, Some(Format::Iso), &Rules { off: vec![Format::Iso] }), Ok(()));
    let text = check(&found, None, &Rules::default()).unwrap_err().to_string();
    assert_eq!(text, "The file ends early: it has 40960 bytes, and by its own headers at least 204800.");
}

#[test]
fn a_source_without_bytes_is_none_for_formats_that_have_some() {
    let none = |format| check_brought(0, format, &Rules::default()).is_err();
    for format in [None, Some(Format::Raw), Some(Format::Ami), Some(Format::Aki), Some(Format::Ari)] {
        assert!(!none(format), "{format:?}");
    }
    for format in [Format::Qcow2, Format::Vmdk, Format::Iso, Format::Tar, Format::Ploop, Format::Squashfs] {
        assert!(none(Some(format)), "{format:?}");
        assert_eq!(check_brought(1, Some(format), &Rules::default()), Ok(()));
        assert_eq!(check_brought(0, Some(format), &Rules { off: vec![format] }), Ok(()));
    }
}

proptest! {
    /// A hole is what zeros are.
    #[test]
    fn holes_are_zeros(
        number in 0..6_usize, holes in prop::collection::vec((any::<prop::sample::Index>(), 0..200_000_usize), 0..5),
    ) {
        let mut bytes = match number {
            0 => Qcow2 { first: 20, second: vec![(0, 21)], clusters: vec![(5, 50 * CLUSTER)], disk_size: 9 * CLUSTER }.bytes(0),
            1 => vmdk(&[(0, 400), (77, 500)], 0),
            2 => fake::streamed(),
            3 => fake::vhdx(false),
            4 => fake::vhd_fixed(vec![1; 9000]),
            _ => fake::iso(),
        };
        let mut expected = bytes.clone();
        let mut inspector = Inspector::new();
        let mut at = 0;
        let mut places: Vec<_> = holes.iter().map(|(place, length)| (place.index(bytes.len()), *length)).collect();
        places.sort_unstable();
        for (place, length) in places {
            if place < at {
                continue;
            }
            let end = (place + length).min(bytes.len());
            expected[place..end].fill(0);
            inspector.feed(&bytes[at..place]);
            inspector.feed_zeros((end - place) as u64, || Ok::<_, ()>(())).unwrap();
            at = end;
        }
        inspector.feed(&bytes.split_off(at));
        prop_assert_eq!(inspector.finish(), inspect(&expected));
    }

    /// Tables that point anywhere: nothing overflows, and nothing is held without end.
    #[test]
    fn no_entry_makes_it_panic(words in prop::collection::vec(any::<u64>(), 1..300), at in 0..2000_u64) {
        let disk = Qcow2 { first: 2, second: vec![(0, 3)], clusters: vec![(1, 1 << 40)], disk_size: 9 * CLUSTER }.bytes(0);
        for mut bytes in [disk, vmdk(&[(0, 400)], 1 << 16), fake::vhdx(false), fake::vdi(1)] {
            for (number, word) in words.iter().enumerate() {
                put(&mut bytes, 8 + at * 8 + number as u64 * 8, &word.to_be_bytes());
            }
            prop_assert_eq!(inspect(&bytes).size, bytes.len() as u64);
        }
    }
}
