//! One test binary: one link instead of a dozen, and modules share the harness.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
