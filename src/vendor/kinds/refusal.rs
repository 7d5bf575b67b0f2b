//! Refusals of names, with what there is in their place.

use crate::error::{Error, Reason};
use crate::vendor::Level;
use crate::vendor::catalogue::Vendor;
use crate::vendor::signature::SignatureError;

/// Most names of what there is.
const NAMES_MAX: usize = 20;

/// Most characters of a place.
const PLACE_MAX: usize = 1024;

/// Refusal of what a vendor does not have.
pub(super) fn has_no(title: &str, what: &str, has: &[String]) -> Error {
    let mut names: Vec<&str> = Vec::new();
    for name in has.iter().map(String::as_str) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    names.truncate(NAMES_MAX);
    let there = if names.is_empty() { ".".to_owned() } else { format!("; it has {}{more}.", names.join(", ")) };
    Reason::BuildNotFound.about(title).and(what).and(there)
}

/// Refusal of a place that a list names and that is not one of its vendor's: with what to do if it is one after all, as of a mirror that has
/// lists of another host.
pub(super) fn leads_out(vendor: &Vendor, place: &str) -> Error {
    let shown: String = place.chars().take(PLACE_MAX).collect();
    let what = match place.contains("://") {
        true => format!("if it is, name its beginning in 'sites' of [vendors.{}]", vendor.name),
        false => "a path has to stay below the folder that it begins at".to_owned(),
    };
    Reason::PlaceRefused.about(&vendor.title).and(format!("{shown:?}")).and(what)
}

/// Refusal of a vendor who signs nothing, where a signature is required.
pub(super) fn unsigned(vendor: &Vendor) -> Error {
    Reason::WeakerThanRequired.about(&vendor.title).and(Level::Signature).and(Level::Checksum)
}

/// Refusal of a vendor whose signatures are required and none of whose keys is here.
pub(super) fn key_missing(vendor: &Vendor) -> Error {
    let error = SignatureError::KeyMissing { wanted: vendor.rules.keys.clone() };
    Reason::KeyMissing.about(&vendor.title).and(&error).because(error)
}
