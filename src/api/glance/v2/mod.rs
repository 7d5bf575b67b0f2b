//! The image API v2.

mod change;
mod data;
mod images;
mod import;
mod info;
mod locations;
mod metadefs;
mod names;
mod patch;
mod query;
mod render;
mod schemas;
mod sharing;
mod tasks;

use actix_web::dev::HttpServiceFactory;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Scope};

use super::{at, identify, unversioned, versions};
use crate::error::{Error, Kind, Result};
use crate::image::ImageId;

/// Adds the routes: under `/v2`, and under each of its minor versions, which Glance takes for the same.
pub(super) fn mount(app: &mut ServiceConfig) {
    let versioned = web::scope("/v2{minor:(\\.[0-9]+)?}")
        .configure(schemas::mount)
        .configure(info::mount)
        .configure(tasks::mount)
        .configure(metadefs::mount);
    app.service(routes(versioned));
}

/// Adds those that are chosen by `Accept`: of images only, for nothing else is asked for without a version.
pub(super) fn mount_by_accept(app: &mut ServiceConfig) {
    app.service(routes(unversioned("application/vnd.openstack.images-v2")));
}

fn routes(scope: Scope) -> impl HttpServiceFactory {
    scope
        .configure(images_and_data)
        .configure(sharing::mount)
        .configure(locations::mount)
        .wrap(from_fn(identify))
        .default_service(web::to(versions::unknown))
}

fn images_and_data(app: &mut ServiceConfig) {
    app.service(at("/images", "GET, POST", |at| {
        at.route(web::get().to(images::list)).route(web::post().to(images::create))
    }));
    app.service(at("/images/{id}", "GET, PATCH, DELETE", |at| {
        at.route(web::get().to(images::show))
            .route(web::patch().to(images::update))
            .route(web::delete().to(images::delete))
    }));
    app.service(at("/images/{id}/file", "GET, PUT", |at| {
        at.route(web::get().to(data::download)).route(web::put().to(data::upload))
    }));
    app.service(at("/images/{id}/stage", "PUT", |at| at.route(web::put().to(data::stage))));
    app.service(at("/images/{id}/import", "POST", |at| at.route(web::post().to(import::start))));
    app.service(at("/images/{id}/tasks", "GET", |at| at.route(web::get().to(tasks::of_image))));
    for (action, active) in [("deactivate", false), ("reactivate", true)] {
        let path = format!("/images/{{id}}/actions/{action}");
        app.service(at(&path, "POST", |at| {
            at.route(web::post().to(move |request, glance| images::set_active(request, glance, active)))
        }));
    }
}

/// The image that a path names. A text that is no id names none: clients ask by name this way, and go on by a list.
fn id_of(request: &HttpRequest) -> Result<ImageId> {
    let text = request.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|()| Error::new(Kind::NotFound, format!("No image found with ID {}", text.escape_default())))
}
