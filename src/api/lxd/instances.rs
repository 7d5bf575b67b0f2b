//! `/instances`: root file systems of the operator's, for clients that publish them as images. Nothing runs here.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::envelope::sync;
use super::time::NEVER;
use super::{Lxd, recursive};

use crate::archive::kernel_name;
use crate::http::route::{Route, get, part};
use crate::registry::policy::Action;

/// The routes. Older clients ask for `/containers`.
pub(super) fn routes() -> impl Iterator<Item = Route> {
    ["instances", "containers"].into_iter().flat_map(|kind| {
        [
            get(format!("/{kind}"), Action::SeeServer, move |request, lxd| list(request, lxd, kind)),
            get(format!("/{kind}/{{name}}"), Action::SeeServer, show),
        ]
    })
}

/// A root file system, as an instance that does not run.
fn instance(name: &str) -> Value {
    json!({
        "name": name,
        "description": "A root file system to be published",
        "type": "container",
        "status": "Stopped",
        "status_code": 102,
        "architecture": crate::registry::this_machine().map_or("", kernel_name),
        "config": {},
        "devices": {},
        "expanded_config": {},
        "expanded_devices": {},
        "ephemeral": false,
        "stateful": false,
        "profiles": ["default"],
        "created_at": NEVER,
        "last_used_at": NEVER,
        "location": "none",
        "project": "default",
    })
}

/// `GET /instances`
async fn list(request: HttpRequest, lxd: Data<Lxd>, kind: &'static str) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request)?;
        let names = lxd.registry.lxd().instances().names();
        Ok(match recursive(&request)? {
            true => sync(&names.map(instance).collect::<Vec<_>>()),
            false => sync(&names.map(|name| format!("/1.0/{kind}/{name}")).collect::<Vec<_>>()),
        })
    })
    .await
}

/// `GET /instances/NAME`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request)?;
        let name = part(&request, "name")?;
        lxd.registry.lxd().instances().find(&name, "")?;
        Ok(sync(&instance(&name)))
    })
    .await
}
