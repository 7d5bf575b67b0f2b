//! Offers: disks that arrived through other protocols, shown to LXD and Incus as virtual machines. The description of
//! one is made once and kept beside it; the fingerprint of both is computed in the background. Knows no protocol.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::archive::make_metadata;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::query::Filter;
use crate::image::{
    Attr, BlobKey, Container, Format, Image, ImageId, ImageKind, Location, LxdIdentity, PartKind, Status, StoreName,
    Value,
};
use crate::ingest::intake::Ingest;
use crate::jobs::Handle;
use crate::registry::Caller;
use crate::registry::core::Core;
use crate::registry::download::Downloads;
use crate::registry::lxd::files::{frame_of, head_of};
use crate::registry::parts::{keep_metadata, remove_places, was_refused};

/// Offers of disks, and the queue of images that may have become fit for one.
pub struct Offers {
    core: Arc<Core>,
    ingest: Arc<Ingest>,
    downloads: Arc<Downloads>,
    waiting: Mutex<BTreeSet<ImageId>>,
    bell: Notify,
    /// Held while the description of a disk is made or removed: its file exists before the record names it, and after.
    pen: tokio::sync::Mutex<()>,
}

impl Offers {
    pub(in crate::registry) fn new(core: &Arc<Core>, ingest: &Arc<Ingest>, downloads: &Arc<Downloads>) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            ingest: Arc::clone(ingest),
            downloads: Arc::clone(downloads),
            waiting: Mutex::default(),
            bell: Notify::new(),
            pen: tokio::sync::Mutex::default(),
        })
    }

    fn look_at(&self, id: ImageId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.bell.notify_one();
    }

    fn next(&self) -> Option<ImageId> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    fn count(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until the queue has an image.
    pub(in crate::registry) async fn wait(&self) {
        while self.count() == 0 {
            self.bell.notified().await;
        }
    }
}

/// Tells if an image is a disk that LXD and Incus can use and that is not offered yet.
fn is_due(image: &Image) -> bool {
    let is_disk = matches!(image.format, Some(Format::Qcow2 | Format::Raw));
    let is_bare = matches!(image.container, None | Some(Container::Bare));
    let is_machine = matches!(image.kind, None | Some(ImageKind::Machine | ImageKind::VirtualMachine));
    // The bytes under a URL may change.
    let is_ours = image.main().is_some_and(|part| {
        part.size > Some(0) && part.digests.sha256.is_some() && !matches!(part.location, Location::Http { .. })
    });
    let is_wanted = image.offer_to_lxd && image.lxd_identity.is_none() && image.status == Status::Available;
    is_wanted && is_disk && is_bare && is_machine && is_ours && image.architecture.is_some()
}

/// Withdraws an offer that the changed image no longer fits. Tells if the image had one.
pub(in crate::registry) fn withdraw(before: &Image, image: &mut Image) -> bool {
    let kept = (before.architecture, before.format, before.container, before.kind)
        == (image.architecture, image.format, image.container, image.kind);
    let stale = image.lxd_identity.is_some_and(|offer| offer.made) && !(kept && image.offer_to_lxd);
    if stale {
        image.lxd_identity = None;
        image.parts.retain(|part| part.kind != PartKind::Metadata);
    }
    stale
}

impl Offers {
    /// Offers every disk in the queue.
    pub(in crate::registry) async fn offer_disks(&self, handle: Handle) -> Result<()> {
        let mut done = 0_u64;
        while let Some(id) = self.next() {
            handle.image(id);
            handle.steps(done, Some(done + 1 + self.count() as u64));
            if let Err(error) = self.offer(id).await
                // Removed meanwhile.
                && error.kind() != Kind::NotFound
            {
                log::warn!("image {id} can't be offered to LXD and Incus: {}", error.logged());
            }
            done += 1;
        }
        handle.steps(done, Some(done));
        Ok(())
    }

    /// Queues an image that may have become fit for an offer.
    pub(in crate::registry) fn consider(&self, image: &Image) {
        if self.core.limits.offer_disks && is_due(image) {
            self.look_at(image.id);
        }
    }

