//! Tasks: imports in Glance's form, as long as the jobs keep them in memory (two days at most), and the older way to begin one.
//! Knows no limits.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::quota::check_properties;
use super::super::wording::{ApiVersion, told};
use super::super::{Glance, body};
use super::asked_task::{AskedTask, IMPORT, OLD_IMPORT};
use super::change::{AttributeSetter, referred};
use super::id_of;
use super::task_list::{TaskQuery, next};
use crate::error::{Error, Reason, Result};
use crate::http::route::{Route, answer_json, get, post};
use crate::http::time::{to_the_microsecond_without_zone, to_the_second};
use crate::image::{Container, ImagePatch, Timestamp, Visibility};
use crate::jobs::{Job, JobKind, JobStatus};
use crate::registry::policy::{Action, On};
use crate::registry::{Import, ImportWish};

/// The routes.
pub(super) fn routes() -> [Route; 3] {
    [
        get("/tasks", Action::SeeAllJobs, list),
        post("/tasks", Action::BeginTask, create),
        get("/tasks/{id}", Action::SeeAllJobs, show),
    ]
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

/// `GET /v2/tasks`: newest first, unless the request says otherwise.
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let query = TaskQuery::parse(request.query_string())?;
        let all = glance.registry.imports(&who, None).await?;
        let (tasks, more) = query.page(all.iter().map(brief).collect())?;
        let (first, next) = next(request.query_string(), tasks.last().filter(|_| more));
        let mut page = json!({ "tasks": tasks, "first": first, "schema": "/v2/schemas/tasks" });
        if let Some(next) = next {
            page["next"] = next.into();
        }
        Ok(answer_json(&mut HttpResponse::Ok(), &page))
    });
    listed.await
}

/// `GET /v2/tasks/:id`
async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let id = request.match_info().get("id").unwrap_or_default();
        let tasks = glance.registry.imports(&who, None).await?;
        let task = tasks.iter().find(|task| task.id.to_string() == id);
        let task = task.ok_or_else(|| Reason::JobNotFound.about(id.escape_default()))?;
        Ok(answer_json(&mut HttpResponse::Ok(), &full(task)))
    });
    shown.await
}

/// `POST /v2/tasks`: makes an image of the bytes of a URL, in the way that Glance had before `…/import`.
async fn create(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let created = glance.answer(&request, async |who| {
        who.may(Action::BeginTask, On::Server)?;
        let OldImport { url, format, properties } = parse(&body::read(payload, glance.patience).await?)?;
        let ids = referred(properties.iter().map(|(name, value)| (name.as_str(), value)));
        let setter = AttributeSetter { companions: glance.companions(&who, ids).await? };
        let mut patch = ImagePatch { visibility: Some(Visibility::Shared), ..ImagePatch::default() };
        setter.set(&mut patch, "disk_format", &format.as_str().into())?;
        let wanted = patch.format;
        for (name, value) in &properties {
            setter.set(&mut patch, name, value)?;
        }
        if patch.format != wanted {
            let text = "import_from_format differs from the disk_format of image_properties: images are not converted.";
            return Err(Error::invalid(text));
        }
        check_properties(&patch, None)?;
        patch.container = patch.container.or(Some(Some(Container::Bare)));
        let asked = AskedTask::old_import(&request, &format, &properties);
        let wish = ImportWish { request: Some(Arc::new(asked)), ..ImportWish::default() };
        let task = glance.registry.mirror().import_new(&who, &patch, &url, wish).await?;
        let mut response = HttpResponse::Created();
        response.insert_header((header::LOCATION, format!("/v2/tasks/{}", task.id)));
        Ok(answer_json(&mut response, &full(&task)))
    });
    created.await
}

/// The input of a task that imports an image.
struct OldImport {
    url: String,
    format: String,
    properties: Map<String, Value>,
}

