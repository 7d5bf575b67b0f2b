//! Blobs that another server keeps: S3 and what speaks it, HDFS over WebHDFS. Both ways bytes are streamed, in pieces of bounded
//! size; nothing is under a key before all of it is.
//!
//! What goes out goes through [`crate::fetch`], and nothing but the settings says where to and as whom: no file, no variable of the
//! environment and no metadata service is asked. One server writes below a root: what others upload there would be swept.

#[cfg(test)]
mod fault_tests;
mod hdfs;
#[cfg(test)]
mod hdfs_fake;
#[cfg(test)]
mod hdfs_tests;
mod read;
mod settings;
mod signing;
mod sweep;
#[cfg(test)]
mod tests;
mod transport;
mod trouble;
mod upload;
mod walk;
mod webhdfs;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use opendal::services::{S3, Webhdfs};
use opendal::{ErrorKind, HttpTransporter, OperationContext, Operator};
use reqsign_core::ProvideCredentialChain;
use uuid::Uuid;

use self::hdfs::HdfsFiles;
pub use self::settings::{HdfsSettings, RemoteSettings, S3Settings};
use self::signing::{Keys, Signing};
use self::sweep::UnfinishedUploads;
use self::transport::{Dialect, Transport};
use self::trouble::{Trouble, Why, told, told_why};
use self::writer::RemoteWriter;
use super::{BlobBody, BlobStat, BlobStore, BlobWriter, LocalStore, StoreError, span};
use crate::fetch::Fetcher;
use crate::image::BlobKey;

/// Directory below the root for files of WebHDFS that are not complete.
const STAGING: &str = ".staging/";

/// A store that another server keeps. Clones are the same store.
#[derive(Clone)]
pub struct RemoteStore(Arc<RemoteInner>);

struct RemoteInner {
    /// Name of the store.
    name: String,
    operator: Operator,
    place: RemotePlace,
    /// Beginning of every blob's address.
    address: String,
    /// Store in which uploads in pieces are collected.
    spool: LocalStore,
    /// Begins the names of what this run stages.
    boot: Uuid,
    /// Keys that this run is writing.
    under_way: Mutex<Vec<BlobKey>>,
}

/// Parts that only one kind of server has.
enum RemotePlace {
    S3(UnfinishedUploads),
    Hdfs(HdfsFiles),
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore")
            .field("name", &self.0.name)
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// Opens a store without a request: the first request tells whether the server is down.
    ///
    /// `spool` collects uploads in pieces, under the same keys; the caller sweeps it. `fetcher` sends the requests; the
    /// endpoint may have any address.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for settings that can't be meant.
    pub fn open(
        name: &str,
        settings: RemoteSettings,
        spool: LocalStore,
        fetcher: &Fetcher,
    ) -> Result<Self, StoreError> {
        let (operator, place, address) = match settings {
            RemoteSettings::S3(settings) => s3(name, &settings, fetcher)?,
            RemoteSettings::Hdfs(settings) => hdfs(name, &settings, fetcher)?,
        };
        let (boot, under_way) = (Uuid::new_v4(), Mutex::default());
        Ok(Self(Arc::new(RemoteInner { name: name.to_owned(), operator, place, address, spool, boot, under_way })))
    }

    fn told(&self, error: &opendal::Error) -> StoreError {
        told(&self.0.name, error)
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<BlobKey>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Facts about the blob of a key, or the reason why they are unknown.
    async fn found(&self, key: &BlobKey) -> Result<BlobStat, StoreError> {
        let metadata = match self.0.operator.stat(key.as_str()).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.nothing_there().await),
            Err(error) => return Err(self.told(&error)),
        };
        if !metadata.is_file() {
            return Err(StoreError::NotFound);
        }
        let modified = metadata.last_modified().map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
        Ok(BlobStat { size: metadata.content_length(), modified })
    }

    /// An answer to `HEAD` has no body that would tell a missing object from a missing bucket, in which all are missing.
    async fn nothing_there(&self) -> StoreError {
        let RemotePlace::S3(_) = self.0.place else { return StoreError::NotFound };
        let first = async { self.0.operator.lister_with("").limit(1).await?.try_next().await };
        match first.await {
            Err(error) if error.kind() != ErrorKind::NotFound => match Trouble::of(&error).why {
                // Who may not list may still read.
                Why::Credentials | Why::NotImplemented => StoreError::NotFound,
                why => told_why(&self.0.name, why),
            },
            _ => StoreError::NotFound,
        }
    }
}

