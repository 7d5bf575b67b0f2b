//! The cache of vendors' files: fetched once however many ask, verified, served while they come in, and for ever after without a network.
//!
//! Knows URLs, bytes and what vendors say of them. Knows no images, no accounts and no protocol of our clients.
//!
//! There is no catalogue and no journal here: the directory is the truth, one small file of JSON beside each file of bytes, replaced
//! atomically and made durable after the bytes that it speaks of. Another copy of that could disagree with it. A lost entry is a
//! miss, which costs a transfer and never a wrong byte.

mod ahead;
mod core;
mod documents;
mod entry;
mod evict;
mod extents;
#[cfg(test)]
mod fake;
mod fill;
mod follow;
mod fresh;
mod get;
mod hash;
mod hosts;
mod key;
mod manage;
mod names;
mod offline;
mod proof;
mod pump;
mod quarantine;
mod refresh;
mod removable;
mod resume;
mod route;
mod served;
mod settings;
mod settle;
mod shelf;
mod side;
mod standing;
mod stats;
mod superseded;
#[cfg(test)]
mod tests;
mod transfer;
mod trouble;
mod vendors;
mod verify;
mod whole;

pub use self::core::Cache;
pub use self::entry::EntryView;
pub use self::hosts::HostView;
pub use self::key::Key;
pub use self::proof::Prover;
pub use self::served::{Freshness, Lookup, Outcome, Served};
pub use self::settings::{Abandoned, CacheSettings};
pub use self::stats::CacheStats;
pub use self::superseded::{FileOnDisk, Pruned, Stock, Superseded, SupersededBuild};
pub use self::vendors::Vendors;
pub use self::whole::{Bringing, Whole};
pub use crate::error::shown;
