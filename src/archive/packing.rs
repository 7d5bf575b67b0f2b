//! How a file is packed, told by its first bytes. Names are never asked: they are the sender's word.

/// A packing that LXD knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// An archive as it is.
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
    /// A compressed read-only file system.
    Squashfs,
    /// A disk. Nothing is packed in it; it is one of the two parts of a split image.
    Qcow2,
}

impl Packing {
    /// So many bytes are enough to tell.
    pub const HEAD: usize = 512;

    /// What a file with these first bytes is, if LXD could tell as well.
    ///
    /// It takes a tar without `ustar` in it for nothing at all, and a zstd file for one only if it begins with a frame
    /// of data: what comes in here has to come out again there.
    pub fn of(head: &[u8]) -> Option<Self> {
        const AT_START: [(&[u8], Packing); 7] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"BZh", Packing::Bzip2),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"hsqs", Packing::Squashfs),
            (b"QFI\xfb", Packing::Qcow2),
            // Not a magic number but what every encoder's properties look like, with a dictionary of whole 64 KiB.
            (b"\x5d\0\0", Packing::Lzma),
        ];
        let found = AT_START.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, packing)| *packing);
        found.or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(Packing::Tar))
    }

    /// What the name of such a file ends with, the dot included.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Tar => ".tar",
            Self::Gzip => ".tar.gz",
            Self::Bzip2 => ".tar.bz2",
            Self::Xz => ".tar.xz",
            Self::Lzma => ".tar.lzma",
            Self::Zstd => ".tar.zst",
            Self::Squashfs => ".squashfs",
            Self::Qcow2 => ".qcow2",
        }
    }
}
