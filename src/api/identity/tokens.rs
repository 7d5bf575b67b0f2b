//! `/auth/…`: issues, shows and revokes tokens, and lists the scopes that their holders may ask for. Tokens are kept in
//! `account/`.

use actix_web::http::header::HeaderName;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::error::render;
use super::holder::TokenHolder;
use super::token_request::TokenRequest;
use super::{Identity, wire};
use crate::account::tokens::{Scope, open_token};
use crate::api::auth::header;
use crate::api::elsewhere;
use crate::error::{Error, Reason, Result};
use crate::http::body::Body;
use crate::registry::policy::Action;

/// Largest body of a request for a token, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The header with the token that a request is about.
const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

fn wants_catalog(request: &HttpRequest) -> bool {
    !request.query_string().split('&').any(|pair| pair.split('=').next() == Some("nocatalog"))
}

/// `POST /auth/tokens`
pub(super) async fn create(request: HttpRequest, identity: Data<Identity>, payload: Payload) -> HttpResponse {
    let done = async {
        identity.gives_tokens()?;
        let body = Body::new(payload, identity.patience).whole(BODY_BYTES_MAX).await?;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let (account, holder) = identity.log_in(&TokenRequest::read(&body)?, peer)?;
        let token = match account {
            None => open_token(&holder.grant)?,
            Some(account) => {
                let (tokens, grant) = (identity.auth.tokens.clone(), holder.grant.clone());
                elsewhere(move || tokens.issue(&account, &grant)).await?
            }
        };
        let shown = wire::token(&request, &holder, wants_catalog(&request));
        Ok(wire::respond(HttpResponse::Created().insert_header((SUBJECT, token.reveal())), &shown))
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// The token that a request is about, and its holder. Administrators may name any token; for other users only their own
/// tokens exist.
fn subject<'a>(identity: &Identity, request: &'a HttpRequest) -> Result<(&'a str, TokenHolder)> {
    let sender = identity.sender(request)?;
    let token = header(request, &SUBJECT)?.ok_or_else(|| Error::invalid("The header X-Subject-Token is missing."))?;
    let holder = identity.holder(token)?.filter(|holder| sender.can(Action::UseToken, &holder.grant.access_key));
    Ok((token, holder.ok_or_else(|| Reason::NotFound.saying("No such token."))?))
}

/// `GET` and `HEAD /auth/tokens`
pub(super) async fn show(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    match subject(&identity, &request) {
        Ok((token, holder)) => {
            let shown = wire::token(&request, &holder, wants_catalog(&request));
            wire::respond(HttpResponse::Ok().insert_header((SUBJECT, token)), &shown)
        }
        Err(error) => render(&request, &error),
    }
}

/// `DELETE /auth/tokens`
pub(super) async fn revoke(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    let done = async {
        let (token, _) = subject(&identity, &request)?;
        let (tokens, token, now) = (identity.auth.tokens.clone(), token.to_owned(), identity.registry.now());
        elsewhere(move || tokens.revoke(&token, now)).await?;
        Ok(HttpResponse::NoContent().finish())
    };
    done.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /auth/catalog`
pub(super) async fn catalog(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        if holder.grant.scope == Scope::Unscoped {
            return Err(Reason::NoScope.saying("A token without a scope has no catalogue."));
        }
        let mut shown = wire::list(&request, "catalog", Vec::new());
        shown["catalog"] = wire::catalog(&request);
        Ok(shown)
    })
}

/// `GET /auth/projects`: projects that the sender can have a token for.
pub(super) async fn projects(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let projects = holder.projects().into_iter().map(|project| wire::project(&request, project));
        Ok(wire::list(&request, "projects", projects.collect()))
    })
}

/// `GET /auth/domains`: domains that the sender can have a token for.
pub(super) async fn domains(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let domains = if holder.is_admin() { vec![wire::domain(&request)] } else { Vec::new() };
        Ok(wire::list(&request, "domains", domains))
    })
}

/// `GET /auth/system`: the system, if the sender can have a token for it.
pub(super) async fn system(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let all = if holder.is_admin() { vec![serde_json::json!({ "all": true })] } else { Vec::new() };
        Ok(wire::list(&request, "system", all))
    })
}
