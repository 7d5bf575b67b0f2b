//! `/certificates`: adds, lists, changes and removes the certificates of trusted clients. They are kept in `account/`.

mod body;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use uuid::Uuid;

use self::body::{EntryFields, TrustRequest, secret_of};
use super::auth::shown;
use super::envelope::{accepted, created, done, etag, matches, sync, sync_with};
use super::error::not_authorized;
use super::operations::{About, Purpose};
use super::time::time;
use super::{Lxd, recursive, sets_all};
use crate::account::trust::{Client, EntryChange};
use crate::api::auth::caller_of;
use crate::api::elsewhere;
use crate::error::{Error, Reason, Result};
use crate::http::body::Body;
use crate::http::headers::text;
use crate::http::route::{Route, delete, get, part, patch, post, put};
use crate::image::Timestamp;
use crate::jobs::JobKind;
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

/// Largest body, in bytes: a certificate and its fields.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Lifetime of a token that lets another client in.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The routes.
pub(super) fn routes() -> [Route; 6] {
    let (all, one) = ("/certificates", "/certificates/{fingerprint}");
    [
        get(all, Action::SeeCertificate, list),
        post(all, Action::JoinByProof, create),
        get(one, Action::SeeCertificate, show),
        put(one, Action::ChangeCertificate, change),
        patch(one, Action::RenewCertificate, change),
        delete(one, Action::SeeCertificate, remove),
    ]
}

/// A trusted client, as far as certificates are concerned.
struct Manager {
    caller: Caller,
    /// Id of its account.
    account: Option<Uuid>,
    /// Fingerprint of the certificate that its connection shows.
    shown: Option<String>,
    /// Set for a restricted certificate, which sees and replaces itself alone.
    restricted: bool,
}

impl Manager {
    /// A test for the entries that it may see and remove: its own, those of its account, or for administrators all.
    fn visible(&self) -> impl Fn(&Client) -> bool + Send + 'static {
        let (caller, account) = (self.caller.clone(), self.account);
        let only = self.restricted.then(|| self.shown.clone());
        move |client: &Client| match &only {
            Some(own) => own.as_ref() == Some(&client.fingerprint),
            None => {
                // The id tells whose it is: another account may have the name of a removed one.
                let is_own = account.is_some() && account == client.holder.as_ref().map(|holder| holder.id);
                caller.can(Action::SeeCertificate, On::HeldBy(caller.account().filter(|_| is_own)))
            }
        }
    }

    /// Checks a change of an entry that it sees. The holder of a certificate may always replace it by a new one.
    ///
    /// # Errors
    /// `Forbidden`.
    fn check(&self, client: &Client, change: &EntryChange) -> Result<()> {
        let held = On::HeldBy(self.caller.account());
        let renews = change.only_renews(client) && self.shown.as_ref() == Some(&client.fingerprint);
        match (renews, self.restricted) {
            _ if change.changes_nothing(client) => Ok(()),
            (true, _) => self.caller.may(Action::RenewCertificate, held),
            (false, true) => Err(Reason::CertificateFixed.into()),
            (false, false) => self.caller.may(Action::ChangeCertificate, held),
        }
    }
}

/// `POST /certificates`
async fn create(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let post = TrustRequest::read(&Body::new(payload, lxd.patience).whole(BODY_BYTES_MAX).await?)?;
        let manager = lxd.manager(&request)?;
        let trusted = manager.is_some();
        let manager = manager.filter(|manager| !manager.restricted);
        if post.token == Some(true) {
            return lxd.invite(&manager.ok_or_else(not_authorized)?.caller, &post);
        }
        // With accounts, an unrestricted client has nothing left to prove, unless its account may only read. Without accounts
        // every client is trusted, but may bring a token.
        let proves = |manager: &Manager| manager.caller == Caller::Admin(None) || manager.caller.is_read_only();
        let proof = post.trust_token.as_ref().or(post.password.as_ref());
        let proof = proof.filter(|_| manager.as_ref().is_none_or(proves));
        let admitted = match proof {
            Some(proof) => lxd.admit(&request, &post, proof).await?,
            None => None,
        };
        let (client, caller) = match (admitted, manager) {
            (Some(client), _) => {
                let caller = lxd.caller_with(Some(&client.fingerprint))?;
                (client, caller)
            }
            (None, _) if !trusted => return Err(not_authorized()),
            (None, _) if post.certificate.is_none() => return Err(Error::invalid("Client is already trusted")),
            (None, None) => return Err(not_authorized()),
            (None, Some(manager)) => (lxd.add(&request, &manager, &post).await?, manager.caller),
        };
        let path = path_of(&client);
        lxd.events.lifecycle(&lxd.requestor(&request, &caller), "certificate-created", &path, &Value::Null);
        Ok(created(&path))
    })
    .await
}

