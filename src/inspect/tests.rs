use proptest::prelude::*;

use super::fake::{self, DISK};
use super::*;
use crate::image::Vocabulary;

fn inspect(bytes: &[u8]) -> Inspection {
    let mut inspector = Inspector::new();
    inspector.feed(bytes);
    inspector.finish()
}

/// Overwrites pieces of a file.
fn over(bytes: &[u8], pieces: &[(usize, &[u8])]) -> Vec<u8> {
    let mut all: Vec<(usize, &[u8])> = vec![(0, bytes)];
    all.extend(pieces);
    fake::file(bytes.len(), &all)
}

fn danger(bytes: &[u8]) -> Option<Danger> {
    let found = inspect(bytes);
    let refused = check(&found, None, &Rules::default()).err();
    // What is missing may be what does not make sense.
    match found.danger {
        None | Some(Danger::Broken(_)) if found.least > found.size => {
            assert_eq!(refused, Some(Refusal::Short { size: found.size, least: found.least }));
        }
        danger => assert_eq!(refused, danger.map(Refusal::Unsafe)),
    }
    found.danger
}

#[test]
fn every_format_is_told_by_its_bytes() {
    for (number, (format, disk_size, bytes)) in fake::all().into_iter().enumerate() {
        let found = inspect(&bytes);
        let expected = Inspection { format, size: bytes.len() as u64, disk_size, danger: None, least: found.least };
        assert_eq!(found, expected, "{number}");
        assert!(found.least <= found.size, "{number}");
    }
}

/// The declared format decides, and the operator's exemptions.
#[test]
fn bytes_have_to_be_what_was_said_of_them() {
    let named = |format: Format| match format {
        Format::Iso | Format::Vhd | Format::Vhdx | Format::Vdi | Format::Vmdk | Format::Qcow2 => Some(format.name()),
        _ => None,
    };
    for (_, _, bytes) in fake::all() {
        let found = inspect(&bytes);
        for format in Format::ALL.iter().copied() {
            let outcome = check(&found, Some(format), &Rules::default());
            match named(format) {
                Some(name) if name != found.format.name() && !bytes.is_empty() => {
                    assert_eq!(outcome, Err(Refusal::Mismatch { declared: format, found: found.format }));
                }
                _ => assert_eq!(outcome, Ok(()), "{format:?} {found:?}"),
            }
            assert_eq!(check(&found, Some(format), &Rules { off: vec![format] }), Ok(()));
        }
        assert_eq!(check(&found, None, &Rules::default()), Ok(()));
    }
}

#[test]
fn what_is_dangerous_is_refused_wherever_somebody_could_open_it() {
    let found = inspect(&over(&fake::qcow2(3), &[(15, &[1])]));
    let refusal = Err(Refusal::Unsafe(Danger::BackingFile));
    for format in [None, Some(Format::Raw), Some(Format::Qcow2)] {
        assert_eq!(check(&found, format, &Rules::default()), refusal);
    }
    for format in [Format::Ami, Format::Ploop, Format::Tar, Format::Squashfs] {
        assert_eq!(check(&found, Some(format), &Rules::default()), Ok(()));
    }
    let off = Rules { off: vec![Format::Raw] };
    assert_eq!(check(&found, None, &off), Ok(()));
    assert_eq!(check(&found, Some(Format::Raw), &off), Ok(()));
    assert_eq!(check(&found, Some(Format::Qcow2), &off), refusal);
}

#[test]
fn refusals_are_said_in_words() {
    let declared = |format, bytes: &[u8]| check(&inspect(bytes), format, &Rules::default()).unwrap_err().to_string();
    assert_eq!(declared(Some(Format::Qcow2), b"text"), "The format of the image is qcow2, but the bytes are raw.");
    let backed = over(&fake::qcow2(3), &[(15, &[1])]);
    assert_eq!(declared(None, &backed), "The image is not safe to open: it has a backing file");
    let error: crate::error::Error = Refusal::Unsafe(Danger::DataFile).into();
    assert_eq!(error.kind(), crate::error::Kind::BadContent);
}

