//! Handlers of images in v1: parse, call, render. The rules are the core's.

use actix_web::http::{Method, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::json;

use super::super::Glance;
use super::super::error::render as refuse;
use super::meta::{ImageHeaders, UrlSource, two_sources};
use super::{id_of, render};
use crate::error::{Error, Reason, Result};
use crate::http::base::base_url;
use crate::http::body::Body;
use crate::http::conditional::Facts;
use crate::http::deliver::facts;
use crate::http::headers::{announce_body, is_type, text};
use crate::http::route::answer_json;
use crate::image::{Image, ImagePatch, Status};
use crate::registry::{Caller, Expected, Source, Target};

/// A request to make or change an image.
struct ImageRequest {
    who: Caller,
    meta: ImageHeaders,
    /// The bytes, if the request has any.
    body: Option<Body>,
}

impl ImageRequest {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// `Unauthenticated`; `Invalid` headers, two sources of bytes, or a content type that is not `application/octet-stream`.
    async fn of(request: &HttpRequest, glance: &Glance, payload: Payload) -> Result<Self> {
        let who = glance.caller(request).await?;
        let mut meta = ImageHeaders::of_headers(request.headers())?;
        if let Some(store) = meta.store().filter(|store| !glance.registry.stores().has(store)) {
            return Err(Reason::NoSuchStore.about(store));
        }
        if !announce_body(request.headers()) {
            return Ok(Self { who, meta, body: None });
        }
        if meta.origin.is_some() {
            return Err(two_sources());
        }
        if !text(request.headers(), header::CONTENT_TYPE).is_some_and(|it| is_type(it, "application/octet-stream")) {
            return Err(Error::invalid("Content-Type must be application/octet-stream"));
        }
        let length = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        meta.claim = meta.claim.and_size(length)?;
        (meta.purge, meta.brings_bytes) = (false, true);
        Ok(Self { who, meta, body: Some(Body::new(payload, glance.patience)) })
    }
}

/// Renders an image after a change.
fn answer(mut response: HttpResponseBuilder, image: &Image) -> HttpResponse {
    if let Some(md5) = render::checksum(image) {
        response.insert_header((header::ETAG, md5));
    }
    answer_json(&mut response, &json!({ "image": render::detail(image) }))
}

impl Glance {
    /// Receives the bytes of a request, or none.
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

    /// Copies an image from a URL. The copying continues after the answer.
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
        let ImageRequest { who, meta, body } = ImageRequest::of(&request, &glance, payload).await?;
        let patch = meta.patch(&who, None, &glance.companions(&who, meta.referred()).await?)?;
        let (registry, id, claim) = (&glance.registry, meta.id, meta.claim);
        // If the upload breaks off, the image stays, as failed.
        let kept = Target::Kept(id);
        let image = match (meta.origin, body) {
            (Some(UrlSource::Copy(url)), _) => glance.copy(&who, kept, &patch, claim, url).await?,
            (Some(UrlSource::Location(url)), _) => {
                registry.create(&who, id, &patch, Some(Source::Http(url)), &claim).await?
            }
            (None, None) if claim.size != Some(0) => {
                registry.create(&who, id, &patch, None, &Expected::default()).await?
            }
            // An announced size of 0 is an upload without bytes.
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
        let ImageRequest { who, mut meta, body } = ImageRequest::of(&request, &glance, payload).await?;
        let (registry, id) = (&glance.registry, id_of(&request)?);
        let image = registry.get(&who, id).await?;
        let companions = glance.companions(&who, meta.referred()).await?;
        let origin = meta.origin.take();
        meta.brings_bytes |= origin.is_some();
        if origin.is_none() && body.is_none() {
            let image = registry.edit(&who, id, |image| meta.patch(&who, Some(image), &companions)).await?;
            return Ok(answer(HttpResponse::Ok(), &image));
        }
        let patch = meta.patch(&who, Some(&image), &companions)?;
        let (there, claim) = (Target::Existing(id), meta.claim);
        let image = match origin {
            Some(UrlSource::Copy(url)) => glance.copy(&who, there, &patch, claim, url).await?,
            Some(UrlSource::Location(url)) => {
                registry.update(&who, id, &patch, Some(Source::Http(url)), &claim).await?
            }
            None => glance.take(&who, there, &patch, claim, body).await?,
        };
        Ok(answer(HttpResponse::Ok(), &image))
    };
    updated.await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `GET` and `HEAD /v1/images/:id`: metadata in headers, bytes in the body.
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
