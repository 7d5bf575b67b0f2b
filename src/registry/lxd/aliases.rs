//! Aliases: names that stand for images. Each is unique on the server, whichever account owns the image, and moves
//! between images in a single step. Knows no protocol.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::not_found;
use crate::error::{Error, Reason, Result};
use crate::image::change::check;
use crate::image::{Image, ImageId};
use crate::registry::Caller;
use crate::registry::lxd::service::LxdImages;
use crate::registry::policy::Action;

/// An alias and its image.
#[derive(Debug, Clone)]
pub struct Alias {
    /// Name of the alias.
    pub name: String,
    /// Description that a client gave.
    pub description: String,
    /// Image that the alias stands for.
    pub image: Image,
}

impl LxdImages {
    /// Finds an alias.
    ///
    /// # Errors
    /// `NotFound`, also when the caller may not know of its image.
    pub async fn alias(&self, who: &Caller, name: &str) -> Result<Alias> {
        let image = self.by_alias(who, name).await?;
        let description = image.aliases.get(name).cloned().unwrap_or_default();
        Ok(Alias { name: name.to_owned(), description, image })
    }

    /// Adds an alias to an image.
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

    /// Moves an alias to another image, or changes its description. `expect` sees the alias at the moment of the
    /// change, and may refuse.
    ///
    /// # Errors
    /// As [`LxdImages::add_alias`]; `NotFound` alias, errors of `expect`.
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
        // The description moves along unless a new one is given.
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

    /// Renames an alias.
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

    /// Checks that a name is free, as far as the caller may know; the catalogue decides in the end.
    async fn check_free(&self, who: &Caller, name: &str) -> Result<()> {
        match self.holder_of(who, name).await? {
            Some(_) => Err(Reason::AliasExists.about(name.escape_default())),
            None => Ok(()),
        }
    }

    /// Removes an alias. The image stays.
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
