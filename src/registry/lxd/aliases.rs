//! Aliases: names that an account gives to its images, one image for each architecture and kind. An alias moves between
//! images in a single step. `registry/naming.rs` says which image a name stands for. Knows no protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::not_found;
use crate::error::{Error, Reason, Result};
use crate::image::change::check;
use crate::image::query::{AliasScope, Direction, Filter, Query, Sort};
use crate::image::{AliasSlot, Attr, Image, ImageId};
use crate::registry::Caller;
use crate::registry::lxd::service::LxdImages;
use crate::registry::naming::{NameRequest, NameSet, Precedence, aliases_of, find};
use crate::registry::pages::Pages;
use crate::registry::policy::Action;

/// Records that are read together.
const PAGE: usize = 256;

/// An alias, and the image that it stands for.
#[derive(Debug, Clone)]
pub struct Alias {
    /// Name of the alias.
    pub name: String,
    /// Description that a client gave.
    pub description: String,
    /// Fingerprint of the image.
    pub fingerprint: Option<[u8; 32]>,
    /// Architecture and kind of the image.
    pub slot: AliasSlot,
}

impl Alias {
    fn of(image: &Image, name: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            fingerprint: image.fingerprint(),
            slot: image.alias_slot(),
        }
    }

    /// The alias of an image; none if the image has none of this name.
    fn named(image: &Image, name: &str) -> Option<Self> {
        aliases_of(image).get(name).map(|description| Self::of(image, name, description))
    }
}

/// Name of an alias as its image has it: a request may name the architecture too.
fn spelled<'a>(image: &Image, asked: &'a NameRequest) -> &'a str {
    match aliases_of(image).contains_key(asked.name.as_str()) {
        true => &asked.name,
        false => asked.name.rsplit_once('/').map_or(&asked.name, |(name, _)| name),
    }
}

impl LxdImages {
    /// Finds an alias.
    ///
    /// # Errors
    /// `NotFound`, also when the caller may not know of its image.
    pub async fn alias(&self, who: &Caller, asked: &NameRequest) -> Result<Alias> {
        let image = self.by_alias(who, asked).await?;
        let alias = Alias::named(&image, spelled(&image, asked)).ok_or_else(unknown)?;
        // A client compares the name with the one that it asked for.
        Ok(Alias { name: asked.name.clone(), ..alias })
    }

