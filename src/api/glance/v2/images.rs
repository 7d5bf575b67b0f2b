//! Handlers of images in v2: parse, call, render. The rules are the core's.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::super::error::render_with;
use super::super::quota::check_properties;
use super::super::{Glance, body};
use super::change::{AttributeSetter, referred};
use super::data::STORE;
use super::query::{V2ListQuery, link};
use super::render::{ImagePage, ShownImage};
use super::{id_of, info, patch};
use crate::error::{Error, Reason};
use crate::http::base::base_url;
use crate::http::headers::{is_type, text};
use crate::http::route::answer_json;
use crate::image::query::Query;
use crate::image::{Image, ImagePatch, Visibility};
use crate::registry::Expected;

impl Glance {
    fn show<'a>(&self, image: &'a Image) -> ShownImage<'a> {
        ShownImage { image, import: self.registry.import_of(image) }
    }
}

/// `POST /v2/images`
pub(super) async fn create(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let made = glance.answer(&request, async |who| {
        let body = body::read(payload, glance.patience).await?;
        let Value::Object(members) = body else { return Err(Error::invalid("Expected a JSON object.")) };
        let ids = referred(members.iter().map(|(name, value)| (name.as_str(), value)));
        let setter = AttributeSetter { companions: glance.companions(&who, ids).await? };
        // As with the bytes themselves: python-glanceclient names the store in both requests.
        let store = text(request.headers(), STORE)
            .map(|name| info::store_named(&glance.registry, name, Reason::NoSuchStore))
            .transpose()?;
        let mut patch =
            ImagePatch { visibility: Some(Visibility::Shared), store: store.map(Some), ..ImagePatch::default() };
        let mut id = None;
        for (name, value) in &members {
            match name.as_str() {
                "id" => id = Some(value.as_str().and_then(|id| id.parse().ok()).ok_or_else(not_an_id)?),
                name => setter.set(&mut patch, name, value)?,
            }
        }
        check_properties(&patch, None)?;
        let image = glance.registry.create(&who, id, &patch, None, &Expected::default()).await?;
        let mut response = HttpResponse::Created();
        response
            .insert_header((header::LOCATION, format!("{}/v2/images/{}", base_url(&request), image.id)))
            .insert_header(("OpenStack-image-import-methods", info::IMPORT_METHODS.join(",")))
            .insert_header(("OpenStack-image-store-ids", info::store_ids(&glance.registry)));
        Ok(answer_json(&mut response, &glance.show(&image)))
    });
    made.await
}

fn not_an_id() -> Error {
    Error::invalid("Provided object does not match schema 'image': the id is not a UUID (id)")
}

/// `GET /v2/images`
pub(super) async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let V2ListQuery { shown, filter, sort, limit, marker } = V2ListQuery::parse(request.query_string())?;
        let images = glance.page(&who, shown, Query { filter, sort, limit, after: None }, marker).await?;
        let last = images.last().filter(|_| images.len() == limit);
        let page = ImagePage {
            images: images.iter().map(|image| glance.show(image)).collect(),
            first: link("/v2/images", request.query_string(), None),
            next: last.map(|last| link("/v2/images", request.query_string(), Some(&last.id.to_string()))),
            schema: "/v2/schemas/images",
        };
        Ok(answer_json(&mut HttpResponse::Ok(), &page))
    });
    listed.await
}

/// `GET /v2/images/:id`
pub(super) async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &glance.show(&image)))
    });
    shown.await
}

/// `PATCH /v2/images/:id`
pub(super) async fn update(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let content_type = text(request.headers(), header::CONTENT_TYPE).map(ToOwned::to_owned);
    if !content_type.as_deref().is_some_and(|it| patch::TYPES.iter().any(|known| is_type(it, known))) {
        let text = format!("Content-Type must be one of {}.", patch::TYPES.join(", "));
        return render_with(&request, &Reason::WrongMediaType.saying(text), |response| {
            response.insert_header(("accept-patch", patch::TYPES.join(", ")));
        });
    }
    let updated = glance.answer(&request, async |who| {
        let id = id_of(&request)?;
        let operations = patch::parse(content_type.as_deref(), &body::read(payload, glance.patience).await?)?;
        let values = operations.iter().filter_map(|one| Some((one.name.as_str(), one.value.as_ref()?)));
        let companions = glance.companions(&who, referred(values)).await?;
        let setter = AttributeSetter { companions };
        let image = glance.registry.edit(&who, id, |image| patch::apply(&operations, image, &setter)).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &glance.show(&image)))
    });
    updated.await
}

/// `DELETE /v2/images/:id`
pub(super) async fn delete(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let deleted = glance.answer(&request, async |who| {
        glance.registry.delete(&who, id_of(&request)?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    deleted.await
}

/// `POST /v2/images/:id/actions/deactivate` and `/reactivate`
pub(super) async fn set_active(request: HttpRequest, glance: Data<Glance>, active: bool) -> HttpResponse {
    let done = glance.answer(&request, async |who| {
        glance.registry.set_active(&who, id_of(&request)?, active).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    done.await
}
