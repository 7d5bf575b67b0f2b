//! Certificates that stand for accounts, and the tokens by which another comes to do so, once each.
//!
//! A certificate stands for one account, whose rights its holder then has, by that account's id: one that is made anew
//! under the same access key is another. An entry without an account means nothing by itself, nor does one whose
//! certificate is not valid at the moment. Entries are kept in one file beside the accounts, and read again whenever it has
//! changed. Knows no protocol.

mod entry;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::entry::entry;
pub use self::entry::{Client, EntryChange, Holder, KeptCertificate, Restriction, check_name};
use super::file::Shared;
use super::{Account, Accounts, Print, Secret};
use crate::certificate::Certificate;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Certificates of one account, and of those without an account.
const ACCOUNT_CLIENTS_MAX: usize = 256;

/// Unused tokens of one account, and of those without an account.
const ACCOUNT_TOKENS_MAX: usize = 64;

/// A client that asks to be trusted.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// With which certificate.
    pub certificate: Certificate,
    /// Its requested name.
    pub name: Option<String>,
    /// Bounds of its rights that it asks for.
    pub restriction: Restriction,
    /// Proof that the client has the certificate's key. Certificates are not secret.
    pub has_key: bool,
}

impl Applicant {
    fn entry(&self, holder: Option<Holder>, now: Timestamp) -> Result<Client> {
        entry(&self.certificate, self.name.as_deref(), holder, self.restriction.clone(), now)
    }
}

/// Rights of a certificate.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The account that it stands for, without administrator rights if the certificate is restricted.
    pub account: Account,
    /// The bounds of its rights.
    pub restriction: Restriction,
}

/// A token that lets one certificate in.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TrustToken {
    secret: Print,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    #[serde(flatten)]
    restriction: Restriction,
    #[serde(with = "super::micros", rename = "expires_at_us")]
    expires_at: Timestamp,
}

/// Content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct TrustTable {
    #[serde(default)]
    clients: Vec<Client>,
    #[serde(default)]
    tokens: Vec<TrustToken>,
}

impl TrustTable {
    /// Puts an entry in the place of one with the same certificate. Another account's entry is replaced only by a
    /// client that has the key: any client may have the certificate.
    fn put(&mut self, client: Client, has_key: bool) -> Result<Client> {
        let id = |client: &Client| client.holder.as_ref().map(|holder| holder.id);
        let is_taken = |other: &Client| other.fingerprint == client.fingerprint && id(other) != id(&client);
        if !has_key && self.clients.iter().any(is_taken) {
            return Err(known());
        }
        self.clients.retain(|other| other.fingerprint != client.fingerprint);
        if self.clients.iter().filter(|other| id(other) == id(&client)).count() >= ACCOUNT_CLIENTS_MAX {
            let text = format!("An account has at most {ACCOUNT_CLIENTS_MAX} certificates.");
            return Err(Reason::TooMany.saying(text));
        }
        self.clients.push(client.clone());
        Ok(client)
    }
}

/// The certificates of a data directory.
#[derive(Debug)]
pub struct Trust {
    shared: Shared<TrustTable>,
}

