//! Simplestreams: an index, documents that list products with their versions and files, and the files, on any web server.

mod choice;
mod products;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use self::choice::this_machine;
use self::choice::{Choice, Miss, WantedImage};
use super::server::{Server, said};
use super::{Ask, Found};
use crate::error::{Error, Reason, Result};
use crate::fetch::Fetcher;

/// Largest index. It names every product: a kilobyte for ten.
const INDEX_BYTES_MAX: usize = 8 << 20;

/// Bytes of all documents with products together; the large public servers have 5 to 10 MiB.
const PRODUCTS_BYTES_MAX: usize = 64 << 20;

/// Most documents with products. Those servers have one or two.
const DOCUMENTS_MAX: usize = 16;

#[derive(Deserialize)]
struct StreamIndex<'a> {
    #[serde(borrow)]
    index: &'a RawValue,
}

#[derive(Deserialize)]
struct StreamEntry {
    #[serde(default)]
    datatype: String,
    #[serde(default)]
    path: String,
    /// Products; only their number matters.
    #[serde(default)]
    products: Vec<IgnoredAny>,
}

/// The paths of the documents that an index names. One without products does not exist.
fn paths(index: &[u8]) -> serde_json::Result<Vec<String>> {
    let index: StreamIndex<'_> = serde_json::from_slice(index)?;
    let mut paths = Vec::new();
    products::each(index.index, |_, entry| {
        let StreamEntry { datatype, path, products } = serde_json::from_str(entry.get())?;
        if datatype == "image-downloads" && !products.is_empty() && paths.len() < DOCUMENTS_MAX {
            paths.push(path);
        }
        Ok(())
    })?;
    Ok(paths)
}

/// Asks a server for an image.
pub(super) async fn find(fetcher: &Fetcher, server: &Server, ask: &Ask) -> Result<Found> {
    if ask.secret().is_some() {
        return Err(Error::invalid("Images with a secret are not known to simplestreams servers."));
    }
    let index = document(fetcher, server, "streams/v1/index.json", INDEX_BYTES_MAX).await?;
    let paths = paths(&index).map_err(|error| garbled(server, error))?;
    let mut left = PRODUCTS_BYTES_MAX;
    let mut choice = Choice::new(WantedImage::of(ask));
    for path in paths {
        let path = products::path(&path).ok_or_else(|| garbled(server, "an index with a path that is none"))?;
        let bytes = document(fetcher, server, path, left).await?;
        left -= bytes.len();
        // A large document takes a good part of a second.
        let looked = tokio::task::spawn_blocking(move || choice.look(&bytes).map(|()| choice)).await;
        choice = looked.map_err(Error::internal)?.map_err(|error| garbled(server, error))?;
    }
    choice.made().map_err(|miss| match miss {
        Miss::Nothing => server.has_no(&ask.image),
        Miss::Several => Reason::AmbiguousRemoteName.about(server.host()).and(said(&ask.image)),
    })
}

async fn document(fetcher: &Fetcher, server: &Server, path: &str, bytes_max: usize) -> Result<bytes::Bytes> {
    let path = format!("/{path}");
    let document = server.document(fetcher, &path, bytes_max).await?;
    match document.status {
        200 => Ok(document.bytes),
        status => Err(garbled(server, format!("{}: status {status}", server.shown(&path)))),
    }
}

fn garbled(server: &Server, cause: impl ToString) -> Error {
    server.garbled("a simplestreams server", cause)
}
