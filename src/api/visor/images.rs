//! The handlers of images: parse, call, render.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;

use super::error::render;
use super::forms::{self, Sent};
use super::lists::{Shape, list};
use super::meta::{Fields, unknown_id};
use super::wire::{self, Record, Surroundings, put_headers, respond};
use super::{Visor, jobs, links};
use crate::error::{Error, Reason, Result};
use crate::http::base::base_url;
use crate::http::body::Body;
use crate::http::deliver::deliver;
use crate::http::headers::{announce_body, is_type, text};
use crate::http::route::part;
use crate::image::{Image, ImageId, Status, StoreName};
use crate::jobs::Job;
use crate::registry::{Caller, Source};

/// Guards `DELETE /all` against a slip of the hand.
const CONFIRM: &str = "x-visor-confirm";

impl Visor {
    fn surroundings(&self, who: &Caller, image: &Image, request: &HttpRequest) -> Surroundings {
        Surroundings { base: base_url(request), location: self.registry.location(who, image) }
    }

    pub(super) fn record(&self, who: &Caller, image: &Image, request: &HttpRequest) -> Record {
        wire::detail(image, &self.surroundings(who, image, request))
    }

    fn answer(&self, who: &Caller, image: &Image, request: &HttpRequest) -> HttpResponse {
        respond(request, &mut HttpResponse::Ok(), Some("image"), &self.record(who, image, request))
    }
}

/// The id in the path, taken undecoded: only the canonical spelling names an image.
pub(super) fn id_of(request: &HttpRequest) -> Result<ImageId> {
    let path = request.uri().path().trim_end_matches('/');
    let text = path.rsplit('/').next().unwrap_or_default();
    text.parse().map_err(|()| unknown_id(&percent_decode_str(text).decode_utf8_lossy()))
}

/// The image that the path names: by its id, or by a name of its own or an alias.
async fn read_by(request: &HttpRequest, visor: &Visor, who: &Caller, id: Result<ImageId>) -> Result<Image> {
    if let Ok(id) = id {
        return visor.registry.get(who, id).await;
    }
    let name = part(request, "id")?;
    visor.registry.named(who, &name.as_str().into()).await?.ok_or_else(|| unknown_id(&name))
}

/// The image of a request that reads one, and its reader: by a share link (`true`) the account that made it, else the caller.
async fn readable(request: &HttpRequest, visor: &Visor, id: Result<ImageId>) -> Result<(Caller, bool, Image)> {
    if let Ok(id) = id
        && let Some(maker) = links::holder(request, visor, id)?
    {
        let image = visor.registry.get(&maker, id).await?;
        // Also where the maker of the link, an administrator, could read it.
        return match image.status {
            Status::Deactivated => Err(Reason::Withheld.about(id)),
            _ => Ok((maker, true, image)),
        };
    }
    let who = visor.caller(request).await?;
    let image = read_by(request, visor, &who, id).await?;
    Ok((who, false, image))
}

