//! Imports: jobs that bring bytes into an image behind the request that asked for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Caller, Registry};
use crate::error::Result;
use crate::image::{Image, ImageId, Status, StoreName};
use crate::jobs::{self, Begun, Class, Job, Kind, Spec, Stop};

/// The part of an import that its job does not tell: attached to it.
#[derive(Debug, Clone)]
pub struct Import {
    /// The URL, if it is from one; without what stands behind its `?`, which may be a secret.
    pub url: Option<String>,
    /// The stores that were asked for; none means the one that takes what asks for none.
    pub stores: Vec<StoreName>,
}

/// What is known of all imports together.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// Whether any has ever asked for stores: until then there is nothing to say of images that have their bytes.
    spreads: AtomicBool,
}

impl Registry {
    /// Takes the place of an import, before its work begins.
    ///
    /// # Errors
    /// `Busy` when too many of the caller's are running.
    pub(super) fn begin_import(
        &self,
        who: &Caller,
        image: ImageId,
        kind: Kind,
        url: Option<String>,
        stores: Vec<StoreName>,
    ) -> Result<Begun> {
        self.imports.spreads.fetch_or(!stores.is_empty(), Ordering::Relaxed);
        let spec = Spec::new(kind, who.account()).image(image).stop(Stop::Asks);
        self.jobs.begin(spec.notes(Arc::new(Import { url, stores })))
    }

    /// The imports that are running or not forgotten yet, newest first: all of them, or those into one image.
    pub fn imports(&self, image: Option<ImageId>) -> Vec<Job> {
        let meant = |job: &Job| is_import(job) && image.is_none_or(|image| job.image == Some(image));
        self.jobs.list(meant)
    }

    /// The last import into an image, as long as it says something of how the image stands: it runs, or it failed and the
    /// image still waits for bytes.
    pub fn import_of(&self, image: &Image) -> Option<Job> {
        // Of most images there is nothing to say, and lists ask for each of theirs.
        let complete = matches!(image.status, Status::Available | Status::Deactivated | Status::Deleting);
        if complete && !self.imports.spreads.load(Ordering::Relaxed) {
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
        (!last.status.is_final() || (waits && failure(&last).is_some())).then_some(last)
    }
}

fn is_import(job: &Job) -> bool {
    job.kind.class() == Class::Import
}

/// Why an import ended without its bytes.
pub fn failure(job: &Job) -> Option<&str> {
    match job.status {
        jobs::Status::Stopped => Some("It was stopped."),
        _ => job.error.as_deref(),
    }
}
