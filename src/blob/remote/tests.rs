//! The contract against a real server of S3's and against a fake of HDFS's, and what only these can break.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::hdfs_fake::{self, Hdfs};
use super::*;
use crate::blob::{BlobWriter, suite};
use crate::fetch::FetchRules;
use crate::image::{Format, ImageId};

pub(super) const ACCESS: &str = "AKIDVISOR";
pub(super) const SECRET: &str = "s3cr3t-of-the-store";

/// A key that no other test has.
pub(super) fn key() -> BlobKey {
    BlobKey::main(ImageId::random(), Some(Format::Raw))
}

/// A fetcher that may go nowhere but to public addresses.
pub(super) fn patient() -> Fetcher {
    patient_for(Duration::from_secs(30))
}

pub(super) fn patient_for(idle_timeout: Duration) -> Fetcher {
    Fetcher::new(FetchRules { connect_timeout: idle_timeout, idle_timeout, ..FetchRules::default() })
}

/// A remote store, and the local one that it gathers in.
pub(super) struct Stores {
    pub(super) remote: RemoteStore,
    pub(super) spool: LocalStore,
    pub(super) _dir: TempDir,
}

pub(super) fn stores(settings: RemoteSettings, fetcher: &Fetcher) -> Stores {
    let dir = tempfile::tempdir().unwrap();
    let spool = LocalStore::open(dir.path()).unwrap();
    let remote = RemoteStore::open("attic", settings, spool.clone(), fetcher).unwrap();
    Stores { remote, spool, _dir: dir }
}

/// The store of a bucket under a URL.
pub(super) fn s3_at(endpoint: &str, tweak: impl FnOnce(&mut S3Settings)) -> Stores {
    s3_through(&patient(), endpoint, tweak)
}

pub(super) fn s3_through(fetcher: &Fetcher, endpoint: &str, tweak: impl FnOnce(&mut S3Settings)) -> Stores {
    let mut settings = S3Settings {
        scheme: "s3".into(),
        endpoint: endpoint.trim_end_matches('/').into(),
        region: "eu-test-1".into(),
        bucket: "images".into(),
        root: "visor/one".into(),
        access_key: ACCESS.into(),
        secret_key: SECRET.into(),
        virtual_host: false,
    };
    tweak(&mut settings);
    stores(RemoteSettings::S3(settings), fetcher)
}

pub(super) fn hdfs_at(hdfs: &Hdfs) -> Stores {
    let settings = HdfsSettings {
        endpoint: hdfs.namenode.url("").trim_end_matches('/').into(),
        user: hdfs_fake::USER.into(),
        root: "/visor/all images/".into(),
    };
    stores(RemoteSettings::Hdfs(settings), &patient())
}

/// Writes a blob in chunks of a mebibyte.
pub(super) async fn put(store: &RemoteStore, key: &BlobKey, bytes: &[u8], hint: bool) -> Result<u64, StoreError> {
    let mut writer = store.begin(key, hint.then_some(bytes.len() as u64)).await?;
    feed(&mut *writer, bytes).await?;
    writer.finish().await
}

pub(super) async fn feed(writer: &mut dyn BlobWriter, bytes: &[u8]) -> Result<(), StoreError> {
    for chunk in bytes.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(())
}

pub(super) async fn get(store: &RemoteStore, key: &BlobKey) -> Result<Vec<u8>, StoreError> {
    suite::read(store.open(key, None).await?).await
}

/// Bytes that differ from one piece to the next.
pub(super) fn sample(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8).collect()
}

/// Waits for what a task of its own does.
pub(super) async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never happens");
}

/// A server of S3's with an empty bucket: its directory and its URL.
async fn server() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("images")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(socket), service).await;
                Ok::<(), Infallible>(())
            });
        }
    });
    (dir, url)
}

/// Files of unfinished uploads.
fn parts(dir: &TempDir) -> usize {
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("upload")).count()
}

#[tokio::test]
async fn s3_keeps_the_contract() {
    let (_dir, url) = server().await;
    let Stores { remote, spool, _dir } = s3_at(&url, |_| {});
    suite::run_beside(&remote, &spool).await;
    assert_eq!(spool.list().await.unwrap(), []);
    let Stores { remote, spool, _dir } = s3_at(&url, |settings| settings.root = String::new());
    suite::run_beside(&remote, &spool).await;
}

#[tokio::test]
async fn hdfs_keeps_the_contract_with_and_without_redirects() {
    let hdfs = Hdfs::new();
    let Stores { remote, spool, _dir } = hdfs_at(&hdfs);
    suite::run_beside(&remote, &spool).await;
    hdfs.knows_noredirect.store(false, Ordering::Relaxed);
    suite::run_beside(&remote, &spool).await;
    until(|| hdfs.paths().is_empty()).await;
}

#[tokio::test]
async fn large_blobs_go_in_parts_and_nothing_of_an_aborted_one_stays() {
    let (dir, url) = server().await;
    let Stores { remote, .. } = s3_at(&url, |_| {});
    let bytes = sample((20 << 20) + 5);
    for hint in [true, false] {
        let key = key();
        assert_eq!(put(&remote, &key, &bytes, hint).await.unwrap(), bytes.len() as u64);
        assert!(get(&remote, &key).await.unwrap() == bytes);
        let body = remote.open(&key, Some(8 << 20..(8 << 20) + 9)).await.unwrap();
        assert_eq!(suite::read(body).await.unwrap(), bytes[8 << 20..(8 << 20) + 9]);
        assert!(matches!(put(&remote, &key, &bytes, hint).await, Err(StoreError::Exists)));
        assert!(get(&remote, &key).await.unwrap() == bytes);
        remote.delete(&key).await.unwrap();
    }
    assert_eq!(parts(&dir), 0);

    for dropped in [true, false] {
        let mut writer = remote.begin(&key(), Some(bytes.len() as u64)).await.unwrap();
        feed(&mut *writer, &bytes).await.unwrap();
        assert!(parts(&dir) > 0);
        assert_eq!(remote.under_way().len(), 1);
        if dropped {
            drop(writer)
        } else {
            writer.abort().await
        }
        until(|| parts(&dir) == 0).await;
        assert!(remote.under_way().is_empty());
    }
    assert_eq!(remote.list().await.unwrap(), []);
}

