//! The bytes of images: in, out, and put aside for an import.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::super::Glance;
use super::super::bytes::withheld;
use super::super::error::{render, render_as};
use super::render::status_word;
use super::{id_of, info};
use crate::error::{Error, Kind, Result};
use crate::http::body::Body;
use crate::http::deliver::facts;
use crate::http::headers::text;
use crate::image::{Image, ImageId, ImagePatch, Status};
use crate::registry::policy::Action;
use crate::registry::{Caller, Expected};

/// `PUT /v2/images/:id/file`
pub(super) async fn upload(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let uploaded = async {
        let who = glance.caller(&request)?;
        let (id, patch, claim) = announced(&request, &glance, &who).await?;
        let mut upload = glance.registry.uploads().begin(&who, Some(id), &patch, claim).await?;
        let received = async {
            Body::new(payload, glance.patience).fill(&mut upload).await?;
            upload.finish(&Default::default()).await
        };
        Ok(received.await)
    };
    match uploaded.await {
        Ok(Ok(_)) => HttpResponse::NoContent().finish(),
        // Removed while its bytes came.
        Ok(Err(error)) if error.kind() == Kind::NotFound => render_as(&request, StatusCode::GONE, &error, |_| {}),
        Ok(Err(error)) | Err(error) => render(&request, &error),
    }
}

/// `PUT /v2/images/:id/stage`
pub(super) async fn stage(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let staged = glance.answer(&request, async |who| {
        let (id, patch, claim) = announced(&request, &glance, &who).await?;
        let mut stage = glance.registry.uploads().stage(&who, id, &patch, claim).await?;
        Body::new(payload, glance.patience).fill(&mut stage).await?;
        stage.finish().await?;
        Ok(HttpResponse::NoContent().finish())
    });
    staged.await
}

/// Which image gets bytes, and what is said of them.
///
/// # Errors
/// `MediaType`; `NotFound`; `Conflict` when the image takes no bytes; `Invalid` when it does not say yet what they are, or
/// for another store.
async fn announced(request: &HttpRequest, glance: &Glance, who: &Caller) -> Result<(ImageId, ImagePatch, Expected)> {
    let headers = request.headers();
    if text(headers, header::CONTENT_TYPE) != Some("application/octet-stream") {
        return Err(Error::new(Kind::MediaType, "Content-Type must be application/octet-stream"));
    }
    let store =
        text(headers, "x-image-meta-store").map(|name| info::store_named(&glance.registry, name)).transpose()?;
    let image = glance.registry.get(who, id_of(request)?).await?;
    who.may(Action::UploadBytes, &image)?;
    if !image.status.takes_bytes() {
        let now = status_word(&image, false);
        let text = format!("Image status transition from {now} to saving is not allowed.");
        return Err(Error::new(Kind::Conflict, text));
    }
    if !says_what_it_is(&image) {
        let text = "Properties disk_format, container_format must be set prior to saving data.";
        return Err(Error::invalid(text));
    }
    let size =
        text(headers, "x-openstack-image-size").map(|size| size.parse().map_err(|_| not_a_size())).transpose()?;
    let length = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let claim = Expected { size, ..Expected::default() }.and_size(length)?;
    Ok((image.id, ImagePatch { store: store.map(Some), ..ImagePatch::default() }, claim))
}

fn not_a_size() -> Error {
    Error::invalid("The header x-openstack-image-size is a number of bytes.")
}

/// Whether it is known what the bytes of an image will be.
pub(super) fn says_what_it_is(image: &Image) -> bool {
    image.format.is_some() && image.container.is_some()
}

/// `GET /v2/images/:id/file`
pub(super) async fn download(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let (who, image) = match glance.found(&request, id_of).await {
        Ok(found) => found,
        Err(error) => return render(&request, &error),
    };
    if let Some(error) = withheld(&who, &image) {
        return render(&request, &error);
    }
    match image.status {
        Status::Queued | Status::Saving | Status::Failed | Status::Deleting => {
            return HttpResponse::NoContent().finish();
        }
        Status::Available | Status::Deactivated => glance.registry.touch(image.id),
    }
    let headers = |response: &mut HttpResponseBuilder| {
        // In hexadecimal, whatever RFC 1864 says: so Glance writes it, and so its clients read it.
        if let Some(md5) = image.main().and_then(|part| part.digests.md5_hex()) {
            response.insert_header(("content-md5", md5));
        }
    };
    glance.give(&request, &who, &image, facts(&image), headers).await
}
