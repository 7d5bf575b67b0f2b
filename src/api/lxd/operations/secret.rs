//! Secrets that permit one action each, for a limited time. Knows no routes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::account::Print;
use crate::account::trust::Restriction;
use crate::error::Result;
use crate::jobs::Handle;
use crate::registry::Caller;

/// The account on whose behalf a later request acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The caller.
    pub caller: Caller,
    /// Id of its account: a new account with an old access key is a different one.
    pub account: Option<Uuid>,
}

/// The action that a secret permits.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// Reading one private image: its fingerprint.
    Image(String),
    /// Uploading one image: the options that its owner asked for.
    Upload(Value),
    /// Trusting one certificate, as its maker said.
    Certificate {
        /// The name of the entry; empty for the one that the certificate has.
        name: String,
        /// The bounds of its rights.
        restriction: Restriction,
    },
}

/// A secret, until it is used or expires.
#[derive(Debug)]
pub(super) struct Token {
    secret: Print,
    owner: Owner,
    purpose: Purpose,
    life: Mutex<Life>,
    /// Notified when its life got shorter.
    bell: Notify,
}

#[derive(Debug)]
struct Life {
    /// Its expiry.
    until: Instant,
    used: bool,
}

impl Token {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A secret that expires after `lifetime`.
    pub(super) fn new(secret: Print, owner: Owner, purpose: Purpose, lifetime: Duration) -> Self {
        let life = Life { until: Instant::now() + lifetime, used: false };
        Self { secret, owner, purpose, life: Mutex::new(life), bell: Notify::new() }
    }

    /// Uses it, if the secret and the kind of action match. Afterwards it is valid for `rest` at most.
    pub(super) fn use_up(&self, secret: &Print, kind: impl Fn(&Purpose) -> bool, rest: Duration) -> Option<Ticket> {
        // Under its lock, where the time is read too: of two concurrent requests with one secret, one is refused.
        let mut life = self.life();
        let now = Instant::now();
        if self.secret != *secret || !kind(&self.purpose) || now >= life.until {
            return None;
        }
        life.used = true;
        life.until = life.until.min(now + rest);
        self.bell.notify_one();
        Some(Ticket { owner: self.owner.clone(), purpose: self.purpose.clone() })
    }

    /// Waits for its expiry; succeeds if it was used.
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

/// A permission to act once, got for a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// The account on whose behalf the action is done.
    pub owner: Owner,
    /// The action.
    pub purpose: Purpose,
}
