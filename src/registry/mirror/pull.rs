//! Pulls: copies images from other servers, and pushes images to them. Knows no protocol of our clients.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Kind, Reason, Result};
use crate::image::change::cleaned;
use crate::image::{Image, ImageId, ImageKind, ImagePatch, UpdateSource, Visibility};
use crate::ingest::{Expected, Pauses};
use crate::jobs::Handle;
use crate::registry::Caller;
use crate::registry::lxd::names::own_with;
use crate::registry::lxd::receive::{ImportOptions, IncomingImage, METADATA_BYTES_MAX};
use crate::registry::mirror::service::Mirror;
use crate::registry::policy::{Action, On};
use crate::registry::retries::{FetchReport, anew};
use crate::registry::uploads::one_shot::Upload;
use crate::upstream::{Ask, Download, File, Found, Parcel, Part, Push, Upstream};

/// Result of a pull.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The local image.
    pub image: Image,
    /// The image is new on this server.
    pub is_new: bool,
}

impl Mirror {
    /// Copies an image from another server. A local one with this fingerprint is not copied again: it gets the wanted
    /// aliases and visibility, and is kept up to date if asked. The job of `handle` shows the bytes received so far.
    ///
    /// # Errors
    /// As [`crate::upstream::Upstream::find`], [`crate::registry::LxdImages::take_in`] and [`crate::registry::ReceivedImage::publish`].
    pub async fn pull(
        self: &Arc<Self>,
        who: &Caller,
        ask: &Ask,
        wanted: &ImportOptions,
        handle: &Handle,
    ) -> Result<Copied> {
        who.may(Action::CopyFromServer, On::Server)?;
        let (upstream, report) = self.reporting(handle);
        let found = upstream.find(ask).await?;
        let mut patch = facts(ask, &found).then(wanted.patch.clone());
        // A fingerprint stands for one image for ever, which has no update.
        patch.auto_update = patch.auto_update.map(|wished| wished && found.by_alias);
        if let Some(image) = own_with(&self.core, who, &found.fingerprint).await? {
            let image = self.welcome(who, image, &patch).await?;
            return Ok(Copied { image, is_new: false });
        }
        self.check_fits(&patch)?;
        let begin = || upstream.download(ask, &found);
        let seen = |count| handle.bytes(count, found.size);
        let (upload, _) = self.bring(who, begin, found.kind, &report, seen).await?;
        self.publish_copy(who, upload, ImportOptions { patch, fingerprint: Some(found.fingerprint) }).await
    }

    /// Refuses values that no image may have before the bytes arrive, and not after them.
    fn check_fits(&self, patch: &ImagePatch) -> Result<()> {
        patch.apply(&mut Image::blank(ImageId::random(), self.core.now()))
    }

    /// Publishes the fetched image. If another request stored its fingerprint first, returns that image.
    async fn publish_copy(&self, who: &Caller, upload: Upload, wanted: ImportOptions) -> Result<Copied> {
        let sealed = upload.seal().await?;
        let fingerprint = sealed.fingerprint();
        let refusal = match sealed.publish(&wanted).await {
            Ok(image) => return Ok(Copied { image, is_new: true }),
            Err(error) if error.kind() == Kind::AlreadyExists => error,
            Err(error) => return Err(error),
        };
        match own_with(&self.core, who, &fingerprint).await? {
            Some(image) => Ok(Copied { image: self.welcome(who, image, &wanted.patch).await?, is_new: false }),
            // The refusal was about an alias of another image.
            None => Err(refusal),
        }
    }

    /// Gives a local image the values that its copy was to have.
    async fn welcome(&self, who: &Caller, image: Image, wanted: &ImagePatch) -> Result<Image> {
        let visibility = wanted.visibility.filter(|wished| *wished == Visibility::Public);
        let source =
            wanted.update_source.as_ref().filter(|source| wanted.auto_update == Some(true) && source.is_some());
        let auto_update = source.map(|_| true);
        if wanted.aliases.as_ref().is_none_or(|aliases| aliases.is_empty()) && visibility.is_none() && source.is_none()
        {
            return Ok(image);
        }
        let make = |image: &Image| {
            let mut aliases = image.aliases.clone();
            aliases.extend(wanted.aliases.clone().unwrap_or_default());
            // An image that follows another alias already keeps it.
            let update_source = source.filter(|_| image.update_source.is_none()).cloned();
            let aliases = Some(aliases);
            Ok(ImagePatch { aliases, visibility, auto_update, update_source, ..ImagePatch::default() })
        };
        self.records.edit(who, image.id, make).await
    }

    /// The client of other servers that reports to a job.
    pub(in crate::registry) fn reporting(&self, handle: &Handle) -> (Upstream, FetchReport) {
        let report = FetchReport::to(handle);
        (self.upstream.telling(report.listener()), report)
    }

    /// Fetches the files of an image, with another download where one can't go on.
    async fn bring<F>(
        self: &Arc<Self>,
        who: &Caller,
        begin: impl Fn() -> F,
        kind: ImageKind,
        report: &FetchReport,
        seen: impl Fn(u64) + Send + Sync,
    ) -> Result<(Upload, String)>
    where
        F: Future<Output = Result<Download>> + Send,
    {
        let mut backoff = anew(self.core.fetcher.retries(None));
        loop {
            let mut download = begin().await?;
            let error = match self.fetch_files(who, &mut download, kind, report, &seen).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            if !download.is_worth_another(&error) || !report.begins_anew(&error, &mut backoff).await {
                return Err(error);
            }
        }
    }

