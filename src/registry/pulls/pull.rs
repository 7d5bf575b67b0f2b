//! A pull, from the request to the image: resolve, bring, verify, make, and take the place of the one before.

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::cache::{Bringing, Whole, shown};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::{Architecture, Image};
use crate::registry::lxd::receive::METADATA_BYTES_MAX;
use crate::registry::policy::{Action, On};
use crate::registry::pulls::ask::{PullAsk, PullChange, PullProgress, PullState, Pulled};
use crate::registry::pulls::find::{Found, FoundMetadata, Place};
use crate::registry::pulls::here::Demands;
use crate::registry::pulls::make::Shaped;
use crate::registry::pulls::report::{Report, Seen};
use crate::registry::pulls::service::Pulls;
use crate::registry::{Caller, this_machine};
use crate::vendor::{Evidence, Level};

impl Pulls {
    /// Pulls an image: by a vendor's name, from a URL, or as a lock file has it. An image that is here already is not made again.
    /// `seen` is told of every step.
    ///
    /// # Errors
    /// `Invalid` name or URL; `NotFound` vendor, release, build or file; `DigestMismatch` when the bytes are not what they have to
    /// be, or not verified as far as they have to be; `Upstream`, `Offline` among them; `AlreadyExists` when an image that was not
    /// pulled has the name; `BadContent`, `TooLarge`, `StoreFull`, `Busy`.
    pub async fn pull(&self, who: &Caller, ask: &PullAsk, seen: Seen<'_>) -> Result<Pulled> {
        who.may(Action::Pull, On::Server)?;
        let mut report = Report::begin(&ask.name, seen);
        report.state(PullState::Resolving);
        let pulled = self.bring_image(who, ask, &mut report).await?;
        report.end(&pulled);
        Ok(pulled)
    }

    /// Pulls the first image of several that there is. A server that can't be asked may be one that does not have it.
    ///
    /// # Errors
    /// As [`Pulls::pull`]: of all failures the one that tells most.
    pub(super) async fn pull_first(&self, who: &Caller, asks: &[PullAsk], seen: Seen<'_>) -> Result<Pulled> {
        let mut missed: Option<Error> = None;
        for (at, ask) in asks.iter().enumerate() {
            let error = match self.pull(who, ask, seen).await {
                Err(error) if is_elsewhere(&error) => error,
                ended => return ended,
            };
            let is_silent = error.kind() == Kind::Upstream;
            // Of two that do not have it, the first was meant most.
            let is_less = |before: &Error| before.kind() == Kind::NotFound && error.kind() != Kind::NotFound;
            if missed.as_ref().is_none_or(is_less) {
                missed = Some(error);
            }
            // A server that can't be asked now may have it: an image of the other kind would have its name ever after.
            let is_other = |next: &PullAsk| is_of_container(next) != is_of_container(ask);
            if is_silent && asks.get(at + 1).is_some_and(is_other) {
                break;
            }
        }
        Err(missed.unwrap_or_else(|| Error::internal("no image was asked for")))
    }

    async fn bring_image(&self, who: &Caller, ask: &PullAsk, report: &mut Report<'_>) -> Result<Pulled> {
        let architecture = ask.architecture.or_else(this_machine);
        let (place, demands) = (Place::of(ask)?, Demands::of(ask));
        let held = self.holder(who, &place, architecture).await?;
        let is_offline = ask.offline || self.cache.is_offline().is_some();
        let asks_nobody = ask.offline && self.cache.is_offline().is_none();
        if asks_nobody && ask.locked.is_none() {
            let absent = Reason::NotCached.about(shown(&ask.name));
            return self.as_it_is(who, ask, (&place, architecture), held, absent).await;
        }
        let found = match self.find(ask, held.as_ref()).await {
            // What is newest can't be told, and is not asked for.
            Err(error) if is_offline && error.kind() == Kind::Upstream => {
                return self.as_it_is(who, ask, (&place, architecture), held, error).await;
            }
            found => found?,
        };
        let demands = demands.and(&found);
        report.progress.name = found.name.clone().unwrap_or_else(|| found.alias.clone());
        let alone = self.alone(who, &found.alias, found.architecture).await;
        let present = self.present(who, &found, found.sha256()).await?;
        if present.is_none()
            && !demands.names_bytes()
            && let Some(image) = self.same_container(who, &found).await?
        {
            return self.called_too(who, image, &found).await;
        }
        self.check_free(who, &found).await?;
        if let Some(image) = present.filter(|image| demands.are_met_by(image)) {
            let image = self.mark(who, image.clone(), demands.proof(&image), ask.pin).await?;
            self.keep(ask, &found).await?;
            return self.settle(who, image, &found, false).await;
        }
        // A transfer may take hours.
        drop(alone);
        if let Some(expectation) = &found.expectation {
            report.knows(&expectation.evidence);
        }
        let (whole, metadata) = match self.fetch_all(&found, asks_nobody, report).await {
            Err(error) if is_offline && matches!(error.reason(), Reason::NotCached | Reason::Offline) => {
                return self.as_it_is(who, ask, (&place, architecture), held, error).await;
            }
            fetched => fetched?,
        };
        // The holder may be another one since.
        let _alone = self.alone(who, &found.alias, found.architecture).await;
        let file = Shaped::look(&whole, metadata).await?;
        let (image, is_new) = match self.present(who, &found, Some(&file.sha256)).await? {
            Some(image) => (self.mark(who, image, Some(&whole.expectation.evidence), ask.pin).await?, false),
            // Another spelling of its alias may have brought it meanwhile.
            None if let Some(image) = self.same_container(who, &found).await? => {
                return self.called_too(who, image, &found).await;
            }
            None => (self.make(who, ask, &found, &file, report).await?, true),
        };
        self.keep(ask, &found).await?;
        self.settle(who, image, &found, is_new).await
    }

