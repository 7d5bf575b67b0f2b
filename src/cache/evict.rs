//! Room for the cache's own files, and for the builds of images that share its budget: made before it is needed, and counted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::core::{Cache, KeySlot};
use super::fill::Fill;
use super::key::Key;
use super::removable::{Removable, Space, Target, is_idle, listed, weighed};
use super::superseded::{Pruned, Stock, Superseded, SupersededBuild};
use crate::error::{Error, Reason, Result};

/// Time for which it is not asked again how much room images take.
const STOCK_EVERY: Duration = Duration::from_secs(60);

impl Cache {
    /// Lets the builds of images that may go count towards the budget. Once.
    pub fn share_budget(&self, others: Arc<dyn Superseded>) {
        let _ = self.others.set(others);
    }

    /// Bytes of all files that the budget is for.
    pub(super) fn used(&self) -> u64 {
        let builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner).map_or(0, |(_, bytes)| bytes);
        let index = self.index();
        let of_slot = |slot: &KeySlot| {
            let held = slot.held.as_ref().map_or(0, |held| held.size());
            let fill = slot.fill.as_ref().map_or(0, |fill| fill.reserved.load(Ordering::SeqCst));
            let partial = slot.partial.as_ref().map_or(0, |sidecar| sidecar.bytes());
            held + fill + partial
        };
        let suspects: u64 = index.suspects.values().map(|suspect| suspect.entry.size).sum();
        builds + suspects + index.slots.values().map(of_slot).sum::<u64>()
    }

    /// Sets room aside for a fill, so that it has `bytes` of it; makes room if there is too little.
    ///
    /// # Errors
    /// `StoreFull` with what is missing, before anything is removed.
    pub(super) async fn reserve(&self, fill: &Fill, bytes: u64) -> Result<()> {
        let _one = self.room.lock().await;
        let more = bytes.saturating_sub(fill.reserved.load(Ordering::SeqCst));
        if more == 0 {
            return Ok(());
        }
        let mut listed = None;
        if self.others.get().is_some() && !self.knows_builds() {
            listed = Some(self.candidates().await?);
        }
        let mut missing = self.missing(more)?;
        if !missing.is_none() {
            let candidates = match listed {
                Some(listed) => listed,
                None => self.candidates().await?,
            };
            let gain = candidates.iter().fold(Space::default(), |sum, candidate| sum.plus(candidate.gain));
            missing = self.missing(more)?;
            let lacking = missing.minus(gain);
            if lacking.is_none() {
                self.remove_for(missing, candidates, false).await?;
                missing = self.missing(more)?;
            } else {
                missing = lacking;
            }
        }
        if !missing.is_none() {
            let words = format!(
                "There is no room for {} in the cache: {} bytes are missing. See cache.budget and cache.free_min, and \
                 what can go.",
                fill.key.shown(),
                missing.largest()
            );
            return Err(Reason::StoreFull.saying(words));
        }
        fill.reserved.fetch_add(more, Ordering::SeqCst);
        Ok(())
    }

    /// Room that has to be made so that `more` bytes can come.
    fn missing(&self, more: u64) -> Result<Space> {
        let budget = self.settings.budget.map_or(0, |budget| (self.used() + more).saturating_sub(budget));
        let disk =
            rustix::fs::statvfs(self.shelf.dir()).map_err(|error| Error::internal(std::io::Error::from(error)))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // What is set aside for transfers and did not come yet is not free.
        let pending: u64 = {
            let index = self.index();
            let fills = index.slots.values().filter_map(|slot| slot.fill.as_ref());
            let open = |fill: &Arc<Fill>| fill.reserved.load(Ordering::SeqCst).saturating_sub(fill.here());
            fills.map(open).sum()
        };
        Ok(Space { budget, disk: (self.settings.free_min + pending + more).saturating_sub(free) })
    }

    /// Removes files until those that are left have `to` bytes, or as many as the budget allows; with `dry`, only says which.
    ///
    /// # Errors
    /// `Internal` when the disk fails.
    pub async fn prune(&self, to: Option<u64>, dry: bool) -> Result<Vec<Pruned>> {
        let _one = self.room.lock().await;
        let candidates = self.candidates().await?;
        let missing = match to {
            Some(to) => Space { budget: self.used().saturating_sub(to), disk: 0 },
            None => self.missing(0)?,
        };
        self.remove_for(missing, candidates, dry).await
    }

    /// Removes what is overdue, and more until there is the room that is missing.
    async fn remove_for(&self, mut missing: Space, candidates: Vec<Removable>, dry: bool) -> Result<Vec<Pruned>> {
        let mut gone = Vec::new();
        for candidate in candidates {
            if !candidate.gain.helps(missing) && !candidate.overdue {
                continue;
            }
            if !dry && !self.remove(&candidate).await? {
                continue;
            }
            let Removable { target, pruned, gain, of_builds, .. } = candidate;
            if !dry {
                log::info!("the cache removes {} ({} bytes): {}", pruned.what, pruned.bytes, pruned.reason);
                self.counters.count(|stats| *stats.evicted_bytes.entry(target.why()).or_default() += pruned.bytes);
                self.forget_builds(of_builds);
            }
            missing = missing.minus(gain);
            gone.push(pruned);
        }
        Ok(gone)
    }

    /// Files that may go, in the order in which they go.
    async fn candidates(&self) -> Result<Vec<Removable>> {
        let now = self.now().0;
        let stock = match self.others.get() {
            Some(others) => others.stock().await?,
            None => Stock::default(),
        };
        let (all, held) = {
            let index = self.index();
            let held = index.slots.values().filter_map(|slot| slot.held.as_ref());
            (listed(&index, &stock, now), held.map(|held| held.path()).collect::<Vec<_>>())
        };
        let dir = self.shelf.dir().to_path_buf();
        let (all, builds) = spawn_blocking(move || weighed(all, &held, &dir)).await.map_err(Error::internal)?;
        *self.builds.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), builds));
        Ok(all)
    }

    /// Tells if it was seen lately how much room builds take.
    fn knows_builds(&self) -> bool {
        let builds = *self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.is_some_and(|(seen, _)| seen.elapsed() < STOCK_EVERY)
    }

    /// Takes a build that went out of the account.
    fn forget_builds(&self, bytes: i64) {
        if let Some((_, builds)) = &mut *self.builds.lock().unwrap_or_else(PoisonError::into_inner) {
            *builds = builds.saturating_add_signed(-bytes);
        }
    }

    /// Removes a file, if it may still go.
    async fn remove(&self, candidate: &Removable) -> Result<bool> {
        let shelf = Arc::clone(&self.shelf);
        let work: Box<dyn FnOnce() -> std::io::Result<()> + Send> = match &candidate.target {
            Target::Build(build) => return self.remove_build(build).await,
            Target::Quarantined(sha256) => {
                let Some(_) = self.index().suspects.remove(sha256) else { return Ok(false) };
                let sha256 = sha256.clone();
                Box::new(move || shelf.remove_suspect(&sha256))
            }
            Target::Partial(key) => {
                let Some(sidecar) = self.slot(key, |slot| slot.partial.take()) else { return Ok(false) };
                Box::new(move || shelf.remove_partial(&sidecar.id))
            }
            Target::Entry(key) => {
                let Some(held) = self.slot(key, |slot| slot.held.take_if(|held| is_idle(held))) else {
                    return Ok(false);
                };
                Box::new(move || held.doom())
            }
        };
        spawn_blocking(work).await.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(true)
    }

    /// Removes a build of an image, and then the file that it was made of.
    async fn remove_build(&self, build: &SupersededBuild) -> Result<bool> {
        let Some(others) = self.others.get() else { return Ok(false) };
        match others.remove(build).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                log::warn!("{} can't be removed for room: {}", build.what, error.logged());
                return Ok(false);
            }
        }
        let key = Key::parse(&build.url)?;
        if let Some(held) = self.slot(&key, |slot| slot.held.take_if(|held| is_idle(held))) {
            spawn_blocking(move || held.doom()).await.map_err(Error::internal)?.map_err(Error::internal)?;
        }
        Ok(true)
    }
}
