//! The handlers of images: parse, call, render.

use actix_web::http::{Method, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::json;

use super::super::Glance;
use super::super::error::render as refuse;
use super::meta::{Meta, Origin, two_sources};
use super::{id_of, render};
use crate::error::{Error, Reason, Result};
use crate::http::base::base_url;
use crate::http::body::Body;
use crate::http::conditional::Facts;
use crate::http::deliver::facts;
use crate::http::headers::{announce_body, text};
use crate::http::route::answer_json;
use crate::image::{Image, ImagePatch, Status};
use crate::registry::{Caller, Expected, Source, Target};

/// What a request wants to be done with an image.
struct Wish {
    who: Caller,
    meta: Meta,
    /// The bytes, if it has any.
    body: Option<Body>,
}

impl Wish {
    /// # Errors
    /// `Unauthenticated`; `Invalid` headers, or bytes that come from two places or are called something else than bytes.
    fn of(request: &HttpRequest, glance: &Glance, payload: Payload) -> Result<Self> {
        let who = glance.caller(request)?;
        let mut meta = Meta::of_headers(request.headers())?;
        if let Some(store) = meta.store().filter(|store| !glance.registry.stores().has(store)) {
            return Err(Reason::NoSuchStore.about(store));
        }
        if !announce_body(request.headers()) {
            return Ok(Self { who, meta, body: None });
        }
        if meta.origin.is_some() {
            return Err(two_sources());
        }
        if text(request.headers(), header::CONTENT_TYPE) != Some("application/octet-stream") {
            return Err(Error::invalid("Content-Type must be application/octet-stream"));
        }
        let length = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        meta.claim = meta.claim.and_size(length)?;
        meta.purge = false;
        Ok(Self { who, meta, body: Some(Body::new(payload, glance.patience)) })
    }
}

/// An image as the answer to a change of it.
fn answer(mut response: HttpResponseBuilder, image: &Image) -> HttpResponse {
    if let Some(md5) = render::checksum(image) {
        response.insert_header((header::ETAG, md5));
    }
    answer_json(&mut response, &json!({ "image": render::detail(image) }))
}

impl Glance {
    /// Takes in the bytes of a request, or none.
    async fn take(
        &self,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: Expected,
        body: Option<Body>,
    ) -> Result<Image> {
        let mut upload = self.registry.uploads().begin(who, into, patch, claim).await?;
        if let Some(body) = body {
            body.fill(&mut upload).await?;
        }
        upload.finish(&ImagePatch::default()).await
    }

    /// Copies an image from a URL; the work goes on behind the answer.
    async fn copy(
        &self,
        who: &Caller,
        into: Target,
        patch: &ImagePatch,
        claim: Expected,
        url: String,
    ) -> Result<Image> {
        let id = self.registry.mirror().import_copy(who, into, patch, claim, &url).await?;
        self.registry.get(who, id).await
    }
}

/// `POST /v1/images`
pub(super) async fn create(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let made = async {
        let Wish { who, meta, body } = Wish::of(&request, &glance, payload)?;
        let patch = meta.patch(&who, None, &glance.companions(&who, meta.referred()).await?)?;
        let (registry, id, claim) = (&glance.registry, meta.id, meta.claim);
        // When its bytes do not come to their end it stays, and says so.
        let kept = Target::Kept(id);
        let image = match (meta.origin, body) {
            (Some(Origin::Copy(url)), _) => glance.copy(&who, kept, &patch, claim, url).await?,
            (Some(Origin::Location(url)), _) => {
                registry.create(&who, id, &patch, Some(Source::Http(url)), &claim).await?
            }
            (None, None) if claim.size != Some(0) => {
                registry.create(&who, id, &patch, None, &Expected::default()).await?
            }
            // Of no bytes all are there.
            (None, body) => glance.take(&who, kept, &patch, claim, body).await?,
        };
        let mut response = HttpResponse::Created();
        response.insert_header((header::LOCATION, format!("{}/v1/images/{}", base_url(&request), image.id)));
        Ok(answer(response, &image))
    };
    made.await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `PUT /v1/images/:id`
pub(super) async fn update(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let updated = async {
        let Wish { who, mut meta, body } = Wish::of(&request, &glance, payload)?;
        let (registry, id) = (&glance.registry, id_of(&request)?);
        let image = registry.get(&who, id).await?;
        let companions = glance.companions(&who, meta.referred()).await?;
        let origin = meta.origin.take();
        if origin.is_none() && body.is_none() {
            let image = registry.edit(&who, id, |image| meta.patch(&who, Some(image), &companions)).await?;
            return Ok(answer(HttpResponse::Ok(), &image));
        }
        let patch = meta.patch(&who, Some(&image), &companions)?;
        let (there, claim) = (Target::Existing(id), meta.claim);
        let image = match origin {
            Some(Origin::Copy(url)) => glance.copy(&who, there, &patch, claim, url).await?,
            Some(Origin::Location(url)) => registry.update(&who, id, &patch, Some(Source::Http(url)), &claim).await?,
            None => glance.take(&who, there, &patch, claim, body).await?,
        };
        Ok(answer(HttpResponse::Ok(), &image))
    };
    updated.await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `GET` and `HEAD /v1/images/:id`: the metadata in headers, the bytes in the body.
pub(super) async fn read(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let (who, image) = match glance.found(&request, id_of).await {
        Ok(found) => found,
        Err(error) => return refuse(&request, &error),
    };
    let is_head = request.method() == Method::HEAD;
    let has_bytes = matches!(image.status, Status::Available | Status::Deactivated);
    let headers = |response: &mut HttpResponseBuilder| render::put_headers(response, &image);
    if !has_bytes {
        if is_head {
            let mut response = HttpResponse::Ok();
            headers(&mut response);
            return response.finish();
        }
        return refuse(&request, &Reason::NotActive.into());
    }
    let known = facts(&image);
    let tagged = Facts { etag: render::checksum(&image).or(known.etag), ..known };
    glance.give(&request, &who, &image, tagged, headers).await
}

/// `DELETE /v1/images/:id`
pub(super) async fn delete(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let deleted = glance.answer(&request, async |who| {
        glance.registry.delete(&who, id_of(&request)?).await?;
        Ok(HttpResponse::Ok().finish())
    });
    deleted.await
}
