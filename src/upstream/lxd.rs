//! The images API of LXD and Incus, as a client that the server need not trust.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::server::{Server, file_name, is_text, said};
use super::{Ask, Download, Files, Found, forms};
use crate::digest::{from_hex, hex};
use crate::error::{Reason, Result};
use crate::fetch::{Document, Fetcher};
use crate::image::{Architecture, ImageKind, Timestamp};
use crate::percent::escaped;

/// Largest description of one image: the properties that we keep of one are a tenth of it.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// The frame of every answer.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    #[serde(rename = "type")]
    kind: String,
    metadata: Option<T>,
    #[serde(default)]
    error: Option<String>,
}

/// An answer that was understood.
pub(super) enum LxdAnswer<T> {
    /// The requested thing, or the result.
    Metadata(T),
    /// An error: its status, and what the server says.
    Refusal(u16, String),
}

/// Reads an answer. The older servers send an error in mid-operation with status 200, so the envelope decides.
pub(super) fn read<T: DeserializeOwned>(server: &Server, document: &Document) -> Result<LxdAnswer<T>> {
    let garbled = |cause: String| server.garbled("an LXD or Incus server", cause);
    // An error has `null` or nothing for metadata, and what it has otherwise is not what was asked for.
    let status = document.status;
    let kind: Envelope<serde::de::IgnoredAny> =
        serde_json::from_slice(&document.bytes).map_err(|error| garbled(format!("status {status}: {error}")))?;
    match kind.kind.as_str() {
        "error" => Ok(LxdAnswer::Refusal(status, kind.error.unwrap_or_default())),
        "sync" | "async" if (200..300).contains(&status) => {
            let whole: Envelope<T> =
                serde_json::from_slice(&document.bytes).map_err(|error| garbled(error.to_string()))?;
            whole.metadata.map(LxdAnswer::Metadata).ok_or_else(|| garbled("no metadata".into()))
        }
        other => Err(garbled(format!("status {status}, type {}", said(other)))),
    }
}

#[derive(Deserialize)]
struct AliasRow {
    target: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// An image as the API shows it. What older servers lack is optional.
#[derive(Deserialize)]
struct ImageRow {
    fingerprint: String,
    architecture: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// Asks a server for an image.
pub(super) async fn find(fetcher: &Fetcher, server: &Server, ask: &Ask) -> Result<Found> {
    let client = LxdClient { fetcher, server, ask };
    // A secret opens an image to callers that may see no aliases.
    let alias = if ask.secret().is_none() { client.alias().await? } else { None };
    let by_alias = alias.is_some();
    let name = match &alias {
        Some(target) => hex(target),
        None => prefix(&ask.image).ok_or_else(|| server.has_no(&ask.image))?,
    };
    let row = client.image(&name).await?.ok_or_else(|| server.has_no(&ask.image))?;
    let found = client.found(row, by_alias)?;
    if !hex(&found.fingerprint).starts_with(&name) {
        return Err(server.garbled("an LXD or Incus server", "another image than was asked for"));
    }
    let other = |what: &str| {
        let text = format!("'{}' on {} is no {what}.", said(&ask.image), server.host());
        Err(Reason::RemoteImageNotFound.saying(text))
    };
    match (ask.kind, ask.architecture) {
        (Some(kind), _) if kind != found.kind => other(kind.name()),
        (_, Some(architecture)) if architecture != found.architecture => {
            other(&format!("image for {}", architecture.name()))
        }
        _ => Ok(found),
    }
}

/// Asks for the bytes of an image: one file, or two in a form.
pub(super) async fn export(fetcher: &Fetcher, server: &Server, ask: &Ask, found: &Found) -> Result<Download> {
    let path = format!("/1.0/images/{}/export{}", hex(&found.fingerprint), query(ask, []));
    let body = fetcher.open_again(&server.request(&path)).await.map_err(|error| server.failed(error))?;
    if body.status != 200 {
        let document = fetcher.rest(body, DOCUMENT_BYTES_MAX).await.map_err(|error| server.failed(error))?;
        return match read::<serde::de::IgnoredAny>(server, &document)? {
            LxdAnswer::Refusal(404, _) => Err(server.has_no(&ask.image)),
            LxdAnswer::Refusal(_, text) => Err(server.refuses(&text)),
            LxdAnswer::Metadata(_) => Err(server.garbled("an LXD or Incus server", document.status)),
        };
    }
    // Incus' word for images that are no tarballs, whose fingerprint is not that of the bytes.
    if body.told.text("x-incus-type").is_some_and(|kind| kind != "incus") {
        return Err(Reason::Unsupported.saying("Only images of containers and virtual machines are copied."));
    }
    match body.told.text("content-type").unwrap_or_default() {
        kind if forms::is_form(kind) => Download::split(server, found, kind.to_owned(), body),
        kind if is_text(kind) => Err(server.garbled("an LXD or Incus server", format!("{} for an image", said(kind)))),
        _ => Download::unified(server, found, body),
    }
}

struct LxdClient<'a> {
    fetcher: &'a Fetcher,
    server: &'a Server,
    ask: &'a Ask,
}

impl LxdClient<'_> {
    /// The fingerprint of an alias, if its image is of the wanted kind.
    async fn alias(&self) -> Result<Option<[u8; 32]>> {
        // These two would be a step in the path however they are written.
        if matches!(self.ask.image.as_str(), "." | "..") {
            return Ok(None);
        }
        // A server that has several images of one alias chooses by these; LXD and Incus have one, and pass over them.
        let kind = self.ask.kind.map(|kind| ("type", kind.name()));
        let architecture = self.ask.architecture.map(|architecture| ("architecture", architecture.name()));
        let more = [kind, architecture].into_iter().flatten();
        let path = format!("/1.0/images/aliases/{}{}", escaped(&self.ask.image), query(self.ask, more));
        let Some(row) = self.get::<AliasRow>(&path).await? else { return Ok(None) };
        if self.ask.kind.is_some_and(|kind| Some(kind) != kind_of(row.kind.as_deref())) {
            return Ok(None);
        }
        let target = from_hex(&row.target);
        target.map(Some).ok_or_else(|| self.server.garbled("an LXD or Incus server", "an alias of no image"))
    }

