//! `visor serve`: assembles the server, prints its addresses, and ends it in order.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use tokio::signal::unix::{SignalKind, signal};

use super::banner::banner;
use super::failure::{Exit, Failure};
use super::listeners::Listeners;
use super::stop::ServerStop;
use super::{Globals, ServeArgs, catalogue, fetcher, keystone, ready, server_file, stores, vendor_cache};
use crate::account::links::Links;
use crate::account::tokens::Tokens;
use crate::account::trust::Trust;
use crate::account::{Accounts, Role};
use crate::api::{self, AuthRules, Setup};
use crate::blob::Linked;
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::config::DataDir;
use crate::config::{Config, HashAlgorithm, Publishers};
use crate::fetch::Fetcher;
use crate::http::cors::Origins;
use crate::http::guard::Names;
use crate::http::origin::Buffers;
use crate::http::server::{self, Settings};
use crate::http::tls::CertificateDates;
use crate::http::traffic::Traffic;
use crate::inspect::Rules;
use crate::registry::policy::Publish;
use crate::registry::{BackgroundWork, Instances, Limits, Metadefs, Pulls, RateLimits, Registry, system_clock};

/// Time between two looks at the dates of the server's certificate.
const CERTIFICATE_CHECK_EVERY: Duration = Duration::from_secs(86_400);

/// Parts of a server that are open before it listens.
struct OpenParts {
    registry: Arc<Registry>,
    cache: Option<Arc<Cache>>,
    pulls: Option<Arc<Pulls>>,
    metadefs: Metadefs,
    auth: AuthRules,
}

/// Serves until it is told to stop.
pub(super) fn run(globals: &Globals, args: &ServeArgs, logger: impl FnOnce(LevelFilter)) -> Result<(), Failure> {
    if let Some(file) = &args.ready_file {
        ready::remove(file)?;
    }
    let config = effective(globals.load()?, args)?;
    logger(config.log.level);
    let data_dir = take(&config)?;
    let keys = DataDir::keys(data_dir.path());
    let accounts = Arc::new(Accounts::open(&keys)?);
    let tokens = Tokens::open(&keys, config.auth.token_lifetime.duration(), system_clock())?;
    let links = Arc::new(Links::open(&keys)?);
    let keystone = keystone::open(&config)?;
    let loopback = config.server.listen.iter().chain(&config.server.listen_tls).all(|a| a.ip().is_loopback());
    // Where a Keystone knows the callers, no other protocol is open to all of them.
    let local = loopback && keystone.is_none();
    let made = first_account(&accounts, local, data_dir.path())?;
    let fetcher = fetcher::open(&config)?;
    let registry = registry(&config, data_dir.path(), &fetcher)?;
    let metadefs = Metadefs::open(&DataDir::catalog(data_dir.path()), system_clock)?;
    let served = actix_web::rt::System::new().block_on(async {
        let swept = registry.maintenance().sweep_at_start().await?;
        log::debug!("swept: {swept:?}");
        let catalogue = Arc::new(catalogue::open(&config, data_dir.path())?);
        let cache = vendor_cache::open(&config, data_dir.path(), &fetcher, &catalogue)?;
        let pulls = cache.as_ref().map(|cache| Pulls::new(&registry, Arc::clone(cache), catalogue));
        let auth = AuthRules {
            accounts: Arc::clone(&accounts),
            tokens: Arc::new(tokens),
            links: Arc::clone(&links),
            open_without_accounts: local,
            public_read: config.auth.public_read,
            date_window: config.auth.date_window.duration(),
            attempts: Arc::default(),
            keystone,
        };
        let opened = OpenParts { registry: Arc::clone(&registry), cache, pulls, metadefs, auth };
        serve(&config, args, data_dir.path(), opened, made).await
    });
    registry.close();
    server_file::remove(data_dir.path());
    if let Some(file) = &args.ready_file {
        ready::remove(file)?;
    }
    served
}

/// Applies the flags, which take precedence over the configuration.
fn effective(mut config: Config, args: &ServeArgs) -> Result<Config, Failure> {
    if !args.listen.is_empty() {
        config.server.listen.clone_from(&args.listen);
    }
    if args.no_tls {
        config.server.listen_tls.clear();
    } else if !args.listen_tls.is_empty() {
        config.server.listen_tls.clone_from(&args.listen_tls);
        config.listen_tls_chosen = true;
    }
    config.fetch.allow.extend(&args.allow_fetch);
    config.cache.offline |= args.offline;
    config.check()?;
    Ok(config)
}

/// The data directory of a configuration, locked.
pub(super) fn take(config: &Config) -> Result<DataDir, Failure> {
    let taken = DataDir::take(&config.data_dir()?).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::new(Exit::Conflict, error),
        _ => Failure::general(format!("cannot use the data directory: {error}")),
    })?;
    // Of a server that was killed.
    server_file::remove(taken.path());
    Ok(taken)
}

/// Limits on slow uploads.
fn patience(config: &Config) -> RateLimits {
    RateLimits { idle: config.upload.idle.duration(), bytes_per_second_min: config.upload.rate_min.bytes() }
}

