//! Signatures by GnuPG 2.2 over `fixtures/SHA256SUMS`, with keys made for these tests.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/", $name)).as_slice()
    };
}

const OLD: &str = "F243FA9F3CDCDD70279C6D0356B0FF01E00689A6";
const SUBKEYS: &str = "5A89F68C6591AACEF0D02FFEFE3B874294177A6A";
const FIRST_SUBKEY: &str = "E7B5CEA932AFFDD3868986028709C22A49AD7497";
const SECOND_SUBKEY: &str = "299D0B142A4DEAF7A6285838B73859A9EB6BBE66";
const STRANGER: &str = "FE5D48006297C9584A630D8EDF793AD1237266AD";
const REVOKED: &str = "22EB9AABB485526386CEF026988014CA08451EEB";
const EXPIRED: &str = "29151A7C226FE10BF1FA91E113DB4F633948EAD7";

const SUMS: &[u8] = fixture!("SHA256SUMS");

/// 2026-11-30.
const NOW: Timestamp = Timestamp(1_796_000_000_000_000);

fn keyring(files: &[&[u8]]) -> Keyring {
    let mut keyring = Keyring::new();
    for file in files {
        keyring.add(file).unwrap();
    }
    keyring
}

fn verify(files: &[&[u8]], pins: &[&str], signature: &[u8], over: &[u8]) -> Result<Signed, SignatureError> {
    let keyring = keyring(files);
    let pins: Vec<String> = pins.iter().map(|pin| (*pin).to_owned()).collect();
    verify_detached(signature, &mut Cursor::new(over), &TrustedKeys { keyring: &keyring, pins: &pins, now: NOW })
}

fn signed(key: &str, day_of: &str) -> impl Fn(Result<Signed, SignatureError>) {
    move |is| {
        let is = is.unwrap();
        assert_eq!((is.key.as_str(), day(is.at.unwrap()).as_str()), (key, day_of));
    }
}

#[test]
fn a_key_that_certified_itself_with_sha1_signs_documents_with_sha2() {
    let old = fixture!("old.asc");
    for good in [fixture!("SHA256SUMS.gpg"), fixture!("SHA256SUMS.sig"), fixture!("SHA256SUMS.text.sig")] {
        signed(OLD, "2026-01-05")(verify(&[old], &[OLD], good, SUMS));
        let mut changed = SUMS.to_vec();
        changed[3] ^= 1;
        assert_eq!(verify(&[old], &[OLD], good, &changed), Err(SignatureError::Bad));
        let spaced = "f243 fa9f 3cdc dd70 279c  6d03 56b0 ff01 e006 89a6";
        signed(OLD, "2026-01-05")(verify(&[old], &[spaced], good, SUMS));
    }
    let weak = verify(&[old], &[OLD], fixture!("SHA256SUMS.sha1.sig"), SUMS);
    assert_eq!(weak, Err(SignatureError::WeakHash { algorithm: "SHA1".into() }));
    let future = verify(&[old], &[OLD], fixture!("SHA256SUMS.future.sig"), SUMS);
    assert_eq!(future, Err(SignatureError::Future { day: "2030-01-01".into() }));
}

#[test]
fn only_pinned_keys_count_and_a_missing_one_is_told_from_a_wrong_one() {
    let (old, stranger) = (fixture!("old.asc"), fixture!("stranger.asc"));
    let by_stranger = fixture!("SHA256SUMS.stranger.sig");
    let wrong = Err(SignatureError::WrongKey { by: STRANGER.into() });
    assert_eq!(verify(&[old, stranger], &[OLD], by_stranger, SUMS), wrong);
    let missing = Err(SignatureError::KeyMissing { wanted: vec![OLD.into()] });
    assert_eq!(verify(&[stranger], &[OLD], fixture!("SHA256SUMS.gpg"), SUMS), missing);
    assert_eq!(verify(&[stranger], &[STRANGER, OLD], fixture!("SHA256SUMS.gpg"), SUMS), missing);
    assert_eq!(verify(&[stranger], &[OLD], by_stranger, SUMS), missing, "it may be a subkey of the missing one");
    signed(OLD, "2026-01-05")(verify(&[old], &[STRANGER, OLD], fixture!("SHA256SUMS.gpg"), SUMS));
    let none = verify(&[old], &[], fixture!("SHA256SUMS.gpg"), SUMS);
    assert_eq!(none, Err(SignatureError::WrongKey { by: OLD.into() }));
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let both = fixture!("SHA256SUMS.both.asc");
    signed(OLD, "2026-01-05")(verify(&[fixture!("old.asc")], &[OLD], both, SUMS));
    signed(STRANGER, "2026-01-05")(verify(&[fixture!("stranger.asc")], &[STRANGER], both, SUMS));
    assert_eq!(verify(&[fixture!("old.asc")], &[OLD], both, b"else"), Err(SignatureError::Bad), "not the stranger's");
    let two = [fixture!("SHA256SUMS.stranger.sig"), &[0xff, 0x03, 1, 2, 3], fixture!("SHA256SUMS.sig")].concat();
    signed(OLD, "2026-01-05")(verify(&[fixture!("old.asc")], &[OLD], &two, SUMS));
}

