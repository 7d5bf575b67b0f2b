//! Logins: checks proofs, grants tokens and finds their holders. Knows no JSON.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Identity;
use super::holder::{Person, TokenHolder};
use super::token_request::{Proof, RequestedScope, TokenRequest};
use crate::account::tokens::{Grant, Method, NAME_BYTES_MAX, Scope, is_name, read_open};
use crate::account::{Account, Role};
use crate::error::{Error, Reason, Result};
use crate::registry::policy::{Action, On};

/// Name of a caller that gives none, on a server without accounts.
const DEFAULT_NAME: &str = "admin";

/// The refusal of a login. It does not tell which of the proofs was wrong.
fn refused() -> Error {
    Reason::BadCredentials.saying("Wrong user, password or project.")
}

impl Identity {
    /// The holder of a token; `None` if the token is not valid.
    pub(super) fn holder(&self, token: &str) -> Result<Option<TokenHolder>> {
        if self.auth.is_open()? {
            return self.open_holder(Some(token)).map(Some);
        }
        let found = self.auth.tokens.find(token, &self.auth.accounts, self.registry.now())?;
        Ok(found.map(|(account, grant)| TokenHolder { grant, role: account.role(), open: false }))
    }

    /// The holder of a token on a server without accounts: of the one that it describes, or of the default one.
    pub(super) fn open_holder(&self, token: Option<&str>) -> Result<TokenHolder> {
        match token.and_then(read_open) {
            Some(grant) => Ok(TokenHolder { grant, role: Role::Administrator, open: true }),
            None => {
                self.administrator(DEFAULT_NAME, [Method::Password].into(), Scope::Project(DEFAULT_NAME.to_owned()))
            }
        }
    }

    fn administrator(&self, name: &str, methods: BTreeSet<Method>, scope: Scope) -> Result<TokenHolder> {
        let grant = self.auth.tokens.grant(name, methods, scope, None, self.registry.now())?;
        Ok(TokenHolder { grant, role: Role::Administrator, open: true })
    }

    /// Checks a request for a token. Returns its account, which is `None` on a server without accounts, and the holder.
    ///
    /// # Errors
    /// `Unauthenticated`, `Busy` after too many wrong tries.
    pub(super) fn log_in(
        &self,
        request: &TokenRequest,
        peer: Option<IpAddr>,
    ) -> Result<(Option<Account>, TokenHolder)> {
        let methods: BTreeSet<Method> = request.proofs.iter().map(Proof::method).collect();
        if self.auth.is_open()? {
            return Ok((None, self.let_in(request, methods)?));
        }
        if request.foreign {
            return Err(refused());
        }
        let (mut account, mut from): (Option<Account>, Option<Grant>) = (None, None);
        for proof in &request.proofs {
            let holder = match proof {
                Proof::Keys { access_key, secret_key, .. } => self.with_keys(access_key, secret_key.reveal(), peer)?,
                Proof::Token(token) => {
                    let found = self.auth.tokens.find(token.reveal(), &self.auth.accounts, self.registry.now())?;
                    let (holder, grant) = found.ok_or_else(refused)?;
                    from = Some(grant);
                    holder
                }
            };
            if account.as_ref().is_some_and(|other| other.id != holder.id) {
                return Err(refused());
            }
            account = Some(holder);
        }
        let account = account.ok_or_else(refused)?;
        let scope = scope_for(&account, &request.scope)?;
        let now = self.registry.now();
        let grant = self.auth.tokens.grant(&account.access_key, methods, scope, from.as_ref(), now)?;
        let holder = TokenHolder { grant, role: account.role(), open: false };
        Ok((Some(account), holder))
    }

    /// The holder on a server without accounts: an administrator of the name that the request gives, or that the token in
    /// it has.
    ///
    /// # Errors
    /// `Invalid` name of a user or a project.
    fn let_in(&self, request: &TokenRequest, methods: BTreeSet<Method>) -> Result<TokenHolder> {
        let named = request.proofs.iter().find_map(|proof| match proof {
            Proof::Keys { access_key, .. } => Some(access_key.clone()),
            Proof::Token(token) => read_open(token.reveal()).map(|grant| grant.access_key),
        });
        let name = named.as_deref().unwrap_or(DEFAULT_NAME);
        check_open_name("user", name)?;
        if let RequestedScope::Project(project) = &request.scope {
            check_open_name("project", project)?;
        }
        let scope = match &request.scope {
            RequestedScope::Default => Scope::Project(name.to_owned()),
            RequestedScope::Project(project) => Scope::Project(project.clone()),
            RequestedScope::Unscoped => Scope::Unscoped,
            RequestedScope::Domain => Scope::Domain,
            RequestedScope::System => Scope::System,
        };
        self.administrator(name, methods, scope)
    }

    fn with_keys(&self, access_key: &str, secret_key: &str, peer: Option<IpAddr>) -> Result<Account> {
        self.auth.with_keys(access_key, secret_key, peer, self.registry.now())?.ok_or_else(refused)
    }

    /// The account of a name. On a server without accounts every name has one.
    pub(super) fn person(&self, holder: &TokenHolder, name: &str) -> Result<Option<Person>> {
        if holder.open {
            return Ok(Some(Person { key: name.to_owned(), role: Role::Administrator, email: None }));
        }
        Ok(self.auth.accounts.get(name)?.map(person_of))
    }

    /// All accounts, for administrators. On a server without accounts: the token's own project and user.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(super) fn people(&self, holder: &TokenHolder) -> Result<Vec<Person>> {
        holder.caller().may(Action::ManageAccounts, On::Server).map_err(|error| match error.reason() {
            Reason::AdminOnly => {
                Reason::AdminOnly.saying("Only an administrator may list accounts: ask for one by name.")
            }
            _ => error,
        })?;
        if holder.open {
            let known = holder.projects().into_iter().map(|name| self.person(holder, name));
            return known.filter_map(Result::transpose).collect();
        }
        Ok(self.auth.accounts.list()?.into_iter().map(person_of).collect())
    }
}

impl Proof {
    fn method(&self) -> Method {
        match self {
            Proof::Keys { method, .. } => *method,
            Proof::Token(_) => Method::Token,
        }
    }
}

/// Checks a name that is no account's.
fn check_open_name(what: &str, name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Error::invalid(format!(
            "The name of a {what} has 1 to {NAME_BYTES_MAX} bytes, and no control characters."
        )));
    }
    Ok(())
}

fn person_of(account: Account) -> Person {
    Person { role: account.role(), key: account.access_key, email: account.email }
}

/// The scope of an account's token: its own project by default. Domain and system are for administrators only.
fn scope_for(account: &Account, wanted: &RequestedScope) -> Result<Scope> {
    let key = &account.access_key;
    match wanted {
        RequestedScope::Default => Ok(Scope::Project(key.clone())),
        RequestedScope::Project(project) if project == key => Ok(Scope::Project(key.clone())),
        RequestedScope::Unscoped => Ok(Scope::Unscoped),
        RequestedScope::Domain if account.role() == Role::Administrator => Ok(Scope::Domain),
        RequestedScope::System if account.role() == Role::Administrator => Ok(Scope::System),
        RequestedScope::Project(_) | RequestedScope::Domain | RequestedScope::System => Err(refused()),
    }
}