impl Lxd {
    /// The sender of a request as a manager of certificates; `None` if it is not trusted.
    fn manager(&self, request: &HttpRequest) -> Result<Option<Manager>> {
        let shown = shown(request).map(|shown| shown.fingerprint.clone());
        if self.auth.is_open()? {
            return Ok(Some(Manager { caller: Caller::Admin(None), account: None, shown, restricted: false }));
        }
        let standing = self.standing(shown.as_deref())?;
        Ok(standing.map(|standing| Manager {
            account: Some(standing.account.id),
            restricted: standing.restriction.restricted,
            caller: caller_of(standing.account),
            shown,
        }))
    }

    /// The manager of a request that only trusted clients may make.
    fn trusted_manager(&self, request: &HttpRequest) -> Result<Manager> {
        self.manager(request)?.ok_or_else(not_authorized)
    }

    /// Trusts a certificate whose sender proves an account or brings a token. `None` without a valid proof.
    async fn admit(&self, request: &HttpRequest, post: &TrustRequest, proof: &str) -> Result<Option<Client>> {
        let (mut applicant, open) = (post.applicant(request)?, self.auth.is_open()?);
        let (trust, now) = (Arc::clone(&self.trust), self.registry.now());
        // Only an account's keys contain a colon: secrets and tokens never do.
        if let Some((access_key, secret_key)) = proof.split_once(':') {
            let peer = request.peer_addr().map(|peer| peer.ip());
            let account = if open { None } else { self.auth.with_keys(access_key, secret_key, peer, now)? };
            let Some(account) = account else { return Ok(None) };
            return elsewhere(move || trust.admit(&applicant, Some(&account), now)).await.map(Some);
        }
        // The token is not used up by a certificate that is outside its dates.
        applicant.certificate.validity.check(now)?;
        let (secret, accounts) = (secret_of(proof), Arc::clone(&self.auth.accounts));
        // A token that another client made is kept here only.
        let made = |purpose: &Purpose| matches!(purpose, Purpose::Certificate { .. });
        let Some(ticket) = self.operations.take(&secret, made) else {
            return elsewhere(move || trust.redeem(&secret, &applicant, &accounts, open, now)).await;
        };
        let Some(owner) = self.renewed(&ticket.owner)? else { return Ok(None) };
        if let Purpose::Certificate { name, restriction } = ticket.purpose {
            // The bearer of a token may change nothing of it.
            applicant.restriction = restriction;
            applicant.name = Some(name).filter(|name| !name.is_empty()).or(applicant.name);
        }
        let account = self.auth.account_of(&owner)?;
        elsewhere(move || trust.admit(&applicant, account.as_ref(), now)).await.map(Some)
    }

    /// Trusts another certificate, for the caller's own account.
    async fn add(&self, request: &HttpRequest, manager: &Manager, post: &TrustRequest) -> Result<Client> {
        manager.caller.may(Action::AddCertificate, On::Server)?;
        let (trust, account, now) =
            (Arc::clone(&self.trust), self.auth.account_of(&manager.caller)?, self.registry.now());
        let applicant = post.applicant(request)?;
        elsewhere(move || trust.add(&applicant, account.as_ref(), now)).await
    }

