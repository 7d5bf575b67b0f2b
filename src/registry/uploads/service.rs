//! Parts of the upload service. Holds them, and has no use case of its own.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ingest::intake::Ingest;
use crate::registry::core::Core;
use crate::registry::lxd::offers::Offers;
use crate::registry::records::Records;
use crate::registry::uploads::joins::Joins;
use crate::registry::uploads::lock::UploadLocks;

/// Service for uploads: in one request, in pieces, and staged for an import.
pub struct Uploads {
    pub(in crate::registry) core: Arc<Core>,
    pub(in crate::registry) ingest: Arc<Ingest>,
    pub(in crate::registry) records: Arc<Records>,
    pub(in crate::registry) offers: Arc<Offers>,
    pub(in crate::registry) locks: UploadLocks,
    pub(in crate::registry) joins: Joins,
    /// True when the server stops: requests that write to uploads in pieces end.
    parking: watch::Sender<bool>,
}

impl Uploads {
    pub(in crate::registry) fn new(
        core: &Arc<Core>,
        ingest: &Arc<Ingest>,
        records: &Arc<Records>,
        offers: &Arc<Offers>,
    ) -> Arc<Self> {
        let (core, ingest) = (Arc::clone(core), Arc::clone(ingest));
        let (records, offers) = (Arc::clone(records), Arc::clone(offers));
        let (locks, joins, parking) = (UploadLocks::default(), Joins::default(), watch::Sender::new(false));
        Arc::new(Self { core, ingest, records, offers, locks, joins, parking })
    }

    /// Ends the requests that write to uploads in pieces, now and from now on: what has arrived is kept, and clients continue at the
    /// next start.
    pub fn park_all(&self) {
        self.parking.send_replace(true);
    }

    /// Waits until uploads in pieces are to be parked.
    pub(in crate::registry) async fn parking(&self) {
        // The sender lives as long as this.
        let _ = self.parking.subscribe().wait_for(|parking| *parking).await;
    }
}