    async fn fetch_files(
        self: &Arc<Self>,
        who: &Caller,
        download: &mut Download,
        kind: ImageKind,
        report: &FetchReport,
        seen: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(Upload, String)> {
        let pauses = &report.pauses;
        let lies = || Reason::Upstream.saying("The server sent no image.");
        let slot = self.lxd.slot()?;
        let mut file = self.next_file(download, pauses).await?.ok_or_else(lies)?;
        let mut metadata = None;
        if file.part == Part::Metadata {
            metadata = Some(self.small(download, pauses).await?);
            file = self.next_file(download, pauses).await?.ok_or_else(lies)?;
        }
        let metadata = match (metadata, file.part) {
            (None, Part::Whole) => None,
            (Some(bytes), Part::Rootfs) => Some((bytes, kind)),
            _ => return Err(lies()),
        };
        let claim = Expected { size: file.size, ..Expected::default() };
        let arriving = IncomingImage { slot, metadata, claim, pauses: pauses.clone() };
        let taken = self.lxd.take_in(who, arriving, &mut download.chunks(), |error| error, seen).await;
        let upload = taken.map_err(|error| match error.kind() {
            // The client that asked for the copy has sent no body.
            Kind::TooSlow => sends_too_slowly().because(error),
            _ => error,
        })?;
        match self.next_file(download, pauses).await.and_then(|more| more.map_or(Ok(()), |_| Err(lies()))) {
            Ok(()) => Ok((upload, file.name)),
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    /// Reads the next file, if it begins in time: a form may spell out its headers byte by byte for days.
    async fn next_file(&self, download: &mut Download, pauses: &Pauses) -> Result<Option<File>> {
        let next = pauses.wait_for(self.ingest.limits.rate.idle, download.next_file());
        next.await.map_err(|_| sends_too_slowly())?
    }

    /// Reads all of a file that has to be small.
    async fn small(&self, download: &mut Download, pauses: &Pauses) -> Result<Bytes> {
        let mut rate = self.ingest.rate_guard().excusing(pauses);
        let (mut bytes, mut chunks) = (Vec::new(), download.chunks());
        while let Some(chunk) = rate.next(&mut chunks, |error| error).await? {
            bytes.extend(chunk);
            if bytes.len() > METADATA_BYTES_MAX {
                return Err(Reason::BodyTooLarge.saying("The description of the image is too large."));
            }
        }
        Ok(bytes.into())
    }

    /// Pushes an image to another server.
    ///
    /// # Errors
    /// As [`crate::upstream::Upstream::push`].
    pub async fn push(&self, to: &Push, parcel: Parcel) -> Result<()> {
        self.upstream.push(to, parcel).await
    }

    /// Imports a unified image from a URL whose answer names it in headers.
    ///
    /// # Errors
    /// As [`Mirror::pull`].
    pub async fn pull_url(
        self: &Arc<Self>,
        who: &Caller,
        url: &str,
        wanted: &ImportOptions,
        handle: &Handle,
    ) -> Result<Copied> {
        who.may(Action::CopyFromServer, On::Server)?;
        let (upstream, report) = self.reporting(handle);
        let host = crate::upstream::this_machine();
        let also = host.iter().flat_map(|host| host.personalities().iter().copied());
        let architectures: Vec<_> = host.into_iter().chain(also).collect();
        let answer = upstream.ask_url(url, &architectures).await?;
        if let Some(image) = own_with(&self.core, who, &answer.sha256).await? {
            let image = self.welcome(who, image, &wanted.patch).await?;
            return Ok(Copied { image, is_new: false });
        }
        self.check_fits(&wanted.patch)?;
        let (begin, unified) = (|| upstream.download_url(&answer), ImageKind::Container);
        let (upload, name) = self.bring(who, begin, unified, &report, |count| handle.bytes(count, None)).await?;
        let mut patch = wanted.patch.clone();
        patch.filename = patch.filename.or_else(|| Some(Some(name).filter(|name| !name.is_empty())));
        self.publish_copy(who, upload, ImportOptions { patch, fingerprint: Some(answer.sha256) }).await
    }
}

fn sends_too_slowly() -> Error {
    Reason::Upstream.saying("The server sends too slowly.")
}

/// Attributes that the other server states. The kind of the image is read from its bytes.
fn facts(ask: &Ask, found: &Found) -> ImagePatch {
    let source = found.by_alias.then(|| UpdateSource {
        server: ask.server.clone(),
        protocol: ask.protocol,
        alias: ask.image.clone(),
        certificate: ask.certificate.clone().filter(|text| !text.is_empty()),
        kind: ask.kind,
        checked_at: None,
        error: None,
    });
    ImagePatch {
        architecture: Some(Some(found.architecture)),
        built_at: found.created_at.map(Some),
        supported_until: Some(found.expires_at),
        filename: Some(Some(found.filename.clone()).filter(|name| !name.is_empty())),
        properties: cleaned(&found.properties),
        purge: true,
        update_source: Some(source),
        ..ImagePatch::default()
    }
}
