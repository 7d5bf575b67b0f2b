//! What this service can do, as clients ask for it before they try.

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::{Glance, at, json as answer_json};
use crate::error::{Error, Kind, Result};

/// The ways to import.
pub(super) const IMPORT_METHODS: [&str; 3] = ["glance-direct", "web-download", "copy-image"];

/// The one store that images can be put into.
pub(super) const STORE: &str = "file";

/// Adds the routes.
pub(super) fn mount(app: &mut ServiceConfig) {
    let fixed = |path: &str, value: fn() -> Value| {
        at(path, "GET", |at| {
            at.route(web::get().to(move |request: HttpRequest, glance: Data<Glance>| async move {
                glance.answer(&request, async |_| Ok(answer_json(&mut HttpResponse::Ok(), &value()))).await
            }))
        })
    };
    app.service(fixed("/info/import", import))
        .service(fixed("/info/stores", stores))
        .service(fixed("/info/usage", usage));
    app.service(at("/info/stores/detail", "GET", |at| at.route(web::get().to(stores_in_detail))));
    app.service(at("/stores/{store}/{id}", "DELETE", |at| at.route(web::delete().to(remove_copy))));
}

/// # Errors
/// `Invalid` for a store that is not there.
pub(super) fn check_store(name: &str) -> Result<()> {
    if name == STORE { Ok(()) } else { Err(unknown_store(Kind::Invalid, name)) }
}

fn unknown_store(kind: Kind, name: &str) -> Error {
    Error::new(kind, format!("Requested store {} is not available on this server.", name.escape_default()))
}

fn import() -> Value {
    let methods = json!({ "description": "Import methods available.", "type": "array", "value": IMPORT_METHODS });
    json!({ "import-methods": methods })
}

fn stores() -> Value {
    json!({ "stores": [{ "id": STORE, "default": "true" }] })
}

/// Without quotas there is nothing to say.
fn usage() -> Value {
    json!({ "usage": {} })
}

/// `GET /v2/info/stores/detail`. The directory is nobody's business here.
async fn stores_in_detail(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        if !who.is_admin() {
            return Err(Error::new(Kind::Forbidden, "You are not authorized to complete stores_info_detail action."));
        }
        let store = json!({ "id": STORE, "default": "true", "type": "file", "weight": 0, "properties": {} });
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "stores": [store] })))
    });
    shown.await
}

/// `DELETE /v2/stores/:store/:id`: there is only ever one copy.
async fn remove_copy(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let refused = glance.answer(&request, async |who| {
        let store = request.match_info().get("store").unwrap_or_default();
        if store != STORE {
            return Err(unknown_store(Kind::Conflict, store));
        }
        let image = glance.registry.get(&who, super::id_of(&request)?).await?;
        who.may_change(&image)?;
        Err(Error::new(Kind::Forbidden, "The only copy of an image can't be removed; delete the image."))
    });
    refused.await
}