#[test]
fn subkeys_count_for_their_primary_and_for_their_time() {
    let (first, prolonged, second) =
        (fixture!("subkeys-2025.asc"), fixture!("subkeys-prolonged.asc"), fixture!("subkeys-2026.asc"));
    signed(SUBKEYS, "2025-06-01")(verify(&[first], &[SUBKEYS], fixture!("SHA256SUMS.2025.sig"), SUMS));
    let late = fixture!("SHA256SUMS.prolonged.sig");
    assert_eq!(verify(&[first], &[SUBKEYS], late, SUMS), Err(SignatureError::ExpiredKey { key: FIRST_SUBKEY.into() }));
    signed(SUBKEYS, "2026-06-01")(verify(&[prolonged], &[SUBKEYS], late, SUMS));
    signed(SUBKEYS, "2026-06-01")(verify(&[prolonged, first], &[SUBKEYS], late, SUMS));
    signed(SUBKEYS, "2026-06-01")(verify(&[first, prolonged], &[SUBKEYS], late, SUMS));
    let new = fixture!("SHA256SUMS.2026.sig");
    let too_old = SignatureError::KeyTooOld { by: SECOND_SUBKEY.into(), of: SUBKEYS.into() };
    assert_eq!(verify(&[first], &[SUBKEYS], new, SUMS), Err(too_old));
    signed(SUBKEYS, "2026-06-01")(verify(&[first, second], &[SUBKEYS], new, SUMS));
    let pinned_subkey = verify(&[second], &[SECOND_SUBKEY], new, SUMS);
    assert_eq!(pinned_subkey, Err(SignatureError::KeyMissing { wanted: vec![SECOND_SUBKEY.into()] }));
}

#[test]
fn a_subkey_that_its_primary_does_not_own_up_to_is_a_strangers() {
    use pgp::composed::{Deserializable, SignedPublicKey};
    use pgp::ser::Serialize;
    let read = |bytes: &[u8]| SignedPublicKey::from_armor_single(bytes).unwrap().0;
    let (mut pinned, other) = (read(fixture!("stranger.asc")), read(fixture!("subkeys-2025.asc")));
    pinned.public_subkeys = other.public_subkeys;
    let forged = pinned.to_bytes().unwrap();
    let by = SignatureError::WrongKey { by: FIRST_SUBKEY.into() };
    assert_eq!(verify(&[&forged], &[STRANGER], fixture!("SHA256SUMS.2025.sig"), SUMS), Err(by));
}

#[test]
fn expired_and_revoked_keys_are_told() {
    let expired = fixture!("expired.asc");
    signed(EXPIRED, "2024-01-05")(verify(&[expired], &[EXPIRED], fixture!("SHA256SUMS.before.sig"), SUMS));
    let after = verify(&[expired], &[EXPIRED], fixture!("SHA256SUMS.after.sig"), SUMS);
    assert_eq!(after, Err(SignatureError::ExpiredKey { key: EXPIRED.into() }));
    let (held, before) = (keyring(&[expired]), Timestamp(1_704_412_800_000_000));
    assert_eq!((held.can_sign(EXPIRED, before), held.can_sign(EXPIRED, NOW)), (true, false));
    assert!(!held.can_sign(OLD, before), "it is not here");
    let revoked = verify(&[fixture!("revoked.asc")], &[REVOKED], fixture!("SHA256SUMS.revoked.sig"), SUMS);
    assert_eq!(revoked, Err(SignatureError::RevokedKey { key: REVOKED.into() }));
}

