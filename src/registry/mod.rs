//! The service: operations on images, and the rights to them. Protocols call this room, and none below it.
//!
//! Knows nothing of HTTP. Rights and values are checked here and in no other room.

mod access;
mod backfill;
mod background;
mod carry;
mod circle;
mod clock;
mod copies;
mod copying;
mod core;
mod download;
mod expiry;
mod gate;
mod images;
mod imports;
mod later;
mod looks;
mod lxd;
mod maintenance;
mod members;
mod metadefs;
mod mirror;
mod naming;
mod overview;
mod pages;
mod parts;
pub mod policy;
mod pulls;
mod readers;
mod recheck;
mod records;
mod removal;
mod reread;
mod retries;
mod sweep;
mod unpacking;
mod uploads;
mod verify;

use std::fmt;
use std::sync::Arc;

pub use self::access::{Caller, ListScope};
pub use self::background::BackgroundWork;
pub use self::clock::{Clock, system_clock};
pub use self::copies::Copies;
use self::core::Core;
pub use self::core::Limits;
pub use self::download::{Delivery, Downloads};
pub use self::gate::WayIn;
use self::imports::Imports;
pub use self::imports::{Import, ImportWish, has_failed};
pub use self::lxd::offers::Offers;
pub use self::lxd::{
    Alias, FileRole, ImportOptions, IncomingImage, Instances, LxdFile, LxdImages, METADATA_BYTES_MAX, ReceivedImage,
    Slot, files_of, fingerprint_of,
};
pub use self::maintenance::Maintenance;
pub use self::members::Members;
pub use self::metadefs::{Metadefs, NamespaceDraft, NamespaceQuery, VisibleDefinitions};
pub use self::mirror::pull::Copied;
pub use self::mirror::service::Mirror;
pub use self::mirror::source::{Source, without_query};
pub use self::naming::{NameRequest, Precedence, aliases_of};
use self::overview::Overviews;
pub use self::overview::{ImageCount, ImageCounts, Overview};
pub use self::pages::Pages;
use self::policy::{Action, On};
pub use self::pulls::{
    BuildView, CacheChange, CacheView, CachedView, Provenance, PrunedView, PullAsk, PullChange, PullProgress,
    PullState, PullThrough, Pulled, PulledView, Pulls, Rechecked, VendorView, check_cached, check_pullable,
    is_superseded, register_lock,
};
use self::records::Records;
use self::removal::Removal;
pub use self::sweep::Swept;
pub use self::uploads::append::Append;
pub use self::uploads::one_shot::{Target, Upload};
pub use self::uploads::progress::UploadProgress;
pub use self::uploads::service::Uploads;
pub use self::uploads::staging::Stage;
use crate::blob::{Linked, Stores};
use crate::catalog::Catalog;
pub use crate::catalog::not_found;
use crate::error::Result;
use crate::fetch::Fetcher;
use crate::image::{Access, Image, ImageId, Timestamp};
use crate::ingest::intake::{Ingest, IngestLimits};
use crate::ingest::room::Room;
pub use crate::ingest::{ByteSink, Expected, Pauses, RateGuard, RateLimits, pump, too_slow};
use crate::jobs::{Job, Jobs};
use crate::upstream::Upstream;
pub use crate::upstream::{Ask, INCUS_LEVEL, LXD_LEVEL, Outgoing, Parcel, Push, this_machine};

/// The service: records, and one service each for the other operations on images.
pub struct Registry {
    core: Arc<Core>,
    records: Arc<Records>,
    downloads: Arc<Downloads>,
    removal: Arc<Removal>,
    uploads: Arc<Uploads>,
    copies: Arc<Copies>,
    members: Arc<Members>,
    lxd: Arc<LxdImages>,
    mirror: Arc<Mirror>,
    maintenance: Arc<Maintenance>,
    imports: Imports,
    overviews: Overviews,
}

