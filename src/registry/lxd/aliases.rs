//! Names that stand for images. One stands for one image at a time, whosever it is, and moves from one to another in a single
//! step.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::change::check;
use crate::image::{Image, ImageId};
use crate::registry::Caller;
use crate::registry::lxd::service::LxdImages;
use crate::registry::policy::Action;

/// An alias, and what it stands for.
#[derive(Debug, Clone)]
pub struct Alias {
    /// Its name.
    pub name: String,
    /// What somebody said about it.
    pub description: String,
    /// The image.
    pub image: Image,
}

impl LxdImages {
    /// An alias.
    ///
    /// # Errors
    /// `NotFound`, also for one of an image that the caller may not know of.
    pub async fn alias(&self, who: &Caller, name: &str) -> Result<Alias> {
        let image = self.by_alias(who, name).await?;
        let description = image.aliases.get(name).cloned().unwrap_or_default();
        Ok(Alias { name: name.to_owned(), description, image })
    }

    /// Lets a name stand for an image.
    ///
    /// # Errors
    /// `NotFound` image, `Forbidden`; `AlreadyExists`; `Invalid` name or description, `TooMany` of one image.
    pub async fn add_alias(&self, who: &Caller, id: ImageId, name: &str, description: &str) -> Result<Image> {
        self.check_free(who, name).await?;
        let (name, description) = (name.to_owned(), description.to_owned());
        let add = amended(who, move |image| {
            image.aliases.insert(name.clone(), description.clone());
            Ok(())
        });
        self.core.catalog.amend(id, add).await?.ok_or_else(|| not_found(id))
    }

    /// Lets an alias stand for another image, or says something else about it. `expect` is shown it as it is in the moment of the
    /// change, and may refuse.
    ///
    /// # Errors
    /// As [`LxdImages::add_alias`]; `NotFound` alias, what `expect` says.
    pub async fn change_alias(
        &self,
        who: &Caller,
        name: &str,
        target: Option<ImageId>,
        description: Option<&str>,
        expect: impl Fn(&Alias) -> Result<()> + Send + 'static,
    ) -> Result<Image> {
        let holder = self.holder_of(who, name).await?.ok_or_else(unknown)?;
        let (target, said) = (target.unwrap_or(holder.id), description.map(ToOwned::to_owned));
        // What is said about it goes along when nothing new is said.
        let carried = Arc::new(Mutex::new(String::new()));
        let (found, name) = (Arc::clone(&carried), name.to_owned());
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
            let description = image.aliases.get(&name).cloned().ok_or_else(unknown)?;
            expect(&Alias { name: name.clone(), description: description.clone(), image: image.clone() })?;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = description;
            match is_moved {
                true => drop(image.aliases.remove(&name)),
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

    /// Gives an alias another name.
    ///
    /// # Errors
    /// As [`LxdImages::add_alias`]; `NotFound` alias.
    pub async fn rename_alias(&self, who: &Caller, name: &str, new: &str) -> Result<()> {
        let holder = self.holder_of(who, name).await?.ok_or_else(unknown)?;
        if name != new {
            self.check_free(who, new).await?;
        }
        let (old, new, id) = (name.to_owned(), new.to_owned(), holder.id);
        let rename = amended(who, move |image| {
            let description = image.aliases.remove(&old).ok_or_else(unknown)?;
            image.aliases.insert(new.clone(), description);
            Ok(())
        });
        self.core.catalog.amend(id, rename).await.map(drop)
    }

    /// Whether a name stands for nothing yet, as far as the caller may know; the catalogue has the last word.
    async fn check_free(&self, who: &Caller, name: &str) -> Result<()> {
        match self.holder_of(who, name).await? {
            Some(_) => {
                let text = format!("Alias \"{}\" already exists", name.escape_default());
                Err(Error::new(Kind::AlreadyExists, text))
            }
            None => Ok(()),
        }
    }

    /// Removes an alias. Its image stays.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn remove_alias(&self, who: &Caller, name: &str) -> Result<Image> {
        let holder = self.holder_of(who, name).await?.ok_or_else(unknown)?;
        let name = name.to_owned();
        let remove = amended(who, move |image| image.aliases.remove(&name).map(drop).ok_or_else(unknown));
        self.core.catalog.amend(holder.id, remove).await?;
        Ok(holder)
    }
}

/// The answer to a name that stands for nothing that the caller may know of.
pub(in crate::registry) fn unknown() -> Error {
    Error::new(Kind::NotFound, "Image alias not found")
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
