//! Rules of every change to a record: fitting values, existing references, bytes that it may take over.
//!
//! All services ask these rules before they change an image; the room knows none of the services.

use std::sync::Arc;

use super::Caller;
use super::core::Core;
use super::download::Downloads;
use super::lxd::offers::{Offers, withdraw};
use super::mirror::source::{Source, inspect};
use super::policy::{Action, On, Publish};
use super::recheck::check_kept;
use crate::catalog::not_found;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::change::check;
use crate::image::{
    Declared, Digests, Format, Image, ImageId, ImageKind, ImagePatch, Location, Part, Status, StoreName,
};
use crate::ingest::Expected;
use crate::ingest::intake::Ingest;

/// Tries of a change that conflicts with others. Each time one of them wins, and so the last try fails only when this
/// many others finished first.
pub(in crate::registry) const RETRIES_MAX: usize = 16;

/// A change that a caller asked for, with its references checked.
#[derive(Clone)]
pub(in crate::registry) struct PreparedChange {
    who: Caller,
    patch: ImagePatch,
    publish: Publish,
}

impl PreparedChange {
    /// Applies the change to an image: to its locked row, or to a copy to see if it fits.
    ///
    /// # Errors
    /// `Forbidden` owner or visibility; `Conflict` for another store than the one that has the bytes; `Invalid` values, `TooMany` of them.
    pub(in crate::registry) fn apply(&self, image: &mut Image) -> Result<()> {
        if self.patch.owner.as_ref().is_some_and(|owner| *owner != image.owner) {
            self.who.may(Action::SetOwner, On::Server)?;
        }
        // Bytes stay in the store that has them, or that they are on their way to.
        let is_settled = !image.parts.is_empty() || image.status == Status::Saving;
        if is_settled && self.patch.store.as_ref().is_some_and(|store| *store != image.store) {
            return Err(Reason::StoreFixed.into());
        }
        let before = image.clone();
        self.patch.apply(image)?;
        self.publish.check(&self.who, &before, image)
    }
}

/// Records, with the rules of their changes.
pub(in crate::registry) struct Records {
    core: Arc<Core>,
    ingest: Arc<Ingest>,
    downloads: Arc<Downloads>,
    offers: Arc<Offers>,
}

impl Records {
    pub(in crate::registry) fn new(
        core: &Arc<Core>,
        ingest: &Arc<Ingest>,
        downloads: &Arc<Downloads>,
        offers: &Arc<Offers>,
    ) -> Arc<Self> {
        let (core, ingest) = (Arc::clone(core), Arc::clone(ingest));
        Arc::new(Self { core, ingest, downloads: Arc::clone(downloads), offers: Arc::clone(offers) })
    }

