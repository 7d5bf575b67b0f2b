//! Parts of the service for images from other servers. Holds them, and has no use case of its own.

use std::sync::Arc;

use crate::ingest::intake::Ingest;
use crate::registry::copies::Copies;
use crate::registry::core::Core;
use crate::registry::download::Downloads;
use crate::registry::imports::Imports;
use crate::registry::lxd::service::LxdImages;
use crate::registry::records::Records;
use crate::registry::removal::Removal;
use crate::registry::uploads::service::Uploads;
use crate::upstream::Upstream;

/// Service for images whose bytes come from other servers.
pub struct Mirror {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) ingest: Arc<Ingest>,
    pub(in crate::registry) records: Arc<Records>,
    pub(in crate::registry) downloads: Arc<Downloads>,
    pub(in crate::registry) removal: Arc<Removal>,
    pub(in crate::registry) uploads: Arc<Uploads>,
    pub(in crate::registry) copies: Arc<Copies>,
    pub(in crate::registry) lxd: Arc<LxdImages>,
    pub(in crate::registry) imports: Imports,
    pub(in crate::registry) upstream: Upstream,
}
