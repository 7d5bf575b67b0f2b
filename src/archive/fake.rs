//! Images that tests are fed, also such as no tool would make.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use super::{Bundle, BundleError, Packing};

pub(super) const YAML: &str = "architecture: x86_64\ncreation_date: 1424284563\nproperties:\n  os: Debian\n";

/// The packings that have a tar in them.
pub(super) const PACKINGS: [Packing; 7] =
    [Packing::Tar, Packing::Gzip, Packing::Bzip2, Packing::Xz, Packing::Lzma, Packing::Zstd, Packing::Lz4];

/// Reads it.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, BundleError> {
    super::read(Cursor::new(bytes), bytes.len() as u64, &|| true)
}

/// Text of the refusal.
pub(super) fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("it should be refused").to_string()
}

/// A header in GNU's form.
pub(super) fn header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Replaces bytes of a header, and corrects its sum.
pub(super) fn with(header: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = *tar::Header::from_byte_slice(&header[..512]).as_bytes();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let mut changed = tar::Header::from_byte_slice(&changed).clone();
    changed.set_cksum();
    [changed.as_bytes(), &header[512..]].concat()
}

/// A member with its content.
pub(super) fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), kind, content.len() as u64);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A record of POSIX's headers.
pub(super) fn record(name: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {name}={value}\n");
    let length = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap() + rest.len();
    format!("{length}{rest}").into_bytes()
}

/// These members and the end.
pub(super) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

pub(super) fn manifest() -> Vec<u8> {
    member("metadata.yaml", b'0', YAML.as_bytes())
}

pub(super) fn rootfs() -> Vec<u8> {
    member("rootfs/", b'5', b"")
}

/// A container's image.
pub(super) fn container() -> Vec<u8> {
    archive(&[manifest(), rootfs(), member("rootfs/etc/hostname", b'0', b"debian\n")])
}

/// Packs bytes.
pub(super) fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match packing {
        Packing::Tar | Packing::Squashfs | Packing::Qcow2 => return bytes.to_vec(),
        Packing::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Bzip2 => {
            let mut writer = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::default());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            let mut writer = lzma_rust2::XzWriter::new(&mut out, options).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Lzma => {
            let options = lzma_rust2::LzmaOptions::with_preset(1);
            let mut writer = lzma_rust2::LzmaWriter::new_use_header(&mut out, &options, None).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(&mut out);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Zstd => out = ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
    }
    out
}

/// A file that says the same over and over, as long as one likes and without a disk.
pub(super) struct Endless {
    pub(super) piece: Vec<u8>,
    pub(super) at: u64,
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = (self.at % self.piece.len() as u64) as usize;
        let count = self.piece[from..].len().min(into.len());
        into[..count].copy_from_slice(&self.piece[from..from + count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
            SeekFrom::End(_) => unreachable!("it has none"),
        };
        Ok(self.at)
    }
}
