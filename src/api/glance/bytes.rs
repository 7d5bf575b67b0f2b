//! The bytes of images on their way out, as both versions give them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::Glance;
use super::error::{render, render_as};
use crate::error::{Error, Kind, Result};
use crate::http::conditional::Facts;
use crate::http::deliver::{deliver_as, unsatisfiable};
use crate::image::{Image, ImageId, Status};
use crate::registry::Caller;
use crate::registry::policy::Action;

impl Glance {
    /// Who asks for an image, and the image.
    pub(super) async fn found(
        &self,
        request: &HttpRequest,
        id_of: impl FnOnce(&HttpRequest) -> Result<ImageId>,
    ) -> Result<(Caller, Image)> {
        let who = self.caller(request)?;
        let image = self.registry.get(&who, id_of(request)?).await?;
        Ok((who, image))
    }

    /// Gives the bytes of an image out, or says why not.
    pub(super) async fn give(
        &self,
        request: &HttpRequest,
        who: &Caller,
        image: &Image,
        facts: Facts,
        headers: impl Fn(&mut HttpResponseBuilder),
    ) -> HttpResponse {
        match deliver_as(facts, &self.registry, &self.buffers, who, image, request, headers).await {
            Ok(response) => response,
            Err(error) if error.kind() == Kind::BadRange => {
                render_as(request, StatusCode::RANGE_NOT_SATISFIABLE, &error, |response| {
                    response.insert_header(unsatisfiable(image.size().unwrap_or(0)));
                })
            }
            Err(error) => render(request, &error),
        }
    }
}

/// The answer to whoever asks for bytes that are withheld; administrators may.
pub(super) fn withheld(who: &Caller, image: &Image) -> Option<Error> {
    let text = "The requested image has been deactivated. Image data download is forbidden.";
    (image.status == Status::Deactivated && who.may(Action::DownloadWithheld, image).is_err())
        .then(|| Error::new(Kind::Forbidden, text))
}
