//! Entries of the trust: certificates, the accounts that they stand for, and the bounds of their rights. Values only.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::Account;
use crate::certificate::{Certificate, Validity};
use crate::error::{Error, Result};
use crate::image::Timestamp;

/// Longest name of an entry.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// An account as an entry remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its id.
    pub id: Uuid,
    /// The access key at that time.
    pub access_key: String,
}

impl Holder {
    pub(super) fn of(account: &Account) -> Self {
        Self { id: account.id, access_key: account.access_key.clone() }
    }
}

/// Bounds of a certificate's rights, in its account's.
///
/// A restricted certificate has the rights of an ordinary account, also for an administrator's, and in its projects only. It
/// may be replaced by its holder, and changes no other entry and no other field of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// True if the certificate has not all rights of its account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restricted: bool,
    /// Projects that a restricted certificate is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
}

impl Restriction {
    /// Tells if the certificate is for a project.
    pub fn admits(&self, project: &str) -> bool {
        !self.restricted || self.projects.iter().any(|one| one == project)
    }
}

/// A certificate that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// Name for people.
    pub name: String,
    /// The account that it stands for. None: it was accepted while there were no accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The bounds of its rights.
    #[serde(flatten)]
    pub restriction: Restriction,
    /// The certificate.
    pub certificate: KeptCertificate,
    /// Time at which it was accepted.
    #[serde(with = "super::super::micros", rename = "added_at_us")]
    pub added_at: Timestamp,
}

/// A change of an entry: the fields that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChange {
    /// Its name.
    pub name: String,
    /// The bounds of its rights.
    pub restriction: Restriction,
    /// A certificate in the place of the one that it has; none to keep that.
    pub certificate: Option<Certificate>,
}

impl EntryChange {
    /// Tells if an entry has all of it already.
    pub fn changes_nothing(&self, client: &Client) -> bool {
        self.certificate.is_none() && self.name == client.name && self.restriction == client.restriction
    }

    /// Tells if the change is a new certificate and nothing else, which the holder of the old one may always ask for.
    pub fn only_renews(&self, client: &Client) -> bool {
        self.certificate.is_some() && self.name == client.name && self.restriction == client.restriction
    }
}

/// A certificate as an entry keeps it: its PEM, with the dates that are read from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct KeptCertificate {
    /// The certificate as PEM.
    pub pem: String,
    /// The time in which it is valid: none at all for one that can't be read.
    pub validity: Validity,
}

impl From<String> for KeptCertificate {
    fn from(pem: String) -> Self {
        let validity = Certificate::read_pem(&pem).map_or(Validity::NEVER, |read| read.validity);
        Self { pem, validity }
    }
}

impl From<&Certificate> for KeptCertificate {
    fn from(certificate: &Certificate) -> Self {
        Self { pem: certificate.pem.clone(), validity: certificate.validity }
    }
}

impl From<KeptCertificate> for String {
    fn from(kept: KeptCertificate) -> Self {
        kept.pem
    }
}

/// Makes the entry of a certificate, which has to be valid at the moment.
pub(super) fn entry(
    certificate: &Certificate,
    name: Option<&str>,
    holder: Option<Holder>,
    restriction: Restriction,
    now: Timestamp,
) -> Result<Client> {
    name.map_or(Ok(()), check_name)?;
    certificate.validity.check(now)?;
    Ok(Client {
        fingerprint: certificate.fingerprint.clone(),
        name: name.map_or_else(|| default_name(certificate), ToOwned::to_owned),
        holder,
        restriction,
        certificate: certificate.into(),
        added_at: now,
    })
}

/// Default name of a certificate's holder: the name in it if that can be shown, or the beginning of its fingerprint.
pub(super) fn default_name(certificate: &Certificate) -> String {
    let name = certificate.common_name.clone().filter(|name| check_name(name).is_ok());
    name.unwrap_or_else(|| certificate.fingerprint.chars().take(12).collect())
}

/// Checks the name of an entry.
///
/// # Errors
/// `Invalid`.
pub fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("A name has 1 to {NAME_BYTES_MAX} characters that can be seen.")));
    }
    Ok(())
}
