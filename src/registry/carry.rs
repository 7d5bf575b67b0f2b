//! Writing of a copy: bytes that exist elsewhere go into a store, held to what is known of them. Knows no record and no rights.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::core::Core;
use super::parts::{remove_places, stored};
use crate::blob::stream;
use crate::error::{Error, Result};
use crate::image::{Format, Part, PartKind, StoreName, StoredAt};
use crate::ingest::intake::{Ingest, Intake, Received, over};
use crate::ingest::{Expected, pump};
use crate::jobs::Handle;

/// A way into the stores for copies, as the work of a job.
pub(in crate::registry) struct Carrier<'a> {
    pub(in crate::registry) core: &'a Core,
    pub(in crate::registry) ingest: &'a Arc<Ingest>,
    pub(in crate::registry) handle: &'a Handle,
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
        let (mut pieces, mut rate) = (self.handle.watch(pieces, before, Some(total)), self.ingest.rate_guard());
        let moved = tokio::select! {
            moved = pump(None, &mut pieces, &mut rate, |error| error, &mut intake) => moved,
            // A stop does not wait for a store that takes nothing.
            () = self.handle.stopped() => Err(Handle::stop_error()),
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

    /// Copies a durable part into more stores. After an error none of the copies stays.
    ///
    /// # Errors
    /// As [`Carrier::carry`].
    pub(in crate::registry) async fn multiply(&self, part: &Part, stores: &[StoreName]) -> Result<Vec<Part>> {
        let Some(place) = part.place() else { return Ok(Vec::new()) };
        let mut copies = Vec::new();
        for store in stores {
            let copied = async {
                let body = self.core.stores.open(place, None).await?;
                let claim = Expected { size: part.size, digests: part.digests };
                let to = place.key.clone().in_store(store.clone());
                let pieces = stream(body, &self.ingest.buffers).map_err(Error::from).boxed();
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
