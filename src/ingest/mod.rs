//! Receiving bytes: one loop that moves them, digests beside the writing, the expectation, the bounds on their speed,
//! and free space.
//!
//! Knows bytes and stores; knows nothing of records, access rules or protocols.

pub(crate) mod expected;
pub(crate) mod hash_pool;
pub(crate) mod intake;
pub(crate) mod pump;
pub(crate) mod rate;
pub(crate) mod room;

pub use self::expected::Expected;
pub use self::pump::{ByteSink, pump};
pub use self::rate::{Pauses, RateGuard, RateLimits, too_slow};