type Opened = (Operator, RemotePlace, String);

fn s3(name: &str, settings: &S3Settings, fetcher: &Fetcher) -> Result<Opened, StoreError> {
    settings.check(name)?;
    let root = settings::root(name, &settings.root)?;
    let url = settings.bucket_url();
    let fetcher = fetcher.granting(&url).map_err(|_| settings::unusable(name, "its endpoint has no host"))?;
    let transport = Transport::new(name, fetcher, Dialect::S3(Signing::new(settings)));
    let mut builder = S3::default()
        .endpoint(&settings.endpoint())
        .region(settings.region())
        .bucket(&settings.bucket)
        .root(&root)
        .credential_provider_chain(ProvideCredentialChain::new().push(Keys::of(settings)))
        .disable_config_load()
        .disable_ec2_metadata();
    if settings.virtual_host {
        builder = builder.enable_virtual_host_style();
    }
    let operator = Operator::new(builder).map_err(|error| told(name, &error))?;
    let address = below(&format!("{}://{}", settings.scheme, settings.bucket), &root);
    let prefix = if root.is_empty() { root } else { root + "/" };
    let uploads = UnfinishedUploads { url, prefix, signing: Signing::new(settings), transport: transport.clone() };
    Ok((through(operator, transport), RemotePlace::S3(uploads), address))
}

fn hdfs(name: &str, settings: &HdfsSettings, fetcher: &Fetcher) -> Result<Opened, StoreError> {
    settings::check_endpoint(name, &settings.endpoint)?;
    let root = settings::root(name, &settings.root)?;
    let fetcher =
        fetcher.granting(&settings.endpoint).map_err(|_| settings::unusable(name, "its endpoint has no host"))?;
    let transport = Transport::new(name, fetcher, Dialect::Hdfs { user: settings.user.clone() });
    let builder = Webhdfs::default().endpoint(&settings.endpoint).root(&root);
    let operator = through(Operator::new(builder).map_err(|error| told(name, &error))?, transport.clone());
    let host = settings.endpoint.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
    let address = below(&format!("hdfs://{host}"), &root);
    let files = HdfsFiles::new(settings, operator.clone(), transport, &root);
    Ok((operator, RemotePlace::Hdfs(files), address))
}

fn through(operator: Operator, transport: Transport) -> Operator {
    operator.with_context(OperationContext::new().with_http_transport(HttpTransporter::new(transport)))
}

/// An address with the root behind it, ending in a slash.
fn below(address: &str, root: &str) -> String {
    if root.is_empty() { format!("{address}/") } else { format!("{address}/{root}/") }
}

#[async_trait]
impl BlobStore for RemoteStore {
    async fn begin(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        Ok(Box::new(RemoteWriter::begin(self.clone(), key.clone(), size_hint)))
    }

    async fn begin_readable(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        let spooled = self.0.spool.begin(key, size_hint).await?;
        Ok(Box::new(RemoteWriter::spooled(self.clone(), key.clone(), spooled)))
    }

    async fn resume(
        &self,
        key: &BlobKey,
        length: u64,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, StoreError> {
        let spooled = self.0.spool.resume(key, length, size_hint).await?;
        Ok(Box::new(RemoteWriter::spooled(self.clone(), key.clone(), spooled)))
    }

    async fn open(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<BlobBody, StoreError> {
        let (offset, length) = span(range, self.found(key).await?.size)?;
        read::open(&self.0.name, &self.0.operator, key, offset, length).await
    }

    async fn stat(&self, key: &BlobKey) -> Result<BlobStat, StoreError> {
        self.found(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), StoreError> {
        self.0.spool.forget(key).await?;
        match self.0.operator.delete(key.as_str()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.told(&error)),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<BlobKey>, StoreError> {
        let mut keys = Vec::new();
        let listed = walk::walk(&self.0.operator, "", |entry| keys.extend(entry.path().parse::<BlobKey>())).await;
        listed.map_err(|error| self.told(&error))?;
        Ok(keys)
    }

    async fn sweep(&self, _: Option<&[BlobKey]>) -> Result<usize, StoreError> {
        match &self.0.place {
            RemotePlace::S3(uploads) => sweep::uploads(self, uploads).await,
            RemotePlace::Hdfs(files) => sweep::staging(self, files).await,
        }
        .map_err(|error| self.told(&error))
    }

    fn uri(&self, key: &BlobKey) -> String {
        format!("{}{key}", self.0.address)
    }

    async fn free(&self) -> Option<u64> {
        None
    }
}
