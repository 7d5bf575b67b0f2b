//! Signatures of requests. The rights of the caller are the registry's business.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::account::signature::{ContentType, parse_authorization, string_to_sign, verify};
use crate::api::auth::{AuthRules, caller_of, plain_reader, reads};
use crate::error::{Error, Reason, Result};
use crate::http::headers::text;
use crate::http::time::read_http_date;
use crate::image::Timestamp;
use crate::registry::Caller;

fn refuse(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Reason::BadCredentials.saying(text)
}

/// Authenticates a request. Without a body (`has_body`), a content type that a modern Ruby adds is overlooked.
///
/// # Errors
/// `Unauthenticated`, in the original's words.
pub(super) async fn caller(request: &HttpRequest, rules: &AuthRules, now: Timestamp, has_body: bool) -> Result<Caller> {
    if rules.is_open()? {
        return Ok(Caller::Admin(None));
    }
    let Some(authorization) = request.headers().get(header::AUTHORIZATION) else {
        if reads(request) && rules.public_read {
            return Ok(Caller::Anonymous);
        }
        return Err(Reason::Unauthenticated.into());
    };
    if let Some(caller) = plain_reader(request, rules, now).await? {
        return Ok(caller);
    }
    // A header that came twice could be signed in one copy and checked in the other.
    for name in
        [header::AUTHORIZATION, header::DATE, header::CONTENT_TYPE, header::HeaderName::from_static("content-md5")]
    {
        if request.headers().get_all(&name).nth(1).is_some() {
            return Err(refuse(
                "A signed request may have Authorization, Date, Content-Type and Content-MD5 only once each.",
            ));
        }
    }
    let (key, signature) = authorization
        .to_str()
        .ok()
        .and_then(parse_authorization)
        .ok_or_else(|| refuse("No access key found in Authorization."))?;
    let account = rules.accounts.get(key)?;
    // An unknown access key takes as long as a wrong signature: the text is signed with some secret either way.
    let secret = account.as_ref().map_or("no such account", |account| account.secret_key.reveal());
    let signed = is_signed(request, secret, signature, has_body);
    let Some(account) = account else { return Err(refuse(format!("No user found with access key '{key}'."))) };
    if !signed {
        return Err(refuse("Invalid authorization, signatures do not match."));
    }
    check_date(request, now, rules.date_window)?;
    Ok(caller_of(account))
}

fn is_signed(request: &HttpRequest, secret: &str, signature: &str, has_body: bool) -> bool {
    let matches = |content_type| {
        // No client signs a value that is not text; the replacement character fails to match.
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}")));
        let text = string_to_sign(request.method().as_str(), request.uri().path(), headers, content_type);
        verify(secret, &text, signature)
    };
    let as_sent = matches(ContentType::AsSent);
    let added_by_ruby = !has_body
        && request.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == "application/x-www-form-urlencoded");
    as_sent || (added_by_ruby && matches(ContentType::Left))
}

/// Refuses a date that is not fresh: without one, a signed request could be replayed for ever.
fn check_date(request: &HttpRequest, now: Timestamp, window: Duration) -> Result<()> {
    let date = text(request.headers(), header::DATE);
    let Some(date) = date.and_then(read_http_date) else { return Err(refuse("A signed request needs a Date header.")) };
    let off = date.abs_diff(now.seconds());
    if off > window.as_secs() {
        return Err(refuse("The request's Date is too far from the server's clock; check the clocks."));
    }
    Ok(())
}
