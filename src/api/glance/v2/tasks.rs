//! Tasks: what became of imports. They are kept in memory, for two days or as many as there is room for.

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::{Glance, at, json as answer_json};
use super::id_of;
use crate::error::{Reason, Result};
use crate::image::Timestamp;
use crate::registry::{Caller, Task};

/// Adds the routes.
pub(super) fn mount(app: &mut ServiceConfig) {
    app.service(at("/tasks", "GET", |at| at.route(web::get().to(list))));
    app.service(at("/tasks/{id}", "GET", |at| at.route(web::get().to(show))));
}

/// `GET /v2/images/:id/tasks`
pub(super) async fn of_image(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let image = glance.registry.get(&who, id_of(&request)?).await?;
        who.may_change(&image)?;
        let tasks: Vec<Value> = glance.registry.imports(Some(image.id)).iter().map(detail).collect();
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "tasks": tasks })))
    });
    listed.await
}

/// `GET /v2/tasks`: newest first.
async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        for_admins(&who)?;
        let tasks: Vec<Value> = glance.registry.imports(None).iter().map(brief).collect();
        let page = json!({ "tasks": tasks, "first": "/v2/tasks", "schema": "/v2/schemas/tasks" });
        Ok(answer_json(&mut HttpResponse::Ok(), &page))
    });
    listed.await
}

/// `GET /v2/tasks/:id`
async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        for_admins(&who)?;
        let id = request.match_info().get("id").unwrap_or_default();
        let tasks = glance.registry.imports(None);
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

fn for_admins(who: &Caller) -> Result<()> {
    if who.is_admin() {
        return Ok(());
    }
    Err(Reason::AdminOnly.saying("You are not authorized to complete tasks_api_access action."))
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
    let time = super::super::spell::time;
    let id = task.id.to_string();
    json!({
        "id": id,
        "type": TYPE,
        "status": word(task),
        "owner": task.owner,
        "created_at": time(task.created_at),
        "updated_at": time(task.updated_at),
        "expires_at": task.expires_at().map(time),
        "self": format!("/v2/tasks/{id}"),
        "schema": "/v2/schemas/task",
    })
}

fn detail(task: &Task) -> Value {
    let image = task.image.to_string();
    let mut method = json!({ "name": task.method.name() });
    if let Some(url) = &task.url {
        method["uri"] = url.as_str().into();
    }
    json!({
        "id": task.id.to_string(),
        "type": TYPE,
        "status": word(task),
        "owner": task.owner,
        "expires_at": task.expires_at().map(fine_time),
        "created_at": fine_time(task.created_at),
        "updated_at": fine_time(task.updated_at),
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

/// To the microsecond and without a zone: so in this place alone.
fn fine_time(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_microsecond(time.0).ok();
    let written =
        moment.map(|time| jiff::tz::Offset::UTC.to_datetime(time).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string());
    written.unwrap_or_else(|| time.0.to_string())
}
