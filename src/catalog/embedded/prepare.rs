//! Turns requested changes into one batch: each is checked against the stored rows and the changes before it.
//!
//! Runs in the one writer, so a check stays true until the batch is written. Writes nothing itself.

use std::collections::HashMap;

use super::journal::{Bond, LINE_BYTES_MAX, delete_line, put_line};
use super::open;
use super::retired_ids::Spent;
use super::state::State;
use crate::catalog::engine::{Batch, Engine, KeyRange, Table};
use crate::catalog::index::{alias_prefix, value_prefix};
use crate::catalog::keys::id_of;
use crate::error::{Error, Reason, Result};
use crate::image::query::AliasScope;
use crate::image::{Attr, Image, ImageId, Status};

/// Outcome of an amendment: a new version of the image, its removal, or a refusal.
pub type Amend = Box<dyn Fn(&Image) -> Result<Option<Image>> + Send>;

/// A change of the catalogue.
pub(crate) enum CatalogChange {
    /// A new image. `AlreadyExists` if its id is taken.
    Insert(Image),
    /// A new version of an image. `Precondition` unless the stored revision equals the image's.
    Replace(Image),
    /// Removal of an image. `Precondition` unless this is the stored revision.
    Remove(ImageId, u64),
    /// Amendment of the stored version, of any revision. `NotFound` without one. The function may run again.
    Amend(ImageId, Amend),
    /// Several changes: all or, if one is refused, none. The outcome is that of the last one.
    Together(Vec<(ImageId, Amend)>),
}

/// A row as an engine has it: the image, and its bytes.
type Stored = Option<(Image, Vec<u8>)>;

/// A batch under construction.
#[derive(Default)]
pub(crate) struct Pending {
    /// Lines for the journal.
    pub(crate) lines: Vec<u8>,
    pub(crate) line_count: u64,
    /// Batch for the engine.
    pub(crate) writes: Batch,
    /// Images that this batch touches, as it leaves them.
    pub(crate) images: HashMap<ImageId, Stored>,
    pub(crate) outcomes: Vec<Result<Option<Image>>>,
}

/// Context for preparing a change. The outer error of its methods says why the engine can't be read; the inner one is the
/// refusal for the requester.
pub(crate) struct ChangeDraft<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) spent: &'a Spent,
    pub(crate) state: &'a mut State,
    pub(crate) pending: &'a mut Pending,
}

