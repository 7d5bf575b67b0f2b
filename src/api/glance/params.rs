//! What the query strings of both versions have in common.

use crate::error::{Error, Result};
use crate::http::query;
use crate::image::Attr;
use crate::image::query::Direction;

/// Images of a page without a `limit`, and the most of any page. Glance's defaults.
pub(super) const LIMIT: usize = 25;
pub(super) const LIMIT_MAX: usize = 1000;

/// Parameters of a list, and words of one of them: every image is held against each.
pub(super) const PARAMETERS_MAX: usize = 64;

/// Names and values of a query string, decoded, in their order.
///
/// # Errors
/// `Invalid` for what is not UTF-8, and for more than anybody needs.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let pairs = query::pairs(query)?;
    if pairs.len() > PARAMETERS_MAX {
        return Err(Error::invalid(format!("A list has at most {PARAMETERS_MAX} parameters.")));
    }
    Ok(pairs)
}

/// How many images a page has at the most.
///
/// # Errors
/// `Invalid`.
pub(super) fn limit(value: &str) -> Result<usize> {
    count("limit", value).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX).min(LIMIT_MAX))
}

/// A number of something.
///
/// # Errors
/// `Invalid`.
pub(super) fn count(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| Error::invalid(format!("{name} param must be an integer, not negative.")))
}

/// The attribute that a list is to be sorted by, of those that Glance sorts by; `attr_of` knows the names.
///
/// # Errors
/// `Invalid`.
pub(super) fn sortable(key: &str, attr_of: fn(&str) -> Option<Attr>) -> Result<Attr> {
    let sorts = |attr: &Attr| match attr {
        Attr::Id | Attr::Name | Attr::Status | Attr::Size => true,
        Attr::Format | Attr::Container | Attr::CreatedAt | Attr::UpdatedAt => true,
        Attr::Architecture | Attr::Visibility | Attr::Kind | Attr::Store | Attr::Location | Attr::Kernel => false,
        Attr::Ramdisk | Attr::Owner | Attr::UploadedAt | Attr::Checksum | Attr::MinDisk | Attr::MinRam => false,
        Attr::Protected | Attr::Hidden | Attr::VirtualSize | Attr::Sha256 | Attr::Sha512 => false,
        Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered => false,
    };
    let wrong = || Error::invalid(format!("Invalid sort key: {}.", key.escape_default()));
    attr_of(key).filter(sorts).ok_or_else(wrong)
}

/// Which way a list is to be sorted.
///
/// # Errors
/// `Invalid`.
pub(super) fn direction(text: &str) -> Result<Direction> {
    match text {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        other => Err(Error::invalid(format!("Invalid sort direction: {}.", other.escape_default()))),
    }
}

/// The answer to a page that begins behind an image that is not there.
pub(super) fn no_marker(text: &str) -> Error {
    Error::invalid(format!("No image found with ID {} to begin behind.", text.escape_default()))
}
