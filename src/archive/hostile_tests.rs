//! Hostile images, made to be read differently from their looks, or without end.

use proptest::prelude::*;

use super::fake::{
    Endless, PACKINGS, YAML, archive, container, header, manifest, member, pack, read, record, refusal, rootfs, with,
};
use super::tests::{MADE, made};
use super::*;

fn refused(members: &[Vec<u8>]) -> String {
    refusal(&archive(members))
}

#[test]
fn there_is_one_manifest_and_it_is_a_plain_file() {
    assert_eq!(refused(&[manifest(), manifest(), rootfs()]), "The image has metadata.yaml twice");
    let spelt = member("././/metadata.yaml", b'0', YAML.as_bytes());
    assert_eq!(refused(&[manifest(), spelt, rootfs()]), "The image has metadata.yaml twice");
    for kind in *b"123456SMVDZ" {
        let odd = member("metadata.yaml", kind, b"");
        let words = if kind == b'S' { "The tarball is damaged" } else { "metadata.yaml is not a plain file" };
        let found = refused(&[odd.clone(), manifest(), rootfs()]);
        assert!(found == words || kind == b'S', "{} {found}", char::from(kind));
        assert!(read(&archive(&[manifest(), odd, rootfs()])).is_err(), "{}", char::from(kind));
    }
    assert_eq!(refused(&[member("metadata.yaml/", b'0', b"")]), "metadata.yaml is not a plain file");
    let sparse = [record("GNU.sparse.major", "1"), record("GNU.sparse.name", "metadata.yaml")].concat();
    let sparse = [member("x", b'x', &sparse), member("GNUSparseFile.1/metadata.yaml", b'0', YAML.as_bytes())].concat();
    assert_eq!(refused(&[sparse]), "metadata.yaml is not a plain file");
}

#[test]
fn there_is_one_root_and_it_is_no_link() {
    let disk = member("rootfs.img", b'0', b"QFI\xfb");
    assert_eq!(refused(&[disk.clone(), disk.clone(), manifest()]), "The image has two roots");
    assert_eq!(refused(&[disk.clone(), rootfs(), manifest()]), "The image has two roots");
    assert_eq!(refused(&[member("rootfs/a", b'0', b""), disk, manifest()]), "The image has two roots");
    for kind in *b"1234067" {
        assert_eq!(refused(&[member("rootfs", kind, b""), manifest()]), "rootfs is not a directory");
    }
    for kind in *b"123456" {
        assert_eq!(refused(&[member("rootfs.img", kind, b""), manifest()]), "rootfs.img is not a plain file");
    }
    assert!(read(&archive(&[rootfs(), rootfs(), member("rootfs/bin", b'2', b""), manifest()])).is_ok());
}

#[test]
fn names_stay_inside() {
    for (name, words) in [
        ("/metadata.yaml", "The image has a file with an absolute name"),
        ("/rootfs/x", "The image has a file with an absolute name"),
        ("../metadata.yaml", "The image has a file with .. in its name"),
        ("rootfs/../x", "The image has a file with .. in its name"),
        ("templates/x/..", "The image has a file with .. in its name"),
    ] {
        assert_eq!(refused(&[member(name, b'0', YAML.as_bytes()), manifest(), rootfs()]), words);
        let long = [member("././@LongLink", b'L', format!("{name}\0").as_bytes()), manifest()];
        assert_eq!(refused(&long), words);
        assert_eq!(refused(&[member("x", b'x', &record("path", name)), manifest()]), words);
    }
    let zero = member("x", b'x', &record("path", "a\0/../b"));
    assert_eq!(refused(&[zero, manifest()]), "The image has a file with a zero byte in its name");
    assert!(read(&archive(&[member("templates/..x", b'0', b""), manifest()])).is_ok());
}

