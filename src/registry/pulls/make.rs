//! Making of an image from a file of the cache. Where the bytes need no unpacking, the image is another name of the file.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::archive::{Packing, Wrapping, sniff};
use crate::blob::{BlobBody, BlobFile, stream};
use crate::cache::Whole;
use crate::digest::Digests;
use crate::error::{Error, Reason, Result};
use crate::image::change::cleaned;
use crate::image::{Container, Declared, Format, Image, ImageKind, ImagePatch, StoredAt, Visibility};
use crate::ingest::hash_pool::HashState;
use crate::ingest::intake::Received;
use crate::ingest::{Expected, pump};
use crate::inspect::Detected;
use crate::registry::Caller;
use crate::registry::gate::{Arrived, WayIn, let_in};
use crate::registry::lxd::receive::{ImportOptions, ReceivedImage};
use crate::registry::mirror::source::without_query;
use crate::registry::pulls::ask::{PullAsk, PullState};
use crate::registry::pulls::find::Found;
use crate::registry::pulls::provenance::{Provenance, written};
use crate::registry::pulls::report::Report;
use crate::registry::pulls::service::Pulls;
use crate::registry::records::PreparedChange;
use crate::registry::unpacking::{Unpacking, cannot_unpack};
use crate::registry::uploads::one_shot::{Description, Target, Upload};
use crate::registry::uploads::session::Saving;
use crate::vendor::{Sum, SumAlgorithm};

/// Digits of a file's SHA-256 that stand for its build, where no vendor has a name for it.
const SERIAL_DIGITS: usize = 12;

/// A file and what it is.
pub(super) struct Shaped<'a> {
    pub(super) whole: &'a Whole,
    /// Description for LXD and Incus, of a container.
    metadata: Option<Bytes>,
    pub(super) sha256: Sum,
    wrapping: Wrapping,
}

impl<'a> Shaped<'a> {
    /// Looks at the first bytes of a file.
    ///
    /// # Errors
    /// `BadContent` for one that is packed and damaged, and for text in place of an image.
    pub(super) async fn look(whole: &'a Whole, metadata: Option<Bytes>) -> Result<Self> {
        let wrapping = match &metadata {
            // The file system of a container, which its list names so, is never unpacked.
            Some(_) => Wrapping { packing: None, in_archive: false, disk: Detected::Squashfs, no_disk: None },
            None => wrapping_of(whole).await?,
        };
        if let Some(why) = wrapping.no_disk {
            let what = if wrapping.packing.is_some() { "What is packed in the file" } else { "The file" };
            return Err(Reason::BadContent.saying(format!("{what} is no image: {why}.")));
        }
        let sha256 = whole.digests.sha256.and_then(|bytes| Sum::new(SumAlgorithm::Sha256, bytes));
        let sha256 = sha256.ok_or_else(|| Error::internal("a file of the cache has no sha256"))?;
        Ok(Self { whole, metadata, sha256, wrapping })
    }

    /// Tells if the file is unpacked on its way into an image.
    fn is_unpacked(&self, ask: &PullAsk) -> bool {
        self.wrapping.packing.is_some() && !ask.keep_packed && self.metadata.is_none()
    }

    /// Facts that the image says of its bytes.
    fn declared(&self, ask: &PullAsk, found: &Found) -> Declared {
        let bare = |format| Declared { format, container: Some(Container::Bare) };
        let format = found.format.or_else(|| format_of(self.wrapping.disk));
        match (self.wrapping.packing.is_some(), ask.keep_packed) {
            (true, true) if self.wrapping.in_archive => bare(Some(Format::Tar)),
            (true, true) => Declared { format, container: Some(Container::Compressed) },
            _ => bare(format),
        }
    }

    /// The file for reading.
    async fn body(&self) -> Result<BlobBody> {
        let path = self.whole.path.clone();
        let opened = spawn_blocking(move || File::open(path)).await.map_err(Error::internal)?;
        let file = Arc::new(opened.map_err(Error::internal)?);
        Ok(BlobBody::File(BlobFile { file, offset: 0, length: self.whole.size, held: None }))
    }
}

