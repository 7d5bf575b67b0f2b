//! Images as tools make them, and what is made here.

use std::collections::BTreeMap;
use std::io::{Cursor, Seek, SeekFrom};

use proptest::prelude::*;

use super::fake::{PACKINGS, archive, container, manifest, member, pack, read, refusal, rootfs};
use super::*;
use crate::error::{Error, Kind};
use crate::image::{Architecture, Timestamp, Vocabulary};

/// An image of `tests/fixtures/bundle`, where `make` says how each was made.
macro_rules! made {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../tests/fixtures/bundle/", $name)).as_slice())
    };
}
pub(super) use made;

pub(super) const MADE: [(&str, &[u8]); 29] = [
    made!("posix.tar.gz"),
    made!("posix.tar.bz2"),
    made!("posix.tar.xz"),
    made!("posix.tar.lzma"),
    made!("posix.tar.zst"),
    made!("v7.tar.gz"),
    made!("pigz.tar.gz"),
    made!("pbzip2.tar.bz2"),
    made!("pixz.tar.xz"),
    made!("filters.tar.xz"),
    made!("long.tar.zst"),
    made!("sparse-gnu.tar.gz"),
    made!("sparse-posix.tar.gz"),
    made!("split.tar.xz"),
    made!("gzip.squashfs"),
    made!("xz.squashfs"),
    made!("xz-x86.squashfs"),
    made!("lzma.squashfs"),
    made!("zstd.squashfs"),
    made!("posix.tar.lz4"),
    made!("blocks.tar.lz4"),
    made!("lz4.squashfs"),
    made!("lzo.squashfs"),
    made!("lzo-blocks.squashfs"),
    made!("stored.squashfs"),
    made!("disk.squashfs"),
    made!("split.squashfs"),
    made!("large.squashfs"),
    made!("whole-blocks.squashfs"),
];

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn images_that_tools_made_are_read() {
    let manifest = Manifest {
        architecture: Architecture::X86_64,
        created_at: Timestamp(1_424_284_563_000_000),
        expires_at: Some(Timestamp(1_734_284_563_000_000)),
        properties: properties(&[
            ("architecture", "x86_64"),
            ("description", "Debian 12 (20240101)"),
            ("os", "Debian"),
            ("release", "12"),
            ("serial", "20240101"),
            ("variant", ""),
        ]),
    };
    for (name, bytes) in MADE {
        let root = match name {
            "split.tar.xz" | "split.squashfs" => None,
            _ if name.starts_with("sparse") || name.starts_with("disk") => Some(Root::VirtualMachine),
            _ => Some(Root::Container),
        };
        let found = read(bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(found.disk.is_some(), root == Some(Root::VirtualMachine), "{name}");
        assert_eq!(found, Bundle { manifest: manifest.clone(), root, disk: found.disk }, "{name}");
        assert!(name.ends_with(Packing::of(bytes).unwrap().extension()), "{name}");
    }
}

#[test]
fn every_packing_is_told_by_its_bytes() {
    for packing in PACKINGS {
        let packed = pack(packing, &container());
        assert_eq!(Packing::of(&packed[..packed.len().min(Packing::HEAD)]), Some(packing));
        assert_eq!(read(&packed).unwrap().root, Some(Root::Container), "{packing:?}");
    }
    for (bytes, packing) in [(b"QFI\xfb\0\0\0\x03".as_slice(), Packing::Qcow2), (b"hsqs", Packing::Squashfs)] {
        assert_eq!(Packing::of(bytes), Some(packing));
    }
    for bytes in [b"".as_slice(), b"\x1f", b"BZ", b"PK\x03\x04", &[0; 512], &[b'a'; 512]] {
        assert_eq!(Packing::of(bytes), None, "{bytes:?}");
    }
}

/// Programs that use all cores write such files, and so does `cat`.
#[test]
fn an_archive_may_be_packed_in_pieces() {
    let whole = archive(&[member("a", b'0', &[7; 5000]), rootfs(), manifest()]);
    for packing in [Packing::Gzip, Packing::Bzip2, Packing::Xz, Packing::Zstd, Packing::Lz4] {
        let pieces: Vec<Vec<u8>> = whole.chunks(700).map(|piece| pack(packing, piece)).collect();
        assert_eq!(read(&pieces.concat()).unwrap().root, Some(Root::Container), "{packing:?}");
    }
    let note = [b"\x50\x2a\x4d\x18\x05\0\0\0hello".as_slice(), &pack(Packing::Zstd, &whole[700..])].concat();
    let zstd = [pack(Packing::Zstd, &whole[..700]), note].concat();
    assert_eq!(read(&zstd).unwrap().root, Some(Root::Container));
    let note = [b"\x50\x2a\x4d\x18\x05\0\0\0hello".as_slice(), &pack(Packing::Lz4, &whole[700..])].concat();
    let lz4 = [pack(Packing::Lz4, &whole[..700]), note].concat();
    assert_eq!(read(&lz4).unwrap().root, Some(Root::Container));
}

#[test]
fn what_is_no_image_is_refused_in_the_words_of_lxd() {
    for (bytes, words) in [
        (Vec::new(), "The image file is empty."),
        (b"junk".to_vec(), "The image file is packed in a way that is not known."),
        (b"QFI\xfb\0\0\0\x03".to_vec(), "The image has no metadata.yaml."),
        (archive(&[]), "The image file is packed in a way that is not known."),
        (pack(Packing::Xz, &archive(&[])), "The image has no metadata.yaml."),
        (archive(&[rootfs()]), "The image has no metadata.yaml."),
        (archive(&[member("x/metadata.yaml", b'0', b"")]), "The image has no metadata.yaml."),
        (container()[..700].to_vec(), "The image file ends early."),
        (container()[..1400].to_vec(), "The image file ends early."),
        (pack(Packing::Gzip, &container())[..100].to_vec(), "The image file ends early."),
        (pack(Packing::Bzip2, &container())[..100].to_vec(), "The image file ends early."),
        (pack(Packing::Xz, &container())[..100].to_vec(), "The image file ends early."),
        (pack(Packing::Lzma, &container())[..100].to_vec(), "The image file ends early."),
        (pack(Packing::Zstd, &container())[..100].to_vec(), "The image file ends early."),
        (pack(Packing::Lz4, &container())[..100].to_vec(), "The image file ends early."),
        ([b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice(), &[255; 100]].concat(), "The archive is damaged"),
    ] {
        assert_eq!(refusal(&bytes), words);
        let error: Error = read(&bytes).unwrap_err().into();
        assert_eq!((error.kind(), error.message()), (Kind::BadContent, words));
    }
}

/// What came before is read all the same, if all that matters is in it, as the tools do that LXD has it unpacked by.
#[test]
fn a_file_that_ends_behind_what_matters() {
    let noise: Vec<u8> =
        (0..200_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ (n << 7)).to_le_bytes()).collect();
    let whole = archive(&[manifest(), rootfs(), member("rootfs/noise", b'0', &noise)]);
    for packing in [Packing::Gzip, Packing::Xz, Packing::Lzma, Packing::Zstd] {
        let packed = pack(packing, &whole);
        assert_eq!(read(&packed[..packed.len() - 1000]).unwrap().root, Some(Root::Container), "{packing:?}");
        assert_eq!(refusal(&packed[..60]), "The image file ends early.", "{packing:?}");
    }
    // A block of lz4 is unpacked as a whole, and may be larger than what is free.
    let large = archive(&[member("a", b'0', &noise.repeat(8)), manifest(), rootfs()]);
    let mut info = lz4_flex::frame::FrameInfo::new();
    info.block_size = lz4_flex::frame::BlockSize::Max4MB;
    let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    std::io::Write::write_all(&mut writer, &large).unwrap();
    assert_eq!(read(&writer.finish().unwrap()).unwrap().root, Some(Root::Container));
}

