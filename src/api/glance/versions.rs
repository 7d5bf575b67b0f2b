//! The list of versions, in which clients look for features. All minor versions lead to the paths of their major version.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::http::base::base_url;
use crate::http::route::{Route, answer_json, get};
use crate::registry::policy::Action;

/// Minor versions of v2, newest first; each stands for a feature. 2.14, 2.16 and 2.18 are missing, as in a Glance without
/// a cache.
const V2: [&str; 16] = [
    "v2.17", "v2.15", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3",
    "v2.2", "v2.1", "v2.0",
];

/// Minor versions of v1, which Glance called deprecated in its last years.
const V1: [&str; 2] = ["v1.1", "v1.0"];

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    // Glance answers 300 for a choice of versions, and clients expect it.
    let choices = |request: HttpRequest| async move { list(&request, StatusCode::MULTIPLE_CHOICES) };
    let versions = |request: HttpRequest| async move { list(&request, StatusCode::OK) };
    vec![
        get("/", Action::Discover, choices),
        get("/versions", Action::Discover, versions),
        get("/versions/", Action::Discover, versions),
        get("/healthcheck", Action::Discover, || async { HttpResponse::Ok().body("OK") }),
        get("/v2", Action::Discover, to_v2),
    ]
}

/// Redirects to the path with a slash at its end, as Glance does.
async fn to_v2(request: HttpRequest) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, format!("{}/v2/", base_url(&request)))).finish()
}

fn list(request: &HttpRequest, status: StatusCode) -> HttpResponse {
    answer_json(&mut HttpResponse::build(status), &document(&base_url(request)))
}

fn document(base: &str) -> Value {
    let entry = |id: &str, status: &str, folder: &str| {
        let href = format!("{base}/{folder}/");
        json!({ "id": id, "status": status, "links": [{ "rel": "self", "href": href }] })
    };
    let v2 = V2.iter().enumerate().map(|(at, id)| entry(id, if at == 0 { "CURRENT" } else { "SUPPORTED" }, "v2"));
    let v1 = V1.iter().map(|id| entry(id, "DEPRECATED", "v1"));
    json!({ "versions": v2.chain(v1).collect::<Vec<_>>() })
}
