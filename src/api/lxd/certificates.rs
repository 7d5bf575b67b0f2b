//! `/certificates`: adds, lists and removes the certificates of trusted clients. They are kept in `account/`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::shown;
use super::envelope::{accepted, created, done, etag, sync, sync_with};
use super::error::not_authorized;
use super::operations::{About, Purpose};
use super::time::time;
use super::{Lxd, recursive};
use crate::account::trust::{Applicant, Certificate, Client, check_name};
use crate::api::elsewhere;
use crate::error::{Error, Result};
use crate::http::body::Body;
use crate::http::route::{Route, delete, get, part, post};
use crate::image::Timestamp;
use crate::jobs::JobKind;
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

/// Largest body, in bytes: a certificate and its fields.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Lifetime of a token that lets another client in.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The routes.
pub(super) fn routes() -> [Route; 4] {
    let (all, one) = ("/certificates", "/certificates/{fingerprint}");
    [
        get(all, Action::SeeCertificate, list),
        post(all, Action::JoinByProof, create),
        get(one, Action::SeeCertificate, show),
        delete(one, Action::SeeCertificate, remove),
    ]
}

/// A request to trust a certificate. A field that is `null` counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TrustRequest {
    name: Option<String>,
    r#type: Option<String>,
    /// DER in base64; without it, the certificate of the connection.
    certificate: Option<String>,
    /// The keys of an account (`ACCESS_KEY:SECRET_KEY`), or a token.
    password: Option<String>,
    /// A token, where clients of today put it.
    trust_token: Option<String>,
    /// Asks for a token that lets another client in.
    token: Option<bool>,
    restricted: Option<bool>,
}

impl TrustRequest {
    fn read(bytes: &[u8]) -> Result<Self> {
        let wrong = |error| Error::invalid("The body is not JSON that describes a certificate.").because(error);
        // Serde would also take a list of the values.
        let asked: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong)?;
        let mut post: Self = serde_json::from_value(asked.into()).map_err(wrong)?;
        for text in [&mut post.name, &mut post.r#type, &mut post.certificate, &mut post.password, &mut post.trust_token]
        {
            *text = text.take().filter(|text| !text.is_empty());
        }
        if post.r#type.as_deref().is_some_and(|kind| kind != "client") {
            return Err(Error::invalid("This server keeps only certificates of clients."));
        }
        post.name.as_deref().map_or(Ok(()), check_name)?;
        // A certificate has all rights of its account: a request for fewer must be refused, not ignored.
        if post.restricted == Some(true) {
            let text = "This server has no restricted certificates: add it for an account with fewer rights.";
            return Err(Error::invalid(text));
        }
        Ok(post)
    }

    /// The certificate that the request names: the one in its body, or else the one of its connection.
    fn certificate(&self, request: &HttpRequest) -> Result<Certificate> {
        match &self.certificate {
            Some(text) => {
                let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                let wrong = |error| Error::invalid("The certificate is not in base64.").because(error);
                Certificate::read(&STANDARD.decode(text).map_err(wrong)?)
            }
            None => match shown(request) {
                Some(shown) => Certificate::read(&shown.der),
                None => Err(Error::invalid("No client certificate provided")),
            },
        }
    }
}

/// The applicant of a request. A connection that shows a certificate has proved that it has the key.
fn applicant(request: &HttpRequest, post: &TrustRequest) -> Result<Applicant> {
    let certificate = post.certificate(request)?;
    let has_key = shown(request).is_some_and(|shown| shown.fingerprint == certificate.fingerprint);
    Ok(Applicant { certificate, name: post.name.clone(), has_key })
}

/// The secret of a token. Clients send the whole token, or the secret alone.
fn secret_of(token: &str) -> String {
    let whole = STANDARD.decode(token.trim()).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let secret = whole.as_ref().and_then(|token| token.get("secret")).and_then(Value::as_str);
    secret.unwrap_or(token.trim()).to_owned()
}

