//! The place where pulls are done: in this process, with the data directory's lock, or in the server that has it. Commands are the
//! same either way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::failure::{Exit, Failure, words_of};
use super::super::image::PlaceArgs;
use super::super::{Globals, catalogue, fetcher, read_ca_file, serve, server_file, vendor_cache};
use crate::account::{Account, Accounts};
use crate::cli::follow::watch;
use crate::client::{Client, Credentials, Record};
use crate::config::{Config, DataDir};
use crate::image::Architecture;
use crate::registry::{
    BuildView, CacheChange, CacheView, Caller, PrunedView, PullAsk, PullProgress, PullState, PulledView, Pulls,
    Registry, VendorView, register_lock,
};

/// Longest wait for another command that has the data directory: it may be bringing a large image.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Time between two looks at a directory that another command has.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Ids of jobs of the server that are followed.
type Followed = Mutex<BTreeSet<String>>;

/// A place for pulls.
pub(super) enum Seat {
    /// This process.
    Here(Box<Here>),
    /// A server, and its data directory if it has the one that the configuration names.
    There(Client, Option<PathBuf>, Followed),
}

/// The parts of a registry in this process.
pub(super) struct Here {
    // Closed before the lock is given back.
    registry: Arc<Registry>,
    pulls: Arc<Pulls>,
    who: Caller,
    data_dir: DataDir,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.registry.close();
    }
}

/// The account in whose name the user of the data directory acts: the configured one, or the first administrator.
fn account(config: &Config, data_dir: &Path) -> Result<Option<Account>, Failure> {
    let all = Accounts::open(&DataDir::keys(data_dir))?.list()?;
    let named = |account: &&Account| account.access_key == config.client.access_key;
    let chosen = all.iter().find(named).or_else(|| all.iter().find(|account| account.admin));
    Ok(chosen.cloned())
}

/// Client of a server, with the configured keys or those of an account.
fn client(config: &Config, url: &str, account: Option<&Account>) -> Result<Client, Failure> {
    let keys = &config.client;
    let configured = (!keys.access_key.is_empty())
        .then(|| Credentials { access_key: keys.access_key.clone(), secret_key: keys.secret_key.reveal().to_owned() });
    let own = account.map(|account| Credentials {
        access_key: account.access_key.clone(),
        secret_key: account.secret_key.reveal().to_owned(),
    });
    let ca = read_ca_file(&keys.ca_file, "client")?;
    Ok(Client::new(url, configured.or(own), ca.as_deref())?)
}

/// Client of the server that has the data directory; `None` while its holder is no server.
fn holder(config: &mut Config, data_dir: &Path) -> Result<Option<Client>, Failure> {
    let Some(server) = server_file::read(data_dir) else { return Ok(None) };
    // Its own certificate, unless another authority is configured.
    if config.client.ca_file.as_os_str().is_empty() {
        config.client.ca_file = server.certificate.unwrap_or_default();
    }
    client(config, &server.url, account(config, data_dir)?.as_ref()).map(Some)
}

/// Client of a running server: the one that the command line names, the one that has the data directory, or the configured one.
pub(in crate::cli) fn running(globals: &Globals, place: &PlaceArgs) -> Result<Client, Failure> {
    let mut config = globals.load()?;
    let data_dir = config.data_dir()?;
    let found = if place.is_given() { None } else { holder(&mut config, &data_dir)? };
    found.map_or_else(|| client(&config, &place.url(&config.client)?, None), Ok)
}

