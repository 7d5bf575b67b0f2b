//! Images as LXD and Incus have them: named by what their bytes hash to and by aliases, described by a small archive that
//! comes with them or is in them.
//!
//! They are images like all others; here is what can be done with them besides. Knows nothing of how LXD's protocol asks.

mod aliases;
mod expiry;
mod files;
mod instances;
mod names;
mod offers;
mod pull;
mod reading;
mod receive;
mod refresh;
mod walk;

#[cfg(test)]
mod tests;

pub use self::aliases::Alias;
pub(super) use self::expiry::ClockWatch;
pub use self::files::{BundleFile, Role, files_of};
pub use self::instances::Instances;
pub use self::names::fingerprint_of;
pub(super) use self::offers::{Offers, withdraw};
pub use self::pull::Copied;
pub use self::receive::{Arriving, METADATA_BYTES_MAX, Sealed, Slot, Wishes};
