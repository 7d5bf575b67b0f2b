//! Digests that images lack because they came before anybody asked for them.

use std::ops::Bound;

use super::Caller;
use super::maintenance::Maintenance;
use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, Status};

impl Maintenance {
    /// Reads the bytes of every image that has no sha512 and should have one, an image after the other. What it did not
    /// come to is done by the next run.
    pub async fn fill_in_digests(&self) {
        if !self.ingest.hash_pool.computes_sha512() {
            return;
        }
        let lacking = Filter::Within(Attr::Sha512, Bound::Unbounded, Bound::Unbounded).negated();
        let filter = Filter::spelled(Attr::Status, Status::Available.word()).and(lacking);
        let mut pages = self.core.pages(filter);
        loop {
            let images = match pages.next().await {
                Ok(Some(images)) => images,
                Ok(None) => return,
                Err(error) => return log::error!("no sha512 is filled in: {error}: {}", error.causes()),
            };
            for image in &images {
                if let Err(error) = self.fill_in(image).await
                    // Removed meanwhile.
                    && error.kind() != Kind::NotFound
                {
                    log::warn!("the sha512 of {} can't be filled in: {error}: {}", image.id, error.causes());
                }
            }
        }
    }

    async fn fill_in(&self, image: &Image) -> Result<()> {
        // Without a digest of ours there is nothing to hold the bytes to: those of a URL may change.
        let Some(sha256) = image.main().and_then(|part| part.digests.sha256) else { return Ok(()) };
        let body = self.downloads.open(&Caller::Admin(None), image, None).await?;
        let (found, _) = self.ingest.digest(body).await?.1.finish();
        if found.sha256 != Some(sha256) {
            return Err(Error::internal("its bytes are not those that were stored; run `visor verify`"));
        }
        let put = move |row: &Image| {
            let mut row = row.clone();
            let same = row.parts.iter_mut().filter(|part| part.digests.sha256 == Some(sha256));
            same.for_each(|part| part.digests = part.digests.or(found));
            Ok(Some(row))
        };
        self.core.catalog.amend(image.id, put).await.map(drop)
    }
}
