//! Packing of a file, detected by its first bytes. Names are ignored: the sender chose them.

/// A packing that LXD or Incus knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// An archive without compression.
    Tar,
    /// An archive, compressed by gzip.
    Gzip,
    /// An archive, compressed by bzip2.
    Bzip2,
    /// An archive, compressed by xz.
    Xz,
    /// An archive, compressed by xz's predecessor.
    Lzma,
    /// An archive, compressed by zstd.
    Zstd,
    /// An archive, compressed by lz4. Incus knows it, and LXD does not.
    Lz4,
    /// A compressed read-only file system.
    Squashfs,
    /// A disk without compression, one of the two parts of a split image.
    Qcow2,
}

impl Packing {
    /// Bytes that are enough to recognise a packing.
    pub const HEAD: usize = 512;

    /// Recognises a packing by the first bytes, if LXD recognises it too.
    ///
    /// LXD does not recognise a tar without `ustar`, and a zstd file only if it begins with a frame of data. Images that
    /// are accepted here have to be readable there.
    pub fn of(head: &[u8]) -> Option<Self> {
        const AT_START: [(&[u8], Packing); 8] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"BZh", Packing::Bzip2),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\x04\x22\x4d\x18", Packing::Lz4),
            (b"hsqs", Packing::Squashfs),
            (b"QFI\xfb", Packing::Qcow2),
            // Not a magic number but what every encoder's properties look like, with a dictionary of whole 64 KiB.
            (b"\x5d\0\0", Packing::Lzma),
        ];
        let found = AT_START.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, packing)| *packing);
        found.or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(Packing::Tar))
    }

    /// True if a file of this packing is one compressed stream.
    pub const fn is_compression(self) -> bool {
        match self {
            Self::Gzip | Self::Bzip2 | Self::Xz | Self::Lzma | Self::Zstd | Self::Lz4 => true,
            Self::Tar | Self::Squashfs | Self::Qcow2 => false,
        }
    }

    /// True if the first bytes prove a compression. What begins like lzma is no proof of it.
    pub const fn is_proven_compression(self) -> bool {
        self.is_compression() && !matches!(self, Self::Lzma)
    }

    /// The extension of such a file, with its dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Tar => ".tar",
            Self::Gzip => ".tar.gz",
            Self::Bzip2 => ".tar.bz2",
            Self::Xz => ".tar.xz",
            Self::Lzma => ".tar.lzma",
            Self::Zstd => ".tar.zst",
            Self::Lz4 => ".tar.lz4",
            Self::Squashfs => ".squashfs",
            Self::Qcow2 => ".qcow2",
        }
    }
}
