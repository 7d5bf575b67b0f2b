//! Images under URLs that have no digests yet: a bell for the work that computes them, and the URLs that it has tried.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::image::{Image, ImageId};

/// Images under URLs whose digests may be missing, and those whose bytes this run of the server could not read.
#[derive(Debug, Default)]
pub(in crate::registry) struct Unhashed {
    bell: Notify,
    tried: Mutex<HashSet<(ImageId, String)>>,
}

impl Unhashed {
    /// Tells of an image that may be one of them.
    pub(in crate::registry) fn consider(&self, image: &Image) {
        if image.under_url().is_some_and(|part| part.digests.sha256.is_none()) {
            self.bell.notify_one();
        }
    }

    /// Waits until there may be one.
    pub(in crate::registry) async fn wait(&self) {
        self.bell.notified().await;
    }

    /// Forgets a try that was ended from here.
    pub(in crate::registry) fn forget(&self, id: ImageId, url: &str) {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id, url.to_owned()));
    }

    /// Tells if an image was not tried before under this URL.
    pub(in crate::registry) fn is_new(&self, id: ImageId, url: &str) -> bool {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert((id, url.to_owned()))
    }
}
