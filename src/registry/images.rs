//! Records: make, read, list, change, remove.

use super::source::{Source, without_query};
use super::{Caller, Claim, Registry};
use crate::catalog::{Catalog, not_found};
use crate::error::{Error, Kind, Result};
use crate::image::query::{Cursor, Filter, Page, Query, Sort};
use crate::image::{
    Access, Attr, BlobKey, Digests, Format, Image, ImageId, ImageKind, ImagePatch, Location, Status, StoreName,
};

/// A change that meets another one is tried again so often: each time one of them wins, so this is only reached when
/// that many others were faster.
const RETRIES_MAX: usize = 16;

impl Registry {
    /// Registers an image without bytes, or with those at a source.
    ///
    /// # Errors
    /// `Unauthenticated`; `Invalid` values; `NotFound` when kernel, ramdisk or source are not there; `Forbidden` source;
    /// `DigestMismatch` when the source is not what the claim says, `MediaType` when it is a file that is not of the
    /// image's format or is dangerous.
    pub async fn create(
        &self,
        who: &Caller,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Claim,
    ) -> Result<Image> {
        let mut image = self.draft(who, patch).await?;
        if let Some(source) = source {
            self.attach(&mut image, source, claim).await?;
        }
        self.catalog.insert(image).await
    }

    /// A new image with a patch on it, not yet in the catalogue.
    pub(super) async fn draft(&self, who: &Caller, patch: &ImagePatch) -> Result<Image> {
        who.known()?;
        let mut image = Image::blank(ImageId::random(), self.now());
        image.owner = who.account().map(Into::into);
        self.change(who, &mut image, patch).await?;
        Ok(image)
    }

    /// Puts a patch on an image, if the caller may and what it refers to is there.
    pub(super) async fn change(&self, who: &Caller, image: &mut Image, patch: &ImagePatch) -> Result<()> {
        if patch.owner.is_some() && !who.is_admin() {
            return Err(Error::new(Kind::Forbidden, "Only an administrator may set the owner."));
        }
        // Bytes stay in the store that has them.
        if patch.store.is_some_and(|store| store != image.store) && !image.parts.is_empty() {
            return Err(Error::new(Kind::Conflict, "The store of an image that has bytes can't be changed."));
        }
        patch.apply(image)?;
        self.check_companion(who, patch.kernel.flatten(), ImageKind::Kernel).await?;
        self.check_companion(who, patch.ramdisk.flatten(), ImageKind::Ramdisk).await
    }