/// The manifest may be anywhere, and what comes when all is known is not looked at.
#[test]
fn reading_ends_when_all_is_known() {
    let junk = vec![0xff; 4096];
    for members in [[manifest(), rootfs(), junk.clone()], [rootfs(), manifest(), junk.clone()]] {
        assert_eq!(read(&members.concat()).unwrap().root, Some(Root::Container));
    }
    let machine = [member("./metadata.yaml", b'0', fake::YAML.as_bytes()), member("./rootfs.img", b'0', b"QFI\xfb")];
    assert_eq!(read(&archive(&machine)).unwrap().root, Some(Root::VirtualMachine));
    // Some archives just stop.
    assert_eq!(read(&manifest()).unwrap().root, None);
    assert_eq!(refusal(&[manifest(), junk].concat()), "The tarball is damaged");
}

/// Skips unneeded members of an uncompressed archive.
#[test]
fn a_plain_archive_is_gone_through_in_leaps() {
    let file = tempfile::tempfile().unwrap();
    let size = 64 << 30;
    file.set_len(512 + size).unwrap();
    let mut writer = &file;
    std::io::Write::write_all(&mut writer, &fake::header(b"rootfs.img", b'0', size)).unwrap();
    writer.seek(SeekFrom::End(0)).unwrap();
    std::io::Write::write_all(&mut writer, &manifest()).unwrap();
    writer.seek(SeekFrom::Start(0)).unwrap();
    let length = file.metadata().unwrap().len();
    let asked = std::cell::Cell::new(0);
    let found = super::read(&file, length, &|| {
        asked.set(asked.get() + 1);
        true
    });
    assert_eq!(found.unwrap().root, Some(Root::VirtualMachine));
    assert!(asked.get() < 10, "{}", asked.get());
}

