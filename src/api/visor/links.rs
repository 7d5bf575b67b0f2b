//! Share links: addresses that open one image to tools and people without an account. An owner makes, lists and revokes
//! them; `GET` and `HEAD` of the image take one instead of a signature.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Visor;
use super::error::render;
use super::meta::unknown_id;
use super::wire::{Field, Record, respond, respond_list};
use crate::account::links::{Link, LinkProof};
use crate::api::elsewhere;
use crate::error::{Error, Reason, Result};
use crate::http::base::base_url;
use crate::http::route::{Route, delete, get, parameter, part, post};
use crate::http::time::ruby;
use crate::image::{Image, ImageId, Timestamp};
use crate::registry::Caller;
use crate::registry::policy::Action;

/// Life of a link whose maker names none.
const LIFE_DEFAULT: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/images/{id}/links", Action::LinkImage, list),
        post("/images/{id}/links", Action::LinkImage, make),
        delete("/images/{id}/links/{link}", Action::LinkImage, revoke),
    ]
}

/// The caller that a share link in the address stands for: the account that made it. `None` without a link.
///
/// # Errors
/// `Forbidden` for a link that does not open this image now, and for one whose account was removed.
pub(super) fn holder(request: &HttpRequest, visor: &Visor, image: ImageId) -> Result<Option<Caller>> {
    // A query without one is not looked at: reading takes none.
    if !request.query_string().contains("link=") {
        return Ok(None);
    }
    let Some(id) = parameter(request, "link")? else { return Ok(None) };
    let refused = || Error::from(Reason::LinkRefused);
    let expires_s = parameter(request, "expires")?.and_then(|text| text.parse().ok()).ok_or_else(refused)?;
    let signature = parameter(request, "signature")?.ok_or_else(refused)?;
    let proof = LinkProof { id: &id, expires_s, signature: &signature };
    let link = visor.auth.links.find(image, proof, visor.registry.now())?;
    visor.auth.renewed(link.account)?.map(Some).ok_or_else(refused)
}

/// The id in the middle of a path.
pub(super) fn id_in(request: &HttpRequest) -> Result<ImageId> {
    let text = part(request, "id")?;
    text.parse().map_err(|()| unknown_id(&text))
}

/// The image in the path, for a caller that may make links to it.
async fn find(request: &HttpRequest, visor: &Visor) -> Result<(Caller, Image)> {
    let who = visor.caller(request).await?;
    let image = visor.registry.get(&who, id_in(request)?).await?;
    who.may(Action::LinkImage, &image)?;
    Ok((who, image))
}

fn record(link: &Link, uri: Option<String>) -> Record {
    let text = |name: &'static str, value: String| (name.into(), Field::Text(value));
    let expires_at = Timestamp(link.expires_s.saturating_mul(1_000_000));
    let mut record = vec![text("_id", link.id.clone())];
    record.extend(uri.map(|uri| text("uri", uri)));
    record.extend([text("created_at", ruby(link.created_at)), text("expires_at", ruby(expires_at))]);
    record
}

/// `POST /images/:id/links?for=2d`. Its answer is the only one with the whole address.
async fn make(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let made = async {
        let (who, image) = find(&request, &visor).await?;
        let life = life(&request)?;
        let account = visor.auth.account_of(&who)?;
        let (links, now) = (visor.auth.links.clone(), visor.registry.now());
        let (link, signature) =
            elsewhere(move || links.make(image.id, account.map(|account| account.id), life, now)).await?;
        let query = format!("link={}&expires={}&signature={signature}", link.id, link.expires_s);
        let uri = format!("{}/images/{}?{query}", base_url(&request), image.id);
        Ok(respond(&request, &mut HttpResponse::Created(), Some("link"), &record(&link, Some(uri))))
    };
    made.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /images/:id/links`: those that hold, without their signatures.
async fn list(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let listed = async {
        let (_, image) = find(&request, &visor).await?;
        let links = visor.auth.links.of(image.id, visor.registry.now())?;
        let records = links.iter().map(|link| record(link, None));
        Ok(respond_list(&request, &mut HttpResponse::Ok(), "links", records))
    };
    listed.await.unwrap_or_else(|error| render(&request, &error))
}

/// `DELETE /images/:id/links/:link`: it opens nothing any more.
async fn revoke(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let revoked = async {
        let (_, image) = find(&request, &visor).await?;
        let id = part(&request, "link")?;
        let (links, now) = (visor.auth.links.clone(), visor.registry.now());
        let link = elsewhere(move || links.revoke(image.id, &id, now)).await?;
        Ok(respond(&request, &mut HttpResponse::Ok(), Some("link"), &record(&link, None)))
    };
    revoked.await.unwrap_or_else(|error| render(&request, &error))
}

/// Reads the life that a maker asks for, such as `2d` or `90min`.
fn life(request: &HttpRequest) -> Result<Duration> {
    let Some(text) = parameter(request, "for")? else { return Ok(LIFE_DEFAULT) };
    humantime::parse_duration(&text).map_err(|_| {
        Error::invalid(format!("The life of a link is a time, like 2d or 90min, not '{}'.", text.escape_default()))
    })
}
