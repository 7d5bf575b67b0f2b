//! signify's and minisign's forms: an untrusted comment, a line of base64; then a trusted comment with its own signature (minisign), or the
//! message itself (signify, as OpenBSD embeds it). Keys are one line, and pins are those lines.

use std::io::{Read, Seek, SeekFrom};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{PublicKey, Signature};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{SignatureError, Signed, TrustedKeys};
use crate::digest::hex;
use crate::image::Timestamp;

const UNTRUSTED: &[u8] = b"untrusted comment:";
const TRUSTED: &str = "trusted comment: ";

/// Bytes of a signature: two of the algorithm, eight of the key's number, 64 of Ed25519; and of a key, with 32.
const SIGNATURE_BYTES: usize = 74;
const KEY_BYTES: usize = 42;

/// Most bytes that Ed25519 is over at once. Larger files are signed by their digest (minisign).
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// Tells whether bytes begin in this form.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(UNTRUSTED)
}

/// Takes a document with its message inside apart: the two lines of the signature, and the message.
pub(super) fn split(document: &[u8]) -> Option<(&[u8], &[u8])> {
    if !is_one(document) {
        return None;
    }
    let mut ends = document.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let (first, second) = (ends.next()?, ends.next()?);
    let line = std::str::from_utf8(&document[first..second]).ok()?;
    (decoded(line)?.len() == SIGNATURE_BYTES).then(|| document.split_at(second))
}

/// Verifies a signature over what is read.
pub(super) fn verify<R: Read + Seek>(
    signature: &[u8],
    over: &mut R,
    trust: &TrustedKeys<'_>,
) -> Result<Signed, SignatureError> {
    let malformed = |why: &str| SignatureError::Malformed(why.to_owned());
    let text = std::str::from_utf8(signature).map_err(|_| malformed("it is no text"))?;
    let mut lines = text.lines().skip(1);
    let bytes = lines.next().and_then(decoded).filter(|bytes| bytes.len() == SIGNATURE_BYTES);
    let bytes = bytes.ok_or_else(|| malformed("its second line is no signature"))?;
    let number = &bytes[2..10];
    let pinned = trust.pins.iter().find_map(|pin| key(pin).filter(|key| &key[2..10] == number).map(|key| (pin, key)));
    let (pin, key) = pinned.ok_or_else(|| SignatureError::WrongKey { by: hex(number) })?;
    over.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    match lines.next() {
        Some(comment) if comment.starts_with(TRUSTED) => verify_minisign(pin, text, over, trust),
        None if bytes.starts_with(b"Ed") => {
            let message = read_all(over)?;
            let good = UnparsedPublicKey::new(&ED25519, &key[10..]).verify(&message, &bytes[10..]);
            good.map_err(|_| SignatureError::Bad)?;
            Ok(Signed { key: pin.clone(), at: None })
        }
        _ => Err(malformed("its form is not known")),
    }
}

fn verify_minisign<R: Read>(
    pin: &str,
    text: &str,
    over: &mut R,
    trust: &TrustedKeys<'_>,
) -> Result<Signed, SignatureError> {
    let malformed = |error: minisign_verify::Error| SignatureError::Malformed(error.to_string());
    let key = PublicKey::from_base64(pin.trim()).map_err(malformed)?;
    let signature = Signature::decode(text).map_err(malformed)?;
    let good = match key.verify_stream(&signature) {
        Ok(mut verifier) => {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match over.read(&mut buffer).map_err(unreadable)? {
                    0 => break verifier.finalize(),
                    read => verifier.update(&buffer[..read]),
                }
            }
        }
        Err(minisign_verify::Error::UnsupportedLegacyMode) => key.verify(&read_all(over)?, &signature, true),
        Err(error) => Err(error),
    };
    good.map_err(|_| SignatureError::Bad)?;
    let told = signature.trusted_comment().split(['\t', ' ']).find_map(|word| word.strip_prefix("timestamp:"));
    let at = told
        .and_then(|text| text.parse::<i64>().ok())
        .and_then(|seconds| seconds.checked_mul(1_000_000))
        .map(Timestamp);
    super::openpgp::not_of_tomorrow(at, trust.now)?;
    Ok(Signed { key: pin.to_owned(), at })
}

/// Tells whether a text is a key of signify or minisign, which stands in one line.
pub(in crate::vendor) fn is_key(pin: &str) -> bool {
    key(pin).is_some()
}

/// Bytes of a key that is pinned as a line; `None` for pins of another form.
fn key(pin: &str) -> Option<Vec<u8>> {
    decoded(pin).filter(|bytes| bytes.len() == KEY_BYTES && bytes.starts_with(b"Ed"))
}

fn decoded(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.trim()).ok()
}

fn read_all<R: Read>(over: &mut R) -> Result<Vec<u8>, SignatureError> {
    let mut message = Vec::new();
    over.take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut message).map_err(unreadable)?;
    if message.len() as u64 > MESSAGE_BYTES_MAX {
        return Err(SignatureError::Unreadable(format!("it has more than {} MiB", MESSAGE_BYTES_MAX >> 20)));
    }
    Ok(message)
}

