//! Imports: jobs that bring bytes into an image after the answer to their request. Knows no protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Caller;
use crate::error::Result;
use crate::image::{Image, ImageId, Status, StoreName};
use crate::jobs::{self, Begun, Job, JobClass, JobKind, Jobs, Spec, Stop};

/// Notes of an import, attached to its job.
#[derive(Debug, Clone)]
pub struct Import {
    /// URL of the source, if there is one, without its query, which may hold a secret.
    pub url: Option<String>,
    /// Requested stores; empty for the default one.
    pub stores: Vec<StoreName>,
}

/// The imports among the jobs. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Imports {
    jobs: Jobs,
    /// True once an import has named stores: until then, images with their bytes have no import to report.
    spreads: Arc<AtomicBool>,
}

impl Imports {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self { jobs, spreads: Arc::default() }
    }

    /// Registers an import before its work begins.
    ///
    /// # Errors
    /// `Busy` when too many imports of the caller are running.
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

    /// Imports that are running or not forgotten yet, newest first: all, or those into one image.
    pub(super) fn of(&self, image: Option<ImageId>) -> Vec<Job> {
        match image {
            Some(image) => self.jobs.list_of(image, is_import),
            None => self.jobs.list(is_import),
        }
    }

    /// Last import into an image, if it still explains the image's state: it runs, or it failed and the image still waits
    /// for bytes.
    pub(super) fn last_into(&self, image: &Image) -> Option<Job> {
        // A shortcut: most images have none to report, and lists ask for each of theirs.
        let complete = matches!(image.status, Status::Available | Status::Deactivated | Status::Deleting);
        if complete && !self.spreads.load(Ordering::Relaxed) {
            return None;
        }
        let stores = |job: &Job| job.notes::<Import>().map(|import| import.stores.clone()).unwrap_or_default();
        let meant = |job: &Job| is_import(job) && (!complete || !stores(job).is_empty());
        let last = self.jobs.newest_of(image.id, meant)?;
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
