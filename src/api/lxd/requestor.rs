//! The sender of a request, as events tell of it.

use crate::registry::Caller;

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Requestor {
    /// The fingerprint of its certificate, or its account's access key.
    pub username: String,
    /// How it came.
    pub protocol: &'static str,
    /// From where.
    pub address: String,
    /// Who it is.
    pub caller: Caller,
}
