//! The smallest files that are of each format, field by field as the real ones have them.

/// Bytes with others put over them.
fn put(mut bytes: Vec<u8>, at: usize, over: &[u8]) -> Vec<u8> {
    bytes.resize(bytes.len().max(at + over.len()), 0);
    bytes[at..at + over.len()].copy_from_slice(over);
    bytes
}

/// A file of zeros with these pieces in it.
pub(super) fn file(size: usize, pieces: &[(usize, &[u8])]) -> Vec<u8> {
    pieces.iter().fold(vec![0; size], |bytes, (at, piece)| put(bytes, *at, piece))
}

pub(super) const DISK: u64 = 10 << 20;

pub(super) fn qcow2(version: u32) -> Vec<u8> {
    let more: &[(usize, &[u8])] = &[
        (0, b"QFI\xfb"),
        (4, &version.to_be_bytes()),
        (20, &16_u32.to_be_bytes()),
        (24, &DISK.to_be_bytes()),
        (100, &if version >= 3 { 112_u32 } else { 0 }.to_be_bytes()),
        // A feature name table, as QEMU writes one.
        (if version >= 3 { 112 } else { 72 }, &0x6803_f857_u32.to_be_bytes()),
        (if version >= 3 { 116 } else { 76 }, &48_u32.to_be_bytes()),
    ];
    file(192 << 10, more)
}

pub(super) fn descriptor(kind: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=78584f40\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\n{extents}\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
         ddb.adapterType = \"ide\"\n"
    )
}

pub(super) fn vmdk(descriptor: &str) -> Vec<u8> {
    let more: &[(usize, &[u8])] = &[
        (0, b"KDMV"),
        (4, &1_u32.to_le_bytes()),
        (8, &3_u32.to_le_bytes()),
        (12, &(DISK / 512).to_le_bytes()),
        (20, &128_u64.to_le_bytes()),
        (28, &1_u64.to_le_bytes()),
        (36, &20_u64.to_le_bytes()),
        (44, &512_u32.to_le_bytes()),
        (48, &21_u64.to_le_bytes()),
        (56, &26_u64.to_le_bytes()),
        (64, &128_u64.to_le_bytes()),
        (73, b"\n \r\n"),
        (512, descriptor.as_bytes()),
        (21 * 512, b"binary\x01\x02"),
    ];
    file(128 << 10, more)
}

pub(super) fn sparse() -> Vec<u8> {
    vmdk(&descriptor("monolithicSparse", "RW 20480 SPARSE \"disk one.vmdk\""))
}

/// As VMware and VirtualBox write it, with a footer.
pub(super) fn streamed() -> Vec<u8> {
    let text = descriptor("streamOptimized", "RDONLY 20480 SPARSE \"generated-stream.vmdk\"");
    let bytes = put(vmdk(&text), 56, &u64::MAX.to_le_bytes());
    let (size, footer) = (bytes.len(), put(bytes[..512].to_vec(), 56, &200_u64.to_le_bytes()));
    let bytes = put(bytes, size + 512, &footer);
    put(put(bytes, size + 12, &3_u32.to_le_bytes()), size + 1535, &[0])
}

pub(super) fn vdi(kind: u32) -> Vec<u8> {
    let more: &[(usize, &[u8])] = &[
        (0, b"<<< QEMU VM Virtual Disk Image >>>\n"),
        (0x40, &0xbeda_107f_u32.to_le_bytes()),
        (0x44, &0x0001_0001_u32.to_le_bytes()),
        (0x48, &0x180_u32.to_le_bytes()),
        (0x4c, &kind.to_le_bytes()),
        (0x170, &DISK.to_le_bytes()),
    ];
    file(4096, more)
}

pub(super) fn vhd_footer(kind: u32) -> Vec<u8> {
    let more: &[(usize, &[u8])] =
        &[(0, b"conectix"), (40, &DISK.to_be_bytes()), (48, &DISK.to_be_bytes()), (60, &kind.to_be_bytes())];
    file(512, more)
}

