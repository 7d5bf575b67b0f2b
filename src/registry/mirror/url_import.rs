//! Imports after the answer to their request, of staged bytes or of a URL's. A job reports the outcome. Knows no protocol.

use std::sync::Arc;

use futures_util::TryStreamExt;

use crate::error::{Error, Kind, Reason, Result};
use crate::fetch::barred_for;
use crate::image::{ImageId, ImagePatch, StoreName};
use crate::ingest::{ByteSink, Expected, pump};
use crate::jobs::{self, Handle, Job};
use crate::registry::Caller;
use crate::registry::copies::Aim;
use crate::registry::gate::WayIn;
use crate::registry::imports::ImportWish;
use crate::registry::mirror::service::Mirror;
use crate::registry::mirror::source::{nothing_at, without_query};
use crate::registry::policy::{Action, On};
use crate::registry::records::{other_source, takes_location, takes_no_data};
use crate::registry::retries::FetchReport;
use crate::registry::unpacking::{Unpacking, is_unpacked};
use crate::registry::uploads::one_shot::{Target, Upload};

/// Characters of a refused URL that an error repeats.
const URL_CHARS_SHOWN: usize = 150;

impl Mirror {
    /// Turns staged bytes into the image's own. The work continues as a job.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was staged, or not all of it; `Busy`.
    pub async fn import_staged(self: &Arc<Self>, who: &Caller, id: ImageId, wish: ImportWish) -> Result<()> {
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
        let begun = self.imports.begin(who, id, jobs::JobKind::ImportStaged, None, &wish)?;
        let append = self.uploads.append(who, id, staged.offset, staged.size).await?;
        let (mirror, who) = (Arc::clone(self), who.clone());
        begun.run(|handle| async move {
            let also = (wish.also(&append.place().store), handle.clone());
            append.finish_as(WayIn::Staged, &ImagePatch::default(), also).await?;
            mirror.spread(&who, id, &wish.stores, &handle).await
        });
        Ok(())
    }

    /// Imports the bytes of a URL. The work continues as a job.
    ///
    /// # Errors
    /// `Invalid` URL, or one that nothing is fetched from; as [`crate::registry::Uploads::begin`].
    pub async fn import_url(self: &Arc<Self>, who: &Caller, id: ImageId, url: &str, wish: ImportWish) -> Result<()> {
        let url = self.canonical(url)?;
        let patch = ImagePatch { store: wish.stores.first().cloned().map(Some), ..ImagePatch::default() };
        let unpacks = self.unpacks(who, id).await?;
        let upload = self.uploads.begin(who, Some(id), &patch, Expected::default()).await?;
        self.download(who, upload, url, unpacks, wish).await.map(drop)
    }

    /// Makes an image of a URL's bytes, which is removed again if they do not arrive. The work continues as a job.
    ///
    /// # Errors
    /// As [`Mirror::import_url`]; `Forbidden`.
    pub async fn import_new(
        self: &Arc<Self>,
        who: &Caller,
        patch: &ImagePatch,
        url: &str,
        wish: ImportWish,
    ) -> Result<Job> {
        who.may(Action::BeginTask, On::Server)?;
        let url = self.canonical(url)?;
        let upload = self.uploads.begin(who, Target::New, patch, Expected::default()).await?;
        let unpacks = self.unpacks(who, upload.image()).await?;
        self.download(who, upload, url, unpacks, wish).await
    }

    /// A URL as it is fetched.
    ///
    /// # Errors
    /// `Invalid` for one that nothing is fetched from.
    pub(super) fn canonical(&self, url: &str) -> Result<String> {
        self.core.fetcher.canonical(url).map_err(|error| {
            let shown: String = without_query(url).chars().take(URL_CHARS_SHOWN).collect();
            Reason::ImportUrlRefused.about(shown).and(barred_for(url)).because(error)
        })
    }

