//! The rules of every change to a record: which values fit, what it may refer to, which bytes it may take over.
//!
//! What all services ask before they change an image; none of them is known here.

use std::sync::Arc;

use super::Caller;
use super::core::Core;
use super::download::Downloads;
use super::lxd::offers::{Offers, withdraw};
use super::mirror::source::{Source, inspect};
use super::policy::{Action, On, Publish};
use super::recheck::check_kept;
use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::change::check;
use crate::image::{Digests, Format, Image, ImageId, ImageKind, ImagePatch, Location, Part, Status, StoreName};
use crate::ingest::Expected;
use crate::ingest::intake::Ingest;

/// A change that meets another one is tried again so often: each time one of them wins, so this is only reached when
/// that many others were faster.
pub(in crate::registry) const RETRIES_MAX: usize = 16;

/// A change that a caller asked for, and that refers to nothing that is not there.
#[derive(Clone)]
pub(in crate::registry) struct PreparedChange {
    who: Caller,
    patch: ImagePatch,
    publish: Publish,
}

impl PreparedChange {
    /// Puts the change on an image: on its row, where no other change comes between, or on a copy to see whether it fits.
    ///
    /// # Errors
    /// `Forbidden` owner or visibility; `Conflict` for another store than the one that has the bytes; `Invalid` values, `TooMany` of them.
    pub(in crate::registry) fn apply(&self, image: &mut Image) -> Result<()> {
        if self.patch.owner.as_ref().is_some_and(|owner| *owner != image.owner) {
            self.who.may(Action::SetOwner, On::Server)?;
        }
        // Bytes stay in the store that has them.
        if self.patch.store.as_ref().is_some_and(|store| *store != image.store) && !image.parts.is_empty() {
            return Err(Error::new(Kind::Conflict, "The store of an image that has bytes can't be changed."));
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

    /// An image.
    ///
    /// # Errors
    /// `NotFound`, for one that the caller may not know of as well.
    pub(in crate::registry) async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        let image = self.core.catalog.get(id).await?;
        if who.sees(&image) { Ok(image) } else { Err(not_found(id)) }
    }

    /// A new image with a patch on it, not yet in the catalogue.
    pub(in crate::registry) async fn draft(&self, who: &Caller, patch: &ImagePatch) -> Result<Image> {
        who.may(Action::CreateImage, On::Server)?;
        let mut image = Image::blank(ImageId::random(), self.core.now());
        image.owner = who.account().map(Into::into);
        // That it was made is the first of its changes, so that lists by change have a place for it.
        image.updated_at = Some(image.created_at);
        self.change(who, &mut image, patch).await?;
        Ok(image)
    }

    /// Puts a patch on a copy of an image, if the caller may and what it refers to is there.
    pub(in crate::registry) async fn change(&self, who: &Caller, image: &mut Image, patch: &ImagePatch) -> Result<()> {
        self.prepare(who, patch).await?.apply(image)
    }

    /// Looks for what a patch refers to. The rest is asked of the image that it is put on.
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

    /// Whether an image may ask for a store: it is there, or was one of the original VISOR's.
    fn check_store(&self, store: &StoreName) -> Result<()> {
        if self.core.stores.has(store) || StoreName::ORIGINAL.contains(&store.as_str()) {
            return Ok(());
        }
        let others = self.core.stores.iter().map(|store| store.name.as_str());
        let others = others.filter(|name| !StoreName::ORIGINAL.contains(name));
        let known: Vec<_> = StoreName::ORIGINAL.into_iter().chain(others).collect();
        Err(Error::invalid(format!("Invalid store '{store}', available options: {}", known.join(", "))))
    }

    /// Whether an image is a kernel or a ramdisk, to which others may refer: it says so itself, or its format does.
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

    /// A kernel or ramdisk that an image refers to has to be there, and be one.
    async fn check_companion(&self, who: &Caller, id: Option<ImageId>, kind: ImageKind) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        if self.companion(who, id).await? == Some(kind) {
            return Ok(());
        }
        Err(Error::invalid(format!("The image with id {id} is not a {} image.", kind.name())))
    }

    /// Changes an image as `make` says, which is shown the image that the change is put on. It may be called again, when
    /// another change comes between.
    ///
    /// # Errors
    /// What `make` says; as [`crate::registry::Registry::update`].
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
        // A file is read and hashed once, however often another change comes between.
        let mut found: Option<(Option<Format>, Part)> = None;
        for _ in 0..RETRIES_MAX {
            let mut image = self.core.catalog.get(id).await?;
            who.may(action, &image)?;
            let patch = make(&image)?;
            if patch.is_empty() && source.is_none() {
                return Ok(image);
            }
            // The file that is on its way has its name already, and its store.
            if image.status == Status::Saving && patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            if image.status == Status::Saving && patch.store.as_ref().is_some_and(|store| *store != image.store) {
                return Err(Error::new(Kind::Conflict, "The store of an image can't be changed during its upload."));
            }
            let before = image.clone();
            self.change(who, &mut image, &patch).await?;
            match source.clone() {
                Some(source) => {
                    let wanted = image.format_of_bytes();
                    let part = match found.take().filter(|(format, _)| *format == wanted && image.status.takes_bytes())
                    {
                        Some((_, part)) => part,
                        None => self.look_at(&image, source, claim).await?,
                    };
                    found = Some((wanted, part.clone()));
                    attach(&mut image, part);
                }
                None if image.format != before.format => check_kept(&self.downloads, &self.ingest, &mut image).await?,
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
                    return done.inspect(|image| self.offers.consider(image));
                }
            }
        }
        Err(outrun())
    }

    /// Makes a small change inside the catalogue's writer, where no other comes between. `change` sees to the rights of
    /// a caller who sees the image; it may be called again.
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

    /// What is at a source, if it may become an image's bytes.
    pub(in crate::registry) async fn look_at(&self, image: &Image, source: Source, claim: &Expected) -> Result<Part> {
        if !image.status.takes_bytes() {
            return Err(not_for_bytes());
        }
        let store = match &source {
            Source::File(_) => StoreName::FILE,
            Source::Http(_) => StoreName::HTTP,
        };
        if image.store.as_ref().is_some_and(|wish| *wish != store) {
            return Err(Error::invalid("The location is not one of the store that the image asks for."));
        }
        if store == StoreName::HTTP && claim.digests != Digests::default() {
            return Err(Error::invalid("A checksum of what is under a URL can't be verified: leave it out."));
        }
        let part = inspect(&self.core, &self.ingest, source, image.format_of_bytes()).await?;
        claim.check(part.size, &part.digests)?;
        Ok(part)
    }
}

/// Gives an image the bytes that were found at a source.
pub(in crate::registry) fn attach(image: &mut Image, part: Part) {
    image.store = Some(match &part.location {
        Location::Http { .. } => StoreName::HTTP,
        Location::File { .. } => StoreName::FILE,
        Location::Stored(place) => place.store.clone(),
    });
    image.parts = vec![part];
    image.status = Status::Available;
}

/// The answer to a change that always met another one.
pub(in crate::registry) fn outrun() -> Error {
    Error::new(Kind::Busy, "The image is being changed by others all the time; try again.")
}

/// The answer to another format for a file that is on its way.
pub(in crate::registry) fn format_is_fixed() -> Error {
    Error::new(Kind::Conflict, "The format can't be changed while the file is being uploaded.")
}

/// The answer to bytes for an image that takes none.
pub(in crate::registry) fn not_for_bytes() -> Error {
    Error::new(Kind::Conflict, "Can only assign image file to a locked or error image")
}
