//! Copies of an image in several stores: adds one, removes one, or moves all bytes into another store. Knows no protocol.
//!
//! The record is changed when the new bytes are durable and verified, and bytes are removed when no record names them any
//! more. A process that dies between the two leaves a file that `visor verify` shows and the next try replaces.

use std::fmt;
use std::sync::Arc;

use super::Caller;
use super::carry::{Carrier, CopyOrigin};
use super::copying::{Copying, Turn};
use super::core::Core;
use super::download::{Downloads, changed};
use super::lxd::offers::Offers;
use super::parts::remove_places;
use super::policy::Action;
use super::records::{Records, outrun};
use super::retries::FetchReport;
use super::verify::verify_part;
use crate::catalog::not_found;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::{BlobKey, Image, ImageId, Location, Part, PartKind, Status, StoreName, StoredAt};
use crate::ingest::Expected;
use crate::ingest::intake::Ingest;
use crate::jobs::{self, Handle, Job, Spec, Stop};

/// Attempts to copy an image that changes meanwhile.
const TRIES: usize = 3;

/// Change of the copy in a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Aim {
    /// Adds it.
    Copy,
    /// Makes it the only one.
    Move,
    /// Removes it.
    Remove,
}

/// Images in several stores.
pub struct Copies {
    core: Arc<Core>,
    ingest: Arc<Ingest>,
    records: Arc<Records>,
    downloads: Arc<Downloads>,
    offers: Arc<Offers>,
    pub(in crate::registry) copying: Copying,
}

