//! The end of a server that is told to stop: by a signal, or by the end of its input. Once, and running transfers may end; twice, and
//! it ends at once. Knows no protocol.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::print::count;
use crate::http::protocol::Protocols;
use crate::http::traffic::Traffic;
use crate::registry::Registry;

/// Time until the log says what the stop waits for: what ends at once is not worth a line.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Time between two such lines.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Time for the orderly part of an end at once. Acknowledged changes are durable by then.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The stop of a server. Clones are the same one.
#[derive(Clone)]
pub(super) struct ServerStop(Arc<Stopping>);

struct Stopping {
    handle: ServerHandle,
    protocols: Protocols,
    registry: Arc<Registry>,
    traffic: Traffic,
    /// Time for transfers to end.
    drain: Duration,
    begun: AtomicBool,
    /// A signal came. The end of the input is none: a parent that dies of its own signal ends that, too.
    signalled: AtomicBool,
    at_once: watch::Sender<bool>,
}

impl ServerStop {
    pub(super) fn new(
        handle: ServerHandle,
        protocols: Protocols,
        registry: Arc<Registry>,
        traffic: Traffic,
        drain: Duration,
    ) -> Self {
        let (begun, signalled, at_once) = (AtomicBool::new(false), AtomicBool::new(false), watch::Sender::new(false));
        Self(Arc::new(Stopping { handle, protocols, registry, traffic, drain, begun, signalled, at_once }))
    }

    /// Stops the server at the first of these signals, and ends it at the second.
    pub(super) async fn on_signals(self, mut terminate: Signal, mut interrupt: Signal) {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match self.0.signalled.swap(true, Ordering::SeqCst) {
                false => self.begin(),
                true => self.end(),
            }
        }
    }

    /// Stops the server when its standard input ends. A thread reads it that nothing waits for.
    pub(super) fn with_input(self) {
        let (sender, ended) = oneshot::channel();
        std::thread::spawn(move || {
            // An error is an end, too.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = sender.send(());
        });
        actix_web::rt::spawn(async move {
            if ended.await.is_ok() {
                self.begin();
            }
        });
    }

    /// Waits until the server is to end at once.
    pub(super) async fn at_once(&self) {
        // The sender lives as long as this.
        let _ = self.0.at_once.subscribe().wait_for(|at_once| *at_once).await;
    }

    /// Ends the server at once.
    fn end(&self) {
        log::info!("stopping now: {}", self.ended_by_it());
        // What blocks a thread must not hold the end.
        std::thread::spawn(|| {
            std::thread::sleep(AT_ONCE);
            std::process::exit(0);
        });
        self.0.at_once.send_replace(true);
    }

    /// Begins the stop.
    fn begin(&self) {
        if self.0.begun.swap(true, Ordering::SeqCst) {
            return;
        }
        log::info!(
            "stopping: uploads in pieces end now and can be continued at the next start, other transfers may end for {:?}; a \
             second signal ends them",
            self.0.drain
        );
        self.0.registry.uploads().park_all();
        let stopping = Arc::clone(&self.0);
        actix_web::rt::spawn(async move { stopping.protocols.stop().await });
        actix_web::rt::spawn(self.0.handle.stop(true));
        actix_web::rt::spawn(self.clone().tell());
    }

    /// Says what the stop waits for, until the server ends.
    async fn tell(self) {
        sleep(FIRST_LOOK).await;
        loop {
            if let Some(waits) = self.waits_for() {
                log::info!("waiting for {waits}; a second signal ends the server at once");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Transfers and jobs that have not ended; none if there are none.
    fn waits_for(&self) -> Option<String> {
        let (now, jobs) = (self.0.traffic.now(), self.0.registry.jobs().running() as u64);
        let (uploads, downloads) = (count(now.uploads, "upload"), count(now.downloads, "download"));
        let others = match now.others {
            0 => String::new(),
            others => format!(", {}", count(others, "other request")),
        };
        let any = now.uploads + now.downloads + now.others + jobs > 0;
        any.then(|| format!("{uploads}, {downloads}{others} and {}", count(jobs, "job")))
    }

    fn ended_by_it(&self) -> String {
        self.waits_for()
            .map_or_else(|| "no transfer was left".to_owned(), |waits| format!("{waits} end with the server"))
    }
}
