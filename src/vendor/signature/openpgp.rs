//! Signatures of OpenPGP. Of several, one good one of a pinned key is enough; those of versions and kinds that are not known are passed over.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use pgp::armor::BlockType;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion, SubpacketData};

use super::certificate::{PgpCertificate, SigningKey, is_strong};
use super::keyring::{blocks, plain};
use super::{SignatureError, Signed, TrustedKeys, day};
use crate::image::Timestamp;

/// Most signatures that are looked at: each may read all that it is over.
const SIGNATURES_MAX: usize = 16;

/// Seconds that another clock may be ahead of ours.
const AHEAD_MAX: i64 = 24 * 60 * 60;

/// Verifies signatures, armoured or not, over what is read.
///
/// # Errors
/// The reason for the one that came closest.
pub(super) fn verify<R: Read + Seek>(
    signature: &[u8],
    over: &mut R,
    trust: &TrustedKeys<'_>,
) -> Result<Signed, SignatureError> {
    let mut closest = SignatureError::NoSignature;
    let mut keep = |error: SignatureError| {
        if error.weight() > closest.weight() {
            closest = error;
        }
    };
    let packets = blocks(signature, BlockType::Signature);
    let packets = packets.iter().flat_map(|packets| PacketParser::new(Cursor::new(packets)));
    let mut read = 0;
    for packet in packets.take(4 * SIGNATURES_MAX) {
        match packet {
            Ok(Packet::Signature(signature)) if read < SIGNATURES_MAX => {
                read += 1;
                match verify_one(&signature, over, trust) {
                    Ok(signed) => return Ok(signed),
                    Err(error) => keep(error),
                }
            }
            Ok(_) => {}
            Err(error) => keep(SignatureError::Malformed(error.to_string())),
        }
    }
    Err(closest)
}

fn verify_one<R: Read + Seek>(
    signature: &Signature,
    over: &mut R,
    trust: &TrustedKeys<'_>,
) -> Result<Signed, SignatureError> {
    let malformed = |why: &str| SignatureError::Malformed(why.to_owned());
    let known = matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6);
    let (Some(config), true) = (signature.config(), known) else {
        return Err(malformed("its version is not known"));
    };
    if !matches!(config.typ(), SignatureType::Binary | SignatureType::Text) {
        return Err(malformed("it is not one over a document"));
    }
    let created = signature.created().ok_or_else(|| malformed("it does not say when it was made"))?.as_secs();
    let foreign = |data: &SubpacketData| {
        matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_))
    };
    if config.hashed_subpackets().any(|part| part.is_critical && foreign(&part.data)) {
        return Err(malformed("it demands something that is not known"));
    }
    let pinned: Vec<&PgpCertificate> = trust.pins.iter().filter_map(|pin| trust.keyring.get(pin)).collect();
    let makers: Vec<(&PgpCertificate, SigningKey<'_>)> = pinned
        .iter()
        .flat_map(|certificate| certificate.keys().map(|key| (*certificate, key)))
        .filter(|(_, key)| key.may_have_made(signature))
        .collect();
    if makers.is_empty() {
        return Err(unknown_maker(signature, &pinned, created, trust));
    }
    let hash = config.hash_alg;
    if !is_strong(hash) {
        return Err(SignatureError::WeakHash { algorithm: hash.to_string() });
    }
    let (certificate, key) = made_by(signature, &makers, over)?;
    let at = Timestamp(i64::from(created) * 1_000_000);
    not_of_tomorrow(Some(at), trust.now)?;
    if created < key.created() {
        return Err(malformed("it is older than its key"));
    }
    certificate.check(key, created)?;
    let life = signature.signature_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    if life > 0 && trust.now.seconds() >= at.seconds() + life {
        return Err(SignatureError::Outdated);
    }
    Ok(Signed { key: certificate.fingerprint(), at: Some(at) })
}

/// Key, of those that may have made a signature, that did.
fn made_by<'a, R: Read + Seek>(
    signature: &Signature,
    makers: &[(&'a PgpCertificate, SigningKey<'a>)],
    over: &mut R,
) -> Result<(&'a PgpCertificate, SigningKey<'a>), SignatureError> {
    for (certificate, key) in makers {
        over.seek(SeekFrom::Start(0)).map_err(|error| SignatureError::Unreadable(error.to_string()))?;
        let mut watched = Watched { inner: &mut *over, failed: None };
        let good = match key {
            SigningKey::Primary(key) => signature.verify(*key, &mut watched),
            SigningKey::Sub(key, _) => signature.verify(*key, &mut watched),
        };
        if let Some(error) = watched.failed {
            return Err(SignatureError::Unreadable(error));
        }
        if good.is_ok() {
            return Ok((certificate, *key));
        }
    }
    Err(SignatureError::Bad)
}

/// Reason for a signature that none of the keys here may have made.
fn unknown_maker(
    signature: &Signature,
    pinned: &[&PgpCertificate],
    created: u32,
    trust: &TrustedKeys<'_>,
) -> SignatureError {
    let by = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let by = by
        .or_else(|| signature.issuer_key_id().first().map(|id| id.to_string().to_ascii_uppercase()))
        .unwrap_or_default();
    let missing: Vec<String> = trust.pins.iter().filter(|pin| !trust.keyring.has(pin)).cloned().collect();
    let named: Vec<String> =
        missing.iter().filter(|pin| !by.is_empty() && plain(pin).ends_with(&by)).cloned().collect();
    if !named.is_empty() {
        return SignatureError::KeyMissing { wanted: named };
    }
    // A stranger's signature looks so too: it does not count, and this only says what may be the matter.
    let is_outlived = |certificate: &&&PgpCertificate| certificate.is_outlived(created);
    if let Some(old) = pinned.iter().find(is_outlived).filter(|_| !trust.keyring.knows_maker(signature)) {
        return SignatureError::KeyTooOld { by, of: old.fingerprint() };
    }
    // A subkey of a key that is not here has a number of its own: it can't be told from a stranger's.
    if missing.is_empty() { SignatureError::WrongKey { by } } else { SignatureError::KeyMissing { wanted: missing } }
}

/// Refuses a signature that was made later than now.
///
/// # Errors
/// `Future`.
pub(super) fn not_of_tomorrow(at: Option<Timestamp>, now: Timestamp) -> Result<(), SignatureError> {
    match at {
        Some(at) if at.seconds() > now.seconds().saturating_add(AHEAD_MAX) => {
            Err(SignatureError::Future { day: day(at) })
        }
        _ => Ok(()),
    }
}

/// Reader that remembers why it failed: the library takes that for a bad signature.
struct Watched<'a, R> {
    inner: &'a mut R,
    failed: Option<String>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| self.failed = Some(error.to_string()))
    }
}
