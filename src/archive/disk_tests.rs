//! Disks inside of archives and compressed files: they are inspected as they are after unpacking.

use std::io::Cursor;

use super::fake::{PACKINGS, archive, manifest, member, pack, read, rootfs};
use super::tests::made;
use super::*;
use crate::inspect::{Danger, Detected, Inspector};

/// The disk of the fixtures: a qcow2 by its beginning, a VHD by its end.
fn two() -> Vec<u8> {
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
    use super::fake::record;
    let sparse = |records: &[(&str, &str)], content: &[u8]| {
        let records: Vec<u8> =
            records.iter().flat_map(|(name, value)| record(&format!("GNU.sparse.{name}"), value)).collect();
        let disk = [member("@", b'x', &records), member("a", b'0', content)].concat();
        read(&archive(&[manifest(), disk])).map(|bundle| bundle.disk)
    };
    let named = ("name", "rootfs.img");
    let good = sparse(
        &[("major", "1"), named, ("realsize", "600")],
        &[b"1\n0\n600\n".to_vec(), vec![0; 504], vec![7; 600]].concat(),
    );
    assert_eq!(good.unwrap(), Some(inspect(&[7; 600])));
    let good = sparse(&[named, ("size", "900"), ("map", "100,10,500,0")], &[7; 10]);
    assert_eq!(good.unwrap().unwrap().size, 900);
    for (records, content) in [
        // Pieces that overlap, lie in no order, or behind the end; numbers that are none.
        (&[named, ("size", "900"), ("map", "0,10,5,10")][..], &[7; 20][..]),
        (&[named, ("size", "900"), ("map", "100,10,5,10")], &[7; 20]),
        (&[named, ("size", "100"), ("map", "95,10")], &[7; 10]),
        (&[named, ("map", "18446744073709551615,2")], &[7; 10]),
        (&[named, ("map", "1,x")], &[7; 10]),
        (&[named, ("map", "1")], &[7; 10]),
        (&[named, ("numbytes", "10")], &[7; 10]),
        // More than there is.
        (&[named, ("size", "900"), ("map", "0,600")], &[7; 10]),
        (&[named, ("major", "1"), ("realsize", "600")], b"9\n0\n600\n"),
        (&[named, ("major", "1"), ("realsize", "600")], &[b'1'; 512]),
        (&[named, ("major", "1"), ("realsize", "600")], b""),
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
    for packing in PACKINGS {
        let found = members_of(&pack(packing, &archive(&parts))).unwrap();
        assert_eq!(found, [inspect(&disk), inspect(b"x"), inspect(b"y")], "{packing:?}");
    }
    for other in [b"no archive at all".to_vec(), two(), b"hsqs".to_vec(), Vec::new()] {
        assert_eq!(members_of(&other).unwrap(), []);
    }
    assert!(matches!(members_of(&ova[..ova.len() - 2000]), Err(BundleError::Truncated)));
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
    // Out of time, what is known of it counts.
    let late = inspect_unpacked(Cursor::new(&packed[..packed.len() / 2]), 1, &|| true, &|| false);
    assert_eq!(late.unwrap().unwrap().format, Detected::Raw);
}

#[test]
fn a_compressed_file_is_unpacked_piece_by_piece() {
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for packing in PACKINGS.into_iter().filter(|packing| packing.is_compression()) {
        let packed = pack(packing, &noise);
        let mut whole = Vec::new();
        let pieces = |piece: &[u8]| {
            whole.extend_from_slice(piece);
            Ok(())
        };
        unpack(packing, Cursor::new(&packed), pieces).unwrap();
        assert!(whole == noise, "{packing:?}");
        let cut = unpack(packing, Cursor::new(&packed[..packed.len() / 2]), |_| Ok(()));
        assert!(matches!(cut, Err(BundleError::Truncated)), "{packing:?} {cut:?}");
        let gone = unpack(packing, Cursor::new(&packed), |_| Err(std::io::Error::other("gone")));
        assert!(matches!(gone, Err(BundleError::Io(_))), "{packing:?} {gone:?}");
    }
}
