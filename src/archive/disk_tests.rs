//! Disks inside of archives and compressed files: they are inspected as they are after unpacking.

use std::io::Cursor;

use super::fake::{PACKINGS, archive, header, manifest, member, pack, read, record, rootfs, with};
use super::tests::made;
use super::*;
use crate::inspect::{Danger, Detected, Inspector};

/// The disk of the fixtures: a qcow2 by its beginning, a VHD by its end.
pub(super) fn two() -> Vec<u8> {
    let mut bytes = vec![0; 300_001];
    let mut put = |at: usize, piece: &[u8]| bytes[at..at + piece.len()].copy_from_slice(piece);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, b"\0\0\0\x10\0\0\0\0\0\x10\0\0");
    put(100, b"\0\0\0\x68");
    (1..12).for_each(|place| put(place * 24_576, b"data"));
    put(299_489, b"conectix");
    put(299_549, b"\0\0\0\x02");
    bytes
}

fn inspect(bytes: &[u8]) -> Inspection {
    let mut inspector = Inspector::new();
    inspector.feed(bytes);
    inspector.finish()
}

/// A qcow2 over another file.
fn backed() -> Vec<u8> {
    let mut disk = two()[..200_000].to_vec();
    disk[15] = 1;
    disk
}

fn disk_of(bytes: &[u8]) -> Inspection {
    read(bytes).unwrap().disk.unwrap()
}

#[test]
fn a_disk_with_holes_is_inspected_as_a_whole() {
    let expected = inspect(&two());
    assert_eq!(expected.danger, Some(Danger::Two(Detected::Qcow2, Detected::Vhd)));
    for (name, bytes) in [
        made!("two-gnu.tar.gz"),
        made!("two-oldgnu.tar.gz"),
        made!("two-0.0.tar.gz"),
        made!("two-0.1.tar.gz"),
        made!("two-1.0.tar.gz"),
        made!("two-small.squashfs"),
        made!("two-large.squashfs"),
    ] {
        assert_eq!(disk_of(bytes), expected, "{name}");
    }
}

#[test]
fn a_disk_in_an_archive_is_inspected_whatever_it_is_packed_in() {
    for disk in [two(), backed(), two()[..299_000].to_vec(), b"text".to_vec(), Vec::new()] {
        for members in [
            [manifest(), member("rootfs.img", b'0', &disk), member("templates/a", b'0', b"a")],
            [member("./rootfs.img", b'0', &disk), member("templates/a", b'0', b"a"), manifest()],
        ] {
            for packing in PACKINGS {
                let found = disk_of(&pack(packing, &archive(&members)));
                assert_eq!(found, inspect(&disk), "{packing:?}");
            }
        }
    }
    assert_eq!(read(&archive(&[manifest(), rootfs()])).unwrap().disk, None);
}

