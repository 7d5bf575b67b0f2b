//! Makes the one fetcher of a process from the configuration.

use super::{Exit, Failure};
use crate::config::{Config, ProxyUrl};
use crate::error::Error;
use crate::fetch::{FetchRules, Fetcher, Proxies, Retries};

/// A fetcher under the rules of `[fetch]`. Opens nothing yet.
pub(super) fn open(config: &Config) -> Result<Fetcher, Failure> {
    let proxies = config.proxies()?;
    let [http, https] = [&proxies.http, &proxies.https].map(|url| url.as_ref().map(ProxyUrl::reveal));
    let unusable = |error: Error| Failure::new(Exit::Usage, format!("the proxy for requests: {}", error.message()));
    let proxies = Proxies::new(http.as_deref(), https.as_deref(), &proxies.except).map_err(unusable)?;
    let retries = Retries { tries: config.fetch.tries, pause: config.fetch.pause.duration(), ..Retries::default() };
    Ok(Fetcher::new(FetchRules { allow: config.fetch.allow.clone(), proxies, retries, ..FetchRules::default() }))
}
