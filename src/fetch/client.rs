//! The HTTP clients that requests go out through, one for each reach: a client knows only a name when it resolves it.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use super::guard::{Reach, Resolver};
use super::{FetchError, FetcherInner, Pin};

/// Connections to a server that the operator configured that are kept for the next request, and for how long: less than
/// servers wait before they close one.
const OWN_IDLE_MAX: usize = 8;
const OWN_IDLE_TIME: Duration = Duration::from_secs(4);

impl FetcherInner {
    pub(super) fn client(&self, reach: Reach) -> Result<&Client, FetchError> {
        let client = match reach {
            Reach::Public => &self.public,
            Reach::Listed => &self.listed,
            Reach::Own => &self.own,
        };
        let client = client.get_or_init(|| self.build(reach).map_err(|error| error.to_string()));
        client.as_ref().map_err(no_client)
    }

    /// A client for one server. It reads no certificates of the system and is quickly made.
    pub(super) fn pinned(&self, reach: Reach, pin: &Pin) -> Result<Client, FetchError> {
        let config = pin.config().map_err(no_client)?;
        self.builder(reach).tls_backend_preconfigured(config).build().map_err(no_client)
    }

    fn build(&self, reach: Reach) -> reqwest::Result<Client> {
        // An error says that there is a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(roots) = &self.roots {
            return self.builder(reach).tls_certs_only(roots.clone()).build();
        }
        self.builder(reach).build().or_else(|error| {
            log::warn!("the system's certificates can't be read, so https URLs will not be fetched: {error}");
            self.builder(reach).tls_certs_only([]).build()
        })
    }

    fn builder(&self, reach: Reach) -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Resolver { guard: self.guard.clone(), reach })
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Every request makes a connection of its own, to addresses judged for it; where any address will do it need not.
            .pool_max_idle_per_host(if reach == Reach::Own { OWN_IDLE_MAX } else { 0 })
            .pool_idle_timeout(OWN_IDLE_TIME)
            // No `read_timeout`: it also counts the time that our own reader takes between two pieces.
            .connect_timeout(self.rules.connect_timeout)
    }
}

fn no_client(error: impl fmt::Display) -> FetchError {
    FetchError::Upstream(format!("the HTTP client can't be made: {error}"))
}
