//! Imports: jobs that bring bytes into an image after the answer to their request. Knows no protocol.

use std::sync::Arc;

use super::Caller;
use crate::error::Result;
use crate::image::{Image, ImageId, Status, StoreName};
use crate::jobs::{self, Begun, Job, JobClass, JobKind, Jobs, Notes, Spec, Stop};

/// Request for an import, besides its source.
#[derive(Debug, Clone)]
pub struct ImportWish {
    /// Requested stores, each once; empty for the default one.
    pub stores: Vec<StoreName>,
    /// Undoes the whole import when one of the stores fails.
    pub all_or_none: bool,
    /// The request in its protocol's own words, for the protocol to render.
    pub request: Option<Notes>,
}

impl ImportWish {
    /// Stores besides this one that must have the bytes before the image is available.
    pub(super) fn also(&self, first: &StoreName) -> Vec<StoreName> {
        self.stores.iter().filter(|store| self.all_or_none && *store != first).cloned().collect()
    }
}

impl Default for ImportWish {
    fn default() -> Self {
        Self { stores: Vec::new(), all_or_none: true, request: None }
    }
}

/// Notes of an import, attached to its job.
#[derive(Debug, Clone)]
pub struct Import {
    /// URL of the source, if there is one, without its query, which may hold a secret.
    pub url: Option<String>,
    /// Requested stores; empty for the default one.
    pub stores: Vec<StoreName>,
    /// [`ImportWish::request`]
    pub request: Option<Notes>,
    /// Store whose failure ended the import, if all had to take the bytes.
    pub failed_in: Option<StoreName>,
}

impl Import {
    /// The request in its protocol's own words, if it is of this type.
    pub fn request<T: 'static>(&self) -> Option<&T> {
        self.request.as_deref()?.downcast_ref()
    }
}

/// The imports among the jobs. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Imports {
    jobs: Jobs,
}

impl Imports {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self { jobs }
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
        wish: &ImportWish,
    ) -> Result<Begun> {
        let spec = Spec::new(kind, who.account()).image(image).stop(Stop::Asks);
        let notes = Import { url, stores: wish.stores.clone(), request: wish.request.clone(), failed_in: None };
        self.jobs.begin(spec.notes(Arc::new(notes)))
    }

    /// Imports that are running or not forgotten yet, newest first: all, or those into one image.
    pub(super) fn of(&self, image: Option<ImageId>) -> Vec<Job> {
        match image {
            Some(image) => self.jobs.list_of(image, is_import),
            None => self.jobs.list(is_import),
        }
    }

    /// Last import into an image, if it still explains the image's state: it runs, it brought what the image has, or it
    /// failed and the image still waits for bytes.
    pub(super) fn last_into(&self, image: &Image) -> Option<Job> {
        let last = self.jobs.newest_of(image.id, is_import)?;
        let complete = match image.status {
            Status::Queued | Status::Failed | Status::Saving => false,
            Status::Available | Status::Deactivated => true,
            Status::Deleting => return None,
        };
        let explains = match (last.status.is_final(), has_failed(&last), complete) {
            (false, _, _) => true,
            (true, false, complete) => complete,
            (true, true, false) => image.status != Status::Saving,
            (true, true, true) => {
                let holders = image.holders();
                last.notes::<Import>().is_some_and(|import| import.stores.iter().any(|store| !holders.contains(store)))
            }
        };
        explains.then_some(last)
    }
}

fn is_import(job: &Job) -> bool {
    job.kind.class() == JobClass::Import
}

/// True if an import ended without its bytes.
pub fn has_failed(job: &Job) -> bool {
    job.status == jobs::JobStatus::Stopped || job.error.is_some()
}