    /// Reads an image.
    ///
    /// # Errors
    /// `NotFound`, also for an image that the caller may not know of.
    pub(in crate::registry) async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        let image = self.core.catalog.get(id).await?;
        if who.sees(&image) { Ok(image) } else { Err(not_found(id)) }
    }

    /// Builds a new image with a patch applied, not yet in the catalogue.
    pub(in crate::registry) async fn draft(&self, who: &Caller, patch: &ImagePatch) -> Result<Image> {
        who.may(Action::CreateImage, On::Server)?;
        let mut image = Image::blank(ImageId::random(), self.core.now());
        image.owner = who.account().map(Into::into);
        // Creation counts as the first change, which gives the image a place in lists by change.
        image.updated_at = Some(image.created_at);
        self.change(who, &mut image, &patch.clone().without_reserved()).await?;
        Ok(image)
    }

    /// Applies a patch to a copy of an image, if the caller may and its references exist.
    pub(in crate::registry) async fn change(&self, who: &Caller, image: &mut Image, patch: &ImagePatch) -> Result<()> {
        self.prepare(who, patch).await?.apply(image)
    }

    /// Checks the references of a patch. All other rules depend on the image that it is applied to.
    ///
    /// # Errors
    /// `Invalid` store; `NotFound` or `Invalid` kernel or ramdisk.
    pub(in crate::registry) async fn prepare(&self, who: &Caller, patch: &ImagePatch) -> Result<PreparedChange> {
        if let Some(Some(store)) = &patch.store {
            self.check_store(store)?;
        }
        self.check_companion(who, patch.kernel.flatten(), ImageKind::Kernel).await?;
        self.check_companion(who, patch.ramdisk.flatten(), ImageKind::Ramdisk).await?;
        Ok(PreparedChange { who: who.clone(), patch: patch.clone(), publish: self.core.limits.publish })
    }

    /// Checks that an image may ask for a store: a configured one, or one of the original VISOR's.
    fn check_store(&self, store: &StoreName) -> Result<()> {
        if self.core.stores.has(store) || StoreName::ORIGINAL.contains(&store.as_str()) {
            return Ok(());
        }
        let others = self.core.stores.iter().map(|store| store.name.as_str());
        let others = others.filter(|name| !StoreName::ORIGINAL.contains(name));
        let known: Vec<_> = StoreName::ORIGINAL.into_iter().chain(others).collect();
        Err(Reason::NoSuchStore.about(store).and(known.join(", ")))
    }

    /// Kind of a companion, a kernel or ramdisk to which other images may refer, by its own attribute or its format.
    ///
    /// # Errors
    /// `NotFound`.
    pub(in crate::registry) async fn companion(&self, who: &Caller, id: ImageId) -> Result<Option<ImageKind>> {
        let image = self.get(who, id).await?;
        Ok(match (image.kind, image.format) {
            (Some(ImageKind::Kernel), _) | (_, Some(Format::Aki)) => Some(ImageKind::Kernel),
            (Some(ImageKind::Ramdisk), _) | (_, Some(Format::Ari)) => Some(ImageKind::Ramdisk),
            _ => None,
        })
    }

    /// Checks that a kernel or ramdisk exists, and is one.
    async fn check_companion(&self, who: &Caller, id: Option<ImageId>, kind: ImageKind) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        if self.companion(who, id).await? == Some(kind) {
            return Ok(());
        }
        Err(Reason::WrongCompanion.about(id).and(kind.name()))
    }

    /// Changes an image by the patch that `make` builds from its current record. `make` runs again when another change
    /// wins.
    ///
    /// # Errors
    /// Errors of `make`; as [`crate::registry::Registry::update`].
    pub(in crate::registry) async fn edit(
        &self,
        who: &Caller,
        id: ImageId,
        make: impl Fn(&Image) -> Result<ImagePatch>,
    ) -> Result<Image> {
        self.revise(who, id, make, None, &Expected::default()).await
    }

    pub(in crate::registry) async fn revise(
        &self,
        who: &Caller,
        id: ImageId,
        make: impl Fn(&Image) -> Result<ImagePatch>,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        let action = match source {
            None => Action::ChangeImage,
            Some(Source::Http(_)) => Action::ImportFromUrl,
            Some(Source::File(_)) => Action::ImportFile,
        };
        // A file is read and hashed once, however often another change wins.
        let mut found: Option<(Declared, Part)> = None;
        for _ in 0..RETRIES_MAX {
            let mut image = self.core.catalog.get(id).await?;
            who.may(action, &image)?;
            let patch = make(&image)?;
            if patch.is_empty() && source.is_none() {
                return Ok(image);
            }
            // The store's name of a file in upload is fixed, and so is its store.
            if image.status == Status::Saving && patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            if image.status == Status::Saving && patch.store.as_ref().is_some_and(|store| *store != image.store) {
                return Err(Reason::StoreFixed.saying("The store of an image can't be changed during its upload."));
            }
            let before = image.clone();
            self.change(who, &mut image, &patch).await?;
            match source.clone() {
                Some(source) => {
                    let wanted = image.declared();
                    let part =
                        match found.take().filter(|(declared, _)| *declared == wanted && image.status.takes_bytes()) {
                            Some((_, part)) => part,
                            None => self.look_at(&image, source, claim).await?,
                        };
                    found = Some((wanted, part.clone()));
                    attach(&mut image, part);
                }
                None if image.declared() != before.declared() => {
                    check_kept(&self.core, &self.downloads, &self.ingest, &mut image).await?;
                }
                None => {}
            }
            image.updated_at = Some(self.core.now());
            let withdrawn = withdraw(&before, &mut image);
            match self.core.catalog.replace(image).await {
                Err(error) if error.kind() == Kind::Precondition => {}
                done => {
                    if withdrawn {
                        self.offers.forget_metadata(&before).await;
                    }
                    return done.inspect(|image| {
                        self.offers.consider(image);
                        self.core.unhashed.consider(image);
                    });
                }
            }
        }
        Err(outrun())
    }

    /// Makes a small change inside the catalogue's writer, without any other in between. `change` checks the rights of
    /// a caller that sees the image; it may run again.
    pub(in crate::registry) async fn amend(
        &self,
        who: &Caller,
        id: ImageId,
        change: impl Fn(&Caller, &mut Image) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let who = who.clone();
        let amended = self.core.catalog.amend(id, move |row| {
            if !who.sees(row) {
                return Err(not_found(id));
            }
            let mut image = row.clone();
            change(&who, &mut image)?;
            check(&image)?;
            Ok(Some(image))
        });
        amended.await?.ok_or_else(|| not_found(id))
    }

    /// Inspects a source, if an image may take its bytes.
    pub(in crate::registry) async fn look_at(&self, image: &Image, source: Source, claim: &Expected) -> Result<Part> {
        takes_location(image)?;
        let store = match &source {
            Source::File(_) => StoreName::FILE,
            Source::Http(_) => StoreName::HTTP,
        };
        if image.store.as_ref().is_some_and(|wish| *wish != store) {
            return Err(Reason::WrongStore.into());
        }
        if store == StoreName::HTTP && claim.digests != Digests::default() {
            return Err(Reason::ChecksumOfUrl.into());
        }
        let part = inspect(&self.core, &self.ingest, source, image.declared()).await?;
        claim.check(part.size, &part.digests).map_err(other_source)?;
        Ok(part)
    }
}

/// Attaches the bytes found at a source to an image.
pub(in crate::registry) fn attach(image: &mut Image, part: Part) {
    image.store = Some(match &part.location {
        Location::Http { .. } => StoreName::HTTP,
        Location::File { .. } => StoreName::FILE,
        Location::Stored(place) => place.store.clone(),
    });
    image.parts = vec![part];
    image.status = Status::Available;
}

/// Error for a change that conflicted at every try.
pub(in crate::registry) fn outrun() -> Error {
    Reason::Busy.saying("Other requests keep changing the image; try again.")
}

/// Error for a new format of a file in upload.
pub(in crate::registry) fn format_is_fixed() -> Error {
    Reason::FormatFixed.into()
}

/// Error for bytes sent to an image that takes none.
pub(in crate::registry) fn takes_no_data(image: &Image) -> Error {
    Reason::TakesNoData.about(image.status.word())
}

/// Checks that an image may get the bytes at a location.
pub(in crate::registry) fn takes_location(image: &Image) -> Result<()> {
    if image.status.takes_bytes() { Ok(()) } else { Err(Reason::TakesNoLocation.about(image.status.word())) }
}

/// Error for bytes at a source that are not the announced ones.
pub(in crate::registry) fn other_source(error: Error) -> Error {
    Reason::SourceMismatch.saying(error.message().to_owned())
}
