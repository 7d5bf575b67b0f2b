//! VISOR's own REST API, as its original clients speak it. Source: `docs/protocols/visor.md`.

mod auth;
pub mod error;
mod forms;
mod images;
mod jobs;
mod lists;
mod meta;
pub mod signature;
mod uploads;
mod users;
mod wire;

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};

use crate::api::auth::AuthRules;
use crate::blob::Buffers;
use crate::error::Result;
use crate::registry::{Caller, RateLimits, Registry};

/// What the handlers need.
#[derive(Clone)]
pub struct Visor {
    /// The service.
    pub registry: Arc<Registry>,
    /// Who may call.
    pub auth: AuthRules,
    /// How patient to be with bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
}

impl Visor {
    /// The caller of a request without a body.
    fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        self.caller_with(request, false)
    }

    fn caller_with(&self, request: &HttpRequest, has_body: bool) -> Result<Caller> {
        auth::caller(request, &self.auth, self.registry.now(), has_body)
    }
}

/// Adds a path, with and without a slash behind it: two resources, because the router compares one path as it is and two
/// by a regular expression. Methods that a path does not have are answered as the original does.
fn at(app: &mut ServiceConfig, path: &str, allow: &'static str, routes: impl Fn(Resource) -> Resource) {
    for path in [path.to_owned(), format!("{path}/")] {
        let refused =
            move || async move { HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, allow)).finish() };
        app.service(routes(web::resource(path).default_service(web::to(refused))));
    }
}

/// Adds the routes. The router tries them in this order.
pub fn mount(app: &mut ServiceConfig, visor: &Visor) {
    app.app_data(web::Data::new(visor.clone()));
    at(app, "/images", "GET, POST", |at| at.route(web::get().to(images::brief)).route(web::post().to(images::create)));
    at(app, "/images/detail", "GET", |at| at.route(web::get().to(images::detail)));
    at(app, "/status", "GET", |at| at.default_service(web::to(|| async { HttpResponse::Ok().body("OK") })));
    at(app, "/images/{id}", "DELETE, GET, HEAD, PUT", |at| {
        at.route(web::get().to(images::read))
            .route(web::head().to(images::read))
            .route(web::put().to(images::update))
            .route(web::delete().to(images::delete))
    });
    uploads::mount(app);
    jobs::mount(app);
    at(app, "/all", "DELETE", |at| at.route(web::delete().to(images::delete_all)));
    at(app, "/users", "GET, POST", |at| at.route(web::get().to(users::list)).route(web::post().to(users::create)));
    at(app, "/users/{key}", "DELETE, GET, PUT", |at| {
        at.route(web::get().to(users::read)).route(web::put().to(users::update)).route(web::delete().to(users::delete))
    });
}

/// The answer to a path that no protocol has.
pub async fn unknown_path() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("application/json; charset=utf-8")
        .body(r#"{"code":404,"message":"Invalid operation or path."}"#)
}
