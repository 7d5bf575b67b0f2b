//! `/images/aliases`: names for images. A name may contain slashes, escaped or not.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::wire::{self, alias_etag};
use super::wishes::{AliasFields, architecture_of, kind_of, small_json};
use crate::api::lxd::envelope::{created, done, matches, sync, sync_with};
use crate::api::lxd::{Lxd, recursive, sets_all};
use crate::error::{Error, Kind, Result};
use crate::http::headers::text;
use crate::http::route::{Route, delete, get, parameter, part, patch, post, put};
use crate::image::ImageKind;
use crate::registry::policy::Action;
use crate::registry::{Alias, Caller, NameRequest};

/// The routes. They precede the routes of images, because no fingerprint reads `aliases`.
pub(super) fn routes() -> [Route; 7] {
    let (all, one) = ("/images/aliases", "/images/aliases/{name:.+}");
    [
        get(all, Action::ListAliases, list),
        post(all, Action::ChangeAlias, create),
        get(one, Action::SeeAlias, show),
        delete(one, Action::ChangeAlias, remove),
        post(one, Action::ChangeAlias, rename),
        put(one, Action::ChangeAlias, change),
        patch(one, Action::ChangeAlias, change),
    ]
}

/// The alias that a path names. Of several images with it, `type` and `architecture` in the query choose one; LXD has neither.
fn named(request: &HttpRequest) -> Result<NameRequest> {
    let wanted = |name: &str| Ok::<_, Error>(parameter(request, name)?.filter(|word| !word.is_empty()));
    let is_container = match wanted("type")? {
        None => None,
        Some(word) => Some(kind_of(&word)? == ImageKind::Container),
    };
    let architecture = match wanted("architecture")? {
        None => None,
        Some(word) => Some(architecture_of(&word)?),
    };
    Ok(NameRequest { name: part(request, "name")?, architecture, is_container })
}

/// The path of an alias. Only what would end the path or begin an escape is escaped: some clients take the rest of a path for
/// the name as it is.
fn path_of(name: &str) -> String {
    format!("/1.0/images/aliases/{}", name.replace('%', "%25").replace('?', "%3F").replace('#', "%23"))
}

impl Lxd {
    /// Pulls the image that a name stands for at a vendor, where the server is told to. False if it is nothing to pull.
    async fn pulled(&self, caller: &Caller, asked: &NameRequest) -> Result<bool> {
        match &self.through {
            Some(through) => through.bring(caller, asked).await,
            None => Ok(false),
        }
    }
}

/// `GET /images/aliases`
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let all = lxd.registry.lxd().own_aliases(&caller).await?;
        if recursive(&request)? {
            return Ok(sync(&all.iter().map(wire::alias).collect::<Vec<_>>()));
        }
        // A path names all images with the alias.
        let mut paths: Vec<String> = all.iter().map(|alias| path_of(&alias.name)).collect();
        paths.dedup();
        Ok(sync(&paths))
    })
    .await
}

/// `POST /images/aliases`
async fn create(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
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
        let (caller, asked) = (lxd.reader(&request).await?, named(&request)?);
        let alias = match lxd.registry.lxd().alias(&caller, &asked).await {
            Err(error) if error.kind() == Kind::NotFound && lxd.pulled(&caller, &asked).await? => {
                lxd.registry.lxd().alias(&caller, &asked).await?
            }
            alias => alias?,
        };
        Ok(sync_with(HttpResponse::Ok().insert_header(("etag", alias_etag(&alias))), &wire::alias(&alias)))
    })
    .await
}

/// `PUT` and `PATCH /images/aliases/NAME`: sets its target and description, or one of them.
async fn change(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let whole = sets_all(&request);
        let caller = lxd.trusted(&request).await?;
        let fields: AliasFields = small_json(payload, lxd.patience).await?;
        let asked = named(&request)?;
        if whole {
            AliasFields::required(fields.target.as_ref(), "target")?;
        }
        // Before the target: a missing alias is the more useful error.
        lxd.registry.lxd().alias(&caller, &asked).await?;
        let target = match fields.target.as_deref().filter(|target| !target.is_empty()) {
            Some(target) => Some(lxd.registry.lxd().by_fingerprint(&caller, target).await?.id),
            None => None,
        };
        let description = fields.description.as_deref().or(whole.then_some(""));
        let wanted = text(request.headers(), "if-match").map(ToOwned::to_owned);
        let expect = move |alias: &Alias| -> Result<()> { matches(wanted.as_deref(), &alias_etag(alias)) };
        let image = lxd.registry.lxd().change_alias(&caller, &asked, target, description, expect).await?;
        let context = json!({ "target": wire::fingerprint(&image) });
        let path = path_of(&asked.name);
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-updated", &path, &context);
        Ok(done())
    })
    .await
}

/// `POST /images/aliases/NAME`: renames it.
async fn rename(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let fields: AliasFields = small_json(payload, lxd.patience).await?;
        let (asked, new) = (named(&request)?, AliasFields::required(fields.name.as_ref(), "name")?);
        lxd.registry.lxd().rename_alias(&caller, &asked, new).await?;
        let context = json!({ "old_name": asked.name });
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-renamed", &path_of(new), &context);
        Ok(created(&path_of(new)))
    })
    .await
}

/// `DELETE /images/aliases/NAME`
async fn remove(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let asked = named(&request)?;
        lxd.registry.lxd().remove_alias(&caller, &asked).await?;
        let path = path_of(&asked.name);
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-alias-deleted", &path, &Value::Null);
        Ok(done())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_in_a_path() {
        for (name, path) in
            [("debian/13", "debian/13"), ("a b?#%", "a b%3F%23%25"), ("ü", "ü"), ("a-b_c.d~e:f", "a-b_c.d~e:f")]
        {
            assert_eq!(path_of(name), format!("/1.0/images/aliases/{path}"));
        }
    }
}