/// The service over a data directory.
pub(super) fn registry(config: &Config, data_dir: &Path, fetcher: &Fetcher) -> Result<Arc<Registry>, Failure> {
    let catalog = Catalog::open(&DataDir::catalog(data_dir), config.catalog.cache.bytes())
        .map_err(|error| Failure::general(format!("cannot open the catalogue: {error}")))?;
    // Stores are the server's own: they are asked while nothing is fetched, too.
    let stores = stores::open(config, data_dir, &fetcher.apart())?;
    let limits = Limits {
        image_bytes_max: config.upload.image_max.bytes(),
        uploads_max: config.upload.uploads_max,
        free_bytes_min: config.upload.free_min.bytes(),
        patience: patience(config),
        publish: match config.auth.publish {
            Publishers::Owner => Publish::Owner,
            Publishers::Admin => Publish::Admin,
        },
        sha512: config.glance.os_hash_algo == HashAlgorithm::Sha512,
        url_digests: config.fetch.digests,
        offer_disks: config.lxd.offer_disks,
        keep_removed: config.lxd.keep_removed.duration(),
        unpack_imports: config.import.unpack,
        inspect: Rules { off: config.inspect.off.iter().map(|name| name.format()).collect() },
    };
    let linked = Linked::new(config.stores.file.import_dirs.clone());
    let instances = config.lxd.instances.iter().map(|one| (one.name.clone(), one.path.clone()));
    let instances = Instances::new(instances);
    Ok(Registry::new(catalog, stores, linked, instances, fetcher.clone(), system_clock, limits))
}

/// Creates an account at the first start off loopback, or with a Keystone, where every write needs one. Returns a line with the file of its
/// secret.
fn first_account(accounts: &Accounts, local: bool, data_dir: &Path) -> Result<Option<String>, Failure> {
    if local || !accounts.is_empty()? {
        return Ok(None);
    }
    accounts.add("admin", None, Role::Administrator, system_clock())?;
    Ok(Some(format!(
        "created the account admin; its secret is in {}",
        DataDir::keys(data_dir).join("accounts.json").display()
    )))
}

async fn serve(
    config: &Config,
    args: &ServeArgs,
    data_dir: &Path,
    opened: OpenParts,
    made: Option<String>,
) -> Result<(), Failure> {
    let keys = DataDir::keys(data_dir);
    let listeners = Listeners::bind(config, args, &keys)?;
    let urls = listeners.urls()?;
    let OpenParts { registry, cache, pulls, metadefs, auth } = opened;
    let fingerprint = listeners.certificate.as_ref().map(|certificate| certificate.fingerprint.as_str());
    banner(data_dir, &registry, &auth, config, &urls, fingerprint, made).await?;
    let certificate = listeners.certificate.as_ref().map(|certificate| certificate.file.clone());
    let dates = listeners.certificate.as_ref().map(|certificate| certificate.dates.clone());
    let protocols = api::protocols(&Setup {
        registry: Arc::clone(&registry),
        pulls: pulls.clone(),
        pull_through: config.lxd.pull_through.clone(),
        cache,
        metadefs,
        auth,
        trust: Arc::new(Trust::open(&keys)?),
        patience: patience(config),
        buffers: Buffers::for_reads(),
        https: listeners.https(config),
    });
    let (traffic, drain) = (Traffic::default(), config.server.drain.duration());
    let running = server::start(Settings {
        plain: listeners.plain,
        tls: listeners.tls,
        certificate: listeners.certificate,
        names: Names::new(&config.server.names),
        origins: Origins::new(config.server.cors.iter().map(ToString::to_string)),
        workers: config.server.workers,
        connections_max: config.server.connections_max,
        drain,
        access_log: config.log.access,
        public_url: config.server.public_url.trim_end_matches('/').to_owned(),
        protocols: protocols.clone(),
        traffic: traffic.clone(),
    });
    let running = running.map_err(Failure::general)?;
    let stop = ServerStop::new(running.handle(), protocols, registry.clone(), traffic, drain);
    // Registered now, not when the task first runs: a reader of the ready file may end the server at once.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(terminate), Ok(interrupt)) = signals else {
        return Err(Failure::general("cannot handle signals"));
    };
    actix_web::rt::spawn(stop.clone().on_signals(terminate, interrupt));
    if args.with_input {
        stop.clone().with_input();
    }
    if let Some(dates) = dates {
        actix_web::rt::spawn(watch_certificate(dates));
    }
    let update_every = config.lxd.auto_update_interval.duration();
    actix_web::rt::spawn(BackgroundWork::of(&registry).with_pulls(pulls).run(update_every));
    server_file::write(data_dir, &urls, certificate.as_deref()).map_err(|error| {
        Failure::general(format!("cannot say in {} where the server is: {error}", data_dir.display()))
    })?;
    if let Some(file) = &args.ready_file {
        ready::write(file, &urls).map_err(|error| Failure::general(format!("{}: {error}", file.display())))?;
    }
    tokio::select! {
        ended = running => ended.map_err(Failure::general),
        // What is dropped now closes its connections.
        () = stop.at_once() => Ok(()),
    }
}

/// Warns of the end of the server's certificate, at the start and once a day.
async fn watch_certificate(dates: CertificateDates) {
    let mut timer = tokio::time::interval(CERTIFICATE_CHECK_EVERY);
    loop {
        timer.tick().await;
        if let Some(warning) = dates.warning(system_clock()) {
            log::warn!("{warning}");
        }
    }
}
