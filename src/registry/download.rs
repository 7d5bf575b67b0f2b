//! Downloads: opens the bytes of images, from whichever location has them. Knows no protocol.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;

use super::Caller;
use super::core::Core;
use super::policy::Action;
use super::readers::Lease;
use super::retries::FetchReport;
use crate::blob::{BlobBody, StoreError};
use crate::catalog::not_found;
use crate::error::{Error, Reason, Result};
use crate::fetch::Body;
use crate::image::{Image, Location, Part, PartKind, Status};

/// Bytes on their way to a reader.
pub struct Delivery {
    /// The bytes.
    pub body: BlobBody,
    /// True if these are all bytes, although a range was asked for perhaps: servers of URLs may ignore that.
    pub is_whole: bool,
    /// True if a range can be asked for.
    pub takes_ranges: bool,
}

impl Delivery {
    /// Bytes that can be had in parts: all of them, or exactly the part that was asked for.
    pub fn exact(body: BlobBody, is_whole: bool) -> Self {
        Self { body, is_whole, takes_ranges: true }
    }

    /// The answer of a URL's server.
    fn fetched(body: Body, lease: Lease) -> Self {
        let is_whole = body.status == 200;
        let promised = body.told.text("accept-ranges").is_some_and(|units| units.eq_ignore_ascii_case("bytes"));
        Self { body: blob_of(body).holding(lease), is_whole, takes_ranges: promised || !is_whole }
    }
}

/// Service that opens bytes of images. An image counts as in use until the body is dropped.
pub struct Downloads {
    core: Arc<Core>,
}

