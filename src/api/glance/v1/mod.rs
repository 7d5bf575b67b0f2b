//! The image API v1: metadata in headers, the bytes in the body. Spoken by the clients of 2011 to 2018.

mod images;
mod lists;
mod members;
mod meta;
mod names;
mod quoting;
mod render;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Scope};

use super::{at, identify, unversioned, versions};
use crate::error::{Error, Kind, Result};
use crate::http::base::base_url;
use crate::image::ImageId;

/// Adds the routes: under `/v1`, and under its minor versions, which Glance takes for the same.
pub(super) fn mount(app: &mut ServiceConfig) {
    let versioned = web::scope("/v1{minor:(\\.[01])?}")
        .service(at("", "GET", |at| at.route(web::get().to(to_folder))))
        .service(at("/", "GET", |at| at.route(web::get().to(lists::brief))));
    app.service(routes(versioned));
    // As the clients of the first half of 2011 had it; of those paths VISOR has the others.
    for resource in members::resources() {
        app.service(resource.wrap(from_fn(identify)));
    }
}

/// Adds those that are chosen by `Accept`.
pub(super) fn mount_by_accept(app: &mut ServiceConfig) {
    app.service(routes(unversioned("application/vnd.openstack.images-v1")));
}

fn routes(scope: Scope) -> impl HttpServiceFactory {
    let scope = resources().into_iter().chain(members::resources()).fold(scope, Scope::service);
    scope.wrap(from_fn(identify)).default_service(web::to(versions::unknown))
}

fn resources() -> [Resource; 3] {
    [
        at("/images", "GET, POST", |at| at.route(web::get().to(lists::brief)).route(web::post().to(images::create))),
        at("/images/detail", "GET", |at| at.route(web::get().to(lists::detail))),
        at("/images/{id}", "GET, HEAD, PUT, DELETE", |at| {
            at.route(web::get().to(images::read))
                .route(web::head().to(images::read))
                .route(web::put().to(images::update))
                .route(web::delete().to(images::delete))
        }),
    ]
}

/// As Glance: the version is a folder.
async fn to_folder(request: HttpRequest) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, format!("{}/v1/", base_url(&request)))).finish()
}

/// The image that a path names. A text that is no id names none.
fn id_of(request: &HttpRequest) -> Result<ImageId> {
    let text = request.match_info().get("id").unwrap_or_default();
    let unknown = || Error::new(Kind::NotFound, format!("Image with identifier {} not found", text.escape_default()));
    text.parse().map_err(|()| unknown())
}
