//! Comparing every image with its record.

use super::{Caller, Registry};
use crate::error::Result;
use crate::image::query::Filter;
use crate::image::{Attr, Image, ImageId, Location, Status};

impl Registry {
    /// Reads the bytes of images (of all, if `ids` is empty) and compares size and digests; checks the indexes, and
    /// looks for files without a record. Says each image before it begins. Returns problems in words, and how many
    /// images there were.
    ///
    /// # Errors
    /// `NotFound` for an id that no image has; `Internal` when the catalogue does not work.
    pub async fn verify(&self, ids: &[ImageId], each: impl Fn(ImageId)) -> Result<(Vec<String>, u64)> {
        let (mut problems, _) = self.catalog.verify();
        let images = match ids {
            [] => self.all(Filter::everything()).await?,
            ids => {
                let mut images = Vec::new();
                for id in ids {
                    images.push(self.catalog.get(*id).await?);
                }
                images
            }
        };
        for image in images.iter().filter(|image| !image.parts.is_empty()) {
            each(image.id);
            if let Err(problem) = self.verify_bytes(image).await {
                problems.push(format!("image {}: {problem}", image.id));
            }
        }
        if ids.is_empty() {
            problems.extend(self.strangers(&images).await?);
        }
        Ok((problems, images.len() as u64))
    }

    async fn verify_bytes(&self, image: &Image) -> Result<(), String> {
        // A withheld image is verified like any other.
        let image = Image { status: Status::Available, ..image.clone() };
        for part in &image.parts {
            let body = self.open_part(&Caller::Admin(None), &image, part.kind, None).await;
            let body = body.map_err(|error| error.to_string())?;
            let (size, digesting) = self.hub.digest(body, &self.buffers).await.map_err(|error| error.to_string())?;
            let (digests, _) = digesting.finish();
            if part.size.is_some_and(|expected| expected != size) {
                return Err(format!("it has {size} bytes, its record says {}", part.size.unwrap_or_default()));
            }
            let differs = |a: Option<String>, b: Option<String>| a.is_some() && a != b;
            if differs(part.digests.md5_hex(), digests.md5_hex())
                || differs(part.digests.sha256_hex(), digests.sha256_hex())
            {
                return Err("its bytes are not those that were stored".into());
            }
        }
        Ok(())
    }

    /// Files in the store that no record names. They are only reported: see `sweep`.
    async fn strangers(&self, images: &[Image]) -> Result<Vec<String>> {
        let named: std::collections::HashSet<_> = images
            .iter()
            .flat_map(|image| &image.parts)
            .filter_map(|part| match &part.location {
                Location::Stored { key, .. } => Some(key.clone()),
                Location::File { .. } | Location::Http { .. } => None,
            })
            .collect();
        let saving = Filter::spelled(Attr::Status, Status::Saving.word());
        let saving: Vec<_> = images.iter().filter(|image| saving.passes(image)).map(|image| image.id).collect();
        let keys = self.store.list().await?;
        let strangers = keys.into_iter().filter(|key| !named.contains(key));
        let strangers = strangers.filter(|key| key.image().is_none_or(|id| !saving.contains(&id)));
        Ok(strangers.map(|key| format!("file {key}: no image has it")).collect())
    }
}