/// A name can come from four places; every reader must choose alike.
#[test]
fn extensions_say_what_a_member_is_called() {
    let long = format!("{}/metadata.yaml", "./".repeat(200));
    let named = |extension: Vec<u8>| archive(&[extension, member("other", b'0', YAML.as_bytes()), rootfs()]);
    assert!(read(&named(member("@", b'L', long.as_bytes()))).is_ok());
    assert!(read(&named(member("@", b'x', &record("path", &long)))).is_ok());
    let attribute = [record("SCHILY.xattr.user.x", "a\nb=c\0\n"), record("path", "metadata.yaml")].concat();
    assert!(read(&named(member("@", b'x', &attribute))).is_ok());
    assert!(read(&named(member("@", b'K', &[b'k'; 300]))).is_err());
    let comment = member("pax_global_header", b'g', &record("comment", "0123456789"));
    assert!(read(&archive(&[comment, manifest(), rootfs()])).is_ok());
    for (name, value) in [("path", "metadata.yaml"), ("size", "0"), ("GNU.sparse.name", "x")] {
        let global = member("pax_global_header", b'g', &record(name, value));
        let words = "The tarball has one name or size for all of its members";
        assert_eq!(refused(&[global, manifest(), rootfs()]), words);
    }
    let (one, other) = (member("@", b'L', b"metadata.yaml"), member("@", b'x', &record("path", "x")));
    for pair in [[one.clone(), other.clone()], [other.clone(), one.clone()], [one.clone(), one], [other.clone(), other]]
    {
        assert_eq!(refusal(&named(pair.concat())), "A file in the tarball has two names");
    }
    // A size counts for the member, and not for an extension on the way.
    let sized = [member("@", b'x', &record("size", &YAML.len().to_string())), member("@", b'K', b"k")].concat();
    let mut content = YAML.as_bytes().to_vec();
    content.resize(512, 0);
    let sized = [sized, header(b"metadata.yaml", b'0', 99_999), content].concat();
    assert!(read(&archive(&[sized, rootfs()])).is_ok());
}