    /// The image whose fingerprint begins so.
    async fn image(&self, fingerprint: &str) -> Result<Option<ImageRow>> {
        self.get(&format!("/1.0/images/{fingerprint}{}", query(self.ask, []))).await
    }

    /// Gets a document. `None` if it does not exist, or is not for us.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let document = self.server.document(self.fetcher, path, DOCUMENT_BYTES_MAX).await?;
        match read(self.server, &document)? {
            LxdAnswer::Metadata(metadata) => Ok(Some(metadata)),
            // 400 is for a name that can be none.
            LxdAnswer::Refusal(400 | 401 | 403 | 404, _) => Ok(None),
            LxdAnswer::Refusal(_, text) => Err(self.server.refuses(&text)),
        }
    }

    fn found(&self, row: ImageRow, by_alias: bool) -> Result<Found> {
        let garbled = |what: &str| self.server.garbled("an LXD or Incus server", what);
        let architecture = Architecture::parse(&row.architecture)
            .ok_or_else(|| Reason::ArchitectureUnsupported.about(said(&row.architecture)))?;
        Ok(Found {
            fingerprint: from_hex(&row.fingerprint).ok_or_else(|| garbled("no fingerprint"))?,
            by_alias,
            kind: kind_of(row.kind.as_deref()).ok_or_else(|| garbled("neither container nor virtual machine"))?,
            architecture,
            filename: row.filename.as_deref().and_then(file_name).unwrap_or_default().to_owned(),
            properties: row.properties.unwrap_or_default(),
            created_at: row.created_at.as_deref().and_then(moment),
            expires_at: row.expires_at.as_deref().and_then(moment),
            size: row.size.filter(|size| *size > 0),
            files: Files::Export,
        })
    }
}

/// The query of every request about images, with some more pairs.
fn query<'a>(ask: &'a Ask, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = [("project", ask.project()), ("secret", ask.secret())];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(more);
    let pairs = pairs.map(|(name, value)| format!("{name}={}", escaped(value)));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// The beginning of a fingerprint, as servers write it.
pub(super) fn prefix(text: &str) -> Option<String> {
    let good = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| text.to_ascii_lowercase())
}

/// A kind by its word. Servers from before there were two have none.
fn kind_of(word: Option<&str>) -> Option<ImageKind> {
    match word {
        None | Some("" | "container") => Some(ImageKind::Container),
        Some("virtual-machine") => Some(ImageKind::VirtualMachine),
        Some(_) => None,
    }
}

/// A moment as Go writes it, which has two ways to say that there is none.
fn moment(text: &str) -> Option<Timestamp> {
    let moment = text.parse::<jiff::Timestamp>().ok()?.as_microsecond();
    (moment > 0).then_some(Timestamp(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_and_none_is_none() {
        assert_eq!(moment("2024-02-03T04:05:06.5Z"), Some(Timestamp(1_706_933_106_500_000)));
        assert_eq!(moment("2024-02-03T05:05:06+01:00"), Some(Timestamp(1_706_933_106_000_000)));
        for none in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "", "yesterday", "99999-01-01T00:00:00Z"] {
            assert_eq!(moment(none), None, "{none}");
        }
    }

    #[test]
    fn prefixes_are_hexadecimal() {
        assert_eq!(prefix("0aF").as_deref(), Some("0af"));
        for bad in ["", "%", "xyz", "0a_", "../0a", &"a".repeat(65)] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }
}
