//! Sweep of a remote store: removes the rests of unfinished writers of earlier runs.

use std::collections::HashSet;

use http::{Method, Request, Response};
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use serde::Deserialize;

use super::hdfs::HdfsFiles;
use super::signing::Signing;
use super::transport::Transport;
use super::trouble::{Trouble, Why};
use super::walk::walk;
use super::{RemoteStore, STAGING};
use crate::image::BlobKey;
use crate::percent::escaped;

/// Pages of a list of uploads, of up to a thousand each.
const PAGES_MAX: usize = 1000;

/// Uploads to a bucket that were begun. OpenDAL has no words for those that it did not begin itself.
pub(super) struct UnfinishedUploads {
    /// The bucket's URL.
    pub(super) url: String,
    /// The root, with a slash if it is not empty.
    pub(super) prefix: String,
    pub(super) signing: Signing,
    pub(super) transport: Transport,
}

/// One page of them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UploadPage {
    upload: Vec<UnfinishedUpload>,
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnfinishedUpload {
    key: String,
    upload_id: String,
}

/// Aborts uploads that this server is not working on.
pub(super) async fn uploads(store: &RemoteStore, uploads: &UnfinishedUploads) -> opendal::Result<usize> {
    let (mut swept, mut key, mut id) = (0, String::new(), String::new());
    for _ in 0..PAGES_MAX {
        let page = match uploads.page(&key, &id).await {
            Err(error) if Trouble::of(&error).why == Why::NotImplemented => {
                log::debug!("the store {} can't list unfinished uploads: none are swept", store.0.name);
                return Ok(swept);
            }
            page => page?,
        };
        for upload in &page.upload {
            let ours = upload.key.strip_prefix(&uploads.prefix).and_then(|key| key.parse::<BlobKey>().ok());
            if ours.is_some_and(|key| !store.under_way().contains(&key)) {
                uploads.abort(upload).await?;
                swept += 1;
            }
        }
        let onward = (&page.next_key_marker, &page.next_upload_id_marker) != (&key, &id);
        if !page.is_truncated || page.next_key_marker.is_empty() || !onward {
            return Ok(swept);
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    log::warn!("the store {} has more unfinished uploads than are swept at once", store.0.name);
    Ok(swept)
}

impl UnfinishedUploads {
    async fn page(&self, key: &str, id: &str) -> opendal::Result<UploadPage> {
        // In the order that signatures want.
        let markers = if key.is_empty() {
            String::new()
        } else {
            format!("key-marker={}&upload-id-marker={}&", escaped(key), escaped(id))
        };
        let url = format!("{}?{markers}prefix={}&uploads=", self.url, escaped(&self.prefix));
        let answer = self.ask(Method::GET, &url).await?;
        if !answer.status().is_success() {
            return Err(odd(Why::NotImplemented));
        }
        let bytes = answer.into_body().to_buffer().await?.to_bytes();
        quick_xml::de::from_reader(bytes.as_ref()).map_err(|_| odd(Why::Odd))
    }

    async fn abort(&self, upload: &UnfinishedUpload) -> opendal::Result<()> {
        let url = format!("{}/{}?uploadId={}", self.url, path(&upload.key), escaped(&upload.upload_id));
        match self.ask(Method::DELETE, &url).await {
            // It was aborted meanwhile.
            Err(error) if Trouble::of(&error).why != Why::Gone => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask(&self, method: Method, url: &str) -> opendal::Result<Response<HttpBody>> {
        let request = Request::builder().method(method).uri(url).body(Buffer::new()).map_err(|_| odd(Why::Odd))?;
        let (mut parts, body) = request.into_parts();
        self.signing.sign(&mut parts).await.map_err(|_| odd(Why::Odd))?;
        self.transport.fetch(Request::from_parts(parts, body)).await
    }
}

fn odd(why: Why) -> opendal::Error {
    Trouble { why, doubt: false }.into()
}

fn path(text: &str) -> String {
    text.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// Removes staged files of earlier runs.
pub(super) async fn staging(store: &RemoteStore, files: &HdfsFiles) -> opendal::Result<usize> {
    let boot = store.0.boot.to_string();
    let mut left = HashSet::new();
    let staged = walk(&files.operator, STAGING, |entry| {
        let name = entry.path().strip_prefix(STAGING).unwrap_or_default();
        if entry.metadata().is_file() && !name.is_empty() && !name.starts_with(&boot) {
            left.insert(entry.path().to_owned());
        }
    });
    staged.await?;
    let mut swept = 0;
    for path in left {
        match files.operator.delete(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => swept += 1,
        }
    }
    Ok(swept)
}
