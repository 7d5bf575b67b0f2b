//! A protocol as a value: its name, its paths, its routes, and the form of its errors. A server serves a list of
//! protocols, and knows nothing else of any.

use std::future::ready;
use std::sync::Arc;

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{BoxFuture, join_all};

use super::route::{ListedRoute, RouteTable};
use crate::error::Error;

/// A protocol, independent of a run of the server.
pub struct Protocol {
    /// The name, as in the policy's tests and the documentation.
    pub name: &'static str,
    /// Tells whether a path belongs to the protocol, even if no route has it. The protocol renders errors for it that
    /// occur before a route.
    pub covers: fn(&str) -> bool,
    /// Builds the routes. Each thread of the server has its own tables.
    pub tables: fn() -> Vec<RouteTable>,
    /// The answer to a request that failed before a handler saw it.
    pub render: fn(&HttpRequest, &Error) -> HttpResponse,
    /// The answer to a path that is not served.
    pub no_path: fn(&HttpRequest) -> HttpResponse,
}

impl Protocol {
    /// Lists the routes.
    pub fn routes(&self) -> Vec<ListedRoute> {
        (self.tables)().iter().flat_map(RouteTable::list).collect()
    }
}

/// A protocol on a running server, with the state that its handlers share.
pub trait Service: Send + Sync {
    /// The protocol.
    fn protocol(&self) -> &'static Protocol;

    /// Gives the handlers of one thread their state.
    fn share(&self, app: &mut ServiceConfig);

    /// Ends requests that could last as long as a client likes. Called when the server is told to stop.
    fn stop(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// The methods of paths, by their patterns.
pub(super) struct PathMethods(Vec<(ResourceDef, Vec<Method>)>);

impl PathMethods {
    /// Methods of a path, in alphabetical order; `None` if it is not served.
    pub(super) fn at(&self, path: &str) -> Option<Vec<Method>> {
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let routes: Vec<_> = self.0.iter().filter(|(pattern, _)| pattern.is_match(path)).collect();
        let all = [Method::DELETE, Method::GET, Method::HEAD, Method::PATCH, Method::POST, Method::PUT];
        let has = |method: &Method| routes.iter().any(|(_, some)| some.is_empty() || some.contains(method));
        (!routes.is_empty()).then(|| all.into_iter().filter(has).collect())
    }
}

/// All protocols of a server. Clones share them.
#[derive(Clone)]
pub struct Protocols {
    services: Arc<[Box<dyn Service>]>,
    own: &'static Protocol,
}

impl Protocols {
    /// Creates a list of protocols. `own` answers for paths that none covers.
    pub fn new(services: Vec<Box<dyn Service>>, own: &'static Protocol) -> Self {
        Self { services: services.into(), own }
    }

    /// The protocol that answers for a path without a route.
    fn of(&self, path: &str) -> &'static Protocol {
        let mut all = self.services.iter().map(|service| service.protocol());
        all.find(|protocol| (protocol.covers)(path)).unwrap_or(self.own)
    }

    /// The answer to a request that reached no route.
    pub(super) fn refuse(&self, request: &HttpRequest, error: &Error) -> HttpResponse {
        (self.of(request.path()).render)(request, error)
    }

    /// The methods of all paths.
    pub(super) fn methods(&self) -> PathMethods {
        let routes = self.services.iter().flat_map(|service| service.protocol().routes());
        PathMethods(routes.map(|route| (ResourceDef::new(route.path), route.methods)).collect())
    }

    /// Registers the routes of all protocols. The router tries them in the order of their tables, then of the list.
    pub(super) fn mount(&self, app: &mut ServiceConfig) {
        let mut tables: Vec<RouteTable> = Vec::new();
        for service in self.services.iter() {
            service.share(app);
            tables.extend((service.protocol().tables)());
        }
        tables.sort_by_key(RouteTable::order);
        tables.iter().for_each(|table| table.mount(app));
        let all = self.clone();
        app.default_service(web::to(move |request: HttpRequest| ready((all.of(request.path()).no_path)(&request))));
    }

    /// Tells all protocols that the server is about to stop, and waits until they have ended their work.
    pub async fn stop(&self) {
        join_all(self.services.iter().map(|service| service.stop())).await;
    }
}
