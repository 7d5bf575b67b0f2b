//! Small bodies: JSON, whatever the content type says, as Glance reads it.

use actix_web::web::Payload;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::body::Body;
use crate::registry::RateLimits;

/// Largest JSON body: an image with all the properties it may have is a tenth of it.
const BYTES_MAX: usize = 1 << 20;

/// The JSON in a body.
///
/// # Errors
/// `Invalid` for none or for something else, `TooLarge`, `TooSlow`, `Incomplete`.
pub(super) async fn read(payload: Payload, patience: RateLimits) -> Result<Value> {
    read_if_any(payload, patience).await?.ok_or_else(|| Error::invalid("Body expected in request."))
}

/// The JSON in a body that may be missing.
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
