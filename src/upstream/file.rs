//! The files that an image consists of on another server. Values only.

/// The part of an image that a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole image.
    Whole,
    /// The description of the other file; comes first.
    Metadata,
    /// The file system of a container, or the disk of a virtual machine.
    Rootfs,
}

/// A file of an image, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The part of the image.
    pub part: Part,
    /// The name on the server, without a path; empty if it has no fit one.
    pub name: String,
    /// The number of bytes, if it was announced; a download of another length fails.
    pub size: Option<u64>,
}

/// A file with a URL of its own.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) file: File,
    /// Its path on the server.
    pub(super) path: String,
    pub(super) sha256: Option<[u8; 32]>,
}
