//! Bytes that come in behind the request that asks for them: those put aside before, or those of a URL. What became of it is
//! told as a [`super::Task`].

use std::sync::Arc;
use std::time::Instant;

use super::source::without_query;
use super::{Caller, Claim, ImportMethod, Pace, Registry, Upload};
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
        let running = self.note_import(who, id, ImportMethod::Download, Some(without_query(&url).to_owned()))?;
        let upload = self.upload(who, Some(id), &ImagePatch::default(), Claim::default()).await?;
        self.follow(id, running, Arc::clone(self).fetch_into(url, upload));
        Ok(())
    }

    async fn fetch_into(self: Arc<Self>, url: String, mut upload: Upload) -> Result<()> {
        let mut pace = Pace::new(self.limits.patience, Instant::now());
        let received = async {
            let mut body = self.fetcher.get(&url, None).await?;
            upload.claim(Claim { size: body.length, ..Claim::default() });
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
