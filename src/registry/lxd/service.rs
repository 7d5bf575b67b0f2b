//! Parts of the service for LXD's and Incus' images. Holds them, and has no use case of its own.

use std::sync::Arc;

use crate::ingest::intake::Ingest;
use crate::registry::core::Core;
use crate::registry::download::Downloads;
use crate::registry::lxd::instances::Instances;
use crate::registry::lxd::offers::Offers;
use crate::registry::removal::Removal;
use crate::registry::uploads::service::Uploads;

/// Service for images in LXD's and Incus' form.
pub struct LxdImages {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) ingest: Arc<Ingest>,
    pub(in crate::registry) downloads: Arc<Downloads>,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) removal: Arc<Removal>,
    pub(in crate::registry) offers: Arc<Offers>,
    pub(in crate::registry) instances: Instances,
}

impl LxdImages {
    /// Root file systems that the operator lends.
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Offers of disks that arrived through other protocols.
    pub fn offers(&self) -> &Arc<Offers> {
        &self.offers
    }
}
