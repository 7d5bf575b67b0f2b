//! Holders of tokens and of accounts, as values that are looked up and shown elsewhere.

use crate::account::Role;
use crate::account::tokens::{Grant, Scope};
use crate::api::auth::caller_with;
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

/// The holder of a token.
#[derive(Debug)]
pub(super) struct TokenHolder {
    pub(super) grant: Grant,
    pub(super) role: Role,
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
        caller_with(self.role, self.grant.access_key.clone())
    }

    /// Tells whether the token is an administrator's.
    pub(super) fn is_admin(&self) -> bool {
        self.role == Role::Administrator
    }

    /// The projects that the holder can have a token for, as far as they are known: its own, and without accounts also the
    /// one of this token, which comes first.
    pub(super) fn projects(&self) -> Vec<&str> {
        let own = self.grant.access_key.as_str();
        match &self.grant.scope {
            Scope::Project(project) if project != own => vec![project, own],
            _ => vec![own],
        }
    }
}

/// A holder of an account: a user, and a project of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) key: String,
    pub(super) role: Role,
    pub(super) email: Option<String>,
}
