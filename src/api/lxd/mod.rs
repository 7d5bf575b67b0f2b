//! LXD's REST API as far as an image server needs it, for the clients and daemons of LXD and Incus:
//! `docs/protocols/lxd.md`. Rules about images stand in `registry/`, not here.
//!
//! A client without a trusted certificate may read public images and ask to be trusted, and nothing else.

pub mod auth;
mod certificates;
pub mod envelope;
pub mod error;
pub mod events;
mod images;
mod instances;
pub mod operations;
pub mod projects;
pub mod requestor;
pub mod server;
mod time;
mod wording;

use std::sync::Arc;

use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::BoxFuture;

use self::error::{no_method, no_path, render};
use self::events::Events;
use self::operations::Operations;
use super::Setup;
use super::auth::AuthRules;
use crate::account::trust::Trust;
use crate::error::Result;
use crate::http::addresses::HttpsEndpoint;
use crate::http::origin::Buffers;
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, RouteTable, get, parameter};
use crate::registry::policy::Action;
use crate::registry::{PullThrough, RateLimits, Registry};

/// LXD's API.
pub(super) static PROTOCOL: Protocol = Protocol { name: "lxd", covers, tables, render, no_path };

/// Makes the API of a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    let jobs = setup.registry.jobs();
    Box::new(Lxd {
        registry: Arc::clone(&setup.registry),
        through: setup.pulls.as_ref().and_then(|pulls| PullThrough::new(pulls, &setup.pull_through)),
        auth: setup.auth.clone(),
        trust: Arc::clone(&setup.trust),
        operations: Operations::new(jobs.clone()),
        events: Events::new(jobs.events().clone()),
        patience: setup.patience,
        buffers: setup.buffers.clone(),
        https: Arc::new(setup.https.clone()),
    })
}

impl Service for Lxd {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }

    /// Ends listeners, and requests that wait for jobs. What holds either is the work that its client waits for.
    fn stop(&self) -> BoxFuture<'static, ()> {
        let lxd = self.clone();
        Box::pin(async move {
            lxd.events.end();
            lxd.registry.jobs().end().await;
        })
    }
}

/// State of the handlers, shared by its clones.
#[derive(Clone)]
pub struct Lxd {
    /// Images, and the rules about them.
    pub registry: Arc<Registry>,
    /// Vendors whose images are pulled for clients that ask for them.
    pub through: Option<PullThrough>,
    /// Accounts, and the rules of access.
    pub auth: AuthRules,
    /// Certificates of trusted clients.
    pub trust: Arc<Trust>,
    /// Running operations, and secrets that wait for use.
    pub operations: Operations,
    /// Events, and their listeners.
    pub events: Events,
    /// Limits on slow bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
    /// Addresses and certificate of the HTTPS listeners, as clients see them.
    pub https: Arc<HttpsEndpoint>,
}

impl Lxd {
    /// Answers a request with the outcome of its work: a response, or an error in LXD's form.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        work: impl AsyncFnOnce() -> Result<HttpResponse>,
    ) -> HttpResponse {
        work().await.unwrap_or_else(|error| render(request, &error))
    }
}

/// Tells whether a list is to contain objects instead of paths. A value that is not a number counts as 0, as in LXD.
///
/// # Errors
/// `Invalid` for a query that is not text.
pub fn recursive(request: &HttpRequest) -> Result<bool> {
    recursion(request).map(|level| level > 0)
}

/// Tells whether a change sets all fields of a record, and not only those that it names: `PUT` does, and `PATCH` does not.
fn sets_all(request: &HttpRequest) -> bool {
    request.method() == Method::PUT
}

/// Levels of objects that a list is to contain: 0 for paths.
///
/// # Errors
/// As [`recursive`].
pub fn recursion(request: &HttpRequest) -> Result<u32> {
    Ok(parameter(request, "recursion")?.and_then(|level| level.parse().ok()).unwrap_or(0))
}

fn covers(path: &str) -> bool {
    path == "/1.0" || path.starts_with("/1.0/")
}

const ANSWERS: Answers = Answers { no_method: Some(no_method), no_path: Some(no_path) };

fn tables() -> Vec<RouteTable> {
    let mut routes = server::routes();
    routes.extend(projects::routes());
    routes.extend(certificates::routes());
    routes.extend(operations::routes::routes());
    routes.extend(images::routes());
    routes.extend(instances::routes());
    routes.push(get("/events", Action::HearEvents, events::socket::listen));
    vec![
        RouteTable::at_root(ANSWERS, vec![server::root()]).only(fn_guard(server::is_for_lxd)),
        RouteTable::below("/1.0", ANSWERS, routes).around(projects::in_default),
    ]
}
