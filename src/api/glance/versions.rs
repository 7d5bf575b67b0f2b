//! The list of versions, in which clients look for features. All minor versions lead to the paths of their major version.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::Glance;
use crate::api::auth::AUTH_TOKEN;
use crate::api::discovery::{identity_url, identity_version};
use crate::http::base::base_url;
use crate::http::headers::text;
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
    let versions = |request: HttpRequest| async move {
        answer_json(&mut HttpResponse::Ok(), &json!({ "versions": entries(&base_url(&request)) }))
    };
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

/// `GET /`: the versions of the image API, and the identity API beside them, for clients that know only this address of both and
/// have to get a token first. OpenStack's SDK takes the highest version of all for that of the image API.
/// Glance answers 300 for a choice of versions, as Keystone does, and clients expect it.
///
/// Clients read Glance's form, a list, and Keystone's, a list below `values`; gophercloud reads only the latter where it looks
/// for the identity API.
async fn choices(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let mut versions = entries(&base_url(&request));
    let needs_token = !glance.auth.is_open().unwrap_or(false) && !request.headers().contains_key(AUTH_TOKEN);
    if needs_token {
        versions.push(identity_version(&identity_url(glance.auth.keystone.as_deref(), &request, "")));
    }
    let agent = text(request.headers(), header::USER_AGENT).unwrap_or_default();
    let versions = if agent.contains("gophercloud") { json!({ "values": versions }) } else { versions.into() };
    let mut response = HttpResponse::build(StatusCode::MULTIPLE_CHOICES);
    response.insert_header((header::VARY, "User-Agent, X-Auth-Token"));
    answer_json(&mut response, &json!({ "versions": versions }))
}

/// The versions of the image API below a URL.
fn entries(base: &str) -> Vec<Value> {
    let entry = |id: &str, status: &str, folder: &str| {
        let href = format!("{base}/{folder}/");
        json!({ "id": id, "status": status, "links": [{ "rel": "self", "href": href }] })
    };
    let v2 = V2.iter().enumerate().map(|(at, id)| entry(id, if at == 0 { "CURRENT" } else { "SUPPORTED" }, "v2"));
    let v1 = V1.iter().map(|id| entry(id, "DEPRECATED", "v1"));
    v2.chain(v1).collect()
}