/// `GET /images`
pub(super) async fn brief(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    list_as(&request, &visor, Shape::Brief).await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /images/detail`
pub(super) async fn detail(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    list_as(&request, &visor, Shape::Detail).await.unwrap_or_else(|error| render(&request, &error))
}

async fn list_as(request: &HttpRequest, visor: &Visor, shape: Shape) -> Result<HttpResponse> {
    let who = visor.caller(request).await?;
    list(visor.registry.clone(), who, request, shape, base_url(request)).await
}

/// `GET` and `HEAD /images/:id`, or by a name: the metadata in headers, the file in the body.
pub(super) async fn read(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let (who, linked, image) = match readable(&request, &visor, id_of(&request)).await {
        Ok(found) => found,
        Err(error) => return render(&request, &error),
    };
    visor.registry.touch(image.id);
    let record = shown_to(&request, &visor, &who, linked, &image);
    if !image.status.gives_bytes() {
        // As the original: an image without a file is its metadata and an empty body.
        let mut response = HttpResponse::Ok();
        put_headers(&mut response, &record);
        return response.finish();
    }
    give(&request, &visor, &who, &image, &record).await.unwrap_or_else(|error| render(&request, &error))
}

/// The record for a reader. A link gives out the bytes with the rights of its maker, and of the record what every reader sees.
fn shown_to(request: &HttpRequest, visor: &Visor, who: &Caller, linked: bool, image: &Image) -> Record {
    visor.record(if linked { &Caller::Anonymous } else { who }, image, request)
}

/// Answers with the file, and with the record in headers.
pub(super) async fn give(
    request: &HttpRequest,
    visor: &Visor,
    who: &Caller,
    image: &Image,
    record: &Record,
) -> Result<HttpResponse> {
    let headers = |response: &mut _| put_headers(response, record);
    deliver(&visor.registry, &visor.buffers, who, image, request, headers).await
}

/// `GET` and `HEAD /images/:id/:name`: the file of an image under any name, for tools that go by its end.
pub(super) async fn read_named(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let answer = async {
        let name = part(&request, "file")?;
        if name.starts_with('.') || name.contains(|c: char| c.is_control() || c == '/' || c == '\\') {
            return Err(Reason::PathNotFound.into());
        }
        let (who, linked, image) = readable(&request, &visor, links::id_in(&request)).await?;
        if !image.status.gives_bytes() {
            return Err(Reason::NoFile.about(image.id));
        }
        visor.registry.touch(image.id);
        give(&request, &visor, &who, &image, &shown_to(&request, &visor, &who, linked, &image)).await
    };
    answer.await.unwrap_or_else(|error| render(&request, &error))
}

/// `POST /images`
pub(super) async fn create(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    save(&request, &visor, payload, None).await.unwrap_or_else(|error| render(&request, &error))
}

/// `PUT /images/:id`
pub(super) async fn update(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let done = async { save(&request, &visor, payload, Some(id_of(&request)?)).await };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// Makes or changes an image, from headers and a raw body or from a form.
async fn save(request: &HttpRequest, visor: &Visor, payload: Payload, id: Option<ImageId>) -> Result<HttpResponse> {
    let content_type = text(request.headers(), header::CONTENT_TYPE);
    if jobs::wants_job(request.headers())
        && let Some(job) = save_later(request, visor, id).await?
    {
        return Ok(jobs::accepted(request, &job));
    }
    let (who, image) = if content_type.is_some_and(|t| is_type(t, "multipart/form-data")) {
        let who = visor.caller_with(request, true).await?;
        let image = match forms::receive(request, visor, &who, payload, id).await? {
            Sent::File(image) => *image,
            Sent::Fields(fields) => save_meta(visor, &who, id, &fields).await?,
        };
        (who, image)
    } else {
        save_raw(request, visor, payload, id, content_type).await?
    };
    Ok(visor.answer(&who, &image, request))
}

/// Begins a job for a long change without a body: a move to another store, or a file of the operator's. `None` for other
/// changes.
async fn save_later(request: &HttpRequest, visor: &Visor, id: Option<ImageId>) -> Result<Option<Job>> {
    if announce_body(request.headers()) {
        return Ok(None);
    }
    let who = visor.caller_with(request, false).await?;
    let fields = Fields::of_headers(request.headers())?;
    if fields.is_empty() {
        return Ok(None);
    }
    let with = visor.with(&who, id.is_none(), false);
    let meta = fields.read(with)?;
    if let Some(source @ Source::File(_)) = meta.source.clone() {
        let patch = if id.is_none() { meta.first(with) } else { meta.patch.clone() };
        return visor.registry.start_register(&who, id, patch, source, meta.claim).await.map(Some);
    }
    match (id, &meta.patch.store) {
        (Some(id), Some(Some(store))) if moves(visor, &who, id, &fields, store).await? => {
            visor.registry.copies().start_move(&who, id, store).await.map(Some)
        }
        _ => Ok(None),
    }
}

async fn save_raw(
    request: &HttpRequest,
    visor: &Visor,
    payload: Payload,
    id: Option<ImageId>,
    content_type: Option<&str>,
) -> Result<(Caller, Image)> {
    // A caller without rights is refused before a body is read, as far as headers announce one.
    let announced = announce_body(request.headers());
    let who = visor.caller_with(request, announced).await?;
    let fields = Fields::of_headers(request.headers())?;
    let mut body = Body::new(payload, visor.patience);
    let file = announced && !body.is_empty().await?;
    if !file {
        return Ok((who.clone(), save_meta(visor, &who, id, &fields).await?));
    }
    // `curl -T` sends no content type; another type means another request.
    if content_type.is_some_and(|t| !is_type(t, "application/octet-stream")) {
        return Err(Error::invalid("Request Content-Type must be application/octet-stream"));
    }
    let with = visor.with(&who, id.is_none(), file);
    let meta = fields.read(with)?;
    let patch = if id.is_none() { meta.first(with) } else { meta.patch.clone() };
    let length = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let claim = meta.claim.clone().and_size(length)?;
    let mut upload = visor.registry.uploads().begin(&who, id, &patch, claim).await?;
    body.fill(&mut upload).await?;
    let image = upload.finish(&Default::default()).await?;
    Ok((who, image))
}

/// Metadata alone.
async fn save_meta(visor: &Visor, who: &Caller, id: Option<ImageId>, fields: &Fields) -> Result<Image> {
    let registry = &visor.registry;
    let Some(id) = id else {
        let with = visor.with(who, true, false);
        let meta = fields.read(with)?;
        let patch = meta.first(with);
        return registry.create(who, None, &patch, meta.source, &meta.claim).await;
    };
    if fields.is_empty() {
        // Report "not found" first: it is the more useful error.
        registry.get(who, id).await?;
        return Err(Error::invalid("No headers or body found for update"));
    }
    let meta = fields.read(visor.with(who, false, false))?;
    if let Some(active) = meta.active {
        return registry.set_active(who, id, active).await;
    }
    if meta.patch.is_empty() && meta.source.is_none() {
        return registry.get(who, id).await;
    }
    if let Some(Some(store)) = &meta.patch.store
        && moves(visor, who, id, fields, store).await?
    {
        return registry.copies().move_to(who, id, store).await;
    }
    registry.update(who, id, &meta.patch, meta.source, &meta.claim).await
}

/// Tells whether fields that name a store move the image's bytes into it.
///
/// # Errors
/// `Invalid` when they change something else too: a move is a change of its own.
async fn moves(visor: &Visor, who: &Caller, id: ImageId, fields: &Fields, store: &StoreName) -> Result<bool> {
    let image = visor.registry.get(who, id).await?;
    // A client that sends a whole record back names the image's present store.
    let alone = fields.len() == 1;
    let several = image.homes().len() > 1 || (image.under_url().is_some() && *store != StoreName::HTTP);
    let moves = image.status.gives_bytes() && (image.serving_store() != *store || alone && several);
    match moves && !alone {
        true => Err(Error::invalid("An image is moved to another store alone, without other fields.")),
        false => Ok(moves),
    }
}

/// `DELETE /images/:id`
pub(super) async fn delete(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let done = async {
        let who = visor.caller(&request).await?;
        let id = id_of(&request)?;
        let (image, access) = visor.registry.delete(&who, id).await?;
        let record = wire::removed(&image, access, &visor.surroundings(&who, &image, &request));
        Ok(respond(&request, &mut HttpResponse::Ok(), Some("image"), &record))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `DELETE /all`
pub(super) async fn delete_all(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let done = async {
        let who = visor.caller(&request).await?;
        if request.headers().get(CONFIRM).is_none_or(|value| value != "all") {
            return Err(Error::invalid(format!("This removes every image of yours. Send the header {CONFIRM}: all")));
        }
        if jobs::wants_job(request.headers()) {
            return Ok(jobs::accepted(&request, &visor.registry.start_delete_all(&who)?));
        }
        let removed = visor.registry.delete_all(&who).await?;
        let records = removed
            .iter()
            .map(|(image, access)| wire::removed(image, *access, &visor.surroundings(&who, image, &request)));
        Ok(wire::respond_list(&request, &mut HttpResponse::Ok(), "images", records))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}
