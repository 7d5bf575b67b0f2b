//! `POST /images`: an image in the body, or a request in JSON that names its source. The body itself tells the two
//! apart, because clients send no content type or a wrong one.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::wishes::{JSON_BYTES_MAX, from_json};
use super::{source, upload};
use crate::api::lxd::Lxd;
use crate::error::Result;
use crate::http::body::Body;
use crate::http::headers::{is_type, text};
use crate::registry::policy::{Action, On};

/// `POST /images`
pub(super) async fn create(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        // Before the body is read, so that a refused client need not send it.
        if upload::secret_of(&request).is_none() {
            lxd.trusted(&request).await?.may(Action::CreateImage, On::Server)?;
        }
        let content_type = text(request.headers(), header::CONTENT_TYPE).unwrap_or_default();
        if is_type(content_type, "multipart/form-data") {
            return upload::split(&request, &lxd, payload).await;
        }
        let mut body = Body::new(payload, lxd.patience);
        if is_type(content_type, "application/json") || looks_like_json(&mut body).await? {
            let caller = lxd.trusted(&request).await?;
            let bytes = body.whole(JSON_BYTES_MAX).await?;
            return source::create(&request, &lxd, &caller, from_json(&bytes)?).await;
        }
        upload::unified(&request, &lxd, body).await
    })
    .await
}

/// Tells whether a body begins like a JSON object, as no image does.
async fn looks_like_json(body: &mut Body) -> Result<bool> {
    Ok(body.peek().await?.is_some_and(|first| first.trim_ascii_start().starts_with(b"{")))
}
