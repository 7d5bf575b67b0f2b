//! Refresh: replaces pulled images by newer ones of their alias at the source. Knows no protocol of our clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Kind, Reason, Result};
use crate::image::query::{Direction, Query, Sort};
use crate::image::{Attr, Image, ImagePatch, UpdateSource, Visibility};
use crate::jobs::Handle;
use crate::registry::Caller;
use crate::registry::lxd::receive::ImportOptions;
use crate::registry::lxd::service::LxdImages;
use crate::registry::mirror::pull::Copied;
use crate::registry::mirror::service::Mirror;
use crate::registry::mirror::succession::Leaving;
use crate::registry::pages::Pages;
use crate::registry::policy::Action;
use crate::upstream::Ask;

/// Records in a page.
const PAGE: usize = 64;

/// Longest refresh of one image: the others wait for it.
const REFRESH_MAX: Duration = Duration::from_secs(2 * 3600);

/// Longest text that is kept of a failed check, in characters.
const REASON_CHARS_MAX: usize = 500;

impl Mirror {
    /// Looks up the alias that an image was copied from. A newer image is copied, takes over the local aliases and
    /// replaces the old one in a single step: every alias stands for one of the two at any moment. Returns the current
    /// image, and tells if it is another one.
    ///
    /// # Errors
    /// `NotFound` for an image that is no copy by an alias; `Forbidden`; as [`Mirror::pull`].
    pub async fn refresh(self: &Arc<Self>, who: &Caller, image: &Image, handle: &Handle) -> Result<Copied> {
        // The record may have changed since the caller read it.
        let image = &self.records.get(who, image.id).await?;
        who.may(Action::RefreshImage, image)?;
        // A refresh by any caller copies for the owner; an equal image of another account is not the owner's copy.
        let who = &image.owner.clone().map_or(Caller::Admin(None), Caller::User);
        let source = image.update_source.clone();
        let source = source.ok_or(Reason::NoUpdateSource)?;
        let outcome = self.newest(who, image, &source, handle).await;
        let error = outcome.as_ref().err().map(|error| error.message().chars().take(REASON_CHARS_MAX).collect());
        let (now, id) = (self.core.now(), outcome.as_ref().map_or(image.id, |copied| copied.image.id));
        let note = move |row: &Image| {
            let update_source = row.update_source.clone();
            let checked = |source| UpdateSource { checked_at: Some(now), error: error.clone(), ..source };
            Ok(Some(Image { update_source: update_source.map(checked), ..row.clone() }))
        };
        match self.core.catalog.amend(id, note).await {
            // Removed meanwhile.
            Err(error) if error.kind() == Kind::NotFound => {}
            noted => drop(noted?),
        }
        outcome
    }

    async fn newest(
        self: &Arc<Self>,
        who: &Caller,
        image: &Image,
        source: &UpdateSource,
        handle: &Handle,
    ) -> Result<Copied> {
        let ask = Ask {
            server: source.server.clone(),
            protocol: source.protocol,
            image: source.alias.clone(),
            certificate: source.certificate.clone(),
            secret: None,
            kind: source.kind,
            architecture: image.architecture,
            project: None,
        };
        let found = self.reporting(handle).0.find(&ask).await?;
        if Some(found.fingerprint) == image.fingerprint() {
            return Ok(Copied { image: image.clone(), is_new: false });
        }
        // Private until it replaces the old image.
        let patch = ImagePatch { visibility: Some(Visibility::Private), ..ImagePatch::default() };
        let copied = self.pull(who, &ask, &ImportOptions { patch, fingerprint: None }, handle).await?;
        self.take_the_place(who, image, copied, Leaving::Removed).await
    }

    /// Refreshes every image with automatic update. Called by a timer; a failure is noted at the image and in the log.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn auto_update(self: &Arc<Self>, handle: Handle) -> Result<()> {
        let sort = Sort::by(Attr::Fingerprint, Direction::Ascending);
        let all = Query { filter: LxdImages::all(), sort, limit: PAGE, after: None };
        let (mut pages, mut done) = (Pages::new(&self.core.catalog, all, usize::MAX), 0);
        while let Some(images) = pages.next().await? {
            for image in images.iter().filter(|image| image.auto_update && image.update_source.is_some()) {
                // Earlier images may have taken hours.
                if !self.core.catalog.get(image.id).await.is_ok_and(|now| now.auto_update) {
                    continue;
                }
                let refreshed = timeout(REFRESH_MAX, self.refresh(&Caller::Admin(None), image, &handle)).await;
                let late = |_| Err(Reason::Upstream.saying("The refresh took too long."));
                match refreshed.unwrap_or_else(late) {
                    Ok(copied) if copied.is_new => log::info!("image {} was replaced by a newer one", image.id),
                    Ok(_) => {}
                    Err(error) => log::warn!("image {} can't be refreshed: {}", image.id, error.logged()),
                }
                done += 1;
                handle.steps(done, None);
            }
        }
        Ok(())
    }
}
