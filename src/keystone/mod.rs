//! A Keystone of an existing cloud, which knows this server's callers: it is asked about their tokens, and its answers are
//! kept for a while, as keystonemiddleware does for a Glance.
//!
//! Knows no image, no request and no form of an answer of ours.

mod ask;
mod body;
mod no_answer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use self::ask::Asker;
use self::body::TokenFacts;
use self::no_answer::NoAnswer;
use crate::account::{Print, Role, Secret};
use crate::error::{Error, Reason, Result};
use crate::fetch::{FetchError, Fetcher};
use crate::image::Timestamp;

/// Answers that are kept, of good and of bad tokens together: some 3 MiB.
const ANSWERS_MAX: u64 = 10_000;

/// Longest token that is asked about. Fernet's have some 300 characters, those with a signature up to a few thousand.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The settings: `identity` in `visor.toml`.
#[derive(Debug, Clone)]
pub struct KeystoneSettings {
    /// Its URL, which ends in `/v3`.
    pub url: String,
    /// Its URL for clients.
    pub public_url: String,
    /// The user in whose name it is asked.
    pub user: ServiceUser,
    /// Time for which an answer is kept.
    pub keep: Duration,
    /// Roles with a meaning here.
    pub roles: Roles,
}

/// The user in whose name a Keystone is asked about tokens.
#[derive(Debug, Clone)]
pub struct ServiceUser {
    /// Name.
    pub name: String,
    /// Password.
    pub password: Secret,
    /// Name of the domain that the user belongs to.
    pub domain: String,
    /// Name of the project that its own token is for.
    pub project: String,
    /// Name of the domain that the project belongs to.
    pub project_domain: String,
}

/// Names of roles, compared without case as OpenStack's policies do.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Each of them makes an administrator.
    pub admin: Vec<String>,
    /// A token with none but these may only read.
    pub reader: Vec<String>,
    /// Each of them makes a token one of a service, which may vouch for a caller's token that has expired.
    pub service: Vec<String>,
}

/// The holder of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectCaller {
    /// Id of the project that the token is for: all of its users are one owner of images.
    pub project: String,
    /// Rights that the roles of the token give.
    pub role: Role,
}

/// Answers by token, and by whether an expired one was asked about: `None` for a token that is not valid.
type Answers = Cache<(Print, bool), Option<Arc<TokenFacts>>>;

/// A Keystone, and its answers of late.
pub struct Keystone {
    public_url: String,
    asker: Asker,
    /// None without time to keep any.
    answers: Option<Answers>,
}

impl fmt::Debug for Keystone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystone").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl Keystone {
    /// A Keystone that is asked through a fetcher, whatever its address. Opens no connection.
    ///
    /// # Errors
    /// `Refused` for a URL that no fetcher takes.
    pub fn new(settings: KeystoneSettings, fetcher: &Fetcher) -> Result<Self, FetchError> {
        let fetcher = fetcher.granting(&settings.url)?;
        let kept = || Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(settings.keep).build();
        let answers = (!settings.keep.is_zero()).then(kept);
        let KeystoneSettings { url, public_url, user, roles, .. } = settings;
        Ok(Self { public_url, asker: Asker::new(url, user, roles, fetcher), answers })
    }

    /// The URL that clients get their tokens at.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The holder of a token. With a good token of a service beside it, the token may have expired, for as long as the
    /// Keystone allows: it began something that takes long. A good token without a service's role beside it changes nothing, as
    /// in Keystone's own middleware by default.
    ///
    /// A token that was revoked is valid here until the time to keep answers has passed.
    ///
    /// # Errors
    /// `Unauthenticated` for a token that is not valid, of either; `Forbidden` for one that is not for a project; `Upstream` when the
    /// Keystone can't be asked.
    pub async fn holder(&self, token: &str, service: Option<&str>, now: Timestamp) -> Result<ProjectCaller> {
        let vouched = match service {
            None => false,
            Some(service) => self.facts(service, false, now).await?.ok_or(Reason::Unauthenticated)?.is_service,
        };
        let facts = self.facts(token, vouched, now).await?.ok_or(Reason::Unauthenticated)?;
        match &facts.project {
            Some(project) => Ok(ProjectCaller { project: project.clone(), role: facts.role }),
            None => Err(Reason::NoScope.into()),
        }
    }

    /// TokenFacts about a token that is valid.
    async fn facts(&self, token: &str, may_be_expired: bool, now: Timestamp) -> Result<Option<Arc<TokenFacts>>> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let ask = async || Ok(self.asker.facts(token, may_be_expired, now).await?.map(Arc::new));
        let facts = match &self.answers {
            None => ask().await.map_err(Arc::new),
            // Requests that ask about one token at the same time wait for one answer; a failure is not kept.
            Some(answers) => answers.try_get_with((Print::of(token), may_be_expired), ask()).await,
        };
        let facts = facts.map_err(unavailable)?;
        Ok(facts.filter(|facts| may_be_expired || now < facts.expires_at))
    }
}

/// The refusal while a Keystone can't be asked.
fn unavailable(trouble: Arc<NoAnswer>) -> Error {
    Reason::IdentityUnavailable.about(trouble.words()).because(trouble)
}
