//! `POST /v2/images/:id/import`: makes staged bytes or those of a URL the image's, or copies the image to other stores. Parses
//! only; the work is a job of the core.

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::{Glance, body};
use super::asked_task::{AskedTask, names};
use super::data::{STORE, has_formats};
use super::{id_of, info};
use crate::error::{Error, Reason, Result};
use crate::http::headers::text;
use crate::image::StoreName;
use crate::registry::{ImportWish, Registry};

/// Source of an import.
#[derive(Debug, PartialEq, Eq)]
enum ImportSource {
    /// Staged bytes.
    Staged,
    /// A URL.
    Download(String),
    /// The image itself, for other stores.
    Copy,
}

/// Starts an import. It continues after the answer, and clients follow it as a task.
pub(super) async fn start(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let started = glance.answer(&request, async |who| {
        let registry = &glance.registry;
        let body = body::read(payload, glance.patience).await?;
        let (method, stores) = (parse(&body)?, stores(&body, text(request.headers(), STORE), registry)?);
        let all_or_none = flag(&body, "all_stores_must_succeed")?.unwrap_or(true);
        let image = registry.get(&who, id_of(&request)?).await?;
        who.may_change(&image)?;
        if method != ImportSource::Copy && !has_formats(&image) {
            return Err(Reason::NotImportable.into());
        }
        let wanted = understood(&method, &body, &stores);
        let asked = AskedTask::import(&request, image.id, &wanted, &stores, registry);
        let wish = ImportWish { stores, all_or_none, request: Some(Arc::new(asked)) };
        match method {
            ImportSource::Copy => registry.mirror().import_copies(&who, image.id, wish).await?,
            ImportSource::Staged => registry.mirror().import_staged(&who, image.id, wish).await?,
            ImportSource::Download(url) => registry.mirror().import_url(&who, image.id, &url, wish).await?,
        };
        Ok(HttpResponse::Accepted().finish())
    });
    started.await
}

fn parse(body: &Value) -> Result<ImportSource> {
    let method = body.get("method").and_then(Value::as_object).ok_or_else(|| missing("method"))?;
    let name = method.get("name").and_then(Value::as_str).ok_or_else(|| missing("name"))?;
    match name {
        "glance-direct" => Ok(ImportSource::Staged),
        "web-download" => {
            let url = method.get("uri").and_then(Value::as_str).ok_or_else(|| missing("uri"))?;
            Ok(ImportSource::Download(url.to_owned()))
        }
        "copy-image" => Ok(ImportSource::Copy),
        other => Err(Error::invalid(format!("Unknown import method name '{}'.", other.escape_default()))),
    }
}

/// The members of a body that mean something, without its URL.
fn understood(method: &ImportSource, body: &Value, stores: &[StoreName]) -> Value {
    let mut wanted = json!({ "method": match method {
        ImportSource::Staged => json!({ "name": "glance-direct" }),
        ImportSource::Download(_) => json!({ "name": "web-download", "uri": null }),
        ImportSource::Copy => json!({ "name": "copy-image" }),
    } });
    if body.get("stores").is_some() {
        wanted["stores"] = names(stores);
    }
    for flag in ["all_stores", "all_stores_must_succeed"] {
        if let Some(value) = body.get(flag) {
            wanted[flag] = value.clone();
        }
    }
    wanted
}

/// Reads the requested stores, each once, of the body or of the header for one store; none if the request names none.
fn stores(body: &Value, header: Option<&str>, registry: &Registry) -> Result<Vec<StoreName>> {
    let stores = body.get("stores");
    if flag(body, "all_stores")? == Some(true) {
        return match (stores, header) {
            (None, None) => Ok(registry.stores().iter().map(|store| store.name.clone()).collect()),
            _ => Err(Error::invalid(
                "All_stores parameter can't be used with x-image-meta-store header or stores parameter",
            )),
        };
    }
    // As in Glance: an unknown store is a conflict here, and an invalid value in a request with bytes.
    let named = |name: &str| info::store_named(registry, name, Reason::StoreNotThere);
    match (stores, header) {
        (None, header) => header.map(named).into_iter().collect(),
        (Some(_), Some(_)) => {
            Err(Error::invalid("Stores parameter and x-image-meta-store header can't be both specified"))
        }
        (Some(stores), None) => {
            let stores = stores.as_array().ok_or_else(|| Error::invalid("'stores' must be a list"))?;
            let mut all = Vec::new();
            for name in stores {
                let store = named(name.as_str().unwrap_or_default())?;
                if !all.contains(&store) {
                    all.push(store);
                }
            }
            Ok(all)
        }
    }
}

fn flag(body: &Value, name: &str) -> Result<Option<bool>> {
    let wrong = || Error::invalid(format!("'{name}' must be a boolean value only"));
    body.get(name).map(|value| value.as_bool().ok_or_else(wrong)).transpose()
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("Import request requires a '{name}' field."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn methods() {
        let url = "https://example.org/x";
        for (body, expected) in [
            (json!({ "method": { "name": "glance-direct" } }), Ok(ImportSource::Staged)),
            (json!({ "method": { "name": "glance-direct" }, "stores": ["file"] }), Ok(ImportSource::Staged)),
            (json!({ "method": { "name": "copy-image" }, "all_stores": true }), Ok(ImportSource::Copy)),
            (json!({ "method": { "name": "web-download", "uri": url } }), Ok(ImportSource::Download(url.into()))),
            (json!({ "method": { "name": "web-download" } }), Err(Kind::Invalid)),
            (json!({ "method": { "name": "magic" } }), Err(Kind::Invalid)),
            (json!({ "method": {} }), Err(Kind::Invalid)),
            (json!({}), Err(Kind::Invalid)),
            (json!([]), Err(Kind::Invalid)),
        ] {
            assert_eq!(parse(&body).map_err(|error| error.kind()), expected, "{body}");
        }
    }
}
