//! The same image in several stores: one more copy, one less, or another place for all of it.
//!
//! The record is changed when the new bytes are durable and verified, and bytes are removed when no record names them any
//! more. A process that dies between the two leaves a file that `visor verify` shows and the next try replaces.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::TryStreamExt;

use super::{Caller, Expected, RateGuard, Registry};
use crate::blob::stream;
use crate::catalog::not_found;
use crate::error::{self, Error, Result};
use crate::image::{BlobKey, Image, ImageId, Location, Part, PartKind, Status, StoreName, StoredAt};
use crate::jobs::{Handle, Job, Kind, Spec, Stop};
use crate::registry::images::outrun;
use crate::registry::intake::Intake;

/// An image that changes while it is copied is copied so often.
const TRIES: usize = 3;

/// What is to become of the copy in a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is one more.
    Copy,
    /// It is the only one.
    Move,
    /// It is one less.
    Remove,
}

/// Images that are being copied. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Copying(Arc<Mutex<HashSet<ImageId>>>);

/// The right to copy an image, until this is dropped.
pub(super) struct Turn(Copying, ImageId);

impl Copying {
    fn with<T>(&self, work: impl FnOnce(&mut HashSet<ImageId>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, id: ImageId) -> Result<Turn> {
        match self.with(|all| all.insert(id)) {
            true => Ok(Turn(self.clone(), id)),
            false => {
                Err(Error::new(error::Kind::Busy, "The image is being copied already; try again when that is done."))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.with(|all| all.remove(&self.1));
    }
}

impl Registry {
    /// Puts another copy of an image into a store.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the image has no bytes of its own, or a copy there; `Unsupported` store;
    /// `Busy`, `StoreFull`, `Upstream`; `Internal` when the bytes are not those that were stored. The image is as before.
    pub async fn copy_to(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Copy, &Handle::default()).await
    }

    /// Moves an image into a store, with all its bytes. No other store has any afterwards. A copy that is there already is
    /// verified.
    ///
    /// # Errors
    /// As [`Registry::copy_to`].
    pub async fn move_to(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Move, &Handle::default()).await
    }

    /// Begins to move an image into a store, and goes on with it as a job. Stopped, it leaves the image as it was.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Unsupported` store; `Busy`. Everything else is told by the job.
    pub async fn start_move(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Job> {
        let turn = self.turn(who, id).await?;
        self.stores.named(store)?;
        let (registry, store) = (Arc::clone(self), store.clone());
        self.jobs.spawn(Spec::new(Kind::Move, who.account()).image(id).stop(Stop::Asks), |handle| async move {
            registry.carry_on(turn, id, store, Aim::Move, handle).await.map(drop)
        })
    }

    /// Removes the copy of an image that a store has.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for the only copy as well; `Conflict` when the store has none.
    pub async fn remove_copy(self: &Arc<Self>, who: &Caller, id: ImageId, store: &StoreName) -> Result<Image> {
        self.carry(who, id, store, Aim::Remove, &Handle::default()).await
    }

    /// The right to copy an image, for a caller that may change it.
    async fn turn(&self, who: &Caller, id: ImageId) -> Result<Turn> {
        let image = self.get(who, id).await?;
        who.may_change(&image)?;
        self.copying.begin(id)
    }

    pub(super) async fn carry(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        store: &StoreName,
        aim: Aim,
        handle: &Handle,
    ) -> Result<Image> {
        let turn = self.turn(who, id).await?;
        // A task of its own: a caller that goes away must not leave bytes that no record names.
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
        // What describes a disk to LXD may come to it meanwhile, or another digest.
        for _ in 0..TRIES {
            let before = self.catalog.get(id).await?;
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
                    self.consider(&after);
                    return Ok(after);
                }
                // It may be in the journal all the same: then both stay, and `visor verify` shows the one too many.
                Err(error) if error.kind() == error::Kind::Internal => return Err(error),
                Err(error) => {
                    self.remove_parts(&arrived, &before.parts).await;
                    if error.kind() != error::Kind::Precondition {
                        return Err(error);
                    }
                }
            }
        }
        Err(outrun())
    }

