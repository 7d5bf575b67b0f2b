//! The state of sending nothing, which outlives a run: a file is there or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::image::Timestamp;

/// Flag for sending nothing.
#[derive(Debug)]
pub(super) struct OfflineFlag {
    path: PathBuf,
    /// Time since which it is set.
    since: watch::Sender<Option<Timestamp>>,
    /// Time since which the settings of this run say so.
    always: Option<Timestamp>,
}

impl OfflineFlag {
    /// Reads the flag of earlier runs.
    pub(super) fn open(dir: &Path, always: bool, now: Timestamp) -> Self {
        let path = dir.join("offline");
        let since = fs::read_to_string(&path).ok().map(|text| text.trim().parse().map_or(now, Timestamp));
        Self { path, since: watch::Sender::new(since), always: always.then_some(now) }
    }

    /// Sets or clears it.
    ///
    /// # Errors
    /// `Internal` when the disk fails.
    pub(super) fn set(&self, offline: bool, now: Timestamp) -> Result<()> {
        match (offline, *self.since.borrow()) {
            (true, None) => fs::write(&self.path, now.0.to_string()).map_err(Error::internal)?,
            (false, Some(_)) => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::internal(error)),
                _ => {}
            },
            _ => return Ok(()),
        }
        self.since.send_replace(offline.then_some(now));
        Ok(())
    }

    /// Time since which nothing is sent.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.always.or(*self.since.borrow())
    }

    /// Ends when nothing may be sent any more.
    pub(super) async fn wait(&self) {
        if self.always.is_none() {
            // The sender is a field of this.
            let _ = self.since.subscribe().wait_for(Option::is_some).await;
        }
    }
}
