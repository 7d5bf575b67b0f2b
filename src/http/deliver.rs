//! One path for the bytes of an image, for every protocol and store: conditions, ranges, then the stream.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::conditional::{Facts, Verdict, judge};
use super::disposition::attachment;
use super::headers::digest_headers;
use super::origin::{Buffers, Origin};
use super::parts::Parts;
use super::socket::{FileBody, Outlet, cut_short};
use super::time::http_date;
use crate::blob::{BlobBody, StoreError, stream};
use crate::error::{Reason, Result};
use crate::image::{Image, Location};
use crate::registry::{Caller, Delivery, Registry};

/// Facts of an image's bytes, for every answer about them.
pub fn facts(image: &Image) -> Facts {
    let part = image.main();
    let etag = part.and_then(|part| match part.digests.sha256_hex() {
        Some(sha256) => Some(sha256),
        // The owner of the URL chose the tag; it is passed on only if it can stand between quotes.
        None => part.etag.clone().filter(|tag| tag.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'"')),
    });
    let modified = image.uploaded_at.or(image.updated_at).unwrap_or(image.created_at);
    Facts {
        etag: etag.map(|tag| format!("\"{tag}\"")),
        modified_s: Some(modified.seconds()),
        size: part.and_then(|part| part.size),
    }
}

/// `takes_ranges`: a client may ask for a part of the bytes.
fn describe(response: &mut HttpResponseBuilder, facts: &Facts, takes_ranges: bool) {
    if let Some(etag) = &facts.etag {
        response.insert_header((header::ETAG, etag.as_str()));
    }
    if let Some(modified) = facts.modified_s {
        response.insert_header((header::LAST_MODIFIED, http_date(modified)));
    }
    if takes_ranges {
        response.insert_header((header::ACCEPT_RANGES, "bytes"));
    }
}

/// Adds the headers that belong to the bytes: the file name, and digests.
fn introduce(response: &mut HttpResponseBuilder, image: &Image) {
    let name = attachment(image.name.as_deref(), image.format.map(|format| format.name()), &image.id.to_string());
    response.insert_header((header::CONTENT_DISPOSITION, name));
    if let Some(sha256) = image.main().and_then(|part| part.digests.sha256) {
        digest_headers(&sha256).into_iter().for_each(|header| _ = response.insert_header(header));
    }
}

/// The body of an answer to HEAD: empty, with the length of GET's.
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

/// Answers a GET or HEAD for the bytes of an image. `headers` adds the protocol's own headers to every answer with the
/// bytes, and to its HEAD.
///
/// # Errors
/// `Precondition` and `BadRange` (with the size in a header that the caller adds, see [`unsatisfiable`]), and those of
/// [`Downloads::open`](crate::registry::Downloads::open).
pub async fn deliver(
    registry: &Arc<Registry>,
    buffers: &Buffers,
    who: &Caller,
    image: &Image,
    request: &HttpRequest,
    headers: impl Fn(&mut HttpResponseBuilder),
) -> Result<HttpResponse> {
    deliver_as(facts(image), registry, buffers, who, image, request, headers).await
}

/// Answers as [`deliver`] does, with the protocol's own entity tag.
///
/// # Errors
/// As [`deliver`].
pub async fn deliver_as(
    facts: Facts,
    registry: &Arc<Registry>,
    buffers: &Buffers,
    who: &Caller,
    image: &Image,
    request: &HttpRequest,
    headers: impl Fn(&mut HttpResponseBuilder),
) -> Result<HttpResponse> {
    // Before any condition is judged: an answer to one tells of bytes that the caller may not have. HEAD is for the record too.
    if request.method() != Method::HEAD {
        registry.downloads().permit(who, image)?;
    }
    let source = Arc::new((Arc::clone(registry), who.clone(), image.clone()));
    let origin = Origin::new(move |range| {
        let source = Arc::clone(&source);
        async move {
            let (registry, who, image) = &*source;
            registry.downloads().deliver(who, image, range).await
        }
    });
    let is_remote = image.main().is_some_and(|part| matches!(part.location, Location::Http { .. }));
    let origin = origin.in_parts(!is_remote);
    let all = |response: &mut HttpResponseBuilder| {
        headers(response);
        introduce(response, image);
    };
    deliver_from(&origin, facts, buffers, request, all).await
}

