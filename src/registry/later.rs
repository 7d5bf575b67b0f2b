//! Requests that continue as a job of their caller, because they may take long. Knows no protocol.

use std::sync::Arc;

use super::policy::{Action, On};
use super::{Caller, Expected, Registry, Source};
use crate::error::Result;
use crate::image::{ImageId, ImagePatch};
use crate::jobs::{Job, JobKind, Spec, Stop};

impl Registry {
    /// Begins to register the bytes at a source as a new image, or for an existing one.
    ///
    /// # Errors
    /// `Unauthenticated`; `NotFound`, `Forbidden` for the image; `Busy`. The job reports all other errors.
    pub async fn start_register(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: ImagePatch,
        source: Source,
        claim: Expected,
    ) -> Result<Job> {
        who.may(Action::CreateImage, On::Server)?;
        let mut spec = Spec::new(JobKind::Register, who.account()).stop(Stop::Drops);
        if let Some(id) = into {
            who.may(Action::ImportFile, &self.get(who, id).await?)?;
            spec = spec.image(id);
        }
        let (registry, who) = (Arc::clone(self), who.clone());
        self.core.jobs.spawn(spec, |handle| async move {
            let image = match into {
                Some(id) => registry.update(&who, id, &patch, Some(source), &claim).await?,
                None => registry.create(&who, None, &patch, Some(source), &claim).await?,
            };
            handle.image(image.id);
            Ok(())
        })
    }

    /// Begins to remove all images of the caller.
    ///
    /// # Errors
    /// `Unauthenticated`; `Busy`.
    pub fn start_delete_all(self: &Arc<Self>, who: &Caller) -> Result<Job> {
        who.may(Action::DeleteOwnImages, On::Server)?;
        let (registry, caller) = (Arc::clone(self), who.clone());
        self.core.jobs.spawn(Spec::new(JobKind::DeleteAll, who.account()).stop(Stop::Drops), |handle| async move {
            let removed = registry.delete_all(&caller).await?;
            handle.steps(removed.len() as u64, Some(removed.len() as u64));
            Ok(())
        })
    }
}
