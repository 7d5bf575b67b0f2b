//! Sources: bytes that exist already, in a file of the operator's or under a URL, inspected once at registration. Bytes
//! under a URL are not read here: they may change at any time, beyond our control. Knows no protocol of our clients.

use std::path::PathBuf;

use crate::blob::{BlobBody, StoreError};
use crate::error::{Error, Reason, Result};
use crate::fetch::FetchError;
use crate::image::{Digests, Format, Location, Part, PartKind};
use crate::ingest::intake::Ingest;
use crate::inspect::check;
use crate::registry::core::Core;

/// Location of bytes that exist already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file below one of the import directories.
    File(PathBuf),
    /// An `http` or `https` URL.
    Http(String),
}

/// Inspects a source for an image of this format: reads and hashes a file, asks a URL for its size and entity tag.
pub(in crate::registry) async fn inspect(
    core: &Core,
    ingest: &Ingest,
    source: Source,
    format: Option<Format>,
) -> Result<Part> {
    match source {
        Source::Http(url) => {
            let url = core.fetcher.canonical(&url).map_err(|error| error.of_file(&url))?;
            let found = core.fetcher.probe(&url).await.map_err(|error| nothing_at(error, &url))?;
            Ok(Part {
                kind: PartKind::Main,
                location: Location::Http { url },
                size: found.size,
                virtual_size: None,
                digests: Digests::default(),
                etag: found.etag,
            })
        }
        Source::File(path) => {
            // Hashing costs as much as an upload.
            let _slot = ingest.slot()?;
            let found = core.linked.open(&path).await.map_err(|error| missing(error, &path))?;
            let (size, digesting) = ingest.digest(BlobBody::File(found.file)).await?;
            let (digests, inspection) = digesting.finish();
            check(&inspection, format, &ingest.limits.inspect)?;
            Ok(Part {
                kind: PartKind::Main,
                location: Location::File { path: found.path.to_string_lossy().into_owned() },
                size: Some(size),
                virtual_size: inspection.virtual_size(format),
                digests,
                etag: None,
            })
        }
    }
}

/// URL without its query, which may be a signature or a token.
pub(in crate::registry) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Error for a URL that has no bytes to give. The caller named the URL, and may read it in the message.
pub(in crate::registry) fn nothing_at(error: FetchError, url: &str) -> Error {
    match error {
        FetchError::NotFound => Reason::SourceNotFound.about(without_query(url)),
        FetchError::Compressed(_) => {
            let why = "its server compresses the file (Content-Encoding), although that was not asked for.";
            Reason::UrlRefused.about(why).because(error)
        }
        other => other.of_file(url),
    }
}

/// Error for a missing path. The caller named the path, and may read it in the message.
fn missing(error: StoreError, path: &std::path::Path) -> Error {
    match error {
        StoreError::NotFound => Reason::SourceNotFound.about(format!("file://{}", path.display())),
        other => other.into(),
    }
}
