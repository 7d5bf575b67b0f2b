//! Moving names: each is answered by the build that it stands for, which is a key of its own. So no build is glued to another, and
//! all names of a build share its bytes.
//!
//! The vendor's list says which build that is. It is asked once in an hour; as long as it can't be, the last build stands. Each entry
//! has the names that it stands for, or stood, so another run knows them too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::core::Cache;
use super::entry::Entry;
use super::fresh::{self, ASKED_LATELY_US};
use super::key::Key;
use super::names::{MovingName, StandingBuild};
use super::served::{Freshness, Lookup, Outcome, Served, Supply};
use super::shelf::Shelved;
use crate::error::{Reason, Result};
use crate::vendor::proof::Anew;
use crate::vendor::{Documents, Level, is_moving};

/// Time for which a name stands for a build before its list is asked again.
const CURRENT_US: i64 = 3600 * 1_000_000;

/// Pause after a list that can't be asked, or does not have the name.
const PAUSE: Duration = Duration::from_secs(60);

/// Longest time for the answer of a list.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Names that are remembered. They come again with their lists.
const NAMES_MAX: usize = 10_000;

impl Cache {
    /// Answers a request for a key: for a moving name, by its build.
    pub(super) async fn answer_for(self: &Arc<Self>, key: &Key, lookup: &Lookup) -> Result<Served> {
        self.refuse_loop(key, lookup)?;
        let Some(build) = self.build_of(key, lookup.freshness, self.settings.stale_after).await else {
            return self.answer(key, lookup).await;
        };
        match self.answer(&build.key, lookup).await {
            Ok(served) => Ok(self.by_name(key, &build, served)),
            Err(error) => match self.former(key, self.demanded(key, lookup)) {
                Some(older) => self.instead(Some(older), error.into()),
                // The list is ahead of the files.
                None if error.reason() == Reason::UrlNotFound => self.answer(key, lookup).await,
                None => Err(error),
            },
        }
    }

    /// The build that a moving name stands for, or last stood for; `None` for all other keys, and where no list says it. `within` is the
    /// time to wait for its list when there is an older copy.
    pub(super) async fn build_of(
        self: &Arc<Self>,
        key: &Key,
        freshness: Freshness,
        within: Duration,
    ) -> Option<StandingBuild> {
        if !is_moving(key.url()) || fresh::is_document(key) {
            return None;
        }
        let (known, is_paused) = self.known(key);
        let insists = freshness == Freshness::Revalidate;
        let current = if insists { ASKED_LATELY_US } else { CURRENT_US };
        let will_do = known.as_ref().is_some_and(|build| self.now().0 - build.told_at < current);
        let is_silent = self.offline.since().is_some() && known.is_some() || freshness == Freshness::OnlyIfCached;
        if will_do || is_silent || is_paused {
            return known;
        }
        let has_copy = known.is_some() || self.held(key).is_some();
        let within = if has_copy { within } else { ANSWER_WITHIN };
        let mut question = self.ask_for_build(key, known, insists);
        // The answer comes even if this is not waited for.
        let _ = tokio::time::timeout(within, question.wait_for(|ended| *ended)).await;
        self.known(key).0
    }

    /// Build of a moving name as far as it is known, and if its list is not to be asked yet.
    fn known(&self, key: &Key) -> (Option<StandingBuild>, bool) {
        let index = self.index();
        let Some(name) = index.names.get(key) else { return (None, false) };
        (name.build.clone(), name.pause.is_some_and(|until| Instant::now() < until))
    }

    /// Asks the list for the build of a moving name, unless it is being asked already.
    fn ask_for_build(self: &Arc<Self>, key: &Key, known: Option<StandingBuild>, anew: bool) -> watch::Receiver<bool> {
        let mut index = self.index();
        if index.names.len() >= NAMES_MAX {
            index.names.retain(|_, name| name.question.is_some());
        }
        let name = index.names.entry(key.clone()).or_default();
        // One without an asker ended before its time.
        if let Some(question) = name.question.as_ref().filter(|question| question.has_changed().is_ok()) {
            return question.clone();
        }
        let (ended, question) = watch::channel(false);
        name.question = Some(question.clone());
        drop(index);
        let (cache, key) = (Arc::clone(self), key.clone());
        tokio::spawn(async move {
            let found = cache.find_build(&key, known, anew).await;
            if let Err(error) = &found {
                log::info!("it can't be told now which build {} stands for: {}", key.shown(), error.logged());
            }
            let pause = (!matches!(found, Ok(Some(_)))).then(|| Instant::now() + PAUSE);
            {
                let mut index = cache.index();
                let name = index.names.entry(key).or_default();
                let last = name.build.take();
                *name = MovingName { build: found.unwrap_or(last), question: None, pause };
            }
            ended.send_replace(true);
        });
        question
    }

