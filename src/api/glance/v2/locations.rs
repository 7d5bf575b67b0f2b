//! Locations of images: the URL that a client registered. The place of the bytes in a store of this server is never shown.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::{Glance, body};
use super::data::has_formats;
use super::id_of;
use crate::error::{Error, Reason, Result};
use crate::http::route::{Route, answer_json, get, post};
use crate::image::{Image, ImagePatch, Location};
use crate::registry::policy::Action;
use crate::registry::{Expected, Source};

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
        let remote = |image: &Image| image.main().is_some_and(|part| matches!(part.location, Location::Http { .. }));
        let url = glance.registry.location(&who, &image).filter(|_| remote(&image));
        let locations: Vec<Value> = url.into_iter().map(|url| json!({ "url": url, "metadata": {} })).collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &Value::from(locations)))
    });
    listed.await
}

/// `POST /v2/images/:id/locations`: registers a URL, under which the bytes of the image stay.
async fn add(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let added = glance.answer(&request, async |who| {
        let url = parse(&body::read(payload, glance.patience).await?)?;
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        who.may_change(&image)?;
        if image.status.takes_bytes() && !has_formats(&image) {
            return Err(Reason::FormatNotSet.into());
        }
        let source = Some(Source::Http(url));
        glance.registry.update(&who, image.id, &ImagePatch::default(), source, &Expected::default()).await?;
        Ok(HttpResponse::Accepted().finish())
    });
    added.await
}

fn parse(body: &Value) -> Result<String> {
    let validation = body.get("validation_data").and_then(Value::as_object);
    if validation.is_some_and(|members| !members.is_empty()) {
        let text =
            "Bytes under a URL cannot be checked against a digest: leave validation_data out, or import the image.";
        return Err(Error::invalid(text));
    }
    let url = body.get("url").and_then(Value::as_str).filter(|url| !url.is_empty());
    url.map(ToOwned::to_owned).ok_or_else(|| Error::invalid("Required property 'url' is missing."))
}
