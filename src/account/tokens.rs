//! Tokens: what the holder of an account gets for its keys, and shows instead of them until it expires.
//!
//! Only a digest of each is kept, in memory and in a log (`keys/tokens.jsonl`) that brings them back after a restart. A
//! token belongs to one account and its secret: when the account is removed or its secret changes, the token is invalid.
//! Knows no protocol.

mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::log::{Line, Log};
use super::secret::random_hex;
use super::{Account, Accounts, Print, Secret};
use crate::error::{Error, Result};
use crate::image::Timestamp;

/// Random bytes of the name by which a token can be spoken of.
const AUDIT_ID_BYTES: usize = 16;

/// Tokens of one account at the same time; the oldest makes room. Enough for a script that gets one a second.
const ACCOUNT_TOKENS_MAX: usize = 4096;

/// Tokens of all accounts at the same time: some 10 MiB.
const TOKENS_MAX: usize = 16_384;

/// Longest name of a user or a project in a token for a server without accounts, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Step back of the clock that is tolerated. After a larger one, tokens issued since then are refused.
const CLOCK_SLACK_US: i64 = 5 * 60 * 1_000_000;

/// Ways to prove an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// With a key that a program has.
    ApplicationCredential,
    /// With a key.
    Password,
    /// With a token that it had.
    Token,
}

/// Scopes of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To look around, and to get another.
    Unscoped,
    /// The images of this project.
    Project(String),
    /// The one domain that there is.
    Domain,
    /// The whole system.
    System,
}

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Access key of its account.
    pub access_key: String,
    /// Ways in which its holder proved the identity.
    pub methods: BTreeSet<Method>,
    /// Its scope.
    pub scope: Scope,
    /// Time at which it was issued.
    #[serde(with = "super::micros", rename = "issued_at_us")]
    pub issued_at: Timestamp,
    /// Time at which it ends.
    #[serde(with = "super::micros", rename = "expires_at_us")]
    pub expires_at: Timestamp,
    /// Its own name for logs, and that of the first token that it was got with.
    pub audit_ids: Vec<String>,
}

/// A stored token.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    token: Print,
    account: Uuid,
    /// The account's secret at the time of issue.
    secret: Print,
    #[serde(flatten)]
    grant: Grant,
}

impl Kept {
    fn holds_at(&self, now: Timestamp) -> bool {
        // A clock that was set back by years must not make a token last for years.
        self.grant.issued_at.0.saturating_sub(CLOCK_SLACK_US) <= now.0 && now < self.grant.expires_at
    }
}

/// The tokens there are.
#[derive(Debug, Default)]
struct Live {
    tokens: HashMap<Print, (u64, Kept)>,
    /// Tokens of each account, in the order in which they were issued.
    order: HashMap<Uuid, BTreeMap<u64, Print>>,
    given: u64,
}

impl Live {
    fn put(&mut self, kept: Kept) {
        self.given += 1;
        let (account, number) = (kept.account, self.given);
        self.order.entry(account).or_default().insert(number, kept.token.clone());
        self.tokens.insert(kept.token.clone(), (number, kept));
        let oldest_of = |tokens: &BTreeMap<u64, Print>| tokens.first_key_value().map(|(n, print)| (*n, print.clone()));
        let own = self.order.get(&account).filter(|tokens| tokens.len() > ACCOUNT_TOKENS_MAX).and_then(oldest_of);
        if let Some((_, oldest)) = own {
            self.take(&oldest);
        }
        // The account with the most tokens loses one, so that no account ends the sessions of others.
        if self.tokens.len() > TOKENS_MAX
            && let Some((_, oldest)) = self.order.values().max_by_key(|tokens| tokens.len()).and_then(oldest_of)
        {
            self.take(&oldest);
        }
    }

    fn take(&mut self, token: &Print) -> Option<Kept> {
        let (number, kept) = self.tokens.remove(token)?;
        if let Some(tokens) = self.order.get_mut(&kept.account) {
            tokens.remove(&number);
            if tokens.is_empty() {
                self.order.remove(&kept.account);
            }
        }
        Some(kept)
    }

    fn drop_expired(&mut self, now: Timestamp) {
        let expired = self.tokens.values().filter(|(_, kept)| !kept.holds_at(now));
        let expired: Vec<Print> = expired.map(|(_, kept)| kept.token.clone()).collect();
        for token in expired {
            self.take(&token);
        }
    }

    /// All tokens, oldest first.
    fn all(&self) -> Vec<Kept> {
        let mut all: Vec<_> = self.tokens.values().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, kept)| kept.clone()).collect()
    }
}

