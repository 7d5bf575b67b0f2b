//! `visor serve`: puts the parts together, says where it serves, and ends in good order.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use log::LevelFilter;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Exit, Failure};
use super::{Globals, ServeArgs, stores};
use crate::account::Accounts;
use crate::account::tokens::Tokens;
use crate::account::trust::Trust;
use crate::api::auth::AuthRules;
use crate::api::glance::{self as glance_api, Glance};
use crate::api::identity::{self as identity_api, Identity};
use crate::api::lxd::server::Facts;
use crate::api::lxd::{self as lxd_api, Lxd};
use crate::api::simplestreams::{self as simplestreams_api, Simplestreams};
use crate::api::visor::{self as visor_api, Visor};
use crate::blob::{Buffers, Linked};
use crate::catalog::Catalog;
use crate::config::DataDir;
use crate::config::{Config, HashAlgorithm, Publishers};
use crate::fetch::{FetchRules, Fetcher};
use crate::http::addresses::Reachable;
use crate::http::base::PublicUrl;
use crate::http::guard::Names;
use crate::http::server::{self, Settings};
use crate::http::tls::{self, Tls};
use crate::inspect::Rules;
use crate::registry::policy::Publish;
use crate::registry::{Instances, Limits, Metadefs, RateLimits, Registry, system_clock};

/// Serves until it is told to stop.
pub(super) fn run(globals: &Globals, args: &ServeArgs, logger: impl FnOnce(LevelFilter)) -> Result<(), Failure> {
    if let Some(file) = &args.ready_file {
        remove_ready(file)?;
    }
    let config = effective(globals.load()?, args)?;
    logger(config.log.level);
    let data_dir = take(&config)?;
    let keys = DataDir::keys(data_dir.path());
    let accounts = Arc::new(Accounts::open(&keys)?);
    let tokens = Tokens::open(&keys, config.auth.token_lifetime.duration(), system_clock())?;
    let local = config.server.listen.iter().chain(&config.server.listen_tls).all(|a| a.ip().is_loopback());
    let made = first_account(&accounts, local, data_dir.path())?;
    let registry = registry(&config, data_dir.path())?;
    let metadefs = Metadefs::open(&DataDir::catalog(data_dir.path()), system_clock)?;
    let served = actix_web::rt::System::new().block_on(async {
        let swept = registry.maintenance().sweep_at_start().await?;
        log::debug!("swept: {swept:?}");
        let visor = Visor {
            registry: Arc::clone(&registry),
            auth: AuthRules {
                accounts: Arc::clone(&accounts),
                tokens: Arc::new(tokens),
                open_without_accounts: local,
                public_read: config.auth.public_read,
                date_window: config.auth.date_window.duration(),
                attempts: Arc::default(),
            },
            patience: patience(&config),
            buffers: Buffers::for_reads(),
        };
        serve(&config, args, data_dir.path(), visor, metadefs, made).await
    });
    registry.close();
    if let Some(file) = &args.ready_file {
        remove_ready(file)?;
    }
    served
}

/// Flags go over everything.
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
    config.check()?;
    Ok(config)
}

/// Whoever waits for the file must not find that of an earlier run.
fn remove_ready(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::general(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// The data directory of a configuration, locked.
pub(super) fn take(config: &Config) -> Result<DataDir, Failure> {
    DataDir::take(&config.data_dir()?).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::new(Exit::Conflict, error),
        _ => Failure::general(format!("cannot use the data directory: {error}")),
    })
}

/// How slowly bytes may come.
fn patience(config: &Config) -> RateLimits {
    RateLimits { idle: config.upload.idle.duration(), bytes_per_second_min: config.upload.rate_min.bytes() }
}

