//! LXD's header scheme: a URL answers a `HEAD` with where an image is and what it hashes to, for the processors that are named.

use std::fmt;

use super::download::single;
use super::server::{Server, said};
use super::{Download, Files, Upstream};
use crate::archive::kernel_name;
use crate::digest::from_hex;
use crate::error::{Error, Reason, Result};
use crate::fetch::{Header, Request, Told};
use crate::image::Architecture;

/// Release of LXD whose API and images are the measure, in requests to other servers and for clients that check it.
pub const LXD_LEVEL: &str = "5.0.2";

/// Release of Incus whose API and images are the measure.
pub const INCUS_LEVEL: &str = "6.0.4";

/// The place of an image.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlAnswer {
    /// The URL of its one file.
    pub url: String,
    /// Its fingerprint.
    pub sha256: [u8; 32],
}

impl fmt::Debug for UrlAnswer {
    /// Without the URL, in which there may be a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlAnswer").field("sha256", &crate::digest::hex(&self.sha256)).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Asks a URL for an image for one of these processors.
    ///
    /// # Errors
    /// `Upstream` when it does not say where one is in its headers; `Invalid` when nothing is asked of it.
    pub async fn ask_url(&self, url: &str, architectures: &[Architecture]) -> Result<UrlAnswer> {
        let (server, _) = Server::with_path(&self.fetcher, url)?;
        let architectures: Vec<&str> = architectures.iter().map(|one| kernel_name(*one)).collect();
        let architectures = architectures.join(", ");
        let request = Request::to(url)
            .saying(Header::LxdArchitectures, &architectures)?
            .saying(Header::LxdVersion, LXD_LEVEL)?
            .saying(Header::IncusArchitectures, &architectures)?
            .saying(Header::IncusVersion, INCUS_LEVEL)?;
        let (_, told) = self.fetcher.headers_again(&request).await.map_err(|error| server.failed(error))?;
        let hash = either(&told, "image-hash", "LXD-Image-Hash")?;
        let url = either(&told, "image-url", "LXD-Image-URL")?.to_owned();
        let sha256 = from_hex(hash).ok_or_else(|| {
            let text = format!("The LXD-Image-Hash header of {} is no SHA-256: {}", server.host(), said(hash));
            Reason::Upstream.saying(text)
        })?;
        Ok(UrlAnswer { url, sha256 })
    }

    /// Begins to bring in the file under such a URL: one, and one that has to hash to what was said.
    ///
    /// # Errors
    /// `Invalid` when nothing is asked of the URL; what goes wrong later, the download says.
    pub async fn download_url(&self, answer: &UrlAnswer) -> Result<Download> {
        let (server, path) = Server::with_path(&self.fetcher, &answer.url)?;
        match single(path, answer.sha256) {
            Files::Listed(files) => Ok(Download::listed(self.fetcher.clone(), server, files)),
            Files::Export => Err(Error::internal("one file is a list of files")),
        }
    }
}

/// LXD's header, or Incus'.
fn either<'a>(told: &'a Told, name: &str, missing: &'static str) -> Result<&'a str> {
    let text = |family: &str| told.text(&format!("{family}-{name}")).filter(|text| !text.is_empty());
    text("lxd").or_else(|| text("incus")).ok_or_else(|| Reason::HeaderMissing.about(missing))
}
