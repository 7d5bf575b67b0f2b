//! Missing digests: computes those of images that were stored before `sha512` was switched on. Knows no protocol.

use std::ops::Bound;

use super::Caller;
use super::maintenance::Maintenance;
use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, Status};
use crate::jobs::Handle;

impl Maintenance {
    /// Computes the missing sha512 of every image, one image after the other.
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
                    log::warn!("the sha512 of {} can't be computed: {}", image.id, error.logged());
                }
                done += 1;
                handle.steps(done, None);
            }
        }
        Ok(())
    }

    async fn fill_in(&self, image: &Image) -> Result<()> {
        // Without a digest of our own the bytes can't be compared: those of a URL may change.
        let Some(sha256) = image.main().and_then(|part| part.digests.sha256) else { return Ok(()) };
        let body = self.downloads.open(&Caller::Admin(None), image, None).await?;
        let (found, _) = self.ingest.digest(body).await?.1.finish();
        if found.sha256 != Some(sha256) {
            return Err(Error::internal("the bytes differ from those stored; run `visor verify`"));
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
