//! Guards over time: what was signed stays signed, and a list is not replaced by an older one.

use crate::error::{Reason, Result};
use crate::image::Timestamp;
use crate::vendor::expectation::Evidence;
use crate::vendor::level::Level;
use crate::vendor::signature::day;

/// Refuses what is not signed where it was before. `words` say what there is now.
///
/// # Errors
/// `WeakerThanBefore`.
pub(super) fn not_weaker(level: Level, words: &str, held: Option<&Evidence>, file: &str) -> Result<()> {
    match held {
        Some(held) if held.was_signed() && level < Level::Signature => {
            Err(Reason::WeakerThanBefore.about(file).and(words))
        }
        _ => Ok(()),
    }
}

/// Refuses a signature that is older than the one held.
///
/// # Errors
/// `RolledBack`.
pub(in crate::vendor) fn not_rolled_back(now: &Evidence, held: Option<&Evidence>, list: &str) -> Result<()> {
    match (now.signed_at, held.and_then(|held| held.signed_at)) {
        (Some(now), Some(held)) if now < held => {
            Err(Reason::RolledBack.about(list).and(day(Timestamp(now))).and(day(Timestamp(held))))
        }
        _ => Ok(()),
    }
}