/// `POST /certificates`
async fn create(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let post = TrustRequest::read(&Body::new(payload, lxd.patience).whole(BODY_BYTES_MAX).await?)?;
        let caller = lxd.caller(&request)?;
        let trusted = caller != Caller::Anonymous;
        if post.token == Some(true) {
            return if trusted { lxd.invite(&caller, &post) } else { Err(not_authorized()) };
        }
        // With accounts, a trusted client has nothing left to prove. Without accounts every client is trusted, but may
        // bring a token.
        let open = caller == Caller::Admin(None);
        let proof = post.trust_token.as_ref().or(post.password.as_ref()).filter(|_| !trusted || open);
        let admitted = match proof {
            Some(proof) => lxd.admit(&request, &post, proof).await?,
            None => None,
        };
        let (client, caller) = match admitted {
            Some(client) => {
                let caller = lxd.caller_with(Some(&client.fingerprint))?;
                (client, caller)
            }
            None if !trusted => return Err(not_authorized()),
            None if post.certificate.is_none() => return Err(Error::invalid("Client is already trusted")),
            None => (lxd.add(&caller, post.certificate(&request)?, post.name).await?, caller),
        };
        let path = path_of(&client);
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "certificate-created", &path, &Value::Null);
        Ok(created(&path))
    })
    .await
}

impl Lxd {
    /// Trusts a certificate whose sender proves an account or brings a token. `None` without a valid proof.
    async fn admit(&self, request: &HttpRequest, post: &TrustRequest, proof: &str) -> Result<Option<Client>> {
        let (mut applicant, open) = (applicant(request, post)?, self.auth.is_open()?);
        let (trust, now) = (Arc::clone(&self.trust), self.registry.now());
        // Only an account's keys contain a colon: secrets and tokens never do.
        if let Some((access_key, secret_key)) = proof.split_once(':') {
            let peer = request.peer_addr().map(|peer| peer.ip());
            let account = if open { None } else { self.auth.with_keys(access_key, secret_key, peer, now)? };
            let Some(account) = account else { return Ok(None) };
            return elsewhere(move || trust.admit(&applicant, Some(&account), now)).await.map(Some);
        }
        let (secret, accounts) = (secret_of(proof), Arc::clone(&self.auth.accounts));
        // A token that another client made is kept here only.
        let made = |purpose: &Purpose| matches!(purpose, Purpose::Certificate(_));
        let Some(ticket) = self.operations.take(&secret, made) else {
            return elsewhere(move || trust.redeem(&secret, &applicant, &accounts, open, now)).await;
        };
        let Some(owner) = self.renewed(&ticket.owner)? else { return Ok(None) };
        if let Purpose::Certificate(given) = ticket.purpose
            && !given.is_empty()
        {
            applicant.name = Some(given);
        }
        let account = self.auth.account_of(&owner)?;
        elsewhere(move || trust.admit(&applicant, account.as_ref(), now)).await.map(Some)
    }

    /// Trusts another certificate, for the caller's own account.
    async fn add(&self, caller: &Caller, certificate: Certificate, name: Option<String>) -> Result<Client> {
        let (trust, account, now) = (Arc::clone(&self.trust), self.auth.account_of(caller)?, self.registry.now());
        elsewhere(move || trust.add(&certificate, name.as_deref(), account.as_ref(), now)).await
    }