fn unreadable(error: std::io::Error) -> SignatureError {
    SignatureError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::super::{Keyring, content, verify_detached, verify_inside};
    use super::*;

    const NOW: Timestamp = Timestamp(1_796_000_000_000_000);
    const MESSAGE: &[u8] = b"SHA256 (install78.iso) = 00\n";

    fn pair(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = [b"Ed".as_slice(), &[seed; 8], pair.public_key().as_ref()].concat();
        (pair, STANDARD.encode(key))
    }

    fn line(seed: u8, message: &[u8]) -> String {
        let signature = [b"Ed".as_slice(), &[seed; 8], pair(seed).0.sign(message).as_ref()].concat();
        format!("untrusted comment: verify with openbsd-78-base.pub\n{}\n", STANDARD.encode(signature))
    }

    /// minisign's form of before it hashed first.
    fn legacy(seed: u8, message: &[u8], comment: &str) -> String {
        let signature = pair(seed).0.sign(message);
        let global = pair(seed).0.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        format!("{}trusted comment: {comment}\n{}\n", line(seed, message), STANDARD.encode(global))
    }

    fn verified(signature: &str, message: &[u8], pins: &[String]) -> Result<Signed, SignatureError> {
        let trust = TrustedKeys { keyring: &Keyring::new(), pins, now: NOW };
        verify_detached(signature.as_bytes(), &mut Cursor::new(message), &trust)
    }

    #[test]
    fn signifys_signatures_stand_alone_or_before_the_message() {
        let pins = [pair(1).1, pair(7).1];
        assert!(pins[0].starts_with("RW"));
        let signed = Signed { key: pins[1].clone(), at: None };
        assert_eq!(verified(&line(7, MESSAGE), MESSAGE, &pins), Ok(signed.clone()));
        assert_eq!(verified(&line(7, MESSAGE), b"else", &pins), Err(SignatureError::Bad));
        assert_eq!(verified(&line(9, MESSAGE), MESSAGE, &pins), Err(SignatureError::WrongKey { by: "09".repeat(8) }));
        let trust = TrustedKeys { keyring: &Keyring::new(), pins: &pins, now: NOW };
        let whole = [line(7, MESSAGE).as_bytes(), MESSAGE].concat();
        let (inside, by) = verify_inside(&whole, &trust).unwrap();
        assert_eq!((&inside[..], by, &content(&whole).unwrap()[..]), (MESSAGE, signed, MESSAGE));
        let longer = [&whole[..], b"SHA256 (evil) = 00\n"].concat();
        assert_eq!(verify_inside(&longer, &trust).unwrap_err(), SignatureError::Bad);
    }

    #[test]
    fn another_key_with_a_pinned_number_is_not_the_pinned_one() {
        let mut forged = STANDARD.decode(line(9, MESSAGE).lines().nth(1).unwrap()).unwrap();
        forged[2..10].fill(7);
        let text = format!("untrusted comment: x\n{}\n", STANDARD.encode(forged));
        assert_eq!(verified(&text, MESSAGE, &[pair(7).1]), Err(SignatureError::Bad));
    }

    #[test]
    fn minisigns_signatures_have_a_date_that_is_signed_too() {
        let pins = [pair(7).1];
        let text = legacy(7, MESSAGE, "timestamp:1767600000\tfile:x");
        let at = Some(Timestamp(1_767_600_000_000_000));
        assert_eq!(verified(&text, MESSAGE, &pins), Ok(Signed { key: pins[0].clone(), at }));
        assert_eq!(verified(&text, b"else", &pins), Err(SignatureError::Bad));
        let redated = text.replace("1767600000", "1767600001");
        assert_eq!(verified(&redated, MESSAGE, &pins), Err(SignatureError::Bad));
        let future = verified(&legacy(7, MESSAGE, "timestamp:1900000000"), MESSAGE, &pins);
        assert_eq!(future, Err(SignatureError::Future { day: "2030-03-17".to_owned() }));
    }

    #[test]
    fn minisign_hashes_first() {
        // The example of minisign-verify's documentation.
        let pins = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".to_owned()];
        let text = "untrusted comment: signature from minisign secret key\n\
            RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
            trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
            wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";
        assert_eq!(verified(text, b"test", &pins).unwrap().at, Some(Timestamp(1_633_700_835_000_000)));
        assert_eq!(verified(text, b"Test", &pins), Err(SignatureError::Bad));
    }

    #[test]
    fn other_texts_are_refused() {
        let pins = [pair(7).1];
        for bad in [
            "untrusted comment: x",
            "untrusted comment: x\nAAAA\n",
            &line(7, MESSAGE).replace("\n", "\n\n"),
            &format!("{}one more line\n", line(7, MESSAGE)),
            &legacy(7, MESSAGE, "x").replace("trusted comment: x", "trusted comment:x"),
        ] {
            assert!(matches!(verified(bad, MESSAGE, &pins), Err(SignatureError::Malformed(_))), "{bad}");
        }
        let fingerprint = ["F243FA9F3CDCDD70279C6D0356B0FF01E00689A6".to_owned()];
        assert!(matches!(verified(&line(7, MESSAGE), MESSAGE, &fingerprint), Err(SignatureError::WrongKey { .. })));
    }
}