impl Registry {
    /// Assembles the service.
    pub fn new(
        catalog: Catalog,
        stores: Stores,
        linked: Linked,
        instances: Instances,
        fetcher: Fetcher,
        clock: Clock,
        limits: Limits,
    ) -> Arc<Self> {
        let (stores, upstream) = (Arc::new(stores), Upstream::new(fetcher.clone()));
        let bounds = IngestLimits {
            bytes_max: limits.image_bytes_max,
            transfers_max: limits.uploads_max,
            sha512: limits.sha512,
            rate: limits.patience,
        };
        let free_bytes_min = limits.free_bytes_min;
        let core = Core::new(catalog, Arc::clone(&stores), linked, fetcher, clock, limits);
        let imports = Imports::new(core.jobs.clone());
        let removal = Removal::new(&core);
        let ingest = Ingest::new(bounds, Room::new(stores, free_bytes_min, Arc::clone(&removal) as _));
        let downloads = Downloads::new(&core);
        let offers = Offers::new(&core, &ingest, &downloads);
        let records = Records::new(&core, &ingest, &downloads, &offers);
        let uploads = Uploads::new(&core, &ingest, &records, &offers);
        let copies = Copies::new(&core, &ingest, &records, &downloads, &offers);
        let lxd = Arc::new(LxdImages {
            core: Arc::clone(&core),
            ingest: Arc::clone(&ingest),
            downloads: Arc::clone(&downloads),
            uploads: Arc::clone(&uploads),
            removal: Arc::clone(&removal),
            offers,
            instances,
        });
        let mirror = Arc::new(Mirror {
            core: Arc::clone(&core),
            ingest: Arc::clone(&ingest),
            records: Arc::clone(&records),
            downloads: Arc::clone(&downloads),
            removal: Arc::clone(&removal),
            uploads: Arc::clone(&uploads),
            copies: Arc::clone(&copies),
            lxd: Arc::clone(&lxd),
            imports: imports.clone(),
            upstream,
        });
        let maintenance = Arc::new(Maintenance {
            core: Arc::clone(&core),
            ingest,
            downloads: Arc::clone(&downloads),
            uploads: Arc::clone(&uploads),
            removal: Arc::clone(&removal),
            settling: tokio::sync::Mutex::default(),
        });
        let members = Members::new(&core, &records);
        Arc::new(Self {
            core,
            records,
            downloads,
            removal,
            uploads,
            copies,
            members,
            lxd,
            mirror,
            maintenance,
            imports,
            overviews: Overviews::new(clock()),
        })
    }

    /// Uploads: in one request, in pieces, and staged for an import.
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// The service for the bytes of images on their way to readers.
    pub fn downloads(&self) -> &Arc<Downloads> {
        &self.downloads
    }

    /// Images in several stores.
    pub fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// Members of images.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Images in LXD's and Incus' form.
    pub fn lxd(&self) -> &Arc<LxdImages> {
        &self.lxd
    }

    /// Images whose bytes come from other servers.
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Upkeep of all images.
    pub fn maintenance(&self) -> &Arc<Maintenance> {
        &self.maintenance
    }

    /// The time for this service.
    pub fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// Size of the largest image, in bytes.
    pub fn image_bytes_max(&self) -> u64 {
        self.core.limits.image_bytes_max
    }

    /// Running and recent jobs. [`Caller::sees_job`] decides on the callers that see one.
    pub fn jobs(&self) -> &Jobs {
        &self.core.jobs
    }

    /// Configured stores.
    pub fn stores(&self) -> &Stores {
        &self.core.stores
    }

    /// Stores, for a caller that may know the kind of each.
    ///
    /// # Errors
    /// As [`Caller::may`].
    pub fn store_details(&self, who: &Caller) -> Result<&Stores> {
        who.may(Action::SeeStoreDetails, On::Server).map(|()| self.stores())
    }

    /// Tells if a caller may make images of its own public.
    pub fn lets_publish(&self, who: &Caller) -> bool {
        self.core.limits.publish.allows(who)
    }

    /// Free bytes in the default store, if it knows them.
    pub async fn free_bytes(&self) -> Option<u64> {
        self.core.stores.free(self.core.stores.default_name()).await
    }

    /// Removes an image: first from sight, then its bytes, then its record. Returns the former image.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also for a protected image. The sweep removes bytes that can't be removed now.
    pub async fn delete(&self, who: &Caller, id: ImageId) -> Result<(Image, Access)> {
        self.removal.delete(who, id).await
    }

    /// Removes every unprotected image of the caller. Returns the former images.
    ///
    /// # Errors
    /// `Unauthenticated`, or the error of the first image that could not be removed.
    pub async fn delete_all(&self, who: &Caller) -> Result<Vec<(Image, Access)>> {
        self.removal.delete_all(who).await
    }

    /// Running and recent imports, newest first: all of them, or those into one image.
    ///
    /// # Errors
    /// As [`Caller::may`].
    pub async fn imports(&self, who: &Caller, image: Option<ImageId>) -> Result<Vec<Job>> {
        match image {
            Some(id) => who.may(Action::SeeJobsOfImage, &self.get(who, id).await?)?,
            None => who.may(Action::SeeAllJobs, On::Server)?,
        }
        Ok(self.imports.of(image))
    }

    /// Last import into an image, while it matters to the image's state: it runs, or it failed and the image still
    /// waits for bytes.
    pub fn import_of(&self, image: &Image) -> Option<Job> {
        self.imports.last_into(image)
    }

    /// Shuts down in good order: keeps every acknowledged change, and closes the database. Blocks.
    pub fn close(&self) {
        self.core.catalog.close();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("boot", &self.core.boot).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod between_tests;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
