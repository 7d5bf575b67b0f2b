//! Bytes that come in behind the request that asks for them: those put aside before, or those of a URL. What became of it is
//! told as a job.

use std::sync::Arc;

use futures_util::TryStreamExt;

use crate::error::{Error, Kind, Reason, Result};
use crate::image::{ImageId, ImagePatch, StoreName};
use crate::ingest::{Expected, pump};
use crate::jobs::{self, Handle};
use crate::registry::Caller;
use crate::registry::copies::Aim;
use crate::registry::mirror::service::Mirror;
use crate::registry::mirror::source::{nothing_at, without_query};
use crate::registry::policy::{Action, On};
use crate::registry::records::{other_source, takes_location, takes_no_data};
use crate::registry::uploads::one_shot::{Target, Upload};

/// Characters of a refused URL that are repeated.
const URL_CHARS_SHOWN: usize = 150;

impl Mirror {
    /// Makes the bytes that were put aside the image's own. The work goes on when this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was put aside, or not all of it; `Busy`.
    pub async fn import_staged(self: &Arc<Self>, who: &Caller, id: ImageId, stores: Vec<StoreName>) -> Result<()> {
        let staged = match self.uploads.progress_now(who, id).await {
            Err(error) if error.kind() == Kind::NotFound => {
                self.records.get(who, id).await?;
                return Err(Reason::NothingStaged.into());
            }
            progress => progress?,
        };
        if staged.is_complete() {
            return Err(takes_no_data(&staged.image));
        }
        // An upload that goes on is nobody's to end, and what an interrupted one left is not all of it.
        if self.uploads.locks.take_free(id).is_none() || staged.size != Some(staged.offset) {
            return Err(Reason::StagingIncomplete.into());
        }
        let begun = self.imports.begin(who, id, jobs::JobKind::ImportStaged, None, stores.clone())?;
        let append = self.uploads.append(who, id, staged.offset, staged.size).await?;
        let (mirror, who) = (Arc::clone(self), who.clone());
        begun.run(|handle| async move {
            append.finish(&ImagePatch::default()).await?;
            mirror.spread(&who, id, &stores, &handle).await
        });
        Ok(())
    }

    /// Brings in the bytes of a URL. The work goes on when this returns.
    ///
    /// # Errors
    /// `Invalid` URL, or one that nothing is fetched from; as [`crate::registry::Uploads::begin`].
    pub async fn import_url(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        url: &str,
        stores: Vec<StoreName>,
    ) -> Result<()> {
        let url = self.core.fetcher.canonical(url).map_err(|error| {
            let shown: String = without_query(url).chars().take(URL_CHARS_SHOWN).collect();
            Reason::ImportUrlRefused.about(shown).because(error)
        })?;
        let patch = ImagePatch { store: stores.first().cloned().map(Some), ..ImagePatch::default() };
        let upload = self.uploads.begin(who, Some(id), &patch, Expected::default()).await?;
        self.download(who, upload, url, stores).await
    }

    /// Makes an image of a copy of what is under a URL, which is asked first whether it is there. The work goes on when this
    /// returns, with the image in the state *saving*.
    ///
    /// # Errors
    /// `NotFound` when nothing is under the URL, `Invalid` for one that nothing is fetched from, `Upstream`; as
    /// [`crate::registry::Uploads::begin`].
    pub async fn import_copy(
        self: &Arc<Self>,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: Expected,
        url: &str,
    ) -> Result<ImageId> {
        who.may(Action::CreateImage, On::Server)?;
        // Before another server is asked.
        if let Target::Existing(id) = into {
            let image = self.records.get(who, id).await?;
            who.may(Action::UploadBytes, &image)?;
            takes_location(&image)?;
        }
        let url = self.core.fetcher.canonical(url)?;
        let found = self.core.fetcher.head(&url).await.map_err(|error| nothing_at(error, &url))?;
        let upload = self.uploads.begin(who, into, patch, claim.and_size(found.size).map_err(other_source)?).await?;
        let id = upload.image();
        self.download(who, upload, url, Vec::new()).await.map(|()| id)
    }

