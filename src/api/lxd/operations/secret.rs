//! Secrets: each is good for one thing, for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::account::Print;
use crate::error::Result;
use crate::jobs::Handle;
use crate::registry::Caller;

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
    owner: Owner,
    purpose: Purpose,
    life: Mutex<Life>,
    /// Rung when its life got shorter.
    bell: Notify,
}

#[derive(Debug)]
struct Life {
    /// When it is worth nothing any more.
    until: Instant,
    used: bool,
}

impl Token {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A secret that waits for as long as `lifetime`.
    pub(super) fn new(secret: Print, owner: Owner, purpose: Purpose, lifetime: Duration) -> Self {
        let life = Life { until: Instant::now() + lifetime, used: false };
        Self { secret, owner, purpose, life: Mutex::new(life), bell: Notify::new() }
    }

    /// Uses it, if it is this secret and good for this: it is worth something for `rest` from now on at the most.
    pub(super) fn use_up(&self, secret: &Print, kind: impl Fn(&Purpose) -> bool, rest: Duration) -> Option<Ticket> {
        let now = Instant::now();
        // Under its lock: of two who bring the same secret at once, one is late.
        let mut life = self.life();
        if self.secret != *secret || !kind(&self.purpose) || now >= life.until {
            return None;
        }
        life.used = true;
        life.until = life.until.min(now + rest);
        self.bell.notify_one();
        Some(Ticket { owner: self.owner.clone(), purpose: self.purpose.clone() })
    }

    /// Ends with its life: well, if it was used.
    pub(super) async fn live(self: Arc<Self>, handle: Handle) -> Result<()> {
        loop {
            let until = self.life().until;
            tokio::select! {
                () = sleep_until(until) => break,
                () = self.bell.notified() => {}
            }
        }
        if self.life().used { Ok(()) } else { Err(handle.give_up()) }
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
