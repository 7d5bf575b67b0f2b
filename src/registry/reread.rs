//! Reading on: the bytes of an image whose store stops in the middle are read on from there after a pause. Bytes of an image never
//! change, and the digests of what is read tell if they did.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::sleep;

use super::download::Downloads;
use super::retries::FetchReport;
use crate::blob::{BlobBody, Buffers};
use crate::error::{Error, Reason, Result};
use crate::fetch::{Backoff, Retries};
use crate::image::{Image, Part};

/// A reading of a part.
pub(super) struct PartReading {
    downloads: Arc<Downloads>,
    buffers: Buffers,
    image: Image,
    part: Part,
    /// Bytes still to come.
    left: Range<u64>,
    now: BoxStream<'static, Result<Bytes>>,
    backoff: Backoff,
    report: FetchReport,
    paused: bool,
}

impl PartReading {
    /// Reads a part of an image whose size is known.
    ///
    /// # Errors
    /// As [`Downloads::open`]. The beginning is not tried again.
    pub(super) async fn begin(
        downloads: &Arc<Downloads>,
        buffers: &Buffers,
        image: &Image,
        part: &Part,
        retries: Retries,
        report: FetchReport,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let body = downloads.bytes_of(image, part, None).await?;
        let (now, downloads) = (pieces(body, buffers), Arc::clone(downloads));
        let Some(size) = part.size else { return Ok(now) };
        let (image, part, buffers) = (image.clone(), part.clone(), buffers.clone());
        let backoff = Backoff::new(retries);
        let reading = Self { downloads, buffers, image, part, left: 0..size, now, backoff, report, paused: false };
        let all = stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            let piece = reading.next().await?;
            let rest = piece.is_ok().then_some(reading);
            Some((piece, rest))
        });
        Ok(all.fuse().boxed())
    }

    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            let error = match self.now.next().await? {
                Ok(piece) => {
                    self.left.start += piece.len() as u64;
                    if std::mem::take(&mut self.paused) {
                        self.report.go_on();
                        self.backoff.forget();
                    }
                    return Some(Ok(piece));
                }
                Err(error) => error,
            };
            if let Err(error) = self.reopen(error).await {
                return Some(Err(error));
            }
        }
    }

    /// Opens what is left, until it can be or is not worth another try.
    async fn reopen(&mut self, mut error: Error) -> Result<()> {
        loop {
            if error.reason() != Reason::StoreUnavailable {
                return Err(error);
            }
            let Some(pause) = self.backoff.pause(None) else { return Err(error) };
            log::info!("reading {} on in {pause:?}: {}", self.image.id, error.logged());
            self.paused = true;
            self.report.pause(&format!("{error} It is read on."));
            sleep(pause).await;
            match self.downloads.bytes_of(&self.image, &self.part, Some(self.left.clone())).await {
                Ok(body) => {
                    self.now = pieces(body, &self.buffers);
                    return Ok(());
                }
                Err(next) => error = next,
            }
        }
    }
}

fn pieces(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes>> {
    crate::blob::stream(body, buffers).map(|piece| piece.map_err(Error::from)).boxed()
}