    /// Makes a token that lets one certificate in for the caller's own account.
    fn invite(&self, caller: &Caller, post: &TrustRequest) -> Result<HttpResponse> {
        caller.may(Action::AddCertificate, On::Server)?;
        let now = self.registry.now();
        let lifetime_us = i64::try_from(TOKEN_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        let (name, restriction) = (post.name.clone().unwrap_or_default(), post.restriction()?);
        // Clients build the token that they show from this answer, and take a token without a name for none.
        let shown = [name.as_str(), caller.account().unwrap_or_default(), "client"];
        let shown = shown.iter().find(|name| !name.is_empty());
        let asked = json!({
            "name": shown,
            "type": "client",
            "token": true,
            "restricted": restriction.restricted,
            "projects": restriction.projects,
        });
        let about = About::new(JobKind::Secret, "Executing operation")
            .metadata("fingerprint", self.https.fingerprint.as_str())
            .metadata("addresses", json!(self.https.reachable.now()))
            .metadata("request", asked)
            .metadata("expiresAt", time(Timestamp(now.0.saturating_add(lifetime_us))));
        let purpose = Purpose::Certificate { name, restriction };
        let operation = self.operations.token(&self.owner(caller)?, about, purpose, TOKEN_LIFETIME)?;
        Ok(accepted(&operation))
    }
}

fn path_of(client: &Client) -> String {
    format!("/1.0/certificates/{}", client.fingerprint)
}

fn json_of(client: &Client) -> Value {
    json!({
        "name": client.name,
        "type": "client",
        "restricted": client.restriction.restricted,
        "projects": client.restriction.projects,
        "description": client.holder.as_ref().map_or("", |holder| holder.access_key.as_str()),
        "certificate": client.certificate.pem,
        "fingerprint": client.fingerprint,
    })
}

/// `GET /certificates`
async fn list(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let visible = lxd.trusted_manager(&request)?.visible();
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
        let visible = lxd.trusted_manager(&request)?.visible();
        let shown = json_of(&lxd.trust.find(&part(&request, "fingerprint")?, visible)?);
        let tag = etag(&shown);
        Ok(sync_with(HttpResponse::Ok().insert_header((header::ETAG, tag)), &shown))
    })
    .await
}

/// `PUT` and `PATCH /certificates/FINGERPRINT`: sets all fields, or the named ones.
async fn change(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let whole = sets_all(&request);
        let body = Body::new(payload, lxd.patience).whole(BODY_BYTES_MAX).await?;
        // A slow client has the rights that it has when its body is there.
        let manager = lxd.trusted_manager(&request)?;
        let (caller, visible) = (manager.caller.clone(), manager.visible());
        let fields = EntryFields::read(&body)?;
        let wanted = text(request.headers(), header::IF_MATCH).map(ToOwned::to_owned);
        let (trust, prefix, now) = (Arc::clone(&lxd.trust), part(&request, "fingerprint")?, lxd.registry.now());
        let decide = move |client: &Client| {
            matches(wanted.as_deref(), &etag(&json_of(client)))?;
            let change = fields.onto(client, whole)?;
            manager.check(client, &change).map(|()| change)
        };
        let before = elsewhere(move || trust.change(&prefix, visible, now, decide)).await?;
        let requestor = lxd.requestor(&request, &caller);
        lxd.events.lifecycle(&requestor, "certificate-updated", &path_of(&before), &Value::Null);
        Ok(done())
    })
    .await
}

/// `DELETE /certificates/FINGERPRINT`
async fn remove(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let manager = lxd.trusted_manager(&request)?;
        let (visible, prefix) = (manager.visible(), part(&request, "fingerprint")?);
        let trust = Arc::clone(&lxd.trust);
        let removed = elsewhere(move || trust.remove(&prefix, visible)).await?;
        let requestor = lxd.requestor(&request, &manager.caller);
        lxd.events.lifecycle(&requestor, "certificate-deleted", &path_of(&removed), &Value::Null);
        Ok(done())
    })
    .await
}