    /// A kernel or ramdisk that an image refers to has to be there, and be one.
    async fn check_companion(&self, who: &Caller, id: Option<ImageId>, kind: ImageKind) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let image = self.get(who, id).await?;
        let format = match kind {
            ImageKind::Kernel => Format::Aki,
            _ => Format::Ari,
        };
        if image.kind == Some(kind) || image.format == Some(format) {
            return Ok(());
        }
        Err(Error::invalid(format!("The image with id {id} is not a {} image.", kind.name())))
    }

    /// An image.
    ///
    /// # Errors
    /// `NotFound`, for one that the caller may not know of as well.
    pub async fn get(&self, who: &Caller, id: ImageId) -> Result<Image> {
        let image = self.catalog.get(id).await?;
        if who.sees(&image) { Ok(image) } else { Err(not_found(id)) }
    }

    /// A page of the images that the caller sees and the query's filter lets pass.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn list(&self, who: &Caller, query: Query) -> Result<Page> {
        let filter = query.filter.and(who.visible());
        self.catalog.list(&Query { filter, ..query }).await
    }

    /// The place just behind an image in an order, for a page that begins there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cursor(&self, who: &Caller, id: ImageId, sort: Sort) -> Result<Cursor> {
        Ok(Catalog::cursor(&self.get(who, id).await?, sort))
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
        Some(match &image.whole()?.location {
            Location::Http { url } if who.changes(image) => url.clone(),
            Location::Http { url } => without_query(url).to_owned(),
            Location::File { path } if who.changes(image) => format!("file://{path}"),
            Location::Stored { key, .. } if who.changes(image) => self.store.uri(key),
            Location::File { .. } | Location::Stored { .. } => return None,
        })
    }

    /// Changes an image, and gives it the bytes at a source if there is one and it takes any.
    ///
    /// # Errors
    /// As [`Registry::create`]; `NotFound`, `Forbidden`; `Conflict` when it has bytes already; `MediaType` when those are
    /// not of the format that it is to have.
    pub async fn update(
        &self,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
        source: Option<Source>,
        claim: &Claim,
    ) -> Result<Image> {
        for _ in 0..RETRIES_MAX {
            let mut image = self.catalog.get(id).await?;
            who.may_change(&image)?;
            // The file that is on its way has its name already.
            if image.status == Status::Saving && patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            let format = image.format;
            self.change(who, &mut image, patch).await?;
            match source.clone() {
                Some(source) => self.attach(&mut image, source, claim).await?,
                None if image.format != format => self.check_kept(&image).await?,
                None => {}
            }
            image.updated_at = Some(self.now());
            match self.catalog.replace(image).await {
                Err(error) if error.kind() == Kind::Precondition => {}
                done => return done,
            }
        }
        Err(outrun())
    }

    /// Withholds the bytes of an image, or gives them out again.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for everybody but administrators; `Conflict` if it has no bytes.
    pub async fn set_active(&self, who: &Caller, id: ImageId, active: bool) -> Result<Image> {
        let image = self.get(who, id).await?;
        if !who.is_admin() {
            return Err(Error::new(Kind::Forbidden, "Only an administrator may withhold an image."));
        }
        let next = if active { Status::Available } else { Status::Deactivated };
        if image.status == next {
            return Ok(image);
        }
        let now = self.now();
        let amended = self.catalog.amend(id, move |row| {
            if row.parts.is_empty() || !row.status.may_become(next) {
                return Err(Error::new(Kind::Conflict, "An image without a file can't be made available or withheld."));
            }
            Ok(Some(Image { status: next, updated_at: Some(now), ..row.clone() }))
        });
        amended.await?.ok_or_else(|| not_found(id))
    }

    /// Removes an image: first from sight, then its bytes, then its record. Returns it as it was.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`. Bytes that can't be removed now are removed by the sweep.
    pub async fn delete(&self, who: &Caller, id: ImageId) -> Result<(Image, Access)> {
        for _ in 0..RETRIES_MAX {
            let image = self.catalog.get(id).await?;
            who.may_change(&image)?;
            let access = self.catalog.access(id);
            // With the ticket of an upload, if one is running: it tells whose file to look for.
            let gone = Image { status: Status::Deleting, ..image.clone() };
            match self.catalog.replace(gone).await {
                Ok(gone) => {
                    self.remove_deleted(gone).await;
                    return Ok((image, access));
                }
                Err(error) if error.kind() == Kind::Precondition => {}
                Err(error) => return Err(error),
            }
        }
        Err(outrun())
    }

    /// The second half of a removal. What fails here is tried again by the sweep.
    pub(super) async fn remove_deleted(&self, image: Image) {
        let stored = image.parts.iter().filter_map(|part| match &part.location {
            Location::Stored { key, .. } => Some(key.clone()),
            Location::File { .. } | Location::Http { .. } => None,
        });
        let arriving = image.ticket.map(|_| BlobKey::whole(image.id, image.format));
        for key in stored.chain(arriving) {
            if let Err(error) = self.store.delete(&key).await {
                log::error!("the bytes of {} could not be removed, the next sweep tries again: {error}", image.id);
                return;
            }
        }
        // `Precondition`: somebody else brought the removal to its end.
        if let Err(error) = self.catalog.remove(&image).await
            && error.kind() != Kind::Precondition
        {
            log::error!("the record of {} could not be removed, the next sweep tries again: {error}", image.id);
        }
    }

    /// Removes every image that is the caller's. Returns them as they were.
    ///
    /// # Errors
    /// `Unauthenticated`, or the first that could not be removed.
    pub async fn delete_all(&self, who: &Caller) -> Result<Vec<(Image, Access)>> {
        who.known()?;
        let mut removed = Vec::new();
        let mut after = None;
        loop {
            let query = Query { filter: who.own(), sort: Sort::default(), limit: 256, after };
            let page = self.catalog.list(&query).await?;
            for image in page.images {
                match self.delete(who, image.id).await {
                    Ok(one) => removed.push(one),
                    // Somebody else was faster.
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(removed);
            }
        }
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

    /// Gives an image the bytes at a source.
    async fn attach(&self, image: &mut Image, source: Source, claim: &Claim) -> Result<()> {
        if !image.status.takes_bytes() {
            return Err(not_for_bytes());
        }
        let store = match &source {
            Source::File(_) => StoreName::File,
            Source::Http(_) => StoreName::Http,
        };
        if image.store.is_some_and(|wish| wish != store) {
            return Err(Error::invalid("The location is not one of the store that the image asks for."));
        }
        if store == StoreName::Http && claim.digests != Digests::default() {
            return Err(Error::invalid("A checksum of what is under a URL can't be verified: leave it out."));
        }
        let part = self.inspect(source, image.format).await?;
        claim.check(part.size, &part.digests)?;
        image.store = Some(store);
        image.parts = vec![part];
        image.status = Status::Available;
        Ok(())
    }

    /// Images by filter and order, for administration: no rights are checked.
    pub(super) async fn all(&self, filter: Filter) -> Result<Vec<Image>> {
        let query = Query { filter, sort: Sort::default(), limit: usize::MAX, after: None };
        Ok(self.catalog.list(&query).await?.images)
    }
}

/// The answer to a change that always met another one.
fn outrun() -> Error {
    Error::new(Kind::Busy, "The image is being changed by others all the time; try again.")
}

/// The answer to another format for a file that is on its way.
pub(super) fn format_is_fixed() -> Error {
    Error::new(Kind::Conflict, "The format can't be changed while the file is being uploaded.")
}

/// The answer to bytes for an image that takes none.
pub(super) fn not_for_bytes() -> Error {
    Error::new(Kind::Conflict, "Can only assign image file to a locked or error image")
}
