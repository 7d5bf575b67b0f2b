//! The image API v1: metadata in headers, the bytes in the body. Spoken by the clients of 2011 to 2018.

mod images;
mod lists;
mod members;
mod meta;
mod names;
mod quoting;
mod render;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::{ANSWERS, VERSIONED, identify, unversioned};
use crate::error::{Error, Kind, Result};
use crate::http::base::base_url;
use crate::http::route::{Route, RouteTable, delete, get, head, post, put};
use crate::image::ImageId;
use crate::registry::policy::Action;

/// The routes: under `/v1` and under its minor versions, which Glance takes for the same; without a version, chosen by
/// `Accept`; and as the clients of the first half of 2011 had them, whose other paths VISOR has.
pub(super) fn tables() -> Vec<RouteTable> {
    let folder = vec![get("", Action::Discover, to_folder), get("/", Action::ListImages, lists::brief)];
    let versioned = folder.into_iter().chain(routes()).collect();
    vec![
        unversioned("application/vnd.openstack.images-v1", routes()),
        RouteTable::below("/v1{minor:(\\.[01])?}", VERSIONED, versioned).around(identify),
        RouteTable::at_root(ANSWERS, members::routes().into()).around(identify),
    ]
}

fn routes() -> Vec<Route> {
    let images = [
        get("/images", Action::ListImages, lists::brief),
        post("/images", Action::CreateImage, images::create),
        get("/images/detail", Action::ListImages, lists::detail),
        get("/images/{id}", Action::Download, images::read),
        head("/images/{id}", Action::SeeImage, images::read),
        put("/images/{id}", Action::ChangeImage, images::update),
        delete("/images/{id}", Action::DeleteImage, images::delete),
    ];
    images.into_iter().chain(members::routes()).collect()
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
