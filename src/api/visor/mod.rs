//! VISOR's own REST API, for its original clients. It parses, calls the registry and renders; it knows no other
//! protocol. Source: `docs/protocols/visor.md`.

mod auth;
mod cached;
pub(in crate::api) mod error;
mod forms;
mod images;
mod jobs;
mod links;
mod lists;
mod meta;
mod operator;
mod pulls;
mod uploads;
mod users;
mod wire;

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::api::Setup;
use crate::api::auth::AuthRules;
use crate::cache::Cache;
use crate::error::Result;
use crate::http::origin::Buffers;
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, RouteTable, any, delete, get, head, post, put};
use crate::registry::policy::Action;
use crate::registry::{Caller, Pulls, RateLimits, Registry};

/// VISOR's API. It also answers for paths that no protocol covers.
pub(super) static PROTOCOL: Protocol =
    Protocol { name: "visor", covers, tables, render: error::render, no_path: error::no_path };

/// Opens the API on a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    Box::new(Visor {
        registry: Arc::clone(&setup.registry),
        pulls: setup.pulls.clone(),
        cache: setup.cache.clone(),
        auth: setup.auth.clone(),
        patience: setup.patience,
        buffers: setup.buffers.clone(),
    })
}

impl Service for Visor {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }
}

/// First words of the paths that are VISOR's.
const FIRST: [&str; 10] = ["images", "status", "metrics", "uploads", "jobs", "all", "users", "pulls", "vendors", "get"];

fn covers(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    FIRST.contains(&first) || cached::covers(path)
}

/// State that the handlers share.
#[derive(Clone)]
pub struct Visor {
    /// The service.
    pub registry: Arc<Registry>,
    /// The service for vendors' images, unless the cache is switched off.
    pub pulls: Option<Arc<Pulls>>,
    /// The cache of vendors' files, unless it is switched off.
    pub cache: Option<Arc<Cache>>,
    /// Rules for callers.
    pub auth: AuthRules,
    /// Limits on the speed of bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
}

impl Visor {
    /// Authenticates a request without a body.
    async fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        self.caller_with(request, false).await
    }

    async fn caller_with(&self, request: &HttpRequest, has_body: bool) -> Result<Caller> {
        auth::caller(request, &self.auth, self.registry.now(), has_body).await
    }
}

const ANSWERS: Answers = Answers { no_method: Some(error::no_method), no_path: None };

fn tables() -> Vec<RouteTable> {
    let mut routes = vec![
        get("/images", Action::ListImages, images::brief),
        post("/images", Action::CreateImage, images::create),
        get("/images/detail", Action::ListImages, images::detail),
        any("/status", Action::Discover, || async { HttpResponse::Ok().body("OK") }),
        delete("/images/{id}", Action::DeleteImage, images::delete),
        get("/images/{id}", Action::Download, images::read),
        head("/images/{id}", Action::SeeImage, images::read),
        put("/images/{id}", Action::ChangeImage, images::update),
    ];
    routes.extend(uploads::routes());
    routes.extend(jobs::routes());
    routes.extend(links::routes());
    routes.extend(pulls::routes());
    routes.extend(cached::routes());
    routes.extend(operator::routes());
    routes.extend([
        delete("/all", Action::DeleteOwnImages, images::delete_all),
        get("/images/{id}/{file}", Action::Download, images::read_named),
        head("/images/{id}/{file}", Action::Download, images::read_named),
        get("/users", Action::ManageAccounts, users::list),
        post("/users", Action::ManageAccounts, users::create),
        delete("/users/{key}", Action::ManageAccounts, users::delete),
        get("/users/{key}", Action::ManageAccounts, users::read),
        put("/users/{key}", Action::ManageAccounts, users::update),
    ]);
    vec![RouteTable::at_root(ANSWERS, routes).with_slashes()]
}
