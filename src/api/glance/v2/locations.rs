//! Locations of images: the URL that a client registered. The place of the bytes in a store of this server is never shown.

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::{Glance, body};
use super::asked_task::AskedTask;
use super::data::has_formats;
use super::id_of;
use crate::digest::from_hex;
use crate::error::{Error, Reason, Result};
use crate::http::route::{Route, answer_json, get, post};
use crate::image::{Digests, ImagePatch, Location};
use crate::registry::policy::Action;
use crate::registry::{Expected, ImportWish, Source};

/// The routes.
pub(super) fn routes() -> [Route; 2] {
    let path = "/images/{id}/locations";
    [get(path, Action::SeeLocation, list), post(path, Action::ImportFromUrl, add)]
}

/// `GET /v2/images/:id/locations`
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        who.may(Action::SeeLocation, &image)?;
        let url = image.under_url().and_then(|part| match &part.location {
            Location::Http { url } => Some(url.as_str()),
            Location::File { .. } | Location::Stored(_) => None,
        });
        let locations: Vec<Value> = url.into_iter().map(|url| json!({ "url": url, "metadata": {} })).collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &Value::from(locations)))
    });
    listed.await
}

/// `POST /v2/images/:id/locations`: registers a URL, under which the bytes of the image stay. With a digest the image is
/// active when the bytes have been compared with it.
async fn add(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let added = glance.answer(&request, async |who| {
        let body = body::read(payload, glance.patience).await?;
        let (url, digests) = parse(&body)?;
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        who.may_change(&image)?;
        if image.status.takes_bytes() && !has_formats(&image) {
            return Err(Reason::FormatNotSet.into());
        }
        match digests {
            None => {
                let source = Some(Source::Http(url));
                glance.registry.update(&who, image.id, &ImagePatch::default(), source, &Expected::default()).await?;
            }
            Some(digests) => {
                let asked = AskedTask::location(&request, image.id, &body);
                let wish = ImportWish { request: Some(Arc::new(asked)), ..ImportWish::default() };
                let claim = Expected { size: None, digests };
                glance.registry.mirror().register_verified(&who, image.id, &url, claim, wish).await?;
            }
        }
        Ok(HttpResponse::Accepted().finish())
    });
    added.await
}

/// Reads the URL, and the digest of its bytes if one is announced.
fn parse(body: &Value) -> Result<(String, Option<Digests>)> {
    let url = body.get("url").and_then(Value::as_str).filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| Error::invalid("Required property 'url' is missing."))?;
    let digests = match body.get("validation_data") {
        None | Some(Value::Null) => None,
        Some(Value::Object(members)) if members.is_empty() => None,
        Some(Value::Object(members)) => Some(announced(members)?),
        Some(_) => return Err(Error::invalid("'validation_data' must be an object.")),
    };
    Ok((url.to_owned(), digests))
}

/// Reads `validation_data`.
fn announced(members: &Map<String, Value>) -> Result<Digests> {
    if let Some(other) = members.keys().find(|name| !["os_hash_algo", "os_hash_value"].contains(&name.as_str())) {
        let text = format!("validation_data has os_hash_algo and os_hash_value, not '{}'.", other.escape_default());
        return Err(Error::invalid(text));
    }
    let member = |name: &str| members.get(name).and_then(Value::as_str);
    let (Some(algorithm), Some(value)) = (member("os_hash_algo"), member("os_hash_value")) else {
        return Err(Error::invalid("validation_data needs os_hash_algo and os_hash_value, both of them texts."));
    };
    let wrong = |digits: usize| {
        let shown: String = value.chars().take(128).collect();
        Error::invalid(format!(
            "os_hash_value: ({}) is not {digits} hexadecimal digits, as {algorithm} has.",
            shown.escape_default()
        ))
    };
    let mut digests = Digests::default();
    match algorithm {
        "md5" => digests.md5 = Some(from_hex(value).ok_or_else(|| wrong(32))?),
        "sha256" => digests.sha256 = Some(from_hex(value).ok_or_else(|| wrong(64))?),
        "sha512" => digests.sha512 = Some(from_hex(value).ok_or_else(|| wrong(128))?),
        other => {
            let text = format!("os_hash_algo is md5, sha256 or sha512 here, not '{}'.", other.escape_default());
            return Err(Error::invalid(text));
        }
    }
    Ok(digests)
}
