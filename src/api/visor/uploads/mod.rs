//! `/uploads`: uploads over several requests, for clients whose connection may break. An upload has the id of its
//! image, in the path: a signature covers the path, and nothing after its `?`.

mod dialect;

use actix_web::guard;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use self::dialect::{Concat, UploadDialect, wrong_type};
use super::Visor;
use super::error::{render, render_with};
use super::images::id_of;
use super::meta::Fields;
use super::wire::{self, Record, attr_of};
use crate::error::{Error, Kind, Result};
use crate::http::base::base_url;
use crate::http::body::Body;
use crate::http::headers::announce_body;
use crate::http::route::{Route, delete, head, options, patch, post};
use crate::image::{Attr, ImageId, ImagePatch};
use crate::registry::policy::Action;
use crate::registry::{Append, Caller, Expected, UploadProgress};

const ALLOW_ALL: &str = "OPTIONS, POST";
const ALLOW_ONE: &str = "DELETE, HEAD, OPTIONS, PATCH, POST";

/// Lists the routes.
pub(super) fn routes() -> Vec<Route> {
    // tus allows this for clients behind a proxy that passes only GET and POST.
    let instead = |method| guard::Header("x-http-method-override", method);
    let upload = Action::UploadBytes;
    vec![
        options("/uploads", Action::Discover, |visor| describe(visor, ALLOW_ALL)),
        post("/uploads", Action::CreateImage, create),
        delete("/uploads/{id}", upload, cancel),
        head("/uploads/{id}", upload, read),
        options("/uploads/{id}", Action::Discover, |visor| describe(visor, ALLOW_ONE)),
        patch("/uploads/{id}", upload, append),
        post("/uploads/{id}", upload, append).only(instead("PATCH")),
        post("/uploads/{id}", upload, cancel).only(instead("DELETE")),
        post("/uploads/{id}", upload, create_into),
    ]
}

async fn describe(visor: Data<Visor>, allow: &'static str) -> HttpResponse {
    UploadDialect::options(allow, visor.registry.image_bytes_max())
}

/// Runs a handler, with the checks and headers that each of them needs.
async fn answer(request: &HttpRequest, work: impl AsyncFnOnce(UploadDialect) -> Result<HttpResponse>) -> HttpResponse {
    let dialect = UploadDialect::of(request);
    let mut response = match dialect.refused(request) {
        Some(refused) => refused,
        None => {
            let done = async {
                UploadDialect::check_digests(request.headers())?;
                work(dialect).await
            };
            done.await.unwrap_or_else(|error| render(request, &error))
        }
    };
    dialect.sign(&mut response);
    response
}

/// `POST /uploads`: creates an image from metadata, and from the first bytes if there are any.
async fn create(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    answer(&request, async |dialect| begin(&request, &visor, dialect, payload, None).await).await
}

/// `POST /uploads/:id`: begins an upload into an existing image.
async fn create_into(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    answer(&request, async |dialect| begin(&request, &visor, dialect, payload, Some(id_of(&request)?)).await).await
}

async fn begin(
    request: &HttpRequest,
    visor: &Visor,
    dialect: UploadDialect,
    payload: Payload,
    into: Option<ImageId>,
) -> Result<HttpResponse> {
    let headers = request.headers();
    let has_body = announce_body(headers);
    let who = visor.caller_with(request, has_body).await?;
    let begun = match dialect.concat(headers)? {
        Some(Concat::Partial) => {
            if into.is_some() {
                let text =
                    "A part has no image: begin it at /uploads, and name the image when the parts are put together.";
                return Err(Error::invalid(text));
            }
            let claim = Expected::default().and_size(dialect.size_at_first(headers)?)?;
            visor.registry.uploads().begin_part(&who, claim).await?
        }
        Some(Concat::Final(_)) if has_body => {
            return Err(Error::invalid("An upload that is made of parts has no bytes of its own."));
        }
        Some(Concat::Final(parts)) => return join(request, visor, dialect, &who, into, &parts).await,
        None => {
            let size = dialect.size_at_first(headers)?;
            start(visor, headers, &who, into, size).await?
        }
    };
    let id = begun.image.id;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("{}/uploads/{id}", base_url(request))));
    // In tus, an upload of zero bytes is complete at once: its client has no header to say so.
    let empty = dialect == UploadDialect::Tus && begun.size == Some(0) && !begun.is_part();
    if !has_body && !empty {
        dialect.describe(&mut response, &begun);
        return Ok(response.finish());
    }
    let fed = async {
        let append = visor.registry.uploads().append(&who, id, 0, None).await?;
        feed(visor, request, dialect, payload, append, None).await
    };
    match fed.await {
        Ok(progress) => Ok(show(visor, request, &who, dialect, response, &progress)),
        Err(error) => {
            // The client never learned the address of a new upload, so it cannot continue it.
            if into.is_none() && !matches!(error.kind(), Kind::Conflict | Kind::Internal) {
                let _ = visor.registry.uploads().cancel(&who, id).await;
            }
            Err(error)
        }
    }
}

/// Begins an upload of this size, with the metadata in the headers.
async fn start(
    visor: &Visor,
    headers: &HeaderMap,
    who: &Caller,
    into: Option<ImageId>,
    size: Option<u64>,
) -> Result<UploadProgress> {
    let (patch, claim) = described(visor, headers, who, into, size)?;
    visor.registry.uploads().begin_resumable(who, into, &patch, claim).await
}

