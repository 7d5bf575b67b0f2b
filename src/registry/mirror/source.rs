//! Sources: bytes that exist already, in a file of the operator's or under a URL, inspected once at registration. Bytes
//! under a URL are not read here: they may change at any time, beyond our control. Knows no protocol of our clients.

use std::path::PathBuf;

use crate::blob::{BlobBody, StoreError};
use crate::error::{Error, Reason, Result};
use crate::fetch::FetchError;
use crate::image::{Declared, Digests, Location, Part};
use crate::ingest::intake::Ingest;
use crate::registry::core::Core;
use crate::registry::gate::{WayIn, admit, unread};

/// Location of bytes that exist already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file below one of the import directories.
    File(PathBuf),
    /// An `http` or `https` URL.
    Http(String),
}

/// Inspects a source for an image that says this of its bytes: reads and hashes a file, asks a URL for its size and entity tag.
pub(in crate::registry) async fn inspect(
    core: &Core,
    ingest: &Ingest,
    source: Source,
    declared: Declared,
) -> Result<Part> {
    match source {
        Source::Http(url) => {
            let url = core.fetcher.canonical(&url).map_err(|error| error.of_file(&url))?;
            let found = core.fetcher.probe(&url).await.map_err(|error| nothing_at(error, &url))?;
            let part = unread(declared).part(Location::Http { url }, found.size, Digests::default())?;
            Ok(Part { etag: found.etag, ..part })
        }
        Source::File(path) => {
            // Hashing costs as much as an upload.
            let _slot = ingest.slot()?;
            let found = core.linked.open(&path).await.map_err(|error| missing(error, &path))?;
            let (size, digesting) = ingest.digest(BlobBody::File(found.file)).await?;
            let (digests, inspection) = digesting.finish();
            let mut admitted = admit(WayIn::File, &inspection, declared, &core.limits.inspect)?;
            if admitted.is_wrapped() {
                let again = core.linked.open(&path).await.map_err(|error| missing(error, &path))?;
                admitted.look_inside(core, BlobBody::File(again.file)).await?;
            }
            let location = Location::File { path: found.path.to_string_lossy().into_owned() };
            admitted.part(location, Some(size), digests)
        }
    }
}

/// A URL without its query, which may be a signature or a token, and without its fragment.
pub fn without_query(url: &str) -> &str {
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
