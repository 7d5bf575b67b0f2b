//! Operations that carry a secret: making them, and using the secret.

use std::sync::Arc;
use std::time::Duration;

use super::record::OperationNotes;
use super::secret::Token;
use super::{About, Class, Operation, Operations, Owner, Purpose, Ticket, busy, shown};
use crate::account::{Print, Secret};
use crate::error::Result;
use crate::jobs::{self, Stop};

/// Validity of an image's secret after its first use: clients read the image's record, and then its bytes.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

impl Operations {
    /// Makes a secret for a purpose: an operation that has it in its metadata as `secret`, and ends when it expires.
    ///
    /// # Errors
    /// `Busy` when there are too many secrets, `Internal` when the system has no random numbers.
    pub fn token(&self, owner: &Owner, about: About, purpose: Purpose, lifetime: Duration) -> Result<Operation> {
        let secret = Secret::random()?;
        let token = Arc::new(Token::new(Print::of(secret.reveal()), owner.clone(), purpose, lifetime));
        let about = about.metadata("secret", secret.reveal());
        let notes = OperationNotes::new(Class::Token, &about, Some(Arc::clone(&token)));
        let spec = about.spec(&owner.caller).stop(Stop::AtOnce).notes(Arc::new(notes));
        let job = self.0.spawn(spec, |handle| token.live(handle));
        Ok(shown(&job.map_err(|error| busy("too many secrets wait for their use; take some back", error))?))
    }

    /// Image that a secret opens, if its fingerprint begins with `prefix`: the owner of the secret, and the whole
    /// fingerprint. After its first use the secret is valid for `OPEN_FOR`.
    pub fn opens(&self, secret: &str, prefix: &str) -> Option<(Owner, String)> {
        let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Image(image) if image.starts_with(prefix));
        let Ticket { owner, purpose } = self.use_up(secret, is_it, OPEN_FOR)?;
        let Purpose::Image(fingerprint) = purpose else { return None };
        Some((owner, fingerprint))
    }

    /// Permission of a secret for this kind of action. The secret is invalid afterwards.
    pub fn take(&self, secret: &str, kind: impl Fn(&Purpose) -> bool) -> Option<Ticket> {
        self.use_up(secret, kind, Duration::ZERO)
    }

    /// Uses a secret, which is valid for `rest` at most afterwards.
    pub(super) fn use_up(&self, secret: &str, kind: impl Fn(&Purpose) -> bool, rest: Duration) -> Option<Ticket> {
        let secret = Print::of(secret);
        let waits = |job: &jobs::Job| job.kind == jobs::JobKind::Secret && !job.status.is_final();
        for job in self.0.list(waits) {
            let Some(token) = job.notes::<OperationNotes>().and_then(|notes| notes.token.as_ref()) else { continue };
            if let Some(ticket) = token.use_up(&secret, &kind, rest) {
                return Some(ticket);
            }
        }
        None
    }
}
