//! Pulls as jobs, pulls by the clock, and the list of what was pulled.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, Reason, Result, shown};
use crate::fetch::FetchError;
use crate::image::query::Filter;
use crate::image::{Attr, Container, Format, Image, Status};
use crate::jobs::{Handle, Job, JobId, JobKind, Spec, Stop};
use crate::registry::access::ListScope;
use crate::registry::policy::{Action, On};
use crate::registry::pulls::ask::{PullAsk, PullChange, PullProgress};
use crate::registry::pulls::find::Place;
use crate::registry::pulls::provenance::{Provenance, is_superseded};
use crate::registry::pulls::service::Pulls;
use crate::registry::{Caller, NameRequest};
use crate::vendor::Name;

/// Longest update of one image: the others wait for it.
const UPDATE_MAX: Duration = Duration::from_secs(2 * 3600);

/// The error as its caller may know it: an administrator learns which names can't be resolved, and no one else.
fn exact_for(who: &Caller, error: Error) -> Error {
    match FetchError::unresolved(&error) {
        Some(exact) if who.is_admin() => exact,
        _ => error,
    }
}

impl Pulls {
    /// Begins a pull as a job of its caller, whose notes are a [`PullProgress`].
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`; `Invalid` name; `Busy`. The job reports all other errors.
    pub fn start(self: &Arc<Self>, who: &Caller, ask: PullAsk) -> Result<Job> {
        let name = ask.name.clone();
        self.start_first(who, &name, vec![ask])
    }

    /// Begins a pull as [`Pulls::start`] does: of the first that there is of several images, under the name that was asked for.
    fn start_first(self: &Arc<Self>, who: &Caller, name: &str, asks: Vec<PullAsk>) -> Result<Job> {
        who.may(Action::Pull, On::Server)?;
        for ask in &asks {
            Place::of(ask)?;
        }
        let spec = Spec::new(JobKind::VendorPull, who.account()).stop(Stop::Drops);
        let (pulls, who) = (Arc::clone(self), who.clone());
        let spec = spec.notes(Arc::new(PullProgress::of(&shown(name))));
        self.core.jobs.spawn(spec, |handle| async move {
            let seen = |progress: &PullProgress| {
                if let Some(bytes) = progress.bytes {
                    handle.bytes(bytes, progress.of);
                }
                handle.notes(Arc::new(progress.clone()));
            };
            let pulled = pulls.pull_first(&who, &asks, &seen).await.map_err(|error| exact_for(&who, error))?;
            handle.image(pulled.image.id);
            Ok(())
        })
    }

    /// Begins a pull for a request, unless one for such a request is running: of the first that there is of several images.
    ///
    /// # Errors
    /// As [`Pulls::start`].
    pub(super) fn start_once(self: &Arc<Self>, who: &Caller, request: &NameRequest, asks: Vec<PullAsk>) -> Result<Job> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |id: &JobId| self.core.jobs.find(*id).filter(|job| !job.status.is_final());
        asked.retain(|_, id| running(id).is_some());
        let names = asks.iter().map(|ask| ask.name.clone()).collect();
        let key = (who.account().map(str::to_owned), request.clone(), names);
        if let Some(job) = asked.get(&key).and_then(running) {
            return Ok(job);
        }
        let job = self.start_first(who, &request.name, asks)?;
        asked.insert(key, job.id);
        Ok(job)
    }

    /// Pulled images that the caller sees; superseded ones only if `all`.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn pulled(&self, who: &Caller, all: bool) -> Result<Vec<Image>> {
        let filter = who.listed(ListScope::default()).and(Filter::spelled(Attr::Status, Status::Available.word()));
        let (mut pages, mut found) = (self.core.pages(filter), Vec::new());
        let is_meant = |image: &Image| Provenance::of(image).is_some() && (all || !is_superseded(image));
        while let Some(images) = pages.next().await? {
            found.extend(images.into_iter().filter(is_meant));
        }
        Ok(found)
    }

    /// Pulls every image with automatic update again. Called by a timer; a failure is in the log.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn auto_update(&self, handle: Handle) -> Result<()> {
        let images = self.pulled(&Caller::Admin(None), false).await?;
        for image in images.iter().filter(|image| image.auto_update) {
            let Some(origin) = Provenance::of(image) else { continue };
            if origin.had_query {
                log::warn!(
                    "image {} is not kept up to date: the query of its URL, which may hold a secret, was not kept",
                    image.id
                );
                continue;
            }
            // Packed bytes stay so.
            let keep_packed = image.format == Some(Format::Tar) || image.container == Some(Container::Compressed);
            let name = if origin.alias.parse::<Name>().is_ok() { origin.alias } else { origin.origin };
            let ask =
                PullAsk { architecture: image.architecture, pin: origin.is_pinned, keep_packed, ..PullAsk::of(name) };
            // For the owner, on whose word it is updated.
            let who = image.owner.clone().map_or(Caller::Admin(None), Caller::User);
            let seen = |progress: &PullProgress| {
                if let Some(bytes) = progress.bytes {
                    handle.bytes(bytes, progress.of);
                }
            };
            let late = |_| Err(Reason::Upstream.saying("The update took too long."));
            match timeout(UPDATE_MAX, self.pull(&who, &ask, &seen)).await.unwrap_or_else(late) {
                Ok(pulled) if pulled.change == PullChange::Newer => log::info!("image {} was superseded", image.id),
                Ok(_) => {}
                Err(error) => log::warn!("image {} can't be pulled again: {}", image.id, error.logged()),
            }
        }
        Ok(())
    }
}
