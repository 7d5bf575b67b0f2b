//! The catalogue of vendors: the shipped entries and keys, and what an operator puts over them.
//!
//! Knows no lists: what a vendor has at the moment is found by `kinds`.

mod entry;
mod keys;
mod vendor;

use std::collections::BTreeMap;

use toml::{Table, Value};

pub use self::vendor::{CONTAINER, ListKind, Vendor};
use super::signature::Keyring;
use super::site::is_below;
use crate::error::{Error, Reason, Result, did_you_mean};

/// The shipped entries.
const SHIPPED: &str = include_str!("../vendors.toml");

/// Most vendors whose names an error says.
const NAMES_MAX: usize = 40;

/// Vendors by name, with their keys.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Entries as they are written.
    entries: BTreeMap<String, Table>,
    vendors: BTreeMap<String, Vendor>,
    keyring: Keyring,
}

impl Catalogue {
    /// The catalogue that is compiled in.
    pub fn shipped() -> Self {
        // A test reads both, and nothing can change them afterwards.
        Self::read_shipped().unwrap_or_else(|error| {
            log::error!("the shipped catalogue of vendors can't be read: {}", error.logged());
            Self::default()
        })
    }

    fn read_shipped() -> Result<Self> {
        let table = SHIPPED.parse::<Table>().map_err(Error::internal)?;
        let catalogue = Self::default().with(table, "the shipped catalogue")?;
        keys::SHIPPED.iter().try_fold(catalogue, |catalogue, (name, bytes)| catalogue.with_key(bytes, name))
    }

    /// Puts a table of vendors over the catalogue: keys that are given replace those here, and a new name is a new vendor.
    ///
    /// # Errors
    /// `Invalid` when an entry has an unknown key, or is not complete; the words name `source`.
    pub fn with(mut self, over: Table, source: &str) -> Result<Self> {
        for (name, value) in over {
            let path = format!("vendors.{name}");
            let refused = |why: String| Error::invalid(format!("{source}: {why}."));
            let Value::Table(value) = value else { return Err(refused(format!("{path} is not a table"))) };
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return Err(refused(format!(
                    "{name:?} is no name of a vendor: it has lower-case letters, digits and -"
                )));
            }
            let entry = self.entries.entry(name.clone()).or_default();
            entry::put(entry, value, &path).map_err(refused)?;
            let vendor = entry::read(&name, entry).map_err(|why| refused(format!("{path}: {why}")))?;
            self.vendors.insert(name, vendor);
        }
        Ok(self)
    }

    /// Adds the keys of a file. They count only where an entry pins their fingerprint.
    ///
    /// # Errors
    /// `Invalid` when there is no key in it; the words name `source`.
    pub fn with_key(mut self, bytes: &[u8], source: &str) -> Result<Self> {
        let added =
            self.keyring.add(bytes).map_err(|error| Error::invalid(format!("{source}: {error}")).because(error))?;
        log::debug!("{source} has the keys {}", added.join(", "));
        Ok(self)
    }

    /// Vendors, by name.
    pub fn vendors(&self) -> impl Iterator<Item = &Vendor> {
        self.vendors.values()
    }

    /// Vendor of a name.
    ///
    /// # Errors
    /// `NotFound`, with near names.
    pub fn vendor(&self, name: &str) -> Result<&Vendor> {
        self.vendors.get(name).ok_or_else(|| {
            let near = did_you_mean(name, self.vendors.keys().cloned());
            let names: Vec<&str> = self.vendors.keys().map(String::as_str).take(NAMES_MAX).collect();
            let more = if near.is_empty() { format!("; it has {}.", names.join(", ")) } else { format!("{near}.") };
            Reason::VendorNotFound.about(name).and(more)
        })
    }

    /// Vendor whose files lie below a URL's place: the nearest, where two do.
    pub fn of_url(&self, url: &str) -> Option<&Vendor> {
        let near = |vendor: &Vendor| vendor.places.iter().filter(|place| is_below(url, place)).map(String::len).max();
        let found = self.vendors.values().filter_map(|vendor| Some((near(vendor)?, vendor)));
        found.max_by_key(|(length, _)| *length).map(|(_, vendor)| vendor)
    }

    /// Keys that are here.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

#[cfg(test)]
mod tests;