    /// The image that has the name, or the build that was asked for, as it is; the error if there is none that will do.
    async fn as_it_is(
        &self,
        who: &Caller,
        ask: &PullAsk,
        (place, architecture): (&Place, Option<Architecture>),
        held: Option<Image>,
        error: Error,
    ) -> Result<Pulled> {
        let demands = Demands::of(ask);
        let others = self.pulled_for(who, place, architecture).await?;
        let is_it = |image: &Image| {
            demands.are_met_by(image)
                && (demands.names_bytes() || held.as_ref().is_some_and(|held| held.id == image.id))
        };
        let image = held.iter().chain(&others).find(|image| is_it(image)).cloned().ok_or(error)?;
        self.mark(who, image, None, ask.pin).await.map(here)
    }

    /// Keeps the file from being removed for room, if that was asked for and it is here.
    async fn keep(&self, ask: &PullAsk, found: &Found) -> Result<()> {
        if !ask.pin {
            return Ok(());
        }
        match self.cache.pin(&found.key, true).await {
            // The image is made already, and stays.
            Err(error) if error.reason() == Reason::NotCached => Ok(()),
            pinned => pinned,
        }
    }

    /// Brings the file and the description that belongs to it.
    async fn fetch_all(
        &self,
        found: &Found,
        asks_nobody: bool,
        report: &mut Report<'_>,
    ) -> Result<(Whole, Option<Bytes>)> {
        let metadata = match &found.metadata {
            Some(metadata) => Some(self.fetch_metadata(metadata, asks_nobody).await?),
            None => None,
        };
        Ok((self.fetch(found, asks_nobody, report).await?, metadata))
    }

    /// Brings the description of a container through the cache, verified.
    async fn fetch_metadata(&self, found: &FoundMetadata, asks_nobody: bool) -> Result<Bytes> {
        let FoundMetadata { key, expectation, require, .. } = found;
        let whole = match asks_nobody {
            true => self.cache.bring_here(key, expectation.clone(), *require, &|_| {}).await?,
            false => self.cache.bring(key, expectation.clone(), *require, &|_| {}).await?,
        };
        if whole.size > METADATA_BYTES_MAX as u64 {
            return Err(Reason::FileTooLarge.about(METADATA_BYTES_MAX));
        }
        let read = spawn_blocking(move || std::fs::read(&whole.path)).await.map_err(Error::internal)?;
        read.map(Bytes::from).map_err(Error::internal)
    }

    /// Brings the file through the cache, verified; from the cache alone, if no server is to be asked.
    async fn fetch(&self, found: &Found, asks_nobody: bool, report: &mut Report<'_>) -> Result<Whole> {
        let (seen, before) = (report.seen, report.progress.clone());
        let each = move |bringing: Bringing| {
            let (state, bytes, of) = match bringing {
                Bringing::Waiting => (PullState::Waiting, None, None),
                Bringing::Filling { bytes, of } => (PullState::Filling, Some(bytes), of),
                Bringing::Verifying => (PullState::Verifying, None, None),
            };
            seen(&PullProgress { state, bytes, of, ..before.clone() });
        };
        let (key, expectation) = (&found.key, found.expectation.clone());
        let whole = match asks_nobody {
            true => self.cache.bring_here(key, expectation, found.require, &each).await?,
            false => self.cache.bring(key, expectation, found.require, &each).await?,
        };
        report.state(PullState::Verifying);
        let evidence = &whole.expectation.evidence;
        let was_signed = found.held.as_ref().is_some_and(Evidence::was_signed);
        if was_signed && found.takes_place && evidence.level < Level::Signature {
            return Err(Reason::WeakerThanBefore.about(&found.alias).and(&evidence.words));
        }
        report.knows(evidence);
        Ok(whole)
    }
}

/// Tells whether a request is for a container.
fn is_of_container(ask: &PullAsk) -> bool {
    Place::of(ask).is_ok_and(|place| place.is_container)
}

/// Tells if another vendor may have what this one, for such a reason, does not give.
fn is_elsewhere(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::Upstream) || error.reason() == Reason::KeyMissing
}

/// An image that stays as it is.
fn here(image: Image) -> Pulled {
    Pulled { image, change: PullChange::Present }
}
