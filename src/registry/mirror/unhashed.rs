//! Images under URLs that have no digests yet: a bell for the work that computes them, and the URLs that it has tried.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::image::{Image, ImageId};

/// Images under URLs whose digests may be missing, and those whose bytes this run of the server could not read.
#[derive(Debug, Default)]
pub(in crate::registry) struct Unhashed {
    bell: Notify,
    /// Images with the URL that was tried last.
    tried: Mutex<HashMap<ImageId, String>>,
    /// Some images had to be put off.
    put_off: AtomicBool,
}

impl Unhashed {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<ImageId, String>) -> T) -> T {
        work(&mut self.tried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of an image that may be one of them.
    pub(in crate::registry) fn consider(&self, image: &Image) {
        if image.under_url().is_some_and(|part| part.digests.sha256.is_none()) {
            self.bell.notify_one();
        }
    }

    /// Waits until there may be one; no longer than this if some were put off.
    pub(in crate::registry) async fn wait(&self, most: Duration) {
        match self.put_off.swap(false, Ordering::Relaxed) {
            true => drop(timeout(most, self.bell.notified()).await),
            false => self.bell.notified().await,
        }
    }

    /// Tells if an image was not tried before under this URL.
    pub(in crate::registry) fn is_new(&self, id: ImageId, url: &str) -> bool {
        self.with(|tried| tried.insert(id, url.to_owned())).is_none_or(|before| before != url)
    }

    /// Forgets an image: it needs no other try, or its try was ended from here.
    pub(in crate::registry) fn forget(&self, id: ImageId) {
        self.with(|tried| tried.remove(&id));
    }

    /// Tells of images that are left to a later run.
    pub(in crate::registry) fn put_off(&self) {
        self.put_off.store(true, Ordering::Relaxed);
    }

    /// Forgets all images but these.
    pub(in crate::registry) fn keep(&self, listed: &HashSet<ImageId>) {
        self.with(|tried| tried.retain(|id, _| listed.contains(id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn an_image_that_was_put_off_is_tried_again_without_a_bell() {
        let (unhashed, id) = (Unhashed::default(), ImageId::random());
        assert!(unhashed.is_new(id, "a"));
        assert!(!unhashed.is_new(id, "a"));
        assert!(unhashed.is_new(id, "b"), "another URL");
        unhashed.forget(id);
        unhashed.put_off();
        timeout(LONG, unhashed.wait(Duration::from_millis(1))).await.unwrap();
        assert!(unhashed.is_new(id, "b"));
        let waited = timeout(Duration::from_millis(20), unhashed.wait(Duration::from_millis(1))).await;
        assert!(waited.is_err(), "nothing is left to try");
    }

    #[test]
    fn only_images_that_lack_digests_are_remembered() {
        let (unhashed, ids) = (Unhashed::default(), [ImageId::random(), ImageId::random(), ImageId::random()]);
        assert!(ids.iter().all(|id| unhashed.is_new(*id, "a")));
        unhashed.forget(ids[0]);
        unhashed.keep(&HashSet::from([ids[1]]));
        assert_eq!(unhashed.with(|tried| tried.keys().copied().collect::<Vec<_>>()), [ids[1]]);
    }
}
