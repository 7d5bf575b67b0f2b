//! The image API v1, for the clients of 2011 to 2018: metadata in headers, bytes in the body. Knows nothing of v2.

mod images;
mod lists;
mod members;
mod meta;
mod names;
mod quoting;
mod render;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::error::ApiVersion;
use super::{ANSWERS, VERSIONED, identify, unversioned};
use crate::error::{Reason, Result};
use crate::http::base::base_url;
use crate::http::route::{Route, RouteTable, delete, get, head, post, put};
use crate::image::ImageId;
use crate::registry::policy::Action;

/// Route tables: below `/v1` and its minor versions, which Glance does not tell apart; without a version, chosen by `Accept`;
/// and at the root, for the clients of the first half of 2011. Their other paths are VISOR's.
pub(super) fn tables() -> Vec<RouteTable> {
    let folder = vec![get("", Action::Discover, to_folder), get("/", Action::ListImages, lists::brief)];
    let versioned = folder.into_iter().chain(routes()).collect();
    vec![
        unversioned("application/vnd.openstack.images-v1", routes()).around(as_v1),
        RouteTable::below("/v1{minor:(\\.[01])?}", VERSIONED, versioned).around(as_v1),
        RouteTable::at_root(ANSWERS, members::routes().into()).around(as_v1),
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

/// Middleware: marks a request as v1, so that its errors have v1's words.
async fn as_v1(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    request.extensions_mut().insert(ApiVersion::V1);
    identify(request, next).await
}

/// Redirects to the path with a slash at its end, as Glance does.
async fn to_folder(request: HttpRequest) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, format!("{}/v1/", base_url(&request)))).finish()
}

/// The id of the image in a path. A text that is no id names no image.
fn id_of(request: &HttpRequest) -> Result<ImageId> {
    let text = request.match_info().get("id").unwrap_or_default();
    let unknown = || Reason::ImageNotFound.about(text.escape_default());
    text.parse().map_err(|()| unknown())
}
