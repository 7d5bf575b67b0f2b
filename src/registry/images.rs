//! Records: creates, reads, lists, changes and removes them, for callers whose rights it checks. Knows no protocol.

use super::mirror::source::{Source, without_query};
use super::pages::Pages;
use super::policy::Action;
use super::records::attach;
use super::{Caller, Expected, ListScope, Registry};
use crate::catalog::Catalog;
use crate::error::{Reason, Result};
use crate::image::query::{Cursor, Filter, Page, Query, Sort};
use crate::image::{Access, Attr, Image, ImageId, ImageKind, ImagePatch, Location, Status};

impl Registry {
    /// Registers an image without bytes, or with those at a source, under a new id or one that the caller chose.
    ///
    /// # Errors
    /// `Unauthenticated`; `AlreadyExists` if the id is or was taken; `Invalid` values, `TooMany` of them; `NotFound`
    /// when kernel, ramdisk or source do not exist; `Forbidden` source; `DigestMismatch` when the source differs from
    /// the claim, `BadContent` when it is a file that is not of the image's format or is dangerous.
    pub async fn create(
        &self,
        who: &Caller,
        id: Option<ImageId>,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        let mut image = self.records.draft(who, patch).await?;
        if let Some(source) = source {
            let part = self.records.look_at(&image, source, claim).await?;
            attach(&mut image, part);
        }
        let image = self.core.catalog.insert(Image { id: id.unwrap_or(image.id), ..image }).await?;
        self.lxd.offers().consider(&image);
        self.core.unhashed.consider(&image);
        Ok(image)
    }

    /// Reads an image.
    ///
    /// # Errors
    /// `NotFound`, also for an image that the caller may not know of.
    pub async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        self.records.get(who, id).await
    }

    /// Kind of a companion, a kernel or ramdisk to which other images may refer, by its own attribute or its format.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn companion(&self, who: &Caller, id: ImageId) -> Result<Option<ImageKind>> {
        self.records.companion(who, id).await
    }

    /// Reads a page of the images that the caller is shown and that pass the query's filter.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn list(&self, who: &Caller, shown: ListScope, query: Query) -> Result<Page> {
        let filter = query.filter.and(who.listed(shown));
        self.core.catalog.list(&Query { filter, ..query }).await
    }

    /// Pages of everything that [`Registry::list`] would show, each as long as the query's limit, with `total` images
    /// at most.
    pub fn pages(&self, who: &Caller, shown: ListScope, query: Query, total: usize) -> Pages {
        let filter = query.filter.and(who.listed(shown));
        Pages::new(&self.core.catalog, Query { filter, ..query }, total)
    }

    /// Position just behind an image in an order, for a page that begins there.
    ///
    /// # Errors
    /// `Invalid` for an image that does not exist, or that the caller may not know of.
    pub async fn cursor(&self, who: &Caller, id: ImageId, sort: &Sort) -> Result<Cursor> {
        match self.get(who, id).await {
            Err(error) if error.reason() == Reason::ImageNotFound => Err(Reason::MarkerNotFound.about(id)),
            image => Ok(Catalog::cursor(&image?, sort)),
        }
    }

    /// Number of changes made: while it stays, lists stay as they are.
    ///
    /// # Errors
    /// `Internal`.
    pub fn version(&self) -> Result<u64> {
        self.core.catalog.version()
    }

    /// Read counter of an image.
    pub fn access(&self, id: ImageId) -> Access {
        self.core.catalog.access(id)
    }

    /// Counts a read of an image.
    pub fn touch(&self, id: ImageId) {
        self.core.catalog.touch(id, self.now());
    }

    /// Location of an image's bytes, for callers that may change the image: it reveals directories of the server.
    pub fn location(&self, who: &Caller, image: &Image) -> Option<String> {
        let sees_all = who.may(Action::SeeLocation, image).is_ok();
        Some(match &image.main()?.location {
            Location::Http { url } if sees_all => url.clone(),
            Location::Http { url } => without_query(url).to_owned(),
            Location::File { path } if sees_all => format!("file://{path}"),
            Location::Stored(place) if sees_all => self.core.stores.uri(place),
            Location::File { .. } | Location::Stored(_) => return None,
        })
    }

    /// Changes an image, and attaches the bytes at a source if one is given and the image takes any.
    ///
    /// # Errors
    /// As [`Registry::create`]; `NotFound`, `Forbidden`; `Conflict` when the image has bytes already; `BadContent` when
    /// those do not fit its new format.
    pub async fn update(
        &self,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Expected,
    ) -> Result<Image> {
        self.records.revise(who, id, |_| Ok(patch.clone()), source, claim).await
    }

    /// Changes an image by the patch that `make` builds from its current record. `make` runs again when another change
    /// wins.
    ///
    /// # Errors
    /// Errors of `make`; as [`Registry::update`].
    pub async fn edit(&self, who: &Caller, id: ImageId, make: impl Fn(&Image) -> Result<ImagePatch>) -> Result<Image> {
        self.records.edit(who, id, make).await
    }

    /// Adds a tag to an image. A tag that the image has already changes nothing.
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
        self.records.amend(who, id, add).await
    }

    /// Removes a tag from an image.
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
        self.records.amend(who, id, remove).await
    }

    /// Withholds the bytes of an image, or makes them available again. Repetition changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Forbidden`; `Conflict` if it has no bytes.
    pub async fn set_active(&self, who: &Caller, id: ImageId, active: bool) -> Result<Image> {
        let next = if active { Status::Available } else { Status::Deactivated };
        let now = self.now();
        let set = move |who: &Caller, image: &mut Image| {
            who.may(Action::WithholdImage, &*image)?;
            if image.status == next {
                return Ok(());
            }
            if image.parts.is_empty() || !image.status.may_become(next) {
                return Err(Reason::NothingToWithhold.into());
            }
            (image.status, image.updated_at) = (next, Some(now));
            Ok(())
        };
        self.records.amend(who, id, set).await.inspect(|image| self.lxd.offers().consider(image))
    }

    /// Tells if an account owns any image.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn owns_any(&self, account: &str) -> Result<bool> {
        let query =
            Query { filter: Filter::spelled(Attr::Owner, account), sort: Sort::default(), limit: 1, after: None };
        Ok(!self.core.catalog.list(&query).await?.images.is_empty())
    }
}