    /// The build that the list of a moving name has; `None` for a name that no vendor says to be one.
    async fn find_build(&self, key: &Key, known: Option<StandingBuild>, anew: bool) -> Result<Option<StandingBuild>> {
        let again = Anew(&*self.documents);
        // A list that is here does for a name that was never asked for, which may be without a network.
        let lists: &dyn Documents = if anew || known.is_some() { &again } else { &*self.documents };
        let held = known.and_then(|build| self.held(&build.key)).map(|held| held.see(|entry| entry.evidence.clone()));
        let asking = self.prover.dated(key.url(), lists, held.as_ref(), self.now());
        let late = |_| Err(Reason::UpstreamDead.about(key.shown()).and("its list did not come in time"));
        let Some(url) = tokio::time::timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(late)? else {
            return Ok(None);
        };
        // Offline it may have been long ago that the list said so.
        let age = if self.offline.since().is_some() { CURRENT_US } else { 0 };
        Ok(Some(StandingBuild { key: Key::parse(&url)?, told_at: self.now().0 - age }))
    }

    /// An answer by a build as one by its name: for how long it stands for the build, and since when.
    fn by_name(&self, name: &Key, build: &StandingBuild, mut served: Served) -> Served {
        let Supply::Held(_, held) = &served.source else { return served };
        if held.see(|entry| entry.names.get(name.url()) != Some(&build.told_at)) {
            let (held, name, told_at) = (Arc::clone(held), name.url().to_owned(), build.told_at);
            spawn_blocking(move || {
                if let Err(error) = held.change(|entry| entry.names.extend([(name, told_at)])) {
                    log::warn!("a name of a file of the cache can't be written down: {error}");
                }
            });
        }
        let age = self.now().0 - build.told_at;
        let left = (CURRENT_US - age) / 1_000_000;
        served.outcome = match served.outcome {
            Outcome::Hit { ttl } if left > 0 => Outcome::Hit { ttl: Some(ttl.map_or(left, |ttl| ttl.min(left))) },
            Outcome::Hit { .. } => Outcome::Stale { detail: "list-unknown" },
            other => other,
        };
        served.age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        served
    }

    /// The last build that a name stood for and that is here, or else what came from the place of the name itself.
    fn former(&self, name: &Key, require: Level) -> Option<Arc<Shelved>> {
        let stood = {
            let index = self.index();
            let held = index.slots.values().filter_map(|slot| slot.held.as_ref());
            let stood = held.filter_map(|held| Some((held.see(|entry| entry.names.get(name.url()).copied())?, held)));
            stood.max_by_key(|(told_at, _)| *told_at).map(|(_, held)| Arc::clone(held))
        };
        stood.or_else(|| self.held(name)).filter(|held| {
            let entry = held.entry();
            entry.key().is_ok_and(|key| self.usable(&key).is_some() && self.reached(&key, &entry) >= require)
        })
    }

    /// Key of the entry that answers for a key: for a moving name that has none itself, that of its build.
    pub(super) fn answering(&self, key: &Key) -> Key {
        let build = self.known(key).0.filter(|build| self.held(key).is_none() && self.held(&build.key).is_some());
        build.map_or_else(|| key.clone(), |build| build.key)
    }

    /// Remembers the names of an entry of another run.
    pub(super) fn know_names(&self, key: &Key, entry: &Entry) {
        let mut index = self.index();
        for (name, told_at) in &entry.names {
            let Ok(name) = Key::parse(name) else { continue };
            let build = &mut index.names.entry(name).or_default().build;
            if build.as_ref().is_none_or(|other| other.told_at < *told_at) {
                *build = Some(StandingBuild { key: key.clone(), told_at: *told_at });
            }
        }
    }

    /// Names that stand for a build, with the times at which lists said so.
    pub(super) fn names_of(&self, build: &Key) -> BTreeMap<String, i64> {
        let index = self.index();
        let names = index.names.iter().filter_map(|(name, known)| Some((name, known.build.as_ref()?)));
        names.filter(|(_, of)| of.key == *build).map(|(name, of)| (name.url().to_owned(), of.told_at)).collect()
    }
}
