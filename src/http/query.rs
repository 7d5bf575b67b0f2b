//! Query strings.

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// Names and values of a query string, decoded, in their order. Only what is text: a library that reads anything else as
/// something near it would have a filter pass what nobody asked for.
///
/// # Errors
/// `Invalid` for what is not UTF-8.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(String::from);
        decoded.map_err(|_| Error::invalid("The query string is not UTF-8."))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| Ok((decode(n)?, decode(v)?))).collect()
}