impl Trust {
    /// The certificates kept in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Internal` when the directory or the file can't be used, or others may read the file; so it is with every method.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { shared: Shared::open(dir, "trust")? })
    }

    fn table(&self) -> Result<Arc<TrustTable>> {
        self.shared.read(|_, _| {})
    }

    /// All entries, oldest first.
    pub fn list(&self) -> Result<Vec<Client>> {
        Ok(self.table()?.clients.clone())
    }

    /// Rights of a certificate at a moment: none for a certificate that was never accepted, was accepted without an account,
    /// stood for a removed account, or is not valid then.
    pub fn standing(&self, fingerprint: &str, accounts: &Accounts, now: Timestamp) -> Result<Option<Standing>> {
        let table = self.table()?;
        let client = table.clients.iter().find(|client| client.fingerprint == fingerprint);
        let Some(client) = client.filter(|client| client.certificate.validity.holds_at(now)) else { return Ok(None) };
        let Some(holder) = &client.holder else { return Ok(None) };
        Ok(accounts.with_id(holder.id)?.map(|account| {
            let restriction = client.restriction.clone();
            Standing { account: if restriction.restricted { account.without_admin() } else { account }, restriction }
        }))
    }

    /// Lets a certificate in, for an account. Waits for the disk, like every change.
    ///
    /// # Errors
    /// `Invalid` name or dates, `AlreadyExists`, `TooMany`.
    pub fn add(&self, applicant: &Applicant, account: Option<&Account>, now: Timestamp) -> Result<Client> {
        let client = applicant.entry(account.map(Holder::of), now)?;
        self.shared.change(|table| {
            if table.clients.iter().any(|other| other.fingerprint == client.fingerprint) {
                return Err(known());
            }
            table.put(client, false)
        })
    }

    /// Trusts a client that proved its right. A client that has the key of the certificate may move it to another
    /// account.
    ///
    /// # Errors
    /// `Invalid` name or dates, `TooMany`; `AlreadyExists` when it stands for another account and the key was not shown.
    pub fn admit(&self, applicant: &Applicant, account: Option<&Account>, now: Timestamp) -> Result<Client> {
        let client = applicant.entry(account.map(Holder::of), now)?;
        self.shared.change(|table| table.put(client, applicant.has_key))
    }

    /// Takes the entry away whose fingerprint begins so, among those that `visible` lets one see.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when several begin so.
    pub fn remove(&self, prefix: &str, visible: impl Fn(&Client) -> bool) -> Result<Client> {
        self.shared.change(|table| {
            let found = only(&table.clients, prefix, visible)?.clone();
            table.clients.retain(|client| client.fingerprint != found.fingerprint);
            Ok(found)
        })
    }

    /// Changes the entry whose fingerprint begins so, among those that `visible` lets one see, to what `decide` makes of it.
    /// Returns it as it was.
    ///
    /// # Errors
    /// As [`Trust::remove`]; errors of `decide`; `Invalid` name or dates; `AlreadyExists` for the certificate of another entry.
    pub fn change(
        &self,
        prefix: &str,
        visible: impl Fn(&Client) -> bool,
        now: Timestamp,
        decide: impl FnOnce(&Client) -> Result<EntryChange>,
    ) -> Result<Client> {
        self.shared.change(|table| {
            let before = only(&table.clients, prefix, visible)?.clone();
            let EntryChange { name, restriction, certificate } = decide(&before)?;
            check_name(&name)?;
            let mut after = Client { name, restriction, ..before.clone() };
            if let Some(certificate) = certificate {
                certificate.validity.check(now)?;
                after.certificate = (&certificate).into();
                after.fingerprint = certificate.fingerprint;
            }
            let is_new = after.fingerprint != before.fingerprint;
            if is_new && table.clients.iter().any(|other| other.fingerprint == after.fingerprint) {
                return Err(known());
            }
            let mut entries = table.clients.iter_mut();
            if let Some(entry) = entries.find(|client| client.fingerprint == before.fingerprint) {
                *entry = after;
            }
            Ok(before)
        })
    }

    /// The entry whose fingerprint begins so, among those that `visible` lets one see.
    ///
    /// # Errors
    /// As [`Trust::remove`].
    pub fn find(&self, prefix: &str, visible: impl Fn(&Client) -> bool) -> Result<Client> {
        only(&self.table()?.clients, prefix, visible).cloned()
    }

    /// Makes a token that lets one certificate in for an account, and says until when.
    ///
    /// # Errors
    /// `Invalid` name, `TooMany`.
    pub fn issue(
        &self,
        name: Option<&str>,
        account: Option<&Account>,
        restriction: Restriction,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Secret, Timestamp)> {
        name.map_or(Ok(()), check_name)?;
        let secret = Secret::random()?;
        let lifetime_us = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
        let token = TrustToken {
            secret: Print::of(secret.reveal()),
            name: name.map(ToOwned::to_owned),
            holder: account.map(Holder::of),
            restriction,
            expires_at: Timestamp(now.0.saturating_add(lifetime_us)),
        };
        let expires_at = token.expires_at;
        self.shared.change(|table| {
            table.tokens.retain(|token| now < token.expires_at);
            if table.tokens.iter().filter(|other| other.holder == token.holder).count() >= ACCOUNT_TOKENS_MAX {
                let text = format!("An account has at most {ACCOUNT_TOKENS_MAX} unused tokens; wait or use one.");
                return Err(Reason::TooMany.saying(text));
            }
            table.tokens.push(token);
            Ok(())
        })?;
        Ok((secret, expires_at))
    }

    /// Trusts a client by a token, which is used up. `None` for an unknown token, or one for a removed account. A token without
    /// an account is valid only with `open`, where every client is trusted anyway.
    ///
    /// # Errors
    /// As [`Trust::admit`]; the token stays.
    pub fn redeem(
        &self,
        secret: &str,
        applicant: &Applicant,
        accounts: &Accounts,
        open: bool,
        now: Timestamp,
    ) -> Result<Option<Client>> {
        let secret = Print::of(secret);
        // Most of what comes is no token, and must not wait for the disk to be told so.
        if !self.table()?.tokens.iter().any(|token| token.secret == secret) {
            return Ok(None);
        }
        self.shared.change(|table| {
            let Some(at) = table.tokens.iter().position(|token| token.secret == secret) else { return Ok(None) };
            let token = table.tokens.remove(at);
            let good = match &token.holder {
                Some(holder) => accounts.with_id(holder.id)?.is_some(),
                None => open,
            };
            if !good || token.expires_at <= now {
                return Ok(None);
            }
            // Name and bounds are those that the token was made with: its maker will look for them.
            let name = token.name.as_deref().or(applicant.name.as_deref());
            table
                .put(entry(&applicant.certificate, name, token.holder, token.restriction, now)?, applicant.has_key)
                .map(Some)
        })
    }
}

fn known() -> Error {
    Reason::CertificateTrusted.into()
}

fn only<'a>(clients: &'a [Client], prefix: &str, visible: impl Fn(&Client) -> bool) -> Result<&'a Client> {
    let prefix = prefix.to_ascii_lowercase();
    let begins = |client: &&Client| !prefix.is_empty() && client.fingerprint.starts_with(&prefix);
    let mut found = clients.iter().filter(begins).filter(|client| visible(client));
    match (found.next(), found.next()) {
        (Some(client), None) => Ok(client),
        (None, _) => Err(Reason::CertificateNotFound.into()),
        (Some(_), Some(_)) => Err(Reason::AmbiguousCertificate.into()),
    }
}

#[cfg(test)]
mod tests;
