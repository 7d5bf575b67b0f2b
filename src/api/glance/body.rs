//! Small JSON bodies. The content type is ignored, as in Glance. Knows no field of them.

use actix_web::web::Payload;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::body::Body;
use crate::registry::RateLimits;

/// Largest JSON body. An image with every property allowed takes a tenth of it.
const BYTES_MAX: usize = 1 << 20;

/// Reads the JSON of a body.
///
/// # Errors
/// `Invalid` for an empty body or another content, `TooLarge`, `TooSlow`, `Incomplete`.
pub(super) async fn read(payload: Payload, patience: RateLimits) -> Result<Value> {
    read_if_any(payload, patience).await?.ok_or_else(|| Error::invalid("Body expected in request."))
}

/// Reads the JSON of a body that may be empty.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_if_any(payload: Payload, patience: RateLimits) -> Result<Option<Value>> {
    let bytes = Body::new(payload, patience).whole(BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&bytes).map_err(|_| Error::invalid("Malformed JSON in request body."))?;
    match value {
        Value::Object(_) | Value::Array(_) => Ok(Some(value)),
        _ => Err(Error::invalid("Unexpected body type. Expected list/dict.")),
    }
}
