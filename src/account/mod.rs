//! Accounts of the service with their keys, in one file that only its owner may read.
//!
//! The secrets are kept as they are, because checking an HMAC signature needs them. The file is read again whenever
//! it has changed, so that `visor account add` works beside a running server. Knows nothing of images or protocols.

pub mod attempts;
mod file;
pub mod links;
mod secret;
pub mod signature;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod trust;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::file::Shared;
pub use self::file::wait_for_servers;
use self::secret::new_secret;
pub use self::secret::{Print, Secret};
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Longest access key.
pub const ACCESS_KEY_BYTES_MAX: usize = 64;

/// Moments as they are kept.
mod micros {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::image::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}

/// An account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// Its name, and what requests are signed as: letters, digits and `_`.
    pub access_key: String,
    /// Secret that signs requests.
    pub secret_key: Secret,
    /// Address of its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Administrator rights: everything, to every image and account.
    #[serde(default)]
    pub admin: bool,
    /// An account that may read and change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Time of its creation.
    created_at_us: i64,
    /// Time of its last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at_us: Option<i64>,
}

/// Rights of an account, from the most to the fewest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything, to every image and account.
    Administrator,
    /// Everything to its own images, and to images of others what those allow.
    Member,
    /// To see what a member sees, and to change nothing.
    Reader,
}

impl Role {
    /// The rights that an account is to have.
    ///
    /// # Errors
    /// `Invalid` for both: an administrator may change everything.
    pub fn of(admin: bool, read_only: bool) -> Result<Self> {
        match (admin, read_only) {
            (true, true) => {
                Err(Error::invalid("An administrator can't be read-only: make another account for reading."))
            }
            (true, false) => Ok(Role::Administrator),
            (false, true) => Ok(Role::Reader),
            (false, false) => Ok(Role::Member),
        }
    }
}

impl Account {
    /// Its rights.
    pub fn role(&self) -> Role {
        // A file that says both is read with the fewer rights.
        Role::of(self.admin, self.read_only).unwrap_or(Role::Reader)
    }

    /// The account as one without administrator rights.
    pub fn without_admin(self) -> Self {
        Self { admin: false, ..self }
    }

    /// Time of its creation.
    pub fn created_at(&self) -> Timestamp {
        Timestamp(self.created_at_us)
    }

    /// Time of its last change.
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.updated_at_us.map(Timestamp)
    }
}

/// A change of an account; a field that is absent stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// Its name.
    pub access_key: Option<String>,
    /// Address of its holder.
    pub email: Option<String>,
    /// The account may change nothing.
    pub read_only: Option<bool>,
}

/// All accounts, by access key; a list in the file.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<Account>", into = "Vec<Account>")]
struct AccountTable(BTreeMap<String, Account>);

impl From<Vec<Account>> for AccountTable {
    fn from(accounts: Vec<Account>) -> Self {
        Self(accounts.into_iter().map(|account| (account.access_key.clone(), account)).collect())
    }
}

impl From<AccountTable> for Vec<Account> {
    fn from(table: AccountTable) -> Self {
        table.0.into_values().collect()
    }
}

/// The accounts of a data directory.
#[derive(Debug)]
pub struct Accounts {
    shared: Shared<AccountTable>,
}

