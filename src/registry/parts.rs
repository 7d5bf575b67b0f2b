//! Parts in the stores: writes a small one, and removes bytes that no record names. Knows no rights.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::blob::Stores;
use crate::error::{Error, Kind, Result};
use crate::image::{Digests, Location, Part, PartKind, StoredAt};

/// Stores the description of an image durably.
pub(in crate::registry) async fn keep_metadata(stores: &Stores, place: StoredAt, bytes: Bytes) -> Result<Part> {
    let size = bytes.len() as u64;
    let digests = Digests { sha256: Some(Sha256::digest(&bytes).into()), ..Digests::default() };
    let mut writer = stores.begin(&place, Some(size)).await?;
    writer.write(bytes).await?;
    writer.finish().await?;
    Ok(Part {
        kind: PartKind::Metadata,
        location: Location::Stored(place),
        size: Some(size),
        virtual_size: None,
        digests,
        etag: None,
    })
}

/// Removes the bytes at places, except where a part of a record has that place: the digests in a part may have changed.
/// `visor verify` shows bytes that can't be removed.
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

/// Tells if a change was certainly not made.
pub(in crate::registry) fn was_refused(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Internal | Kind::Busy)
}
