//! OpenStack's image API: v2 as today's clients speak it, v1 as those of 2011 to 2018 did, and the list of versions by which
//! they choose. What is served, and how it differs from Glance: `docs/protocols/glance.md`.

mod body;
mod bytes;
pub(in crate::api) mod error;
mod params;
mod spell;
mod v1;
mod v2;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Resource, Scope};
use percent_encoding::percent_decode_str;

use self::error::{no_method, render};
use super::auth::{AuthRules, bearer};
use crate::blob::Buffers;
use crate::error::{Error, Kind, Result};
use crate::http::headers::text;
use crate::http::observe::RequestId;
use crate::image::query::Query;
use crate::image::{Image, ImageId, ImageKind};
use crate::registry::{Caller, ListScope, Metadefs, RateLimits, Registry};

/// What the handlers need.
#[derive(Clone)]
pub struct Glance {
    /// The service.
    pub registry: Arc<Registry>,
    /// What may be said about images.
    pub metadefs: Metadefs,
    /// Who may call.
    pub auth: AuthRules,
    /// How patient to be with bodies.
    pub patience: RateLimits,
    /// Buffers to read files into.
    pub buffers: Buffers,
}

impl Glance {
    fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        bearer(request, &self.auth, self.registry.now())
    }

    /// Which of these images are a kernel or a ramdisk that the caller knows of.
    async fn companions(&self, who: &Caller, ids: Vec<ImageId>) -> Result<BTreeMap<ImageId, ImageKind>> {
        let mut companions = BTreeMap::new();
        for id in ids {
            match self.registry.companion(who, id).await {
                Ok(Some(kind)) => _ = companions.insert(id, kind),
                Ok(None) => {}
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(companions)
    }

    /// A page of a list, which begins behind `marker`, if there is one.
    async fn page(&self, who: &Caller, shown: ListScope, query: Query, marker: Option<ImageId>) -> Result<Vec<Image>> {
        let after = match marker {
            Some(id) => Some(self.registry.cursor(who, id, &query.sort).await?),
            None => None,
        };
        match query.limit {
            0 => Ok(Vec::new()),
            _ => Ok(self.registry.list(who, shown, Query { after, ..query }).await?.images),
        }
    }

    /// What every handler does around its own work.
    async fn answer(
        &self,
        request: &HttpRequest,
        work: impl AsyncFnOnce(Caller) -> Result<HttpResponse>,
    ) -> HttpResponse {
        let done = async { work(self.caller(request)?).await };
        done.await.unwrap_or_else(|error| render(request, &error))
    }
}

/// A path with its methods; any other method is answered as Glance does.
fn at(path: &str, allow: &'static str, routes: impl Fn(Resource) -> Resource) -> Resource {
    let refused = move |request: HttpRequest| async move { no_method(&request, allow) };
    routes(web::resource(path)).default_service(web::to(refused))
}

/// A part of the path, as it was before it was written into a URL.
fn part(request: &HttpRequest, name: &str) -> Result<String> {
    let text = request.match_info().get(name).unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8().map(String::from);
    text.map_err(|_| Error::invalid("The path is not UTF-8."))
}

/// Adds the routes.
pub fn mount(app: &mut ServiceConfig, glance: &Glance) {
    app.app_data(Data::new(glance.clone()));
    versions::mount(app);
    v1::mount(app);
    v2::mount(app);
}

/// Adds the routes that are told from those of other protocols only by what the client accepts. They come before those.
pub fn mount_by_accept(app: &mut ServiceConfig) {
    v1::mount_by_accept(app);
    v2::mount_by_accept(app);
}

/// Glance's other way to choose a version: a path without one, and this media type in `Accept`.
fn unversioned(media_type: &'static str) -> Scope {
    web::scope("").guard(fn_guard(move |asked| {
        let accept = text(asked.head().headers(), header::ACCEPT).unwrap_or_default();
        let accepts = accept.split([',', ';']).any(|part| part.trim() == media_type);
        // Paths with a version choose by it.
        accepts && ["/images", "/shared-images"].iter().any(|path| asked.head().uri.path().starts_with(path))
    }))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Longest id that a client may give its request; Glance's own bound.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Middleware: answers with the id that OpenStack's clients look for. The client's own comes first: it names a chain of
/// requests through several services.
async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> std::result::Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let safe = |id: &&HeaderValue| {
        let id = id.as_bytes();
        id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    let given = request.headers().get(REQUEST_ID).filter(safe).and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    let id = given.or_else(|| request.extensions().get::<RequestId>().map(|id| id.0.clone())).unwrap_or_default();
    let id = if id.starts_with("req-") { id } else { format!("req-{id}") };
    let mut response = next.call(request).await?;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// An answer in JSON.
fn json(response: &mut actix_web::HttpResponseBuilder, value: &impl serde::Serialize) -> HttpResponse {
    // Texts, numbers and lists of them: all of it can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    response.insert_header((header::CONTENT_TYPE, "application/json")).body(text)
}
