//! Lines that `visor serve` prints at its start.

use std::path::Path;

use super::failure::Failure;
use crate::api::AuthRules;
use crate::config::Config;
use crate::registry::Registry;

/// Prints the data directory, the addresses and the access rules.
///
/// # Errors
/// The accounts can't be read, or a proxy in the environment is none.
pub(super) async fn banner(
    data_dir: &Path,
    registry: &Registry,
    auth: &AuthRules,
    config: &Config,
    urls: &[String],
    fingerprint: Option<&str>,
    made: Option<String>,
) -> Result<(), Failure> {
    let free = registry.free_bytes().await;
    let free = free.map_or_else(|| "unknown".to_owned(), super::print::size);
    let access = match (auth.accounts.is_empty()?, auth.public_read) {
        (true, _) => "every user of this machine may read and write; no web page may".to_owned(),
        (false, true) => "public images are open to read; everything else needs a signature or a token".to_owned(),
        (false, false) => "every request needs a signature or a token of an account".to_owned(),
    };
    eprintln!("visor {}", env!("CARGO_PKG_VERSION"));
    eprintln!("  data    {} ({free} free)", data_dir.display());
    eprintln!("  access  {access}");
    if let Some(keystone) = &auth.keystone {
        eprintln!("          tokens for Glance's API are those of {}", keystone.public_url());
    }
    let proxies = config.proxies()?;
    match (&proxies.https, &proxies.http) {
        (Some(https), Some(http)) if https != http => {
            eprintln!("  proxy   {https} for https and {http} for http, which resolve the names of other servers");
        }
        (Some(proxy), _) | (None, Some(proxy)) => {
            eprintln!("  proxy   {proxy}, which resolves the names of other servers");
        }
        (None, None) => {}
    }
    if let Some(made) = made {
        eprintln!("          {made}");
    }
    for url in urls {
        eprintln!("  serving {url}");
    }
    if let Some(fingerprint) = fingerprint {
        eprintln!("  tls     sha256 {fingerprint}");
    }
    if let Some(url) = urls.first() {
        eprintln!("  try     curl -F name=hello -F architecture=x86_64 -F file=@some.iso {url}/images");
    }
    Ok(())
}