impl Seat {
    /// Takes the data directory, or finds the server that has it; the server that the command line names comes first. Needs a
    /// runtime.
    pub(super) async fn take(globals: &Globals, place: &PlaceArgs, offline: bool) -> Result<Self, Failure> {
        let mut config = globals.load()?;
        config.cache.offline |= offline;
        if place.is_given() {
            return Ok(Self::There(client(&config, &place.url(&config.client)?, None)?, None, Followed::default()));
        }
        let path = config.data_dir()?;
        let (began, mut told) = (Instant::now(), false);
        loop {
            if let Some(data_dir) = DataDir::try_take(&path).map_err(|error| Failure::general(error.to_string()))? {
                server_file::remove(&path);
                return Self::here(&config, data_dir).await;
            }
            if let Some(client) = holder(&mut config, &path)? {
                return Ok(Self::There(client, Some(path), Followed::default()));
            }
            if !std::mem::replace(&mut told, true) {
                eprintln!("waiting for another visor command, which has {}", path.display());
            }
            if began.elapsed() > WAIT_MAX {
                let text = format!("{} is in use by another visor command", path.display());
                return Err(Failure::new(Exit::Conflict, text));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Remembers a lock file, whose images are never removed for room. A server that the command line names has another disk, and
    /// remembers none.
    pub(super) fn keep_locked(&self, file: &Path) -> Result<(), Failure> {
        // What is read from a pipe is not there to be read again.
        let Some(data_dir) = self.data_dir().filter(|_| file.is_file()) else { return Ok(()) };
        register_lock(&DataDir::cache(data_dir), file).map_err(|error| {
            let why = if error.raw_os_error().is_some() { words_of(&error) } else { error.to_string() };
            Failure::general(format!("{}: its images can't be kept: {why}", file.display()))
        })
    }

    /// The data directory, where it is this machine's.
    fn data_dir(&self) -> Option<&Path> {
        match self {
            Self::Here(here) => Some(here.data_dir.path()),
            Self::There(_, data_dir, _) => data_dir.as_deref(),
        }
    }

    async fn here(config: &Config, data_dir: DataDir) -> Result<Self, Failure> {
        let fetcher = fetcher::open(config)?;
        let registry = serve::registry(config, data_dir.path(), &fetcher)?;
        // What an interrupted command left.
        registry.maintenance().sweep_at_start().await?;
        let catalogue = Arc::new(catalogue::open(config, data_dir.path())?);
        let opened = vendor_cache::open(config, data_dir.path(), &fetcher, &catalogue)?;
        let off = || Failure::new(Exit::Usage, "nothing can be pulled: the setting cache.enabled is false");
        let pulls = Pulls::new(&registry, opened.ok_or_else(off)?, catalogue);
        let who = match account(config, data_dir.path())? {
            Some(account) if account.admin => Caller::Admin(Some(account.access_key)),
            Some(account) => Caller::User(account.access_key),
            None => Caller::Admin(None),
        };
        Ok(Self::Here(Box::new(Here { registry, pulls, who, data_dir })))
    }

    /// Words for a person that interrupts a pull.
    pub(super) fn interruption(&self) -> String {
        match self {
            Self::Here(_) => "interrupted; repeat the command to continue where it stopped".to_owned(),
            Self::There(_, _, running) => going_on(&running.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Pulls an image, and tells `seen` of every step. Returns the last one.
    pub(super) async fn pull(
        &self,
        ask: &PullAsk,
        seen: &(dyn Fn(&PullProgress) + Send + Sync),
    ) -> Result<PullProgress, Failure> {
        match self {
            Self::Here(here) => {
                let last = Mutex::new(PullProgress::of(&ask.name));
                let each = |progress: &PullProgress| {
                    seen(progress);
                    progress.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
                };
                here.pulls.pull(&here.who, ask, &each).await?;
                Ok(last.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            Self::There(client, _, running) => {
                let running = || running.lock().unwrap_or_else(PoisonError::into_inner);
                let job = client.start_pull(ask).await?;
                let id = job.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
                running().insert(id.clone());
                let ended = watch(client, &id, |job| seen(&progress_of(job, &ask.name))).await;
                running().remove(&id);
                Ok(progress_of(&ended?, &ask.name))
            }
        }
    }

    /// Images that were pulled.
    pub(super) async fn pulled(&self) -> Result<Vec<PulledView>, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.list_pulled(&here.who).await?),
            Self::There(client, ..) => viewed(client.pulled().await?),
        }
    }

    /// Vendors of the catalogue.
    pub(super) async fn vendors(&self) -> Result<Vec<VendorView>, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.list_vendors(&here.who)?),
            Self::There(client, ..) => viewed(client.vendors().await?),
        }
    }

    /// Builds that a vendor has.
    pub(super) async fn builds(
        &self,
        vendor: &str,
        release: Option<&str>,
        architecture: Option<Architecture>,
    ) -> Result<Vec<BuildView>, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.list_builds(&here.who, vendor, release, architecture).await?),
            Self::There(client, ..) => {
                let release = release.map(|release| ("release", release));
                let architecture = architecture.map(|one| ("architecture", one.name()));
                let query: Vec<_> = release.into_iter().chain(architecture).collect();
                viewed(client.builds(vendor, &query).await?)
            }
        }
    }

    /// The cache and its files.
    pub(super) async fn cache(&self) -> Result<CacheView, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.see_cache(&here.who)?),
            Self::There(client, ..) => viewed(client.cache().await?),
        }
    }

    /// Changes a file of the cache, which a URL or a name means.
    pub(super) async fn change_cached(&self, url: &str, change: CacheChange) -> Result<(), Failure> {
        match (self, change) {
            (Self::Here(here), change) => here.pulls.change_cached(&here.who, url, change).await?,
            (Self::There(client, ..), CacheChange::Refresh) => client.refresh_cached(url).await?,
            (Self::There(client, ..), CacheChange::Drop) => client.drop_cached(url).await?,
            (Self::There(client, ..), CacheChange::Pin) => client.pin_cached(url, true).await?,
            (Self::There(client, ..), CacheChange::Unpin) => client.pin_cached(url, false).await?,
        }
        Ok(())
    }

    /// Puts the cache offline, or online again. Returns the time since which it is offline.
    pub(super) async fn set_offline(&self, offline: bool) -> Result<Option<String>, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.put_offline(&here.who, offline)?),
            Self::There(client, ..) => {
                let cache = client.set_offline(offline).await?;
                Ok(cache.get("offline_since").and_then(Value::as_str).map(str::to_owned))
            }
        }
    }

    /// Makes room in the cache, or says what would go.
    pub(super) async fn prune(&self, to: Option<u64>, dry_run: bool) -> Result<Vec<PrunedView>, Failure> {
        match self {
            Self::Here(here) => Ok(here.pulls.make_room(&here.who, to, dry_run).await?),
            Self::There(client, ..) => viewed(client.prune(to, dry_run).await?),
        }
    }
}

