//! `/metrics` and `/status/detail`: what the operator of a server sees, and what programs watch.

mod exposition;
mod metrics;
mod status;

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use self::exposition::Exposition;
use super::Visor;
use super::error::render;
use crate::error::Result;
use crate::http::headers::text;
use crate::http::route::{Route, answer_json, get};
use crate::registry::policy::Action;

/// The routes.
pub(super) fn routes() -> [Route; 2] {
    [get("/metrics", Action::SeeMetrics, metrics), get("/status/detail", Action::SeeMetrics, detail)]
}

/// `GET /metrics`
async fn metrics(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let written: Result<HttpResponse> = async {
        let seen = visor.registry.overview(&visor.caller(&request).await?).await?;
        let stats = visor.cache.as_ref().map(|cache| cache.stats());
        let form = Exposition::choose(text(request.headers(), header::ACCEPT));
        let families = metrics::families(&seen, stats.as_ref());
        Ok(HttpResponse::Ok().content_type(form.content_type()).body(form.write(&families)))
    }
    .await;
    written.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /status/detail`
async fn detail(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let shown: Result<HttpResponse> = async {
        let seen = visor.registry.overview(&visor.caller(&request).await?).await?;
        let cache = visor.cache.as_deref().map(status::CachePart::of);
        Ok(answer_json(&mut HttpResponse::Ok(), &status::page(&seen, cache.as_ref())))
    }
    .await;
    shown.unwrap_or_else(|error| render(&request, &error))
}
