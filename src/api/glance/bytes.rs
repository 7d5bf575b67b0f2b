//! Downloads, for both versions: finds the image, delivers its bytes, and notes the download. Headers are the versions' own.

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
    /// The caller of a request, and the image that its path names.
    pub(super) async fn found(
        &self,
        request: &HttpRequest,
        id_of: impl FnOnce(&HttpRequest) -> Result<ImageId>,
    ) -> Result<(Caller, Image)> {
        let who = self.caller(request).await?;
        let image = self.registry.get(&who, id_of(request)?).await?;
        Ok((who, image))
    }

    /// Delivers the bytes of an image, or renders the error.
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