    /// Lists the aliases in the caller's own name space, in the order of their names: clients remove an alias that they find
    /// in this list before they give its name to another image. Each stands for one image of its architecture and kind.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn own_aliases(&self, who: &Caller) -> Result<Vec<Alias>> {
        let mut all = BTreeMap::<(String, bool, Option<&str>), (Precedence, Alias)>::new();
        let filter = Self::all().and(who.name_space());
        let sort = Sort::by(Attr::Fingerprint, Direction::Ascending);
        let mut pages = Pages::new(&self.core.catalog, Query { filter, sort, limit: PAGE, after: None }, usize::MAX);
        while let Some(images) = pages.next().await? {
            for image in &images {
                for (name, description) in aliases_of(image) {
                    let (slot, precedence) = (image.alias_slot(), Precedence::of(image, name));
                    let architecture = slot.architecture.map(crate::image::Architecture::name);
                    let key = (name.to_owned(), !slot.is_container, architecture);
                    if all.get(&key).is_none_or(|(other, _)| precedence < *other) {
                        all.insert(key, (precedence, Alias::of(image, name, description)));
                    }
                }
            }
        }
        Ok(all.into_values().map(|(_, alias)| alias).collect())
    }

    /// Adds an alias to an image.
    ///
    /// # Errors
    /// `NotFound` image, `Forbidden`; `AlreadyExists`; `Invalid` name or description, `TooMany` of one image.
    pub async fn add_alias(&self, who: &Caller, id: ImageId, name: &str, description: &str) -> Result<Image> {
        // Names of an account are no business of those who may not change its images.
        let image = self.core.catalog.get(id).await?;
        who.may(Action::ChangeAlias, &image)?;
        self.check_free(&image, name).await?;
        let (name, description) = (name.to_owned(), description.to_owned());
        let add = amended(who, move |image| {
            image.aliases.insert(name.clone(), description.clone());
            Ok(())
        });
        self.core.catalog.amend(id, add).await?.ok_or_else(|| not_found(id))
    }

    /// Moves an alias to another image, or changes its description. Of several images with the alias, the one of the
    /// target's architecture and kind loses it. `expect` sees the alias at the moment of the change, and may refuse.
    ///
    /// # Errors
    /// As [`LxdImages::add_alias`]; `NotFound` alias, errors of `expect`.
    pub async fn change_alias(
        &self,
        who: &Caller,
        asked: &NameRequest,
        target: Option<ImageId>,
        description: Option<&str>,
        expect: impl Fn(&Alias) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let holder = self.holder_beside(who, asked, target).await?;
        let (target, said) = (target.unwrap_or(holder.id), description.map(ToOwned::to_owned));
        // The description moves along unless a new one is given.
        let carried = Arc::new(Mutex::new(String::new()));
        let (found, name) = (Arc::clone(&carried), spelled(&holder, asked).to_owned());
        // As a client was shown it.
        let shown = asked.name.clone();
        let is_moved = target != holder.id;
        let put = {
            let name = name.clone();
            move |image: &mut Image| {
                let carried = carried.lock().unwrap_or_else(PoisonError::into_inner).clone();
                image.aliases.insert(name.clone(), said.clone().unwrap_or(carried));
            }
        };
        let arrive = put.clone();
        let leave = amended(who, move |image| {
            let alias = Alias::named(image, &name).ok_or_else(unknown)?;
            let alias = Alias { name: shown.clone(), ..alias };
            expect(&alias)?;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = alias.description;
            match is_moved {
                true => take(image, &name).map(drop)?,
                false => put(image),
            }
            Ok(())
        });
        let changed = if is_moved {
            let arrive = amended(who, move |image| {
                arrive(image);
                Ok(())
            });
            self.core.catalog.amend_together(vec![(holder.id, Box::new(leave)), (target, Box::new(arrive))]).await?
        } else {
            self.core.catalog.amend(target, leave).await?
        };
        changed.ok_or_else(|| not_found(target))
    }

    /// Renames an alias.
    ///
    /// # Errors
    /// As [`LxdImages::add_alias`]; `NotFound` alias.
    pub async fn rename_alias(&self, who: &Caller, asked: &NameRequest, new: &str) -> Result<()> {
        let holder = self.holder_of(who, asked).await?;
        who.may(Action::ChangeAlias, &holder)?;
        let (old, new, id) = (spelled(&holder, asked).to_owned(), new.to_owned(), holder.id);
        if old != new {
            self.check_free(&holder, &new).await?;
        }
        let rename = amended(who, move |image| {
            let description = take(image, &old)?;
            image.aliases.insert(new.clone(), description);
            Ok(())
        });
        self.core.catalog.amend(id, rename).await.map(drop)
    }

    /// Removes an alias. The image stays.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn remove_alias(&self, who: &Caller, asked: &NameRequest) -> Result<Image> {
        let holder = self.holder_of(who, asked).await?;
        let name = spelled(&holder, asked).to_owned();
        let remove = amended(who, move |image| take(image, &name).map(drop));
        self.core.catalog.amend(holder.id, remove).await?;
        Ok(holder)
    }

    /// Finds the image that has an alias, even when it is not offered at the moment.
    async fn holder_of(&self, who: &Caller, asked: &NameRequest) -> Result<Image> {
        find(&self.core, who, NameSet::Held, asked).await?.ok_or_else(unknown)
    }

    /// Finds the image that loses an alias when the target gets it: the one of the target's architecture and kind, or else
    /// the one that the alias stands for.
    async fn holder_beside(&self, who: &Caller, asked: &NameRequest, target: Option<ImageId>) -> Result<Image> {
        let holder = self.holder_of(who, asked).await?;
        let Some(target) = target.filter(|target| *target != holder.id) else { return Ok(holder) };
        let target = self.core.catalog.get(target).await?;
        let rival = self.given_to(&target, spelled(&holder, asked)).await?;
        Ok(rival.filter(|rival| who.may(Action::ChangeAlias, rival).is_ok()).unwrap_or(holder))
    }

    /// Finds the image of one owner, architecture and kind that an alias was given to.
    async fn given_to(&self, like: &Image, name: &str) -> Result<Option<Image>> {
        let filter = Filter::Alias(name.to_owned(), AliasScope::Owner(like.owner.clone()));
        // At most one for each architecture and kind, because the catalogue keeps an alias to one.
        let query = Query { filter, sort: Sort::default(), limit: usize::MAX, after: None };
        let found = self.core.catalog.list(&query).await?.images;
        Ok(found.into_iter().find(|image| image.alias_slot() == like.alias_slot()))
    }

    /// Checks that an image's owner has not given an alias to an image of its architecture and kind; the catalogue decides
    /// in the end.
    async fn check_free(&self, image: &Image, name: &str) -> Result<()> {
        match self.given_to(image, name).await? {
            Some(_) => Err(Reason::AliasExists.about(name.escape_default())),
            None => Ok(()),
        }
    }
}

/// Takes an alias away from an image, and returns its description. The name of an offered disk is no alias any more.
fn take(image: &mut Image, name: &str) -> Result<String> {
    let description = Alias::named(image, name).ok_or_else(unknown)?.description;
    image.aliases.remove(name);
    if image.name.as_deref() == Some(name) {
        image.name_is_alias = false;
    }
    Ok(description)
}

/// Error for a name without an image that the caller may know of.
pub(in crate::registry) fn unknown() -> Error {
    Reason::AliasNotFound.into()
}

fn amended(
    who: &Caller,
    change: impl Fn(&mut Image) -> Result<()> + Send + 'static,
) -> impl Fn(&Image) -> Result<Option<Image>> + Send + 'static {
    let who = who.clone();
    move |row| {
        who.may(Action::ChangeAlias, row)?;
        let mut image = row.clone();
        change(&mut image)?;
        check(&image)?;
        Ok(Some(image))
    }
}