/// The service over a data directory.
pub(super) fn registry(config: &Config, data_dir: &Path) -> Result<Arc<Registry>, Failure> {
    let catalog = Catalog::open(&DataDir::catalog(data_dir), config.catalog.cache.bytes())
        .map_err(|error| Failure::general(format!("cannot open the catalogue: {error}")))?;
    let fetcher = Fetcher::new(FetchRules { allow: config.fetch.allow.clone(), ..FetchRules::default() });
    let stores = stores::open(config, data_dir, &fetcher)?;
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
        offer_disks: config.lxd.offer_disks,
        keep_removed: config.lxd.keep_removed.duration(),
        inspect: Rules { off: config.inspect.off.iter().map(|name| name.format()).collect() },
    };
    let linked = Linked::new(config.stores.file.import_dirs.clone());
    let instances = config.lxd.instances.iter().map(|one| (one.name.clone(), one.path.clone()));
    let instances = Instances::new(instances);
    Ok(Registry::new(catalog, stores, linked, instances, fetcher, system_clock, limits))
}

/// Off loopback nobody writes without an account, so the first start makes one. Says where its secret lies.
fn first_account(accounts: &Accounts, local: bool, data_dir: &Path) -> Result<Option<String>, Failure> {
    if local || !accounts.is_empty()? {
        return Ok(None);
    }
    accounts.add("admin", None, true, system_clock())?;
    Ok(Some(format!(
        "created the account admin; its secret is in {}",
        DataDir::keys(data_dir).join("accounts.json").display()
    )))
}

/// Where it serves.
struct Listeners {
    plain: Vec<TcpListener>,
    tls: Vec<TcpListener>,
    certificate: Option<Tls>,
}

impl Listeners {
    fn bind(config: &Config, args: &ServeArgs, keys: &Path) -> Result<Self, Failure> {
        let chosen = !args.listen.is_empty() || !args.listen_tls.is_empty();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::new(Exit::Conflict, format!("{error}; is visor running already?")),
            _ => Failure::general(error),
        };
        let plain = server::bind(&config.server.listen, !chosen).map_err(failed)?;
        let tls = match server::bind(&config.server.listen_tls, !chosen) {
            // A machine with LXD or Incus on it has something there already, and plain HTTP is served either way.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && !config.listen_tls_chosen && !plain.is_empty() =>
            {
                log::warn!("not serving HTTPS: {error}; --listen-tls takes another address");
                Vec::new()
            }
            bound => bound.map_err(failed)?,
        };
        let open = || tls::open(keys, &config.server.names, &config.server.listen_tls, system_clock());
        let unusable = |error| Failure::general(format!("the certificate can't be used: {error}"));
        let certificate = if tls.is_empty() { None } else { Some(open().map_err(unusable)?) };
        Ok(Self { plain, tls, certificate })
    }

    fn urls(&self) -> Result<Vec<String>, Failure> {
        let url = |scheme: &str, listener: &TcpListener| {
            listener.local_addr().map(|address| format!("{scheme}://{address}")).map_err(Failure::general)
        };
        let plain = self.plain.iter().map(|listener| url("http", listener));
        plain.chain(self.tls.iter().map(|listener| url("https", listener))).collect()
    }

    /// What LXD's clients are told about them.
    fn facts(&self, config: &Config) -> Facts {
        let reachable = Reachable {
            listeners: self.tls.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            names: config.server.names.clone(),
            public_url: config.server.public_url.clone(),
        };
        Facts::new(reachable, self.certificate.as_ref())
    }
}

