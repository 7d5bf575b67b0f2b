//! A certificate of OpenPGP: which of its keys could have made a signature, and whether that one was good for it then.
//!
//! The primary key is trusted by its fingerprint, so what it says of itself counts even by SHA-1, in which several vendors' keys say it.

use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

use super::SignatureError;

/// Most signatures of a kind that are looked at, the newest first: each costs a computation.
const SIGNATURES_MAX: usize = 64;

/// A certificate.
#[derive(Debug)]
pub(super) struct PgpCertificate(SignedPublicKey);

/// A key of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) enum SigningKey<'a> {
    Primary(&'a PublicKey),
    Sub(&'a PublicSubkey, &'a [Signature]),
}

impl PgpCertificate {
    pub(super) fn new(key: SignedPublicKey) -> Self {
        Self(key)
    }

    /// Fingerprint of the primary key, in upper-case hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    /// Adds what another copy says: newer files have more subkeys, and longer lives.
    pub(super) fn merge(&mut self, other: Self) {
        let (held, other) = (&mut self.0, other.0);
        held.details.revocation_signatures.extend(other.details.revocation_signatures);
        held.details.direct_signatures.extend(other.details.direct_signatures);
        held.details.users.extend(other.details.users);
        for subkey in other.public_subkeys {
            match held.public_subkeys.iter_mut().find(|same| same.key == subkey.key) {
                Some(same) => same.signatures.extend(subkey.signatures),
                None => held.public_subkeys.push(subkey),
            }
        }
    }

    /// Every key.
    pub(super) fn keys(&self) -> impl Iterator<Item = SigningKey<'_>> {
        let subkeys = self.0.public_subkeys.iter().map(|subkey| SigningKey::Sub(&subkey.key, &subkey.signatures));
        std::iter::once(SigningKey::Primary(&self.0.primary_key)).chain(subkeys)
    }

    /// Checks that a key was good for signing at a time, in seconds.
    ///
    /// # Errors
    /// `RevokedKey`, `ExpiredKey`, `NotForSigning`; `WrongKey` for a subkey that the primary key does not own up to.
    pub(super) fn check(&self, key: SigningKey<'_>, at: u32) -> Result<(), SignatureError> {
        let primary = self.fingerprint();
        if self.primary_revocations().any(|revocation| holds(revocation, at)) {
            return Err(SignatureError::RevokedKey { key: primary });
        }
        let own = self.own_words();
        if own.is_some_and(|own| has_expired(&self.0.primary_key, own, at)) {
            return Err(SignatureError::ExpiredKey { key: primary });
        }
        match key {
            // A key that says nothing of its purposes may sign; so may one that says nothing at all and is pinned.
            SigningKey::Primary(_) if own.is_none_or(|own| may_sign(own) != Some(false)) => Ok(()),
            SigningKey::Primary(_) => Err(SignatureError::NotForSigning { key: primary }),
            SigningKey::Sub(subkey, signatures) => self.check_subkey(subkey, signatures, at),
        }
    }

    fn check_subkey(&self, subkey: &PublicSubkey, signatures: &[Signature], at: u32) -> Result<(), SignatureError> {
        let fingerprint = || format!("{:X}", subkey.fingerprint());
        let Some(binding) = self.binding(subkey, signatures) else {
            return Err(SignatureError::WrongKey { by: fingerprint() });
        };
        let revoked = newest(signatures, |typ| typ == SignatureType::SubkeyRevocation)
            .filter(|revocation| revocation.verify_subkey_binding(&self.0.primary_key, subkey).is_ok())
            .any(|revocation| holds(revocation, at));
        if revoked {
            return Err(SignatureError::RevokedKey { key: fingerprint() });
        }
        if has_expired(subkey, binding, at) {
            return Err(SignatureError::ExpiredKey { key: fingerprint() });
        }
        // The subkey has to agree to its owner: a foreign key could be bound otherwise, and its signatures be passed off.
        let agreed = binding.embedded_signature().is_some_and(|back| {
            is_strong_enough(back) && back.verify_primary_key_binding(subkey, &self.0.primary_key).is_ok()
        });
        if may_sign(binding) != Some(true) || !agreed {
            return Err(SignatureError::NotForSigning { key: fingerprint() });
        }
        Ok(())
    }

    /// Tells whether all keys that can sign had expired at a time: then a newer file may have another.
    pub(super) fn is_outlived(&self, at: u32) -> bool {
        let states: Vec<_> = self.keys().map(|key| self.check(key, at)).collect();
        let expired = |state: &Result<(), SignatureError>| matches!(state, Err(SignatureError::ExpiredKey { .. }));
        states.iter().any(expired) && states.iter().all(Result::is_err)
    }

    /// Tells whether some key can sign at a time.
    pub(super) fn can_sign(&self, at: u32) -> bool {
        self.keys().any(|key| self.check(key, at).is_ok())
    }

    /// Newest of what the primary key says of itself, and of itself under its names.
    fn own_words(&self) -> Option<&Signature> {
        let primary = &self.0.primary_key;
        let direct = newest(&self.0.details.direct_signatures, |typ| typ == SignatureType::Key)
            .find(|signature| is_strong_enough(signature) && signature.verify_key(primary).is_ok());
        let named = self.0.details.users.iter().take(SIGNATURES_MAX).filter_map(|user| {
            newest(&user.signatures, is_certification).find(|signature| {
                is_strong_enough(signature) && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            })
        });
        direct.into_iter().chain(named).max_by_key(|signature| signature.created())
    }

    fn primary_revocations(&self) -> impl Iterator<Item = &Signature> {
        newest(&self.0.details.revocation_signatures, |typ| typ == SignatureType::KeyRevocation)
            .filter(|revocation| revocation.verify_key(&self.0.primary_key).is_ok())
    }

    /// Newest signature with which the primary key owns up to a subkey.
    fn binding<'a>(&self, subkey: &PublicSubkey, signatures: &'a [Signature]) -> Option<&'a Signature> {
        newest(signatures, |typ| typ == SignatureType::SubkeyBinding).find(|binding| {
            is_strong_enough(binding) && binding.verify_subkey_binding(&self.0.primary_key, subkey).is_ok()
        })
    }
}

