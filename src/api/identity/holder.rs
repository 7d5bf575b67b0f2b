//! Holders of tokens and of accounts, as values.

use crate::account::tokens::Grant;

/// The holder of a token.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) grant: Grant,
    pub(super) admin: bool,
    /// True without accounts, where every name is an account's.
    pub(super) open: bool,
}

impl Holder {
    /// Tells whether the token is of this account.
    pub(super) fn is(&self, access_key: &str) -> bool {
        self.grant.access_key == access_key
    }
}

/// A holder of an account: a user, and a project of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) key: String,
    pub(super) admin: bool,
    pub(super) email: Option<String>,
}
