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
pub mod time;

use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};
use percent_encoding::percent_decode_str;

use self::error::{no_method, no_path, render};
use self::events::Events;
use self::operations::Operations;
use self::server::Facts;
use super::auth::AuthRules;
use crate::account::trust::Trust;
use crate::blob::Buffers;
use crate::error::{Error, Result};
use crate::http::query::pairs;
use crate::registry::{RateLimits, Registry};

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
    pub facts: Arc<Facts>,
}

impl Lxd {
    /// The API of a service.
    pub fn new(
        registry: Arc<Registry>,
        auth: AuthRules,
        trust: Trust,
        patience: RateLimits,
        buffers: Buffers,
        facts: Facts,
    ) -> Self {
        let operations = Operations::new(registry.jobs().clone());
        let events = Events::new(registry.jobs().events().clone());
        let (trust, facts) = (Arc::new(trust), Arc::new(facts));
        Self { registry, auth, trust, operations, events, patience, buffers, facts }
    }

    /// What every handler does around its own work.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        work: impl AsyncFnOnce() -> Result<HttpResponse>,
    ) -> HttpResponse {
        work().await.unwrap_or_else(|error| render(request, &error))
    }

    /// Ends what would go on for as long as a client likes, when what has an end of its own has come to it. For a server
    /// that was told to stop.
    pub async fn end(&self) {
        self.registry.jobs().end().await;
        self.events.end();
    }
}

/// A path with its methods; any other method is answered as LXD does.
pub fn at(path: &str, routes: impl FnOnce(Resource) -> Resource) -> Resource {
    routes(web::resource(path)).default_service(web::to(no_method))
}

/// A part of the path, as it was before it was written into a URL.
///
/// # Errors
/// `Invalid` for what is no text.
pub fn part(request: &HttpRequest, name: &str) -> Result<String> {
    let text = request.match_info().get(name).unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8().map(String::from);
    text.map_err(|_| Error::invalid("The path is not UTF-8."))
}

/// A parameter of the query: the first of that name.
///
/// # Errors
/// `Invalid` for a query that is no text.
pub fn parameter(request: &HttpRequest, name: &str) -> Result<Option<String>> {
    Ok(pairs(request.query_string())?.into_iter().find(|(other, _)| other == name).map(|(_, value)| value))
}

/// Whether a list is to have what it lists, and not just where that is. What is no number asks for nothing, as for LXD.
///
/// # Errors
/// `Invalid` for a query that is no text.
pub fn recursive(request: &HttpRequest) -> Result<bool> {
    Ok(parameter(request, "recursion")?.and_then(|level| level.parse::<u32>().ok()).is_some_and(|level| level > 0))
}

/// Whether a path is this protocol's, also when nothing is there.
pub fn covers(path: &str) -> bool {
    path == "/1.0" || path.starts_with("/1.0/")
}

/// Adds the routes. They come before those of protocols that answer at `/` too.
pub fn mount(app: &mut ServiceConfig, lxd: &Lxd) {
    app.app_data(Data::new(lxd.clone()));
    server::mount_root(app);
    app.service(
        web::scope("/1.0")
            .wrap(from_fn(projects::in_default))
            .configure(server::mount)
            .configure(projects::mount)
            .configure(certificates::mount)
            .configure(operations::routes::mount)
            .configure(images::mount)
            .configure(instances::mount)
            .service(at("/events", |at| at.route(web::get().to(events::socket::listen))))
            .default_service(web::to(no_path)),
    );
}
