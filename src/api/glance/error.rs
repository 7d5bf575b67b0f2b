//! Errors in Glance's three forms, HTML, JSON and plain text, chosen by `Accept`. Has Glance's words and statuses for the kinds
//! and reasons of the core; knows no route and no image.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};

use super::Glance;
pub(in crate::api) use super::wording::{ApiVersion, told};
use crate::api::discovery::identity_url;
use crate::error::{Error, Kind, Reason};
use crate::http::headers::text;
use crate::http::observe::report;
use crate::http::refusal::begin;

/// The answer to a request that failed.
pub(in crate::api) fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    render_with(request, error, |_| {})
}

/// The answer to a request that failed, with more headers.
pub(super) fn render_with(
    request: &HttpRequest,
    error: &Error,
    headers: impl FnOnce(&mut HttpResponseBuilder),
) -> HttpResponse {
    report(request, error);
    let version = request.extensions().get::<ApiVersion>().copied().unwrap_or(ApiVersion::V2);
    let (status, words) = told(version, error);
    let mut response = begin(status, error);
    headers(&mut response);
    match error.kind() {
        Kind::Unauthenticated => {
            let keystone = request.app_data::<Data<Glance>>().and_then(|glance| glance.auth.keystone.as_deref());
            let challenge = format!("Keystone uri=\"{}\"", identity_url(keystone, request, ""));
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        Kind::Busy => _ = response.insert_header((header::RETRY_AFTER, "1")),
        _ => {}
    }
    write(request, response, status, &words)
}

/// The answer to a method that a path does not have.
pub(super) fn no_method(request: &HttpRequest, allow: &str) -> HttpResponse {
    render_with(request, &Reason::MethodNotAllowed.into(), |response| {
        response.insert_header((header::ALLOW, allow));
    })
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}

fn write(request: &HttpRequest, mut response: HttpResponseBuilder, status: StatusCode, message: &str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let code = format!("{} {title}", status.as_u16());
    let accept = text(request.headers(), header::ACCEPT).unwrap_or_default();
    if accept.contains("application/json") {
        let body = serde_json::json!({ "message": message, "code": code, "title": title });
        return response.content_type("application/json").body(body.to_string());
    }
    if accept.contains("text/html") || accept.contains("*/*") {
        let message = escape(message);
        let body = format!(
            "<html>\n <head>\n  <title>{code}</title>\n </head>\n <body>\n  <h1>{code}</h1>\n  {message}<br /><br />\n \
             </body>\n</html>"
        );
        return response.content_type("text/html; charset=UTF-8").body(body);
    }
    response.content_type("text/plain; charset=UTF-8").body(format!("{code}\n\n{message}\n"))
}

/// Escapes a text between HTML tags. Quotes stay: they mean nothing there, and clients show the text between tags unchanged.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    #[actix_web::test]
    async fn the_form_follows_what_is_accepted() {
        for (accept, content_type, body) in [
            (Some("*/*"), "text/html; charset=UTF-8", "<h1>404 Not Found</h1>\n  No '&lt;b&gt;'<br />"),
            (Some("application/json"), "application/json", "\"message\":\"No '<b>'\",\"code\":\"404 Not Found\""),
            (Some(""), "text/plain; charset=UTF-8", "404 Not Found\n\nNo '<b>'\n"),
            (Some("application/octet-stream"), "text/plain; charset=UTF-8", "404 Not Found\n\nNo '<b>'\n"),
            (None, "text/plain; charset=UTF-8", "404 Not Found\n\nNo '<b>'\n"),
        ] {
            let mut request = TestRequest::get();
            if let Some(accept) = accept {
                request = request.insert_header(("accept", accept));
            }
            let response = render(&request.to_http_request(), &Reason::NotFound.saying("No '<b>'"));
            assert_eq!(response.headers().get("content-type").unwrap(), content_type);
            let text = to_bytes(response.into_body()).await.unwrap();
            assert!(String::from_utf8_lossy(&text).contains(body), "{accept:?}");
        }
    }
}