impl Copies {
    pub(in crate::registry) fn new(
        core: &Arc<Core>,
        ingest: &Arc<Ingest>,
        records: &Arc<Records>,
        downloads: &Arc<Downloads>,
        offers: &Arc<Offers>,
    ) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            ingest: Arc::clone(ingest),
            records: Arc::clone(records),
            downloads: Arc::clone(downloads),
            offers: Arc::clone(offers),
            copying: Copying::default(),
        })
    }

    /// Puts another copy of an image into a store.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the image has no bytes of its own, or a copy there; `Unsupported` store;
    /// `Busy`, `StoreFull`, `Upstream`; `Internal` when the bytes are not those that were stored. The image is as before.
    pub async fn copy_to(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Copy, Action::CopyBetweenStores, &Handle::default()).await
    }

    /// Moves all bytes of an image into a store; no other store has any afterwards. An existing copy is verified.
    ///
    /// # Errors
    /// As [`Copies::copy_to`].
    pub async fn move_to(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Move, Action::MoveBetweenStores, &Handle::default()).await
    }

    /// Moves an image into a store as a job. Stopped, it leaves the image unchanged.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Unsupported` store; `Busy`. The job reports everything else.
    pub async fn start_move(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Job> {
        let turn = self.turn(who, id, Action::MoveBetweenStores).await?;
        self.core.stores.named(store)?;
        let (copies, store) = (Arc::clone(self), store.clone());
        let spec = Spec::new(jobs::JobKind::Move, who.account()).image(id).stop(Stop::Asks);
        self.core
            .jobs
            .spawn(spec, |handle| async move { copies.carry_on(turn, id, store, Aim::Move, handle).await.map(drop) })
    }

    /// Removes the copy of an image that a store has.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for the only copy as well; `Conflict` when the store has none.
    pub async fn remove_copy(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Remove, Action::CopyBetweenStores, &Handle::default()).await
    }

    /// The right to copy an image, for a caller that may do it as `action` of the policy.
    async fn turn(&self, who: &Caller, id: ImageId, action: Action) -> Result<Turn> {
        let image = self.records.get(who, id).await?;
        who.may(action, &image)?;
        self.copying.begin(id)
    }

    /// Changes which stores have an image, as `action` of the policy.
    pub(in crate::registry) async fn carry(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        store: &StoreName,
        aim: Aim,
        action: Action,
        handle: &Handle,
    ) -> Result<Image> {
        let turn = self.turn(who, id, action).await?;
        // A task of its own: a caller that disconnects must not leave bytes that no record names.
        let work = Arc::clone(self).carry_on(turn, id, store.clone(), aim, handle.clone());
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    async fn carry_on(
        self: Arc<Self>,
        _turn: Turn,
        id: ImageId,
        store: StoreName,
        aim: Aim,
        handle: Handle,
    ) -> Result<Image> {
        // LXD's description of a disk, or another digest, may be added meanwhile.
        for _ in 0..TRIES {
            let before = self.core.catalog.get(id).await?;
            let (arrived, settled) = match aim {
                Aim::Copy | Aim::Move => {
                    let whole = aim == Aim::Move;
                    let arrived = self.bring(&before, &store, whole, &handle).await?;
                    let settled = self.settle_copies(&before, &store, &arrived, whole).await;
                    (arrived, settled)
                }
                Aim::Remove => (Vec::new(), self.settle_removal(&before, &store).await),
            };
            match settled {
                Ok(after) => {
                    self.remove_parts(&before.parts, &after.parts).await;
                    self.offers.consider(&after);
                    return Ok(after);
                }
                // The change may be in the journal nevertheless: both copies stay, and `visor verify` shows the superfluous
                // one.
                Err(error) if error.kind() == Kind::Internal => return Err(error),
                Err(error) => {
                    self.remove_parts(&arrived, &before.parts).await;
                    if error.kind() != Kind::Precondition {
                        return Err(error);
                    }
                }
            }
        }
        Err(outrun())
    }

    /// Copies the parts of an image into a store. After an error none of the new copies stays. A move accepts a copy that
    /// exists there.
    pub(super) async fn bring(
        &self,
        image: &Image,
        store: &StoreName,
        whole: bool,
        handle: &Handle,
    ) -> Result<Vec<Part>> {
        let main = image.main().filter(|_| matches!(image.status, Status::Available | Status::Deactivated));
        let main = main.ok_or(Reason::NotCopyable)?;
        if *store == StoreName::HTTP {
            return Err(Reason::StaysUnderUrl.into());
        }
        let there = |kind| image.parts.iter().find(|part| part.kind == kind && is_in(part, store));
        let alone = image.homes().len() == 1 && image.under_url().is_none_or(|url| url == main);
        if there(PartKind::Main).is_some() && (!whole || alone) {
            return Err(Reason::InStoreAlready.about(store));
        }
        self.core.stores.named(store)?;
        let kinds = [PartKind::Main, PartKind::Metadata];
        let total = kinds.iter().filter_map(|kind| image.part(*kind)?.size).sum();
        let (mut arrived, mut done) = (Vec::new(), 0);
        for kind in kinds {
            let Some(part) = image.part(kind) else { continue };
            let brought = match there(kind) {
                None => self.bring_part(image, part, store, handle, (done, total)).await,
                Some(copy) => verify_part(&self.core, &self.downloads, &self.ingest, image, copy)
                    .await
                    .map(|()| copy.clone())
                    .map_err(damaged),
            };
            match brought {
                Ok(part) => {
                    done += part.size.unwrap_or(0);
                    arrived.push(part);
                }
                Err(error) => {
                    self.remove_parts(&arrived, &image.parts).await;
                    return Err(error);
                }
            }
        }
        Ok(arrived)
    }

    /// Copies one part; `done` and `total` are the bytes of all parts.
    async fn bring_part(
        &self,
        image: &Image,
        part: &Part,
        store: &StoreName,
        handle: &Handle,
        (done, total): (u64, u64),
    ) -> Result<Part> {
        // Keeps the key: the declared format may have changed since.
        let key = part.place().map_or_else(|| BlobKey::main(image.id, image.format), |place| place.key.clone());
        let place = key.in_store(store.clone());
        let claim = Expected { size: part.size, digests: part.digests };
        // Bytes from a URL arrive only now.
        let remote = matches!(part.location, Location::Http { .. });
        let origin = if remote { CopyOrigin::Url(image.declared()) } else { CopyOrigin::Kept(part) };
        let (core, ingest, report) = (&self.core, &self.ingest, FetchReport::to(handle));
        let carrier = Carrier { core, ingest, report, progress: (done, total) };
        let pieces = carrier.read(image, part).await?;
        carrier.carry(place, claim, pieces, origin).await.map_err(|error| match error.kind() {
            Kind::DigestMismatch if remote => changed(image).because(error),
            Kind::DigestMismatch => damaged(error.message()),
            _ => error,
        })
    }

    /// Adds copies to the record, unless the image got other bytes meanwhile.
    pub(super) async fn settle_copies(
        &self,
        before: &Image,
        store: &StoreName,
        arrived: &[Part],
        whole: bool,
    ) -> Result<Image> {
        let (arrived, store) = (arrived.to_vec(), store.clone());
        let put = move |row: &mut Image| {
            if whole {
                row.parts.clear();
                row.store = Some(store.clone());
            }
            let arrived = arrived.iter().filter(|part| !row.parts.contains(part)).cloned().collect::<Vec<_>>();
            match row.main().is_some_and(|main| matches!(main.location, Location::Http { .. })) {
                // First: unlike the bytes under the URL it can't change.
                true => {
                    row.parts.splice(0..0, arrived);
                    row.store = Some(store.clone());
                }
                false => row.parts.extend(arrived),
            }
            Ok(())
        };
        self.settle_parts(before, put).await
    }

    /// Removes the copy of a store from the record, unless the image got other bytes meanwhile.
    async fn settle_removal(&self, before: &Image, store: &StoreName) -> Result<Image> {
        if !before.parts.iter().any(|part| is_in(part, store)) {
            return Err(Reason::NotInStore.about(store));
        }
        let gone = store.clone();
        let drop_copy = move |row: &mut Image| {
            row.parts.retain(|part| !is_in(part, &gone));
            if row.main().is_none() {
                return Err(Reason::OnlyCopy.into());
            }
            row.store = Some(row.serving_store());
            withdraw_without_description(row);
            Ok(())
        };
        self.settle_parts(before, drop_copy).await
    }

    /// Changes the parts of an image, unless it got other ones meanwhile, or says something else of them.
    async fn settle_parts(
        &self,
        before: &Image,
        change: impl Fn(&mut Image) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let (same, said) = (before.parts.clone(), before.declared());
        let put = move |row: &Image| {
            if row.status == Status::Deleting {
                return Err(not_found(row.id));
            }
            if row.parts != same || row.declared() != said {
                return Err(Reason::ChangedMeanwhile.about(row.id));
            }
            let mut row = row.clone();
            change(&mut row)?;
            Ok(Some(row))
        };
        let settled = self.core.catalog.amend(before.id, put).await?;
        settled.ok_or_else(|| Error::internal("an image whose copies were changed has no record"))
    }

    /// Removes the bytes of parts that a record no longer names or never will, except those in `named`.
    async fn remove_parts(&self, gone: &[Part], named: &[Part]) {
        remove_places(&self.core.stores, gone.iter().filter_map(Part::place).cloned(), named).await;
    }
}

/// Error for a copy whose bytes are not those of the record.
fn damaged(what: impl fmt::Display) -> Error {
    Error::internal(format!("{what}: run `visor verify`"))
}

fn is_in(part: &Part, store: &StoreName) -> bool {
    match &part.location {
        Location::Stored(StoredAt { store: other, .. }) => other == store,
        Location::Http { .. } => *store == StoreName::HTTP,
        Location::File { .. } => false,
    }
}

/// Withdraws a disk whose description for LXD and Incus was in the removed store: it can be made again.
fn withdraw_without_description(image: &mut Image) {
    if image.lxd_identity.is_some_and(|offer| offer.made) && image.part(PartKind::Metadata).is_none() {
        image.lxd_identity = None;
    }
}
