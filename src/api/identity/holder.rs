//! Holders of tokens and of accounts, as values that are looked up and shown elsewhere.

use crate::account::tokens::Grant;

/// The holder of a token.
#[derive(Debug)]
pub(super) struct TokenHolder {
    pub(super) grant: Grant,
    pub(super) admin: bool,
    /// Set on a server without accounts, where every name is an account.
    pub(super) open: bool,
}

impl TokenHolder {
    /// Tells whether the token belongs to this account.
    pub(super) fn is(&self, access_key: &str) -> bool {
        self.grant.access_key == access_key
    }
}

/// A holder of an account: a user, and a project of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) key: String,
    pub(super) admin: bool,
    pub(super) email: Option<String>,
}
