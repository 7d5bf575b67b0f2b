//! Records: make, read, list, change, remove.

use super::{Caller, Expected, ListScope, Registry};
use crate::catalog::{Catalog, not_found};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::change::check;
use crate::image::query::{Cursor, Filter, Page, Query, Sort};
use crate::image::{
    Access, Attr, Digests, Format, Image, ImageId, ImageKind, ImagePatch, Location, Part, Status, StoreName,
};
use crate::registry::lxd::withdraw;
use crate::registry::mirror::source::{Source, without_query};

/// A change that meets another one is tried again so often: each time one of them wins, so this is only reached when
/// that many others were faster.
pub(super) const RETRIES_MAX: usize = 16;

impl Registry {
    /// Registers an image without bytes, or with those at a source, under a new id or one that the caller chose.
    ///
    /// # Errors
    /// `Unauthenticated`; `AlreadyExists` if the id is or was taken; `Invalid` values, `TooMany` of them; `NotFound` when
    /// kernel, ramdisk or source are not there; `Forbidden` source; `DigestMismatch` when the source is not what the
    /// claim says, `BadContent` when it is a file that is not of the image's format or is dangerous.
    pub async fn create(
        &self,
        who: &Caller,
        id: Option<ImageId>,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        let mut image = self.draft(who, patch).await?;
        if let Some(source) = source {
            let part = self.look_at(&image, source, claim).await?;
            attach(&mut image, part);
        }
        let image = self.catalog.insert(Image { id: id.unwrap_or(image.id), ..image }).await?;
        self.consider(&image);
        Ok(image)
    }

    /// A new image with a patch on it, not yet in the catalogue.
    pub(super) async fn draft(&self, who: &Caller, patch: &ImagePatch) -> Result<Image> {
        who.known()?;
        let mut image = Image::blank(ImageId::random(), self.now());
        image.owner = who.account().map(Into::into);
        // That it was made is the first of its changes, so that lists by change have a place for it.
        image.updated_at = Some(image.created_at);
        self.change(who, &mut image, patch).await?;
        Ok(image)
    }

    /// Puts a patch on an image, if the caller may and what it refers to is there.
    pub(super) async fn change(&self, who: &Caller, image: &mut Image, patch: &ImagePatch) -> Result<()> {
        if patch.owner.is_some() && !who.is_admin() {
            return Err(Reason::OwnerFixed.into());
        }
        // Bytes stay in the store that has them.
        if patch.store.as_ref().is_some_and(|store| *store != image.store) && !image.parts.is_empty() {
            return Err(Reason::StoreFixed.into());
        }
        if let Some(Some(store)) = &patch.store {
            self.check_store(store)?;
        }
        patch.apply(image)?;
        self.check_companion(who, patch.kernel.flatten(), ImageKind::Kernel).await?;
        self.check_companion(who, patch.ramdisk.flatten(), ImageKind::Ramdisk).await
    }

    /// Whether an image may ask for a store: it is there, or was one of the original VISOR's.
    fn check_store(&self, store: &StoreName) -> Result<()> {
        if self.stores.has(store) || StoreName::ORIGINAL.contains(&store.as_str()) {
            return Ok(());
        }
        let others = self.stores.iter().map(|store| store.name.as_str());
        let others = others.filter(|name| !StoreName::ORIGINAL.contains(name));
        let known: Vec<_> = StoreName::ORIGINAL.into_iter().chain(others).collect();
        Err(Reason::NoSuchStore.about(store).and(known.join(", ")))
    }

