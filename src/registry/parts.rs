//! Files of images in the stores, by the parts of their records: how one is recorded, a small one written, and bytes removed
//! that no record names.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::blob::Stores;
use crate::error::{Error, Kind, Result};
use crate::image::{Digests, Location, Part, PartKind, StoredAt};

/// A part of an image that a store has.
pub(in crate::registry) fn stored(kind: PartKind, place: StoredAt, size: u64, digests: Digests) -> Part {
    Part { kind, location: Location::Stored(place), size: Some(size), virtual_size: None, digests, etag: None }
}

/// Makes durable what describes an image to LXD and Incus.
pub(in crate::registry) async fn keep_metadata(stores: &Stores, place: StoredAt, bytes: Bytes) -> Result<Part> {
    let size = bytes.len() as u64;
    let digests = Digests { sha256: Some(Sha256::digest(&bytes).into()), ..Digests::default() };
    let mut writer = stores.begin(&place, Some(size)).await?;
    writer.write(bytes).await?;
    writer.finish().await?;
    Ok(stored(PartKind::Metadata, place, size, digests))
}

/// Removes what is at places, but for where one of the parts is that a record names: by its place, since what is said of bytes
/// may have changed. What can't be removed is shown by `visor verify`.
pub(in crate::registry) async fn remove_places(
    stores: &Stores,
    places: impl IntoIterator<Item = StoredAt>,
    named: &[Part],
) {
    let is_named = |place: &StoredAt| named.iter().any(|part| part.place() == Some(place));
    for place in places.into_iter().filter(|place| !is_named(place)) {
        if let Err(error) = stores.delete(&place).await {
            log::error!("{} could not be removed from the store {}: {error}", place.key, place.store);
        }
    }
}

/// Whether a change was certainly not made.
pub(in crate::registry) fn was_refused(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Internal | Kind::Busy)
}