async fn serve(
    config: &Config,
    args: &ServeArgs,
    data_dir: &Path,
    visor: Visor,
    metadefs: Metadefs,
    made: Option<String>,
) -> Result<(), Failure> {
    let keys = DataDir::keys(data_dir);
    let listeners = Listeners::bind(config, args, &keys)?;
    let urls = listeners.urls()?;
    banner(data_dir, &visor, &urls, listeners.certificate.as_ref().map(|c| c.fingerprint.as_str()), made).await?;
    let registry = Arc::clone(&visor.registry);
    let glance = Glance {
        registry: Arc::clone(&registry),
        metadefs,
        auth: visor.auth.clone(),
        patience: visor.patience,
        buffers: visor.buffers.clone(),
    };
    let identity = Identity::new(Arc::clone(&registry), visor.auth.clone(), visor.patience);
    let simplestreams = Simplestreams::new(Arc::clone(&registry), visor.auth.clone(), visor.buffers.clone());
    let lxd = Lxd::new(
        Arc::clone(&registry),
        visor.auth.clone(),
        Trust::open(&keys)?,
        visor.patience,
        visor.buffers.clone(),
        listeners.facts(config),
    );
    let settings = Settings {
        plain: listeners.plain,
        tls: listeners.tls,
        certificate: listeners.certificate,
        names: Names::new(&config.server.names),
        workers: config.server.workers,
        connections_max: config.server.connections_max,
        drain: config.server.drain.duration(),
        access_log: config.log.access,
        refuse: refused,
    };
    let public = config.server.public_url.trim_end_matches('/').to_owned();
    let ending = lxd.clone();
    let running = server::start(settings, move |app| {
        if !public.is_empty() {
            app.app_data(PublicUrl(public.clone()));
        }
        lxd_api::mount(app, &lxd);
        simplestreams_api::mount(app, &simplestreams);
        glance_api::mount_by_accept(app);
        visor_api::mount(app, &visor);
        identity_api::mount(app, &identity);
        glance_api::mount(app, &glance);
        app.default_service(web::to(visor_api::unknown_path));
    })
    .map_err(Failure::general)?;
    let handle = running.handle();
    // From now on, and not when the task first runs: whoever reads the ready file may end us at once.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(terminate), Ok(interrupt)) = signals else {
        return Err(Failure::general("cannot handle signals"));
    };
    actix_web::rt::spawn(stop_on_signal((terminate, interrupt), handle, ending));
    let update_every = config.lxd.auto_update_interval.duration();
    actix_web::rt::spawn(registry.work_in_background(update_every));
    if let Some(file) = &args.ready_file {
        write_ready(file, &urls).map_err(|error| Failure::general(format!("{}: {error}", file.display())))?;
    }
    running.await.map_err(Failure::general)
}

/// The answer to a request that no protocol has seen: in the form of the one whose path it has, or of our own.
fn refused(request: &HttpRequest, error: &crate::error::Error) -> HttpResponse {
    match lxd_api::covers(request.path()) {
        true => lxd_api::error::render(request, error),
        false => visor_api::error::render(request, error),
    }
}

/// The first signal lets transfers end, the second does not.
async fn stop_on_signal(
    (mut terminate, mut interrupt): (Signal, Signal),
    handle: actix_web::dev::ServerHandle,
    lxd: Lxd,
) {
    let mut graceful = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log::info!("stopping{}", if graceful { ", running transfers may end first" } else { " now" });
        let lxd = lxd.clone();
        actix_web::rt::spawn(async move { lxd.end().await });
        actix_web::rt::spawn(handle.stop(graceful));
        graceful = false;
    }
}

/// Written aside and renamed, so that whoever waits for it never reads half of it.
fn write_ready(file: &Path, urls: &[String]) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    for url in urls {
        writeln!(aside, "{url}")?;
    }
    aside.persist(file)?;
    Ok(())
}

async fn banner(
    data_dir: &Path,
    visor: &Visor,
    urls: &[String],
    fingerprint: Option<&str>,
    made: Option<String>,
) -> Result<(), Failure> {
    let free = visor.registry.free_bytes().await;
    let free = free.map_or_else(|| "unknown".to_owned(), super::print::size);
    let auth = match (visor.auth.accounts.is_empty()?, visor.auth.public_read) {
        (true, _) => "everybody on this machine reads and writes; no web page does".to_owned(),
        (false, true) => "public images are open to read; everything else needs a signature or a token".to_owned(),
        (false, false) => "every request needs a signature or a token of an account".to_owned(),
    };
    eprintln!("visor {}", env!("CARGO_PKG_VERSION"));
    eprintln!("  data    {} ({free} free)", data_dir.display());
    eprintln!("  access  {auth}");
    if let Some(made) = made {
        eprintln!("          {made}");
    }
    for url in urls {
        eprintln!("  serving {url}");
    }
    if let Some(fingerprint) = fingerprint {
        eprintln!("  tls     sha256 {fingerprint}");
    }
    if let Some(url) = urls.first() {
        eprintln!("  try     curl -F name=hello -F architecture=x86_64 -F file=@some.iso {url}/images");
    }
    Ok(())
}