fn parse(body: &Value) -> Result<OldImport> {
    let needed = |name: &str| body.get(name).ok_or_else(|| Error::invalid(format!("Task '{name}' is required")));
    let (kind, input) = (needed("type")?, needed("input")?);
    if kind != OLD_IMPORT {
        return Err(Error::invalid("The type of a task that a request begins is 'import'."));
    }
    let known = ["import_from", "import_from_format", "image_properties"];
    if let Some(other) = input.as_object().and_then(|input| input.keys().find(|name| !known.contains(&name.as_str()))) {
        let text = format!("The input of a task has {}, not '{}'.", known.join(", "), other.escape_default());
        return Err(Error::invalid(text));
    }
    let lacks = |name: &str| Error::invalid(format!("Input does not contain '{name}' field"));
    let text = |name: &str| input.get(name).and_then(Value::as_str).ok_or_else(|| lacks(name));
    let properties = input.get("image_properties").and_then(Value::as_object);
    Ok(OldImport {
        url: text("import_from")?.to_owned(),
        format: text("import_from_format")?.to_owned(),
        properties: properties.ok_or_else(|| lacks("image_properties"))?.clone(),
    })
}

fn word(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Waiting | JobStatus::Running | JobStatus::Stopping => "processing",
        JobStatus::Done => "success",
        JobStatus::Failed | JobStatus::Stopped => "failure",
    }
}

/// Time of an import's end, or else of its begin: its progress is no change here.
fn changed(job: &Job) -> Timestamp {
    job.ended_at.unwrap_or(job.made_at)
}

fn asked(job: &Job) -> Option<&AskedTask> {
    job.notes::<Import>().and_then(Import::request::<AskedTask>)
}

fn kind(job: &Job) -> &'static str {
    asked(job).map_or(IMPORT, |asked| asked.kind)
}

fn brief(job: &Job) -> Value {
    let id = job.id.to_string();
    let mut shown = json!({
        "id": id,
        "type": kind(job),
        "status": word(job),
        "owner": job.owner,
        "created_at": to_the_second(job.made_at),
        "updated_at": to_the_second(changed(job)),
        "expires_at": job.forgotten_at().map(to_the_second),
        "self": format!("/v2/tasks/{id}"),
        "schema": "/v2/schemas/task",
    });
    // Left out where there is none, as in Glance: its schema has texts here, and clients check that.
    let more = [
        ("image_id", job.image.map(|image| image.to_string())),
        ("request_id", asked(job).map(|asked| asked.request_id.clone())),
        ("user_id", job.owner.clone()),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            shown[name] = value.into();
        }
    }
    shown
}

/// A task by itself.
fn full(job: &Job) -> Value {
    let mut shown = brief(job);
    shown["input"] = input(job);
    shown["result"] = result(job);
    shown["message"] = message(job).into();
    shown
}

/// Glance's name for the way in which an import brings bytes.
fn method(kind: JobKind) -> &'static str {
    match kind {
        JobKind::ImportStaged => "glance-direct",
        JobKind::Copy => "copy-image",
        _ => "web-download",
    }
}

/// The input of a task: as it was asked for, or as it would have been asked for here.
fn input(job: &Job) -> Value {
    let url = job.notes::<Import>().and_then(|import| import.url.as_deref());
    if let Some(asked) = asked(job) {
        return asked.input(url);
    }
    let mut method = json!({ "name": method(job.kind) });
    if let Some(url) = url {
        method["uri"] = url.into();
    }
    json!({ "image_id": job.image.map(|image| image.to_string()), "import_req": { "method": method } })
}

/// The image of a task that is over. One that was made for the task alone is removed when the task fails.
fn result(job: &Job) -> Value {
    let is_gone = kind(job) == OLD_IMPORT && job.status != JobStatus::Done;
    match job.status.is_final() && !is_gone {
        true => json!({ "image_id": job.image.map(|image| image.to_string()) }),
        false => Value::Null,
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

/// A task in the list of its image.
fn detail(job: &Job) -> Value {
    json!({
        "id": job.id.to_string(),
        "type": kind(job),
        "status": word(job),
        "owner": job.owner,
        "expires_at": job.forgotten_at().map(to_the_microsecond_without_zone),
        "created_at": to_the_microsecond_without_zone(job.made_at),
        "updated_at": to_the_microsecond_without_zone(changed(job)),
        "deleted_at": null,
        "deleted": false,
        "image_id": job.image.map(|image| image.to_string()),
        "request_id": asked(job).map(|asked| asked.request_id.as_str()),
        "user_id": job.owner,
        "input": input(job),
        "result": result(job),
        "message": message(job),
    })
}
