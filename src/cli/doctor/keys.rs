//! Keys of vendors: those that the catalogue pins have to be here, and good for a while.

use std::path::Path;

use super::Finding;
use crate::image::Timestamp;
use crate::vendor::{Keyring, Vendor};

/// Time before the end of a key at which it is told.
const WARN_BEFORE_DAYS: i64 = 60;

const DAY_MICROS: i64 = 86_400 * 1_000_000;

/// Looks at the keys of vendors. Those that are well are one line together.
pub(super) fn look(vendors: &[&Vendor], keyring: &Keyring, dir: &Path, now: Timestamp) -> Vec<Finding> {
    let pinned =
        vendors.iter().flat_map(|vendor| vendor.rules.keys.iter().map(|key| (vendor.name.as_str(), key.as_str())));
    // A key of signify or minisign is its own file, and has no end.
    let pinned: Vec<(&str, &str)> = pinned.filter(|(_, key)| !key.starts_with("RW")).collect();
    let mut findings: Vec<Finding> =
        pinned.iter().filter_map(|(vendor, key)| trouble(vendor, key, keyring, dir, now)).collect();
    if findings.is_empty() {
        let words = format!("all {} that the catalogue names are here and can sign", pinned.len());
        findings.push(Finding::ok("keys of vendors", words));
    }
    findings
}

fn trouble(vendor: &str, key: &str, keyring: &Keyring, dir: &Path, now: Timestamp) -> Option<Finding> {
    let soon = Timestamp(now.0.saturating_add(WARN_BEFORE_DAYS * DAY_MICROS));
    let words = if !keyring.has(key) {
        "is missing".to_owned()
    } else if !keyring.can_sign(key, now) {
        "has expired, or was revoked, in the copy that is here".to_owned()
    } else if !keyring.can_sign(key, soon) {
        format!("ends within {WARN_BEFORE_DAYS} days in the copy that is here")
    } else {
        return None;
    };
    let advice = format!("put the vendor's key file into {}", dir.display());
    Some(Finding::warn(format!("key of {vendor}"), format!("{key} {words}"), advice))
}
