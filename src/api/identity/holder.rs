//! Holders of tokens and of accounts, as values that are looked up and shown elsewhere.

use crate::account::tokens::Grant;
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

/// The holder of a token.
#[derive(Debug)]
pub(super) struct TokenHolder {
    pub(super) grant: Grant,
    pub(super) admin: bool,
    /// Set on a server without accounts, where every name is an account.
    pub(super) open: bool,
}

impl TokenHolder {
    /// Tells whether the policy opens an action on this account's things to the holder.
    pub(super) fn can(&self, action: Action, access_key: &str) -> bool {
        self.caller().can(action, On::HeldBy(Some(access_key)))
    }

    /// The holder as a caller.
    pub(super) fn caller(&self) -> Caller {
        let key = self.grant.access_key.clone();
        if self.admin { Caller::Admin(Some(key)) } else { Caller::User(key) }
    }
}

/// A holder of an account: a user, and a project of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) key: String,
    pub(super) admin: bool,
    pub(super) email: Option<String>,
}
