//! The protocols. Each is a folder of translators: parse, call the registry, render. No protocol knows another;
//! [`auth`] holds their common rules about callers, and [`discovery`] what their lists of versions have in common.

pub mod auth;
pub mod cache;
pub mod discovery;
#[cfg(test)]
mod errors_tests;
pub mod glance;
pub mod identity;
pub mod lxd;
pub mod simplestreams;
pub mod visor;
mod wording;

use std::sync::Arc;

pub use self::auth::AuthRules;
pub use self::lxd::projects::DEFAULT as LXD_PROJECT;
use crate::account::trust::Trust;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::http::addresses::HttpsEndpoint;
use crate::http::origin::Buffers;
use crate::http::protocol::{Protocol, Protocols, Service};
use crate::http::route::ListedRoute;
use crate::registry::{Metadefs, Pulls, RateLimits, Registry};

/// Constructor of a protocol's service.
type Open = fn(&Setup) -> Box<dyn Service>;

/// The protocols and their constructors: a folder and a line here.
const ALL: [(&Protocol, Open); 6] = [
    (&lxd::PROTOCOL, lxd::open),
    (&simplestreams::PROTOCOL, simplestreams::open),
    (&visor::PROTOCOL, visor::open),
    (&identity::PROTOCOL, identity::open),
    (&glance::PROTOCOL, glance::open),
    (&cache::PROTOCOL, cache::open),
];

/// Parts of a server that the protocols need.
pub struct Setup {
    /// The service.
    pub registry: Arc<Registry>,
    /// The service for vendors' images, unless the cache is switched off.
    pub pulls: Option<Arc<Pulls>>,
    /// Vendors whose images LXD's clients have pulled by asking for them.
    pub pull_through: Vec<String>,
    /// The cache of vendors' files, unless it is switched off.
    pub cache: Option<Arc<Cache>>,
    /// The metadata definitions.
    pub metadefs: Metadefs,
    /// Rules for callers.
    pub auth: AuthRules,
    /// Certificates that stand for accounts.
    pub trust: Arc<Trust>,
    /// Limits on the speed of bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
    /// Addresses and certificate of the HTTPS listeners.
    pub https: HttpsEndpoint,
}

/// Opens the protocols of a server.
pub fn protocols(setup: &Setup) -> Protocols {
    Protocols::new(ALL.iter().map(|(_, open)| open(setup)).collect(), &visor::PROTOCOL)
}

/// Lists the routes of all protocols, each with the name of its protocol.
pub fn routes() -> Vec<(&'static str, ListedRoute)> {
    let each = |(protocol, _): &(&'static Protocol, _)| {
        let name = protocol.name;
        protocol.routes().into_iter().map(move |route| (name, route))
    };
    ALL.iter().flat_map(each).collect()
}

/// Runs work that waits for the disk on a blocking thread. It runs to its end even if the client leaves.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    actix_web::web::block(work).await.map_err(|error| Error::internal(error.to_string()))?
}
