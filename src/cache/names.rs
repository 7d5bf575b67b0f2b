//! Knowledge of moving names. Values only.

use std::time::Instant;

use tokio::sync::watch;

use super::key::Key;

/// A build, as that for which a name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StandingBuild {
    pub(super) key: Key,
    /// Time at which a list last said so.
    pub(super) told_at: i64,
}

/// Knowledge of a moving name.
#[derive(Debug, Default)]
pub(super) struct MovingName {
    pub(super) build: Option<StandingBuild>,
    /// Question in progress; true at its end.
    pub(super) question: Option<watch::Receiver<bool>>,
    /// Time before which its list is not asked again.
    pub(super) pause: Option<Instant>,
}
