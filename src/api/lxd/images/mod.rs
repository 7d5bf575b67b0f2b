//! `/images`: lists, shows, changes and removes images. The files beside this one receive and send them. Rights are
//! decided in `registry/`.

mod aliases;
mod create;
mod export;
pub(super) mod filter;
mod push;
mod source;
mod upload;
mod wire;
mod wishes;

use std::sync::Arc;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use self::filter::ListFilter;
use self::wire::{fingerprint, image_etag, path_of, type_of};
use self::wishes::{ImageChange, small_json};
use super::envelope::{accepted, done, matches, sync_with};
use super::operations::About;
use super::{Lxd, recursive, sets_all};
use crate::error::{Error, Result};
use crate::http::headers::text;
use crate::http::route::{Route, delete, get, parameter, part, patch, post, put};
use crate::image::query::{Direction, Query, Sort};
use crate::image::{Attr, Image};
use crate::jobs::JobKind;
use crate::registry::policy::Action;
use crate::registry::{Caller, ListScope, LxdImages, Pages, Registry};

/// Records that are read at once.
const PAGE: usize = 256;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    let image = "/images/{fingerprint}";
    let mut routes =
        vec![get("/images", Action::ListImages, list), post("/images", Action::CreateImage, create::create)];
    routes.extend(aliases::routes());
    routes.extend([
        get(image, Action::SeeImage, show),
        delete(image, Action::DeleteImage, remove),
        put(image, Action::ChangeImage, change),
        patch(image, Action::ChangeImage, change),
        get("/images/{fingerprint}/export", Action::Download, export::download),
        post("/images/{fingerprint}/export", Action::PushImage, push::push),
        post("/images/{fingerprint}/secret", Action::MakeImageSecret, export::secret),
        post("/images/{fingerprint}/refresh", Action::RefreshImage, source::refresh),
    ]);
    routes
}

/// The image that a path names, as the caller finds it.
async fn named(request: &HttpRequest, lxd: &Lxd, caller: &Caller) -> Result<Image> {
    lxd.registry.lxd().by_fingerprint(caller, &part(request, "fingerprint")?).await
}

/// The image that a path names, and the caller that reads it: the sender, or the owner of a secret made for the image.
async fn readable(request: &HttpRequest, lxd: &Lxd) -> Result<(Image, Caller)> {
    if let Some(secret) = parameter(request, "secret")?.filter(|secret| !secret.is_empty())
        && let Some((owner, whole)) = lxd.operations.opens(&secret, &part(request, "fingerprint")?)
        && let Some(owner) = lxd.renewed(&owner)?
        // Several images may have this fingerprint: the secret opens the one that its owner finds.
        && let Ok(image) = lxd.registry.lxd().by_fingerprint(&owner, &whole).await
    {
        return Ok((image, owner));
    }
    let caller = lxd.reader(request).await?;
    Ok((named(request, lxd, &caller).await?, caller))
}