/// A disk is read to its end, so an archive that ends in it has not all of it.
#[test]
fn an_archive_that_ends_within_its_disk_is_refused() {
    let noise: Vec<u8> = (0..90_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let members = archive(&[manifest(), member("rootfs.img", b'0', &noise)]);
    for packing in PACKINGS {
        let packed = pack(packing, &members);
        let found = read(&packed[..packed.len() * 2 / 3]);
        assert!(matches!(found, Err(BundleError::Truncated)), "{packing:?} {found:?}");
    }
}

#[test]
fn maps_of_holes_that_make_no_sense() {
    let sparse = |records: &[(&str, &str)], content: &[u8]| {
        let records: Vec<u8> =
            records.iter().flat_map(|(name, value)| record(&format!("GNU.sparse.{name}"), value)).collect();
        let disk = [member("@", b'x', &records), member("a", b'0', content)].concat();
        read(&archive(&[manifest(), disk])).map(|bundle| bundle.disk)
    };
    let named = ("name", "rootfs.img");
    let good = sparse(
        &[("major", "1"), ("minor", "0"), named, ("realsize", "600")],
        &[b"1\n0\n600\n".to_vec(), vec![0; 504], vec![7; 600]].concat(),
    );
    assert_eq!(good.unwrap(), Some(inspect(&[7; 600])));
    let good = sparse(&[named, ("size", "900"), ("numblocks", "2"), ("map", "100,10,500,0")], &[7; 10]);
    assert_eq!(good.unwrap().unwrap().size, 900);
    let disk = backed();
    let (size, all) = (disk.len().to_string(), format!("0,{}", disk.len()));
    for (records, content) in [
        // For other programs these are no maps, and the file is what is there.
        (&[named, ("foo", "1")][..], &disk[..]),
        (&[named, ("minor", "0")], &disk),
        (&[named], &disk),
        (&[named, ("realsize", "0"), ("offset", "0"), ("numbytes", "0")], &disk),
        (&[named, ("size", &size), ("map", &all)], &disk),
        (&[named, ("size", &size), ("numblocks", "2"), ("map", &all)], &disk),
        (&[named, ("size", &size), ("map", &all), ("numblocks", "1")], &disk),
        (&[named, ("size", &size), ("numblocks", "1"), ("map", &all), ("foo", "1")], &disk),
        (
            &[named, ("major", "1"), ("realsize", "600")],
            &[b"1\n0\n600\n".to_vec(), vec![0; 504], vec![7; 600]].concat(),
        ),
        (&[named, ("major", "2"), ("minor", "0"), ("realsize", "600")], &disk),
        (&[named, ("major", "0"), ("minor", "2"), ("size", &size), ("numblocks", "1"), ("map", &all)], &disk),
        // They take one of two.
        (&[named, ("size", "900"), ("size", "0"), ("numblocks", "1"), ("map", "0,0")], b""),
        (&[named, ("size", "9"), ("numblocks", "2"), ("offset", "0"), ("numbytes", "0"), ("map", "5,1")], b"7"),
        // Bytes that the map has no place for.
        (&[named, ("size", &size), ("numblocks", "1"), ("map", "0,0")], &disk),
    ] {
        let found = sparse(records, content);
        assert!(matches!(found, Err(BundleError::Damaged(..))), "{records:?} {found:?}");
    }
    // The name of a file with holes may come last.
    let records: Vec<u8> =
        [("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", "8,1"), ("path", "rootfs.img")]
            .iter()
            .flat_map(|(name, value)| record(name, value))
            .collect();
    let last = [member("@", b'x', &records), member("a", b'0', b"7")].concat();
    assert_eq!(disk_of(&archive(&[manifest(), last])), inspect(b"\0\0\0\0\0\0\0\x007"));
    for (records, content) in [
        // Pieces that overlap, lie in no order, or behind the end; numbers that are none.
        (&[named, ("size", "900"), ("numblocks", "2"), ("map", "0,10,5,10")][..], &[7; 20][..]),
        (&[named, ("size", "900"), ("numblocks", "2"), ("map", "100,10,5,10")], &[7; 20]),
        (&[named, ("size", "100"), ("numblocks", "1"), ("map", "95,10")], &[7; 10]),
        (&[named, ("map", "18446744073709551615,2")], &[7; 10]),
        (&[named, ("map", "1,x")], &[7; 10]),
        (&[named, ("map", "1")], &[7; 10]),
        (&[named, ("numbytes", "10")], &[7; 10]),
        // More than there is.
        (&[named, ("size", "900"), ("numblocks", "1"), ("map", "0,600")], &[7; 10]),
        (&[named, ("major", "1"), ("minor", "0"), ("realsize", "600")], b"9\n0\n600\n"),
        (&[named, ("major", "1"), ("minor", "0"), ("realsize", "600")], &[b'1'; 512]),
        (&[named, ("major", "1"), ("minor", "0"), ("realsize", "600")], b""),
    ] {
        let found = sparse(records, content);
        assert!(matches!(found, Err(BundleError::Damaged(..))), "{records:?} {found:?}");
    }
}

/// Judges the members of a file: what each is, as far as it is a disk.
fn members_of(bytes: &[u8]) -> Result<Vec<Inspection>, BundleError> {
    let mut all = Vec::new();
    inspect_members(Cursor::new(bytes), bytes.len() as u64, &|| true, |found| {
        all.push(*found);
        Ok::<_, BundleError>(())
    })?;
    Ok(all)
}

#[test]
fn every_member_of_an_archive_is_inspected() {
    let ova = archive(&[
        member("machine.ovf", b'0', b"<Envelope/>"),
        member("files", b'5', b""),
        member("disk1.vmdk", b'0', &backed()),
        member("link", b'2', b""),
        member("disk2.vmdk", b'0', &two()),
    ]);
    let expected = [inspect(b"<Envelope/>"), inspect(&backed()), inspect(&two())];
    for packing in PACKINGS {
        assert_eq!(members_of(&pack(packing, &ova)).unwrap(), expected, "{packing:?}");
    }
    // A large disk may be in parts, which count as one.
    let disk = two();
    let parts: Vec<_> = disk
        .chunks(90_000)
        .enumerate()
        .map(|(number, part)| member(&format!("disk.vmdk.{number:09}"), b'0', part))
        .collect();
    let parts = [parts, vec![member("other.vmdk.000000000", b'0', b"x"), member("note", b'0', b"y")]].concat();
    // Each is a file too.
    let own = |part: &[u8]| {
        let mut inspector = Inspector::new();
        inspector.feed(part);
        inspector.finish_early()
    };
    let mut expected: Vec<_> = disk.chunks(90_000).map(own).collect();
    expected.extend([inspect(&disk), own(b"x"), inspect(b"x"), inspect(b"y")]);
    for packing in PACKINGS {
        let found = members_of(&pack(packing, &archive(&parts))).unwrap();
        assert_eq!(found, expected, "{packing:?}");
    }
    for other in [b"no archive at all".to_vec(), two(), b"hsqs".to_vec(), Vec::new()] {
        assert_eq!(members_of(&other).unwrap(), []);
    }
    assert!(matches!(members_of(&ova[..ova.len() - 2000]), Err(BundleError::Truncated)));
}

/// Whatever a program takes for an archive, and for a file in it.
#[test]
fn no_member_of_an_archive_is_passed_over() {
    let disk = backed();
    let danger = |members: &[Vec<u8>]| {
        let found = members_of(&archive(members)).unwrap();
        assert!(found.iter().any(|found| found.danger == Some(Danger::BackingFile)), "{found:?}");
    };
    // Without the mark of the later forms; with a sum of signed bytes; called what other files begin with.
    let old = |name: &[u8]| {
        let header = with(&header(name, b'0', disk.len() as u64), 257, &[0; 8]);
        [header, member("", b'0', &disk)[512..].to_vec()].concat()
    };
    danger(&[old(b"disk")]);
    danger(&[member("hsqs", b'0', &disk)]);
    let mut signed = old(b"disk\xff");
    let sum = u32::from_str_radix(std::str::from_utf8(&signed[148..155]).unwrap(), 8).unwrap() - 256;
    signed[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
    danger(&[signed]);
    // Of a kind that is not known.
    danger(&[member("disk", b'Z', &disk)]);
    let parts = |numbers: &[&str]| {
        let parts: Vec<_> = numbers.iter().map(|number| member(number, b'0', &disk)).collect();
        members_of(&archive(&parts)).map_err(|error| error.to_string())
    };
    // One part may be opened by itself.
    let hidden = [member("disk.000000000", b'0', &[0; 600]), member("disk.000000001", b'0', &disk)];
    danger(&hidden);
    // Any other order gives another file after unpacking.
    for numbers in [
        &["d.000000001"][..],
        &["d.000000000", "d.000000000"],
        &["d.000000000", "d.000000002"],
        &["d.000000000", "note", "d.000000001"],
        &["d.000000000", "note", "a/d.000000000"],
    ] {
        assert_eq!(parts(numbers).unwrap_err(), "The parts of a file in the tarball are not in their order");
    }
    assert!(members_of(&archive(&[member("d.000000000", b'2', b"")])).is_err());
    let directory = members_of(&archive(&[member("x/", b'5', &disk)])).unwrap_err();
    assert_eq!(directory.to_string(), "A directory in the tarball has content");
}

/// Tables of a disk may lie in its holes, where a few bytes stand for any number of zeros.
#[test]
fn tables_in_a_hole_take_no_time() {
    let mut disk = two()[..512].to_vec();
    disk[20..24].copy_from_slice(&21_u32.to_be_bytes());
    disk[48..56].copy_from_slice(&(1_u64 << 21).to_be_bytes());
    disk[56..60].copy_from_slice(&[0xff; 4]);
    let hole = with(&header(b"rootfs.img", b'S', 512), 483, &[0x80]);
    let hole = with(&hole, 487, &(1_u64 << 62).to_be_bytes());
    let hole = [with(&with(&hole, 386, b"00000000000\0"), 398, b"00000001000\0"), disk].concat();
    let bytes = archive(&[hole, manifest()]);
    assert_eq!(disk_of(&bytes).danger, Some(Danger::Broken("its tables are too long")));
    // Whatever else is in a hole, the caller can stop it.
    let asked = std::cell::Cell::new(0);
    let stopped = super::read(Cursor::new(&bytes), bytes.len() as u64, &|| {
        asked.set(asked.get() + 1);
        asked.get() < 50
    });
    assert!(matches!(stopped, Err(BundleError::Stopped)), "{stopped:?}");
}

#[test]
fn what_is_in_a_compressed_file_is_inspected() {
    let unpacked = |bytes: &[u8]| inspect_unpacked(Cursor::new(bytes), bytes.len() as u64, &|| true, &|| true);
    for disk in [two(), backed(), Vec::new()] {
        for packing in PACKINGS.into_iter().filter(|packing| packing.is_compression()) {
            let packed = pack(packing, &disk);
            assert_eq!(unpacked(&packed).unwrap(), Some(inspect(&disk)), "{packing:?}");
            if !disk.is_empty() {
                let cut = unpacked(&packed[..packed.len() * 2 / 3]);
                assert!(matches!(cut, Err(BundleError::Truncated)), "{packing:?} {cut:?}");
            }
        }
        assert_eq!(unpacked(&disk).unwrap(), None);
    }
    // A disk may be all zeros, in an archive as well.
    let zeros = vec![0; 64 << 20];
    let packed = pack(Packing::Gzip, &zeros);
    assert_eq!(unpacked(&packed).unwrap(), Some(inspect(&zeros)));
    let members = archive(&[member("rootfs.img", b'0', &zeros), manifest()]);
    assert_eq!(disk_of(&pack(Packing::Gzip, &members)), inspect(&zeros));
    let stopped = inspect_unpacked(Cursor::new(&packed), 1, &|| false, &|| true);
    assert!(matches!(stopped, Err(BundleError::Stopped)));
    // Of one that is far larger than it looks, what is known of it counts.
    let bomb = [pack(Packing::Gzip, &backed()), pack(Packing::Gzip, &zeros).repeat(80)].concat();
    assert_eq!(unpacked(&bomb).unwrap().unwrap().danger, Some(Danger::BackingFile));
    let bomb = pack(Packing::Gzip, &header(b"disk", b'0', 1 << 40));
    let bomb = [bomb, pack(Packing::Gzip, &zeros).repeat(80)].concat();
    assert_eq!(members_of(&bomb).unwrap_err().to_string(), "The image unpacks to far more than it is");
    // Out of time, what is known of it counts.
    let late = inspect_unpacked(Cursor::new(&packed[..packed.len() / 2]), 1, &|| true, &|| false);
    assert_eq!(late.unwrap().unwrap().format, Detected::Raw);
}
