//! Imports: jobs that bring bytes into an image behind the request that asked for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Caller;
use crate::error::Result;
use crate::image::{Image, ImageId, Status, StoreName};
use crate::jobs::{self, Begun, Job, JobClass, JobKind, Jobs, Spec, Stop};

/// The part of an import that its job does not tell: attached to it.
#[derive(Debug, Clone)]
pub struct Import {
    /// The URL, if it is from one; without what stands behind its `?`, which may be a secret.
    pub url: Option<String>,
    /// The stores that were asked for; none means the one that takes what asks for none.
    pub stores: Vec<StoreName>,
}

/// The imports among the jobs. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Imports {
    jobs: Jobs,
    /// True if any has ever asked for stores: until then there is nothing to say of images that have their bytes.
    spreads: Arc<AtomicBool>,
}

impl Imports {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self { jobs, spreads: Arc::default() }
    }

    /// Takes the place of an import, before its work begins.
    ///
    /// # Errors
    /// `Busy` when too many of the caller's are running.
    pub(super) fn begin(
        &self,
        who: &Caller,
        image: ImageId,
        kind: JobKind,
        url: Option<String>,
        stores: Vec<StoreName>,
    ) -> Result<Begun> {
        self.spreads.fetch_or(!stores.is_empty(), Ordering::Relaxed);
        let spec = Spec::new(kind, who.account()).image(image).stop(Stop::Asks);
        self.jobs.begin(spec.notes(Arc::new(Import { url, stores })))
    }

    /// The imports that are running or not forgotten yet, newest first: all of them, or those into one image.
    pub(super) fn of(&self, image: Option<ImageId>) -> Vec<Job> {
        let meant = |job: &Job| is_import(job) && image.is_none_or(|image| job.image == Some(image));
        self.jobs.list(meant)
    }

    /// The last import into an image, as long as it says something of how the image stands: it runs, or it failed and the
    /// image still waits for bytes.
    pub(super) fn last_into(&self, image: &Image) -> Option<Job> {
        // Of most images there is nothing to say, and lists ask for each of theirs.
        let complete = matches!(image.status, Status::Available | Status::Deactivated | Status::Deleting);
        if complete && !self.spreads.load(Ordering::Relaxed) {
            return None;
        }
        let stores = |job: &Job| job.notes::<Import>().map(|import| import.stores.clone()).unwrap_or_default();
        let meant = |job: &Job| job.image == Some(image.id) && is_import(job) && (!complete || !stores(job).is_empty());
        let last = self.jobs.newest(meant)?;
        let homes = image.homes();
        let waits = match complete {
            true => stores(&last).iter().any(|store| !homes.contains(store)),
            false => matches!(image.status, Status::Queued | Status::Failed),
        };
        (!last.status.is_final() || (waits && has_failed(&last))).then_some(last)
    }
}

fn is_import(job: &Job) -> bool {
    job.kind.class() == JobClass::Import
}

/// True if an import ended without its bytes.
pub fn has_failed(job: &Job) -> bool {
    job.status == jobs::JobStatus::Stopped || job.error.is_some()
}
