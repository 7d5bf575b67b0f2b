//! Background work of the server. Each kind is a job that administrators see, with its last run and, if scheduled, its next
//! one. Knows no protocol.
//!
//! Stopping a job ends its run, and not later runs. Work that a run did not reach is left to a later run or the next
//! start: no state is kept here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Pulls, Registry};
use crate::error::{Error, Result};
use crate::image::Timestamp;
use crate::jobs::{Background, Handle, JobKind};

/// Time between two sweeps, and between two checks for expired images.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

type Loop = futures_util::future::BoxFuture<'static, ()>;

/// The background work of a registry.
#[derive(Clone)]
pub struct BackgroundWork(Arc<Registry>, Option<Arc<Pulls>>);

impl BackgroundWork {
    /// Prepares the background work of a registry.
    pub fn of(registry: &Arc<Registry>) -> Self {
        Self(Arc::clone(registry), None)
    }

    /// Keeps pulled images up to date, too.
    pub fn with_pulls(self, pulls: Option<Arc<Pulls>>) -> Self {
        Self(self.0, pulls)
    }

    /// Runs all background work until the server stops. `update_every` is the time between two refreshes of copies;
    /// zero for none. Its jobs are listed when this returns.
    pub fn run(self, update_every: Duration) -> impl Future<Output = ()> {
        let loops = self.loops(update_every);
        async move {
            match loops {
                Ok(loops) => {
                    // Tasks of their own: a panic in one must not end the others.
                    let tasks = loops.into_iter().map(tokio::spawn).collect::<Vec<_>>();
                    join_all(tasks).await;
                }
                Err(error) => log::error!("background work did not start: {}", error.logged()),
            }
        }
    }

    fn loops(&self, update_every: Duration) -> Result<Vec<Loop>> {
        let own = || self.clone();
        let job = |kind| self.0.core.jobs.background(kind, None);
        let mut loops: Vec<Loop> = vec![
            Box::pin(own().sweep_elsewhere_once(job(JobKind::SweepStores)?)),
            Box::pin(own().sweep_often(job(JobKind::Sweep)?, job(JobKind::Expiry)?)),
            Box::pin(own().watch_compactions(job(JobKind::Compaction)?)),
        ];
        if !update_every.is_zero() {
            loops.push(Box::pin(own().update_often(job(JobKind::Update)?, update_every)));
        }
        if self.0.core.limits.offer_disks {
            loops.push(Box::pin(own().offer_always(job(JobKind::Offers)?)));
        }
        loops.push(Box::pin(own().fill_in_digests(job(JobKind::Digests)?)));
        Ok(loops)
    }

    fn in_a(&self, while_: Duration) -> Option<Timestamp> {
        let micros = i64::try_from(while_.as_micros()).unwrap_or(i64::MAX);
        Some(Timestamp(self.0.now().0.saturating_add(micros)))
    }

    async fn sweep_elsewhere_once(self, job: Background) {
        job.run(|| None, |_| self.0.maintenance.sweep_elsewhere()).await;
        job.end();
    }

    async fn sweep_often(self, sweep: Background, expiry: Background) {
        let mut timer = tokio::time::interval(SWEEP_EVERY);
        timer.tick().await;
        for job in [&sweep, &expiry] {
            job.plan(self.in_a(SWEEP_EVERY));
        }
        loop {
            timer.tick().await;
            let next = self.in_a(SWEEP_EVERY);
            let removals = async |handle: Handle| {
                self.0.maintenance.clean_up().await.map(|count| handle.steps(count as u64, None))
            };
            sweep.run(|| next, removals).await;
            expiry.run(|| next, async |handle: Handle| self.0.removal.expire(|_| true, &handle).await).await;
        }
    }

    async fn update_often(self, job: Background, every: Duration) {
        let mut timer = tokio::time::interval(every);
        timer.tick().await;
        job.plan(self.in_a(every));
        loop {
            timer.tick().await;
            let next = self.in_a(every);
            job.run(|| next, |handle| self.0.mirror.auto_update(handle)).await;
            if let Some(pulls) = &self.1 {
                job.run(|| next, |handle| pulls.auto_update(handle)).await;
            }
        }
    }

    async fn offer_always(self, job: Background) {
        let offers = self.0.lxd.offers();
        job.run(|| None, |_| offers.find_disks()).await;
        loop {
            offers.wait().await;
            job.run(|| None, |handle| offers.offer_disks(handle)).await;
        }
    }

    async fn fill_in_digests(self, job: Background) {
        let upkeep = &self.0.maintenance;
        if self.0.core.limits.sha512 {
            job.run(|| None, |handle| upkeep.fill_in_digests(handle)).await;
        }
        if !self.0.core.limits.url_digests {
            return job.end();
        }
        loop {
            job.run(|| None, |handle| upkeep.digest_urls(handle)).await;
            self.0.core.unhashed.wait(SWEEP_EVERY).await;
        }
    }

    /// Shows compactions of the catalogue's journal, which its writer runs on its own.
    async fn watch_compactions(self, job: Background) {
        let mut seen = self.0.core.catalog.compactions();
        while seen.changed().await.is_ok() {
            let follow = async |handle: Handle| {
                // The writer ends only when the catalogue is closed.
                let last = seen.wait_for(|now| !now.running).await.map_err(Error::internal)?;
                handle.bytes(last.to, Some(last.from));
                last.error.clone().map_or(Ok(()), |error| Err(Error::internal(error)))
            };
            job.run(|| None, follow).await;
        }
    }
}
