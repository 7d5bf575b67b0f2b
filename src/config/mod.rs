//! The configuration: defaults < file < environment < flags.
//!
//! The shipped `visor.toml` *is* the built-in default, so the two can't differ, and the keys in it are the keys
//! there are. The environment is read here and nowhere else.

mod cache;
mod data_dir;
mod identity;
mod openstack;
mod overlay;
mod proxy;
mod stores;
#[cfg(test)]
mod tests;
mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::cache::{CacheSection, Share, WhenAbandoned};
pub use self::data_dir::DataDir;
pub use self::identity::IdentitySection;
pub use self::openstack::{CloudSettings, cloud_settings};
pub use self::proxy::{ProxyChoice, ProxySettings, ProxyUrl};
pub use self::stores::{HdfsStore, NamedStore, S3Store, StorePlace, StoresSection};
pub use self::words::{FormatName, HashAlgorithm, Publishers, Size, Span, WebOrigin};
use crate::account::Secret;

/// Longest lifetime of a token: a year with a leap day. A token for longer would be a key.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The one key whose default gives way: another program may have its address.
const LISTEN_TLS: [&str; 2] = ["server", "listen_tls"];

/// The shipped file.
pub const SHIPPED: &str = include_str!("../../visor.toml");

/// All settings. Their comments are in `visor.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct Config {
    pub data_dir: PathBuf,
    pub server: Server,
    pub catalog: Catalog,
    pub upload: Upload,
    pub inspect: Inspect,
    pub import: Import,
    pub glance: Glance,
    pub lxd: Lxd,
    pub stores: StoresSection,
    pub fetch: Fetch,
    pub cache: CacheSection,
    /// Entries over those of the catalogue of vendors, which reads them.
    pub vendors: toml::Table,
    pub auth: Auth,
    pub identity: IdentitySection,
    pub log: Log,
    pub client: Client,
    /// The addresses for TLS were set by the operator: serving elsewhere or nowhere would be wrong.
    #[serde(skip)]
    pub listen_tls_chosen: bool,
    /// Variables of the environment about proxies.
    #[serde(skip)]
    proxy_variables: proxy::ProxyVariables,
}

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        /// A section of `visor.toml`, where its keys are explained.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
        pub struct $name { $(pub $field: $type),+ }
    };
}

section!(Server {
    listen: Vec<SocketAddr>,
    listen_tls: Vec<SocketAddr>,
    names: Vec<String>,
    cors: Vec<WebOrigin>,
    public_url: String,
    workers: usize,
    connections_max: usize,
    drain: Span,
});
section!(Catalog { cache: Size });
section!(Upload { image_max: Size, uploads_max: usize, free_min: Size, idle: Span, rate_min: Size });
section!(Inspect { off: Vec<FormatName> });
section!(Import { unpack: bool });
section!(Glance { os_hash_algo: HashAlgorithm });
section!(Lxd {
    offer_disks: bool,
    keep_removed: Span,
    auto_update_interval: Span,
    pull_through: Vec<String>,
    instances: Vec<Instance>,
});
section!(Instance { name: String, path: PathBuf });
section!(Fetch {
    allow: Vec<IpNet>,
    proxy: ProxyChoice,
    no_proxy: Vec<String>,
    tries: u32,
    pause: Span,
    digests: bool,
});
section!(Auth { public_read: bool, publish: Publishers, date_window: Span, token_lifetime: Span });
section!(Log { level: log::LevelFilter, access: bool });
section!(Client {
    address: String,
    port: u16,
    access_key: String,
    secret_key: Secret,
    secret_key_file: PathBuf,
    ca_file: PathBuf
});

