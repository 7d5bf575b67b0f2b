//! `/operations`: lists, shows, stops operations and waits for them. Parses, calls, renders.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use super::Operation;
use crate::account::Secret;
use crate::api::lxd::envelope::{done, sync};
use crate::api::lxd::error::not_authorized;
use crate::api::lxd::{Lxd, recursive};
use crate::error::{Error, Result};
use crate::http::route::{Route, delete, get, parameter, part};
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

/// The routes.
pub(in crate::api::lxd) fn routes() -> [Route; 5] {
    [
        get("/operations", Action::SeeJob, list),
        get("/operations/{id}", Action::SeeJob, show),
        delete("/operations/{id}", Action::StopJob, cancel),
        get("/operations/{id}/wait", Action::SeeJob, wait),
        get("/operations/{id}/websocket", Action::SeeJob, websocket),
    ]
}

/// `GET /operations`: grouped by status.
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let whole = recursive(&request)?;
        let mut by_status = Map::new();
        for operation in lxd.operations.list(&caller) {
            let shown = if whole { operation.json() } else { operation.url().into() };
            let status =
                by_status.entry(operation.status.name().to_lowercase()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(all) = status {
                all.push(shown);
            }
        }
        Ok(sync(&by_status))
    })
    .await
}

/// `GET /operations/ID`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        Ok(sync(&lxd.operations.find(&caller, &part(&request, "id")?)?))
    })
    .await
}

/// `DELETE /operations/ID`
async fn cancel(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let operation = lxd.operations.find(&caller, &part(&request, "id")?)?;
        // Callers other than administrators find their own operations only.
        caller.may(Action::StopJob, On::HeldBy(caller.account()))?;
        lxd.operations.cancel(operation.id)?;
        Ok(done())
    })
    .await
}

/// `GET /operations/ID/wait`: answered when the operation has ended, or when `timeout` (in seconds) is over.
async fn wait(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let operation = allowed(&request, &lxd).await?;
        let patience = match parameter(&request, "timeout")?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let wrong = |_| Error::invalid("timeout is a number of seconds");
                // A negative timeout means no limit.
                u64::try_from(text.parse::<i64>().map_err(wrong)?).ok().map(Duration::from_secs)
            }
        };
        Ok(sync(&lxd.operations.wait(operation.id, patience).await?))
    })
    .await
}

/// `GET /operations/ID/websocket`: no operation here has one.
async fn websocket(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        allowed(&request, &lxd).await?;
        match parameter(&request, "secret")? {
            None => Err(Error::invalid("missing secret")),
            Some(_) => Err(Error::invalid("Only websocket operations can be connected")),
        }
    })
    .await
}

/// Operation of a path, for callers that may see it or have its secret: a server that sends an image to another waits for
/// the other's operation.
async fn allowed(request: &HttpRequest, lxd: &Lxd) -> Result<Operation> {
    let (caller, id) = (lxd.caller(request).await?, part(request, "id")?);
    if let Some(given) = parameter(request, "secret")? {
        let knows =
            |operation: &Operation| operation.secret().is_some_and(|secret| Secret::new(secret.to_owned()).is(&given));
        if let Some(operation) = lxd.operations.any(&id).filter(knows) {
            return Ok(operation);
        }
    }
    match caller {
        // The answer does not tell a wrong id from a wrong secret.
        Caller::Anonymous => Err(not_authorized()),
        caller => lxd.operations.find(&caller, &id),
    }
}
