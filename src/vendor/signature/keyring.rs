//! Keys of vendors by the fingerprints of their primary keys. Holding a key is no trust: which ones count is said with each check.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use pgp::armor::{BlockType, Dearmor};
use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::packet::{PacketParser, Signature};
use pgp::types::{KeyDetails, KeyVersion};

use super::certificate::PgpCertificate;
use crate::error::{Error, Result};
use crate::image::Timestamp;

/// Most bytes of a key file.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Certificates by the fingerprint of the primary key, in upper-case hexadecimal.
#[derive(Debug, Default)]
pub struct Keyring {
    certificates: BTreeMap<String, PgpCertificate>,
}

impl Keyring {
    /// A keyring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificates of a key file, armoured or binary, and gives their fingerprints. Keys of kinds that are not known are passed over,
    /// and what is new in a certificate that is here already is added to it.
    ///
    /// # Errors
    /// `InvalidValue` when there is no certificate in it, or too much.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Error::invalid(format!("A key file has at most {} MiB.", FILE_BYTES_MAX >> 20)));
        }
        let mut added = Vec::new();
        for packets in blocks(bytes, BlockType::PublicKey) {
            let known = PacketParser::new(Cursor::new(packets)).filter(Result::is_ok);
            let keys: Vec<_> = SignedPublicKey::from_packets(known.peekable()).filter_map(Result::ok).collect();
            for key in keys {
                if !matches!(key.primary_key.version(), KeyVersion::V4 | KeyVersion::V6) {
                    continue;
                }
                let certificate = PgpCertificate::new(key);
                let fingerprint = certificate.fingerprint();
                match self.certificates.get_mut(&fingerprint) {
                    Some(held) => held.merge(certificate),
                    None => _ = self.certificates.insert(fingerprint.clone(), certificate),
                }
                added.push(fingerprint);
            }
        }
        if added.is_empty() {
            return Err(Error::invalid("There is no OpenPGP key in the key file."));
        }
        Ok(added)
    }

    /// Tells whether the certificate of a primary key is here.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.get(fingerprint).is_some()
    }

    /// Tells whether some key of a certificate that is here can make signatures at a time.
    pub fn can_sign(&self, fingerprint: &str, at: Timestamp) -> bool {
        let seconds = u32::try_from(at.seconds()).unwrap_or(u32::MAX);
        self.get(fingerprint).is_some_and(|certificate| certificate.can_sign(seconds))
    }

    /// Tells whether some key that is here is named by a signature as its maker, be it one that counts or not.
    pub(super) fn knows_maker(&self, signature: &Signature) -> bool {
        let is_named = !signature.issuer_fingerprint().is_empty() || !signature.issuer_key_id().is_empty();
        let mut keys = self.certificates.values().flat_map(PgpCertificate::keys);
        is_named && keys.any(|key| key.may_have_made(signature))
    }

    /// Certificate of a primary key.
    pub(super) fn get(&self, fingerprint: &str) -> Option<&PgpCertificate> {
        self.certificates.get(&plain(fingerprint))
    }
}

/// A fingerprint without the blanks that people write into it, in upper case.
pub(super) fn plain(fingerprint: &str) -> String {
    fingerprint.split_whitespace().collect::<String>().to_ascii_uppercase()
}

/// Packets of a file: the armoured blocks of a type, or all of it when it is not armoured.
pub(super) fn blocks(bytes: &[u8], wanted: BlockType) -> Vec<Vec<u8>> {
    const BEGIN: &[u8] = b"-----BEGIN PGP ";
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(BEGIN) && (*at == 0 || bytes[*at - 1] == b'\n'))
        .collect();
    if starts.is_empty() {
        return vec![bytes.to_vec()];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let armoured = starts.iter().zip(ends).map(|(start, end)| &bytes[*start..end]);
    let read = armoured.filter_map(|block| {
        let mut armour = Dearmor::new(Cursor::new(block));
        let mut packets = Vec::new();
        armour.read_to_end(&mut packets).ok()?;
        (armour.typ == Some(wanted)).then_some(packets)
    });
    read.collect()
}
