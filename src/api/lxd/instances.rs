//! `/instances`: root file systems of the operator's, for clients that publish them as images. Nothing runs here.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::envelope::sync;
use super::images::filter::ListFilter;
use super::time::NEVER;
use super::{Lxd, recursion, recursive};

use crate::archive::kernel_name;
use crate::error::{Error, Result};
use crate::http::route::{Route, get, parameter, part};
use crate::registry::policy::Action;

/// The routes. Older clients ask for `/containers`.
pub(super) fn routes() -> impl Iterator<Item = Route> {
    ["instances", "containers"].into_iter().flat_map(|kind| {
        [
            get(format!("/{kind}"), Action::SeeServer, move |request, lxd| list(request, lxd, kind)),
            get(format!("/{kind}/{{name}}"), Action::SeeServer, show),
            get(format!("/{kind}/{{name}}/state"), Action::SeeServer, state),
            get(format!("/{kind}/{{name}}/snapshots"), Action::SeeServer, move |request, lxd| {
                snapshots(request, lxd, kind)
            }),
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

/// A snapshot that can be published too.
fn snapshot(name: &str) -> Value {
    let mut shown = instance(name);
    if let Value::Object(fields) = &mut shown {
        for absent in ["description", "type", "status", "status_code", "location", "project"] {
            fields.remove(absent);
        }
    }
    shown
}

/// The state of an instance that does not run.
fn stopped() -> Value {
    json!({
        "status": "Stopped",
        "status_code": 102,
        "cpu": { "usage": 0 },
        "disk": {},
        "memory": { "usage": 0, "usage_peak": 0, "swap_usage": 0, "swap_usage_peak": 0 },
        "network": null,
        "pid": 0,
        "processes": 0,
    })
}

/// Names of the snapshots of an instance. Off the serving threads: a directory is read.
async fn snapshots_of(lxd: &Lxd, name: &str) -> Result<Vec<String>> {
    let (instances, name) = (lxd.registry.lxd().instances().clone(), name.to_owned());
    tokio::task::spawn_blocking(move || instances.snapshots(&name)).await.map_err(Error::internal)?
}

/// An instance with all that belongs to it: clients list no instance without.
async fn whole(lxd: &Lxd, name: &str) -> Value {
    // One whose directory is gone is listed as its operator lends it.
    let snapshots = snapshots_of(lxd, name).await.unwrap_or_default();
    let mut shown = instance(name);
    shown["state"] = stopped();
    shown["snapshots"] = snapshots.iter().map(|name| snapshot(name)).collect();
    shown["backups"] = json!([]);
    shown
}

/// `GET /instances`
async fn list(request: HttpRequest, lxd: Data<Lxd>, kind: &'static str) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        let filter = parameter(&request, "filter")?.filter(|text| !text.is_empty());
        let filter = filter.map(|text| ListFilter::parse(&text)).transpose()?;
        let names = lxd.registry.lxd().instances().names();
        let names = names.filter(|name| filter.as_ref().is_none_or(|filter| filter.passes(&instance(name))));
        Ok(match recursion(&request)? {
            0 => sync(&names.map(|name| format!("/1.0/{kind}/{name}")).collect::<Vec<_>>()),
            1 => sync(&names.map(instance).collect::<Vec<_>>()),
            _ => {
                let mut all = Vec::new();
                for name in names {
                    all.push(whole(&lxd, name).await);
                }
                sync(&all)
            }
        })
    })
    .await
}

/// `GET /instances/NAME`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        let name = part(&request, "name")?;
        lxd.registry.lxd().instances().find(&name, "")?;
        Ok(sync(&instance(&name)))
    })
    .await
}

/// `GET /instances/NAME/state`: clients ask for it before they list an instance.
async fn state(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        lxd.registry.lxd().instances().find(&part(&request, "name")?, "")?;
        Ok(sync(&stopped()))
    })
    .await
}

/// `GET /instances/NAME/snapshots`: those that `NAME/SNAPSHOT` publishes.
async fn snapshots(request: HttpRequest, lxd: Data<Lxd>, kind: &'static str) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        let name = part(&request, "name")?;
        let names = snapshots_of(&lxd, &name).await?;
        Ok(match recursive(&request)? {
            true => sync(&names.iter().map(|name| snapshot(name)).collect::<Vec<_>>()),
            false => {
                let path = |snapshot: &String| format!("/1.0/{kind}/{name}/snapshots/{snapshot}");
                sync(&names.iter().map(path).collect::<Vec<_>>())
            }
        })
    })
    .await
}