impl Downloads {
    pub(in crate::registry) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self { core: Arc::clone(core) })
    }

    /// Opens the bytes of an image, or a range of them (the end is exclusive, and within the image).
    ///
    /// # Errors
    /// `NotFound` when the caller may not know of the image, or the bytes are missing; `Conflict` when the image has
    /// none, or they are withheld, or were changed outside the server; `Upstream`.
    pub async fn open(&self, who: &Caller, image: &Image, range: Option<Range<u64>>) -> Result<BlobBody> {
        self.open_part(who, image, PartKind::Main, range).await
    }

    /// Opens the bytes of an image for its reader, or a range of them if they can be had in parts.
    ///
    /// # Errors
    /// As [`Downloads::open`].
    pub async fn deliver(&self, who: &Caller, image: &Image, range: Option<Range<u64>>) -> Result<Delivery> {
        let part = self.part_for(who, image, PartKind::Main)?;
        if let Location::Http { url } = &part.location {
            // The only copy: one in a store stands before it.
            let body = self.under_url(image, part, url, range).await?;
            return Ok(Delivery::fetched(body, self.core.in_use.lease(image.id)));
        }
        let is_whole = range.is_none();
        Ok(Delivery::exact(self.bytes_of(image, part, range).await?, is_whole))
    }

    /// Opens one part, or a range of it. The image counts as in use until the body is dropped.
    ///
    /// # Errors
    /// As [`Downloads::open`].
    pub(in crate::registry) async fn open_part(
        &self,
        who: &Caller,
        image: &Image,
        kind: PartKind,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        let part = self.part_for(who, image, kind)?;
        self.bytes_of(image, part, range).await
    }

    /// Checks that the caller may have the bytes of an image, without opening them.
    ///
    /// # Errors
    /// As [`Downloads::open`], but for bytes that are missing or were changed.
    pub fn permit(&self, who: &Caller, image: &Image) -> Result<()> {
        self.part_for(who, image, PartKind::Main).map(drop)
    }

    /// Finds a part of an image, if the caller may have its bytes.
    pub(in crate::registry) fn part_for<'a>(&self, who: &Caller, image: &'a Image, kind: PartKind) -> Result<&'a Part> {
        let lingers = self.core.lingers(image);
        if !who.sees(image) && !lingers {
            return Err(not_found(image.id));
        }
        if image.status == Status::Deactivated && !lingers && !who.can(Action::DownloadWithheld, image) {
            return Err(Reason::Withheld.about(image.id));
        }
        let nothing = || Reason::NoFile.about(image.id);
        image.part(kind).filter(|_| lingers || given_to(who, image)).ok_or_else(nothing)
    }

    /// Opens a part for a caller whose right to it was checked. Tries other copies when the first fails.
    pub(in crate::registry) async fn bytes_of(
        &self,
        image: &Image,
        part: &Part,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        let lease = self.core.in_use.lease(image.id);
        let mut outcome = self.located(image, part, range.clone()).await;
        // Another store may have a copy.
        let copies = image.parts.iter().filter(|other| other.kind == part.kind && *other != part);
        for copy in copies {
            let Err(error) = &outcome else { break };
            log::warn!("reading another copy of {}: {}", image.id, error.logged());
            if let Ok(body) = self.located(image, copy, range.clone()).await {
                outcome = Ok(body);
            }
        }
        outcome.map(|body| body.holding(lease))
    }

    /// Opens exactly this copy of a part.
    pub(in crate::registry) async fn located(
        &self,
        image: &Image,
        part: &Part,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        match &part.location {
            Location::Stored(place) => self.core.stores.open(place, range).await.map_err(|error| match error {
                StoreError::NotFound => {
                    log::error!("the bytes of {} are missing from the store; run `visor verify`", image.id);
                    gone(image)
                }
                other => other.into(),
            }),
            Location::File { path } => self.open_linked(image, Path::new(path), part.size, range).await,
            Location::Http { url } => {
                let partial = range.is_some();
                let body = self.under_url(image, part, url, range).await?;
                match partial && body.status == 200 {
                    false => Ok(blob_of(body)),
                    true => Err(Reason::Upstream.saying("The server of this URL does not give out parts of the file.")),
                }
            }
        }
    }

    /// Opens the bytes under a URL, or a range of them (all of them, with the status 200, if its server ignores ranges), if they are
    /// still those that were registered as far as their server tells.
    async fn under_url(&self, image: &Image, part: &Part, url: &str, range: Option<Range<u64>>) -> Result<Body> {
        let body = self.core.fetcher.part_or_whole(url, range).await.map_err(|error| error.of_file(url))?;
        unchanged(image, part, body)
    }

    /// Opens all bytes under a URL for a job: they are continued after failures.
    ///
    /// # Errors
    /// As [`Downloads::open`].
    pub(in crate::registry) async fn all_under_url(
        &self,
        image: &Image,
        part: &Part,
        url: &str,
        report: &FetchReport,
    ) -> Result<Body> {
        unchanged(image, part, report.get(&self.core.fetcher, url).await?)
    }

    /// Opens a file of the operator's. It may have changed since it was hashed; its size reveals the usual ways.
    async fn open_linked(
        &self,
        image: &Image,
        path: &Path,
        size: Option<u64>,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        let found = self.core.linked.open(path).await.map_err(|error| match error {
            StoreError::Broken(_) => error.into(),
            _ => gone(image).because(error),
        })?;
        if Some(found.stat.size) != size {
            return Err(changed(image));
        }
        let mut file = found.file;
        if let Some(range) = range {
            file.offset = range.start;
            file.length = range.end.saturating_sub(range.start);
        }
        Ok(BlobBody::File(file))
    }
}

/// Tells if the caller may read the image's bytes: administrators also read withheld ones.
fn given_to(who: &Caller, image: &Image) -> bool {
    image.status.gives_bytes() || (image.status == Status::Deactivated && who.can(Action::DownloadWithheld, image))
}

/// Checks that bytes under a URL are still those that were registered, as far as their server tells.
fn unchanged(image: &Image, part: &Part, body: Body) -> Result<Body> {
    let other = |a: Option<&str>, b: Option<&str>| a.is_some() && b.is_some() && a != b;
    let longer = body.status == 200 && part.size.is_some() && body.length.is_some() && part.size != body.length;
    match other(part.etag.as_deref(), body.etag.as_deref()) || longer {
        true => Err(changed(image)),
        false => Ok(body),
    }
}

fn blob_of(body: Body) -> BlobBody {
    let broken = |error: crate::fetch::FetchError| StoreError::Broken(std::io::Error::other(error));
    let stream = body.stream.map(move |chunk| chunk.map_err(broken)).boxed();
    BlobBody::Stream { stream, length: body.length }
}

fn gone(image: &Image) -> Error {
    Reason::FileMissing.about(image.id)
}

/// Error for bytes outside the server that are no longer those that were registered.
pub(in crate::registry) fn changed(image: &Image) -> Error {
    Reason::FileChanged.about(image.id)
}
