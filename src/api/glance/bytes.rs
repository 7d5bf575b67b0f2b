//! The bytes of images on their way out, as both versions give them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::Glance;
use super::error::render;
use crate::error::Result;
use crate::http::conditional::Facts;
use crate::http::deliver::deliver_as;
use crate::image::{Image, ImageId};
use crate::registry::Caller;

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
            Ok(response) => {
                if request.method() != Method::HEAD {
                    self.registry.touch(image.id);
                }
                response
            }
            Err(error) => render(request, &error),
        }
    }
}
