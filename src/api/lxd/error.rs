//! Errors in LXD's form: an envelope whose `error_code` is the status.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::envelope::failed;
pub(in crate::api) use super::wording::told;
use crate::error::{Error, Kind, Reason};
use crate::http::observe::report;
use crate::http::refusal::begin;

/// The refusal of a client that is not trusted.
pub fn not_authorized() -> Error {
    Reason::NotTrusted.into()
}

/// The answer to a request that failed.
pub fn render(request: &HttpRequest, error: &Error) -> HttpResponse {
    report(request, error);
    let (status, words) = told(error);
    let mut response = begin(status, error);
    if error.kind() == Kind::Busy {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    failed(&mut response, status, &words)
}

/// The answer to a path that is not served.
pub(super) fn no_path(request: &HttpRequest) -> HttpResponse {
    render(request, &Reason::PathNotFound.into())
}

/// The answer to a method that a path does not have, as LXD gives it.
pub(super) fn no_method(request: &HttpRequest, _: &str) -> HttpResponse {
    render(request, &Reason::MethodNotAllowed.into())
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    #[actix_web::test]
    async fn errors_have_their_envelope() {
        let request = TestRequest::get().to_http_request();
        for (error, expected) in [
            (Reason::ImageNotFound.about("abc"), r#""error":"Image not found","error_code":404"#),
            (Reason::BadCredentials.saying("No signature."), r#""error":"not authorized","error_code":403"#),
            (Reason::WrongHost.saying("Not by that name."), r#""error":"Not by that name.","error_code":403"#),
        ] {
            let response = render(&request, &error);
            assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
            let text = to_bytes(response.into_body()).await.unwrap();
            let expected = format!(r#"{{"type":"error",{expected},"metadata":null}}"#);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }
}
