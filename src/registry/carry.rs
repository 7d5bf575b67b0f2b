//! Writing of a copy: bytes that exist elsewhere are read, on and on after failures that may pass, and go into a store, held to what
//! is known of them. Changes no record, and knows no rights.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{BoxStream, StreamExt};

use super::core::Core;
use super::download::Downloads;
use super::parts::{remove_places, stored};
use super::reread::PartReading;
use super::retries::FetchReport;
use crate::error::{Error, Result};
use crate::image::{Format, Image, Location, Part, PartKind, StoreName, StoredAt};
use crate::ingest::intake::{Ingest, Intake, Received, over};
use crate::ingest::{Expected, pump};
use crate::jobs::Handle;

/// A way into the stores for copies, as the work of a job.
pub(in crate::registry) struct Carrier<'a> {
    pub(in crate::registry) core: &'a Arc<Core>,
    pub(in crate::registry) ingest: &'a Arc<Ingest>,
    pub(in crate::registry) report: FetchReport,
    /// Bytes that the job has carried before, and all that it carries.
    pub(in crate::registry) progress: (u64, u64),
}

/// Check of the bytes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum FormatCheck {
    /// None: it was made when the bytes first arrived.
    Done,
    /// As of an upload: the bytes must have this format.
    Needed(Option<Format>),
}

impl Carrier<'_> {
    /// The bytes of a part: from any copy that answers, or from its URL.
    ///
    /// # Errors
    /// As [`Downloads::open`].
    pub(in crate::registry) async fn read(
        &self,
        image: &Image,
        part: &Part,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let downloads = Downloads::new(self.core);
        if let Location::Http { url } = &part.location {
            let body = downloads.all_under_url(image, part, url, &self.report).await?;
            return Ok(body.stream.map_err(Error::from).boxed());
        }
        let (retries, report) = (self.core.fetcher.retries(None), self.report.clone());
        PartReading::begin(&downloads, &self.ingest.buffers, image, part, retries, report).await
    }

    /// Writes a copy, durable when this returns. After an error nothing of it stays.
    ///
    /// # Errors
    /// `DigestMismatch` when the bytes differ from the claim; `BadContent`, `StoreFull`, `Busy`, `Upstream`; errors of `pieces`.
    pub(in crate::registry) async fn carry(
        &self,
        kind: PartKind,
        place: StoredAt,
        claim: Expected,
        pieces: BoxStream<'static, Result<Bytes>>,
        inspection: FormatCheck,
    ) -> Result<Part> {
        let (store, size) = (&place.store, claim.size);
        self.ingest.admit(store, &claim).await?;
        let slot = self.ingest.slot()?;
        // Removes the rest of an earlier attempt: no record names it.
        self.core.stores.delete(&place).await?;
        let writer = self.core.stores.begin(&place, size).await?;
        let digesting = self.ingest.hash_pool.begin();
        let mut intake = Some(Intake::start(self.ingest, store.clone(), writer, 0, digesting, claim, slot)?);
        let (before, total) = self.progress;
        let mut pieces = self.report.handle.watch(pieces, before, Some(total));
        let mut rate = self.ingest.rate_guard().excusing(&self.report.pauses);
        let moved = tokio::select! {
            moved = pump(None, &mut pieces, &mut rate, |error| error, &mut intake) => moved,
            // A stop does not wait for a store that takes nothing.
            () = self.report.handle.stopped() => Err(Handle::stop_error()),
        };
        if let Err(error) = moved {
            if let Some(intake) = intake.take() {
                intake.abort().await;
            }
            return Err(error);
        }
        let intake = intake.ok_or_else(over)?;
        let received = match inspection {
            FormatCheck::Done => intake.finish_copy().await,
            FormatCheck::Needed(format) => intake.finish(format).await,
        };
        let Received { size, virtual_size, digests, writer, .. } = received?;
        if let Err(error) = writer.finish().await {
            let _ = self.core.stores.delete(&place).await;
            return Err(error.into());
        }
        Ok(Part { virtual_size, ..stored(kind, place, size, digests) })
    }

    /// Copies a durable part of an image into more stores. After an error none of the copies stays.
    ///
    /// # Errors
    /// As [`Carrier::carry`].
    pub(in crate::registry) async fn multiply(
        &self,
        image: &Image,
        part: &Part,
        stores: &[StoreName],
    ) -> Result<Vec<Part>> {
        let Some(place) = part.place() else { return Ok(Vec::new()) };
        let mut copies = Vec::new();
        for store in stores {
            let copied = async {
                let claim = Expected { size: part.size, digests: part.digests };
                let to = place.key.clone().in_store(store.clone());
                let pieces = self.read(image, part).await?;
                self.carry(part.kind, to, claim, pieces, FormatCheck::Done).await
            };
            match copied.await {
                Ok(copy) => copies.push(Part { virtual_size: part.virtual_size, digests: part.digests, ..copy }),
                Err(error) => {
                    remove_places(&self.core.stores, copies.iter().filter_map(Part::place).cloned(), &[]).await;
                    return Err(error);
                }
            }
        }
        Ok(copies)
    }
}