    /// Tells if what comes from a URL for this image is unpacked on its way.
    async fn unpacks(&self, who: &Caller, id: ImageId) -> Result<bool> {
        Ok(self.core.limits.unpack_imports && is_unpacked(self.records.get(who, id).await?.declared()))
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
        let url = self.core.fetcher.canonical(url).map_err(|error| error.of_file(url))?;
        let found = self.core.fetcher.head(&url).await.map_err(|error| nothing_at(error, &url))?;
        let upload = self.uploads.begin(who, into, patch, claim.and_size(found.size).map_err(other_source)?).await?;
        let id = upload.image();
        // The size and the digests that were announced are of the file as it lies there.
        self.download(who, upload, url, false, ImportWish::default()).await.map(|_| id)
    }

    /// Downloads a URL into an upload that has begun.
    async fn download(
        self: &Arc<Self>,
        who: &Caller,
        upload: Upload,
        url: String,
        unpacks: bool,
        wish: ImportWish,
    ) -> Result<Job> {
        let (id, shown, mut upload) = (upload.image(), without_query(&url).to_owned(), upload.fetched());
        match self.imports.begin(who, id, jobs::JobKind::ImportUrl, Some(shown), &wish) {
            Ok(begun) => {
                let (mirror, who) = (Arc::clone(self), who.clone());
                Ok(begun.run(|handle| async move {
                    upload.saving.also = (wish.also(&upload.place.store), handle.clone());
                    Arc::clone(&mirror).fetch_into(url, upload, unpacks, &handle).await?;
                    mirror.spread(&who, id, &wish.stores, &handle).await
                }))
            }
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    async fn fetch_into(self: Arc<Self>, url: String, upload: Upload, unpacks: bool, handle: &Handle) -> Result<()> {
        let (report, mut sink) = (FetchReport::to(handle), Unpacking::new(upload, unpacks));
        let received = async {
            let body = report.get(&self.core.fetcher, &url).await?;
            let mut pieces = handle.watch(body.stream.map_err(Error::from), 0, body.length);
            let mut rate = self.ingest.rate_guard().excusing(&report.pauses);
            pump(None, &mut pieces, &mut rate, |error| error, &mut sink).await?;
            sink.drain().await
        };
        let received = tokio::select! {
            received = received => received,
            // A little that came may be a lot to unpack, and a store may take nothing.
            () = handle.stopped() => Err(Handle::stop_error()),
        };
        match received {
            Ok(()) => sink.finish().await?.finish(&ImagePatch::default()).await.map(drop),
            Err(error) => {
                sink.abandon().await?;
                Err(error)
            }
        }
    }

    /// Copies an image into stores: all or none if so wished, else as many as possible. The work continues as a job.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` for an image that is not available; `Invalid` when all of the stores have it;
    /// `Busy`.
    pub async fn import_copies(self: &Arc<Self>, who: &Caller, id: ImageId, wish: ImportWish) -> Result<()> {
        let image = self.records.get(who, id).await?;
        who.may(Action::CopyBetweenStores, &image)?;
        if !image.status.gives_bytes() {
            return Err(Reason::NotCopyable.into());
        }
        let homes = image.holders();
        let missing: Vec<_> = wish.stores.iter().filter(|store| !homes.contains(store)).cloned().collect();
        if missing.is_empty() {
            return Err(Reason::InStoresAlready.into());
        }
        let wish = ImportWish { stores: missing, ..wish };
        let begun = self.imports.begin(who, id, jobs::JobKind::Copy, None, &wish)?;
        let ImportWish { stores: missing, all_or_none, .. } = wish;
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
        let holders = self.records.get(who, id).await?.holders();
        if let Some(home) = holders.first().filter(|home| !stores.contains(home)) {
            let (store, aim) = match stores.iter().all(|store| holders.contains(store)) {
                true => (home, Aim::Remove),
                false => (first, Aim::Move),
            };
            self.copies.carry(who, id, store, aim, Action::ChooseStore, handle).await?;
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
                let there = self.records.get(who, id).await?.holders().contains(store);
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