    /// Brings the bytes of a URL into an upload that has begun.
    async fn download(
        self: &Arc<Self>,
        who: &Caller,
        upload: Upload,
        url: String,
        stores: Vec<StoreName>,
    ) -> Result<()> {
        let (id, shown) = (upload.image(), without_query(&url).to_owned());
        match self.imports.begin(who, id, jobs::JobKind::ImportUrl, Some(shown), stores.clone()) {
            Ok(begun) => {
                let (mirror, who) = (Arc::clone(self), who.clone());
                begun.run(|handle| async move {
                    Arc::clone(&mirror).fetch_into(url, upload, &handle).await?;
                    mirror.spread(&who, id, &stores, &handle).await
                });
                Ok(())
            }
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    async fn fetch_into(self: Arc<Self>, url: String, mut upload: Upload, handle: &Handle) -> Result<()> {
        let received = async {
            let body = self.core.fetcher.get(&url, None).await?;
            let mut pieces = handle.watch(body.stream.map_err(Error::from), 0, body.length);
            let mut rate = self.ingest.rate_guard();
            pump(None, &mut pieces, &mut rate, |error| error, &mut upload).await
        };
        match received.await {
            Ok(()) => upload.finish(&ImagePatch::default()).await.map(drop),
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    /// Puts copies of an image into stores, `all_or_none` or as many as it can. The work goes on when this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` for an image that is not available; `Invalid` when all of the stores have it;
    /// `Busy`.
    pub async fn import_copies(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        stores: Vec<StoreName>,
        all_or_none: bool,
    ) -> Result<()> {
        let image = self.records.get(who, id).await?;
        who.may(Action::CopyBetweenStores, &image)?;
        if !image.status.gives_bytes() {
            return Err(Reason::NotCopyable.into());
        }
        let homes = image.homes();
        let missing: Vec<_> = stores.into_iter().filter(|store| !homes.contains(store)).collect();
        if missing.is_empty() {
            return Err(Reason::InStoresAlready.into());
        }
        let begun = self.imports.begin(who, id, jobs::JobKind::Copy, None, missing.clone())?;
        let (mirror, who) = (Arc::clone(self), who.clone());
        begun.run(|handle| async move {
            let (made, outcome) =
                mirror.copy_to_all(&who, id, &missing, Action::CopyBetweenStores, all_or_none, &handle).await;
            if all_or_none && outcome.is_err() {
                mirror.take_back(&who, id, &made).await;
            }
            outcome
        });
        Ok(())
    }

    /// Removes copies that are not wanted without those that did not come about.
    async fn take_back(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName]) {
        for store in stores {
            if let Err(error) = self.copies.remove_copy(who, id, store).await {
                log::warn!("the copy of {id} in the store {store} stays: {error}");
            }
        }
    }

    /// Brings an image that has just arrived into the stores that were asked for, and those alone. None are as good as any.
    async fn spread(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName], handle: &Handle) -> Result<()> {
        let Some(first) = stores.first() else { return Ok(()) };
        if !stores.contains(&self.records.get(who, id).await?.home()) {
            self.copies.carry(who, id, first, Aim::Move, Action::ChooseStore, handle).await?;
        }
        // What is available keeps its bytes.
        self.copy_to_all(who, id, stores, Action::ChooseStore, false, handle).await.1
    }

    /// Tries one store after the other, as `action` of the policy, up to the first that fails if all are needed. Returns those that have a copy now, and
    /// what came of the first that failed.
    async fn copy_to_all(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        stores: &[StoreName],
        action: Action,
        all_or_none: bool,
        handle: &Handle,
    ) -> (Vec<StoreName>, Result<()>) {
        let (mut made, mut outcome) = (Vec::new(), Ok(()));
        for (done, store) in stores.iter().enumerate() {
            handle.steps(done as u64, Some(stores.len() as u64));
            let copied = async {
                let there = self.records.get(who, id).await?.homes().contains(store);
                if there {
                    return Ok(false);
                }
                self.copies.carry(who, id, store, Aim::Copy, action, handle).await.map(|_| true)
            };
            match copied.await {
                Ok(false) => {}
                Ok(true) => made.push(store.clone()),
                Err(error) => outcome = outcome.and(Err(error)),
            }
            if outcome.is_err() && (all_or_none || handle.is_stopped()) {
                break;
            }
        }
        (made, outcome)
    }
}
