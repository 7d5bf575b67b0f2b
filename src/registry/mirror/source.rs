//! Bytes that are somewhere already: a file of the operator's, or a URL. Looked at once, when they are registered. What is
//! under a URL is not read here: it may be something else at any time, and nobody can be kept from it by us.

use std::path::PathBuf;

use crate::blob::{BlobBody, StoreError};
use crate::error::{Error, Kind, Result};
use crate::fetch::FetchError;
use crate::image::{Digests, Format, Location, Part, PartKind};
use crate::ingest::intake::Ingest;
use crate::inspect::check;
use crate::registry::core::Core;

/// Where bytes already are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file below one of the import directories.
    File(PathBuf),
    /// An `http` or `https` URL.
    Http(String),
}

/// Looks at a source of an image of this format: a file is read and hashed, a URL is asked for its size and entity tag.
pub(in crate::registry) async fn inspect(
    core: &Core,
    ingest: &Ingest,
    source: Source,
    format: Option<Format>,
) -> Result<Part> {
    match source {
        Source::Http(url) => {
            let url = core.fetcher.canonical(&url)?;
            let found = core.fetcher.head(&url).await.map_err(|error| nothing_at(error, &url))?;
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
            // It costs what an upload costs.
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

/// A URL without what stands behind its `?`, which may be a signature or a token.
pub(in crate::registry) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The caller named the URL, so naming it back tells nothing new.
pub(in crate::registry) fn nothing_at(error: FetchError, url: &str) -> Error {
    match error {
        FetchError::NotFound => Error::new(Kind::NotFound, format!("No image file found at {}", without_query(url))),
        other => other.into(),
    }
}

/// The caller named the path, so naming it back tells nothing new.
fn missing(error: StoreError, path: &std::path::Path) -> Error {
    match error {
        StoreError::NotFound => Error::new(Kind::NotFound, format!("No image file found at file://{}", path.display())),
        other => other.into(),
    }
}
