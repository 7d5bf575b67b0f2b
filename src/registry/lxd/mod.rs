//! Images as LXD and Incus have them: named by what their bytes hash to and by aliases, described by a small archive that
//! comes with them or is in them.
//!
//! They are images like all others; here is what can be done with them besides. Knows nothing of how LXD's protocol asks.

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
pub use self::files::{LxdFile, Role, files_of};
pub use self::instances::Instances;
pub use self::names::fingerprint_of;
pub use self::receive::{ImportOptions, Incoming, METADATA_BYTES_MAX, ReceivedImage, Slot};
pub use self::service::LxdImages;
