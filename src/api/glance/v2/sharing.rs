//! Members and tags of images in v2: parse, call, render. Who may share is the core's rule.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::spell::names;
use super::super::{Glance, body};
use super::id_of;
use crate::error::{Error, Reason};
use crate::http::route::{Route, answer_json, delete, get, part, post, put};
use crate::http::time::to_the_second;
use crate::image::{ImageId, Member, MemberStatus};
use crate::registry::policy::Action;

/// The routes.
pub(super) fn routes() -> [Route; 7] {
    [
        get("/images/{id}/members", Action::ListMembers, list),
        post("/images/{id}/members", Action::AddMember, add),
        get("/images/{id}/members/{member}", Action::ListMembers, show),
        put("/images/{id}/members/{member}", Action::AnswerMembership, set_status),
        delete("/images/{id}/members/{member}", Action::RemoveMember, remove),
        put("/images/{id}/tags/{tag}", Action::ChangeImage, tag),
        delete("/images/{id}/tags/{tag}", Action::ChangeImage, untag),
    ]
}

fn entry(image: ImageId, account: &str, member: &Member) -> Value {
    json!({
        "member_id": account,
        "image_id": image.to_string(),
        "status": member.status.name(),
        "created_at": to_the_second(member.created_at),
        "updated_at": to_the_second(member.updated_at),
        "schema": "/v2/schemas/member",
    })
}

fn no_member(account: &str) -> Error {
    Reason::MemberNotFound.about(account.escape_default())
}

/// `GET /v2/images/:id/members`
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let id = id_of(&request)?;
        let members = glance.registry.members().of(&who, id).await?;
        let members: Vec<Value> = members.iter().map(|(account, member)| entry(id, account, member)).collect();
        let list = json!({ "members": members, "schema": "/v2/schemas/members" });
        Ok(answer_json(&mut HttpResponse::Ok(), &list))
    });
    listed.await
}

/// `GET /v2/images/:id/members/:member`
async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let (id, account) = (id_of(&request)?, part(&request, "member")?);
        let members = glance.registry.members().of(&who, id).await?;
        let member = members.get(&account).ok_or_else(|| no_member(&account))?;
        Ok(answer_json(&mut HttpResponse::Ok(), &entry(id, &account, member)))
    });
    shown.await
}

/// `POST /v2/images/:id/members`
async fn add(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let added = glance.answer(&request, async |who| {
        let id = id_of(&request)?;
        let body = body::read(payload, glance.patience).await?;
        let account = body.get("member").and_then(Value::as_str).filter(|account| !account.is_empty());
        let account = account.ok_or_else(|| Error::invalid("Member to be added not specified"))?;
        let member = glance.registry.members().add(&who, id, account, false).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &entry(id, account, &member)))
    });
    added.await
}

/// `PUT /v2/images/:id/members/:member`
async fn set_status(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let set = glance.answer(&request, async |who| {
        let (id, account) = (id_of(&request)?, part(&request, "member")?);
        let body = body::read(payload, glance.patience).await?;
        let word = body.get("status").and_then(Value::as_str);
        let word = word.ok_or_else(|| Error::invalid("Status not specified"))?;
        let status = MemberStatus::parse(word).filter(|status| status.name() == word).ok_or_else(|| {
            let words = names::<MemberStatus>().join(", ");
            Error::invalid(format!("Invalid status '{}': it is one of {words}.", word.escape_default()))
        })?;
        let member = glance.registry.members().set_status(&who, id, &account, status).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &entry(id, &account, &member)))
    });
    set.await
}

/// `DELETE /v2/images/:id/members/:member`
async fn remove(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let removed = glance.answer(&request, async |who| {
        glance.registry.members().remove(&who, id_of(&request)?, &part(&request, "member")?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    removed.await
}

/// `PUT /v2/images/:id/tags/:tag`
async fn tag(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let tagged = glance.answer(&request, async |who| {
        glance.registry.add_tag(&who, id_of(&request)?, &part(&request, "tag")?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    tagged.await
}

/// `DELETE /v2/images/:id/tags/:tag`
async fn untag(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let untagged = glance.answer(&request, async |who| {
        glance.registry.remove_tag(&who, id_of(&request)?, &part(&request, "tag")?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    untagged.await
}