    /// Makes a token that lets one certificate in for the caller's own account.
    fn invite(&self, caller: &Caller, post: &TrustRequest) -> Result<HttpResponse> {
        let now = self.registry.now();
        let lifetime_us = i64::try_from(TOKEN_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        let name = post.name.clone().unwrap_or_default();
        // Clients build the token that they show from this answer, and take a token without a name for none.
        let shown = [name.as_str(), caller.account().unwrap_or_default(), "client"];
        let shown = shown.iter().find(|name| !name.is_empty());
        let asked = json!({ "name": shown, "type": "client", "token": true, "restricted": false, "projects": [] });
        let about = About::new(JobKind::Secret, "Executing operation")
            .metadata("fingerprint", self.https.fingerprint.as_str())
            .metadata("addresses", json!(self.https.reachable.now()))
            .metadata("request", asked)
            .metadata("expiresAt", time(Timestamp(now.0.saturating_add(lifetime_us))));
        let operation =
            self.operations.token(&self.owner(caller)?, about, Purpose::Certificate(name), TOKEN_LIFETIME)?;
        Ok(accepted(&operation))
    }

    /// A test for the certificates that a caller may see and remove: those of its own account, or all of them.
    fn visible(&self, caller: &Caller) -> Result<impl Fn(&Client) -> bool + Send + 'static> {
        let (caller, own) = (caller.clone(), self.auth.account_of(caller)?.map(|account| account.id));
        Ok(move |client: &Client| {
            // The id tells whose it is: another account may have the name of a removed one.
            let is_own = own.is_some() && own == client.holder.as_ref().map(|holder| holder.id);
            caller.can(Action::SeeCertificate, On::HeldBy(caller.account().filter(|_| is_own)))
        })
    }
}

fn path_of(client: &Client) -> String {
    format!("/1.0/certificates/{}", client.fingerprint)
}

fn json_of(client: &Client) -> Value {
    json!({
        "name": client.name,
        "type": "client",
        "restricted": false,
        "projects": [],
        "description": client.holder.as_ref().map_or("", |holder| holder.access_key.as_str()),
        "certificate": client.certificate,
        "fingerprint": client.fingerprint,
    })
}

/// `GET /certificates`
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let visible = lxd.visible(&lxd.trusted(&request)?)?;
        let whole = recursive(&request)?;
        let clients = lxd.trust.list()?.into_iter().filter(visible);
        let shown: Vec<Value> = clients.map(|one| if whole { json_of(&one) } else { path_of(&one).into() }).collect();
        Ok(sync(&shown))
    })
    .await
}

/// `GET /certificates/FINGERPRINT`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let visible = lxd.visible(&lxd.trusted(&request)?)?;
        let shown = json_of(&lxd.trust.find(&part(&request, "fingerprint")?, visible)?);
        let tag = etag(&shown);
        Ok(sync_with(HttpResponse::Ok().insert_header((header::ETAG, tag)), &shown))
    })
    .await
}

/// `DELETE /certificates/FINGERPRINT`
async fn remove(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request)?;
        let (visible, prefix) = (lxd.visible(&caller)?, part(&request, "fingerprint")?);
        let trust = Arc::clone(&lxd.trust);
        let removed = elsewhere(move || trust.remove(&prefix, visible)).await?;
        let requestor = lxd.requestor(&request, &caller);
        lxd.events.lifecycle(&requestor, "certificate-deleted", &path_of(&removed), &Value::Null);
        Ok(done())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_token_is_its_secret_however_it_comes() {
        let whole = STANDARD.encode(r#"{"client_name":"x","secret":"abc","addresses":[]}"#);
        for (given, expected) in
            [(whole.as_str(), "abc"), ("abc", "abc"), (" abc\n", "abc"), ("", ""), ("e30=", "e30=")]
        {
            assert_eq!(secret_of(given), expected, "{given}");
        }
    }

    #[test]
    fn what_can_not_be_done_is_not_overlooked() {
        for (body, right) in [
            (r#"{}"#, true),
            (r#"{"type":"client","password":"a:b","certificate":null,"projects":[],"restricted":false}"#, true),
            (r#"{"type":"metrics"}"#, false),
            (r#"{"type":"server"}"#, false),
            (r#"{"restricted":true,"projects":["default"]}"#, false),
            (r#"{"password":1}"#, false),
            ("", false),
            ("[]", false),
        ] {
            assert_eq!(TrustRequest::read(body.as_bytes()).map_err(|error| error.kind()).is_ok(), right, "{body}");
        }
        assert_eq!(TrustRequest::read(b"x").unwrap_err().kind(), Kind::Invalid);
    }
}