#[tokio::test]
async fn large_files_are_appended_to_and_nothing_of_an_aborted_one_stays() {
    let hdfs = Hdfs::new();
    let Stores { remote, .. } = hdfs_at(&hdfs);
    let (one, bytes) = (key(), sample((20 << 20) + 5));
    assert_eq!(put(&remote, &one, &bytes, true).await.unwrap(), bytes.len() as u64);
    assert!(get(&remote, &one).await.unwrap() == bytes);
    let posts = hdfs.datanode.heads().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 2, "the first piece creates the file, two are appended");
    assert!(matches!(put(&remote, &one, &bytes, true).await, Err(StoreError::Exists)));
    assert_eq!(hdfs.paths(), [format!("/visor/all images/{one}")]);

    for dropped in [true, false] {
        let mut writer = remote.begin(&key(), Some(bytes.len() as u64)).await.unwrap();
        feed(&mut *writer, &bytes).await.unwrap();
        assert_eq!(hdfs.paths().len(), 2);
        assert_eq!(remote.sweep(None).await.unwrap(), 0, "it is of this run");
        if dropped {
            drop(writer)
        } else {
            writer.abort().await
        }
        until(|| hdfs.paths().len() == 1).await;
    }
    // What an earlier run left, on several pages.
    for name in 0..7 {
        hdfs.files.lock().unwrap().insert(format!("/visor/all images/.staging/gone.{name}"), Some(vec![1]));
    }
    assert_eq!(remote.sweep(None).await.unwrap(), 7);
    assert_eq!(remote.list().await.unwrap(), [one]);
}

#[tokio::test]
async fn addresses_name_no_secrets_and_settings_that_cannot_be_meant_are_refused() {
    let key = key();
    let Stores { remote, spool, _dir } = s3_at("http://127.0.0.1:1", |settings| settings.scheme = "walrus".into());
    assert_eq!(remote.uri(&key), format!("walrus://images/visor/one/{key}"));
    assert!(!format!("{remote:?}").contains(SECRET));
    assert!(!format!("{remote:?}").contains(ACCESS));
    let hdfs = HdfsSettings { endpoint: "http://nn:9870".into(), user: "u".into(), root: String::new() };
    let there = stores(RemoteSettings::Hdfs(hdfs), &patient()).remote;
    assert_eq!(there.uri(&key), format!("hdfs://nn:9870/{key}"));

    let refused = |tweak: fn(&mut S3Settings)| {
        let (endpoint, secret_key) = ("http://127.0.0.1:1".to_owned(), SECRET.to_owned());
        let mut settings = S3Settings {
            scheme: "s3".into(),
            endpoint,
            region: String::new(),
            bucket: "b".into(),
            root: String::new(),
            access_key: ACCESS.into(),
            secret_key,
            virtual_host: false,
        };
        tweak(&mut settings);
        assert!(!format!("{settings:?}").contains(SECRET));
        let opened = RemoteStore::open("attic", RemoteSettings::S3(settings), spool.clone(), &patient());
        assert!(
            matches!(&opened, Err(StoreError::Unavailable(text)) if text.contains("attic") && !text.contains(SECRET))
        );
    };
    refused(|settings| settings.endpoint = format!("http://u:{SECRET}@h/"));
    refused(|settings| settings.endpoint = "ftp://h/".into());
    refused(|settings| settings.endpoint = "http://h/?x".into());
    refused(|settings| settings.bucket = String::new());
    refused(|settings| settings.bucket = "../x".into());
    refused(|settings| settings.root = "a/../b".into());
    refused(|settings| settings.root = "a//b".into());
    refused(|settings| settings.secret_key = String::new());
    refused(|settings| settings.access_key = String::new());
    refused(|settings| (settings.virtual_host, settings.bucket) = (true, "a.b".into()));
}

#[tokio::test]
async fn what_was_streamed_is_not_kept_and_what_is_kept_waits_here() {
    let hdfs = Hdfs::new();
    let Stores { remote, spool, _dir } = hdfs_at(&hdfs);
    let key = key();
    let mut writer = remote.begin(&key, None).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    assert_eq!(writer.keep().await.unwrap(), 0, "nothing was streamed yet");
    writer.write(Bytes::from_static(b"kept")).await.unwrap();
    assert_eq!(writer.keep().await.unwrap(), 4);
    assert!(hdfs.namenode.heads().is_empty(), "no request is sent before the end");
    assert_eq!(suite::read(writer.reread().await.unwrap()).await.unwrap(), b"kept");
    drop(writer);
    assert!(spool.resume(&key, 4, None).await.is_ok());
    remote.delete(&key).await.unwrap();
    assert!(matches!(spool.resume(&key, 0, None).await.err(), Some(StoreError::NotFound)));

    let mut writer = remote.begin(&key, None).await.unwrap();
    writer.write(Bytes::from_static(b"gone")).await.unwrap();
    assert!(matches!(writer.keep().await, Err(StoreError::Broken(_))));
    assert!(writer.finish().await.is_err(), "good for nothing but to be given up");
    assert!(hdfs.paths().is_empty());
}