/// The form of a file, by its first bytes.
async fn wrapping_of(whole: &Whole) -> Result<Wrapping> {
    let path = whole.path.clone();
    // It ends when no request waits for it any more.
    let wanted = Arc::new(());
    let is_wanted = Arc::downgrade(&wanted);
    let looked = spawn_blocking(move || {
        let file = File::open(path).map_err(crate::archive::BundleError::Io)?;
        sniff(file, &|| is_wanted.strong_count() > 0)
    });
    looked.await.map_err(Error::internal)?.map_err(cannot_unpack)
}

/// A file that is an image's from now on, if that is published.
struct Adopted {
    saving: Saving,
    place: StoredAt,
    arrived: Arrived,
    change: PreparedChange,
}

impl Adopted {
    /// Publishes the image. `held` keeps the file of the cache until then.
    async fn publish(self, pulls: &Pulls, held: Whole) -> Result<Image> {
        pulls.uploads.publish(self.saving, self.place, self.arrived, None, self.change, held).await
    }
}

/// Format of an image whose bytes are of this form.
fn format_of(disk: Detected) -> Option<Format> {
    match disk {
        Detected::Qcow2 => Some(Format::Qcow2),
        Detected::Vmdk => Some(Format::Vmdk),
        Detected::Vhd => Some(Format::Vhd),
        Detected::Vhdx => Some(Format::Vhdx),
        Detected::Vdi => Some(Format::Vdi),
        Detected::Iso => Some(Format::Iso),
        Detected::Squashfs => Some(Format::Squashfs),
        Detected::Raw | Detected::Gpt | Detected::Mbr | Detected::Luks => Some(Format::Raw),
        // Refused at the gate, whatever they are called.
        Detected::Qcow | Detected::Qed => None,
    }
}

impl Found {
    /// Name with the build; of a file under a URL, its bytes are that.
    pub(super) fn full_name(&self, sha256: &Sum) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}:{}", self.alias, short(sha256)))
    }
}

fn short(sha256: &Sum) -> String {
    sha256.hex().chars().take(SERIAL_DIGITS).collect()
}

impl Pulls {
    /// Makes an image of a file: out of sight, without an alias, under the name of its build.
    ///
    /// # Errors
    /// `TooLarge`; `BadContent` when the bytes are not of the format that the vendor says, or are dangerous; `DigestMismatch` when
    /// the file changed on the disk; `StoreFull`, `Busy`.
    pub(super) async fn make(
        &self,
        who: &Caller,
        ask: &PullAsk,
        found: &Found,
        file: &Shaped<'_>,
        report: &mut Report<'_>,
    ) -> Result<Image> {
        let most = self.core.limits.image_bytes_max;
        if file.whole.size > most {
            return Err(Reason::FileTooLarge.about(most));
        }
        let patch = self.described(ask, found, file);
        let packing = file.wrapping.packing.filter(|_| file.is_unpacked(ask));
        // Where the default store has no files, no draft is made in vain.
        let adopts = packing.is_none() && self.core.stores.named(self.core.stores.default_name())?.has_files();
        let adopted = if adopts { self.adopt(who, &patch, file).await? } else { None };
        let fingerprint = found.metadata.as_ref().and_then(|metadata| metadata.fingerprint);
        match (adopted, &file.metadata) {
            (Some(adopted), None) => adopted.publish(self, file.whole.clone()).await,
            (None, None) => {
                let mut written = self.write(who, &patch, file, packing, report).await?;
                let unpacked = packing.and(found.unpacked.as_ref()).and_then(|sum| sum.bytes().try_into().ok());
                let digests = Digests { sha256: unpacked, ..Digests::default() };
                written.claim(Expected { size: None, digests });
                written.finish(&ImagePatch::default()).await
            }
            (Some(Adopted { saving, place, arrived, .. }), Some(metadata)) => {
                let place = (saving, place);
                let received = ReceivedImage::of_container(&self.uploads, who, place, arrived, metadata.clone());
                received.publish(&ImportOptions { patch, fingerprint }).await
            }
            (None, Some(_)) => {
                let received = self.write(who, &patch, file, packing, report).await?.seal().await?;
                received.publish(&ImportOptions { patch, fingerprint }).await
            }
        }
    }