/// An error in a configuration, for the person who wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// The configuration in force: the shipped defaults, `file`, and the process's environment.
    ///
    /// # Errors
    /// The file can't be read, a key is unknown, a value is none. The text says which, and what is near.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_parts(
            file,
            std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into())),
        )
    }

    /// The shipped defaults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn shipped() -> Result<Self, ConfigError> {
        Self::from_parts(None, std::iter::empty())
    }

    fn from_parts(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = overlay::parse(SHIPPED, "the built-in configuration")?;
        let mut chosen = false;
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
            let name = path.display().to_string();
            let parsed = overlay::parse(&text, &name)?;
            chosen = overlay::has(&parsed, LISTEN_TLS);
            if stores::has_secret(&parsed) || identity::has_secret(&parsed) || proxy::has_secret(&parsed) {
                check_private(path)?;
            }
            stores::make_room(&mut table, &parsed, &name)?;
            overlay::put_file(&mut table, parsed, &name)?;
            match table.get("client").and_then(|client| client.get("secret_key")).map(toml::Value::as_str) {
                None | Some(Some("")) => {}
                Some(Some(_)) => check_private(path)?,
                // Said here, so that no error about its type repeats it.
                Some(None) => {
                    return Err(ConfigError(format!("{}: client.secret_key must be a text in quotes", path.display())));
                }
            }
        }
        let environment: Vec<_> = environment.collect();
        chosen |= environment.iter().any(|(variable, _)| *variable == overlay::variable(LISTEN_TLS));
        let proxy_variables = proxy::ProxyVariables::of(&environment);
        overlay::put_environment(&mut table, environment.into_iter())?;
        let mut config: Config = serde_path_to_error::deserialize(table).map_err(|error| {
            let (key, why) = (error.path().to_string(), plainly(error.inner().message()));
            ConfigError(format!("the configuration has a wrong value: {key}: {why}"))
        })?;
        config.listen_tls_chosen = chosen;
        config.proxy_variables = proxy_variables;
        config.client.read_secret()?;
        config.stores.read_secrets()?;
        config.identity.read_secret()?;
        config.check()?;
        Ok(config)
    }

    /// The data directory in force.
    ///
    /// # Errors
    /// None is configured, and the user has no home.
    pub fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        if !self.data_dir.as_os_str().is_empty() {
            return Ok(self.data_dir.clone());
        }
        dirs::data_dir()
            .map(|dir| dir.join("visor"))
            .ok_or_else(|| ConfigError("this user has no home directory: give --data-dir".into()))
    }

    /// Writes the settings in force as a file, without secrets.
    ///
    /// # Errors
    /// Never, for a configuration that was loaded.
    pub fn show(&self) -> Result<String, ConfigError> {
        toml::to_string(&self.shown()).map_err(|error| ConfigError(error.to_string()))
    }

    /// A copy without secrets.
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        hide(&mut shown.client.secret_key);
        shown.stores = shown.stores.shown();
        shown.identity = shown.identity.shown();
        shown
    }

    /// Checks the settings that are wrong only in combination.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.server.listen.is_empty() && self.server.listen_tls.is_empty() {
            return Err(ConfigError(
                "server.listen and server.listen_tls are both empty: no client could connect".into(),
            ));
        }
        let public = &self.server.public_url;
        if !public.is_empty() && !public.starts_with("http://") && !public.starts_with("https://") {
            return Err(ConfigError("server.public_url must begin with http:// or https://".into()));
        }
        let lifetime = self.auth.token_lifetime.duration();
        if lifetime.is_zero() || lifetime > TOKEN_LIFETIME_MAX {
            return Err(ConfigError("auth.token_lifetime must be greater than zero, and at most a year".into()));
        }
        if let Some((name, _)) = self.vendors.iter().find(|(_, entry)| !entry.is_table()) {
            return Err(ConfigError(format!("vendors.{name} has to be a table: [vendors.{name}]")));
        }
        self.cache.check()?;
        self.identity.check()?;
        self.stores.check()
    }
}

impl Client {
    /// Takes the secret out of its file, if it stands in one.
    fn read_secret(&mut self) -> Result<(), ConfigError> {
        put_secret(&mut self.secret_key, &self.secret_key_file, "client.secret_key_file")
    }
}

/// Says what a parser has against a value, without the names of its types. A text of a type of ours stays as it is.
fn plainly(text: &str) -> String {
    let parts = text.split_once(": ").zip(text.split_once(", expected "));
    match (text.split(' ').next(), parts) {
        (Some("unknown"), _) if text.contains(", expected ") => {
            let allowed = text.split(", expected ").nth(1).unwrap_or_default().trim_start_matches("one of ");
            format!("it can be {allowed}")
        }
        (Some("invalid"), Some(((_, value), _))) => {
            format!("{} can't be used here", value.split(", expected ").next().unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

/// Puts what stands in a file in the place of a secret, if there is such a file. `key` names it in the configuration.
fn put_secret(secret: &mut Secret, file: &Path, key: &str) -> Result<(), ConfigError> {
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    check_private(file)?;
    let text =
        std::fs::read_to_string(file).map_err(|error| ConfigError(format!("{key} {}: {error}", file.display())))?;
    *secret = Secret::new(text.trim().to_owned());
    Ok(())
}

/// Says of a secret no more than that there is one.
fn hide(secret: &mut Secret) {
    if !secret.reveal().is_empty() {
        *secret = Secret::new("(set, not shown)".into());
    }
}

/// A file with a secret is its owner's alone.
fn check_private(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt;
    let about = std::fs::metadata(path).map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(ConfigError(format!("other users may read the secret in {}: run chmod 600 on it", path.display())));
    }
    Ok(())
}

/// The cache directory of this user's programs.
pub fn cache_dir() -> Option<PathBuf> {
    dirs::cache_dir().map(|dir| dir.join("visor"))
}
