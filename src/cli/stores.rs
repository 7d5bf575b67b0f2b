//! Opens the stores that the configuration names.

use std::path::Path;

use super::{Failure, bad_ca_file, read_ca_file};
use crate::blob::{BlobStore, LocalStore, Store, Stores};
use crate::config::{Config, NamedStore};
use crate::fetch::Fetcher;

/// Opens the stores of a configuration, without a connection: a server that is down now may be up when it is needed.
pub(super) fn open(config: &Config, data_dir: &Path, fetcher: &Fetcher) -> Result<Stores, Failure> {
    let local = LocalStore::open(data_dir).map_err(crate::error::Error::from)?;
    let mut stores = Stores::local(Box::new(local.clone()));
    for (name, named) in &config.stores.named {
        let blobs = remote(name, named, &local, &trusting(fetcher, name, &named.ca_file)?)?;
        let default = config.stores.default == *name;
        let name = name.parse().map_err(|()| Failure::general(format!("{name} is not a valid store name")))?;
        stores.add(Store { name, kind: named.place.kind(), description: named.description.clone(), blobs }, default);
    }
    Ok(stores)
}

/// Fetcher for a store that trusts the certificates of a file.
fn trusting(fetcher: &Fetcher, name: &str, ca_file: &Path) -> Result<Fetcher, Failure> {
    let section = format!("stores.{name}");
    let Some(pem) = read_ca_file(ca_file, &section)? else { return Ok(fetcher.clone()) };
    fetcher.trusting(&pem).map_err(|error| bad_ca_file(ca_file, &section, error.message()))
}

#[cfg(feature = "remote")]
fn remote(
    name: &str,
    named: &NamedStore,
    local: &LocalStore,
    fetcher: &Fetcher,
) -> Result<Box<dyn BlobStore>, Failure> {
    use crate::blob::{HdfsSettings, RemoteSettings, RemoteStore, S3Settings};
    use crate::config::StorePlace::{Cumulus, Hdfs, Lcs, S3, Walrus};
    let endpoint = named.endpoint.clone();
    let settings = match &named.place {
        Hdfs(place) => {
            RemoteSettings::Hdfs(HdfsSettings { endpoint, user: place.user.clone(), root: place.root.clone() })
        }
        S3(place) | Cumulus(place) | Walrus(place) | Lcs(place) => RemoteSettings::S3(S3Settings {
            scheme: named.place.kind().to_owned(),
            endpoint,
            region: place.region.clone(),
            bucket: place.bucket.clone(),
            root: place.root.clone(),
            access_key: place.access_key.clone(),
            secret_key: place.secret_key.reveal().to_owned(),
            virtual_host: place.virtual_host,
        }),
    };
    let opened = RemoteStore::open(name, settings, local.clone(), fetcher);
    let opened = opened.map_err(|error| Failure::general(format!("cannot use the store {name}: {error}")))?;
    Ok(Box::new(opened))
}

#[cfg(not(feature = "remote"))]
fn remote(name: &str, _: &NamedStore, _: &LocalStore, _: &Fetcher) -> Result<Box<dyn BlobStore>, Failure> {
    Err(Failure::general(format!(
        "the store {name} is on another machine, and this visor was built without the feature `remote`"
    )))
}
