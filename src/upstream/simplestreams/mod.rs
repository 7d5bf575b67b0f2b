//! Simplestreams: an index, documents that list products with their versions and files, and the files, on any web server.

mod choice;
mod products;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::choice::this_machine;
use self::choice::{Choice, Wanted};
use super::server::{Server, said};
use super::{Ask, Found};
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;

/// Largest index. It names every product: a kilobyte for ten.
const INDEX_BYTES_MAX: usize = 8 << 20;

/// Bytes of all documents with products together; the large public servers have 5 to 10 MiB.
const PRODUCTS_BYTES_MAX: usize = 64 << 20;

/// Most documents with products. Those servers have one or two.
const DOCUMENTS_MAX: usize = 16;

#[derive(Deserialize)]
struct Index {
    index: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    datatype: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    products: Vec<serde::de::IgnoredAny>,
}

/// Asks a server for an image.
pub(super) async fn find(fetcher: &Fetcher, server: &Server, ask: &Ask) -> Result<Found> {
    if ask.secret().is_some() {
        return Err(Error::invalid("Images with a secret are not known to simplestreams servers."));
    }
    let index = document(fetcher, server, "streams/v1/index.json", INDEX_BYTES_MAX).await?;
    let index: Index = serde_json::from_slice(&index).map_err(|error| garbled(server, error))?;
    let entries = index.index.into_values();
    // An entry without products has no document behind it.
    let entries = entries.filter(|entry| entry.datatype == "image-downloads" && !entry.products.is_empty());
    let mut left = PRODUCTS_BYTES_MAX;
    let mut choice = Choice::new(Wanted::of(ask));
    for entry in entries.take(DOCUMENTS_MAX) {
        if products::path(&entry.path).is_none() {
            return Err(garbled(server, "an index with a path that is none"));
        }
        let bytes = document(fetcher, server, &entry.path, left).await?;
        left -= bytes.len();
        // A large document takes a good part of a second.
        let looked = tokio::task::spawn_blocking(move || choice.look(&bytes).map(|()| choice)).await;
        choice = looked.map_err(Error::internal)?.map_err(|error| garbled(server, error))?;
    }
    choice.made().map_err(|several| match several {
        None => server.has_no(&ask.image),
        Some(()) => {
            let text = format!("More than one image of {} matches '{}'.", server.host(), said(&ask.image));
            Error::new(Kind::Conflict, text)
        }
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
