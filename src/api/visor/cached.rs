//! `/cache`: what the cache has, and changes to it. The files themselves are given out at `/cache/http…`, by another protocol.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Visor;
use super::error::render;
use crate::error::{Error, Result};
use crate::http::body::Body;
use crate::http::json::from_text;
use crate::http::route::{Route, answer_json, delete, get, parameter, post, put};
use crate::registry::policy::{Action, On};
use crate::registry::{CacheChange, Caller};

/// Largest body of a request about the cache.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Paths of this API; all others below `/cache` are files.
const PATHS: [&str; 3] = ["/cache", "/cache/entry", "/cache/prune"];

/// A change of the cache.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    offline: bool,
}

/// A change of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinning {
    pinned: bool,
}

/// A wish for room.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Room {
    to: Option<u64>,
    dry_run: bool,
}

/// The routes.
pub(super) fn routes() -> [Route; 6] {
    [
        get("/cache", Action::SeeCache, show),
        put("/cache", Action::ManageCache, switch),
        post("/cache/prune", Action::ManageCache, prune),
        post("/cache/entry", Action::ManageCache, refresh),
        put("/cache/entry", Action::ManageCache, pin),
        delete("/cache/entry", Action::ManageCache, remove),
    ]
}

/// Tells if a path is one of this API's.
pub(super) fn covers(path: &str) -> bool {
    PATHS.contains(&path.trim_end_matches('/'))
}

async fn body<T: DeserializeOwned>(visor: &Visor, payload: Payload) -> Result<T> {
    let bytes = Body::new(payload, visor.patience).whole(BODY_BYTES_MAX).await?;
    from_text(&bytes).map_err(|why| Error::invalid(format!("The body can't be used: {why}.")))
}

async fn manager(request: &HttpRequest, visor: &Visor, has_body: bool) -> Result<Caller> {
    let who = visor.caller_with(request, has_body).await?;
    who.may(Action::ManageCache, On::Server)?;
    Ok(who)
}

/// `GET /cache`
async fn show(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let shown = async {
        let who = visor.caller(&request).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "cache": visor.pulls()?.see_cache(&who)? })))
    };
    shown.await.unwrap_or_else(|error| render(&request, &error))
}

/// `PUT /cache`: `{"offline": true}`.
async fn switch(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let switched = async {
        let who = manager(&request, &visor, true).await?;
        let Switch { offline } = body(&visor, payload).await?;
        let since = visor.pulls()?.put_offline(&who, offline)?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "cache": { "offline_since": since } })))
    };
    switched.await.unwrap_or_else(|error| render(&request, &error))
}

/// `POST /cache/prune`: `{"to": bytes, "dry_run": true}`, each of which may be left out.
async fn prune(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let pruned = async {
        let who = manager(&request, &visor, true).await?;
        let Room { to, dry_run } = body(&visor, payload).await?;
        Ok(answer_json(
            &mut HttpResponse::Ok(),
            &json!({ "pruned": visor.pulls()?.make_room(&who, to, dry_run).await? }),
        ))
    };
    pruned.await.unwrap_or_else(|error| render(&request, &error))
}

/// `POST /cache/entry?url=…`: its server is asked, and it is fetched again if it is not current.
async fn refresh(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    change(&request, &visor, async |_| Ok(CacheChange::Refresh)).await
}

/// `PUT /cache/entry?url=…`: `{"pinned": true}`.
async fn pin(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let chosen = async |visor: &Visor| {
        let Pinning { pinned } = body(visor, payload).await?;
        Ok(if pinned { CacheChange::Pin } else { CacheChange::Unpin })
    };
    change(&request, &visor, chosen).await
}

/// `DELETE /cache/entry?url=…`
async fn remove(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    change(&request, &visor, async |_| Ok(CacheChange::Drop)).await
}

async fn change(
    request: &HttpRequest,
    visor: &Visor,
    chosen: impl AsyncFnOnce(&Visor) -> Result<CacheChange>,
) -> HttpResponse {
    let changed = async {
        let who = manager(request, visor, request.method() == actix_web::http::Method::PUT).await?;
        let url = parameter(request, "url")?.ok_or_else(|| Error::invalid("The URL is missing: ?url=https://…"))?;
        visor.pulls()?.change_cached(&who, &url, chosen(visor).await?).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "entry": { "url": url } })))
    };
    changed.await.unwrap_or_else(|error| render(request, &error))
}