/// Words about jobs of a server that go on without this program.
fn going_on(ids: &BTreeSet<String>) -> String {
    let Some(first) = ids.first() else { return "interrupted; visor jobs lists what the server does".to_owned() };
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (what, stop) = if all.len() == 1 { ("job", "it") } else { ("jobs", "one of them") };
    let all = all.join(", ");
    format!("interrupted; the server goes on with the {what} {all} (visor jobs stop {first} stops {stop})")
}

fn viewed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::general(format!("the server answers in another form, is it of another version? {error}"))
    })
}

/// The step of a pull that a job shows.
fn progress_of(job: &Record, name: &str) -> PullProgress {
    let text = |name: &str| job.get(name).and_then(Value::as_str);
    let number = |name: &str| job.get(name).and_then(Value::as_u64);
    let word = |name: &str| job.get(name).cloned();
    let state = word("stage").and_then(|word| serde_json::from_value(word).ok()).unwrap_or(PullState::Resolving);
    let counts = matches!(state, PullState::Filling | PullState::Unpacking);
    PullProgress {
        name: text("name").unwrap_or(name).to_owned(),
        state,
        bytes: number("bytes").filter(|_| counts),
        of: number("bytes_total").filter(|_| counts),
        verified: text("verified").and_then(|level| level.parse().ok()),
        words: text("words").map(str::to_owned),
        change: word("change").and_then(|word| serde_json::from_value(word).ok()),
        image: text("image").map(str::to_owned),
    }
}
