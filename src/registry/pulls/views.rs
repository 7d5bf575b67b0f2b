//! What people and programs see of pulls, vendors and the cache: plain values, which every way to them writes as they are.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::cache::{EntryView, Pruned};
use crate::error::{Error, Result};
use crate::image::{Architecture, Image};
use crate::registry::policy::{Action, On};
use crate::registry::pulls::provenance::{Provenance, is_superseded, written};
use crate::registry::pulls::service::Pulls;
use crate::registry::{Caller, this_machine};
use crate::vendor::{Candidate, LockedImage, Vendor, builds};

/// A pulled image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PulledView {
    /// Id of the image.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its entry in a lock file.
    #[serde(flatten)]
    pub locked: LockedImage,
    /// Line about its level, for people.
    pub words: String,
    /// True if it is never removed for room.
    pub pinned: bool,
    /// True if another build took its place.
    pub superseded: bool,
    /// True if another build has its alias: it is found by its name with the build.
    pub stands_back: bool,
    /// True if it is the caller's own: what belongs to others is not for its lock file.
    pub own: bool,
}

/// A vendor of the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VendorView {
    /// Name in the names of images.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Level that its files have to reach.
    pub require: String,
    /// Place of its files.
    pub base: String,
    /// Releases that are known without asking it.
    pub releases: Vec<String>,
    /// Names that can be pulled, as far as they are known without asking it, or examples of them.
    #[serde(default)]
    pub names: Vec<String>,
    /// True if its entry was compared with the vendor's own site.
    pub checked: bool,
    /// More about it.
    pub note: String,
}

/// A build that can be pulled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildView {
    /// Name with the build.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// URL of the file.
    pub url: String,
    /// Processor.
    pub architecture: Option<String>,
    /// Format of the image, if it is known.
    pub format: Option<String>,
    /// True if it is here as an image.
    pub here: bool,
}

/// A file of the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CachedView {
    /// URL that it is an answer for.
    pub url: String,
    /// State in one word.
    pub state: String,
    /// Bytes that are here.
    pub size: u64,
    /// Bytes that it will have, of a transfer.
    pub of: Option<u64>,
    /// Level that the bytes reached.
    pub verified: String,
    /// Line about the level, for people.
    pub words: String,
    /// SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// True for lists, sums and signatures.
    pub document: bool,
    /// True if it is never removed for room.
    pub pinned: bool,
    /// Time at which a server last said that it is current.
    pub checked_at: String,
    /// Time of the last use.
    pub used_at: String,
}

/// The cache as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheView {
    /// Time since which nothing is sent.
    pub offline_since: Option<String>,
    /// Bytes of all its files.
    pub used: u64,
    /// Bytes that they may have.
    pub budget: Option<u64>,
    /// Hosts that can't be used at the moment.
    pub dead_hosts: Vec<String>,
    /// Files.
    pub entries: Vec<CachedView>,
}

/// A file that was, or would be, removed for room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrunedView {
    /// URL, or another name for people.
    pub what: String,
    /// Its bytes.
    pub bytes: u64,
    /// Reason for people.
    pub reason: String,
}

/// Owners, aliases and processors of images that have their aliases.
type Holders = HashSet<(Option<String>, String, Option<Architecture>)>;

/// Tells if an image is the one that its alias means.
fn has_alias(image: &Image) -> bool {
    let is_called = |origin: Provenance| image.name.as_ref() == Some(&origin.alias);
    !is_superseded(image) && Provenance::of(image).is_some_and(is_called)
}

fn holding(image: &Image, origin: &Provenance) -> (Option<String>, String, Option<Architecture>) {
    (image.owner.clone(), origin.alias.clone(), image.architecture)
}

impl PulledView {
    /// An image; `holders` are the images that have their aliases.
    fn of(image: &Image, who: &Caller, holders: &Holders) -> Option<Self> {
        let (origin, locked) = (Provenance::of(image)?, Provenance::locked(image)?);
        let superseded = is_superseded(image);
        let stands_back = !has_alias(image) && holders.contains(&holding(image, &origin));
        let (words, pinned) = (origin.evidence.words, origin.is_pinned);
        Some(Self {
            id: image.id.to_string(),
            locked,
            words,
            pinned,
            superseded,
            stands_back,
            own: image.owner.as_deref() == who.account(),
        })
    }
}

impl VendorView {
    fn of(vendor: &Vendor) -> Self {
        Self {
            name: vendor.name.clone(),
            title: vendor.title.clone(),
            require: vendor.rules.require.name().to_owned(),
            base: vendor.base.clone(),
            releases: vendor.releases.clone(),
            names: vendor.known_names(),
            checked: vendor.checked,
            note: vendor.note.clone(),
        }
    }
}

