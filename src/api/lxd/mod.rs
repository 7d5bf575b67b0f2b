//! LXD's REST API as far as an image server needs it, for the clients and daemons of LXD and Incus. What is served:
//! `docs/protocols/lxd.md`.
//!
//! Whoever has no trusted certificate reads public images and asks to be trusted, and that is all.

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
use crate::registry::{RateLimits, Registry};

/// LXD's API.
pub(super) static PROTOCOL: Protocol = Protocol { name: "lxd", covers, tables, render, no_path };

/// Makes the API of a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    let jobs = setup.registry.jobs();
    Box::new(Lxd {
        registry: Arc::clone(&setup.registry),
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

    /// Ends listeners and waiting requests, when what has an end of its own has come to it.
    fn stop(&self) -> BoxFuture<'static, ()> {
        let lxd = self.clone();
        Box::pin(async move {
            lxd.registry.jobs().end().await;
            lxd.events.end();
        })
    }
}

/// What the handlers need. Clones share it.
#[derive(Clone)]
pub struct Lxd {
    /// The service.
    pub registry: Arc<Registry>,
    /// Who may call.
    pub auth: AuthRules,
    /// Whose certificates are known.
    pub trust: Arc<Trust>,
    /// What goes on.
    pub operations: Operations,
    /// What happens.
    pub events: Events,
    /// How patient to be with bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
    /// What clients are told about the listeners.
    pub https: Arc<HttpsEndpoint>,
}

impl Lxd {
    /// What every handler does around its own work.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        work: impl AsyncFnOnce() -> Result<HttpResponse>,
    ) -> HttpResponse {
        work().await.unwrap_or_else(|error| render(request, &error))
    }
}

/// Whether a list is to have what it lists, and not just where that is. What is no number asks for nothing, as for LXD.
///
/// # Errors
/// `Invalid` for a query that is no text.
pub fn recursive(request: &HttpRequest) -> Result<bool> {
    Ok(parameter(request, "recursion")?.and_then(|level| level.parse::<u32>().ok()).is_some_and(|level| level > 0))
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
