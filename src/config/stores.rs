//! The stores that the configuration names, each a table of its own below `[stores]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{ConfigError, hide, put_secret};
use crate::account::Secret;
use crate::image::StoreName;

/// Keys below `[stores]` in the shipped file that are not named stores.
const SHIPPED: [&str; 2] = ["default", "file"];

/// A section of `visor.toml`, where its keys are explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct StoresSection {
    pub default: String,
    pub file: FileStore,
    /// Other stores, by name.
    #[serde(flatten)]
    pub named: BTreeMap<String, NamedStore>,
}

/// A section of `visor.toml`, where its keys are explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct FileStore {
    pub import_dirs: Vec<PathBuf>,
}

/// A store on another server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct NamedStore {
    pub description: String,
    pub endpoint: String,
    pub ca_file: PathBuf,
    #[serde(flatten)]
    pub place: StorePlace,
}

/// Settings of a store by its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub enum StorePlace {
    S3(S3Store),
    Cumulus(S3Store),
    Walrus(S3Store),
    #[serde(alias = "lunacloud")]
    Lcs(S3Store),
    Hdfs(HdfsStore),
}

/// A bucket of a server that speaks S3.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct S3Store {
    pub region: String,
    pub bucket: String,
    pub root: String,
    pub access_key: String,
    pub secret_key: Secret,
    pub secret_key_file: PathBuf,
    pub virtual_host: bool,
}

/// A directory of an HDFS, by WebHDFS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct HdfsStore {
    pub user: String,
    pub root: String,
}

impl StorePlace {
    /// The word for its kind; it is also what its addresses begin with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Cumulus(_) => "cumulus",
            Self::Walrus(_) => "walrus",
            Self::Lcs(_) => "lcs",
            Self::Hdfs(_) => "hdfs",
        }
    }

    /// The settings of the bucket, if the store is one.
    pub fn bucket(&self) -> Option<&S3Store> {
        match self {
            Self::S3(bucket) | Self::Cumulus(bucket) | Self::Walrus(bucket) | Self::Lcs(bucket) => Some(bucket),
            Self::Hdfs(_) => None,
        }
    }

    fn secret(&mut self) -> Option<(&mut Secret, &Path)> {
        match self {
            Self::S3(bucket) | Self::Cumulus(bucket) | Self::Walrus(bucket) | Self::Lcs(bucket) => {
                Some((&mut bucket.secret_key, &bucket.secret_key_file))
            }
            Self::Hdfs(_) => None,
        }
    }
}