    fn described(&self, ask: &PullAsk, found: &Found, file: &Shaped<'_>) -> ImagePatch {
        let (whole, declared) = (file.whole, file.declared(ask, found));
        let name = found.full_name(&file.sha256);
        let origin = Provenance {
            origin: without_query(whole.key.url()).to_owned(),
            final_url: without_query(&whole.final_url).to_owned(),
            alias: found.alias.clone(),
            serial: found.serial.clone().unwrap_or_else(|| short(&file.sha256)),
            evidence: whole.expectation.evidence.clone().behind(found.held.as_ref()),
            verified_at: written(self.core.now()),
            unpacked_from: file.is_unpacked(ask).then(|| (file.sha256.clone(), whole.size)),
            had_query: whole.key.url().contains('?'),
            is_pinned: ask.pin,
            metadata: found.metadata.as_ref().map(|metadata| without_query(metadata.key.url()).to_owned()),
            name: name.clone(),
        };
        let filename = origin.origin.rsplit('/').next().map(str::to_owned);
        let filename = filename.filter(|name| !name.is_empty() && !name.starts_with('.') && !file.is_unpacked(ask));
        ImagePatch {
            name: Some(Some(name)),
            visibility: Some(Visibility::Private),
            hidden: Some(true),
            format: Some(declared.format),
            container: Some(declared.container),
            architecture: Some(found.architecture),
            filename: Some(filename),
            kind: found.is_container().then_some(Some(ImageKind::Container)),
            properties: cleaned(&found.properties),
            own_properties: origin.properties(),
            ..ImagePatch::default()
        }
    }

    /// Makes the file itself the image's; `None` where the store can't.
    async fn adopt(&self, who: &Caller, patch: &ImagePatch, file: &Shaped<'_>) -> Result<Option<Adopted>> {
        let slot = self.ingest.slot()?;
        // No room is taken: the bytes are here.
        let (saving, place) = self.uploads.expect_bytes(who, Target::New, patch, &Expected::default(), None).await?;
        let Some(writer) = self.core.stores.adopt(&place, &file.whole.path).await? else { return Ok(None) };
        let (hashes, buffers) = (&self.ingest.hash_pool, &self.ingest.buffers);
        let metadata = file.metadata.as_ref().map(Sha256::new_with_prefix);
        let before = metadata.into_iter().fold(hashes.begin(), HashState::behind);
        let (size, digesting) = hashes.digest_into(before, file.body().await?, buffers).await?;
        let joint = digesting.joint().pop().map(|state| state.finalize().into());
        let (digests, inspection) = digesting.finish();
        let whole = Expected { size: Some(file.whole.size), digests: file.whole.digests };
        whole.check(Some(size), &digests)?;
        let (change, declared) = self.uploads.last_change(who, saving.id(), &ImagePatch::default()).await?;
        let received = Received { size, inspection, digests, joint, writer, slot };
        let arrived = let_in(&self.core, WayIn::Pulled, received, declared).await?;
        Ok(Some(Adopted { saving, place, arrived, change }))
    }

    /// Writes the content of the file into a store.
    async fn write(
        &self,
        who: &Caller,
        patch: &ImagePatch,
        file: &Shaped<'_>,
        packing: Option<Packing>,
        report: &mut Report<'_>,
    ) -> Result<Upload> {
        let whole = Expected { size: Some(file.whole.size), digests: file.whole.digests };
        let claim = if packing.is_some() { Expected::default() } else { whole.clone() };
        let described = file.metadata.clone().map_or(Description::None, Description::Ahead);
        let slot = self.ingest.slot()?;
        let upload = self.uploads.begin_behind(who, Target::New, patch, claim, described, slot).await?.pulled();
        let (mut sink, mut done, size) = (Unpacking::as_found(upload, packing), 0, file.whole.size);
        report.state(if packing.is_some() { PullState::Unpacking } else { PullState::Verifying });
        let unpacks = packing.is_some();
        let mut packed = Sha256::new();
        let pieces = stream(file.body().await?, &self.ingest.buffers).map_err(Error::from);
        let mut pieces = pieces.inspect_ok(|piece| {
            done += piece.len() as u64;
            if unpacks {
                packed.update(piece);
            }
            report.bytes(done, Some(size));
        });
        let mut rate = self.ingest.rate_guard();
        pump(None, &mut pieces, &mut rate, |error| error, &mut sink).await?;
        drop(pieces);
        let came = Digests { sha256: packing.map(|_| packed.finalize().into()), ..Digests::default() };
        let upload = sink.finish().await?;
        if let Err(error) = whole.check(packing.map(|_| done), &came) {
            upload.abandon().await;
            return Err(error);
        }
        Ok(upload)
    }
}
