//! Vendors: the names, lists, sums and signatures by which vendors publish images, and what is known of an image after reading them.
//!
//! Does no I/O of its own: documents come through [`Documents`]. Knows no cache, no registry and no protocol of our clients.

mod aliases;
mod catalogue;
mod documents;
mod evidence;
mod expectation;
#[cfg(test)]
mod fake;
mod kinds;
mod learn;
mod level;
mod lock;
mod moving;
mod name;
mod order;
mod place;
pub mod proof;
mod rules;
pub mod signature;
mod site;
mod sum;
mod sums;
mod template;

pub use self::catalogue::{CONTAINER, Catalogue, ListKind, Vendor};
pub use self::documents::{Documents, VendorDocument};
pub use self::expectation::{Evidence, Expectation};
pub use self::kinds::{Candidate, ContainerMetadata, builds, dated, resolve};
pub use self::learn::{PRODUCTS_BYTES_MAX, is_products_url, learn, newest_files};
pub use self::level::Level;
pub use self::lock::{Drift, LOCK_FILE, Lock, LockedImage, LockedMetadata};
pub use self::moving::is_moving;
pub use self::name::Name;
pub use self::rules::VendorRules;
pub use self::signature::Keyring;
pub use self::sum::{Sum, SumAlgorithm};
pub use self::sums::{FoundSums, Sums};
