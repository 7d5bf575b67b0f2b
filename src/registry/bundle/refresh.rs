//! Copies that follow what their alias stands for where they came from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::{Caller, Registry, Shown};
use super::Wishes;
use super::pull::Copied;
use crate::catalog::{Amend, not_found};
use crate::error::{Error, Kind, Result};
use crate::image::query::{Direction, Query, Sort};
use crate::image::{Attr, Image, ImagePatch, Status, UpdateSource};
use crate::upstream::Ask;

/// Records looked at together.
const PAGE: usize = 64;

/// Longest reason that is kept of a check that failed, in characters.
const REASON_CHARS_MAX: usize = 500;

impl Registry {
    /// Looks up again what an image was copied from. When that is another image by now it is copied too, takes over the aliases,
    /// and the old one goes: in one step, so that every alias stands for one of them at any moment. Returns the image that is
    /// there now, and whether it is another.
    ///
    /// # Errors
    /// `NotFound` for an image that is no copy by an alias; `Forbidden`; as [`Registry::pull`].
    pub async fn refresh(
        self: &Arc<Self>,
        who: &Caller,
        image: &Image,
        seen: impl Fn(u64, Option<u64>),
    ) -> Result<Copied> {
        who.may_change(image)?;
        let source = image.update_source.clone();
        let source = source.ok_or_else(|| Error::new(Kind::NotFound, "Image source not found"))?;
        let outcome = self.newest(who, image, &source, seen).await;
        let error = outcome.as_ref().err().map(|error| error.message().chars().take(REASON_CHARS_MAX).collect());
        let (now, id) = (self.now(), outcome.as_ref().map_or(image.id, |copied| copied.image.id));
        let note = move |row: &Image| {
            let update_source = row.update_source.clone();
            let checked = |source| UpdateSource { checked_at: Some(now), error: error.clone(), ..source };
            Ok(Some(Image { update_source: update_source.map(checked), ..row.clone() }))
        };
        match self.catalog.amend(id, note).await {
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
        seen: impl Fn(u64, Option<u64>),
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
        let found = self.upstream.find(&ask).await?;
        if Some(found.fingerprint) == image.fingerprint() {
            return Ok(Copied { image: image.clone(), is_new: false });
        }
        let patch = ImagePatch {
            visibility: Some(image.visibility),
            auto_update: Some(image.auto_update),
            ..ImagePatch::default()
        };
        let copied = self.pull(who, &ask, &Wishes { patch, fingerprint: Some(found.fingerprint) }, seen).await?;
        self.take_the_place(who, image, copied.image).await
    }

    /// Puts an image in the place of another. One that is protected only loses its aliases.
    async fn take_the_place(&self, who: &Caller, old: &Image, new: Image) -> Result<Copied> {
        let (now, id) = (self.now(), new.id);
        let (first, second) = (who.clone(), who.clone());
        // Those that it has at that moment: a download takes its time, and they may have been moved or removed meanwhile.
        let handed_over = Arc::new(Mutex::new(BTreeMap::new()));
        let taken = Arc::clone(&handed_over);
        let leave: Amend = Box::new(move |row| {
            first.may_change(row)?;
            if row.status != Status::Available {
                return Err(not_found(row.id));
            }
            let mut row = row.clone();
            *taken.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut row.aliases);
            if !row.protected {
                Self::take_out_of_sight(&mut row, now);
            }
            Ok(Some(row))
        });
        let enter: Amend = Box::new(move |row| {
            second.may_change(row)?;
            let mut row = row.clone();
            row.aliases.extend(handed_over.lock().unwrap_or_else(PoisonError::into_inner).clone());
            Ok(Some(row))
        });
        match self.catalog.amend_together(vec![(old.id, leave), (id, enter)]).await {
            Ok(entered) => {
                match self.catalog.get(old.id).await {
                    Ok(old) if !old.protected => self.remove_deleted(old).await,
                    _ => {}
                }
                Ok(Copied { image: entered.ok_or_else(|| not_found(id))?, is_new: true })
            }
            // Somebody else has refreshed it at the same time, and was faster.
            Err(error) if error.kind() == Kind::NotFound => {
                Ok(Copied { image: self.catalog.get(id).await?, is_new: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Refreshes every image that is to be kept up to date. Called by a timer; what fails is noted at the image and in the log.
    pub async fn auto_update(self: &Arc<Self>) {
        let sort = Sort::by(Attr::Fingerprint, Direction::Ascending);
        let mut after = None;
        loop {
            let query = Query { filter: Self::bundles(), sort: sort.clone(), limit: PAGE, after };
            let page = match self.list(&Caller::Admin(None), Shown::default(), query).await {
                Ok(page) => page,
                Err(error) => return log::error!("images can't be kept up to date: {error}: {}", error.causes()),
            };
            for image in page.images.iter().filter(|image| image.auto_update && image.update_source.is_some()) {
                // The copy is its owner's too.
                let who = image.owner.clone().map_or(Caller::Admin(None), Caller::User);
                match self.refresh(&who, image, |_, _| {}).await {
                    Ok(copied) if copied.is_new => log::info!("image {} was replaced by a newer one", image.id),
                    Ok(_) => {}
                    Err(error) => log::warn!("image {} can't be refreshed: {error}: {}", image.id, error.causes()),
                }
            }
            after = page.next;
            if after.is_none() {
                return;
            }
        }
    }
}