/// The decision about a GET or HEAD.
fn verdict(request: &HttpRequest, facts: &Facts) -> Verdict {
    match judge(request.headers(), facts) {
        // Ranges apply to GET only (RFC 9110, section 14.2).
        Verdict::Part(_) | Verdict::Parts(_) | Verdict::OutOfRange if request.method() == Method::HEAD => {
            Verdict::Whole
        }
        verdict => verdict,
    }
}

/// The range that an answer reads first: all bytes (`Some(None)`), a part, or nothing.
pub fn first_read(request: &HttpRequest, facts: &Facts) -> Option<Option<Range<u64>>> {
    match verdict(request, facts) {
        Verdict::Whole => Some(None),
        Verdict::Part(range) => Some(Some(range)),
        Verdict::Parts(ranges) => ranges.into_iter().next().map(Some),
        Verdict::NotModified | Verdict::Failed | Verdict::OutOfRange => None,
    }
}

/// Answers as [`deliver`] does, from any origin. That the caller may have its bytes was checked.
///
/// # Errors
/// As [`deliver`].
pub async fn deliver_from<F, Opening>(
    origin: &Origin<F>,
    facts: Facts,
    buffers: &Buffers,
    request: &HttpRequest,
    headers: impl Fn(&mut HttpResponseBuilder),
) -> Result<HttpResponse>
where
    F: Fn(Option<Range<u64>>) -> Opening + Clone + Send + Sync + 'static,
    Opening: Future<Output = Result<Delivery>> + Send + 'static,
{
    let head = request.method() == Method::HEAD;
    let has_parts = origin.has_parts();
    let mut response = HttpResponse::Ok();
    let range = match verdict(request, &facts) {
        Verdict::Failed => {
            return Err(Reason::ConditionFailed.saying("The image does not meet the condition of the request."));
        }
        Verdict::OutOfRange => return Err(Reason::BadRange.about(facts.size.unwrap_or(0))),
        Verdict::NotModified => {
            response.status(StatusCode::NOT_MODIFIED);
            describe(&mut response, &facts, has_parts);
            return Ok(response.finish());
        }
        Verdict::Parts(ranges) if origin.has_several_parts() => {
            response.status(StatusCode::PARTIAL_CONTENT);
            headers(&mut response);
            describe(&mut response, &facts, has_parts);
            let parts = Parts::new(ranges, facts.size.unwrap_or(0), origin.content_type());
            response.content_type(parts.content_type());
            return Ok(send(response, Some(parts.length()), parts.stream(origin, buffers)));
        }
        Verdict::Part(range) => Some(range),
        Verdict::Parts(_) | Verdict::Whole => None,
    };
    headers(&mut response);
    response.content_type(origin.content_type());
    if head {
        describe(&mut response, &facts, has_parts);
        return Ok(response.body(HeadBody(facts.size)));
    }
    let delivery = origin.open(range.clone()).await?;
    describe(&mut response, &facts, delivery.takes_ranges);
    if let (Some(Range { start, end }), Some(size), false) = (range, facts.size, delivery.is_whole) {
        response.status(StatusCode::PARTIAL_CONTENT);
        response.insert_header((header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
    }
    Ok(match (delivery.body, request.conn_data::<Outlet>()) {
        // The head states the length; actix-http never sees this body.
        (BlobBody::File(file), Some(outlet)) => {
            response.no_chunking(file.length).body(FileBody::new(outlet.clone(), file))
        }
        (body, _) => send(response, body.length(), stream(body, buffers)),
    })
}

/// Sends the stream.
fn send(
    mut response: HttpResponseBuilder,
    length: Option<u64>,
    bytes: BoxStream<'static, Result<Bytes, StoreError>>,
) -> HttpResponse {
    let stream = bytes.map(|chunk| chunk.map_err(|error| Box::new(cut_short(error)) as Box<dyn std::error::Error>));
    match length {
        Some(length) => response.body(SizedStream::new(length, stream)),
        None => response.streaming(stream),
    }
}

/// The header of a 416: the size that the range exceeds.
pub fn unsatisfiable(size: u64) -> (header::HeaderName, String) {
    (header::CONTENT_RANGE, format!("bytes */{size}"))
}
