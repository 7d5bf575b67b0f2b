//! OpenStack's image API: v2 for today's clients, v1 for the clients of 2011 to 2018, and the list of versions. It parses
//! requests and renders answers; it knows no rule about images, no store, no catalogue and no other protocol.
//! `docs/protocols/glance.md` has the routes and the differences from Glance.

mod body;
mod bytes;
pub(in crate::api) mod error;
mod params;
mod quota;
mod spell;
mod v1;
mod v2;
mod versions;
mod wording;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use self::error::{no_method, no_path, render};
use super::Setup;
use super::auth::{AuthRules, bearer};
use crate::error::{Kind, Result};
use crate::http::headers::text;
use crate::http::observe::RequestId;
use crate::http::origin::Buffers;
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, Route, RouteTable};
use crate::image::query::Query;
use crate::image::{Image, ImageId, ImageKind};
use crate::registry::{Caller, ListScope, Metadefs, RateLimits, Registry};

/// The image API, in both versions.
pub(super) static PROTOCOL: Protocol = Protocol { name: "glance", covers, tables, render, no_path };

/// Makes the API of a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    Box::new(Glance {
        registry: Arc::clone(&setup.registry),
        metadefs: setup.metadefs.clone(),
        auth: setup.auth.clone(),
        patience: setup.patience,
        buffers: setup.buffers.clone(),
    })
}

impl Service for Glance {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }
}

fn covers(path: &str) -> bool {
    let version = path.split('/').nth(1).unwrap_or_default();
    ["v1", "v2"].contains(&version.split('.').next().unwrap_or_default())
}

/// State of the handlers.
#[derive(Clone)]
pub struct Glance {
    /// The core.
    pub registry: Arc<Registry>,
    /// The metadata definitions.
    pub metadefs: Metadefs,
    /// Rules of authentication.
    pub auth: AuthRules,
    /// Rate limits of request bodies.
    pub patience: RateLimits,
    /// Buffers for reading files.
    pub buffers: Buffers,
}

impl Glance {
    async fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        bearer(request, &self.auth, self.registry.now()).await
    }

    /// Kernels and ramdisks among these images, as far as the caller may see them.
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

    /// A page of a list, after `marker` if one is given.
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

    /// Runs a handler's own work for the caller, and renders its error.
    async fn answer(
        &self,
        request: &HttpRequest,
        work: impl AsyncFnOnce(Caller) -> Result<HttpResponse>,
    ) -> HttpResponse {
        let done = async { work(self.caller(request).await?).await };
        done.await.unwrap_or_else(|error| render(request, &error))
    }
}

const ANSWERS: Answers = Answers { no_method: Some(no_method), no_path: None };

/// Answers below a version: an unknown path gets Glance's form of a 404.
const VERSIONED: Answers = Answers { no_path: Some(no_path), ..ANSWERS };

fn tables() -> Vec<RouteTable> {
    let mut tables = vec![RouteTable::at_root(ANSWERS, versions::routes())];
    tables.extend(v1::tables());
    tables.extend(v2::tables());
    tables
}

/// Routes without a version in the path, chosen by this media type in `Accept`.
fn unversioned(media_type: &'static str, routes: Vec<Route>) -> RouteTable {
    RouteTable::below("", VERSIONED, routes).around(identify).only(fn_guard(move |asked| {
        // A version in the path decides alone.
        let path = asked.head().uri.path();
        let accept = || text(asked.head().headers(), header::ACCEPT).unwrap_or_default();
        ["/images", "/shared-images"].iter().any(|known| path.starts_with(known))
            && accept().split([',', ';']).any(|part| part.trim() == media_type)
    }))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The request id of an answer, for handlers that show it elsewhere too.
#[derive(Debug, Clone)]
struct OpenStackRequestId(String);

/// Longest request id that a client may send. Glance has this bound too.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Middleware: answers with the request id that OpenStack's clients look for. An id sent by the client comes first: it names
/// a chain of requests through several services.
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
    request.extensions_mut().insert(OpenStackRequestId(id.clone()));
    let mut response = next.call(request).await?;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}
