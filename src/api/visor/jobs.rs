//! `/jobs`: work that continues after an answer. An account sees and stops its own jobs; an administrator all, including the
//! server's.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Visor;
use super::error::{render, told};
use super::wire::{Field, Record, respond, respond_list};
use crate::error::{Error, Result};
use crate::http::base::base_url;
use crate::http::query::pairs;
use crate::http::route::{Route, delete, get};
use crate::http::time::ruby;
use crate::image::Timestamp;
use crate::jobs::{Job, JobKind, not_found};
use crate::registry::policy::{Action, On};
use crate::registry::{Caller, PullProgress};

/// Preference of a client that follows a job instead of waiting (RFC 7240).
const RESPOND_ASYNC: &str = "respond-async";

/// Longest wait of a request for a job.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The routes.
pub(super) fn routes() -> [Route; 3] {
    [
        get("/jobs", Action::SeeJob, list),
        delete("/jobs/{id}", Action::StopJob, stop),
        get("/jobs/{id}", Action::SeeJob, show),
    ]
}

/// True if a client asks for an answer before the work is done.
pub(super) fn wants_job(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
    })
}

/// Answer to a request whose work continues as a job.
pub(super) fn accepted(request: &HttpRequest, job: &Job) -> HttpResponse {
    let mut response = HttpResponse::Accepted();
    response.insert_header((header::LOCATION, format!("/jobs/{}", job.id)));
    response.insert_header(("preference-applied", RESPOND_ASYNC));
    respond(request, &mut response, Some("job"), &record(job, &base_url(request)))
}

fn record(job: &Job, base: &str) -> Record {
    let text = |name: &'static str, value: Option<String>| Some((name.into(), Field::Text(value?)));
    let number = |name: &'static str, value: Option<u64>| Some((name.into(), Field::Number(value?)));
    let time = |name: &'static str, value: Option<Timestamp>| text(name, value.map(ruby));
    let progress = &job.progress;
    let runs = job.schedule.clone().unwrap_or_default();
    let failure = job.failure.as_deref().map(told);
    let pull = job.notes::<PullProgress>();
    let fields = [
        text("_id", Some(job.id.to_string())),
        text("uri", Some(format!("{base}/jobs/{}", job.id))),
        text("kind", Some(job.kind.name().to_owned())),
        text("status", Some(job.status.name().to_owned())),
        text("owner", job.owner.clone()),
        text("image", job.image.map(|image| image.to_string())),
        number("bytes", progress.bytes),
        number("bytes_total", progress.bytes_total),
        number("steps", progress.steps),
        number("steps_total", progress.steps_total),
        number("retries", job.retried.as_ref().map(|retried| retried.times)),
        text("trouble", job.retried.as_ref().map(|retried| retried.trouble.clone())),
        time("created_at", Some(job.made_at)),
        time("updated_at", Some(job.updated_at)),
        time("ended_at", job.ended_at),
        number("error_code", failure.as_ref().map(|(status, _)| u64::from(status.as_u16()))),
        text("reason", job.failure.as_ref().map(|error| error.reason().code().to_owned())),
        text("name", pull.map(|pull| pull.name.clone())),
        text("stage", pull.map(|pull| pull.state.name().to_owned())),
        text("verified", pull.and_then(|pull| pull.verified).map(|level| level.name().to_owned())),
        text("words", pull.and_then(|pull| pull.words.clone())),
        text("change", pull.and_then(|pull| pull.change).map(|change| change.name().to_owned())),
        text("error", failure.map(|(_, words)| words).or_else(|| job.error.clone())),
        time("last_began_at", runs.last_began),
        time("last_ended_at", runs.last_ended),
        text("last_error", runs.last_error),
        time("next_at", runs.next),
    ];
    fields.into_iter().flatten().collect()
}

/// True if a job is shown to a caller. LXD's secrets are not shown: they are no work.
fn is_for(who: &Caller, job: &Job) -> bool {
    job.kind != JobKind::Secret && who.sees_job(job)
}

