//! Digests that images lack because they came before anybody asked for them.

use std::ops::Bound;

use super::Caller;
use super::maintenance::Maintenance;
use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, Status};
use crate::jobs::Handle;

impl Maintenance {
    /// Reads the bytes of every image that has no sha512 and should have one, an image after the other.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(super) async fn fill_in_digests(&self, handle: Handle) -> Result<()> {
        if !self.ingest.hash_pool.computes_sha512() {
            return Ok(());
        }
        let lacking = Filter::Within(Attr::Sha512, Bound::Unbounded, Bound::Unbounded).negated();
        let filter = Filter::spelled(Attr::Status, Status::Available.word()).and(lacking);
        let (mut pages, mut done) = (self.core.pages(filter), 0);
        while let Some(images) = pages.next().await? {
            for image in &images {
                if let Err(error) = self.fill_in(image).await
                    // Removed meanwhile.
                    && error.kind() != Kind::NotFound
                {
                    log::warn!("the sha512 of {} can't be filled in: {error}: {}", image.id, error.causes());
                }
                done += 1;
                handle.steps(done, None);
            }
        }
        Ok(())
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
