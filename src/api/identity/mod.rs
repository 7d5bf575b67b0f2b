//! Identity API v3, as far as OpenStack's clients need it to get a token and find the image service: each account is a user
//! and a project of the same name. Accounts are made elsewhere (`visor account`); nothing here changes one.
//! What is served: `docs/protocols/identity.md`.

mod ask;
mod directory;
pub(in crate::api) mod error;
mod login;
mod tokens;
mod wire;

use std::sync::Arc;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder};
use serde_json::Value;

use self::error::{no_method, no_path, render};
use self::login::Holder;
use super::auth::{AUTH_TOKEN, AuthRules, header, no_token};
use crate::error::Result;
use crate::registry::{RateLimits, Registry};

/// What the handlers need.
#[derive(Clone)]
pub struct Identity {
    /// Whose clock is used.
    registry: Arc<Registry>,
    /// Accounts and tokens.
    auth: AuthRules,
    /// How patient to be with bodies.
    patience: RateLimits,
}

impl Identity {
    /// The identity API of a service.
    pub fn new(registry: Arc<Registry>, auth: AuthRules, patience: RateLimits) -> Self {
        Self { registry, auth, patience }
    }

    /// Whoever sent a request, by its token.
    fn sender(&self, request: &HttpRequest) -> Result<Holder> {
        if self.auth.is_open()? {
            return self.anybody();
        }
        let token = header(request, &AUTH_TOKEN)?.ok_or_else(no_token)?;
        self.holder(token)?.ok_or_else(no_token)
    }

    /// Answers a request of somebody known with what `show` makes of it.
    fn answer(&self, request: &HttpRequest, show: impl FnOnce(&Holder) -> Result<Value>) -> HttpResponse {
        let shown = self.sender(request).and_then(|holder| show(&holder));
        shown.map_or_else(|error| render(request, &error), |shown| wire::ok(&shown))
    }
}

/// A path that is only read.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let routes = web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler));
    routes.default_service(web::to(|request: HttpRequest| async move { no_method(&request, "GET, HEAD") }))
}

/// Adds the routes: under `/v3`, and under `/identity/v3`, where other clouds have them.
pub fn mount(app: &mut ServiceConfig, identity: &Identity) {
    app.app_data(Data::new(identity.clone()));
    let version = |request: HttpRequest| async move { wire::ok(&wire::version(&request)) };
    let versions = |request: HttpRequest| async move { wire::choices(&request) };
    let unknown = |request: HttpRequest| async move { no_path(&request) };
    for prefix in ["/v3", "/identity/v3"] {
        let tokens = web::resource("/auth/tokens")
            .route(web::post().to(tokens::create))
            .route(web::get().to(tokens::show))
            .route(web::head().to(tokens::show))
            .route(web::delete().to(tokens::revoke))
            .default_service(web::to(
                |request: HttpRequest| async move { no_method(&request, "DELETE, GET, HEAD, POST") },
            ));
        app.service(
            web::scope(prefix)
                .service(read("", version))
                .service(read("/", version))
                .service(tokens)
                .service(read("/auth/catalog", tokens::catalog))
                .service(read("/auth/projects", tokens::projects))
                .service(read("/auth/domains", tokens::domains))
                .service(read("/auth/system", tokens::system))
                .service(read("/projects", directory::projects))
                .service(read("/projects/{id}", directory::project))
                .service(read("/users", directory::users))
                .service(read("/users/{id}", directory::user))
                .service(read("/users/{id}/projects", directory::projects_of))
                .service(read("/domains", directory::domains))
                .service(read("/domains/{id}", directory::domain))
                .service(read("/roles", directory::roles))
                .service(read("/roles/{id}", directory::role))
                .service(read("/role_assignments", directory::assignments))
                .default_service(web::to(unknown)),
        );
    }
    app.service(
        web::scope("/identity")
            .service(read("", versions))
            .service(read("/", versions))
            .default_service(web::to(unknown)),
    );
}
