//! Writing of a copy: bytes that exist elsewhere are read, on and on after failures that may pass, and go into a store, held to what
//! is known of them. Changes no record, and knows no rights.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{BoxStream, StreamExt};

use super::core::Core;
use super::download::Downloads;
use super::gate::{WayIn, let_in};
use super::imports::Import;
use super::parts::remove_places;
use super::reread::PartReading;
use super::retries::FetchReport;
use crate::error::{Error, Result};
use crate::image::{Declared, Image, Location, Part, StoreName, StoredAt};
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

/// CopyOrigin of the bytes of a copy.
pub(in crate::registry) enum CopyOrigin<'a> {
    /// A part in a store or in a file: its bytes passed the gate when they first came, and the digests say that these are equal.
    Kept(&'a Part),
    /// A URL: the bytes pass the gate now, for an image that says this of them.
    Url(Declared),
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
        place: StoredAt,
        claim: Expected,
        pieces: BoxStream<'static, Result<Bytes>>,
        origin: CopyOrigin<'_>,
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
        let received = intake.ok_or_else(over)?.finish().await?;
        let settled = async {
            match origin {
                CopyOrigin::Kept(part) => {
                    received.writer.finish().await?;
                    Ok(Part { location: Location::Stored(place.clone()), etag: None, ..part.clone() })
                }
                CopyOrigin::Url(declared) => self.let_in(received, declared, &place).await,
            }
        };
        let settled = settled.await;
        if settled.is_err() {
            let _ = self.core.stores.delete(&place).await;
        }
        settled
    }

    /// Lets bytes in that this server fetched, and makes them durable.
    async fn let_in(&self, received: Received, declared: Declared, place: &StoredAt) -> Result<Part> {
        let (Received { size, digests, writer, slot, .. }, mut admitted) =
            let_in(self.core, WayIn::Fetched, received, declared).await?;
        writer.finish().await?;
        drop(slot);
        if admitted.is_wrapped() {
            admitted.look_inside(self.core, self.core.stores.open(place, None).await?).await?;
        }
        admitted.part(Location::Stored(place.clone()), Some(size), digests)
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
                self.carry(to, claim, pieces, CopyOrigin::Kept(part)).await
            };
            match copied.await {
                Ok(copy) => copies.push(copy),
                Err(error) => {
                    self.report.handle.amend_notes(|import: &mut Import| import.failed_in = Some(store.clone()));
                    remove_places(&self.core.stores, copies.iter().filter_map(Part::place).cloned(), &[]).await;
                    return Err(error);
                }
            }
        }
        Ok(copies)
    }
}
