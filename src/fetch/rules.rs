//! What may be fetched, and how long it may take.

use std::time::Duration;

use ipnet::IpNet;

use super::{Proxies, Retries};

/// Rules and time limits of fetches.
#[derive(Debug, Clone)]
pub struct FetchRules {
    /// Addresses that are allowed although they are not public, with any port.
    pub allow: Vec<IpNet>,
    /// Ports that are allowed with a public address.
    pub ports: Vec<u16>,
    /// Proxies that requests leave through, except those to a granted server.
    pub proxies: Proxies,
    /// Time to resolve a name.
    pub resolve_timeout: Duration,
    /// Time to connect, including the TLS handshake.
    pub connect_timeout: Duration,
    /// Time for the other server to answer, and then for each further piece.
    pub idle_timeout: Duration,
    /// Time for an answer that is read whole, unless its request allows more.
    pub document_timeout: Duration,
    /// Bounds on repeated requests, where a request may be repeated.
    pub retries: Retries,
}

impl Default for FetchRules {
    /// Public addresses on the web's own ports and LXD's. The times suit a bad line, not a dead one.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            ports: vec![80, 443, 8443],
            proxies: Proxies::default(),
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            document_timeout: Duration::from_secs(120),
            retries: Retries::default(),
        }
    }
}