#[test]
fn of_a_document_with_its_signature_inside_only_the_text_counts() {
    let keyring = keyring(&[fixture!("old.asc")]);
    let pins = [OLD.to_owned()];
    let trust = TrustedKeys { keyring: &keyring, pins: &pins, now: NOW };
    let document = fixture!("CHECKSUM");
    let (text, by) = verify_inside(document, &trust).unwrap();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    assert!(lines[0].starts_with(b"# Fedora") && lines[1].starts_with(b"SHA256 (Fedora-Cloud-44.qcow2) = "));
    assert_eq!(lines[2..], [&b"- a line that begins with a dash\r"[..], b"\r", b"last"]);
    assert_eq!((by.key.as_str(), content(document).unwrap()), (OLD, text));
    let text = std::str::from_utf8(document).unwrap();
    let around = format!("SHA256 (evil) = 00\n{text}\nSHA256 (evil) = 00\n");
    let (inside, _) = verify_inside(around.as_bytes(), &trust).unwrap();
    assert!(!String::from_utf8_lossy(&inside).contains("evil"));
    for (what, good) in [
        ("CRLF", text.replace('\n', "\r\n")),
        ("blanks", text.replace("bytes\n", "bytes \t\n")),
        ("a mark", format!("\u{feff}{text}")),
    ] {
        assert_eq!(verify_inside(good.as_bytes(), &trust).map(|(text, _)| text).as_ref(), Ok(&inside), "{what}");
    }
    assert_eq!(verify_inside(text.replace("53687", "53688").as_bytes(), &trust).unwrap_err(), SignatureError::Bad);
    for bad in [
        format!("{text}\n{text}"),
        text.replace("- - a line", "- a line").replace("- a line", "-a line"),
        text.replace("Hash: SHA256", "Charset: UTF-8"),
        text.replace("-----END PGP SIGNATURE-----", ""),
        text.replace("-----BEGIN PGP SIGNATURE-----", ""),
    ] {
        assert!(matches!(verify_inside(bad.as_bytes(), &trust), Err(SignatureError::Malformed(_))), "{bad}");
    }
    assert_eq!(verify_inside(SUMS, &trust).unwrap_err(), SignatureError::NoSignature);
}

#[test]
fn damaged_signatures_and_keys_are_refused_and_do_not_panic() {
    let (old, good) = (fixture!("old.asc"), fixture!("SHA256SUMS.sig"));
    let hashed = usize::from(u16::from_be_bytes([good[7], good[8]]));
    for at in 0..good.len() {
        let mut damaged = good.to_vec();
        damaged[at] ^= 0x10;
        // Between what is signed and the signature itself are hints: the number of the key, for one.
        let covered = (3..9 + hashed).contains(&at) || at + 256 >= good.len();
        if let Ok(is) = verify(&[old], &[OLD], &damaged, SUMS) {
            assert!(!covered && is.key == OLD, "{at}");
        }
        let _ = verify(&[old], &[OLD], &good[..at], SUMS).unwrap_err();
    }
    let whole = fixture!("subkeys-2026.asc");
    for at in (0..whole.len()).step_by(7) {
        let mut keyring = Keyring::new();
        let _ = keyring.add(&whole[..at]);
    }
    assert!(Keyring::new().add(b"nothing").is_err());
    assert_eq!(verify(&[old], &[OLD], b"", SUMS), Err(SignatureError::NoSignature));
}

#[test]
fn a_file_that_can_not_be_read_is_no_bad_signature() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("EIO"))
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
            Ok(0)
        }
    }
    let keyring = keyring(&[fixture!("old.asc")]);
    let pins = [OLD.to_owned()];
    let trust = TrustedKeys { keyring: &keyring, pins: &pins, now: NOW };
    let is = verify_detached(fixture!("SHA256SUMS.sig"), &mut Broken, &trust);
    assert_eq!(is, Err(SignatureError::Unreadable("EIO".into())));
}

#[test]
fn keyrings_without_armour_are_read() {
    let packets = |armoured: &[u8]| {
        let text = std::str::from_utf8(armoured).unwrap();
        let lines = text.lines().skip_while(|line| !line.is_empty()).skip(1);
        let body: String = lines.take_while(|line| !line.starts_with(['=', '-'])).collect();
        STANDARD.decode(body).unwrap()
    };
    let mut keyring = Keyring::new();
    let added = keyring.add(&[fixture!("old.asc"), fixture!("stranger.asc")].map(packets).concat()).unwrap();
    assert_eq!(added.len(), 2);
    assert!(added.contains(&OLD.to_owned()) && added.iter().all(|fingerprint| keyring.has(fingerprint)), "{added:?}");
}
