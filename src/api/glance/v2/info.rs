//! Discovery of import methods, stores and quotas, and the removal of a copy from a store. Shows no directory and no address.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::Glance;
use super::schemas::fixed;
use crate::error::{Reason, Result};
use crate::http::route::{Route, answer_json, delete, get};
use crate::image::StoreName;
use crate::registry::Registry;
use crate::registry::policy::Action;

/// Names of the import methods.
pub(super) const IMPORT_METHODS: [&str; 3] = ["glance-direct", "web-download", "copy-image"];

/// The routes.
pub(super) fn routes() -> [Route; 5] {
    [
        fixed("/info/import".into(), import),
        fixed("/info/usage".into(), usage),
        get("/info/stores", Action::SeeStores, stores),
        get("/info/stores/detail", Action::SeeStoreDetails, stores_in_detail),
        delete("/stores/{store}/{id}", Action::CopyBetweenStores, remove_copy),
    ]
}

/// Finds a store by its name.
///
/// # Errors
/// `otherwise`, for an unknown store.
pub(super) fn store_named(registry: &Registry, name: &str, otherwise: Reason) -> Result<StoreName> {
    let store = name.parse().ok().filter(|store| registry.stores().has(store));
    store.ok_or_else(|| otherwise.about(name.escape_default()))
}

/// Names of the stores that take bytes, the default first, as a header has them.
pub(super) fn store_ids(registry: &Registry) -> String {
    let default = registry.stores().default_name();
    let others = registry.stores().iter().map(|store| &store.name).filter(|name| *name != default);
    std::iter::once(default).chain(others).map(StoreName::as_str).collect::<Vec<_>>().join(",")
}

fn import() -> Value {
    let methods = json!({ "description": "Import methods available.", "type": "array", "value": IMPORT_METHODS });
    json!({ "import-methods": methods })
}

/// `GET /v2/info/stores`. The last is read-only: URLs can be registered there, bytes cannot be uploaded.
async fn stores(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |_| {
        let mut stores = shown_stores(&glance.registry);
        stores.push(urls());
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "stores": stores })))
    });
    shown.await
}

/// The store that stands for URLs.
fn urls() -> Value {
    json!({ "id": StoreName::HTTP.as_str(), "read-only": "true" })
}

fn shown_stores(registry: &Registry) -> Vec<Value> {
    let default = registry.stores().default_name();
    let shown = registry.stores().iter().map(|store| {
        let mut shown = json!({ "id": store.name.as_str() });
        if !store.description.is_empty() {
            shown["description"] = store.description.clone().into();
        }
        if store.name == *default {
            // A text and no flag, as in Glance.
            shown["default"] = "true".into();
        }
        shown
    });
    shown.collect()
}

/// `GET /v2/info/usage`. Empty: there are no quotas.
fn usage() -> Value {
    json!({ "usage": {} })
}

/// `GET /v2/info/stores/detail`. Directories and addresses stay hidden.
async fn stores_in_detail(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let details = glance.registry.store_details(&who)?;
        let mut stores = shown_stores(&glance.registry);
        stores.push(urls());
        let kinds = details.iter().map(|store| store.kind).chain([StoreName::HTTP.as_str()]);
        for (shown, kind) in stores.iter_mut().zip(kinds) {
            shown["type"] = kind.into();
            shown["weight"] = 0.into();
            shown["properties"] = json!({});
        }
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "stores": stores })))
    });
    shown.await
}

/// `DELETE /v2/stores/:store/:id`
async fn remove_copy(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let removed = glance.answer(&request, async |who| {
        let name = request.match_info().get("store").unwrap_or_default();
        let store = match name == StoreName::HTTP.as_str() {
            true => StoreName::HTTP,
            false => store_named(&glance.registry, name, Reason::StoreNotThere)?,
        };
        glance.registry.copies().remove_copy(&who, super::id_of(&request)?, &store).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    removed.await
}
