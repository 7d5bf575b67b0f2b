//! Bytes that come in behind the request that asks for them: those put aside before, or those of a URL. What became of it is
//! told as a [`super::Task`].

use std::sync::Arc;
use std::time::Instant;

use super::source::{nothing_at, without_query};
use super::{Caller, Claim, ImportMethod, Pace, Registry, Target, Upload};
use crate::error::{Error, Kind, Result};
use crate::image::{ImageId, ImagePatch};

impl Registry {
    /// Makes the bytes that were put aside the image's own. The work goes on when this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when nothing was put aside, or not all of it; `Busy`.
    pub async fn import_staged(self: &Arc<Self>, who: &Caller, id: ImageId) -> Result<()> {
        let conflict = |text: &'static str| Err(Error::new(Kind::Conflict, text));
        let staged = match self.progress_now(who, id).await {
            Err(error) if error.kind() == Kind::NotFound => {
                self.get(who, id).await?;
                return conflict("Nothing is staged for this image; put its data to /stage first.");
            }
            progress => progress?,
        };
        // An upload that goes on is nobody's to end, and what an interrupted one left is not all of it.
        if self.desks.take_free(id).is_none() || staged.size != Some(staged.offset) {
            return conflict("The data of this image is not staged completely.");
        }
        let running = self.note_import(who, id, ImportMethod::Staged, None)?;
        let append = self.append(who, id, staged.offset, staged.size).await?;
        self.follow(id, running, async move { append.finish(&ImagePatch::default()).await.map(drop) });
        Ok(())
    }

    /// Brings in the bytes of a URL. The work goes on when this returns.
    ///
    /// # Errors
    /// `Invalid` URL, or one that nothing is fetched from; as [`Registry::upload`].
    pub async fn import_url(self: &Arc<Self>, who: &Caller, id: ImageId, url: &str) -> Result<()> {
        let url = self.fetcher.canonical(url).map_err(|error| {
            let text = format!("URI for web-download does not pass filtering: {}", without_query(url));
            Error::invalid(text.chars().take(200).collect::<String>()).because(error)
        })?;
        let upload = self.upload(who, Some(id), &ImagePatch::default(), Claim::default()).await?;
        self.download(who, upload, url).await
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
        claim: Claim,
        url: &str,
    ) -> Result<ImageId> {
        who.known()?;
        let url = self.fetcher.canonical(url)?;
        let found = self.fetcher.head(&url).await.map_err(|error| nothing_at(error, &url))?;
        let upload = self.upload(who, into, patch, claim.and_size(found.size)?).await?;
        let id = upload.image();
        self.download(who, upload, url).await.map(|()| id)
    }

    /// Brings the bytes of a URL into an upload that has begun.
    async fn download(self: &Arc<Self>, who: &Caller, upload: Upload, url: String) -> Result<()> {
        let (id, shown) = (upload.image(), without_query(&url).to_owned());
        match self.note_import(who, id, ImportMethod::Download, Some(shown)) {
            Ok(running) => {
                self.follow(id, running, Arc::clone(self).fetch_into(url, upload));
                Ok(())
            }
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    async fn fetch_into(self: Arc<Self>, url: String, mut upload: Upload) -> Result<()> {
        let mut pace = Pace::new(self.limits.patience, Instant::now());
        let received = async {
            let mut body = self.fetcher.get(&url, None).await?;
            while let Some(chunk) = pace.next(&mut body.stream, Error::from).await? {
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

    /// Runs an import as a task of its own.
    fn follow(
        self: &Arc<Self>,
        image: ImageId,
        running: super::tasks::Running,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        tokio::spawn(async move {
            let outcome = work.await;
            if let Err(error) = &outcome {
                log::warn!("the import into {image} failed: {error}: {}", error.causes());
            }
            running.end(&outcome);
        });
    }
}
