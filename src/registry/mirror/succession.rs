//! Successions: a newer image takes the place of an older one. Knows no protocol of our clients.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::{Amend, not_found};
use crate::error::{Kind, Result};
use crate::image::change::check;
use crate::image::{Image, Status, Visibility};
use crate::registry::Caller;
use crate::registry::mirror::pull::Copied;
use crate::registry::mirror::service::Mirror;
use crate::registry::policy::Action;
use crate::registry::pulls::provenance::{instate, supersede};
use crate::registry::removal::take_out_of_sight;

/// Fate of an image that another one replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Leaving {
    /// It is removed.
    Removed,
    /// It stays, without its aliases and under the name of its build.
    Superseded,
}

impl Mirror {
    /// Replaces an image by another in one step: every alias stands for one of the two at any moment. A protected one stays, and
    /// only loses its aliases and its automatic update.
    ///
    /// # Errors
    /// `NotFound` when the old image was removed meanwhile, and the new one was made to replace it; `Forbidden`.
    pub(in crate::registry) async fn take_the_place(
        &self,
        who: &Caller,
        old: &Image,
        new: Copied,
        leaving: Leaving,
    ) -> Result<Copied> {
        let Copied { image: new, is_new } = new;
        let now = self.core.now();
        let (first, second) = (who.clone(), who.clone());
        // The new image gets what the old one has at the moment of the replacement.
        let handed = Arc::new(Mutex::new(None));
        let taken = Arc::clone(&handed);
        let leave: Amend = Box::new(move |row| {
            first.may(Action::RefreshImage, row)?;
            if row.status != Status::Available {
                return Err(not_found(row.id));
            }
            *handed.lock().unwrap_or_else(PoisonError::into_inner) = Some(row.clone());
            let mut row = row.clone();
            row.aliases.clear();
            match leaving {
                Leaving::Superseded => supersede(&mut row, now),
                // Otherwise it would be replaced again and again, and lose every new alias.
                Leaving::Removed if row.protected => row.auto_update = false,
                Leaving::Removed => take_out_of_sight(&mut row, now),
            }
            Ok(Some(row))
        });
        let enter: Amend = Box::new(move |row| {
            second.may(Action::RefreshImage, row)?;
            let mut row = row.clone();
            let Some(old) = taken.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return Ok(Some(row)) };
            row.aliases.extend(old.aliases);
            if is_new {
                (row.visibility, row.members, row.auto_update) = (old.visibility, old.members, old.auto_update);
            } else if old.visibility == Visibility::Public {
                row.visibility = Visibility::Public;
            }
            // An image that was stored in another way follows the alias from now on.
            if row.update_source.is_none() {
                (row.update_source, row.auto_update) = (old.update_source, old.auto_update);
            }
            if leaving == Leaving::Superseded {
                instate(&mut row, now);
            }
            check(&row)?;
            Ok(Some(row))
        });
        let id = new.id;
        let entered = match self.core.catalog.amend_together(vec![(old.id, leave), (id, enter)]).await {
            Err(error) if error.kind() == Kind::NotFound => {
                let entered = self.core.catalog.get(id).await?;
                // The owner removed the old image, and wants no successor.
                if is_new && entered.revision == new.revision {
                    self.removal.delete(&Caller::Admin(None), id).await?;
                    return Err(error);
                }
                // Another refresh ran concurrently and finished first.
                Some(entered)
            }
            entered => entered?,
        };
        if let Ok(old) = self.core.catalog.get(old.id).await
            && old.status == Status::Deleting
        {
            let _ = self.removal.remove_deleted(old).await;
        }
        Ok(Copied { image: entered.ok_or_else(|| not_found(id))?, is_new: true })
    }
}
