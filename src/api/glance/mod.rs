//! OpenStack's image API: v2 as today's clients speak it, v1 as those of 2011 to 2018 did, and the list of versions by which
//! they choose. What is served, and how it differs from Glance: `docs/protocols/glance.md`.

mod body;
mod error;
mod spell;
mod v2;
mod versions;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Resource};

use self::error::{no_method, render};
use super::auth::{AuthRules, bearer};
use crate::blob::Buffers;
use crate::error::Result;
use crate::http::body::Patience;
use crate::http::observe::RequestId;
use crate::registry::{Caller, Registry};

/// What the handlers need.
#[derive(Clone)]
pub struct Glance {
    /// The service.
    pub registry: Arc<Registry>,
    /// Who may call.
    pub auth: AuthRules,
    /// How patient to be with bodies.
    pub patience: Patience,
    /// Buffers to read files into.
    pub buffers: Buffers,
}

impl Glance {
    fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        bearer(request, &self.auth, self.registry.now())
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

/// Adds the routes.
pub fn mount(app: &mut ServiceConfig, glance: &Glance) {
    app.app_data(Data::new(glance.clone()));
    versions::mount(app);
    v2::mount(app);
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
