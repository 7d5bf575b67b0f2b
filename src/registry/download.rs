//! Giving bytes out.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;

use super::Caller;
use super::core::Core;
use super::policy::Action;
use crate::blob::{BlobBody, StoreError};
use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::{Image, Location, Part, PartKind, Status};

/// Bytes on their way out.
pub(in crate::registry) struct Downloads {
    core: Arc<Core>,
}

impl Downloads {
    pub(in crate::registry) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self { core: Arc::clone(core) })
    }

    /// Opens the bytes of an image, or a part of them (the end is exclusive, and within the image).
    ///
    /// # Errors
    /// `NotFound` when the caller may not know of it, or the bytes are gone; `Conflict` when there are none, or they
    /// are withheld, or changed behind our back; `Upstream`.
    pub(in crate::registry) async fn open(
        &self,
        who: &Caller,
        image: &Image,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        self.open_part(who, image, PartKind::Main, range).await
    }

    /// The same for any part of it. Whoever reads it has the image in use.
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

    /// A part of an image, if the caller may have its bytes.
    pub(in crate::registry) fn part_for<'a>(&self, who: &Caller, image: &'a Image, kind: PartKind) -> Result<&'a Part> {
        let lingers = self.core.lingers(image);
        if !who.sees(image) && !lingers {
            return Err(not_found(image.id));
        }
        let nothing = || Error::new(Kind::Conflict, format!("The image '{}' has no file to give out now.", image.id));
        image.part(kind).filter(|_| lingers || given_to(who, image)).ok_or_else(nothing)
    }

    /// The bytes of a part, for somebody who may have them.
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
            log::warn!("reading another copy of {}: {error}: {}", image.id, error.causes());
            if let Ok(body) = self.located(image, copy, range.clone()).await {
                outcome = Ok(body);
            }
        }
        outcome.map(|body| body.holding(lease))
    }

    /// The bytes of this very part.
    pub(in crate::registry) async fn located(
        &self,
        image: &Image,
        part: &Part,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        match &part.location {
            Location::Stored(place) => self.core.stores.open(place, range).await.map_err(|error| match error {
                StoreError::NotFound => {
                    log::error!("the bytes of {} are gone from the store; run `visor verify`", image.id);
                    gone(image)
                }
                other => other.into(),
            }),
            Location::File { path } => self.open_linked(image, Path::new(path), part.size, range).await,
            Location::Http { url } => {
                let whole = range.is_none();
                let body = self.core.fetcher.get(url, range).await?;
                let other = |a: Option<&str>, b: Option<&str>| a.is_some() && b.is_some() && a != b;
                if other(part.etag.as_deref(), body.etag.as_deref())
                    || (whole && part.size.is_some() && body.length.is_some() && part.size != body.length)
                {
                    return Err(changed(image));
                }
                let broken = |error: crate::fetch::FetchError| StoreError::Broken(std::io::Error::other(error));
                let stream = body.stream.map(move |chunk| chunk.map_err(broken)).boxed();
                Ok(BlobBody::Stream { stream, length: body.length })
            }
        }
    }

    /// A file of the operator's may have changed since it was hashed; its size tells the usual ways.
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

/// Withheld bytes are still the administrators' to look at.
fn given_to(who: &Caller, image: &Image) -> bool {
    image.status.gives_bytes()
        || (image.status == Status::Deactivated && who.may(Action::DownloadWithheld, image).is_ok())
}

fn gone(image: &Image) -> Error {
    Error::new(Kind::NotFound, format!("No image file found for id '{}'.", image.id))
}

fn changed(image: &Image) -> Error {
    Error::new(Kind::Conflict, format!("The file of image '{}' was changed after it was registered.", image.id))
}
