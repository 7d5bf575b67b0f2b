//! Places: which image has a name now, which one is of the very build, and how a pulled image gets its names.

use std::collections::BTreeMap;

use crate::catalog::Amend;
use crate::error::{Reason, Result};
use crate::image::change::check;
use crate::image::query::{AliasScope, Filter, Query, Sort};
use crate::image::{Architecture, Attr, Image, ImageId, ImagePatch, Value, Visibility};
use crate::registry::Caller;
use crate::registry::circle::within;
use crate::registry::lxd::names::own_with;
use crate::registry::mirror::pull::Copied;
use crate::registry::mirror::succession::Leaving;
use crate::registry::pulls::ask::{PullChange, Pulled};
use crate::registry::pulls::find::{Found, Place};
use crate::registry::pulls::provenance::{Provenance, instate, is_superseded, supersede, written};
use crate::registry::pulls::service::Pulls;
use crate::vendor::{Evidence, Level, Sum};

/// Images of one name that are looked at, at most.
const NAMED_MAX: usize = 64;

impl Pulls {
    fn scope(who: &Caller) -> AliasScope {
        AliasScope::Owner(who.account().map(str::to_owned))
    }

    async fn some(&self, filter: Filter) -> Result<Vec<Image>> {
        let query = Query { filter, sort: Sort::default(), limit: NAMED_MAX, after: None };
        let images = self.core.catalog.list(&query).await?.images;
        Ok(images.into_iter().filter(|image| image.status.gives_bytes()).collect())
    }

    /// Image of the caller's that has an alias: of a container or not, for a machine of this processor.
    async fn with_alias(
        &self,
        who: &Caller,
        alias: &str,
        for_: Option<Architecture>,
        is_container: bool,
    ) -> Result<Option<Image>> {
        let scope = Self::scope(who);
        let images = self.some(Filter::Alias(alias.to_owned(), scope.clone()).and(within(scope))).await?;
        Ok(images.into_iter().find(|image| image.architecture == for_ && image.is_container() == is_container))
    }

    /// Images of the caller's that were pulled for a place, old ones and unsettled ones among them.
    pub(super) async fn pulled_for(
        &self,
        who: &Caller,
        place: &Place,
        for_: Option<Architecture>,
    ) -> Result<Vec<Image>> {
        let filter = match &place.url {
            Some(url) => Provenance::has_origin(url),
            None => Provenance::has_alias(&place.alias),
        };
        let fits = |image: &Image| image.architecture == for_ && place.admits(image);
        Ok(self.some(filter.and(within(Self::scope(who)))).await?.into_iter().filter(fits).collect())
    }

    /// The pulled image that has a place now.
    pub(super) async fn holder(
        &self,
        who: &Caller,
        place: &Place,
        for_: Option<Architecture>,
    ) -> Result<Option<Image>> {
        if place.url.is_none()
            && let Some(image) = self.with_alias(who, &place.alias, for_, place.is_container).await?
        {
            return Ok(Some(image).filter(|image| place.admits(image)));
        }
        let is_settled = |image: &Image| !is_superseded(image) && !is_unsettled(image);
        Ok(self.pulled_for(who, place, for_).await?.into_iter().find(is_settled))
    }

    /// Tells if another image than those of the place is called so: the name of a file is no right to it.
    async fn is_called(&self, who: &Caller, image: &Image, found: &Found) -> Result<bool> {
        if found.place.url.is_none() {
            return Ok(false);
        }
        let name = Filter::Equals(Attr::Name, Value::Text(found.alias.clone().into()));
        let others = self.some(name.and(within(Self::scope(who)))).await?;
        let is_it = |other: &Image| other.id != image.id && other.architecture == image.architecture;
        Ok(others.iter().any(|other| is_it(other) && !found.place.admits(other)))
    }

    /// Checks that an image that was not pulled has none of the names that the file's image must have.
    ///
    /// # Errors
    /// `AliasTaken`.
    pub(super) async fn check_free(&self, who: &Caller, found: &Found) -> Result<()> {
        for alias in found.aliases.iter().filter(|alias| found.demands(alias)) {
            let holder = self.with_alias(who, alias, found.architecture, found.is_container()).await?;
            if holder.is_some_and(|image| !is_ours(&image, found)) {
                return Err(Reason::AliasTaken.about(alias));
            }
        }
        Ok(())
    }

