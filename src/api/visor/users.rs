//! `/users`: the accounts, for administrators. As the original's account server, except that a secret is shown only
//! once, at its creation.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::Visor;
use super::error::render;
use super::wire::{Field, Record, respond, respond_list};
use crate::account::{Account, AccountChange, Role};
use crate::error::{Error, Reason, Result};
use crate::http::body::Body;
use crate::http::time::ruby;
use crate::registry::policy::{Action, On};

/// Largest body of a request about an account.
const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct AccountRequest {
    user: AccountFields,
}

/// Fields of an account that a client may send.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountFields {
    access_key: Option<String>,
    email: Option<String>,
    admin: Option<bool>,
    read_only: Option<bool>,
    #[serde(rename = "_id")]
    id: serde_json::Value,
    secret_key: serde_json::Value,
    created_at: serde_json::Value,
    updated_at: serde_json::Value,
}

impl AccountFields {
    fn check(&self) -> Result<()> {
        let fixed = [
            ("_id", &self.id),
            ("secret_key", &self.secret_key),
            ("created_at", &self.created_at),
            ("updated_at", &self.updated_at),
        ];
        let refused: Vec<_> = fixed.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| *name).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("These fields are read-only: {}", refused.join(", "))))
    }
}

fn record(account: &Account) -> Record {
    let mut record: Record = vec![
        ("_id".into(), Field::Text(account.id.to_string())),
        ("access_key".into(), Field::Text(account.access_key.clone())),
    ];
    if let Some(email) = &account.email {
        record.push(("email".into(), Field::Text(email.clone())));
    }
    record.push(("admin".into(), Field::Text(account.admin.to_string())));
    record.push(("read_only".into(), Field::Text(account.read_only.to_string())));
    record.push(("created_at".into(), Field::Text(ruby(account.created_at()))));
    if let Some(updated) = account.updated_at() {
        record.push(("updated_at".into(), Field::Text(ruby(updated))));
    }
    record
}

/// Checks that the caller may manage accounts.
async fn admit(request: &HttpRequest, visor: &Visor, has_body: bool) -> Result<()> {
    visor.caller_with(request, has_body).await?.may(Action::ManageAccounts, On::Server)
}

fn key_of(request: &HttpRequest) -> String {
    request.match_info().query("key").to_owned()
}

async fn account_fields(payload: Payload, visor: &Visor) -> Result<AccountFields> {
    let bytes = Body::new(payload, visor.patience).whole(BODY_BYTES_MAX).await?;
    let malformed =
        |_| Error::invalid("The body must be JSON such as {\"user\":{\"access_key\":\"…\",\"email\":\"…\"}}.");
    let AccountRequest { user } = serde_json::from_slice(&bytes).map_err(malformed)?;
    user.check()?;
    Ok(user)
}

fn one(request: &HttpRequest, record: &Record) -> HttpResponse {
    respond(request, &mut HttpResponse::Ok(), Some("user"), record)
}

/// `GET /users`, filtered by `access_key`, `email` or `_id`.
pub(super) async fn list(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let done = async {
        admit(&request, &visor, false).await?;
        let wanted = super::lists::pairs(request.query_string())?;
        let mut records: Vec<Record> = visor.auth.accounts.list()?.iter().map(record).collect();
        for (name, value) in &wanted {
            if !["access_key", "email", "_id", "admin", "read_only"].contains(&name.as_str()) {
                return Err(Error::invalid(format!("Unknown fields: {}", name.escape_default())));
            }
            records.retain(|record| record.iter().any(|(n, f)| n == name && *f == Field::Text(value.clone())));
        }
        match (records.is_empty(), wanted.is_empty()) {
            (true, true) => Err(Reason::NothingMatches.saying("No users found.")),
            (true, false) => Err(Reason::NothingMatches.saying("No users found with given parameters.")),
            (false, _) => Ok(respond_list(&request, &mut HttpResponse::Ok(), "users", records)),
        }
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /users/:access_key`
pub(super) async fn read(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let done = async {
        admit(&request, &visor, false).await?;
        let key = key_of(&request);
        let missing = || Reason::AccountNotFound.about(key.escape_default());
        let account = visor.auth.accounts.get(&key)?.ok_or_else(missing)?;
        Ok(one(&request, &record(&account)))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `POST /users`
pub(super) async fn create(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let done = async {
        admit(&request, &visor, true).await?;
        let fields = account_fields(payload, &visor).await?;
        let missing = [("access_key", &fields.access_key), ("email", &fields.email)];
        let missing: Vec<_> = missing.iter().filter(|(_, v)| v.is_none()).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            return Err(Error::invalid(format!("These fields are required: {}", missing.join(", "))));
        }
        let role = Role::of(fields.admin.unwrap_or_default(), fields.read_only.unwrap_or_default())?;
        let key = fields.access_key.unwrap_or_default();
        let account = visor.auth.accounts.add(&key, fields.email, role, visor.registry.now())?;
        let mut record = record(&account);
        record.insert(2, ("secret_key".into(), Field::Text(account.secret_key.reveal().to_owned())));
        Ok(one(&request, &record))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `PUT /users/:access_key`
pub(super) async fn update(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let done = async {
        admit(&request, &visor, true).await?;
        let fields = account_fields(payload, &visor).await?;
        let (accounts, key) = (&visor.auth.accounts, key_of(&request));
        if fields.admin.is_some() {
            return Err(Error::invalid("The field admin is set when an account is created and cannot be changed."));
        }
        // Images name their owner. A renamed account would lose its images to the next account with the old key.
        if fields.access_key.as_ref().is_some_and(|new| *new != key) && visor.registry.owns_any(&key).await? {
            return Err(Reason::AccountOwnsImages.about(key));
        }
        let change = AccountChange { access_key: fields.access_key, email: fields.email, read_only: fields.read_only };
        let account = accounts.update(&key, change, visor.registry.now())?;
        Ok(one(&request, &record(&account)))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `DELETE /users/:access_key`
pub(super) async fn delete(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let done = async {
        admit(&request, &visor, false).await?;
        Ok(one(&request, &record(&visor.auth.accounts.remove_unless_last(&key_of(&request))?)))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}