#[test]
fn work_ends_when_nobody_wants_it() {
    let noise: Vec<u8> =
        (0..30_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ (n << 7)).to_le_bytes()).collect();
    for packing in PACKINGS {
        let packed = pack(packing, &archive(&[member("a", b'0', &noise), manifest()]));
        for times in 0..2 {
            let asked = std::cell::Cell::new(0);
            let found = super::read(Cursor::new(&packed), packed.len() as u64, &|| {
                asked.set(asked.get() + 1);
                asked.get() <= times
            });
            assert!(matches!(found, Err(BundleError::Stopped)), "{packing:?} {found:?}");
        }
    }
}

/// A disk that can't be read says nothing about the image.
#[test]
fn errors_of_the_file_are_our_own() {
    /// Can be read up to here.
    struct Broken(Cursor<Vec<u8>>, u64);

    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.1.checked_sub(self.0.position()) {
                None | Some(0) => Err(std::io::Error::other("EIO")),
                Some(left) => self.0.by_ref().take(left).read(into),
            }
        }
    }

    impl Seek for Broken {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    let mut images = PACKINGS.map(|packing| pack(packing, &archive(&[member("a", b'0', &[7; 5000])]))).to_vec();
    images.extend(MADE.map(|(_, bytes)| bytes.to_vec()));
    for image in images {
        for cut in [0, 20, 50] {
            let length = image.len() as u64;
            let found = super::read(Broken(Cursor::new(image.clone()), cut), length, &|| true);
            let error: Error = found.unwrap_err().into();
            assert_eq!((error.kind(), error.causes().as_str()), (Kind::Internal, "EIO"), "{:?}", &image[..4]);
        }
    }
}

#[test]
fn what_is_made_is_read_again() {
    let created_at = Timestamp(1_700_000_000_999_999);
    for architecture in Architecture::ALL.iter().copied() {
        let given = properties(&[("os", "Debian"), ("serial", "007"), ("x", "true"), ("nothing", "")]);
        let bytes = make_metadata(architecture, created_at, &given);
        let Bundle { manifest, root, .. } = read(&bytes).unwrap();
        let expected = Manifest {
            architecture,
            created_at: Timestamp(1_700_000_000_000_000),
            expires_at: None,
            properties: given,
        };
        assert_eq!((manifest, root), (expected, None));
    }
}

/// The name of an image is a hash over these bytes.
#[test]
fn what_is_made_never_changes() {
    let text = metadata_yaml(Architecture::I386, Timestamp(1), &properties(&[("os", "\"Größe\"\n\u{2028}")]));
    assert_eq!(
        text,
        "architecture: i686\ncreation_date: 1\nproperties:\n  \"os\": \"\\\"Größe\\\"\\U0000000a\\U00002028\"\n"
    );
    let bytes = make_metadata(Architecture::X86_64, Timestamp(1_700_000_000_000_000), &BTreeMap::new());
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (bytes.len(), digest.as_str()),
        (10_240, "c131ff7a42e361f1f9c35ad13e528c69a037074358d371e6712af21ca6666d55")
    );
}

proptest! {
    #[test]
    fn any_properties_come_back(given in prop::collection::btree_map(".{0,40}", "(?s).{0,60}", 0..6)) {
        let bytes = make_metadata(Architecture::Aarch64, Timestamp(1_000_000), &given);
        prop_assert_eq!(read(&bytes).unwrap().manifest.properties, given);
    }

    #[test]
    fn names_of_any_length_come_back(length in 1_usize..3000, c in any::<char>()) {
        let given = properties(&[(&c.to_string().repeat(length), "x")]);
        let bytes = make_metadata(Architecture::Aarch64, Timestamp(1_000_000), &given);
        prop_assert_eq!(read(&bytes).unwrap().manifest.properties, given);
    }
}