#[test]
fn qcow2_that_names_files_or_makes_no_sense() {
    let v3 = fake::qcow2(3);
    let changed = |at, piece: &[u8]| danger(&over(&v3, &[(at, piece)]));
    assert_eq!(changed(15, &[1]), Some(Danger::BackingFile));
    assert_eq!(changed(19, &[1]), Some(Danger::BackingFile));
    assert_eq!(danger(&over(&fake::qcow2(2), &[(15, &[1])])), Some(Danger::BackingFile));
    // Incompatible features: dirty, corrupt, compression and extended entries are known.
    for (bit, expected) in [
        (0, None),
        (1, None),
        (2, Some(Danger::DataFile)),
        (3, None),
        (4, None),
        (5, Some(Danger::UnknownFeatures)),
        (63, Some(Danger::UnknownFeatures)),
    ] {
        assert_eq!(changed(72, &(1_u64 << bit).to_be_bytes()), expected, "{bit}");
    }
    // Compatible ones may be anything.
    assert_eq!(changed(80, &[255; 8]), None);
    // The name of a data file without the bit, in an extension behind another one.
    assert_eq!(changed(168, &[0x44, 0x41, 0x54, 0x41, 0, 0, 0, 3]), Some(Danger::DataFile));
    for (at, piece) in [
        (4, [0, 0, 0, 4]),
        (4, [0, 0, 0, 0]),
        (20, [0, 0, 0, 8]),
        (20, [0, 0, 0, 22]),
        (24, [255; 4]),
        (100, [0, 0, 0, 96]),
        (100, [0, 0, 0, 105]),
        (100, [255; 4]),
        (116, [255; 4]),
        (116, [0, 1, 0, 0]),
    ] {
        assert!(matches!(changed(at, &piece), Some(Danger::Broken(_))), "{at} {piece:?}");
    }
    assert_eq!(inspect(&v3[..71]).format, Detected::Raw);
    assert!(matches!(danger(&v3[..100]), Some(Danger::Broken(_))));
    assert_eq!(danger(&over(&v3, &[(7, &[1])])), Some(Danger::Obsolete("qcow version 1")));
    assert_eq!(danger(b"QED\0"), Some(Danger::Obsolete("qed")));
}

#[test]
fn vmdk_that_consists_of_several_files() {
    let kinds =
        ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "vmfs", "vmfsSparse", "fullDevice", "custom"];
    for kind in kinds {
        let text = fake::descriptor(kind, "RW 20480 SPARSE \"disk.vmdk\"");
        assert_eq!(danger(&fake::vmdk(&text)), Some(Danger::Subformat), "{kind}");
        assert_eq!(danger(text.as_bytes()), Some(Danger::Subformat), "{kind}");
        assert_eq!(danger(text.split_once('\n').unwrap().1.as_bytes()), Some(Danger::Subformat), "{kind}");
    }
    for extents in [
        "RW 20480 FLAT \"/etc/shadow\" 0",
        "RW 20480 FLAT \"disk-flat.vmdk\" 0",
        "RW 20480 VMFS \"disk-flat.vmdk\"",
        "RW 63 ZERO",
        "RW 20480 VMFSRDM \"disk-rdm.vmdk\"",
        "RW 20480 SPARSE \"/etc/passwd\"",
        "RW 20480 SPARSE \"..\\x.vmdk\"",
        "RW 20480 SPARSE",
        "RW 20480 SPARSE \"one.vmdk\"\nRW 20480 SPARSE \"two.vmdk\"",
        "changeTrackPath=\"disk-ctk.vmdk\"",
        "",
    ] {
        let text = fake::descriptor("monolithicSparse", extents);
        assert_eq!(danger(&fake::vmdk(&text)), Some(Danger::Extents), "{extents}");
    }
    let text = fake::descriptor("monolithicSparse", "RW 20480 SPARSE \"disk.vmdk\"");
    let below = text.replace("ffffffff", "12345678");
    assert_eq!(danger(&fake::vmdk(&below)), Some(Danger::Parent));
    assert_eq!(danger(&fake::vmdk(&format!("{text}# parentFileNameHint=\"/x\""))), Some(Danger::Parent));
    assert_eq!(danger(&fake::vmdk(&text.replace("createType", "kind"))), Some(Danger::Subformat));
    assert!(matches!(danger(&fake::vmdk(&format!("{text}what is this"))), Some(Danger::Broken(_))));
    assert_eq!(danger(b"COWD"), Some(Danger::Subformat));
    // A text that begins like a descriptor and is none.
    assert_eq!(danger(b"# settings\n\nversion=1\nname=x\n"), None);
}

