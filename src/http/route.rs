//! Routes: the only way from a path to its handler. Each route names its row of the policy; a route without one cannot
//! be registered. Also the functions with which all handlers read a path and write JSON.

// clippy.toml forbids actix-web's own ways of registering in all other files.
#![allow(clippy::disallowed_methods)]

use std::borrow::Cow;
use std::future::{Future, ready};
use std::rc::Rc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, fn_guard};
use actix_web::http::{Method, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Responder, Scope};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::query::pairs;
use crate::error::{Error, Result};
use crate::registry::policy::Action;

/// A route: a path, the methods of one handler, and the row of the policy that decides about its callers.
pub struct Route {
    path: Cow<'static, str>,
    /// The methods; empty for all of them.
    methods: Vec<Method>,
    action: Action,
    guard: Option<Rc<dyn Guard>>,
    /// Makes the handler, once for each resource that has the route.
    handler: Box<dyn Fn() -> actix_web::Route>,
}

impl Route {
    fn new<F, Args>(methods: &[Method], path: impl Into<Cow<'static, str>>, action: Action, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let handler = Box::new(move || actix_web::Route::new().to(handler.clone()));
        Self { path: path.into(), methods: methods.to_vec(), action, guard: None, handler }
    }

    /// Restricts the route to requests that a guard lets through.
    pub fn only(self, guard: impl Guard + 'static) -> Self {
        Self { guard: Some(Rc::new(guard)), ..self }
    }

    fn build(&self) -> actix_web::Route {
        let mut route = match &self.methods[..] {
            [] => (self.handler)(),
            [method] => (self.handler)().method(method.clone()),
            methods => (self.handler)().guard(one_of(methods.to_vec())),
        };
        if let Some(guard) = &self.guard {
            route = route.guard(shared(guard));
        }
        route
    }
}

fn one_of(methods: Vec<Method>) -> impl Guard {
    fn_guard(move |asked| methods.contains(&asked.head().method))
}

fn shared(guard: &Rc<dyn Guard>) -> impl Guard + use<> {
    let guard = Rc::clone(guard);
    fn_guard(move |asked| guard.check(asked))
}

/// Writes a function for each method.
macro_rules! methods {
    ($($name:ident: $methods:expr, $words:literal;)+) => {$(
        #[doc = concat!("Routes ", $words, ".")]
        pub fn $name<F, Args>(path: impl Into<Cow<'static, str>>, action: Action, handler: F) -> Route
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            Route::new(&$methods, path, action, handler)
        }
    )+};
}

methods! {
    get: [Method::GET], "`GET` alone";
    head: [Method::HEAD], "`HEAD` alone";
    read: [Method::GET, Method::HEAD], "`GET` and `HEAD`";
    post: [Method::POST], "`POST`";
    put: [Method::PUT], "`PUT`";
    patch: [Method::PATCH], "`PATCH`";
    delete: [Method::DELETE], "`DELETE`";
    options: [Method::OPTIONS], "`OPTIONS`";
    any: [], "every method";
}

/// The order in which tables are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Routes that a header of the client selects among others of an equal path, and that are tried before those.
    ByClient,
    /// Routes at plain paths, which are compared as text.
    Plain,
    /// Routes below a prefix with a pattern: a regular expression, which costs more than plain paths.
    Pattern,
}

/// A protocol's answers where a table has no route.
#[derive(Clone, Copy)]
pub struct Answers {
    /// The answer to a method that a path lacks, given the methods that it has (`GET, HEAD`). Without it, the path does
    /// not exist for that method.
    pub no_method: Option<fn(&HttpRequest, &str) -> HttpResponse>,
    /// The answer to a path below the prefix that is not in the table. Without it, the protocol that covers the path
    /// answers.
    pub no_path: Option<fn(&HttpRequest) -> HttpResponse>,
}

enum Mounted {
    Resource(Resource),
    Scope(Scope),
}

/// Registration of what a table has mounted.
type Register = Box<dyn Fn(&mut ServiceConfig, Mounted)>;

/// Routes below one prefix, with their protocol's middleware and answers.
pub struct RouteTable {
    order: Order,
    prefix: Option<&'static str>,
    routes: Vec<Route>,
    answers: Answers,
    guard: Option<Rc<dyn Guard>>,
    slashes: bool,
    register: Register,
}

/// A route as an entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoute {
    /// The methods; empty for all of them.
    pub methods: Vec<Method>,
    /// The path, with patterns for its parts.
    pub path: String,
    /// The row of the policy.
    pub action: Action,
}

impl RouteTable {
    /// A table of routes at the root.
    pub fn at_root(answers: Answers, routes: Vec<Route>) -> Self {
        let register = Box::new(|app: &mut ServiceConfig, mounted| match mounted {
            Mounted::Resource(resource) => _ = app.service(resource),
            Mounted::Scope(scope) => _ = app.service(scope),
        });
        let order = Order::Plain;
        Self { order, prefix: None, routes, answers, guard: None, slashes: false, register }
    }

