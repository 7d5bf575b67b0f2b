//! Tasks: imports in Glance's form, as long as the jobs keep them in memory (two days at most). Knows no limits.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::Glance;
use super::super::wording::{ApiVersion, told};
use super::id_of;
use crate::error::Reason;
use crate::http::route::{Route, answer_json, get};
use crate::http::time::{to_the_microsecond_without_zone, to_the_second};
use crate::image::Timestamp;
use crate::jobs::{Job, JobKind, JobStatus};
use crate::registry::Import;
use crate::registry::policy::Action;

/// The routes.
pub(super) fn routes() -> [Route; 2] {
    [get("/tasks", Action::SeeAllJobs, list), get("/tasks/{id}", Action::SeeAllJobs, show)]
}

/// `GET /v2/images/:id/tasks`
pub(super) async fn of_image(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let tasks = glance.registry.imports(&who, Some(id_of(&request)?)).await?;
        let tasks: Vec<Value> = tasks.iter().map(detail).collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "tasks": tasks })))
    });
    listed.await
}

/// `GET /v2/tasks`: newest first.
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let tasks: Vec<Value> = glance.registry.imports(&who, None).await?.iter().map(brief).collect();
        let page = json!({ "tasks": tasks, "first": "/v2/tasks", "schema": "/v2/schemas/tasks" });
        Ok(answer_json(&mut HttpResponse::Ok(), &page))
    });
    listed.await
}

/// `GET /v2/tasks/:id`
async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let id = request.match_info().get("id").unwrap_or_default();
        let tasks = glance.registry.imports(&who, None).await?;
        let task = tasks
            .iter()
            .find(|task| task.id.to_string() == id)
            .ok_or_else(|| Reason::JobNotFound.about(id.escape_default()))?;
        let mut shown = brief(task);
        if let (Value::Object(shown), Value::Object(more)) = (&mut shown, detail(task)) {
            shown.extend(more.into_iter().filter(|(name, _)| ["input", "result", "message"].contains(&name.as_str())));
        }
        Ok(answer_json(&mut HttpResponse::Ok(), &shown))
    });
    shown.await
}

fn word(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Waiting | JobStatus::Running | JobStatus::Stopping => "processing",
        JobStatus::Done => "success",
        JobStatus::Failed | JobStatus::Stopped => "failure",
    }
}

const TYPE: &str = "api_image_import";

/// Time of an import's end, or else of its begin: its progress is no change here.
fn changed(job: &Job) -> Timestamp {
    job.ended_at.unwrap_or(job.made_at)
}

fn brief(job: &Job) -> Value {
    let id = job.id.to_string();
    json!({
        "id": id,
        "type": TYPE,
        "status": word(job),
        "owner": job.owner,
        "created_at": to_the_second(job.made_at),
        "updated_at": to_the_second(changed(job)),
        "expires_at": job.forgotten_at().map(to_the_second),
        "self": format!("/v2/tasks/{id}"),
        "schema": "/v2/schemas/task",
    })
}

/// Glance's name for the way in which an import brings bytes.
fn method(kind: JobKind) -> &'static str {
    match kind {
        JobKind::ImportStaged => "glance-direct",
        JobKind::Copy => "copy-image",
        _ => "web-download",
    }
}

/// Glance's words for the end of an import without its bytes; before, for what is tried again.
fn message(job: &Job) -> String {
    match (job.status, &job.failure) {
        (JobStatus::Running, _) => job.retried.as_ref().map(|retried| retried.trouble.clone()).unwrap_or_default(),
        (JobStatus::Stopped, _) => "It was stopped.".to_owned(),
        (_, Some(error)) => told(ApiVersion::V2, error).1,
        (_, None) => job.error.clone().unwrap_or_default(),
    }
}

fn detail(job: &Job) -> Value {
    let image = job.image.map(|image| image.to_string());
    let mut method = json!({ "name": method(job.kind) });
    if let Some(url) = job.notes::<Import>().and_then(|import| import.url.as_deref()) {
        method["uri"] = url.into();
    }
    json!({
        "id": job.id.to_string(),
        "type": TYPE,
        "status": word(job),
        "owner": job.owner,
        "expires_at": job.forgotten_at().map(to_the_microsecond_without_zone),
        "created_at": to_the_microsecond_without_zone(job.made_at),
        "updated_at": to_the_microsecond_without_zone(changed(job)),
        "deleted_at": null,
        "deleted": false,
        "image_id": image,
        "request_id": null,
        "user_id": job.owner,
        "input": { "image_id": image, "import_req": { "method": method } },
        "result": if job.status.is_final() { json!({ "image_id": image }) } else { Value::Null },
        "message": message(job),
    })
}