#[test]
fn vmdk_that_can_be_read_in_two_ways() {
    let (sparse, streamed) = (fake::sparse(), fake::streamed());
    let end = streamed.len();
    let zero = [0; 8];
    let text = fake::descriptor("monolithicSparse", "RW 20480 SPARSE \"disk one.vmdk\"");
    let broken_off = fake::vmdk(text.trim_end());
    for (what, bytes) in [
        ("no capacity", over(&sparse, &[(12, &zero)])),
        ("a capacity beyond all bounds", over(&sparse, &[(12, &[255; 8])])),
        ("another version", over(&sparse, &[(4, &[4])])),
        ("no descriptor", over(&sparse, &[(28, &zero)])),
        ("a descriptor elsewhere", over(&sparse, &[(28, &[2])])),
        ("a descriptor without a length", over(&sparse, &[(36, &zero)])),
        ("a descriptor longer than what is kept", over(&sparse, &[(36, &[200])])),
        ("a descriptor longer than anything", over(&sparse, &[(36, &[255; 8])])),
        ("a second descriptor behind the first", over(&sparse, &[(4096, b"createType=\"monolithicFlat\"")])),
        ("more behind a descriptor than a shorter CID leaves", over(&sparse, &[(512 + text.len() + 7, b"x")])),
        ("bytes behind a descriptor that breaks off", over(&broken_off, &[(512 + text.len(), b"x")])),
        ("a footer with another descriptor", over(&streamed, &[(end - 1024 + 28, &[9])])),
        ("a footer with another capacity", over(&streamed, &[(end - 1024 + 12, &[9])])),
        ("a footer of a footer", over(&streamed, &[(end - 1024 + 56, &[255; 8])])),
        ("no footer marker", over(&streamed, &[(end - 1536 + 12, &[0])])),
        ("no end marker", over(&streamed, &[(end - 500, &[1])])),
        ("no footer", streamed[..end - 1536].to_vec()),
    ] {
        assert!(matches!(danger(&bytes), Some(Danger::Broken(_))), "{what}: {:?}", danger(&bytes));
    }
}

/// QEMU writes over the descriptor in place, and 1 CID of 256 is two digits shorter than the one before it.
#[test]
fn vmdk_whose_cid_got_shorter() {
    let text = fake::descriptor("monolithicSparse", "RW 20480 SPARSE \"disk.vmdk\"");
    for digits in 1..=8 {
        let shorter = text.replace("CID=78584f40", &format!("CID={}", &"78584f40"[..digits]));
        let written_over = over(&fake::vmdk(&text), &[(512, shorter.as_bytes()), (512 + shorter.len(), b"\0")]);
        assert_eq!(danger(&written_over), None, "{digits} digits");
    }
}

#[test]
fn disks_that_lie_over_others() {
    for kind in [0, 3, 4, 99] {
        assert_eq!(danger(&fake::vdi(kind)), Some(Danger::Parent), "vdi {kind}");
    }
    assert_eq!(danger(&over(&fake::vdi(1), &[(0x1a8, &[1])])), Some(Danger::Parent));
    assert_eq!(danger(&over(&fake::vdi(1), &[(0x1c7, &[1])])), Some(Danger::Parent));
    assert!(matches!(danger(&over(&fake::vdi(1), &[(0x46, &[2])])), Some(Danger::Broken(_))));
    assert!(matches!(danger(&over(&fake::vdi(1), &[(0x170, &[255; 8])])), Some(Danger::Broken(_))));
    for kind in [0, 4, 7] {
        assert_eq!(danger(&fake::vhd(kind)), Some(Danger::Parent), "vhd {kind}");
    }
    let two_minds = over(&fake::vhd(3), &[(8192, &fake::vhd_footer(4))]);
    assert!(matches!(danger(&two_minds), Some(Danger::Broken(_))));
    assert_eq!(danger(&fake::vhdx(true)), Some(Danger::Parent));
    let locator = b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
    let located = over(&fake::vhdx(false), &[(fake::VHDX_METADATA + 10, &[3]), (fake::VHDX_METADATA + 96, locator)]);
    assert_eq!(danger(&located), Some(Danger::Parent));
}

#[test]
fn vhdx_whose_tables_lead_astray() {
    let (good, metadata) = (fake::vhdx(false), fake::VHDX_METADATA);
    let second = good[metadata + 64..metadata + 80].to_vec();
    for (what, bytes) in [
        ("no region table", over(&good, &[(192 << 10, b"xxxx")])),
        ("two that differ", over(&good, &[((256 << 10) + 66, &[0x40])])),
        ("more entries than there is room for", over(&good, &[((192 << 10) + 8, &[255; 4])])),
        ("metadata before all regions", over(&good, &[((192 << 10) + 64, &[0; 8]), ((256 << 10) + 64, &[0; 8])])),
        ("metadata far away", over(&good, &[((192 << 10) + 64, &[255; 8]), ((256 << 10) + 64, &[255; 8])])),
        ("no metadata", over(&good, &[(metadata, b"xxxx")])),
        ("no items", over(&good, &[(metadata + 10, &[0])])),
        ("too many items", over(&good, &[(metadata + 10, &[255, 255])])),
        ("an item within the table", over(&good, &[(metadata + 48, &[0; 4])])),
        ("an item far away", over(&good, &[(metadata + 48, &[255; 4])])),
        ("an item twice", over(&good, &[(metadata + 10, &[3]), (metadata + 96, &second)])),
        ("a size beyond all bounds", over(&good, &[(metadata + 65544, &[255; 8])])),
        ("an early end", good[..metadata + 65550].to_vec()),
        ("only a beginning", good[..8].to_vec()),
    ] {
        assert!(matches!(danger(&bytes), Some(Danger::Broken(_))), "{what}: {:?}", danger(&bytes));
        assert_eq!(inspect(&bytes).format, Detected::Vhdx, "{what}");
    }
}

