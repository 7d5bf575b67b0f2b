//! `POST /v2/images/:id/import`: bytes that were put aside, or those of a URL, become the image's.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::super::{Glance, body};
use super::data::says_what_it_is;
use super::{id_of, info};
use crate::error::{Error, Kind, Result};
use crate::image::{Status, StoreName};
use crate::registry::Registry;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Method {
    Staged,
    Download(String),
    /// To other stores.
    Copy,
}

/// Handles the request. The work itself goes on behind it, and is told of as a task.
pub(super) async fn start(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let started = glance.answer(&request, async |who| {
        let registry = &glance.registry;
        let body = body::read(payload, glance.patience).await?;
        let (method, stores) = (parse(&body)?, stores(&body, registry)?);
        let all_or_none = flag(&body, "all_stores_must_succeed")?.unwrap_or(true);
        let image = registry.get(&who, id_of(&request)?).await?;
        who.may_change(&image)?;
        let conflict = |text: &'static str| Err(Error::new(Kind::Conflict, text));
        if method != Method::Copy && !says_what_it_is(&image) {
            return conflict("Properties disk_format, container_format must be set before an import.");
        }
        match (method, image.status) {
            (Method::Copy, _) => registry.mirror().import_copies(&who, image.id, stores, all_or_none).await?,
            (_, Status::Available | Status::Deactivated) => {
                return conflict("An image that is active cannot be the target of an import.");
            }
            (Method::Staged, _) => registry.mirror().import_staged(&who, image.id, stores).await?,
            (Method::Download(url), _) => registry.mirror().import_url(&who, image.id, &url, stores).await?,
        };
        Ok(HttpResponse::Accepted().finish())
    });
    started.await
}

fn parse(body: &Value) -> Result<Method> {
    let method = body.get("method").and_then(Value::as_object).ok_or_else(|| missing("method"))?;
    let name = method.get("name").and_then(Value::as_str).ok_or_else(|| missing("name"))?;
    match name {
        "glance-direct" => Ok(Method::Staged),
        "web-download" => {
            let url = method.get("uri").and_then(Value::as_str).ok_or_else(|| missing("uri"))?;
            Ok(Method::Download(url.to_owned()))
        }
        "copy-image" => Ok(Method::Copy),
        other => Err(Error::invalid(format!("Unknown import method name '{}'.", other.escape_default()))),
    }
}

/// The stores that are asked for; none where it is all the same.
fn stores(body: &Value, registry: &Registry) -> Result<Vec<StoreName>> {
    let stores = body.get("stores");
    if flag(body, "all_stores")? == Some(true) {
        return match stores {
            Some(_) => Err(Error::invalid("stores and all_stores cannot be used together")),
            None => Ok(registry.stores().iter().map(|store| store.name.clone()).collect()),
        };
    }
    let Some(stores) = stores else { return Ok(Vec::new()) };
    let stores = stores.as_array().ok_or_else(|| Error::invalid("'stores' must be a list"))?;
    // Another one is a conflict here, and a mistake where bytes come in the same request: so in Glance.
    let unknown = |error: Error| Error::new(Kind::Conflict, error.message().to_owned());
    stores.iter().map(|name| info::store_named(registry, name.as_str().unwrap_or_default()).map_err(unknown)).collect()
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

    #[test]
    fn methods() {
        let url = "https://example.org/x";
        for (body, expected) in [
            (json!({ "method": { "name": "glance-direct" } }), Ok(Method::Staged)),
            (json!({ "method": { "name": "glance-direct" }, "stores": ["file"] }), Ok(Method::Staged)),
            (json!({ "method": { "name": "copy-image" }, "all_stores": true }), Ok(Method::Copy)),
            (json!({ "method": { "name": "web-download", "uri": url } }), Ok(Method::Download(url.into()))),
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