pub(super) fn vhd(kind: u32) -> Vec<u8> {
    let footer = vhd_footer(kind);
    file(8192, &[(0, &footer), (512, b"cxsparse"), (8192, &footer)])
}

/// A disk's bytes and a footer behind them.
pub(super) fn vhd_fixed(content: Vec<u8>) -> Vec<u8> {
    let size = content.len();
    put(content, size, &vhd_footer(2))
}

pub(super) const VHDX_METADATA: usize = 3 << 20;

pub(super) fn vhdx(has_parent: bool) -> Vec<u8> {
    let region = b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
    let parameters = b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
    let disk_size = b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
    // An entry of another region stands before it.
    let table = file(
        80,
        &[(0, b"regi"), (8, &[2]), (48, region), (64, &(VHDX_METADATA as u64).to_le_bytes()), (72, &[0, 0, 16, 0])],
    );
    let entry = |id: &[u8], at: u32| file(32, &[(0, id), (16, &at.to_le_bytes()), (20, &[8])]);
    let (first, second) = (entry(parameters, 65536), entry(disk_size, 65544));
    let more: &[(usize, &[u8])] = &[
        (0, b"vhdxfile"),
        (192 << 10, &table),
        (256 << 10, &table),
        (VHDX_METADATA, b"metadata"),
        (VHDX_METADATA + 10, &[2]),
        (VHDX_METADATA + 32, &first),
        (VHDX_METADATA + 64, &second),
        (VHDX_METADATA + 65536, &[0, 0, 0, 2, if has_parent { 2 } else { 0 }]),
        (VHDX_METADATA + 65544, &DISK.to_le_bytes()),
    ];
    file(4 << 20, more)
}

pub(super) fn mbr(kind: u8) -> Vec<u8> {
    file(8192, &[(446, &[0x80, 0, 2, 0, kind, 255, 255, 255, 1, 0, 0, 0, 15, 0, 0, 0]), (510, b"\x55\xaa")])
}

pub(super) fn gpt() -> Vec<u8> {
    put(mbr(0xee), 512, b"EFI PART")
}

pub(super) fn iso() -> Vec<u8> {
    file(40 << 10, &[(32 << 10, b"\x01CD001\x01")])
}

pub(super) fn luks() -> Vec<u8> {
    file(4096, &[(0, b"LUKS\xba\xbe\0\x02")])
}

/// One of each that is fine, and what it is.
pub(super) fn all() -> Vec<(super::Detected, Option<u64>, Vec<u8>)> {
    use super::Detected::{Gpt, Iso, Luks, Mbr, Qcow2, Raw, Squashfs, Vdi, Vhd, Vhdx, Vmdk};
    vec![
        (Qcow2, Some(DISK), qcow2(2)),
        (Qcow2, Some(DISK), qcow2(3)),
        (Vmdk, Some(DISK), sparse()),
        (Vmdk, Some(DISK), streamed()),
        (Vdi, Some(DISK), vdi(1)),
        (Vdi, Some(DISK), vdi(2)),
        (Vhd, Some(DISK), vhd(3)),
        (Vhd, Some(DISK), vhd_fixed(vec![7; 4096])),
        (Vhd, Some(DISK), vhd_fixed(mbr(0x83))),
        (Vhdx, Some(DISK), vhdx(false)),
        (Iso, None, iso()),
        (Iso, None, file(40 << 10, &[(0, &mbr(0x17)), (32 << 10, b"\x01CD001\x01")])),
        (Iso, None, file(40 << 10, &[(0, &gpt()), (32 << 10, b"\x01CD001\x01")])),
        (Iso, None, file(40 << 10, &[(32 << 10, b"\0BEA01\x01")])),
        (Luks, None, luks()),
        (Gpt, None, gpt()),
        (Mbr, None, mbr(0x83)),
        (Squashfs, None, file(4096, &[(0, b"hsqs")])),
        (Raw, None, vec![7; 200_000]),
        // A boot sector whose code lies where a table of partitions would.
        (Raw, None, file(4096, &[(440, &[0xcd; 70]), (510, b"\x55\xaa")])),
        (Raw, None, b"a".to_vec()),
        (Raw, None, Vec::new()),
    ]
}