    /// Whether an image is a kernel or a ramdisk, to which others may refer: it says so itself, or its format does.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn companion(&self, who: &Caller, id: ImageId) -> Result<Option<ImageKind>> {
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
        Err(Reason::WrongCompanion.about(id).and(kind.name()))
    }

    /// An image.
    ///
    /// # Errors
    /// `NotFound`, for one that the caller may not know of as well.
    pub async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        let image = self.catalog.get(id).await?;
        if who.sees(&image) { Ok(image) } else { Err(not_found(id)) }
    }

    /// A page of the images that are shown to the caller and that the query's filter lets pass.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn list(&self, who: &Caller, shown: ListScope, query: Query) -> Result<Page> {
        let filter = query.filter.and(who.listed(shown));
        self.catalog.list(&Query { filter, ..query }).await
    }

    /// The place just behind an image in an order, for a page that begins there.
    ///
    /// # Errors
    /// `Invalid` for an image that is not there, or that the caller may not know of.
    pub async fn cursor(&self, who: &Caller, id: ImageId, sort: &Sort) -> Result<Cursor> {
        match self.get(who, id).await {
            Err(error) if error.reason() == Reason::ImageNotFound => Err(Reason::MarkerNotFound.about(id)),
            image => Ok(Catalog::cursor(&image?, sort)),
        }
    }

    /// How many changes were made so far: as long as this stays, so does everything that lists show.
    ///
    /// # Errors
    /// `Internal`.
    pub fn version(&self) -> Result<u64> {
        self.catalog.version()
    }

    /// How often an image was read.
    pub fn access(&self, id: ImageId) -> Access {
        self.catalog.access(id)
    }

    /// Counts a read of an image.
    pub fn touch(&self, id: ImageId) {
        self.catalog.touch(id, self.now());
    }

    /// Where a reader finds the bytes, for those who may change the image: it tells of the server's directories.
    pub fn location(&self, who: &Caller, image: &Image) -> Option<String> {
        Some(match &image.main()?.location {
            Location::Http { url } if who.changes(image) => url.clone(),
            Location::Http { url } => without_query(url).to_owned(),
            Location::File { path } if who.changes(image) => format!("file://{path}"),
            Location::Stored(place) if who.changes(image) => self.stores.uri(place),
            Location::File { .. } | Location::Stored(_) => return None,
        })
    }

    /// Changes an image, and gives it the bytes at a source if there is one and it takes any.
    ///
    /// # Errors
    /// As [`Registry::create`]; `NotFound`, `Forbidden`; `Conflict` when it has bytes already; `BadContent` when those are
    /// not of the format that it is to have.
    pub async fn update(
        &self,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        self.revise(who, id, |_| Ok(patch.clone()), source, claim).await
    }

    /// Changes an image as `make` says, which is shown the image that the change is put on. It may be called again, when
    /// another change comes between.
    ///
    /// # Errors
    /// What `make` says; as [`Registry::update`].
    pub async fn edit(&self, who: &Caller, id: ImageId, make: impl Fn(&Image) -> Result<ImagePatch>) -> Result<Image> {
        self.revise(who, id, make, None, &Expected::default()).await
    }

    async fn revise(
        &self,
        who: &Caller,
        id: ImageId,
        make: impl Fn(&Image) -> Result<ImagePatch>,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        // A file is read and hashed once, however often another change comes between.
        let mut found: Option<(Option<Format>, Part)> = None;
        for _ in 0..RETRIES_MAX {
            let mut image = self.catalog.get(id).await?;
            who.may_change(&image)?;
            let patch = make(&image)?;
            if patch.is_empty() && source.is_none() {
                return Ok(image);
            }
            // The file that is on its way has its name already, and its store.
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
                    let wanted = image.format_of_bytes();
                    let part = match found.take().filter(|(format, _)| *format == wanted && image.status.takes_bytes())
                    {
                        Some((_, part)) => part,
                        None => self.look_at(&image, source, claim).await?,
                    };
                    found = Some((wanted, part.clone()));
                    attach(&mut image, part);
                }
                None if image.format != before.format => self.check_kept(&mut image).await?,
                None => {}
            }
            image.updated_at = Some(self.now());
            let withdrawn = withdraw(&before, &mut image);
            match self.catalog.replace(image).await {
                Err(error) if error.kind() == Kind::Precondition => {}
                done => {
                    if withdrawn {
                        self.forget_metadata(&before).await;
                    }
                    return done.inspect(|image| self.consider(image));
                }
            }
        }
        Err(outrun())
    }

    /// Makes a small change inside the catalogue's writer, where no other comes between. `change` sees to the rights of
    /// a caller who sees the image; it may be called again.
    pub(super) async fn amend(
        &self,
        who: &Caller,
        id: ImageId,
        change: impl Fn(&Caller, &mut Image) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let who = who.clone();
        let amended = self.catalog.amend(id, move |row| {
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

    /// Tags an image with a word; again with one that it has changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Forbidden`; `Invalid` word; `TooMany` tags.
    pub async fn add_tag(&self, who: &Caller, id: ImageId, tag: &str) -> Result<Image> {
        let (tag, now) = (tag.to_owned(), self.now());
        let add = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            if image.tags.insert(tag.clone()) {
                image.updated_at = Some(now);
            }
            Ok(())
        };
        self.amend(who, id, add).await
    }

    /// Takes a tag off an image.
    ///
    /// # Errors
    /// `NotFound` image or tag, `Unauthenticated`, `Forbidden`.
    pub async fn remove_tag(&self, who: &Caller, id: ImageId, tag: &str) -> Result<Image> {
        let (tag, now) = (tag.to_owned(), self.now());
        let remove = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            if !image.tags.remove(&tag) {
                return Err(Reason::TagNotFound.about(tag.escape_default()));
            }
            image.updated_at = Some(now);
            Ok(())
        };
        self.amend(who, id, remove).await
    }

    /// Withholds the bytes of an image, or gives them out again. Again changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Forbidden`; `Conflict` if it has no bytes.
    pub async fn set_active(&self, who: &Caller, id: ImageId, active: bool) -> Result<Image> {
        let next = if active { Status::Available } else { Status::Deactivated };
        let now = self.now();
        let set = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            if image.status == next {
                return Ok(());
            }
            if image.parts.is_empty() || !image.status.may_become(next) {
                return Err(Reason::NothingToWithhold.into());
            }
            (image.status, image.updated_at) = (next, Some(now));
            Ok(())
        };
        self.amend(who, id, set).await.inspect(|image| self.consider(image))
    }

    /// Whether any image belongs to an account.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn owns_any(&self, account: &str) -> Result<bool> {
        let query =
            Query { filter: Filter::spelled(Attr::Owner, account), sort: Sort::default(), limit: 1, after: None };
        Ok(!self.catalog.list(&query).await?.images.is_empty())
    }

    /// What is at a source, if it may become an image's bytes.
    async fn look_at(&self, image: &Image, source: Source, claim: &Expected) -> Result<Part> {
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
        let part = self.inspect(source, image.format_of_bytes()).await?;
        claim.check(part.size, &part.digests).map_err(other_source)?;
        Ok(part)
    }

    /// All images in a state, for administration: no rights are checked.
    pub(super) async fn all_in(&self, status: Status) -> Result<Vec<Image>> {
        self.all(Filter::spelled(Attr::Status, status.word())).await
    }

    /// Images by filter, for administration: no rights are checked.
    pub(super) async fn all(&self, filter: Filter) -> Result<Vec<Image>> {
        let query = Query { filter, sort: Sort::default(), limit: usize::MAX, after: None };
        Ok(self.catalog.list(&query).await?.images)
    }
}

/// Gives an image the bytes that were found at a source.
fn attach(image: &mut Image, part: Part) {
    image.store = Some(match &part.location {
        Location::Http { .. } => StoreName::HTTP,
        Location::File { .. } => StoreName::FILE,
        Location::Stored(place) => place.store.clone(),
    });
    image.parts = vec![part];
    image.status = Status::Available;
}

/// The answer to a change that always met another one.
pub(super) fn outrun() -> Error {
    Reason::Busy.saying("The image is being changed by others all the time; try again.")
}

/// The answer to another format for a file that is on its way.
pub(super) fn format_is_fixed() -> Error {
    Reason::FormatFixed.into()
}

/// The answer to bytes for an image that takes none.
pub(super) fn takes_no_data(image: &Image) -> Error {
    Reason::TakesNoData.about(image.status.word())
}

/// An image that may get the bytes at a location.
pub(super) fn takes_location(image: &Image) -> Result<()> {
    if image.status.takes_bytes() { Ok(()) } else { Err(Reason::TakesNoLocation.about(image.status.word())) }
}

/// The answer to bytes at a source that are not those that were announced.
pub(super) fn other_source(error: Error) -> Error {
    Reason::SourceMismatch.saying(error.message().to_owned())
}