/// `GET /images`
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.reader(&request).await?;
        let filter = match parameter(&request, "filter")?.filter(|text| !text.is_empty()) {
            Some(text) => Some(ListFilter::parse(&text)?),
            None => None,
        };
        let whole = recursive(&request)?;
        let sort = Sort::by(Attr::Fingerprint, Direction::Ascending);
        let query = Query { filter: LxdImages::listed(), sort, limit: PAGE, after: None };
        let pages = lxd.registry.pages(&caller, ListScope::default(), query, usize::MAX);
        let mut list = List { registry: Arc::clone(&lxd.registry), caller, pages, whole, filter, held: None };
        // Read the first page before the head is sent, so that an error can still be answered.
        let first = list.page().await?;
        let head = Bytes::from_static(br#"{"type":"sync","status":"Success","status_code":200,"metadata":["#);
        let pages = stream::unfold(Some((list, first, false)), |state| async move {
            let (mut list, text, begun) = state?;
            let goes_on = begun || !text.is_empty();
            let text = if begun { with_comma(text) } else { text };
            if list.pages.is_at_end() {
                return Some((Ok(text), None));
            }
            match list.page().await {
                Ok(page) => Some((Ok(text), Some((list, page, goes_on)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let end = Bytes::from_static(b"]}");
        let body = stream::iter([Ok(head)]).chain(pages).chain(stream::iter([Ok(end)]));
        Ok(HttpResponse::Ok().content_type("application/json").streaming(body.boxed()))
    })
    .await
}

fn with_comma(text: Bytes) -> Bytes {
    if text.is_empty() { text } else { [b",", &text[..]].concat().into() }
}

/// A list that is sent page by page, so that at most one page of images is held in memory.
struct List {
    registry: Arc<Registry>,
    caller: Caller,
    pages: Pages,
    whole: bool,
    filter: Option<ListFilter>,
    /// The last image that was read, until an image with another fingerprint follows.
    held: Option<Image>,
}

impl List {
    /// The next page, as the JSON of its entries with commas between them.
    async fn page(&mut self) -> Result<Bytes> {
        let mut text = Vec::new();
        for image in self.pages.next().await?.unwrap_or_default() {
            match self.held.take() {
                Some(held) if held.fingerprint() == image.fingerprint() => self.held = Some(self.rather(held, image)),
                held => {
                    self.held = Some(image);
                    held.map_or(Ok(()), |held| self.write(&held, &mut text))?;
                }
            }
        }
        if self.pages.is_at_end() {
            self.held.take().map_or(Ok(()), |last| self.write(&last, &mut text))?;
        }
        Ok(text.into())
    }

    /// Chooses the image that a fingerprint of two images names: the caller's own, or else the older one.
    fn rather(&self, one: Image, other: Image) -> Image {
        let own = |image: &Image| image.owner.as_deref() == self.caller.account();
        let key = |image: &Image| (!own(image), image.created_at);
        if key(&one) <= key(&other) { one } else { other }
    }

    /// Adds an entry, if it passes the filter.
    fn write(&self, image: &Image, text: &mut Vec<u8>) -> Result<()> {
        let value = match self.whole || self.filter.is_some() {
            true => wire::image(image, self.registry.access(image.id)),
            false => Value::Null,
        };
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(&value)) {
            return Ok(());
        }
        if !text.is_empty() {
            text.push(b',');
        }
        let shown = if self.whole { value } else { path_of(image).into() };
        serde_json::to_writer(text, &shown).map_err(Error::internal)
    }
}

/// `GET /images/FINGERPRINT`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let (image, _) = readable(&request, &lxd).await?;
        let shown = wire::image(&image, lxd.registry.access(image.id));
        Ok(sync_with(HttpResponse::Ok().insert_header(("etag", image_etag(&image))), &shown))
    })
    .await
}

/// `PUT` and `PATCH /images/FINGERPRINT`: sets everything that clients may change, or the named fields.
async fn change(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let whole = sets_all(&request);
        let caller = lxd.trusted(&request).await?;
        let change: ImageChange = small_json(payload, lxd.patience).await?;
        let image = named(&request, &lxd, &caller).await?;
        let wanted = text(request.headers(), "if-match").map(ToOwned::to_owned);
        let changed = lxd.registry.edit(&caller, image.id, |image| {
            matches(wanted.as_deref(), &image_etag(image))?;
            change.patch(image, whole)
        });
        let image = changed.await?;
        let requestor = lxd.requestor(&request, &caller);
        lxd.events.lifecycle(&requestor, "image-updated", &path_of(&image), &Value::Null);
        Ok(done())
    })
    .await
}

/// `DELETE /images/FINGERPRINT`
async fn remove(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let image = named(&request, &lxd, &caller).await?;
        caller.may(Action::DeleteImage, &image)?;
        let requestor = lxd.requestor(&request, &caller);
        let (state, who, about) = (
            lxd.clone(),
            caller.clone(),
            About::new(JobKind::Delete, "Deleting image").id(image.id).image(&fingerprint(&image)),
        );
        let operation = lxd.operations.run(&caller, about, |_| async move {
            state.registry.delete(&who, image.id).await?;
            let context = json!({ "type": type_of(&image) });
            state.events.lifecycle(&requestor, "image-deleted", &path_of(&image), &context);
            Ok(Value::Null)
        })?;
        Ok(accepted(&operation))
    })
    .await
}
