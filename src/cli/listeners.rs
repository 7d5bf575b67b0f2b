//! The sockets that `visor serve` listens on, and the certificate of those with TLS.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use super::ServeArgs;
use super::failure::{Exit, Failure};
use crate::config::Config;
use crate::http::addresses::{HttpsEndpoint, Reachable};
use crate::http::server;
use crate::http::tls::{self, Tls};
use crate::registry::system_clock;

/// Sockets that the server listens on.
pub(super) struct Listeners {
    pub(super) plain: Vec<TcpListener>,
    pub(super) tls: Vec<TcpListener>,
    pub(super) certificate: Option<Tls>,
}

impl Listeners {
    /// Binds the addresses of the configuration and the flags.
    ///
    /// # Errors
    /// An address is taken, or the certificate is unusable.
    pub(super) fn bind(config: &Config, args: &ServeArgs, keys: &Path) -> Result<Self, Failure> {
        let chosen = !args.listen.is_empty() || !args.listen_tls.is_empty();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::new(Exit::Conflict, format!("{error}; is visor running already?")),
            _ => Failure::general(error),
        };
        let plain = server::bind(&config.server.listen, !chosen).map_err(failed)?;
        let tls = match server::bind(&config.server.listen_tls, !chosen) {
            // LXD or Incus on this machine may have the default port; plain HTTP is served nevertheless.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && !config.listen_tls_chosen && !plain.is_empty() =>
            {
                log::warn!("not serving HTTPS: {error}; --listen-tls takes another address");
                Vec::new()
            }
            bound => bound.map_err(failed)?,
        };
        let open = || tls::open(keys, &config.server.names, &config.server.listen_tls, system_clock());
        let unusable = |error| Failure::general(format!("the certificate can't be used: {error}"));
        let certificate = if tls.is_empty() { None } else { Some(open().map_err(unusable)?) };
        Ok(Self { plain, tls, certificate })
    }

    /// The addresses as URLs.
    ///
    /// # Errors
    /// A listener has no address.
    pub(super) fn urls(&self) -> Result<Vec<String>, Failure> {
        let url = |scheme: &str, listener: &TcpListener| {
            listener.local_addr().map(|address| format!("{scheme}://{address}")).map_err(Failure::general)
        };
        let plain = self.plain.iter().map(|listener| url("http", listener));
        plain.chain(self.tls.iter().map(|listener| url("https", listener))).collect()
    }

    /// The addresses and the certificate of those with TLS.
    pub(super) fn https(&self, config: &Config) -> HttpsEndpoint {
        let reachable = Reachable {
            listeners: self.tls.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            names: config.server.names.clone(),
            public_url: config.server.public_url.clone(),
        };
        HttpsEndpoint::new(reachable, self.certificate.as_ref())
    }
}
