//! Two small protocols on one server: the order of their tables, and the answers where no route exists.

use actix_web::body::to_bytes;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard;
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest, HttpResponse};

use super::protocol::{Protocol, Protocols, Service};
use super::route::{Answers, ListedRoute, Route, RouteTable, any, delete, get, post, read};
use crate::error::Reason;
use crate::registry::policy::Action;

struct Served(&'static Protocol);

impl Service for Served {
    fn protocol(&self) -> &'static Protocol {
        self.0
    }

    fn share(&self, _: &mut ServiceConfig) {}
}

static OWN: Protocol = Protocol {
    name: "own",
    covers: |path| path.starts_with("/things"),
    tables: || {
        let answers = Answers { no_method: Some(|_, allow| refused("own", allow)), no_path: None };
        let things = RouteTable::at_root(answers, things()).with_slashes();
        vec![things]
    },
    render: |_, error| HttpResponse::Forbidden().body(format!("own: {error}")),
    no_path: |_| HttpResponse::NotFound().body("own: nothing"),
};

static OTHER: Protocol = Protocol {
    name: "other",
    covers: |path| path.starts_with("/v1"),
    tables: || {
        let answers = Answers { no_method: None, no_path: None };
        let thing = || vec![read("/things", Action::ListImages, || async { "other" })];
        let nothing = Answers { no_path: Some(|_| HttpResponse::NotFound().body("other: below")), ..answers };
        vec![
            RouteTable::below("/v1{minor:(\\.[01])?}", nothing, thing()).around(marked),
            RouteTable::below("", answers, thing()).only(guard::Header("accept", "other")),
        ]
    },
    render: |_, error| HttpResponse::Forbidden().body(format!("other: {error}")),
    no_path: |_| HttpResponse::NotFound().body("other: nothing"),
};

fn refused(who: &str, allow: &str) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header(("allow", allow)).body(format!("{who}: method"))
}

fn things() -> Vec<Route> {
    vec![
        post("/things", Action::CreateImage, || async { "instead" }).only(guard::Header("x-instead", "yes")),
        post("/things", Action::CreateImage, || async { "made" }),
        get("/things", Action::ListImages, || async { "list" }),
        delete("/things/{id}", Action::DeleteImage, || async { "gone" }),
        any("/status", Action::Discover, || async { "OK" }),
    ]
}

async fn marked(
    request: ServiceRequest,
    next: Next<actix_web::body::BoxBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    let mut response = next.call(request).await?;
    response.headers_mut().insert("x-marked".parse().unwrap(), "yes".parse().unwrap());
    Ok(response)
}

fn both() -> Protocols {
    Protocols::new(vec![Box::new(Served(&OWN)), Box::new(Served(&OTHER))], &OWN)
}

/// Status, `Allow`, the middleware's mark and body.
async fn asked(method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> (u16, String, bool, String) {
    let all = both();
    let app = init_service(App::new().configure(|app| all.mount(app))).await;
    let mut request = TestRequest::with_uri(path).method(method);
    for header in headers {
        request = request.insert_header(*header);
    }
    let response = call_service(&app, request.to_request()).await;
    let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned()).unwrap_or_default();
    let mark = response.headers().contains_key("x-marked");
    let status = response.status().as_u16();
    (status, allow, mark, String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap())
}

#[actix_web::test]
async fn a_route_answers_its_methods_and_the_protocol_all_others() {
    for (method, path, status, allow, body) in [
        (Method::GET, "/things", 200, "", "list"),
        (Method::GET, "/things/", 200, "", "list"),
        (Method::POST, "/things", 200, "", "made"),
        (Method::HEAD, "/things", 405, "POST, GET", "own: method"),
        (Method::PUT, "/things/", 405, "POST, GET", "own: method"),
        (Method::DELETE, "/things/7", 200, "", "gone"),
        (Method::GET, "/things/7/", 405, "DELETE", "own: method"),
        (Method::PATCH, "/status", 200, "", "OK"),
        (Method::GET, "/things/7/8", 404, "", "own: nothing"),
        (Method::GET, "/elsewhere", 404, "", "own: nothing"),
    ] {
        assert_eq!(asked(method, path, &[]).await, (status, allow.into(), false, body.into()), "{path}");
    }
    let instead = asked(Method::POST, "/things", &[("x-instead", "yes")]).await;
    assert_eq!(instead.3, "instead");
}

#[actix_web::test]
async fn a_prefix_has_its_own_answers_and_its_middleware() {
    for path in ["/v1/things", "/v1.0/things", "/v1.1/things"] {
        assert_eq!(asked(Method::GET, path, &[]).await, (200, String::new(), true, "other".into()), "{path}");
        assert_eq!(asked(Method::HEAD, path, &[]).await.0, 200, "{path}");
        // A table without an answer to other methods does not have the path for them.
        assert_eq!(asked(Method::PUT, path, &[]).await.3, "other: below", "{path}");
    }
    assert_eq!(asked(Method::GET, "/v1/none", &[]).await, (404, String::new(), true, "other: below".into()));
    assert_eq!(asked(Method::GET, "/v12/none", &[]).await.3, "other: nothing", "the one that covers the path");
}

#[actix_web::test]
async fn what_a_client_says_of_itself_comes_before_the_path() {
    assert_eq!(asked(Method::GET, "/things", &[("accept", "other")]).await.3, "other");
    assert_eq!(asked(Method::GET, "/status", &[("accept", "other")]).await.3, "own: nothing");
}

#[actix_web::test]
async fn a_refusal_has_the_form_of_the_protocol_that_covers_the_path() {
    for (path, start) in [("/v1/x", "other: "), ("/things", "own: "), ("/", "own: ")] {
        let request: HttpRequest = TestRequest::with_uri(path).to_http_request();
        let answer = both().refuse(&request, &Reason::Forbidden.saying("no"));
        let body = to_bytes(answer.into_body()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&body), format!("{start}no"), "{path}");
    }
}

#[test]
fn routes_are_listed_with_their_rows() {
    let listed = OTHER.routes();
    let methods = vec![Method::GET, Method::HEAD];
    let path = "/v1{minor:(\\.[01])?}/things".to_owned();
    assert_eq!(listed[0], ListedRoute { methods, path, action: Action::ListImages });
    assert_eq!((listed.len(), OWN.routes().len()), (2, 5));
}