#[test]
fn what_is_two_things_is_nothing_that_anybody_wants() {
    let header = fake::qcow2(3)[..512].to_vec();
    let vdi = fake::vdi(1)[0x40..0x200].to_vec();
    for (bytes, first, second) in [
        (over(&fake::iso(), &[(0, &header)]), Detected::Qcow2, Detected::Iso),
        (over(&fake::iso(), &[(0, &fake::luks())]), Detected::Iso, Detected::Luks),
        (over(&fake::iso(), &[(0x40, &vdi)]), Detected::Vdi, Detected::Iso),
        (over(&fake::qcow2(2), &[(0x40, &vdi)]), Detected::Qcow2, Detected::Vdi),
        (fake::vhd_fixed(fake::qcow2(3)), Detected::Qcow2, Detected::Vhd),
        (over(&fake::vdi(1), &[(440, &fake::gpt()[440..520])]), Detected::Vdi, Detected::Gpt),
    ] {
        assert_eq!(danger(&bytes), Some(Danger::Two(first, second)));
    }
    assert_eq!(danger(&fake::vhd_fixed(fake::iso())), None);
    assert_eq!(danger(&fake::vhd_fixed(fake::luks())), None);
}

#[test]
fn a_disk_is_as_large_as_whoever_opens_it_sees() {
    let size = |bytes: &[u8], format| inspect(bytes).virtual_size(format);
    let qcow2 = fake::qcow2(3);
    assert_eq!(size(&qcow2, Some(Format::Qcow2)), Some(DISK));
    assert_eq!(size(&qcow2, Some(Format::Raw)), Some(qcow2.len() as u64));
    assert_eq!(size(&qcow2, Some(Format::Ami)), None);
    assert_eq!(size(&qcow2, None), Some(DISK));
    assert_eq!(size(&fake::iso(), Some(Format::Iso)), Some(40 << 10));
    assert_eq!(size(b"", Some(Format::Raw)), None);
    assert_eq!(size(b"text", None), None);
}

/// As for a file that can be read anywhere: only what is wanted is fed.
#[test]
fn what_is_not_wanted_may_be_left_out() {
    let long = [fake::vhdx(false), vec![9; 1 << 20]].concat();
    for (_, _, bytes) in fake::all().into_iter().chain([(Detected::Vhdx, Some(DISK), long)]) {
        let (mut inspector, size) = (Inspector::new(), bytes.len() as u64);
        let mut fed = 0;
        while let Some(wanted) = inspector.wants(size) {
            inspector.skip_to(wanted.start);
            inspector.feed(&bytes[wanted.start as usize..wanted.end as usize]);
            fed += wanted.end - wanted.start;
        }
        assert_eq!(inspector.finish(), inspect(&bytes));
        assert!(fed <= 330 << 10, "{fed}");
    }
}

/// Files of each format with some bytes changed, in the places where something stands.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let files: Vec<Vec<u8>> = fake::all().into_iter().map(|(_, _, bytes)| bytes).collect();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (prop::sample::select(files), prop::collection::vec(change, 0..12), any::<prop::sample::Index>(), 0..4_u8).prop_map(
        |(mut bytes, changes, end, cut)| {
            let filled: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).take(4096).collect();
            let near: Vec<usize> =
                filled.iter().flat_map(|at| at.saturating_sub(3)..(at + 3).min(bytes.len())).collect();
            for (place, value) in changes.iter().filter(|_| !near.is_empty()) {
                bytes[near[place.index(near.len())]] = *value;
            }
            if cut == 0 && !bytes.is_empty() {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Inspection {
    let (mut inspector, mut rest) = (Inspector::new(), bytes);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*cut).min(rest.len()));
        inspector.feed(piece);
        rest = more;
    }
    inspector.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let found = inspect(&bytes);
        prop_assert_eq!(found.size, bytes.len() as u64);
    }

    #[test]
    fn no_rest_behind_a_magic_makes_it_panic(
        magic in prop::sample::select(vec![&b"QFI\xfb\0\0\0\x03"[..], b"KDMV\x01\0\0\0", b"vhdxfile", b"conectix", b"COWD"]),
        rest in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = [magic, &rest].concat();
        prop_assert_eq!(in_pieces(&bytes, &[100]), inspect(&bytes));
    }

    #[test]
    fn pieces_do_not_matter(bytes in mutated(), cuts in prop::collection::vec(1..100_000_usize, 1..6)) {
        prop_assert_eq!(in_pieces(&bytes, &cuts), inspect(&bytes));
    }
}
