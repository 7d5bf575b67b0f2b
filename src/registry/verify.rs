//! Verification: compares every image with its record. Knows no rights.

use super::core::Core;
use super::download::Downloads;
use super::maintenance::Maintenance;
use crate::error::{Error, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, ImageId, Part, Status, StoreName, StoredAt};
use crate::ingest::intake::Ingest;

impl Maintenance {
    /// Reads the bytes of images (of all, if `ids` is empty) and compares size and digests; checks the indexes, and
    /// finds files without a record. Calls `each` before every image, with its
    /// name and id. Returns problems in words, and the number of
    /// images.
    ///
    /// # Errors
    /// `NotFound` for an id that no image has; `Internal` when the catalogue does not work.
    pub async fn verify(&self, ids: &[ImageId], each: impl Fn(&str)) -> Result<(Vec<String>, u64)> {
        let (mut problems, _) = self.core.catalog.verify();
        let images = match ids {
            [] => self.core.all(Filter::everything()).await?,
            ids => {
                let mut images = Vec::new();
                for id in ids {
                    images.push(self.core.catalog.get(*id).await?);
                }
                images
            }
        };
        for image in images.iter().filter(|image| !image.parts.is_empty()) {
            let title = titled(image);
            each(&title);
            if let Err(problem) = self.verify_bytes(image).await {
                problems.push(format!("image {title}: {problem}"));
            }
        }
        if ids.is_empty() {
            problems.extend(self.strangers(&images).await?);
        }
        Ok((problems, images.len() as u64))
    }

    async fn verify_bytes(&self, image: &Image) -> Result<(), String> {
        for part in &image.parts {
            verify_part(&self.core, &self.downloads, &self.ingest, image, part).await?;
        }
        Ok(())
    }

    /// Files in the store that no record names. They are only reported: see `sweep`.
    async fn strangers(&self, images: &[Image]) -> Result<Vec<String>> {
        let named: std::collections::HashSet<_> =
            images.iter().flat_map(|image| &image.parts).filter_map(|part| part.place().cloned()).collect();
        let mut problems = Vec::new();
        let saving = Filter::spelled(Attr::Status, Status::Saving.word());
        let saving: Vec<_> = images.iter().filter(|image| saving.passes(image)).map(|image| image.id).collect();
        let mut strangers = Vec::new();
        for store in self.core.stores.iter() {
            match store.blobs.list().await {
                Ok(keys) => {
                    let places = keys.into_iter().map(|key| StoredAt { store: store.name.clone(), key });
                    let unnamed = places.filter(|place| !named.contains(place));
                    strangers.extend(unnamed.filter(|place| place.key.image().is_none_or(|id| !saving.contains(&id))));
                }
                Err(error) if store.name == StoreName::FILE => return Err(error.into()),
                Err(error) => problems.push(format!("store {}: {}", store.name, Error::from(error).message())),
            }
        }
        let unnamed = |place: StoredAt| match place.store == StoreName::FILE {
            true => format!("file {}: no image has it", place.key),
            false => format!("file {} in the store {}: no image has it", place.key, place.store),
        };
        problems.extend(strangers.into_iter().map(unnamed));
        Ok(problems)
    }
}

/// Name and id of an image, or the id alone.
fn titled(image: &Image) -> String {
    image.name.as_ref().map_or_else(|| image.id.to_string(), |name| format!("{name} ({})", image.id))
}

/// Compares exactly this copy with its record, without a fallback to another one.
pub(in crate::registry) async fn verify_part(
    core: &Core,
    downloads: &Downloads,
    ingest: &Ingest,
    image: &Image,
    part: &Part,
) -> Result<(), String> {
    let _lease = core.in_use.lease(image.id);
    let body = downloads.located(image, part, None).await;
    let body = body.map_err(|error| error.to_string())?;
    let (size, digesting) = ingest.digest(body).await.map_err(|error| error.to_string())?;
    let (digests, _) = digesting.finish();
    if part.size.is_some_and(|expected| expected != size) {
        return Err(format!("it has {size} bytes, its record says {}", part.size.unwrap_or_default()));
    }
    let differs = |a: Option<String>, b: Option<String>| a.is_some() && a != b;
    if differs(part.digests.md5_hex(), digests.md5_hex()) || differs(part.digests.sha256_hex(), digests.sha256_hex()) {
        return Err("its bytes are not those that were stored".into());
    }
    Ok(())
}
