//! The bytes of images in v2: upload, download, and staging for an import. Knows no store and no format.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::super::Glance;
use super::super::error::render;
use super::{id_of, info};
use crate::error::{Error, Reason, Result};
use crate::http::body::Body;
use crate::http::deliver::facts;
use crate::http::headers::{is_type, text};
use crate::image::{Image, ImageId, ImagePatch, Status};
use crate::registry::policy::Action;
use crate::registry::{Caller, Expected};

/// The header that names the store of new bytes.
pub(super) const STORE: &str = "x-image-meta-store";

/// `PUT /v2/images/:id/file`
pub(super) async fn upload(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let uploaded = glance.answer(&request, async |who| {
        let (id, patch, claim) = announced(&request, &glance, &who).await?;
        let mut upload = glance.registry.uploads().begin(&who, Some(id), &patch, claim).await?;
        Body::new(payload, glance.patience).fill(&mut upload).await?;
        upload.finish(&ImagePatch::default()).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    uploaded.await
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

/// Reads the head of an upload: the image, the store, and the announced size.
///
/// # Errors
/// `MediaType`; `NotFound`; `Conflict` if the image takes no bytes; `Invalid` if its formats are not set, or for an unknown
/// store.
async fn announced(request: &HttpRequest, glance: &Glance, who: &Caller) -> Result<(ImageId, ImagePatch, Expected)> {
    let headers = request.headers();
    if !text(headers, header::CONTENT_TYPE).is_some_and(|it| is_type(it, "application/octet-stream")) {
        return Err(Reason::WrongMediaType.saying("Content-Type must be application/octet-stream"));
    }
    let store =
        text(headers, STORE).map(|name| info::store_named(&glance.registry, name, Reason::NoSuchStore)).transpose()?;
    let image = glance.registry.get(who, id_of(request)?).await?;
    who.may(Action::UploadBytes, &image)?;
    // The core refuses an image that takes no bytes, with a reason of its own.
    if image.status.takes_bytes() && !has_formats(&image) {
        return Err(Reason::FormatNotSet.into());
    }
    let size =
        text(headers, "x-openstack-image-size").map(|size| size.parse().map_err(|_| not_a_size())).transpose()?;
    let length = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let claim = Expected { size, ..Expected::default() }.and_size(length)?;
    Ok((image.id, ImagePatch { store: store.map(Some), ..ImagePatch::default() }, claim))
}

fn not_a_size() -> Error {
    Error::invalid("The header x-openstack-image-size must be a number of bytes.")
}

/// Tells whether the formats of an image are set.
pub(super) fn has_formats(image: &Image) -> bool {
    image.format.is_some() && image.container.is_some()
}

/// `GET /v2/images/:id/file`
pub(super) async fn download(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let (who, image) = match glance.found(&request, id_of).await {
        Ok(found) => found,
        Err(error) => return render(&request, &error),
    };
    match image.status {
        Status::Queued | Status::Saving | Status::Failed | Status::Deleting => {
            return HttpResponse::NoContent().finish();
        }
        Status::Available | Status::Deactivated => {}
    }
    let headers = |response: &mut HttpResponseBuilder| {
        // In hexadecimal, against RFC 1864: Glance writes it so, and its clients read it so.
        if let Some(md5) = image.main().and_then(|part| part.digests.md5_hex()) {
            response.insert_header(("content-md5", md5));
        }
    };
    glance.give(&request, &who, &image, facts(&image), headers).await
}
