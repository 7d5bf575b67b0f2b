//! `/images/aliases`: names for images. A name may contain slashes, escaped or not.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::wire::{self, alias_etag};
use super::wishes::{AliasFields, small_json};
use crate::api::lxd::envelope::{created, done, matches, sync, sync_with};
use crate::api::lxd::{Lxd, recursive};
use crate::error::Result;
use crate::http::headers::text;
use crate::http::route::{Route, delete, get, part, patch, post, put};
use crate::image::Attr;
use crate::image::query::{Direction, Query, Sort};
use crate::registry::policy::Action;
use crate::registry::{Alias, ListScope, LxdImages};

/// Records that are read at once.
const PAGE: usize = 256;

/// The routes. They precede the routes of images, because no fingerprint reads `aliases`.
pub(super) fn routes() -> [Route; 7] {
    let (all, one) = ("/images/aliases", "/images/aliases/{name:.+}");
    [
        get(all, Action::ListAliases, list),
        post(all, Action::ChangeAlias, create),
        get(one, Action::SeeAlias, show),
        delete(one, Action::ChangeAlias, remove),
        post(one, Action::ChangeAlias, rename),
        put(one, Action::ChangeAlias, replace),
        patch(one, Action::ChangeAlias, amend),
    ]
}

fn path_of(name: &str) -> String {
    format!("/1.0/images/aliases/{name}")
}

/// `GET /images/aliases`
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let whole = recursive(&request)?;
        let mut all = Vec::new();
        let sort = Sort::by(Attr::Alias, Direction::Ascending);
        let query = Query { filter: LxdImages::aliased(), sort, limit: PAGE, after: None };
        let mut pages = lxd.registry.pages(&caller, ListScope::default(), query, usize::MAX);
        while let Some(images) = pages.next().await? {
            for image in images {
                for (name, description) in image.aliases.clone() {
                    let alias = Alias { name, description, image: image.clone() };
                    let shown = if whole { wire::alias(&alias) } else { path_of(&alias.name).into() };
                    all.push((alias.name, shown));
                }
            }
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(sync(&all.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>()))
    })
    .await
}

/// `POST /images/aliases`
async fn create(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let fields: AliasFields = small_json(payload, lxd.patience).await?;
        let name = AliasFields::required(fields.name.as_ref(), "name")?;
        let target = AliasFields::required(fields.target.as_ref(), "target")?;
        let image = lxd.registry.lxd().by_fingerprint(&caller, target).await?;
        let description = fields.description.as_deref().unwrap_or_default();
        lxd.registry.lxd().add_alias(&caller, image.id, name, description).await?;
        let context = json!({ "target": wire::fingerprint(&image) });
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-created", &path_of(name), &context);
        Ok(created(&path_of(name)))
    })
    .await
}

/// `GET /images/aliases/NAME`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let alias = lxd.registry.lxd().alias(&lxd.reader(&request)?, &part(&request, "name")?).await?;
        Ok(sync_with(HttpResponse::Ok().insert_header(("etag", alias_etag(&alias))), &wire::alias(&alias)))
    })
    .await
}

/// `PUT /images/aliases/NAME`: sets its target and description.
async fn replace(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    change(request, lxd, payload, true).await
}

/// `PATCH /images/aliases/NAME`: changes its target or description.
async fn amend(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    change(request, lxd, payload, false).await
}

async fn change(request: HttpRequest, lxd: Data<Lxd>, payload: Payload, whole: bool) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let fields: AliasFields = small_json(payload, lxd.patience).await?;
        let name = part(&request, "name")?;
        if whole {
            AliasFields::required(fields.target.as_ref(), "target")?;
        }
        // Before the target: a missing alias is the more useful error.
        lxd.registry.lxd().alias(&caller, &name).await?;
        let target = match fields.target.as_deref().filter(|target| !target.is_empty()) {
            Some(target) => Some(lxd.registry.lxd().by_fingerprint(&caller, target).await?.id),
            None => None,
        };
        let description = fields.description.as_deref().or(whole.then_some(""));
        let wanted = text(request.headers(), "if-match").map(ToOwned::to_owned);
        let expect = move |alias: &Alias| -> Result<()> { matches(wanted.as_deref(), &alias_etag(alias)) };
        let image = lxd.registry.lxd().change_alias(&caller, &name, target, description, expect).await?;
        let context = json!({ "target": wire::fingerprint(&image) });
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-updated", &path_of(&name), &context);
        Ok(done())
    })
    .await
}

/// `POST /images/aliases/NAME`: renames it.
async fn rename(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let fields: AliasFields = small_json(payload, lxd.patience).await?;
        let (name, new) = (part(&request, "name")?, AliasFields::required(fields.name.as_ref(), "name")?);
        lxd.registry.lxd().rename_alias(&caller, &name, new).await?;
        let context = json!({ "old_name": name });
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-renamed", &path_of(new), &context);
        Ok(created(&path_of(new)))
    })
    .await
}

/// `DELETE /images/aliases/NAME`
async fn remove(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let name = part(&request, "name")?;
        lxd.registry.lxd().remove_alias(&caller, &name).await?;
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-deleted", &path_of(&name), &Value::Null);
        Ok(done())
    })
    .await
}
