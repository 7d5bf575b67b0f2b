//! The sender of a request, as events tell it.

use crate::registry::Caller;

/// Who asked for something.
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
