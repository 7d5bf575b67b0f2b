//! Disks that nothing may open, and what can be around a disk.

use std::io::Write;

use crate::bundles::{gzip, tar, yaml};
use crate::harness::{noise, qcow2, qcow2_over_a_file};

/// A disk that nothing may open, and the words that say why.
pub(super) struct Bad {
    pub(super) format: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) why: &'static str,
}

pub(super) fn bad_disks() -> Vec<Bad> {
    let bad = |format, bytes, why| Bad { format, bytes, why };
    let over = |mut bytes: Vec<u8>, at: usize, piece: &[u8]| {
        bytes[at..at + piece.len()].copy_from_slice(piece);
        bytes
    };
    let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n";
    vec![
        bad("qcow2", qcow2_over_a_file(&noise(1, 200_000)), "it has a backing file"),
        bad("qcow2", over(qcow2(&noise(2, 200_000)), 79, &[4]), "it has an external data file"),
        bad("vmdk", text.into(), "only monolithicSparse and streamOptimized are allowed of vmdk"),
        // The table of the first level lies behind the end.
        bad("qcow2", over(qcow2(&noise(3, 200_000)), 36, &[0, 0, 0, 2, 0, 0, 0, 0, 0, 5, 0, 0]), "ends early"),
    ]
}

/// Forms in which a disk is sent through protocols that say its format: what is around it, and the bytes.
pub(super) fn wrapped(bad: &Bad) -> Vec<(&'static str, Vec<u8>)> {
    let ova = tar(&[("machine.ovf", b"<Envelope/>"), ("disk1.vmdk", &bad.bytes)]);
    let mut all = vec![("bare", bad.bytes.clone()), ("ova", ova)];
    all.extend(packed(&bad.bytes).into_iter().map(|bytes| ("compressed", bytes)));
    all
}

/// Bytes in every packing.
pub(super) fn packed(bytes: &[u8]) -> [Vec<u8>; 6] {
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(bytes).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(bytes).unwrap();
    let mut lzma =
        lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &lzma_rust2::LzmaOptions::with_preset(1), None).unwrap();
    lzma.write_all(bytes).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(bytes).unwrap();
    [
        gzip(bytes),
        bzip2.finish().unwrap(),
        xz.finish().unwrap(),
        lzma.finish().unwrap(),
        lz4.finish().unwrap(),
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
    ]
}

/// A virtual machine of LXD's with this disk, in every packing.
pub(super) fn unified(disk: &[u8]) -> Vec<Vec<u8>> {
    let plain = tar(&[("metadata.yaml", yaml("bad").as_bytes()), ("rootfs.img", disk)]);
    [vec![plain.clone()], packed(&plain).into()].concat()
}
