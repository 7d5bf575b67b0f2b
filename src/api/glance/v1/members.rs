//! Members of images in v1. A membership needs no acceptance in v1; who may share is the core's rule.

use std::collections::BTreeMap;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde_json::{Value, json};

use super::super::error::render as refuse;
use super::super::{Glance, body};
use super::id_of;
use crate::error::{Error, Reason, Result};
use crate::http::route::{Route, answer_json, delete, get, part, put};
use crate::image::{Image, Visibility};
use crate::registry::policy::Action;
use crate::registry::{Caller, Pages};

/// Entries read and written at a time.
const PAGE: usize = 500;

/// The routes.
pub(super) fn routes() -> [Route; 5] {
    [
        get("/images/{id}/members", Action::ListMembers, list),
        put("/images/{id}/members", Action::AddMember, replace),
        put("/images/{id}/members/{member}", Action::AddMember, share),
        delete("/images/{id}/members/{member}", Action::RemoveMember, remove),
        get("/shared-images/{tenant}", Action::ListShared, shared_with),
    ]
}

impl Glance {
    /// The image whose members a request changes. A caller that may not share it gets a 404, as in Glance.
    async fn to_share(&self, request: &HttpRequest, who: &Caller) -> Result<Image> {
        let image = self.registry.get(who, id_of(request)?).await?;
        match who.may(Action::AddMember, &image) {
            Err(error) if error.reason() == Reason::MayNotShare => Err(Reason::ImageNotFound.about(image.id)),
            allowed => allowed.map(|()| image),
        }
    }
}

/// `GET /v1/images/:id/members`
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        let members = match image.visibility {
            Visibility::Shared => glance.registry.members().of(&who, image.id).await?,
            Visibility::Public | Visibility::Private | Visibility::Community => BTreeMap::new(),
        };
        let entries = members.iter().map(|(name, one)| json!({ "member_id": name, "can_share": one.can_share }));
        let members: Vec<Value> = entries.collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "members": members })))
    });
    listed.await
}

/// `PUT /v1/images/:id/members`
async fn replace(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let replaced = glance.answer(&request, async |who| {
        let image = glance.to_share(&request, &who).await?;
        let members = memberships(&body::read(payload, glance.patience).await?)?;
        glance.registry.members().replace(&who, image.id, members).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    replaced.await
}

/// `PUT /v1/images/:id/members/:member`
async fn share(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let shared = glance.answer(&request, async |who| {
        let image = glance.to_share(&request, &who).await?;
        let can_share = match body::read_if_any(payload, glance.patience).await? {
            Some(body) => can_share(body.get("member").ok_or_else(malformed)?)?,
            None => None,
        };
        glance.registry.members().share_with(&who, image.id, &part(&request, "member")?, can_share).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    shared.await
}

/// `DELETE /v1/images/:id/members/:member`
async fn remove(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let removed = glance.answer(&request, async |who| {
        let (image, member) = (glance.to_share(&request, &who).await?, part(&request, "member")?);
        if image.visibility != Visibility::Shared {
            return Err(Reason::MemberNotFound.about(member.escape_default()));
        }
        glance.registry.members().remove(&who, image.id, &member).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    removed.await
}

/// Reads all members of an image: `{"memberships": […]}`, or the bare list of the clients of 2011.
fn memberships(body: &Value) -> Result<BTreeMap<String, Option<bool>>> {
    let list = body.get("memberships").unwrap_or(body).as_array().ok_or_else(malformed)?;
    let member = |entry: &Value| {
        let account = entry.get("member_id").and_then(Value::as_str).filter(|account| !account.is_empty());
        Ok((account.ok_or_else(malformed)?.to_owned(), can_share(entry)?))
    };
    list.iter().map(member).collect()
}

/// Reads `can_share`, the right of a member to share the image further.
fn can_share(member: &Value) -> Result<Option<bool>> {
    match member.get("can_share") {
        _ if !member.is_object() => Err(malformed()),
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(malformed),
    }
}

fn malformed() -> Error {
    Error::invalid(
        "The body is {\"member\": {\"can_share\": …}} or {\"memberships\": [{\"member_id\": …, \"can_share\": …}]}.",
    )
}

/// Images shared with an account, read page by page.
struct SharedImages {
    pages: Pages,
    account: String,
    begun: bool,
}

impl SharedImages {
    /// The next page as text, with the opening before the first page and the end after the last.
    async fn next(&mut self) -> Result<Bytes> {
        let images = self.pages.next().await?.unwrap_or_default();
        let entry = |image: &Image| {
            let can_share = image.members.get(&self.account).is_some_and(|member| member.can_share);
            json!({ "image_id": image.id.to_string(), "can_share": can_share }).to_string()
        };
        let entries: Vec<String> = images.iter().map(entry).collect();
        let head = match std::mem::replace(&mut self.begun, true) {
            false => "{\"shared_images\":[",
            true if entries.is_empty() => "",
            true => ",",
        };
        let foot = if self.pages.is_at_end() { "]}" } else { "" };
        Ok(format!("{head}{}{foot}", entries.join(",")).into())
    }
}

/// `GET /v1/shared-images/:tenant`. v1 has no pages here, so the answer has all images, and is written as the client reads.
async fn shared_with(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let begun = async {
        let (who, account) = (glance.caller(&request).await?, part(&request, "tenant")?);
        let pages = glance.registry.members().shared_with(&who, &account, PAGE);
        let mut images = SharedImages { pages, account, begun: false };
        let first = images.next().await?;
        Ok((first, images))
    };
    let (first, images) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return refuse(&request, &error),
    };
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if images.pages.is_at_end() {
        return response.body(first);
    }
    response.streaming(stream::unfold((Some(first), images), |(ready, mut images)| async move {
        if let Some(text) = ready {
            return Some((Ok(text), (None, images)));
        }
        if images.pages.is_at_end() {
            return None;
        }
        // An error breaks the connection, so that no client takes a part for the whole.
        let next = images.next().await.map_err(|error| Box::new(error) as Box<dyn std::error::Error>);
        Some((next, (None, images)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn both_forms_of_memberships() {
        let list = json!([{ "member_id": "a", "can_share": true }, { "member_id": "b" }]);
        let expected = BTreeMap::from([("a".to_owned(), Some(true)), ("b".to_owned(), None)]);
        assert_eq!(memberships(&json!({ "memberships": list })).unwrap(), expected);
        assert_eq!(memberships(&list).unwrap(), expected);
        assert_eq!(memberships(&json!([])).unwrap(), BTreeMap::new());
        for bad in [
            json!({}),
            json!({ "memberships": {} }),
            json!(["a"]),
            json!([{ "can_share": true }]),
            json!([{ "member_id": "" }]),
            json!([{ "member_id": "a", "can_share": "yes" }]),
        ] {
            assert_eq!(memberships(&bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
