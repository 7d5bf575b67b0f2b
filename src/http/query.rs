//! Query strings.

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// Names and values of a query string, decoded, in their order. Accepts only text: a lenient reading of anything else
/// would let a filter match values that the client did not ask for.
///
/// # Errors
/// `Invalid` for text that is not UTF-8.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(String::from);
        decoded.map_err(|_| Error::invalid("The query string is not UTF-8."))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| Ok((decode(n)?, decode(v)?))).collect()
}