    /// Copies what an image has into a store. What came of it is gone again after an error. When all of the image is to be
    /// there and nowhere else, it may have a copy there.
    pub(super) async fn bring(
        self: &Arc<Self>,
        image: &Image,
        store: &StoreName,
        whole: bool,
        handle: &Handle,
    ) -> Result<Vec<Part>> {
        let main = image.main().filter(|_| matches!(image.status, Status::Available | Status::Deactivated));
        let main = main.ok_or_else(|| Error::new(error::Kind::Conflict, "Only an image with a file can be copied."))?;
        if matches!(main.location, Location::Http { .. }) || *store == StoreName::HTTP {
            let text = "What is under a URL stays there; only what a store of this server has can be copied.";
            return Err(Error::new(error::Kind::Conflict, text));
        }
        let there = |kind| image.parts.iter().find(|part| part.kind == kind && is_in(part, store));
        if there(PartKind::Main).is_some() && (!whole || image.homes().len() == 1) {
            return Err(Error::new(error::Kind::Conflict, format!("The store '{store}' has this image already.")));
        }
        self.stores.named(store)?;
        let kinds = [PartKind::Main, PartKind::Metadata];
        let total = kinds.iter().filter_map(|kind| image.part(*kind)?.size).sum();
        let (mut arrived, mut done) = (Vec::new(), 0);
        for kind in kinds {
            let Some(part) = image.part(kind) else { continue };
            let brought = match there(kind) {
                None => self.bring_part(image, part, store, handle, (done, total)).await,
                Some(copy) => self.verify_part(image, copy).await.map(|()| copy.clone()).map_err(damaged),
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

    async fn bring_part(
        self: &Arc<Self>,
        image: &Image,
        part: &Part,
        store: &StoreName,
        handle: &Handle,
        (done, total): (u64, u64),
    ) -> Result<Part> {
        // The same key as before: the format may have been named otherwise since.
        let key = part.place().map_or_else(|| BlobKey::main(image.id, image.format), |place| place.key.clone());
        let place = key.in_store(store.clone());
        let claim = Expected { size: part.size, digests: part.digests };
        self.check_room(store, &claim).await?;
        let slot = self.upload_slot()?;
        let body = self.bytes_of(image, part, None).await?;
        // What an earlier try left: no record names it.
        self.stores.delete(&place).await?;
        let writer = self.stores.begin(&place, part.size).await?;
        let mut intake = Intake::start(self, store.clone(), writer, 0, self.hub.begin(), claim, slot)?;
        let pieces = stream(body, &self.buffers).map_err(Error::from);
        let mut pieces = handle.watch(pieces, done, Some(total));
        let mut pace = RateGuard::new(self.limits.patience, Instant::now());
        let taken = async {
            while let Some(piece) = pace.next(&mut pieces, |error| error).await? {
                intake.take(piece).await?;
            }
            Ok(())
        };
        if let Err(error) = taken.await {
            intake.abort().await;
            return Err(error);
        }
        let differs = |error: Error| match error.kind() {
            error::Kind::DigestMismatch => damaged(error.message()),
            _ => error,
        };
        let received = intake.finish_copy().await.map_err(differs)?;
        if let Err(error) = received.writer.finish().await {
            let _ = self.stores.delete(&place).await;
            return Err(error.into());
        }
        Ok(Part { location: Location::Stored(place), etag: None, ..part.clone() })
    }

    /// Puts copies into the record, unless the image got other bytes meanwhile.
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
            row.parts.extend(arrived);
            Ok(())
        };
        self.settle_parts(before, put).await
    }

    /// Takes the copy of a store out of the record, unless the image got other bytes meanwhile.
    async fn settle_removal(&self, before: &Image, store: &StoreName) -> Result<Image> {
        if !before.parts.iter().any(|part| is_in(part, store)) {
            return Err(Error::new(error::Kind::Conflict, format!("The store '{store}' has no copy of this image.")));
        }
        let gone = store.clone();
        let drop_copy = move |row: &mut Image| {
            row.parts.retain(|part| !is_in(part, &gone));
            if row.main().is_none() {
                let text = "The only copy of an image can't be removed; delete the image.";
                return Err(Error::new(error::Kind::Forbidden, text));
            }
            row.store = Some(row.home());
            withdraw_without_description(row);
            Ok(())
        };
        self.settle_parts(before, drop_copy).await
    }

    /// Changes which parts an image has, unless it got other ones meanwhile.
    async fn settle_parts(
        &self,
        before: &Image,
        change: impl Fn(&mut Image) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let same = before.parts.clone();
        let put = move |row: &Image| {
            if row.status == Status::Deleting {
                return Err(not_found(row.id));
            }
            if row.parts != same {
                return Err(Error::new(error::Kind::Precondition, "The image was changed while its copies were."));
            }
            let mut row = row.clone();
            change(&mut row)?;
            Ok(Some(row))
        };
        let settled = self.catalog.amend(before.id, put).await?;
        settled.ok_or_else(|| Error::internal("an image whose copies were changed has no record"))
    }

    /// Removes the bytes of parts that a record does not name any more, or never will, but for those of the parts it has.
    async fn remove_parts(&self, gone: &[Part], named: &[Part]) {
        self.remove_places(gone.iter().filter_map(Part::place).cloned(), named).await;
    }
}

/// The answer when the bytes of a copy are not those of the record.
fn damaged(what: impl fmt::Display) -> Error {
    Error::internal(format!("{what}: run `visor verify`"))
}

fn is_in(part: &Part, store: &StoreName) -> bool {
    part.place().is_some_and(|StoredAt { store: other, .. }| other == store)
}

/// What describes a disk to LXD and Incus was in the store that went: it can be made again.
fn withdraw_without_description(image: &mut Image) {
    if image.lxd_identity.is_some_and(|offer| offer.made) && image.part(PartKind::Metadata).is_none() {
        image.lxd_identity = None;
    }
}
