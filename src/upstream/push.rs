//! Giving an image to another server, which was told by its own user that it will come and whose secret allows it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use uuid::Uuid;

use super::Upstream;
use super::lxd::{DOCUMENT_BYTES_MAX, LxdAnswer, read};
use super::server::{Server, said};
use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::fetch::{Document, Header, Payload};
use crate::image::ImageKind;
use crate::percent::escaped;

/// Time in which a server may accept no bytes, or send no answer after all of them: it writes the image to its disk.
const TAKE_PATIENCE: Duration = Duration::from_secs(120);

/// Time for a server to hash and unpack an image.
const WORK_PATIENCE: Duration = Duration::from_secs(600);

/// To whom an image is given, and as what.
#[derive(Clone)]
pub struct Push {
    /// The server's URL.
    pub server: String,
    /// The certificate that it has to have, in PEM; without one, or with an empty one, any that the system trusts.
    pub certificate: Option<String>,
    /// Secret that allows the push.
    pub secret: String,
    /// The project there.
    pub project: Option<String>,
    /// Fingerprint of the image.
    pub fingerprint: [u8; 32],
    /// Its file name.
    pub filename: String,
    /// The names that it gets there.
    pub aliases: Vec<String>,
}

/// The bytes of an image.
pub enum Parcel {
    /// One file.
    Unified(Outgoing),
    /// Two, for a container or a virtual machine.
    Split {
        /// The description.
        metadata: Outgoing,
        /// The file system or the disk.
        rootfs: Outgoing,
        /// Container or virtual machine.
        kind: ImageKind,
    },
}

/// A file to be given.
pub struct Outgoing {
    /// Its name.
    pub name: String,
    /// Number of bytes, if it is known.
    pub size: Option<u64>,
    /// The bytes. An error of theirs is the push's.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

/// An operation of the other server.
#[derive(Deserialize)]
struct PushOperation {
    id: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    err: Option<String>,
    /// A secret in it lets those wait who are not trusted.
    #[serde(default)]
    metadata: Option<BTreeMap<String, serde_json::Value>>,
}

const PENDING: u16 = 105;
const RUNNING: u16 = 103;
const SUCCESS: u16 = 200;

impl Upstream {
    /// Gives an image to another server, and waits until it has taken it in.
    ///
    /// # Errors
    /// `Invalid` for a server that nothing is sent to; `Upstream` when it does not take the image, with its own words; what
    /// the bytes themselves fail with.
    pub async fn push(&self, to: &Push, parcel: Parcel) -> Result<()> {
        let server = Server::new(&self.fetcher, &to.server, to.certificate.as_deref())?;
        let project = to.project.as_deref().filter(|project| !project.is_empty());
        let project = project.map(|project| format!("project={}", escaped(project)));
        let query = project.as_ref().map(|project| format!("?{project}")).unwrap_or_default();
        let mut request = server.request(&format!("/1.0/images{query}")).within(TAKE_PATIENCE);
        let (fingerprint, filename) = (hex(&to.fingerprint), visible(&to.filename));
        let aliases: Vec<String> = to.aliases.iter().map(|alias| format!("alias={}", escaped(alias))).collect();
        for (header, value) in [
            (Header::LxdSecret, &to.secret),
            (Header::IncusSecret, &to.secret),
            (Header::LxdFingerprint, &fingerprint),
            (Header::IncusFingerprint, &fingerprint),
            (Header::LxdFilename, &filename),
            (Header::IncusFilename, &filename),
            (Header::LxdAliases, &aliases.join("&")),
            (Header::IncusAliases, &aliases.join("&")),
        ] {
            if !value.is_empty() {
                request = request.saying(header, value)?;
            }
        }
        let document = self.fetcher.send(&request, payload(parcel), DOCUMENT_BYTES_MAX).await;
        let operation = operation(&server, &document.map_err(|error| server.failed(error))?)?;
        self.wait(&server, operation, project.as_deref()).await
    }

