//! Receiving bytes: digests beside the writing, what the bytes have to be, how slowly they may come.
//!
//! Knows bytes; knows nothing of records, access rules or protocols.

pub(crate) mod expected;
pub(crate) mod hash_pool;
pub(crate) mod rate;

pub use self::expected::Expected;
pub use self::rate::{RateGuard, RateLimits, too_slow};