/// The table of a kind with every key it has, for the values of a file to be put over; none for a kind that is not.
fn defaults(kind: &str) -> Option<Table> {
    let text = |value: &str| Value::String(value.to_owned());
    // Where each was found in its time, and how the original VISOR spoke to it.
    let endpoint = match kind {
        "s3" => "https://s3.amazonaws.com",
        "cumulus" => "http://127.0.0.1:8888",
        "walrus" => "http://127.0.0.1:8773/services/Walrus",
        "lcs" | "lunacloud" => "http://lcs.lunacloud.com",
        "hdfs" => "http://127.0.0.1:9870",
        _ => return None,
    };
    let keys: &[(&str, Value)] = if kind == "hdfs" {
        &[("user", text("visor")), ("root", text("/visor"))]
    } else {
        &[
            ("region", text("us-east-1")),
            ("bucket", text("")),
            ("root", text("")),
            ("access_key", text("")),
            ("secret_key", text("")),
            ("secret_key_file", text("")),
            ("virtual_host", Value::Boolean(false)),
        ]
    };
    let common = [("kind", text(kind)), ("description", text("")), ("endpoint", text(endpoint)), ("ca_file", text(""))];
    Some(common.iter().chain(keys).map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

/// Makes room in the defaults for the stores that a file names.
///
/// # Errors
/// A name or a kind that can't be.
pub(super) fn make_room(base: &mut Table, file: &Table, name: &str) -> Result<(), ConfigError> {
    let (Some(Value::Table(base)), Some(Value::Table(stores))) = (base.get_mut("stores"), file.get("stores")) else {
        return Ok(());
    };
    for (store, table) in stores.iter().filter(|(store, _)| !SHIPPED.contains(&store.as_str())) {
        let wrong = |what: &str| Err(ConfigError(format!("{name}: stores.{store}: {what}")));
        let named = store.parse().is_ok_and(|name: StoreName| name != StoreName::HTTP && name.as_str() == store);
        if !named {
            return wrong(
                "the name of a store consists of small letters, digits, - and _; default, file and http are taken",
            );
        }
        let kind = table.get("kind").and_then(Value::as_str).unwrap_or_default();
        match defaults(kind) {
            Some(defaults) => drop(base.insert(store.clone(), Value::Table(defaults))),
            None => return wrong("kind must be one of s3, cumulus, walrus, lcs and hdfs"),
        }
    }
    Ok(())
}

/// Tells whether a table has a secret of a store.
pub(super) fn has_secret(file: &Table) -> bool {
    let stores = file.get("stores").and_then(Value::as_table);
    stores.into_iter().flatten().any(|(_, store)| store.get("secret_key").is_some_and(|key| key.as_str() != Some("")))
}

impl StoresSection {
    /// Takes secrets out of the files in which they stand.
    pub(super) fn read_secrets(&mut self) -> Result<(), ConfigError> {
        for (name, store) in &mut self.named {
            if let Some((secret, file)) = store.place.secret() {
                put_secret(secret, file, &format!("stores.{name}.secret_key_file"))?;
            }
        }
        Ok(())
    }

    /// A copy without secrets.
    pub(super) fn shown(mut self) -> Self {
        self.named.values_mut().filter_map(|store| store.place.secret()).for_each(|(secret, _)| hide(secret));
        self
    }

    /// Checks the settings that are wrong only in combination.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.default != StoreName::FILE.as_str() && !self.named.contains_key(&self.default) {
            return Err(ConfigError(format!("stores.default is {:?}, and no such store is configured", self.default)));
        }
        for (name, store) in &self.named {
            let wrong = |what: &str| Err(ConfigError(format!("stores.{name}.{what}")));
            let endpoint = &store.endpoint;
            if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
                return wrong("endpoint must begin with http:// or https://");
            }
            if endpoint.contains('@') {
                return wrong("endpoint must not contain a user: use access_key and secret_key");
            }
            if !store.ca_file.as_os_str().is_empty() && !endpoint.starts_with("https://") {
                return wrong("ca_file needs an endpoint with https://");
            }
            if store.place.bucket().is_some_and(|place| place.bucket.is_empty()) {
                return wrong("bucket is missing");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    const COLD: &str = "[stores.cold]\nkind = \"s3\"\nbucket = \"images\"\naccess_key = \"me\"\n";

    fn with(text: &str, mode: u32, environment: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(Some(file.path()), environment).map_err(|error| error.to_string())
    }

    fn s3_of(config: &Config) -> S3Store {
        match &config.stores.named["cold"] {
            NamedStore { place: StorePlace::S3(bucket), .. } => bucket.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stores_have_the_defaults_of_their_kind() {
        let config = with(&format!("{COLD}[stores]\ndefault = \"cold\"\n"), 0o644, &[]).unwrap();
        let store = &config.stores.named["cold"];
        assert_eq!((&*store.endpoint, &*s3_of(&config).region), ("https://s3.amazonaws.com", "us-east-1"));
        assert_eq!((config.stores.default.as_str(), store.place.kind()), ("cold", "s3"));
        for (kind, endpoint) in [("cumulus", ":8888"), ("walrus", "/services/Walrus"), ("lunacloud", "lunacloud.com")] {
            let config = with(&format!("[stores.a]\nkind = \"{kind}\"\nbucket = \"b\"\n"), 0o644, &[]).unwrap();
            assert!(format!("{:?}", config.stores.named["a"]).contains(endpoint), "{kind}");
        }
        let config = with("[stores.a]\nkind = \"hdfs\"\nuser = \"me\"\n", 0o644, &[]).unwrap();
        let StorePlace::Hdfs(store) = &config.stores.named["a"].place else { panic!("it is HDFS") };
        assert_eq!((store.user.as_str(), store.root.as_str()), ("me", "/visor"));
    }

    #[test]
    fn a_secret_is_in_a_private_file_or_in_the_environment_and_never_shown() {
        let secret = format!("{COLD}secret_key = \"s3cret\"\n");
        assert!(with(&secret, 0o644, &[]).unwrap_err().contains("chmod 600"));
        let config = with(&secret, 0o600, &[]).unwrap();
        assert_eq!(s3_of(&config).secret_key.reveal(), "s3cret");
        assert!(!config.show().unwrap().contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        let config = with(COLD, 0o644, &[("VISOR__STORES__COLD__SECRET_KEY", "from-there")]).unwrap();
        assert_eq!(s3_of(&config).secret_key.reveal(), "from-there");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of-a-file\n").unwrap();
        let text = format!("{COLD}secret_key_file = {:?}\n", file.path());
        assert_eq!(s3_of(&with(&text, 0o644, &[]).unwrap()).secret_key.reveal(), "of-a-file");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(with(&text, 0o644, &[]).unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn what_can_not_be_is_named() {
        for (text, word) in [
            ("[stores.cold]\nbucket = \"b\"\n", "kind must be one of"),
            ("[stores.cold]\nkind = \"swift\"\n", "kind must be one of"),
            ("[stores.Cold]\nkind = \"s3\"\n", "small letters"),
            ("[stores.http]\nkind = \"s3\"\n", "are taken"),
            ("[stores.cold]\nkind = \"s3\"\n", "stores.cold.bucket is missing"),
            ("[stores.cold]\nkind = \"s3\"\nbuket = \"b\"\n", "stores.cold.bucket"),
            ("[stores.cold]\nkind = \"hdfs\"\nbucket = \"b\"\n", "unknown key stores.cold.bucket"),
            ("[stores.cold]\nkind = \"s3\"\nbucket = \"b\"\nendpoint = \"minio:9000\"\n", "http://"),
            ("[stores.cold]\nkind = \"s3\"\nbucket = \"b\"\nendpoint = \"http://a:b@c\"\n", "must not contain a user"),
            ("[stores.a]\nkind = \"hdfs\"\nca_file = \"/ca.pem\"\n", "ca_file needs"),
            ("[stores]\ndefault = \"cold\"\n", "no such store"),
        ] {
            let refusal = with(text, 0o600, &[]).unwrap_err();
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }
}
