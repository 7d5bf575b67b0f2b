//! Questions to a Keystone, in the name of a service user: its login, and the validation of a token.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::body::{TokenFacts, read};
use super::no_answer::NoAnswer;
use super::{Roles, ServiceUser};
use crate::fetch::{Body, Call, Fetcher, HeaderMap, HeaderName, HeaderValue, Method, Told};
use crate::image::Timestamp;

/// Questions at the same time, at most. Others wait.
const QUESTIONS_MAX: usize = 32;

/// Time for the answer about a token, with a login before it and the wait for others.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

/// Time after a refused login without a further one: Keystone may lock a user out who fails too often.
const LOGIN_PAUSE_US: i64 = 10 * 1_000_000;

/// Longest answer: a token without its catalogue has a few thousand bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

/// The server's own token, and the last refusal of one.
#[derive(Default)]
struct Own {
    token: Option<(HeaderValue, Timestamp)>,
    refused_at: Option<Timestamp>,
}

/// The way to one Keystone.
pub(super) struct Asker {
    url: String,
    user: ServiceUser,
    roles: Roles,
    fetcher: Fetcher,
    own: Mutex<Own>,
    questions: Semaphore,
}

impl Asker {
    /// A way to the Keystone at `url`, through a fetcher that was granted it.
    pub(super) fn new(url: String, user: ServiceUser, roles: Roles, fetcher: Fetcher) -> Self {
        let (own, questions) = (Mutex::default(), Semaphore::new(QUESTIONS_MAX));
        Self { url, user, roles, fetcher, own, questions }
    }

    /// TokenFacts about a token; none if it is not valid.
    pub(super) async fn facts(
        &self,
        token: &str,
        may_be_expired: bool,
        now: Timestamp,
    ) -> Result<Option<TokenFacts>, NoAnswer> {
        // What can't be in a header is no token.
        let Ok(token) = secret(token) else { return Ok(None) };
        let asked = async {
            // It is never closed.
            let _permit = self.questions.acquire().await;
            self.validate(&token, may_be_expired, now).await
        };
        timeout(PATIENCE, asked).await.unwrap_or(Err(NoAnswer::Slow(PATIENCE)))
    }

    async fn validate(
        &self,
        token: &HeaderValue,
        may_be_expired: bool,
        now: Timestamp,
    ) -> Result<Option<TokenFacts>, NoAnswer> {
        const WHAT: &str = "a validation";
        let expired = if may_be_expired { "&allow_expired=1" } else { "" };
        let url = format!("{}/auth/tokens?nocatalog{expired}", self.url);
        let mut renewed = false;
        loop {
            let own = self.own_token(now).await?;
            let headers = HeaderMap::from_iter([(AUTH_TOKEN, own.clone()), (SUBJECT, token.clone())]);
            let (status, _, bytes) = self.ask(Method::GET, url.clone(), headers, None).await?;
            match status {
                200 => return read(WHAT, &bytes, &self.roles).map(Some),
                404 => return Ok(None),
                // The token of our own ended before its time: it was revoked, or Keystone has new keys.
                401 if !renewed => {
                    renewed = true;
                    self.forget(&own).await;
                }
                401 => return Err(NoAnswer::Login),
                403 => return Err(NoAnswer::MayNot),
                status => return Err(NoAnswer::Status(WHAT, status)),
            }
        }
    }

    /// The server's own token, by a login if there is none. Others wait for it meanwhile.
    async fn own_token(&self, now: Timestamp) -> Result<HeaderValue, NoAnswer> {
        let mut own = self.own.lock().await;
        if let Some((token, expires_at)) = &own.token
            && now < *expires_at
        {
            return Ok(token.clone());
        }
        if own.refused_at.is_some_and(|at| (0..LOGIN_PAUSE_US).contains(&now.0.saturating_sub(at.0))) {
            return Err(NoAnswer::Login);
        }
        match self.log_in().await {
            Ok((token, expires_at)) => {
                *own = Own { token: Some((token.clone(), expires_at)), refused_at: None };
                Ok(token)
            }
            Err(trouble) => {
                let refused_at = matches!(trouble, NoAnswer::Login).then_some(now);
                *own = Own { token: None, refused_at };
                Err(trouble)
            }
        }
    }

    /// Forgets the server's own token, unless another question has replaced it.
    async fn forget(&self, token: &HeaderValue) {
        let mut own = self.own.lock().await;
        if own.token.as_ref().is_some_and(|(kept, _)| kept == token) {
            own.token = None;
        }
    }

    async fn log_in(&self) -> Result<(HeaderValue, Timestamp), NoAnswer> {
        const WHAT: &str = "a login";
        let ServiceUser { name, password, domain, project, project_domain } = &self.user;
        let user = json!({ "name": name, "domain": { "name": domain }, "password": password.reveal() });
        let project = json!({ "name": project, "domain": { "name": project_domain } });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let body = json!({ "auth": { "identity": identity, "scope": { "project": project } } });
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let url = format!("{}/auth/tokens?nocatalog", self.url);
        let (status, headers, bytes) = self.ask(Method::POST, url, headers, Some(body)).await?;
        match status {
            201 => {}
            401 => return Err(NoAnswer::Login),
            status => return Err(NoAnswer::Status(WHAT, status)),
        }
        let mut token =
            headers.get(SUBJECT).cloned().ok_or_else(|| NoAnswer::Garbled(WHAT, "it has no token".into()))?;
        token.set_sensitive(true);
        Ok((token, read(WHAT, &bytes, &self.roles)?.expires_at))
    }

    async fn ask(
        &self,
        method: Method,
        url: String,
        headers: HeaderMap,
        body: Option<Value>,
    ) -> Result<(u16, HeaderMap, Bytes), NoAnswer> {
        let body = body.map(|body| Bytes::from(body.to_string())).into_iter().collect();
        // A redirect would take the tokens elsewhere.
        let call = Call { method, url, headers, body, follow: false, slow: false };
        let answer = self.fetcher.call(call).await?;
        let (status, length) = (answer.status.as_u16(), answer.length);
        let body = Body { status, length, etag: None, told: Told::default(), stream: answer.stream };
        let document = self.fetcher.rest(body, ANSWER_BYTES_MAX).await?;
        Ok((status, answer.headers, document.bytes))
    }
}

/// A token as the value of a header that is shown nowhere.
fn secret(token: &str) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_str(token).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}
