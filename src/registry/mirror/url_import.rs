//! Imports after the answer to their request, of staged bytes or of a URL's. A job reports the outcome. Knows no protocol.

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
use crate::registry::retries::FetchReport;
use crate::registry::uploads::one_shot::{Target, Upload};

/// Characters of a refused URL that an error repeats.
const URL_CHARS_SHOWN: usize = 150;

impl Mirror {
    /// Turns staged bytes into the image's own. The work continues as a job.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was staged, or not all of it; `Busy`.
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
        // A running upload must not be ended, and an interrupted one has not left all bytes.
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

    /// Imports the bytes of a URL. The work continues as a job.
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

    /// Makes an image of a copy of a URL's bytes, after checking that the URL exists. The work continues as a job, with the
    /// image in the state *saving*.
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
        // Checked before another server is asked.
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

    /// Downloads a URL into an upload that has begun.
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
        let report = FetchReport::to(handle);
        let fetcher = self.core.fetcher.telling(report.listener());
        let received = async {
            let body = tokio::select! {
                body = fetcher.get_again(&url) => body?,
                // A stop does not wait for a server that can't answer.
                () = handle.stopped() => return Err(Handle::stop_error()),
            };
            let mut pieces = handle.watch(body.stream.map_err(Error::from), 0, body.length);
            let mut rate = self.ingest.rate_guard().excusing(&report.pauses);
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

    /// Copies an image into stores: all or none with `all_or_none`, else as many as possible. The work continues as a job.
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

    /// Removes the copies already made after another one has failed.
    async fn take_back(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName]) {
        for store in stores {
            if let Err(error) = self.copies.remove_copy(who, id, store).await {
                log::warn!("the copy of {id} in the store {store} could not be removed: {error}");
            }
        }
    }

    /// Moves and copies a new image into exactly the requested stores; without any it stays in its own.
    async fn spread(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName], handle: &Handle) -> Result<()> {
        let Some(first) = stores.first() else { return Ok(()) };
        if !stores.contains(&self.records.get(who, id).await?.home()) {
            self.copies.carry(who, id, first, Aim::Move, Action::ChooseStore, handle).await?;
        }
        // An available image keeps its bytes, whatever store fails.
        self.copy_to_all(who, id, stores, Action::ChooseStore, false, handle).await.1
    }

    /// Copies into one store after the other, as `action` of the policy; `all_or_none` ends at the first failure. Returns
    /// the stores with a new copy, and the first error.
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
