//! Who gets a token, and who holds one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Identity;
use super::ask::{Ask, Proof, Wanted};
use super::holder::{Holder, Person};
use crate::account::Account;
use crate::account::tokens::{Grant, Method, Scope};
use crate::error::{Error, Kind, Result};

/// Whom a server without accounts takes everybody for who does not say who it is.
const ANYBODY: &str = "admin";

/// One answer for whatever was wrong: which of them it was is nobody's business.
fn refused() -> Error {
    Error::new(Kind::Unauthenticated, "User, password and project do not go together.")
}

impl Identity {
    /// Whoever holds a token, if it is one.
    pub(super) fn holder(&self, token: &str) -> Result<Option<Holder>> {
        if self.auth.is_open()? {
            return self.anybody().map(Some);
        }
        let found = self.auth.tokens.find(token, &self.auth.accounts, self.registry.now())?;
        Ok(found.map(|(account, grant)| Holder { grant, admin: account.admin, open: false }))
    }

    /// Somebody on a server without accounts.
    pub(super) fn anybody(&self) -> Result<Holder> {
        self.stranger(ANYBODY, [Method::Password].into(), Scope::Project(ANYBODY.to_owned()))
    }

    fn stranger(&self, name: &str, methods: BTreeSet<Method>, scope: Scope) -> Result<Holder> {
        let grant = self.auth.tokens.grant(name, methods, scope, None, self.registry.now())?;
        Ok(Holder { grant, admin: true, open: true })
    }

    /// Checks who asks for a token. With the account that it is one of; none on a server without accounts.
    ///
    /// # Errors
    /// `Unauthenticated`, `Busy` after too many wrong tries.
    pub(super) fn log_in(&self, ask: &Ask, peer: Option<IpAddr>) -> Result<(Option<Account>, Holder)> {
        let methods: BTreeSet<Method> = ask.proofs.iter().map(Proof::method).collect();
        if self.auth.is_open()? {
            return Ok((None, self.let_in(ask, methods)?));
        }
        if ask.foreign {
            return Err(refused());
        }
        let (mut account, mut from): (Option<Account>, Option<Grant>) = (None, None);
        for proof in &ask.proofs {
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
        let scope = scope_for(&account, &ask.scope)?;
        let now = self.registry.now();
        let grant = self.auth.tokens.grant(&account.access_key, methods, scope, from.as_ref(), now)?;
        let holder = Holder { grant, admin: account.admin, open: false };
        Ok((Some(account), holder))
    }

    /// Without accounts everybody is whoever it says, and an administrator.
    fn let_in(&self, ask: &Ask, methods: BTreeSet<Method>) -> Result<Holder> {
        let name = ask.proofs.iter().find_map(|proof| match proof {
            Proof::Keys { access_key, .. } => Some(access_key.as_str()),
            Proof::Token(_) => None,
        });
        let name = name.unwrap_or(ANYBODY);
        let scope = match &ask.scope {
            Wanted::Usual => Scope::Project(name.to_owned()),
            Wanted::Project(project) => Scope::Project(project.clone()),
            Wanted::Unscoped => Scope::Unscoped,
            Wanted::Domain => Scope::Domain,
            Wanted::System => Scope::System,
        };
        self.stranger(name, methods, scope)
    }

    fn with_keys(&self, access_key: &str, secret_key: &str, peer: Option<IpAddr>) -> Result<Account> {
        self.auth.with_keys(access_key, secret_key, peer, self.registry.now())?.ok_or_else(refused)
    }

    /// The account of this name. Without accounts there is one for every name.
    pub(super) fn person(&self, holder: &Holder, name: &str) -> Result<Option<Person>> {
        if holder.open {
            return Ok(Some(Person { key: name.to_owned(), admin: true, email: None }));
        }
        Ok(self.auth.accounts.get(name)?.map(person_of))
    }

    /// All accounts, for administrators.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(super) fn people(&self, holder: &Holder) -> Result<Vec<Person>> {
        if !holder.admin {
            return Err(Error::new(Kind::Forbidden, "Only an administrator lists the accounts; others ask by name."));
        }
        match self.person(holder, ANYBODY)? {
            Some(anybody) if holder.open => Ok(vec![anybody]),
            _ => Ok(self.auth.accounts.list()?.into_iter().map(person_of).collect()),
        }
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

fn person_of(account: Account) -> Person {
    Person { key: account.access_key, admin: account.admin, email: account.email }
}

/// What an account's token may be good for. Its own project is the usual, and for all but administrators the only one.
fn scope_for(account: &Account, wanted: &Wanted) -> Result<Scope> {
    let key = &account.access_key;
    match wanted {
        Wanted::Usual => Ok(Scope::Project(key.clone())),
        Wanted::Project(project) if project == key => Ok(Scope::Project(key.clone())),
        Wanted::Unscoped => Ok(Scope::Unscoped),
        Wanted::Domain if account.admin => Ok(Scope::Domain),
        Wanted::System if account.admin => Ok(Scope::System),
        Wanted::Project(_) | Wanted::Domain | Wanted::System => Err(refused()),
    }
}