impl ChangeDraft<'_> {
    /// Adds a change to the batch, if it is allowed.
    pub(crate) fn add(&mut self, change: &CatalogChange) -> Result<Result<Option<Image>>, String> {
        match change {
            CatalogChange::Insert(image) | CatalogChange::Replace(image) => self.one(image.id, change),
            CatalogChange::Remove(id, _) | CatalogChange::Amend(id, _) => self.one(*id, change),
            CatalogChange::Together(amends) => self.together(amends),
        }
    }

    fn together(&mut self, amends: &[(ImageId, Amend)]) -> Result<Result<Option<Image>>, String> {
        let (lines, line_count) = (self.pending.lines.len(), self.pending.line_count);
        let (writes, state) = (self.pending.writes.writes.len(), *self.state);
        let before: Vec<_> = amends.iter().map(|(id, _)| (*id, self.pending.images.get(id).cloned())).collect();
        let mut outcome = Ok(None);
        for (at, (id, amend)) in amends.iter().enumerate() {
            outcome = self.amended(*id, amend, Bond { rest: at > 0, more: at + 1 < amends.len() })?;
            if outcome.is_ok() {
                continue;
            }
            // As if no change had been requested.
            self.pending.lines.truncate(lines);
            self.pending.writes.writes.truncate(writes);
            (self.pending.line_count, *self.state) = (line_count, state);
            for (id, image) in before {
                match image {
                    Some(image) => self.pending.images.insert(id, image),
                    None => self.pending.images.remove(&id),
                };
            }
            break;
        }
        Ok(outcome)
    }

    fn amended(&mut self, id: ImageId, amend: &Amend, bond: Bond) -> Result<Result<Option<Image>>, String> {
        let old = self.row(id)?;
        let Some((image, _)) = &old else { return Ok(Err(crate::catalog::not_found(id))) };
        match amend(image) {
            Ok(new) => self.put(id, old, new, bond),
            Err(error) => Ok(Err(error)),
        }
    }

    fn one(&mut self, id: ImageId, change: &CatalogChange) -> Result<Result<Option<Image>>, String> {
        let bond = Bond::default();
        if let CatalogChange::Amend(id, amend) = change {
            return self.amended(*id, amend, bond);
        }
        let old = self.row(id)?;
        let old_revision = old.as_ref().map(|(image, _)| image.revision);
        let refusal = match change {
            CatalogChange::Insert(_) if old.is_some() => Some(Reason::ImageExists.about(id)),
            // Removed by this very batch, or earlier.
            CatalogChange::Insert(_) if self.pending.images.contains_key(&id) || self.spent.has(id) => {
                Some(Reason::IdRetired.about(id))
            }
            CatalogChange::Replace(image) if old_revision != Some(image.revision) => Some(stale(id)),
            CatalogChange::Remove(_, revision) if old_revision != Some(*revision) => Some(stale(id)),
            _ => None,
        };
        match (refusal, change) {
            (Some(refusal), _) => Ok(Err(refusal)),
            (None, CatalogChange::Insert(image) | CatalogChange::Replace(image)) => {
                self.put(id, old, Some(image.clone()), bond)
            }
            (None, _) => self.put(id, old, None, bond),
        }
    }

    /// The image after the changes so far.
    fn row(&self, id: ImageId) -> Result<Stored, String> {
        match self.pending.images.get(&id) {
            Some(known) => Ok(known.clone()),
            None => open::stored(self.engine, id),
        }
    }

    fn put(
        &mut self,
        id: ImageId,
        old: Stored,
        new: Option<Image>,
        bond: Bond,
    ) -> Result<Result<Option<Image>>, String> {
        let seq = self.state.seq + 1;
        let new = new.map(|image| Image { revision: seq, ..image });
        if let Some(new) = &new
            && let Err(error) = self.check_names(old.as_ref().map(|(old, _)| old), new)?
        {
            return Ok(Err(error));
        }
        let line = match &new {
            Some(image) => put_line(seq, image, bond),
            None => delete_line(seq, id, bond),
        };
        let (line, new) = match (line, new.map(open::with_row).transpose()) {
            (Ok(line), Ok(new)) => (line, new),
            (Err(error), _) => return Ok(Err(Error::internal(error))),
            (_, Err(error)) => return Ok(Err(Error::internal(error))),
        };
        // Far above the limits of images; but a line that can't be read again must not be acknowledged.
        if line.len() as u64 > LINE_BYTES_MAX {
            return Ok(Err(Error::invalid("The record is too large to be kept.")));
        }
        self.pending.lines.extend(line);
        self.pending.line_count += 1;
        open::apply(self.state, seq, id, old.as_ref(), new.as_ref(), &mut self.pending.writes);
        self.pending.images.insert(id, new.clone());
        Ok(Ok(new.map(|(image, _)| image)))
    }

    /// Checks names, which are unique within their owner: a fingerprint, and an alias for each architecture and kind.
    fn check_names(&self, old: Option<&Image>, new: &Image) -> Result<Result<()>, String> {
        let place = |image: &Image| (image.owner.clone(), image.alias_slot());
        let stays = |alias: &String, old: &Image| old.aliases.contains_key(alias) && place(old) == place(new);
        let scope = AliasScope::Owner(new.owner.clone());
        for alias in new.aliases.keys().filter(|alias| !old.is_some_and(|old| stays(alias, old))) {
            let has_it = |other: &Image| other.aliases.contains_key(alias) && place(other) == place(new);
            if self.another(new.id, &alias_prefix(alias, &scope), has_it)? {
                return Ok(Err(Reason::AliasTaken.about(alias)));
            }
        }
        let named = |image: &Image| image.fingerprint().map(|fingerprint| (fingerprint, image.owner.clone()));
        if named(new) != old.and_then(named)
            && let Some(fingerprint) = new.fingerprint()
        {
            let same = |other: &Image| other.fingerprint() == Some(fingerprint) && other.owner == new.owner;
            let value = Attr::Fingerprint.read(new);
            if let Some(prefix) = value.and_then(|value| value_prefix(Attr::Fingerprint, &value))
                && self.another(new.id, &prefix, same)?
            {
                return Ok(Err(Reason::FingerprintTaken.into()));
            }
        }
        Ok(Ok(()))
    }

    /// Tells whether any image but `id`, with these index entries or changed by this batch, is `meant` after the changes
    /// so far.
    fn another(&self, id: ImageId, prefix: &[u8], meant: impl Fn(&Image) -> bool) -> Result<bool, String> {
        // An image that is being deleted has no names any more.
        let meant = |image: &Image| image.id != id && image.status != Status::Deleting && meant(image);
        if self.pending.images.values().flatten().any(|(image, _)| meant(image)) {
            return Ok(true);
        }
        let range = KeyRange::prefix(Table::Index, prefix);
        let entries = self.engine.scan(&range, false, usize::MAX).map_err(|error| error.to_string())?;
        for id in entries.iter().filter_map(|(key, _)| id_of(key)).filter(|id| !self.pending.images.contains_key(id)) {
            if open::stored(self.engine, id)?.is_some_and(|(image, _)| meant(&image)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn stale(id: ImageId) -> Error {
    Reason::ChangedMeanwhile.about(id)
}
