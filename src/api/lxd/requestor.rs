//! The sender of a request, as events tell it.

use crate::registry::Caller;

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Requestor {
    /// The fingerprint of its certificate, or its account's access key.
    pub username: String,
    /// `tls` or `http`.
    pub protocol: &'static str,
    /// Its address.
    pub address: String,
    /// The caller.
    pub caller: Caller,
}
