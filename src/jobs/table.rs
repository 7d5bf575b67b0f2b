//! The table of jobs, by id and by image, and its bounds. Knows nothing of the work.
//!
//! The lock of the table is taken before that of a job, never after.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Entry, Job, JobId};
use crate::error::{Reason, Result};
use crate::image::{ImageId, Timestamp};

/// All jobs that are not forgotten.
#[derive(Default)]
pub(super) struct JobTable {
    entries: BTreeMap<JobId, Arc<Entry>>,
    /// Jobs that have an image, in the order of their begin. Over all images it has at most one entry a job: what a page of
    /// a list reads of it is bounded by the number of jobs, whatever the page shows.
    by_image: BTreeMap<(ImageId, u64), Arc<Entry>>,
}

impl JobTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Arc<Entry>> {
        self.entries.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Jobs of an image, newest first.
    pub(super) fn of_image(&self, image: ImageId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_image.range((image, 0)..=(image, u64::MAX)).rev().map(|(_, entry)| entry)
    }

    /// Adds a job, for which the oldest ended jobs of its class make room.
    ///
    /// # Errors
    /// `Busy` when too many have not ended.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Result<()> {
        let new = entry.show();
        self.make_room(&new)?;
        if let Some(image) = new.image {
            self.by_image.insert((image, entry.order), Arc::clone(&entry));
        }
        self.entries.insert(entry.id, entry);
        Ok(())
    }

    /// Sets the image of a job that has not ended.
    pub(super) fn set_image(&mut self, entry: &Arc<Entry>, image: ImageId) {
        let mut state = entry.state();
        if state.job.status.is_final() || !self.entries.contains_key(&entry.id) {
            return;
        }
        if let Some(former) = state.job.image.replace(image) {
            self.by_image.remove(&(former, entry.order));
        }
        self.by_image.insert((image, entry.order), Arc::clone(entry));
    }

    fn remove(&mut self, id: JobId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(image) = entry.state().job.image {
            self.by_image.remove(&(image, entry.order));
        }
    }

    /// Forgets jobs that ended long ago.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        let is_old = |entry: &&Arc<Entry>| entry.state().job.forgotten_at().is_some_and(|at| at <= now);
        let old: Vec<JobId> = self.entries.values().filter(is_old).map(|entry| entry.id).collect();
        for id in old {
            self.remove(id);
        }
    }

    /// Forgets the oldest ended jobs in the class of a new one, if there are too many.
    ///
    /// # Errors
    /// `Busy` when too many have not ended.
    fn make_room(&mut self, new: &Job) -> Result<()> {
        let class = new.kind.class();
        let limits = class.limits();
        let (mut open, mut own_open, mut ended) = (0, 0, Vec::new());
        for entry in self.entries.values() {
            let state = entry.state();
            if state.job.kind.class() != class {
                continue;
            }
            let own = state.job.owner == new.owner;
            if state.job.ended_at.is_some() {
                ended.push((entry.order, entry.id, own));
            } else {
                (open, own_open) = (open + 1, own_open + usize::from(own));
            }
        }
        if own_open >= limits.open_of_one || open >= limits.open {
            return Err(Reason::TooManyJobs.saying(limits.refusal));
        }
        ended.sort_unstable();
        let spare = |count: usize, max: usize| (count + 1).saturating_sub(max);
        let own: Vec<JobId> = ended.iter().filter(|(_, _, own)| *own).map(|(_, id, _)| *id).collect();
        for id in own.iter().take(spare(own.len(), limits.kept_of_one)) {
            self.remove(*id);
        }
        let rest: Vec<JobId> = ended.iter().map(|(_, id, _)| *id).filter(|id| self.entries.contains_key(id)).collect();
        for id in rest.iter().take(spare(rest.len(), limits.kept)) {
            self.remove(*id);
        }
        Ok(())
    }
}
