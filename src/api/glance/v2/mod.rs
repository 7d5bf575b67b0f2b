//! The image API v2: its routes. Knows nothing of v1, and no rule about images.

mod asked_task;
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
mod task_list;
mod tasks;

use actix_web::HttpRequest;

use super::{VERSIONED, identify, unversioned};
use crate::error::{Reason, Result};
use crate::http::route::{Route, RouteTable, delete, get, patch, post, put};
use crate::image::ImageId;
use crate::registry::policy::Action;

/// Route tables: below `/v2` and its minor versions, which Glance does not tell apart; and the routes of images without a
/// version, chosen by `Accept`.
pub(super) fn tables() -> Vec<RouteTable> {
    let mut versioned = schemas::routes();
    versioned.extend(info::routes());
    versioned.extend(tasks::routes());
    versioned.extend(metadefs::routes());
    versioned.extend(routes());
    vec![
        unversioned("application/vnd.openstack.images-v2", routes()),
        RouteTable::below("/v2{minor:(\\.[0-9]+)?}", VERSIONED, versioned).around(identify),
    ]
}

fn routes() -> Vec<Route> {
    let active = |active| move |request, glance| images::set_active(request, glance, active);
    let mut routes = vec![
        get("/images", Action::ListImages, images::list),
        post("/images", Action::CreateImage, images::create),
        get("/images/{id}", Action::SeeImage, images::show),
        patch("/images/{id}", Action::ChangeImage, images::update),
        delete("/images/{id}", Action::DeleteImage, images::delete),
        get("/images/{id}/file", Action::Download, data::download),
        put("/images/{id}/file", Action::UploadBytes, data::upload),
        put("/images/{id}/stage", Action::UploadBytes, data::stage),
        post("/images/{id}/import", Action::ImportFromUrl, import::start),
        get("/images/{id}/tasks", Action::SeeJobsOfImage, tasks::of_image),
        post("/images/{id}/actions/deactivate", Action::WithholdImage, active(false)),
        post("/images/{id}/actions/reactivate", Action::WithholdImage, active(true)),
    ];
    routes.extend(sharing::routes());
    routes.extend(locations::routes());
    routes
}

/// The id of the image in a path. A text that is no id names no image: clients try a name this way, and then ask for a list.
fn id_of(request: &HttpRequest) -> Result<ImageId> {
    let text = request.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|()| Reason::ImageNotFound.about(text.escape_default()))
}