    /// A table of routes below a prefix, which may be a pattern; an empty prefix makes a separate scope at the root.
    pub fn below(prefix: &'static str, answers: Answers, routes: Vec<Route>) -> Self {
        let order = if prefix.contains('{') { Order::Pattern } else { Order::Plain };
        Self { prefix: Some(prefix), order, ..Self::at_root(answers, routes) }
    }

    /// Restricts the table to requests that a guard lets through.
    pub fn only(self, guard: impl Guard + 'static) -> Self {
        Self { guard: Some(Rc::new(guard)), order: Order::ByClient, ..self }
    }

    /// Serves every path with a trailing slash too, as a separate resource: the router compares a single path as text,
    /// and two by a regular expression.
    pub fn with_slashes(self) -> Self {
        Self { slashes: true, ..self }
    }

    /// Wraps a middleware around the table.
    pub fn around<F, Fut, B>(self, middleware: F) -> Self
    where
        F: Fn(ServiceRequest, Next<BoxBody>) -> Fut + Copy + 'static,
        Fut: Future<Output = std::result::Result<ServiceResponse<B>, actix_web::Error>> + 'static,
        B: MessageBody + 'static,
    {
        let register = Box::new(move |app: &mut ServiceConfig, mounted| match mounted {
            Mounted::Resource(resource) => _ = app.service(resource.wrap(from_fn::<F, ()>(middleware))),
            Mounted::Scope(scope) => _ = app.service(scope.wrap(from_fn::<F, ()>(middleware))),
        });
        Self { register, ..self }
    }

    /// The order in which the table is tried.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Lists the routes.
    pub fn list(&self) -> impl Iterator<Item = ListedRoute> {
        let prefix = self.prefix.unwrap_or_default();
        self.routes.iter().map(move |route| ListedRoute {
            methods: route.methods.clone(),
            path: format!("{prefix}{}", route.path),
            action: route.action,
        })
    }

    /// Registers the routes.
    pub(super) fn mount(&self, app: &mut ServiceConfig) {
        let resources = self.resources();
        let Some(prefix) = self.prefix else {
            for resource in resources {
                let resource = match &self.guard {
                    Some(guard) => resource.guard(shared(guard)),
                    None => resource,
                };
                (self.register)(app, Mounted::Resource(resource));
            }
            return;
        };
        let mut scope = resources.into_iter().fold(web::scope(prefix), Scope::service);
        if let Some(guard) = &self.guard {
            scope = scope.guard(shared(guard));
        }
        if let Some(no_path) = self.answers.no_path {
            scope = scope.default_service(web::to(move |request: HttpRequest| ready(no_path(&request))));
        }
        (self.register)(app, Mounted::Scope(scope));
    }

    /// The resources, in the order of their paths in the table.
    fn resources(&self) -> Vec<Resource> {
        let mut paths: Vec<(&str, Vec<&Route>)> = Vec::new();
        for route in &self.routes {
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, routes)) => routes.push(route),
                None => paths.push((&route.path, vec![route])),
            }
        }
        let ends: &[&str] = if self.slashes { &["", "/"] } else { &[""] };
        let each = |(path, routes): (&str, Vec<&Route>)| {
            ends.iter().map(|end| self.resource(&format!("{path}{end}"), &routes)).collect::<Vec<_>>()
        };
        paths.into_iter().flat_map(each).collect()
    }

    fn resource(&self, path: &str, routes: &[&Route]) -> Resource {
        let resource = routes.iter().fold(web::resource(path), |resource, route| resource.route(route.build()));
        let mut methods: Vec<Method> = Vec::new();
        for method in routes.iter().flat_map(|route| &route.methods) {
            if !methods.contains(method) {
                methods.push(method.clone());
            }
        }
        let Some(no_method) = self.answers.no_method else { return resource.guard(one_of(methods)) };
        let allow: Rc<str> = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ").into();
        resource.default_service(web::to(move |request: HttpRequest| ready(no_method(&request, &allow))))
    }
}

/// Reads a part of the path, percent-decoded.
///
/// # Errors
/// `Invalid` for a part that is not UTF-8.
pub fn part(request: &HttpRequest, name: &str) -> Result<String> {
    let text = request.match_info().get(name).unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8().map(String::from);
    text.map_err(|_| Error::invalid("The path is not UTF-8."))
}

/// Reads a parameter of the query: the first of that name.
///
/// # Errors
/// `Invalid` for a query that is not UTF-8.
pub fn parameter(request: &HttpRequest, name: &str) -> Result<Option<String>> {
    Ok(pairs(request.query_string())?.into_iter().find(|(other, _)| other == name).map(|(_, value)| value))
}

/// Answers with JSON.
pub fn answer_json(response: &mut HttpResponseBuilder, value: &impl Serialize) -> HttpResponse {
    // Answers consist of text, numbers and lists, all of which JSON can express.
    let text = serde_json::to_string(value).unwrap_or_default();
    response.insert_header((header::CONTENT_TYPE, "application/json")).body(text)
}
