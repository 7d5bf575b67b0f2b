//! Documents with a signature below their text (RFC 9580, section 7): the text that is signed, and the signature. Verifies nothing.

use super::SignatureError;

/// Mark of the byte order, which some editors put before everything.
const MARK: &[u8] = b"\xef\xbb\xbf";
const MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";

/// Parts of a signed document.
#[derive(Debug)]
pub(super) struct SignedParts<'a> {
    /// Text as it was signed: without escapes and blanks at the ends of lines, its lines ended by CR and LF but the last.
    pub(super) text: Vec<u8>,
    /// Armoured signature.
    pub(super) signature: &'a [u8],
}

/// Place in a document.
enum At {
    Outside,
    Headers,
    Text,
    /// In the signature that begins at this byte.
    Signature(usize),
}

/// Takes a signed document apart; `None` when it is not one. Lines before and behind it do not count, nor does a mark of the byte order.
///
/// # Errors
/// `Malformed` for one without an end, two of them, unknown headers, and lines that had to be escaped.
pub(super) fn split(document: &[u8]) -> Result<Option<SignedParts<'_>>, SignatureError> {
    let malformed = |why: &str| Err(SignatureError::Malformed(why.to_owned()));
    let document = document.strip_prefix(MARK).unwrap_or(document);
    let (mut at, mut offset) = (At::Outside, 0);
    // Built as it comes: a list of the lines would be many times as long as a document of short ones.
    let (mut text, mut signature): (Vec<u8>, Option<&[u8]>) = (Vec::new(), None);
    let (mut begun, mut is_first) = (false, true);
    for whole in document.split_inclusive(|byte| *byte == b'\n') {
        let start = offset;
        offset += whole.len();
        let line = trimmed(whole);
        match at {
            At::Outside if line == MESSAGE && begun => return malformed("there are two signed messages"),
            At::Outside if line == MESSAGE => (at, begun) = (At::Headers, true),
            At::Outside => {}
            At::Headers if line.is_empty() => at = At::Text,
            At::Headers if line.starts_with(b"Hash:") => {}
            At::Headers => return malformed("the signed message has a header that is not known"),
            At::Text if line == SIGNATURE => at = At::Signature(start),
            At::Text => {
                let plain = match line.strip_prefix(b"- ") {
                    Some(plain) => plain,
                    None if line == b"-" => b"",
                    None if line.starts_with(b"-") => return malformed("a line of the signed message is not escaped"),
                    None => line,
                };
                if !std::mem::take(&mut is_first) {
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(plain);
            }
            At::Signature(begin) if line == END => {
                signature = Some(&document[begin..offset]);
                at = At::Outside;
            }
            At::Signature(_) => {}
        }
    }
    match signature {
        Some(signature) if matches!(at, At::Outside) => Ok(Some(SignedParts { text, signature })),
        _ if begun => malformed("the signed message has no end"),
        _ => Ok(None),
    }
}

/// A line without its end and the blanks before it, which are not signed.
fn trimmed(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    &line[..kept.map_or(0, |at| at + 1)]
}