    /// The image of the very build, if it is here: with these bytes, as far as they are known.
    pub(super) async fn present(&self, who: &Caller, found: &Found, sha256: Option<&Sum>) -> Result<Option<Image>> {
        let is_it = |image: &Image| {
            let Some(origin) = Provenance::of(image) else { return false };
            let bytes = origin.published(image).map(|(sum, _)| sum);
            let same_bytes = sha256.is_none_or(|wanted| bytes.as_ref() == Some(wanted));
            let same_kind = image.is_container() == found.is_container();
            // A file under a URL has no build but its bytes.
            let same_build = found.name.as_ref().map_or(sha256.is_some(), |name| origin.name == *name);
            same_bytes && same_kind && same_build && origin.alias == found.alias
        };
        Ok(self.pulled_for(who, &found.place, found.architecture).await?.into_iter().find(is_it))
    }

    /// Image of the caller's that has the bytes of a container already: copied from another server, sent, or pulled under another
    /// name. LXD and Incus tell images by their bytes, and have each once.
    pub(super) async fn same_container(&self, who: &Caller, found: &Found) -> Result<Option<Image>> {
        match found.metadata.as_ref().and_then(|metadata| metadata.fingerprint) {
            Some(fingerprint) => own_with(&self.core, who, &fingerprint).await,
            None => Ok(None),
        }
    }

    /// Gives an image with the bytes of a container the names of this pull; one that came another way, or under another spelling, only
    /// the alias that the caller asked for.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that another image got meanwhile; `Forbidden`.
    pub(super) async fn called_too(&self, who: &Caller, image: Image, found: &Found) -> Result<Pulled> {
        if is_ours(&image, found) {
            return self.settle(who, image, found, false).await;
        }
        let image = match found.own.clone().filter(|alias| !image.aliases.contains_key(alias)) {
            None => image,
            Some(alias) => {
                let make = move |row: &Image| {
                    let aliases = row.aliases.clone().into_iter().chain([(alias.clone(), String::new())]).collect();
                    Ok(ImagePatch { aliases: Some(aliases), ..ImagePatch::default() })
                };
                self.records.edit(who, image.id, make).await?
            }
        };
        Ok(Pulled { image, change: PullChange::Present })
    }

    /// Gives an image its names: in the place of the one that has them now, in one step.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that another image got meanwhile; `Forbidden`.
    pub(super) async fn settle(&self, who: &Caller, image: Image, found: &Found, is_new: bool) -> Result<Pulled> {
        let holder = self.holder(who, &found.place, found.architecture).await?.filter(|holder| holder.id != image.id);
        let has_name = |image: &Image| image.name.as_deref() == Some(&*found.alias);
        let is_named = has_name(&image) || holder.as_ref().is_some_and(has_name);
        let is_called = !is_named && self.is_called(who, &image, found).await?;
        let stands_back = is_called || (holder.is_some() && !found.takes_place);
        let mut superseded = holder.as_ref().filter(|_| is_called).map(|holder| holder.id);
        let mut current = image;
        if let Some(holder) = holder.filter(|_| !stands_back) {
            superseded = Some(holder.id);
            let new = Copied { image: current, is_new };
            current = self.mirror.take_the_place(who, &holder, new, Leaving::Superseded).await?.image;
        }
        let current = self.name(who, current, found, stands_back).await?;
        match superseded.filter(|_| is_called) {
            // It had no more than the name of its build, which stays its own.
            Some(before) => self.retire(who, before).await?,
            None if !stands_back => self.clear(who, &current, found).await?,
            None => {}
        }
        let change = match (superseded, is_new) {
            (Some(_), _) => PullChange::Newer,
            (None, true) => PullChange::New,
            (None, false) => PullChange::Present,
        };
        Ok(Pulled { image: current, change })
    }

    /// Marks images that an interrupted pull left without names as superseded: this one is newer, and nothing else would find them.
    async fn clear(&self, who: &Caller, current: &Image, found: &Found) -> Result<()> {
        for image in self.pulled_for(who, &found.place, found.architecture).await? {
            if image.id != current.id && is_unsettled(&image) && is_ours(&image, found) {
                self.retire(who, image.id).await?;
            }
        }
        Ok(())
    }

    /// Marks an image as superseded by one that did not take its place.
    async fn retire(&self, who: &Caller, id: ImageId) -> Result<()> {
        let now = self.core.now();
        let change = move |who: &Caller, row: &mut Image| {
            who.may_change(row)?;
            supersede(row, now);
            Ok(())
        };
        self.records.amend(who, id, change).await.map(drop)
    }