/// The image of an upload as the headers describe it, and what they announce.
fn described(
    visor: &Visor,
    headers: &HeaderMap,
    who: &Caller,
    into: Option<ImageId>,
    size: Option<u64>,
) -> Result<(ImagePatch, Expected)> {
    let mut fields = Fields::of_headers(headers)?;
    UploadDialect::add_metadata(headers, &mut fields)?;
    let with = visor.with(who, into.is_none(), true);
    let meta = fields.read(with)?;
    let patch = if into.is_none() { meta.first(with) } else { meta.patch };
    Ok((patch, meta.claim.and_size(size)?))
}

/// Puts an upload together of its parts, and removes those.
async fn join(
    request: &HttpRequest,
    visor: &Visor,
    dialect: UploadDialect,
    who: &Caller,
    into: Option<ImageId>,
    parts: &[ImageId],
) -> Result<HttpResponse> {
    let headers = request.headers();
    let (patch, claim) = described(visor, headers, who, into, UploadDialect::size(headers)?)?;
    let progress = visor.registry.uploads().concatenate(who, into, &patch, claim, parts).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("{}/uploads/{}", base_url(request), progress.image.id)));
    Ok(show(visor, request, who, dialect, response, &progress))
}

/// `PATCH /uploads/:id`
async fn append(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    answer(&request, async |dialect| {
        let who = visor.caller_with(&request, true).await?;
        let (id, headers) = (id_of(&request)?, request.headers());
        if !dialect.is_typed(headers) {
            return Err(wrong_type(dialect));
        }
        let (offset, size) = (UploadDialect::offset(headers)?, UploadDialect::size(headers)?);
        let last = Fields::of_headers(headers)?;
        let append = match visor.registry.uploads().append(&who, id, offset, size).await {
            Err(error) if error.kind() == Kind::Conflict => return misplaced(&visor, &request, &who, id, &error).await,
            append => append?,
        };
        let progress = feed(&visor, &request, dialect, payload, append, Some((&who, last))).await?;
        let response = match dialect {
            UploadDialect::Draft if progress.is_complete() => HttpResponse::Ok(),
            _ => HttpResponse::NoContent(),
        };
        Ok(show(&visor, &request, &who, dialect, response, &progress))
    })
    .await
}

/// The answer to bytes at a wrong offset, with the right one.
async fn misplaced(
    visor: &Visor,
    request: &HttpRequest,
    who: &Caller,
    id: ImageId,
    error: &Error,
) -> Result<HttpResponse> {
    let progress = visor.registry.uploads().progress(who, id).await?;
    Ok(render_with(request, error, |response| {
        response.insert_header(("Upload-Offset", progress.offset.to_string()));
    }))
}

/// Feeds a body into an upload, and completes the upload at its end. Bytes of a body that ends early are kept.
async fn feed(
    visor: &Visor,
    request: &HttpRequest,
    dialect: UploadDialect,
    payload: Payload,
    mut append: Append,
    last: Option<(&Caller, Fields)>,
) -> Result<UploadProgress> {
    Body::new(payload, visor.patience).fill(&mut append).await?;
    if !dialect.completes(request.headers(), &append) {
        return append.pause().await;
    }
    let last = match last {
        Some((who, fields)) => fields.read(visor.with(who, false, true)),
        None => Ok(Default::default()),
    };
    match last {
        Ok(meta) => {
            append.claim(meta.claim);
            append.finish(&meta.patch).await
        }
        Err(error) => {
            append.pause().await?;
            Err(error)
        }
    }
}

/// Answers a request that sent bytes.
fn show(
    visor: &Visor,
    request: &HttpRequest,
    who: &Caller,
    dialect: UploadDialect,
    mut response: actix_web::HttpResponseBuilder,
    progress: &UploadProgress,
) -> HttpResponse {
    dialect.describe(&mut response, progress);
    if !progress.is_complete() {
        return response.finish();
    }
    let image = &progress.image;
    response.insert_header((header::CONTENT_LOCATION, format!("{}/images/{}", base_url(request), image.id)));
    match dialect {
        // The answer equals that of an upload in one request.
        UploadDialect::Draft => {
            wire::respond(request, &mut response, Some("image"), &visor.record(who, image, request))
        }
        UploadDialect::Tus => response.finish(),
    }
}

/// `HEAD /uploads/:id`
async fn read(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    answer(&request, async |dialect| {
        let who = visor.caller(&request).await?;
        let progress = visor.registry.uploads().progress(&who, id_of(&request)?).await?;
        let given: Record =
            visor.record(&who, &progress.image, &request).into_iter().filter(|(name, _)| is_given(name)).collect();
        Ok(dialect.status(&progress, &given))
    })
    .await
}

/// Tells whether the sender set an attribute.
fn is_given(name: &str) -> bool {
    let ours = [Attr::Id, Attr::Owner, Attr::Status, Attr::Size, Attr::Checksum, Attr::Location];
    let times = [Attr::CreatedAt, Attr::UpdatedAt, Attr::UploadedAt];
    name != "uri" && attr_of(name).is_none_or(|attr| !ours.contains(&attr) && !times.contains(&attr))
}

/// `DELETE /uploads/:id`
async fn cancel(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    answer(&request, async |_| {
        let who = visor.caller(&request).await?;
        visor.registry.uploads().cancel(&who, id_of(&request)?).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}