/// The tokens of a data directory.
pub struct Tokens {
    lifetime_us: i64,
    /// Read for every request, so nothing waits for a disk while it is held.
    live: RwLock<Live>,
    /// Held over every change, so that the log has them in their order.
    log: Mutex<Log>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lifetime_us", &self.lifetime_us).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Opens the tokens in `dir`, which must exist. New ones last for `lifetime`.
    ///
    /// # Errors
    /// `Internal` when the log exists and can't be read.
    pub fn open(dir: &Path, lifetime: Duration, now: Timestamp) -> Result<Self> {
        let mut live = Live::default();
        let mut log = Log::at(dir.join("tokens.jsonl"));
        let unreadable = |error| Error::internal(format!("the tokens can't be read: {error}"));
        for line in log.read().map_err(unreadable)? {
            match line {
                Line::Given(kept) => live.put(kept),
                Line::Revoked(token) => _ = live.take(&token),
            }
        }
        live.drop_expired(now);
        // Anew at each start: what follows stands behind a whole line, whatever a crash left at the end.
        if let Err(error) = log.rewrite(live.all()) {
            ::log::warn!("tokens will not survive a restart: {error}");
        }
        let lifetime_us = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
        Ok(Self { lifetime_us, live: RwLock::new(live), log: Mutex::new(log) })
    }

    /// The content of a new token. One that is issued for another token (`from`) ends with it, or it could be renewed for ever.
    ///
    /// # Errors
    /// `Internal` when the system has no random numbers.
    pub fn grant(
        &self,
        access_key: &str,
        mut methods: BTreeSet<Method>,
        scope: Scope,
        from: Option<&Grant>,
        now: Timestamp,
    ) -> Result<Grant> {
        let mut audit_ids = vec![random_hex(AUDIT_ID_BYTES)?];
        let mut expires_at = Timestamp(now.0.saturating_add(self.lifetime_us));
        if let Some(from) = from {
            audit_ids.extend(from.audit_ids.last().cloned());
            methods.extend(&from.methods);
            expires_at = expires_at.min(from.expires_at);
        }
        Ok(Grant { access_key: access_key.to_owned(), methods, scope, issued_at: now, expires_at, audit_ids })
    }

    /// A token for an account. It survives a kill of the process; a power cut may lose the last ones, and their
    /// holders get new ones. Also on a full disk, until the next restart. May wait for the disk.
    ///
    /// # Errors
    /// `Internal` when the system has no random numbers.
    pub fn issue(&self, account: &Account, grant: &Grant) -> Result<Secret> {
        let token = Secret::random()?;
        let kept = Kept {
            token: Print::of(token.reveal()),
            account: account.id,
            secret: Print::of(account.secret_key.reveal()),
            grant: grant.clone(),
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.write().unwrap_or_else(PoisonError::into_inner).put(kept.clone());
        if let Err(error) = self.note(&mut log, &Line::Given(kept), grant.issued_at) {
            ::log::warn!("a token will not survive a restart: {error}");
        }
        Ok(token)
    }

    /// The account whose token this is, and what it stands for.
    ///
    /// # Errors
    /// `Internal` when the accounts can't be read.
    pub fn find(&self, token: &str, accounts: &Accounts, now: Timestamp) -> Result<Option<(Account, Grant)>> {
        let kept = {
            let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
            live.tokens.get(&Print::of(token)).map(|(_, kept)| kept.clone())
        };
        let Some(kept) = kept.filter(|kept| kept.holds_at(now)) else { return Ok(None) };
        let account = accounts.get(&kept.grant.access_key)?;
        let same =
            |account: &Account| account.id == kept.account && Print::of(account.secret_key.reveal()) == kept.secret;
        Ok(account.filter(same).map(|account| (account, kept.grant)))
    }

    /// Ends a token, for good: this is on the disk before it returns. False if there is none. Waits for the disk.
    ///
    /// # Errors
    /// `Internal` when it could not be written: then the token is dead until a restart.
    pub fn revoke(&self, token: &str, now: Timestamp) -> Result<bool> {
        let token = Print::of(token);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live.write().unwrap_or_else(PoisonError::into_inner).take(&token).is_none() {
            return Ok(false);
        }
        let unwritten = |error| Error::internal(format!("a token's end can't be written: {error}"));
        self.note(&mut log, &Line::Revoked(token), now).map_err(unwritten)?;
        Ok(true)
    }

    /// Writes what was just done.
    fn note(&self, log: &mut Log, line: &Line, now: Timestamp) -> std::io::Result<()> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner).tokens.len();
        if log.has_room_for(live) && log.append(line)? {
            return Ok(());
        }
        let all = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.drop_expired(now);
            live.all()
        };
        log.rewrite(all)
    }
}

/// First characters of a token that describes itself.
const OPEN: &str = "open-";

/// A token for a server without accounts, which accepts every token. It proves nothing, and describes itself: user and
/// project stay the same wherever it is shown.
///
/// # Errors
/// `Internal` when the content can't be written.
pub fn open_token(grant: &Grant) -> Result<Secret> {
    let content = serde_json::to_vec(grant).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Secret::new(format!("{OPEN}{}", URL_SAFE_NO_PAD.encode(content))))
}

/// The content of a token for a server without accounts; none for any other text. A client can write such a token itself, so its
/// names are checked as those of a login.
pub fn read_open(token: &str) -> Option<Grant> {
    let content = URL_SAFE_NO_PAD.decode(token.strip_prefix(OPEN)?).ok()?;
    let grant: Grant = serde_json::from_slice(&content).ok()?;
    let project = if let Scope::Project(project) = &grant.scope { project } else { &grant.access_key };
    (is_name(&grant.access_key) && is_name(project)).then_some(grant)
}

/// Tells if a text can be the name of a user or a project without an account: it comes back in tokens, and becomes the owner of
/// images.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests;