    /// Waits until the server has done its work.
    async fn wait(&self, server: &Server, mut operation: PushOperation, project: Option<&str>) -> Result<()> {
        let secret = operation.metadata.as_ref().and_then(|metadata| metadata.get("secret")?.as_str());
        let secret = secret.map(|secret| format!("secret={}", escaped(secret)));
        let id: Uuid = operation.id.parse().map_err(|error| server.garbled("an LXD or Incus server", error))?;
        let query: Vec<&str> = [secret.as_deref(), project].into_iter().flatten().collect();
        let path = format!("/1.0/operations/{id}/wait?{}", query.join("&"));
        let work = async {
            loop {
                match operation.status_code {
                    SUCCESS => return Ok(()),
                    PENDING | RUNNING => {}
                    _ => return Err(failure(server, operation.err.as_deref().unwrap_or_default())),
                }
                let request = server.request(&path).within(WORK_PATIENCE);
                let document = self.fetcher.document(&request, DOCUMENT_BYTES_MAX).await;
                let document = document.map_err(|error| server.failed(error))?;
                operation = match read(server, &document)? {
                    LxdAnswer::Metadata(operation) => operation,
                    // Incus and newer LXDs say so with status 200.
                    LxdAnswer::Refusal(_, text) => return Err(failure(server, &text)),
                };
                if matches!(operation.status_code, PENDING | RUNNING) {
                    // One that does not wait is not asked without end.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        tokio::time::timeout(WORK_PATIENCE, work).await.unwrap_or_else(|_| {
            let text = format!("The server {} is not done with the image after {WORK_PATIENCE:?}.", server.host());
            Err(Reason::Upstream.saying(text))
        })
    }
}

fn operation(server: &Server, document: &Document) -> Result<PushOperation> {
    match read(server, document)? {
        LxdAnswer::Metadata(operation) => Ok(operation),
        LxdAnswer::Refusal(_, text) => Err(failure(server, &text)),
    }
}

fn failure(server: &Server, text: &str) -> Error {
    Reason::Upstream.saying(format!("The server {} did not take the image: {}", server.host(), said(text)))
}

/// Removes characters that a header can't have.
fn visible(name: &str) -> String {
    name.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// The body that an image is given in.
fn payload(parcel: Parcel) -> Payload {
    let (metadata, rootfs, kind) = match parcel {
        Parcel::Unified(file) => {
            let content_type = "application/octet-stream".to_owned();
            return Payload { content_type, length: file.size, stream: file.bytes };
        }
        Parcel::Split { metadata, rootfs, kind } => (metadata, rootfs, kind),
    };
    let boundary = Uuid::new_v4().simple().to_string();
    let name = if kind == ImageKind::VirtualMachine { "rootfs.img" } else { "rootfs" };
    let first = opening(&boundary, "metadata", &metadata.name);
    let second = format!("\r\n{}", opening(&boundary, name, &rootfs.name));
    let end = format!("\r\n--{boundary}--\r\n");
    let frame = (first.len() + second.len() + end.len()) as u64;
    let length = metadata.size.zip(rootfs.size).map(|(metadata, rootfs)| metadata + rootfs + frame);
    let text = |text: String| stream::iter([Ok(Bytes::from(text))]);
    let whole = text(first).chain(sized(metadata)).chain(text(second)).chain(sized(rootfs)).chain(text(end));
    Payload { content_type: format!("multipart/form-data; boundary={boundary}"), length, stream: whole.boxed() }
}

/// The head of a part.
fn opening(boundary: &str, name: &str, file: &str) -> String {
    let file = visible(file).replace(['"', '\\'], "_");
    format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
}

/// The bytes of a file, just as many as were said: two wrong lengths in one form could make up for each other.
fn sized(file: Outgoing) -> BoxStream<'static, Result<Bytes>> {
    let Some(size) = file.size else { return file.bytes };
    let checked = stream::try_unfold((file.bytes, size), |(mut bytes, left)| async move {
        let piece = bytes.next().await.transpose()?;
        let left = left.checked_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        match (piece, left) {
            (None, Some(0)) => Ok(None),
            (Some(piece), Some(left)) => Ok(Some((piece, (bytes, left)))),
            _ => Err(Error::internal("a file has not the size that was said")),
        }
    });
    checked.boxed()
}
