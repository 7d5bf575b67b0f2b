//! Parts of the upkeep service: sweeps, verification, missing digests. Holds them, and has no use case of its own.

use std::sync::Arc;

use super::core::Core;
use super::download::Downloads;
use super::removal::Removal;
use super::uploads::service::Uploads;
use crate::ingest::intake::Ingest;

/// Upkeep of all images, by timers and by the operator: no rights are checked.
pub struct Maintenance {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) ingest: Arc<Ingest>,
    pub(in crate::registry) downloads: Arc<Downloads>,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) removal: Arc<Removal>,
    /// Held while uploads of earlier runs are taken over or ended.
    pub(in crate::registry) settling: tokio::sync::Mutex<()>,
}
