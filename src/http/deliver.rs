//! One path for the bytes of an image, whatever the protocol and the store: conditions, ranges, then the stream.

use std::ops::Range;

use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt;

use super::conditional::{Facts, Verdict, http_date, judge};
use crate::blob::{BlobBody, Buffers, stream};
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::registry::{Caller, Registry};

/// What is said about the bytes of an image in every answer that is about them.
pub fn facts(image: &Image) -> Facts {
    let part = image.whole();
    let etag = part.and_then(|part| match part.digests.sha256_hex() {
        Some(sha256) => Some(sha256),
        // The owner of the URL chose it; only what can stand between quotes is passed on.
        None => part.etag.clone().filter(|tag| tag.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'"')),
    });
    let modified = image.uploaded_at.or(image.updated_at).unwrap_or(image.created_at);
    Facts {
        etag: etag.map(|tag| format!("\"{tag}\"")),
        modified_s: Some(modified.seconds()),
        size: part.and_then(|part| part.size),
    }
}

fn describe(response: &mut HttpResponseBuilder, facts: &Facts) {
    if let Some(etag) = &facts.etag {
        response.insert_header((header::ETAG, etag.as_str()));
    }
    if let Some(modified) = facts.modified_s {
        response.insert_header((header::LAST_MODIFIED, http_date(modified)));
    }
    response.insert_header((header::ACCEPT_RANGES, "bytes"));
}

/// The body of an answer to HEAD: nothing, with the length that GET would have.
struct HeadBody(Option<u64>);

impl MessageBody for HeadBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0.map_or(BodySize::None, BodySize::Sized)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

/// Answers a GET or HEAD for the bytes of an image. `headers` are the protocol's own, and stand in every answer that
/// has the bytes or would have.
///
/// # Errors
/// `Precondition` and `BadRange` (with the size in a header that the caller adds, see [`unsatisfiable`]), and those
/// of [`Registry::open`].
pub async fn deliver(
    registry: &Registry,
    buffers: &Buffers,
    who: &Caller,
    image: &Image,
    request: &HttpRequest,
    headers: impl Fn(&mut HttpResponseBuilder),
) -> Result<HttpResponse> {
    let facts = facts(image);
    let (status, range) = match judge(request.headers(), &facts) {
        Verdict::Failed => return Err(Error::new(Kind::Precondition, "The image is not the one that was asked for.")),
        Verdict::OutOfRange => return Err(Error::new(Kind::BadRange, "The range lies outside the image.")),
        Verdict::NotModified => {
            let mut response = HttpResponse::NotModified();
            describe(&mut response, &facts);
            return Ok(response.finish());
        }
        Verdict::Whole => (StatusCode::OK, None),
        Verdict::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
    };
    let mut response = HttpResponse::build(status);
    headers(&mut response);
    describe(&mut response, &facts);
    response.content_type("application/octet-stream");
    if let (Some(Range { start, end }), Some(size)) = (&range, facts.size) {
        response.insert_header((header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
    }
    if request.method() == actix_web::http::Method::HEAD {
        let length = range.map(|range| range.end - range.start).or(facts.size);
        return Ok(response.body(HeadBody(length)));
    }
    let body = registry.open(who, image, range).await?;
    Ok(send(response, body, buffers))
}

/// The stream itself. An error in it ends the connection: the client must not take a part for the whole.
fn send(mut response: HttpResponseBuilder, body: BlobBody, buffers: &Buffers) -> HttpResponse {
    let length = body.length();
    let stream = stream(body, buffers)
        .inspect(|chunk| {
            if let Err(error) = chunk {
                log::error!("a download was cut short: {error}");
            }
        })
        .map(|chunk| chunk.map_err(|error| Box::new(error) as Box<dyn std::error::Error>));
    match length {
        Some(length) => response.body(SizedStream::new(length, stream)),
        None => response.streaming(stream),
    }
}

/// The header that goes with 416: how large the image is.
pub fn unsatisfiable(image: &Image) -> (header::HeaderName, String) {
    (header::CONTENT_RANGE, format!("bytes */{}", image.size().unwrap_or(0)))
}
