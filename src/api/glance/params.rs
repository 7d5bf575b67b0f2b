//! Parameters of lists that both versions share: limits, sort keys, directions. Knows no filter and no name of an attribute.

use crate::error::{Error, Reason, Result};
use crate::http::query;
use crate::image::Attr;
use crate::image::query::Direction;

/// Images of a page without `limit`, and of the largest page. Glance's defaults.
pub(super) const LIMIT: usize = 25;
pub(super) const LIMIT_MAX: usize = 1000;

/// Parameters of a list, or words of a parameter, at most: each one is compared with every image.
pub(super) const PARAMETERS_MAX: usize = 64;

/// Names and values of a query string, decoded, in their order.
///
/// # Errors
/// `Invalid` for a text that is not UTF-8, and for more than [`PARAMETERS_MAX`].
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let pairs = query::pairs(query)?;
    if pairs.len() > PARAMETERS_MAX {
        return Err(Error::invalid(format!("A list has at most {PARAMETERS_MAX} parameters.")));
    }
    Ok(pairs)
}

/// Reads `limit`, the largest number of images on a page.
///
/// # Errors
/// `Invalid`.
pub(super) fn limit(value: &str) -> Result<usize> {
    count("limit", value).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX).min(LIMIT_MAX))
}

/// Reads a number that is not negative.
///
/// # Errors
/// `Invalid`.
pub(super) fn count(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| Error::invalid(format!("{name} param must be an integer, not negative.")))
}

/// Reads a sort key, one of those that Glance has. `attr_of` finds the attribute of a name.
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

/// Reads a sort direction.
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

/// Refuses a marker that names no image.
pub(super) fn no_marker(text: &str) -> Error {
    Reason::MarkerNotFound.about(text.escape_default())
}
