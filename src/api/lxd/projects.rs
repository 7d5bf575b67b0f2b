//! `/projects` and `/profiles`: clients ask for both before anything else, so one of each exists, `default`. Neither is
//! stored.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::envelope::{etag, sync, sync_with};
use super::error::render;
use super::{Lxd, recursive};
use crate::error::{Reason, Result};
use crate::http::query::pairs;
use crate::http::route::{Route, get, part};
use crate::registry::policy::Action;

/// The name of the one project, and of the one profile.
pub const DEFAULT: &str = "default";

/// The routes.
pub(super) fn routes() -> impl Iterator<Item = Route> {
    [("projects", project as fn() -> Value), ("profiles", profile)].into_iter().flat_map(|(kind, what)| {
        let list = move |request, lxd| list(request, lxd, kind, what);
        let show = move |request, lxd| show(request, lxd, kind, what);
        [get(format!("/{kind}"), Action::SeeServer, list), get(format!("/{kind}/{{name}}"), Action::SeeServer, show)]
    })
}

fn project() -> Value {
    json!({
        "name": DEFAULT,
        "description": "Everything is in this project",
        "config": { "features.images": "true", "features.profiles": "true" },
        "used_by": [],
    })
}

fn profile() -> Value {
    json!({
        "name": DEFAULT,
        "description": "Nothing, for images that name no other profile",
        "config": {},
        "devices": {},
        "used_by": [],
    })
}

/// `GET /projects` and `/profiles`
async fn list(request: HttpRequest, lxd: Data<Lxd>, kind: &'static str, what: fn() -> Value) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        Ok(match recursive(&request)? {
            true => sync(&[what()]),
            false => sync(&[format!("/1.0/{kind}/{DEFAULT}")]),
        })
    })
    .await
}

/// `GET /projects/NAME` and `/profiles/NAME`
async fn show(request: HttpRequest, lxd: Data<Lxd>, kind: &'static str, what: fn() -> Value) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        if part(&request, "name")? != DEFAULT {
            let reason = if kind == "projects" { Reason::ProjectNotFound } else { Reason::ProfileNotFound };
            return Err(reason.into());
        }
        let shown = what();
        let tag = etag(&[&shown["description"], &shown["config"]]);
        Ok(sync_with(HttpResponse::Ok().insert_header((header::ETAG, tag)), &shown))
    })
    .await
}

/// Refuses each request for another project. Middleware of all routes.
pub(super) async fn in_default(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let other = |(name, value): &(String, String)| name == "project" && !value.is_empty() && value != DEFAULT;
    let refusal = match pairs(request.query_string()) {
        Ok(pairs) if pairs.iter().any(other) => Reason::ProjectNotFound.into(),
        Ok(_) => return next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Err(error) => error,
    };
    let response = render(request.request(), &refusal);
    Ok(request.into_response(response))
}
