//! Tasks: what became of imports. They are kept in memory, for two days or as many as there is room for.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::Glance;
use super::id_of;
use crate::error::Reason;
use crate::http::route::{Route, answer_json, get};
use crate::http::time::{to_the_microsecond_without_zone, to_the_second};
use crate::registry::policy::Action;
use crate::registry::{ImportMethod, Task};

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

fn word(task: &Task) -> &'static str {
    match (task.is_running(), task.reason()) {
        (true, _) => "processing",
        (false, None) => "success",
        (false, Some(_)) => "failure",
    }
}

const TYPE: &str = "api_image_import";

fn brief(task: &Task) -> Value {
    let id = task.id.to_string();
    json!({
        "id": id,
        "type": TYPE,
        "status": word(task),
        "owner": task.owner,
        "created_at": to_the_second(task.created_at),
        "updated_at": to_the_second(task.updated_at),
        "expires_at": task.expires_at().map(to_the_second),
        "self": format!("/v2/tasks/{id}"),
        "schema": "/v2/schemas/task",
    })
}

/// Glance's name of a way to import.
fn method_name(method: ImportMethod) -> &'static str {
    match method {
        ImportMethod::Staged => "glance-direct",
        ImportMethod::Download => "web-download",
        ImportMethod::Copy => "copy-image",
    }
}

fn detail(task: &Task) -> Value {
    let image = task.image.to_string();
    let mut method = json!({ "name": method_name(task.method) });
    if let Some(url) = &task.url {
        method["uri"] = url.as_str().into();
    }
    json!({
        "id": task.id.to_string(),
        "type": TYPE,
        "status": word(task),
        "owner": task.owner,
        "expires_at": task.expires_at().map(to_the_microsecond_without_zone),
        "created_at": to_the_microsecond_without_zone(task.created_at),
        "updated_at": to_the_microsecond_without_zone(task.updated_at),
        "deleted_at": null,
        "deleted": false,
        "image_id": image,
        "request_id": null,
        "user_id": task.owner,
        "input": { "image_id": image, "import_req": { "method": method } },
        "result": if task.is_running() { Value::Null } else { json!({ "image_id": image }) },
        "message": task.reason().unwrap_or_default(),
    })
}
