//! Records: make, read, list, change, remove.

use super::mirror::source::{Source, without_query};
use super::pages::Pages;
use super::policy::Action;
use super::records::attach;
use super::{Caller, Expected, ListScope, Registry};
use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Cursor, Filter, Page, Query, Sort};
use crate::image::{Access, Attr, Image, ImageId, ImageKind, ImagePatch, Location, Status};

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
        let mut image = self.records.draft(who, patch).await?;
        if let Some(source) = source {
            let part = self.records.look_at(&image, source, claim).await?;
            attach(&mut image, part);
        }
        let image = self.core.catalog.insert(Image { id: id.unwrap_or(image.id), ..image }).await?;
        self.lxd.offers().consider(&image);
        Ok(image)
    }

    /// An image.
    ///
    /// # Errors
    /// `NotFound`, for one that the caller may not know of as well.
    pub async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        self.records.get(who, id).await
    }

    /// Whether an image is a kernel or a ramdisk, to which others may refer: it says so itself, or its format does.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn companion(&self, who: &Caller, id: ImageId) -> Result<Option<ImageKind>> {
        self.records.companion(who, id).await
    }

    /// A page of the images that are shown to the caller and that the query's filter lets pass.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn list(&self, who: &Caller, shown: ListScope, query: Query) -> Result<Page> {
        let filter = query.filter.and(who.listed(shown));
        self.core.catalog.list(&Query { filter, ..query }).await
    }

    /// All images that [`Registry::list`] would show by and by, in pages as long as the query's limit, `total` of them at most.
    pub fn pages(&self, who: &Caller, shown: ListScope, query: Query, total: usize) -> Pages {
        let filter = query.filter.and(who.listed(shown));
        Pages::new(&self.core.catalog, Query { filter, ..query }, total)
    }

    /// The place just behind an image in an order, for a page that begins there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cursor(&self, who: &Caller, id: ImageId, sort: &Sort) -> Result<Cursor> {
        Ok(Catalog::cursor(&self.get(who, id).await?, sort))
    }

    /// How many changes were made so far: as long as this stays, so does everything that lists show.
    ///
    /// # Errors
    /// `Internal`.
    pub fn version(&self) -> Result<u64> {
        self.core.catalog.version()
    }

    /// How often an image was read.
    pub fn access(&self, id: ImageId) -> Access {
        self.core.catalog.access(id)
    }

    /// Counts a read of an image.
    pub fn touch(&self, id: ImageId) {
        self.core.catalog.touch(id, self.now());
    }

    /// Where a reader finds the bytes, for those who may change the image: it tells of the server's directories.
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
        self.records.revise(who, id, |_| Ok(patch.clone()), source, claim).await
    }

    /// Changes an image as `make` says, which is shown the image that the change is put on. It may be called again, when
    /// another change comes between.
    ///
    /// # Errors
    /// What `make` says; as [`Registry::update`].
    pub async fn edit(&self, who: &Caller, id: ImageId, make: impl Fn(&Image) -> Result<ImagePatch>) -> Result<Image> {
        self.records.edit(who, id, make).await
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
        self.records.amend(who, id, add).await
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
                let text = format!("Image '{id}' has no tag '{}'.", tag.escape_default());
                return Err(Error::new(Kind::NotFound, text));
            }
            image.updated_at = Some(now);
            Ok(())
        };
        self.records.amend(who, id, remove).await
    }

    /// Withholds the bytes of an image, or gives them out again. Again changes nothing.
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
                return Err(Error::new(Kind::Conflict, "An image without a file can't be made available or withheld."));
            }
            (image.status, image.updated_at) = (next, Some(now));
            Ok(())
        };
        self.records.amend(who, id, set).await.inspect(|image| self.lxd.offers().consider(image))
    }

    /// Whether any image belongs to an account.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn owns_any(&self, account: &str) -> Result<bool> {
        let query =
            Query { filter: Filter::spelled(Attr::Owner, account), sort: Sort::default(), limit: 1, after: None };
        Ok(!self.core.catalog.list(&query).await?.images.is_empty())
    }
}
