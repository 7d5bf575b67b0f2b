//! Operations that are secrets: each is good for one thing, for a while.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{About, Class, Operation, Operations, Status};
use crate::account::{Print, Secret};
use crate::error::Result;
use crate::registry::Caller;

/// A secret for an image opens it for so long from its first use: clients read the image's record, and then its bytes.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Who leaves something to be done later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// As whom it came.
    pub caller: Caller,
    /// The id of its account: one that is made anew under the same access key is another.
    pub account: Option<Uuid>,
}

/// What a secret is good for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// Reading one image that is not public: its fingerprint.
    Image(String),
    /// Sending one image; what its owner asked for, to be done with it then.
    Upload(Value),
    /// Letting one certificate in, under this name.
    Certificate(String),
}

/// A secret that waits for its use.
#[derive(Debug)]
pub(super) struct Token {
    secret: Print,
    /// The owner's account.
    account: Option<Uuid>,
    purpose: Purpose,
    /// When it is worth nothing any more.
    pub(super) until: Instant,
    used: bool,
}

impl Token {
    /// What becomes of the operation when its time is over.
    pub(super) fn outcome(&self) -> Status {
        if self.used { Status::Success } else { Status::Cancelled }
    }
}

/// What somebody who brought a secret may do, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// Who left it, and in whose name it is done.
    pub owner: Owner,
    /// What it is good for.
    pub purpose: Purpose,
}

impl Operations {
    /// Makes a secret that is good for a purpose and for so long: an operation that has it in its metadata as `secret`, and
    /// whose end is the secret's.
    ///
    /// # Errors
    /// `Busy` when there are too many, `Internal` when the system has no random numbers.
    pub fn token(&self, owner: &Owner, about: About, purpose: Purpose, lifetime: Duration) -> Result<Operation> {
        let secret = Secret::random()?;
        let until = Instant::now() + lifetime;
        let print = Print::of(secret.reveal());
        let token = Token { secret: print, account: owner.account, purpose, until, used: false };
        let about = about.metadata("secret", secret.reveal()).cancellable();
        let entry = self.insert(&owner.caller, Class::Token, about, Some(token))?;
        self.change(&entry, |state| state.shown.status = Status::Running);
        Ok(entry.show())
    }

    /// The image that a secret opens, if its fingerprint begins with `prefix`: in whose name, and the whole fingerprint. Its
    /// first use leaves the secret a few seconds.
    pub fn opens(&self, secret: &str, prefix: &str) -> Option<(Owner, String)> {
        let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Image(image) if image.starts_with(prefix));
        let Ticket { owner, purpose } = self.use_up(secret, is_it, OPEN_FOR)?;
        let Purpose::Image(fingerprint) = purpose else { return None };
        Some((owner, fingerprint))
    }

    /// What a secret lets one do that is good for something of this kind, once: it is gone then.
    pub fn take(&self, secret: &str, kind: impl Fn(&Purpose) -> bool) -> Option<Ticket> {
        let taken = self.use_up(secret, kind, Duration::ZERO);
        self.settle(Instant::now());
        taken
    }

    /// Uses a secret, which is worth something for `rest` from now on at the most.
    fn use_up(&self, secret: &str, kind: impl Fn(&Purpose) -> bool, rest: Duration) -> Option<Ticket> {
        let now = Instant::now();
        let secret = Print::of(secret);
        let all: Vec<_> = self.entries().values().cloned().collect();
        for entry in all {
            let mut state = entry.state();
            let Some(token) = state.token.as_mut() else { continue };
            // Under its lock: of two who bring the same secret at once, one is late.
            if token.secret == secret && kind(&token.purpose) && now < token.until {
                token.used = true;
                token.until = token.until.min(now + rest);
                let owner = Owner { caller: entry.owner.clone(), account: token.account };
                return Some(Ticket { owner, purpose: token.purpose.clone() });
            }
        }
        None
    }
}
