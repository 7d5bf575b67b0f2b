//! A protocol as a value: its name, the paths that are its own, its routes, and the form of its errors. A server serves a list
//! of them, and knows no other thing of any.

use std::future::ready;
use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{BoxFuture, join_all};

use super::route::{ListedRoute, RouteTable};
use crate::error::Error;

/// A protocol, as it is in every run.
pub struct Protocol {
    /// The name, as the policy's tests and the documentation have it.
    pub name: &'static str,
    /// Tells whether a path is the protocol's, also where nothing is. Answers to requests that no route has seen then have its form.
    pub covers: fn(&str) -> bool,
    /// The routes. Each thread of the server has tables of its own.
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

/// A protocol that is being served: what its handlers share.
pub trait Service: Send + Sync {
    /// The protocol.
    fn protocol(&self) -> &'static Protocol;

    /// Gives the handlers of one thread what they need.
    fn share(&self, app: &mut ServiceConfig);

    /// Ends what would go on for as long as a client likes. Called when the server is told to stop.
    fn stop(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// All protocols of a server. Clones share them.
#[derive(Clone)]
pub struct Protocols {
    services: Arc<[Box<dyn Service>]>,
    own: &'static Protocol,
}

impl Protocols {
    /// A list of protocols. `own` answers for paths that none covers.
    pub fn new(services: Vec<Box<dyn Service>>, own: &'static Protocol) -> Self {
        Self { services: services.into(), own }
    }

    /// The protocol that answers for a path where no route does.
    fn of(&self, path: &str) -> &'static Protocol {
        let mut all = self.services.iter().map(|service| service.protocol());
        all.find(|protocol| (protocol.covers)(path)).unwrap_or(self.own)
    }

    /// The answer to a request that no route has seen.
    pub(super) fn refuse(&self, request: &HttpRequest, error: &Error) -> HttpResponse {
        (self.of(request.path()).render)(request, error)
    }

    /// Registers the routes of all protocols: the router tries them in the order of their tables, and then of the list.
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

    /// Tells all protocols that the server is about to stop, and waits for what they end.
    pub async fn stop(&self) {
        join_all(self.services.iter().map(|service| service.stop())).await;
    }
}
