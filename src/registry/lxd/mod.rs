//! Images for LXD and Incus: named by fingerprint and by aliases, described by a small archive that accompanies them or
//! is inside.
//!
//! All are ordinary images; this room has the operations that they have besides. Knows nothing of LXD's protocol.

pub(super) mod aliases;
pub(super) mod export;
pub(super) mod files;
pub(super) mod instances;
pub(super) mod names;
pub(super) mod offers;
pub(super) mod publish_instance;
pub(super) mod receive;
pub(super) mod service;

#[cfg(test)]
mod tests;

pub use self::aliases::Alias;
pub use self::files::{FileRole, LxdFile, files_of};
pub use self::instances::Instances;
pub use self::names::fingerprint_of;
pub use self::receive::{ImportOptions, IncomingImage, METADATA_BYTES_MAX, ReceivedImage, Slot};
pub use self::service::LxdImages;