impl BuildView {
    /// A build; `pulled` are the processors and names of the images that are here.
    fn of(build: Candidate, pulled: &HashSet<(Option<Architecture>, String)>) -> Self {
        let here = (Some(build.architecture), build.name.to_string());
        Self {
            here: pulled.contains(&here),
            title: build.title,
            url: build.url,
            architecture: Some(build.architecture.name().to_owned()),
            format: build.format.map(|format| format.name().to_owned()),
            name: here.1,
        }
    }
}

impl From<EntryView> for CachedView {
    fn from(entry: EntryView) -> Self {
        Self {
            url: entry.url,
            state: entry.state.to_owned(),
            size: entry.size,
            of: entry.of,
            verified: entry.level.name().to_owned(),
            words: entry.words,
            sha256: entry.sha256,
            document: entry.document,
            pinned: entry.pinned,
            checked_at: written(entry.checked_at),
            used_at: written(entry.used_at),
        }
    }
}

impl From<Pruned> for PrunedView {
    fn from(pruned: Pruned) -> Self {
        let Pruned { what, bytes, reason } = pruned;
        Self { what, bytes, reason }
    }
}

impl Pulls {
    /// Pulled images that the caller sees, sorted by name; superseded ones among them.
    ///
    /// # Errors
    /// As [`Caller::may`]; `Internal` when the catalogue does not work.
    pub async fn list_pulled(&self, who: &Caller) -> Result<Vec<PulledView>> {
        who.may(Action::SeeVendors, On::Server)?;
        let images = self.pulled(who, true).await?;
        let called = images.iter().filter(|image| has_alias(image));
        let holders = called.filter_map(|image| Some(holding(image, &Provenance::of(image)?))).collect();
        let mut views: Vec<_> = images.iter().filter_map(|image| PulledView::of(image, who, &holders)).collect();
        views.sort_by(|one, other| (&one.locked.name, &one.id).cmp(&(&other.locked.name, &other.id)));
        Ok(views)
    }

    /// Vendors of the catalogue.
    ///
    /// # Errors
    /// As [`Caller::may`].
    pub fn list_vendors(&self, who: &Caller) -> Result<Vec<VendorView>> {
        who.may(Action::SeeVendors, On::Server)?;
        Ok(self.catalogue.vendors().map(VendorView::of).collect())
    }

    /// Builds that a vendor has at the moment, by its own lists.
    ///
    /// # Errors
    /// As [`Caller::may`]; `NotFound` vendor or release; `Upstream`.
    pub async fn list_builds(
        &self,
        who: &Caller,
        vendor: &str,
        release: Option<&str>,
        architecture: Option<Architecture>,
    ) -> Result<Vec<BuildView>> {
        who.may(Action::Pull, On::Server)?;
        self.catalogue.vendor(vendor)?;
        let unknown =
            || Error::invalid("This machine's processor is not known: say for which one the builds have to be.");
        let architecture = architecture.or_else(this_machine).ok_or_else(unknown)?;
        let (documents, now) = (self.cache.documents(), self.core.now());
        let found = builds(&self.catalogue, vendor, release, architecture, &*documents, now).await?;
        let pulled = self.pulled(who, true).await?;
        let pulled =
            pulled.iter().filter_map(|image| Some((image.architecture, Provenance::of(image)?.name))).collect();
        Ok(found.into_iter().map(|build| BuildView::of(build, &pulled)).collect())
    }

    /// The cache and its files.
    ///
    /// # Errors
    /// As [`Caller::may`].
    pub fn see_cache(&self, who: &Caller) -> Result<CacheView> {
        who.may(Action::SeeCache, On::Server)?;
        let (stats, dead) = (self.cache.stats(), self.cache.hosts());
        Ok(CacheView {
            offline_since: self.cache.is_offline().map(written),
            used: stats.used_bytes,
            budget: stats.budget_bytes,
            dead_hosts: dead.into_iter().filter(|host| host.dead_since.is_some()).map(|host| host.host).collect(),
            entries: self.cache.entries().into_iter().map(CachedView::from).collect(),
        })
    }

    /// Stops sending anything to other servers, or begins to again. Returns the time since which nothing is sent.
    ///
    /// # Errors
    /// As [`Caller::may`]; `Internal` when the disk fails.
    pub fn put_offline(&self, who: &Caller, offline: bool) -> Result<Option<String>> {
        who.may(Action::ManageCache, On::Server)?;
        self.cache.set_offline(offline)?;
        Ok(self.cache.is_offline().map(written))
    }

    /// Makes room: removes files until those that are left have `to` bytes, or as many as the budget allows. With `dry`, only says
    /// which.
    ///
    /// # Errors
    /// As [`Caller::may`]; `Internal` when the disk fails.
    pub async fn make_room(&self, who: &Caller, to: Option<u64>, dry: bool) -> Result<Vec<PrunedView>> {
        who.may(Action::ManageCache, On::Server)?;
        Ok(self.cache.prune(to, dry).await?.into_iter().map(PrunedView::from).collect())
    }
}