    /// Queues all stored disks.
    pub(in crate::registry) async fn find_disks(&self) -> Result<()> {
        let formats = [Format::Qcow2, Format::Raw].map(|format| Value::Text(format.name().into()));
        let disks = Filter::OneOf(Attr::Format, formats.into());
        let filter = disks.and(Filter::spelled(Attr::Status, Status::Available.word()));
        let mut pages = self.core.pages(filter);
        while let Some(images) = pages.next().await? {
            images.iter().for_each(|image| self.consider(image));
        }
        Ok(())
    }

    pub(in crate::registry) async fn offer(&self, id: ImageId) -> Result<()> {
        let image = self.core.catalog.get(id).await?;
        let (true, Some(architecture), Some(main)) = (is_due(&image), image.architecture, image.main()) else {
            return Ok(());
        };
        let built_at = image.uploaded_at.unwrap_or(image.created_at);
        let mut properties = image.properties.clone();
        let name = image.name.clone().unwrap_or_else(|| id.to_string());
        properties.entry("description".into()).or_insert(name);
        // Two disks with equal bytes are two images: their descriptions differ.
        properties.insert("serial".into(), id.to_string());
        let metadata = make_metadata(architecture, built_at, &properties);
        let frame = frame_of(&image, main)?;
        let head = frame.as_ref().map(|frame| head_of(frame, 0..frame.head())).unwrap_or_default();
        let fresh = Sha256::new_with_prefix(&metadata);
        let before = self.ingest.hash_pool.begin_joint([fresh.chain_update(&head), Sha256::new_with_prefix(&head)]);
        let body = self.downloads.open(&Caller::Admin(None), &image, None).await?;
        let (size, digesting) = self.ingest.hash_pool.digest_into(before, body, &self.ingest.buffers).await?;
        if Some(size) != main.size {
            return Err(Error::internal("the bytes differ from those stored; run `visor verify`"));
        }
        let zeros = vec![0; frame.as_ref().map_or(0, |frame| usize::try_from(frame.padding()).unwrap_or(0))];
        let [joint, root] = <[Sha256; 2]>::try_from(digesting.joint())
            .map_err(|_| Error::internal("digests are missing"))?
            .map(|state| <[u8; 32]>::from(state.chain_update(&zeros).finalize()));
        // Unframed bytes hash to the stored digest, unless the disk damaged them.
        if frame.is_none() && main.digests.sha256 != Some(root) {
            return Err(Error::internal("the bytes differ from those stored; run `visor verify`"));
        }
        let pen = self.pen.lock().await;
        let described = (image.architecture, image.format, image.main().cloned());
        let fits = move |row: &Image| is_due(row) && (row.architecture, row.format, row.main().cloned()) == described;
        // The change that made it unfit queued the image again.
        if !fits(&self.core.catalog.get(id).await?) {
            return Ok(());
        }
        let place = BlobKey::metadata(id).in_store(image.home());
        // Leftover of an earlier try: no record names it.
        self.core.stores.delete(&place).await?;
        let part = keep_metadata(&self.core.stores, place, metadata.into()).await?;
        let offer = LxdIdentity { fingerprint: joint, root_sha256: frame.map(|_| root), made: true };
        let put = move |row: &Image| {
            let gone = || Reason::ChangedMeanwhile.about(row.id);
            let mut row = Some(row.clone()).filter(&fits).ok_or_else(gone)?;
            row.parts.push(part.clone());
            row.lxd_identity = Some(offer);
            Ok(Some(row))
        };
        match self.core.catalog.amend(id, put).await {
            // An unclear failure may be in the journal all the same.
            Err(error) if was_refused(&error) => {
                drop(pen);
                self.forget_metadata(&image).await;
                if error.kind() == Kind::Precondition { Ok(()) } else { Err(error) }
            }
            done => done.map(|_| ()),
        }
    }

    /// Removes the former description of an image, unless a record still names it.
    pub(in crate::registry) async fn forget_metadata(&self, was: &Image) {
        let _pen = self.pen.lock().await;
        let Ok(image) = self.core.catalog.find(was.id).await else { return };
        // The removal of the image may have run before the description was written.
        let (homes, named) = image.map(|image| (image.homes(), image.parts)).unwrap_or_default();
        let homes: BTreeSet<StoreName> = was.homes().into_iter().chain(homes).collect();
        let places = homes.into_iter().map(|store| BlobKey::metadata(was.id).in_store(store));
        remove_places(&self.core.stores, places, &named).await;
    }
}