#[test]
fn extensions_that_make_no_sense() {
    for bytes in [
        b"".as_slice(),
        b"x",
        b"3 =",
        b"0 a=b\n",
        b"5 a=b\n",
        b"7 a=b\n",
        b"99 a=b\n",
        b"-6 a=b\n",
        b"+6 a=b\n",
        b"6 abc\n",
        b"18446744073709551616 a=b\n",
        b"6 a=b ",
        b"8 size=\n",
        b"10 size=x\n",
        b"11 size=-1\n",
        b"29 size=9223372036854775808\n",
        b"30 size=99999999999999999999\n",
    ] {
        let found = read(&archive(&[member("@", b'x', bytes), manifest(), rootfs()]));
        assert_eq!(found.is_ok(), bytes.is_empty(), "{:?} {found:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn sizes_out_of_this_world() {
    let gz = |bytes: &[u8]| pack(Packing::Gzip, bytes);
    for size in [1 << 33, 1 << 40, i64::MAX as u64] {
        for name in ["rootfs/sparse", "rootfs.img"] {
            let file = [header(name.as_bytes(), b'0', size), vec![0; 10_240]].concat();
            assert_eq!(
                (refusal(&file), refusal(&gz(&file))),
                ("The image file ends early.".into(), "The image file ends early.".into())
            );
        }
        let sparse = with(&header(b"rootfs.img", b'S', 0), 483, &[0x80]);
        let sparse = with(&sparse, 487, &size.to_be_bytes());
        assert_eq!(read(&archive(&[sparse, manifest()])).unwrap().root, Some(Root::VirtualMachine));
        let large = archive(&[header(b"metadata.yaml", b'0', size)]);
        assert_eq!(refusal(&large), "The image has a metadata.yaml of more than 1 MiB");
        for kind in *b"LKxg" {
            let large = archive(&[header(b"@", kind, size)]);
            assert_eq!(refusal(&large), "The image has a name or an attribute that is too long");
        }
    }
    let file = header(b"x", b'0', 0);
    for size in [
        *b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        [255; 12],
        *b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
        *b"99999999999\0",
        *b"-1\0\0\0\0\0\0\0\0\0\0",
    ] {
        let odd = with(&file, 124, &size);
        assert_eq!(refused(&[odd, manifest()]), "The tarball is damaged", "{size:?}");
    }
    // Of links some programs write a size, and no bytes.
    let link = header(b"rootfs/link", b'1', 1 << 20);
    assert!(read(&archive(&[link, manifest()])).is_ok());
    // Programs do not agree on what is behind a directory, nor on what this extension is.
    for (name, kind) in [("rootfs/", b'5'), ("rootfs", b'5'), ("rootfs/", b'0')] {
        let directory = member(name, kind, b"content");
        assert_eq!(refused(&[directory, manifest()]), "A directory in the tarball has content");
    }
    let named = member("@", b'x', &record("path", "a"));
    let old = with(&member("b/", b'0', b"content"), 156, &[0]);
    assert_eq!(refused(&[named, old]), "A directory in the tarball has content");
    let words = "The tarball has an extension that only some programs know";
    assert_eq!(refused(&[member("@", b'X', &record("path", "a")), manifest()]), words);
    let mut wrong = manifest();
    wrong[0] ^= 1;
    assert_eq!(refused(&[rootfs(), wrong]), "The tarball is damaged");
}

#[test]
fn a_manifest_of_a_mebibyte_and_no_more() {
    let long = |length: usize| {
        let mut yaml = YAML.as_bytes().to_vec();
        yaml.resize(length, b'\n');
        read(&archive(&[member("metadata.yaml", b'0', &yaml)]))
    };
    assert!(long(1 << 20).is_ok());
    assert!(matches!(long((1 << 20) + 1), Err(BundleError::TooMuch(_))));
}

/// One byte over and over, in every packing.
#[test]
fn bombs() {
    // A disk may be so much.
    let start = header(b"x", b'0', 1 << 40);
    let zeros = vec![0; 1 << 20];
    for packing in PACKINGS.into_iter().filter(|packing| *packing != Packing::Tar) {
        let bomb = if packing == Packing::Lzma {
            pack(packing, &[start.clone(), vec![0; 40 << 20]].concat())
        } else {
            [pack(packing, &start), pack(packing, &zeros).repeat(40)].concat()
        };
        assert!(bomb.len() < 200_000, "{packing:?} {}", bomb.len());
        assert_eq!(refusal(&bomb), "The image unpacks to far more than it is", "{packing:?}");
    }
}

/// A frame can ask for as much memory as it likes, for nothing.
#[test]
fn windows_are_bounded() {
    let words = "The image takes more memory to unpack than it may";
    let mut zstd = pack(Packing::Zstd, &container());
    // No size of its content, but a window of 256 MiB.
    zstd.splice(4.., [0, 18 << 3, 1, 0, 0]);
    assert_eq!(refusal(&zstd), words);
    zstd[5] = 17 << 3;
    assert_eq!(refusal(&zstd), "The image has no metadata.yaml.");
}

/// A window of any size is none of our business where the description is in front, and never filled with next to nothing.
#[test]
fn large_windows_stay_empty() {
    let mut lzma = pack(Packing::Lzma, &container());
    lzma[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    lzma[..3].copy_from_slice(b"\x5d\0\0");
    lzma[3..5].copy_from_slice(&[0xff, 0x5f]);
    assert_eq!(read(&lzma).unwrap().root, Some(Root::Container));
    let xz = |bytes: &[u8]| {
        let mut options = lzma_rust2::XzOptions::with_preset(0);
        options.lzma_options.dict_size = 192 << 20;
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        std::io::Write::write_all(&mut xz, bytes).unwrap();
        xz.finish().unwrap()
    };
    assert_eq!(read(&xz(&container())).unwrap().root, Some(Root::Container));
    let far = archive(&[member("a", b'0', &vec![7; 20 << 20]), container()]);
    assert_eq!(read(&xz(&far)).unwrap().root, Some(Root::Container));
    // Runs behind a header, in a window of 128 MiB.
    let block = |kind: u32, size: usize| (kind << 1 | (size as u32) << 3).to_le_bytes()[..3].to_vec();
    let run = [&block(1, 128 << 10)[..], &[0]].concat();
    let frame = |start: &[u8]| [b"\x28\xb5\x2f\xfd\0\x88".as_slice(), &block(0, start.len()), start].concat();
    let bomb = [frame(&header(b"x", b'0', 1 << 40)), run.repeat(3000)].concat();
    assert_eq!(refusal(&bomb), "The image unpacks to far more than it is");
    // Nothing is read behind the head, if all is in there: here, what could not be.
    let good = [frame(&container()), run.repeat(40), vec![0xff; 4 << 20]].concat();
    let taken = std::cell::Cell::new(0);
    let found = super::read(std::io::Cursor::new(&good), good.len() as u64, &|| {
        taken.set(taken.get() + 1);
        true
    });
    assert_eq!((found.unwrap().root, taken.get()), (Some(Root::Container), 1));
    // What is behind the head is found all the same, with the checksum at its end.
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ (n << 7)).to_le_bytes()).collect();
    assert_eq!(
        read(&pack(Packing::Zstd, &archive(&[member("a", b'0', &noise), container()]))).unwrap().root,
        Some(Root::Container)
    );
}

/// Streams with nothing in them, or next to nothing, of which a file can have millions.
#[test]
fn empty_streams_without_end() {
    let start = header(b"rootfs.img", b'0', 1 << 40);
    for packing in [Packing::Gzip, Packing::Bzip2, Packing::Xz, Packing::Zstd, Packing::Lz4] {
        for content in [b"".as_slice(), b"x"] {
            let stream = pack(packing, content);
            let file = [pack(packing, &start), stream.repeat((3 << 19) / stream.len())].concat();
            let small = matches!(packing, Packing::Bzip2 | Packing::Zstd | Packing::Lz4);
            let words = if small { "The archive is damaged" } else { "The image has next to nothing in it" };
            assert_eq!(refusal(&file), words, "{packing:?} {content:?}");
        }
    }
    let note = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(2000);
    assert_eq!(refusal(&[pack(Packing::Zstd, &start), note].concat()), "The archive is damaged");
}

#[test]
fn members_without_end() {
    for piece in
        [header(b"rootfs/x", b'0', 0), header(b"@", b'K', 0), [header(b"@", b'K', 600), vec![0; 1024]].concat()]
    {
        let meter = Meter::new(&|| true);
        let stream = Stream::open(Packing::Tar, ReadingWay::Whole, Endless { piece, at: 0 }, u64::MAX, &meter).unwrap();
        let mut members = TarEntries::new(stream, 10_000);
        let found = std::iter::from_fn(|| members.next().transpose()).find_map(Result::err);
        assert_eq!(found.unwrap().to_string(), "The image has too many files");
    }
    // A map of holes that goes on and on.
    let start = with(&header(b"rootfs/x", b'S', 0), 482, &[1]);
    let more = [&start[..], &vec![1; 512 * 1000]].concat();
    assert_eq!(refusal(&more), "The image file ends early.");
}

#[test]
fn squashed_images_are_asked_the_same() {
    for ((name, image), words) in [
        (made!("manifest-link.squashfs"), "metadata.yaml is not a plain file"),
        (made!("root-link.squashfs"), "rootfs is not a directory"),
        (made!("two-roots.squashfs"), "The image has two roots"),
        (made!("long.squashfs"), "The image has a metadata.yaml of more than 1 MiB"),
    ] {
        assert_eq!(refusal(image), words, "{name}");
    }
    // Names out of order could be there twice.
    let (_, image) = made!("stored.squashfs");
    let at = image.windows(6).rposition(|name| name == b"rootfs").unwrap();
    let unordered = [&image[..at], b"aaaaaa", &image[at + 6..]].concat();
    assert_eq!(refusal(&unordered), "The squashfs is damaged");
}

#[test]
fn files_that_end_anywhere() {
    // Where all is known early the rest is not missed.
    for packing in PACKINGS {
        let image = pack(packing, &container());
        for length in 0..image.len() {
            let _ = read(&image[..length]);
        }
    }
    for (name, image) in MADE {
        let step = if name.ends_with(".squashfs") { 11 } else { 61 };
        for length in (0..image.len()).step_by(step) {
            let _ = read(&image[..length]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes(which in 0..9_usize, mut bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let magics: [&[u8]; 9] = [b"\x04\x22\x4d\x18", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x5d\0\0", b"\x28\xb5\x2f\xfd", b"hsqs", b"QFI\xfb", b""];
        let end = magics[which].len().min(bytes.len());
        bytes[..end].copy_from_slice(&magics[which][..end]);
        let _ = read(&bytes);
    }

    #[test]
    fn any_header(at in 0..512_usize, change in prop::collection::vec(any::<u8>(), 1..30), which in 0..3_usize) {
        let at = at.min(512 - change.len());
        let image = archive(&[manifest(), member("@", b'x', &record("path", "rootfs/x")), member("x", b'0', b"")]);
        let (before, rest) = image.split_at([0, 1024, 2048][which]);
        let _ = read(&[before, &with(rest, at, &change)].concat());
    }

    #[test]
    fn any_damage(which in 0..MADE.len(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut image = MADE[which].1.to_vec();
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        let _ = read(&image);
    }

    /// In the packings where a checksum would find it first.
    #[test]
    fn any_damage_inside(packing in 0..PACKINGS.len(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut image = container();
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        let _ = read(&pack(PACKINGS[packing], &image));
    }
}