impl SigningKey<'_> {
    /// Tells whether a signature names this key as its maker, or none.
    pub(super) fn may_have_made(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match self {
            Self::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            Self::Sub(key, _) => (key.fingerprint(), key.legacy_key_id()),
        };
        let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
        match fingerprints.is_empty() {
            true => ids.is_empty() || ids.contains(&&id),
            false => fingerprints.contains(&&fingerprint),
        }
    }

    /// Time at which it was made, in seconds.
    pub(super) fn created(&self) -> u32 {
        match self {
            Self::Primary(key) => key.created_at().as_secs(),
            Self::Sub(key, _) => key.created_at().as_secs(),
        }
    }
}

/// Signatures of some types, the newest first.
fn newest(signatures: &[Signature], wanted: impl Fn(SignatureType) -> bool) -> impl Iterator<Item = &Signature> {
    let mut some: Vec<&Signature> =
        signatures.iter().filter(|signature| signature.typ().is_some_and(&wanted)).collect();
    some.sort_by_key(|signature| std::cmp::Reverse(signature.created()));
    some.into_iter().take(SIGNATURES_MAX)
}

fn is_certification(typ: SignatureType) -> bool {
    use SignatureType as T;
    matches!(typ, T::CertGeneric | T::CertPersona | T::CertCasual | T::CertPositive)
}

/// Tells whether a key's word on itself rests on a hash that stands for now: SHA-1 with a look for collisions, or better.
fn is_strong_enough(signature: &Signature) -> bool {
    signature.hash_alg() == Some(HashAlgorithm::Sha1) || signature.hash_alg().is_some_and(is_strong)
}

/// Tells whether two texts with one digest can't be made.
pub(super) fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm as H;
    matches!(hash, H::Sha256 | H::Sha384 | H::Sha512 | H::Sha224 | H::Sha3_256 | H::Sha3_512)
}

/// Tells whether a key may sign by its own words; `None` when they do not say.
fn may_sign(words: &Signature) -> Option<bool> {
    let mut parts = words.config()?.hashed_subpackets();
    parts.find_map(|part| match &part.data {
        SubpacketData::KeyFlags(flags) => Some(flags.sign()),
        _ => None,
    })
}

fn has_expired(key: &impl KeyDetails, words: &Signature, at: u32) -> bool {
    let life = words.key_expiration_time().map_or(0, |life| life.as_secs());
    life > 0 && u64::from(at) >= u64::from(key.created_at().as_secs()) + u64::from(life)
}

/// Tells whether a revocation holds for a signature of a time. A key that was only replaced was good until then; of a stolen one no date can be
/// believed.
fn holds(revocation: &Signature, at: u32) -> bool {
    let replaced = matches!(
        revocation.revocation_reason_code(),
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired | RevocationCode::CertUserIdInvalid)
    );
    !replaced || revocation.created().is_none_or(|since| at >= since.as_secs())
}
