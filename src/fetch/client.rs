//! The HTTP clients that requests go out through, one for each reach and kind of connections.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use super::guard::{Reach, Resolver};
use super::{FetchError, FetcherInner, Pin};

/// Connections to a host that are kept for the next request, and for how long: less than servers wait before they close one.
const IDLE_MAX: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Connections that a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// A new one.
    New,
    /// One that an earlier request left, or a new one. One that is left leads to an address that was judged for the host of the
    /// URL, by the same rules and for the same reach; whatever its name resolves to meanwhile does not move it.
    Kept,
}

impl Connections {
    /// The connections for requests that say nothing of them: calls to a configured server are many.
    pub(super) fn usual(reach: Reach) -> Self {
        if reach == Reach::Own { Self::Kept } else { Self::New }
    }
}

/// Clients by reach, since a client knows only the name when it resolves, and by their connections. Made when first needed: reading
/// the system's certificates takes a while, and many servers never fetch anything.
pub(super) type Clients = [[OnceLock<Result<Client, String>>; 2]; Reach::COUNT];

impl FetcherInner {
    pub(super) fn client(&self, reach: Reach, connections: Connections) -> Result<&Client, FetchError> {
        self.speaks()?;
        let client = &self.clients[reach as usize][connections as usize];
        let client = client.get_or_init(|| self.build(reach, connections).map_err(|error| error.to_string()));
        client.as_ref().map_err(no_client)
    }

    /// A client for one server. It reads no certificates of the system and is quickly made.
    pub(super) fn pinned(&self, reach: Reach, pin: &Pin) -> Result<Client, FetchError> {
        self.speaks()?;
        let config = pin.config().map_err(no_client)?;
        let builder = self.builder(reach, Connections::New).map_err(no_client)?;
        builder.tls_backend_preconfigured(config).build().map_err(no_client)
    }

    /// Refuses all requests while nothing may be sent.
    fn speaks(&self) -> Result<(), FetchError> {
        if self.silent.load(Ordering::SeqCst) { Err(FetchError::Silent) } else { Ok(()) }
    }

    fn build(&self, reach: Reach, connections: Connections) -> reqwest::Result<Client> {
        // An error says that there is a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || self.builder(reach, connections);
        if let Some(roots) = &self.roots {
            return builder()?.tls_certs_only(roots.clone()).build();
        }
        builder()?.build().or_else(|error| {
            log::warn!("the system's certificates can't be read, so https URLs will not be fetched: {error}");
            builder()?.tls_certs_only([]).build()
        })
    }

    fn builder(&self, reach: Reach, connections: Connections) -> reqwest::Result<ClientBuilder> {
        let builder = Client::builder()
            .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Resolver { guard: self.guard.clone(), reach })
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(if connections == Connections::Kept { IDLE_MAX } else { 0 })
            .pool_idle_timeout(IDLE_TIME)
            // No `read_timeout`: it also counts the time that our own reader takes between two pieces.
            .connect_timeout(self.rules.connect_timeout);
        if reach == Reach::Proxied { self.guard.proxies().put_into(builder) } else { Ok(builder) }
    }
}

fn no_client(error: impl fmt::Display) -> FetchError {
    FetchError::Upstream(format!("the HTTP client can't be made: {error}"))
}
