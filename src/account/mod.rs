//! Accounts of the service with their keys, in one file that only its owner may read.
//!
//! The secrets are kept as they are, because checking an HMAC signature needs them. The file is read again whenever
//! it has changed, so that `visor account add` works beside a running server. Knows nothing of images or protocols.

pub mod attempts;
mod file;
pub mod links;
pub mod signature;
pub mod tokens;
pub mod trust;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::file::Shared;
use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Longest access key.
pub const ACCESS_KEY_BYTES_MAX: usize = 64;

/// Random bytes of a secret key: 40 characters of base64, as VISOR's have.
const SECRET_BYTES: usize = 30;

/// Random bytes of a secret that is made for one use, and of a token.
const RANDOM_BYTES: usize = 32;

/// A text that never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Makes a random secret in hexadecimal: base64 may begin with a dash, which most commands take for an option.
    ///
    /// # Errors
    /// `Internal` when the system has no random numbers.
    pub fn random() -> Result<Self> {
        Ok(Self(random_hex(RANDOM_BYTES)?))
    }

    /// The text. For checking and for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares a guess in constant time.
    pub fn is(&self, guess: &str) -> bool {
        let (own, other) = (Sha256::digest(&self.0), Sha256::digest(guess));
        own.iter().zip(other).fold(0, |different, (own, other)| different | (own ^ other)) == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A digest of a secret that is random and too long to be found by trying.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Print(String);

impl Print {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        Self(hex(&Sha256::digest(text)))
    }
}

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

impl Account {
    /// Its rights.
    pub fn role(&self) -> Role {
        match (self.admin, self.read_only) {
            // A file that says both is read with the fewer rights.
            (_, true) => Role::Reader,
            (true, false) => Role::Administrator,
            (false, false) => Role::Member,
        }
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
            if account.admin && account.read_only {
                return Err(Error::invalid("An administrator can't be read-only: make another account for reading."));
            }
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

fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| Error::internal(error.to_string()))?;
    Ok(hex(&random))
}

fn new_secret() -> Result<Secret> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Secret(base64::engine::general_purpose::STANDARD.encode(bytes)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn named(access_key: &str) -> AccountChange {
        AccountChange { access_key: Some(access_key.into()), ..AccountChange::default() }
    }

    #[test]
    fn an_account_may_be_for_reading_and_an_administrator_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        let add = |name: &str, role| accounts.add(name, None, role, Timestamp(1)).unwrap().role();
        let roles = [Role::Administrator, Role::Member, Role::Reader];
        assert_eq!([add("root", roles[0]), add("anna", roles[1]), add("rita", roles[2])], roles);
        let set = |name: &str, read_only| {
            let change = AccountChange { read_only: Some(read_only), ..AccountChange::default() };
            accounts.update(name, change, Timestamp(2)).map(|account| account.role())
        };
        assert_eq!((set("anna", true).unwrap(), set("rita", false).unwrap()), (Role::Reader, Role::Member));
        assert_eq!(set("root", true).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(accounts.get("root").unwrap().unwrap().role(), Role::Administrator);
        let other = Accounts::open(dir.path()).unwrap();
        assert_eq!(other.get("anna").unwrap().unwrap().role(), Role::Reader, "it is kept");
        assert_eq!(accounts.update("anna", named("nora"), Timestamp(3)).unwrap().role(), Role::Reader);
    }

    /// A file of an earlier version, which knew no such accounts.
    #[test]
    fn an_earlier_file_is_read_as_it_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        Accounts::open(dir.path()).unwrap().add("anna", None, Role::Member, Timestamp(1)).unwrap();
        let text = std::fs::read_to_string(dir.path().join("accounts.json")).unwrap();
        assert!(!text.contains("read_only"), "such a file is also written, for accounts that need no more");
        assert_eq!(Accounts::open(dir.path()).unwrap().get("anna").unwrap().unwrap().role(), Role::Member);
    }

    #[test]
    fn accounts_are_made_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        assert!(accounts.is_empty().unwrap());
        let foo = accounts.add("foo", Some("foo@example.org".into()), Role::Administrator, Timestamp(7)).unwrap();
        assert_eq!(foo.secret_key.reveal().len(), 40);
        assert_eq!(accounts.add("foo", None, Role::Member, Timestamp(8)).unwrap_err().kind(), Kind::AlreadyExists);
        let bar = accounts.update("foo", named("bar"), Timestamp(9)).unwrap();
        assert_eq!((bar.id, bar.updated_at()), (foo.id, Some(Timestamp(9))));
        assert_eq!(accounts.with_id(foo.id).unwrap().unwrap().access_key, "bar");
        assert!(accounts.get("foo").unwrap().is_none());
        assert_eq!(accounts.remove("bar").unwrap().id, foo.id);
        assert_eq!(accounts.remove("bar").unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn what_another_process_adds_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let server = Accounts::open(dir.path()).unwrap();
        assert!(server.is_empty().unwrap());
        let other = Accounts::open(dir.path()).unwrap();
        for n in 0..20 {
            let added = other.add(&format!("user_{n}"), None, Role::Member, Timestamp(1)).unwrap();
            assert_eq!(server.get(&added.access_key).unwrap().unwrap().secret_key, added.secret_key);
        }
    }

    #[test]
    fn names_and_addresses_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        for bad in ["", "a b", "a:b", "ä", &"x".repeat(65)] {
            assert_eq!(accounts.add(bad, None, Role::Member, Timestamp(1)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        for bad in ["", "x", "@x", "x@", "a@b@c", "a b@c"] {
            let error = accounts.add("ok", Some(bad.into()), Role::Member, Timestamp(1)).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn keys_are_right_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        let foo = accounts.add("foo", None, Role::Member, Timestamp(1)).unwrap();
        let secret = foo.secret_key.reveal();
        assert_eq!(accounts.with_keys("foo", secret).unwrap().unwrap().id, foo.id);
        for (key, guess) in [("foo", ""), ("foo", &secret[1..]), ("bar", secret), ("nobody", ""), ("", "")] {
            assert!(accounts.with_keys(key, guess).unwrap().is_none(), "{key} {guess}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let dir = tempfile::tempdir().unwrap();
        let account = Accounts::open(dir.path()).unwrap().add("foo", None, Role::Member, Timestamp(1)).unwrap();
        assert!(!format!("{account:?}").contains(account.secret_key.reveal()));
    }
}