impl Accounts {
    /// The accounts kept in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Internal` when the directory or the file can't be used, or others may read the file.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { shared: Shared::open(dir, "accounts")? })
    }

    fn table(&self) -> Result<Arc<AccountTable>> {
        self.shared.read(|before, now| {
            if now.0.is_empty() && !before.0.is_empty() {
                log::warn!("there are no accounts any more: every request may do everything");
            }
        })
    }

    /// Tells whether there are no accounts: then every client that reaches the server is an administrator.
    ///
    /// # Errors
    /// `Internal` when the file can't be read, like every method here.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.table()?.0.is_empty())
    }

    /// All accounts, by access key.
    pub fn list(&self) -> Result<Vec<Account>> {
        Ok(self.table()?.0.values().cloned().collect())
    }

    /// The account with an access key.
    pub fn get(&self, access_key: &str) -> Result<Option<Account>> {
        Ok(self.table()?.0.get(access_key).cloned())
    }

    /// The account with an id, whatever its access key is by now.
    pub fn with_id(&self, id: Uuid) -> Result<Option<Account>> {
        Ok(self.table()?.0.values().find(|account| account.id == id).cloned())
    }

    /// The account with these keys. Takes as long when there is none of that name.
    pub fn with_keys(&self, access_key: &str, secret_key: &str) -> Result<Option<Account>> {
        let account = self.get(access_key)?;
        let nobody = Secret::new(String::new());
        let right = account.as_ref().map_or(&nobody, |account| &account.secret_key).is(secret_key);
        Ok(account.filter(|_| right))
    }

    /// Makes an account with a new secret.
    ///
    /// # Errors
    /// `Invalid` access key or address, `AlreadyExists`.
    pub fn add(&self, access_key: &str, email: Option<String>, role: Role, now: Timestamp) -> Result<Account> {
        check_access_key(access_key)?;
        email.as_deref().map_or(Ok(()), check_email)?;
        let account = Account {
            id: Uuid::new_v4(),
            access_key: access_key.to_owned(),
            secret_key: new_secret()?,
            email,
            admin: role == Role::Administrator,
            read_only: role == Role::Reader,
            created_at_us: now.0,
            updated_at_us: None,
        };
        self.change(|table| {
            if table.contains_key(access_key) {
                return Err(taken(access_key));
            }
            table.insert(access_key.to_owned(), account.clone());
            Ok(account.clone())
        })
    }

    /// Changes an account.
    ///
    /// # Errors
    /// `Invalid` values, also for an administrator that is to be read-only; `NotFound`, `AlreadyExists` when the new access
    /// key is taken.
    pub fn update(&self, access_key: &str, change: AccountChange, now: Timestamp) -> Result<Account> {
        let AccountChange { access_key: new_key, email, read_only } = change;
        new_key.as_deref().map_or(Ok(()), check_access_key)?;
        email.as_deref().map_or(Ok(()), check_email)?;
        self.change(|table| {
            if new_key.as_deref().is_some_and(|key| key != access_key && table.contains_key(key)) {
                return Err(taken(new_key.as_deref().unwrap_or_default()));
            }
            let mut account = table.remove(access_key).ok_or_else(|| unknown(access_key))?;
            account.access_key = new_key.clone().unwrap_or(account.access_key);
            account.email = email.clone().or(account.email);
            account.read_only = read_only.unwrap_or(account.read_only);
            Role::of(account.admin, account.read_only)?;
            account.updated_at_us = Some(now.0);
            table.insert(account.access_key.clone(), account.clone());
            Ok(account)
        })
    }

    /// Removes an account. Its images stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, access_key: &str) -> Result<Account> {
        self.change(|table| table.remove(access_key).ok_or_else(|| unknown(access_key)))
    }

    /// Removes an account, but not the last administrator: without accounts the server is open to every client, which the
    /// operator at the machine decides and not a request.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for the last administrator.
    pub fn remove_unless_last(&self, access_key: &str) -> Result<Account> {
        self.change(|table| {
            let account = table.remove(access_key).ok_or_else(|| unknown(access_key))?;
            if account.admin && !table.values().any(|other| other.admin) {
                return Err(Reason::LastAdministrator.into());
            }
            Ok(account)
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Account>) -> Result<T>) -> Result<T> {
        self.shared.change(|table| change(&mut table.0))
    }
}

fn check_access_key(key: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.is_empty() || key.len() > ACCESS_KEY_BYTES_MAX || !key.chars().all(good) {
        return Err(Error::invalid(format!(
            "An access key has 1 to {ACCESS_KEY_BYTES_MAX} letters, digits and underscores."
        )));
    }
    Ok(())
}

/// One `@` with something on both sides: anything stricter refuses addresses that work.
fn check_email(email: &str) -> Result<()> {
    let parts =
        email.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if parts.is_none() || email.len() > 255 || email.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Error::invalid("The email address seems to be invalid."));
    }
    Ok(())
}

fn taken(key: &str) -> Error {
    Reason::AccountTaken.about(key)
}

fn unknown(key: &str) -> Error {
    Reason::AccountNotFound.about(key)
}
