//! Bytes that come in behind the request that asks for them: those put aside before, or those of a URL. What became of it is
//! told as a job.

use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;

use crate::error::{self, Error, Result};
use crate::image::{ImageId, ImagePatch, StoreName};
use crate::jobs::{Handle, Kind};
use crate::registry::copies::Aim;
use crate::registry::mirror::source::{nothing_at, without_query};
use crate::registry::{Caller, Expected, RateGuard, Registry, Target, Upload};

impl Registry {
    /// Makes the bytes that were put aside the image's own. The work goes on when this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was put aside, or not all of it; `Busy`.
    pub async fn import_staged(self: &Arc<Self>, who: &Caller, id: ImageId, stores: Vec<StoreName>) -> Result<()> {
        let conflict = |text: &'static str| Err(Error::new(error::Kind::Conflict, text));
        let staged = match self.progress_now(who, id).await {
            Err(error) if error.kind() == error::Kind::NotFound => {
                self.get(who, id).await?;
                return conflict("Nothing is staged for this image; put its data to /stage first.");
            }
            progress => progress?,
        };
        // An upload that goes on is nobody's to end, and what an interrupted one left is not all of it.
        if self.upload_locks.take_free(id).is_none() || staged.size != Some(staged.offset) {
            return conflict("The data of this image is not staged completely.");
        }
        let begun = self.begin_import(who, id, Kind::ImportStaged, None, stores.clone())?;
        let append = self.append(who, id, staged.offset, staged.size).await?;
        let (registry, who) = (Arc::clone(self), who.clone());
        begun.run(|handle| async move {
            append.finish(&ImagePatch::default()).await?;
            registry.spread(&who, id, &stores, &handle).await
        });
        Ok(())
    }

    /// Brings in the bytes of a URL. The work goes on when this returns.
    ///
    /// # Errors
    /// `Invalid` URL, or one that nothing is fetched from; as [`Registry::upload`].
    pub async fn import_url(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        url: &str,
        stores: Vec<StoreName>,
    ) -> Result<()> {
        let url = self.fetcher.canonical(url).map_err(|error| {
            let text = format!("URI for web-download does not pass filtering: {}", without_query(url));
            Error::invalid(text.chars().take(200).collect::<String>()).because(error)
        })?;
        let patch = ImagePatch { store: stores.first().cloned().map(Some), ..ImagePatch::default() };
        let upload = self.upload(who, Some(id), &patch, Expected::default()).await?;
        self.download(who, upload, url, stores).await
    }

    /// Makes an image of a copy of what is under a URL, which is asked first whether it is there. The work goes on when this
    /// returns, with the image in the state *saving*.
    ///
    /// # Errors
    /// `NotFound` when nothing is under the URL, `Invalid` for one that nothing is fetched from, `Upstream`; as
    /// [`Registry::upload`].
    pub async fn import_copy(
        self: &Arc<Self>,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: Expected,
        url: &str,
    ) -> Result<ImageId> {
        who.known()?;
        let url = self.fetcher.canonical(url)?;
        let found = self.fetcher.head(&url).await.map_err(|error| nothing_at(error, &url))?;
        let upload = self.upload(who, into, patch, claim.and_size(found.size)?).await?;
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
        match self.begin_import(who, id, Kind::ImportUrl, Some(shown), stores.clone()) {
            Ok(begun) => {
                let (registry, who) = (Arc::clone(self), who.clone());
                begun.run(|handle| async move {
                    Arc::clone(&registry).fetch_into(url, upload, &handle).await?;
                    registry.spread(&who, id, &stores, &handle).await
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
        let mut pace = RateGuard::new(self.limits.patience, Instant::now());
        let received = async {
            let body = self.fetcher.get(&url, None).await?;
            let mut pieces = handle.watch(body.stream.map_err(Error::from), 0, body.length);
            while let Some(chunk) = pace.next(&mut pieces, |error| error).await? {
                upload.write(chunk).await?;
            }
            Ok(())
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
        let image = self.get(who, id).await?;
        who.may_change(&image)?;
        if !image.status.gives_bytes() {
            return Err(Error::new(error::Kind::Conflict, "Only images with status active can be copied."));
        }
        let homes = image.homes();
        let missing: Vec<_> = stores.into_iter().filter(|store| !homes.contains(store)).collect();
        if missing.is_empty() {
            return Err(Error::invalid("Image is already present at these stores."));
        }
        let begun = self.begin_import(who, id, Kind::Copy, None, missing.clone())?;
        let (registry, who) = (Arc::clone(self), who.clone());
        begun.run(|handle| async move {
            let (made, outcome) = registry.copy_to_all(&who, id, &missing, all_or_none, &handle).await;
            if all_or_none && outcome.is_err() {
                registry.take_back(&who, id, &made).await;
            }
            outcome
        });
        Ok(())
    }

    /// Removes copies that are not wanted without those that did not come about.
    async fn take_back(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName]) {
        for store in stores {
            if let Err(error) = self.remove_copy(who, id, store).await {
                log::warn!("the copy of {id} in the store {store} stays: {error}");
            }
        }
    }

    /// Brings an image that has just arrived into the stores that were asked for, and those alone. None are as good as any.
    async fn spread(self: &Arc<Self>, who: &Caller, id: ImageId, stores: &[StoreName], handle: &Handle) -> Result<()> {
        let Some(first) = stores.first() else { return Ok(()) };
        if !stores.contains(&self.get(who, id).await?.home()) {
            self.carry(who, id, first, Aim::Move, handle).await?;
        }
        // What is available keeps its bytes.
        self.copy_to_all(who, id, stores, false, handle).await.1
    }

    /// Tries one store after the other, up to the first that fails if all are needed. Returns those that have a copy now, and
    /// what came of the first that failed.
    async fn copy_to_all(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        stores: &[StoreName],
        all_or_none: bool,
        handle: &Handle,
    ) -> (Vec<StoreName>, Result<()>) {
        let (mut made, mut outcome) = (Vec::new(), Ok(()));
        for (done, store) in stores.iter().enumerate() {
            handle.steps(done as u64, Some(stores.len() as u64));
            let copied = async {
                let there = self.get(who, id).await?.homes().contains(store);
                if there { Ok(false) } else { self.carry(who, id, store, Aim::Copy, handle).await.map(|_| true) }
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
