//! Images that are pulled because a client asks for one that is not here: one pull for all that ask, and an answer when it is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Reason, Result, did_you_mean};
use crate::jobs::{Job, JobStatus};
use crate::registry::policy::{Action, On};
use crate::registry::pulls::ask::PullAsk;
use crate::registry::pulls::service::Pulls;
use crate::registry::{Caller, NameRequest};
use crate::vendor::{CONTAINER, Name, Vendor};

/// Longest time for which a request waits. The pull goes on.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Word for all vendors of the catalogue.
const ALL: &str = "*";

/// Vendors whose images are pulled for clients that ask for them by an alias.
#[derive(Clone)]
pub struct PullThrough {
    pulls: Arc<Pulls>,
    vendors: Arc<[String]>,
}

impl PullThrough {
    /// Pulls images of these vendors, or of all for `*`; `None` if there are none.
    pub fn new(pulls: &Arc<Pulls>, vendors: &[String]) -> Option<Self> {
        (!vendors.is_empty()).then(|| Self { pulls: Arc::clone(pulls), vendors: vendors.into() })
    }

    /// Pulls the image that a request names, and offers its disk to LXD and Incus. False if none of these vendors may have it, or its
    /// caller may not pull.
    ///
    /// # Errors
    /// As [`Pulls::bring_missing`].
    pub async fn bring(&self, who: &Caller, asked: &NameRequest) -> Result<bool> {
        let asked = asked.narrowed();
        if !who.can(Action::Pull, On::Server) {
            return Ok(false);
        }
        let asks = self.asks(&asked);
        if asks.is_empty() {
            return Ok(false);
        }
        let job = self.pulls.bring_first(who, &asked, asks).await?;
        if let Some(id) = job.image {
            self.pulls.mirror.lxd.offers().offer(id).await?;
        }
        Ok(true)
    }

    /// Images that a request may mean, those of containers first: a request without a kind is one for a container, where there is one.
    fn asks(&self, asked: &NameRequest) -> Vec<PullAsk> {
        let Ok(name) = asked.name.parse::<Name>() else { return Vec::new() };
        let is_offered = self.pulls.core.limits.offer_disks;
        let mut asks = Vec::new();
        if asked.is_container != Some(false) {
            asks.extend(self.names(&name, Some(CONTAINER)).iter().map(|name| ask(asked, name)));
        }
        if asked.is_container != Some(true) && is_offered {
            if self.meant().any(|vendor| vendor.name == name.vendor) {
                asks.push(ask(asked, &name));
            }
            // The name of a vendor's machine is the vendor's, in every protocol: no other one's is called so.
            let others = self.names(&name, None).into_iter().filter(|_| !self.pulls.knows(&asked.name));
            asks.extend(others.map(|name| ask(asked, &name)));
        }
        asks
    }

    /// Names of a variant at the vendors that have images for LXD and Incus: at the one that the name begins with, then at each that
    /// may list all of it as an alias. An alias moves: it names no build.
    fn names(&self, name: &Name, variant: Option<&str>) -> Vec<Name> {
        let whole = format!("{}/{}", name.vendor, name.release);
        let is_alias = whole == name.to_string();
        let mut names = Vec::new();
        for vendor in self.meant().filter(|vendor| is_alias && vendor.has_containers()) {
            let variant = variant.map(str::to_owned);
            if vendor.name == name.vendor {
                names.insert(0, Name { variant, ..name.clone() });
            } else if vendor.has_parts() {
                names.push(Name { variant, ..Name::of(&vendor.name, &whole) });
            }
        }
        names
    }

    /// The vendors, in the order of the setting.
    fn meant(&self) -> impl Iterator<Item = &Vendor> {
        let catalogue = &self.pulls.catalogue;
        self.vendors
            .iter()
            .flat_map(move |one| catalogue.vendors().filter(move |vendor| one == ALL || vendor.name == *one))
    }
}

/// A request for a vendor's image, which gets the alias that a client asks for if that moves.
fn ask(asked: &NameRequest, name: &Name) -> PullAsk {
    let alias = Some(asked.name.clone()).filter(|_| *name == name.moving());
    PullAsk { architecture: asked.architecture, alias, ..PullAsk::of(name.to_string()) }
}

impl Pulls {
    /// Tells if a request names an image of the catalogue's vendors, and its caller may pull it.
    pub fn can_bring(&self, who: &Caller, asked: &NameRequest) -> bool {
        self.knows(&asked.name) && who.can(Action::Pull, On::Server)
    }

    /// ` (did you mean …?)` for a name whose vendor is spelled nearly like one of the catalogue's, for a caller that may pull.
    pub fn near_name(&self, who: &Caller, name: &str) -> String {
        let small = name.to_ascii_lowercase();
        let parts = small.split_once('/').filter(|_| !self.knows(name) && who.can(Action::Pull, On::Server));
        let Some((vendor, rest)) = parts else { return String::new() };
        let rest = name.get(name.len() - rest.len()..).unwrap_or_default();
        let known: Vec<&str> = self.catalogue.vendors().map(|vendor| vendor.name.as_str()).collect();
        match known.iter().find(|known| **known == vendor) {
            Some(vendor) => format!(" (did you mean {vendor}/{rest}?)"),
            None => did_you_mean(vendor, known.into_iter().map(str::to_owned)).replace("?)", &format!("/{rest}?)")),
        }
    }

    /// Pulls the image that a request names, as a job that goes on when the client leaves. Returns the job, which is done.
    ///
    /// # Errors
    /// As [`Pulls::start`], and those of the job; `Interrupted` when it was stopped, or takes too long to wait for.
    pub async fn bring_missing(self: &Arc<Self>, who: &Caller, asked: &NameRequest) -> Result<Job> {
        let ask = PullAsk { architecture: asked.architecture, ..PullAsk::of(asked.name.clone()) };
        self.bring_first(who, asked, vec![ask]).await
    }

    async fn bring_first(self: &Arc<Self>, who: &Caller, asked: &NameRequest, asks: Vec<PullAsk>) -> Result<Job> {
        let job = self.start_once(who, asked, asks)?;
        let late = || Reason::Interrupted.saying("The image is still being pulled: ask again later.");
        let ended = timeout(WAIT_MAX, self.core.jobs.wait(job.id, None)).await.map_err(|_| late())??;
        match (ended.status, &ended.failure) {
            (JobStatus::Done, _) => Ok(ended),
            (_, Some(failure)) => Err(failure.reason().saying(failure.message().to_owned())),
            _ => Err(Reason::Interrupted.into()),
        }
    }
}