/// The job in the path, for a caller that may know of it.
fn find(request: &HttpRequest, visor: &Visor, who: &Caller) -> Result<Job> {
    let text = request.match_info().get("id").unwrap_or_default();
    let found = text.parse().ok().and_then(|id| visor.registry.jobs().find(id));
    found.filter(|job| is_for(who, job)).ok_or_else(|| not_found(text))
}

async fn caller(request: &HttpRequest, visor: &Visor) -> Result<Caller> {
    let who = visor.caller(request).await?;
    who.known()?;
    Ok(who)
}

/// `GET /jobs`: newest first.
async fn list(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let listed = async {
        let who = caller(&request, &visor).await?;
        let (jobs, base) = (visor.registry.jobs().list(|job| is_for(&who, job)), base_url(&request));
        let records = jobs.iter().map(|job| record(job, &base));
        Ok(respond_list(&request, &mut HttpResponse::Ok(), "jobs", records))
    };
    listed.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /jobs/:id`. With `?wait=30s` the answer comes when the job has ended, after 30 s at most.
async fn show(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let shown = async {
        let who = caller(&request, &visor).await?;
        let wait = patience(&request)?;
        let mut job = find(&request, &visor, &who)?;
        if let Some(patience) = wait {
            job = visor.registry.jobs().wait(job.id, Some(patience)).await?;
        }
        Ok(respond(&request, &mut HttpResponse::Ok(), Some("job"), &record(&job, &base_url(&request))))
    };
    shown.await.unwrap_or_else(|error| render(&request, &error))
}

/// `DELETE /jobs/:id`: answered with the job, which its work ends.
async fn stop(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let stopped = async {
        let who = caller(&request, &visor).await?;
        let job = find(&request, &visor, &who)?;
        who.may(Action::StopJob, On::HeldBy(job.owner.as_deref()))?;
        visor.registry.jobs().stop(job.id)?;
        let job = visor.registry.jobs().find(job.id).unwrap_or(job);
        Ok(respond(&request, &mut HttpResponse::Ok(), Some("job"), &record(&job, &base_url(&request))))
    };
    stopped.await.unwrap_or_else(|error| render(&request, &error))
}

/// Reads the time that a client waits for a job: seconds, with or without an `s`.
fn patience(request: &HttpRequest) -> Result<Option<Duration>> {
    let Some((_, text)) = pairs(request.query_string())?.into_iter().find(|(name, _)| name == "wait") else {
        return Ok(None);
    };
    let seconds = text.strip_suffix('s').unwrap_or(&text).parse().map(Duration::from_secs);
    let wrong =
        |_| Error::invalid(format!("The wait is a number of seconds, like 30s, not '{}'.", text.escape_default()));
    Ok(Some(seconds.map_err(wrong)?.min(WAIT_MAX)))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_preference_may_stand_among_others() {
        for (value, expected) in [
            ("respond-async", true),
            ("wait=10, Respond-Async", true),
            ("respond-async; x=y", true),
            ("return=minimal", false),
            ("respond-asynchronously", false),
            ("", false),
        ] {
            let request = TestRequest::get().insert_header(("prefer", value)).to_http_request();
            assert_eq!(wants_job(request.headers()), expected, "{value}");
        }
    }

    #[test]
    fn a_wait_is_bounded() {
        let wait = |query: &str| patience(&TestRequest::with_uri(&format!("/jobs/x?{query}")).to_http_request());
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            [wait("wait=30s").unwrap(), wait("wait=5").unwrap(), wait("").unwrap()],
            [seconds(30), seconds(5), None]
        );
        assert_eq!(wait("wait=7200").unwrap(), seconds(60));
        for wrong in ["wait=", "wait=-1", "wait=1m", "wait=99999999999999999999"] {
            assert!(wait(wrong).is_err(), "{wrong}");
        }
    }
}