    /// Writes down of an image that is here what was learnt of it: a higher level, and that it is to stay.
    pub(super) async fn mark(
        &self,
        who: &Caller,
        image: Image,
        evidence: Option<&Evidence>,
        pins: bool,
    ) -> Result<Image> {
        let Some(origin) = Provenance::of(&image) else { return Ok(image) };
        // A digest on the caller's word takes nothing from documents by which the image can be proved again.
        let is_words = |evidence: &Evidence| evidence.level == Level::Given && !origin.evidence.documents.is_empty();
        let is_higher = |evidence: &&Evidence| evidence.level > origin.evidence.level && !is_words(evidence);
        let Some((evidence, at)) = evidence
            .filter(is_higher)
            .map(|evidence| (evidence.clone(), written(self.core.now())))
            .or_else(|| (pins && !origin.is_pinned).then(|| (origin.evidence.clone(), origin.verified_at.clone())))
        else {
            return Ok(image);
        };
        let marked = Provenance { evidence, verified_at: at, is_pinned: pins || origin.is_pinned, ..origin };
        let make = |_: &Image| Ok(ImagePatch { own_properties: marked.properties(), ..ImagePatch::default() });
        self.records.edit(who, image.id, make).await
    }

    /// Puts an image in sight, under the names that it lacks.
    async fn name(&self, who: &Caller, image: Image, found: &Found, stands_back: bool) -> Result<Image> {
        let mut missing = BTreeMap::new();
        for alias in found.aliases.iter().filter(|alias| !image.aliases.contains_key(*alias)) {
            match self.with_alias(who, alias, image.architecture, image.is_container()).await? {
                None => drop(missing.insert(alias.clone(), String::new())),
                // `latest` stands for another release from now on.
                Some(holder) if found.place.admits(&holder) => self.hand_over(who, alias, &holder, &image).await?,
                // Taken since it was looked for.
                Some(_) if found.demands(alias) => return Err(Reason::AliasTaken.about(alias)),
                Some(_) => {}
            }
        }
        if missing.is_empty() && !is_unsettled(&image) {
            return self.records.get(who, image.id).await;
        }
        let (may_publish, now) = (self.core.limits.publish.allows(who), self.core.now());
        let make = |row: &Image| {
            // By the row: its owner may have settled it meanwhile, and keeps it private.
            let was_unsettled = is_unsettled(row);
            let publishes = was_unsettled && may_publish;
            let mut named = row.clone();
            if was_unsettled && !stands_back {
                instate(&mut named, now);
            }
            named.aliases.extend(missing.clone());
            Ok(ImagePatch {
                name: Some(named.name),
                hidden: was_unsettled.then_some(false),
                visibility: publishes.then_some(Visibility::Public),
                aliases: Some(named.aliases),
                ..ImagePatch::default()
            })
        };
        self.records.edit(who, image.id, make).await
    }

    /// Moves an alias from one pulled image to another, in one step.
    async fn hand_over(&self, who: &Caller, alias: &str, from: &Image, to: &Image) -> Result<()> {
        let (first, second) = (who.clone(), who.clone());
        let (leaves, comes) = (alias.to_owned(), alias.to_owned());
        let leave: Amend = Box::new(move |row| {
            first.may_change(row)?;
            let mut row = row.clone();
            row.aliases.remove(&leaves);
            Ok(Some(row))
        });
        let enter: Amend = Box::new(move |row| {
            second.may_change(row)?;
            let mut row = row.clone();
            row.aliases.insert(comes.clone(), String::new());
            check(&row)?;
            Ok(Some(row))
        });
        self.core.catalog.amend_together(vec![(from.id, leave), (to.id, enter)]).await.map(drop)
    }
}

/// Tells if an image may be followed by the one that was found.
fn is_ours(image: &Image, found: &Found) -> bool {
    Provenance::of(image).is_some_and(|origin| origin.alias == found.alias && found.place.is_of(&origin))
}

/// True for an image that was made, and has not got its names: a pull was interrupted between the two.
fn is_unsettled(image: &Image) -> bool {
    let has_its_build = |origin: Provenance| image.name.as_ref() == Some(&origin.name);
    image.hidden && !is_superseded(image) && Provenance::of(image).is_some_and(has_its_build)
}
