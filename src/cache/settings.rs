//! Settings of the cache. Values only: where they come from is another room's business.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::vendor::Level;

/// End of a transfer that no reader waits for any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Abandoned {
    /// It goes on to its end.
    Finish,
    /// It stops unless most of it is here, and what came is kept for the next request.
    #[default]
    Keep,
}

/// Settings of the cache.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Directory of the cache's own files.
    pub dir: PathBuf,
    /// Bytes that its files may have together; without it, as many as the disk has.
    pub budget: Option<u64>,
    /// Bytes of the disk that stay free.
    pub free_min: u64,
    /// Largest file that is fetched.
    pub file_bytes_max: u64,
    /// Time that a reader waits for the next byte.
    pub patience: Duration,
    /// Time that a server has to say whether a copy is current, before the copy goes out as it is.
    pub stale_after: Duration,
    /// Time that a server which could not be reached is not asked again; it grows with each failure, to ten minutes.
    pub dead_for: Duration,
    /// First pause before a broken transfer goes on; the next ones are four times as long each, up to 60 times this.
    pub retry_after: Duration,
    /// Time that a transfer goes on without readers before it stops.
    pub linger: Duration,
    /// End of a transfer without readers.
    pub abandoned: Abandoned,
    /// Level that files have to reach, unless a request or the vendor's entry demands another.
    pub require: Level,
    /// True to send nothing at all, whatever was set in another run.
    pub offline: bool,
    /// True to serve clients of other machines without an account, from the hosts of the catalogue and [`Self::hosts`].
    pub public: bool,
    /// Hosts that public requests may name, besides those of the catalogue.
    pub hosts: Vec<String>,
    /// Servers like this one that are asked first, by their URLs.
    pub parents: Vec<String>,
    /// Mirrors of each host, in the order in which they are asked, before the host itself.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

impl CacheSettings {
    /// The usual settings for a directory.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            budget: None,
            free_min: 0,
            file_bytes_max: 64 << 30,
            patience: Duration::from_secs(60),
            stale_after: Duration::from_secs(2),
            dead_for: Duration::from_secs(60),
            retry_after: Duration::from_millis(500),
            linger: Duration::from_secs(10),
            abandoned: Abandoned::default(),
            require: Level::None,
            offline: false,
            public: false,
            hosts: Vec::new(),
            parents: Vec::new(),
            mirrors: BTreeMap::new(),
        }
    }
}
