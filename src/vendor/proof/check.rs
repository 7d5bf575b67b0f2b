//! Checks of documents that are here: pure, so that what was proved can be proved again without a network.

use std::io::{Cursor, Read, Seek};

use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;
use crate::vendor::documents::VendorDocument;
use crate::vendor::evidence::{signed as signed_evidence, unsigned};
use crate::vendor::expectation::{Evidence, Expectation};
use crate::vendor::learn::{self, expectation};
use crate::vendor::place::{below, file_name, folder};
use crate::vendor::rules::VendorRules;
use crate::vendor::signature::{Keyring, SignatureError, Signed, TrustedKeys, content, verify_detached, verify_inside};
use crate::vendor::sums::{FoundSums, Sums};

/// A document with the URL under which it was asked for.
#[derive(Debug, Clone)]
pub struct Kept {
    /// URL that was asked for: by it the document is found again.
    pub url: String,
    /// Document.
    pub document: VendorDocument,
}

/// A vendor's document after its signature was looked at.
#[derive(Debug, Clone)]
pub struct OpenedDocument {
    /// Content: of a document with its signature inside, the text that is signed.
    pub content: Vec<u8>,
    /// Signature that counts, and the URLs that prove it.
    signed: Option<(Signed, Vec<String>)>,
    /// Time at which the document was made, as it says under its signature.
    updated: Option<Timestamp>,
    /// Reason why a signature that is there does not count.
    unchecked: Option<String>,
}

/// Microseconds within which a document is signed and out, after the time that it says of itself. With an older one signed anew it is not as new
/// as its signature.
const OUT_WITHIN: i64 = 24 * 3600 * 1_000_000;

impl OpenedDocument {
    fn signed(content: Vec<u8>, by: Signed, documents: Vec<String>) -> Self {
        let updated = learn::updated(&content);
        Self { content, signed: Some((by, documents)), updated, unchecked: None }
    }

    /// Evidence for what the document says of a file, by these digests.
    pub fn evidence(&self, document: &Kept, title: &str, file: &str, facts: &FoundSums) -> Evidence {
        let weak = facts.sums.iter().all(|sum| sum.algorithm().is_weak());
        match &self.signed {
            // The signature is over the digest: a digest that others can meet is not worth more by it.
            Some((by, documents)) if !weak => {
                let by_then = self.updated.map(|at| Timestamp(at.0.saturating_add(OUT_WITHIN)));
                let shown = Signed { at: earlier(by.at, self.updated), ..by.clone() };
                let evidence = signed_evidence(title, &shown, false, documents.clone());
                Evidence { signed_at: earlier(by.at, by_then).map(|at| at.0), ..evidence }
            }
            _ => {
                let mut evidence = unsigned(&document.url, &document.document.url, file, &facts.sums);
                if let Some(why) = &self.unchecked {
                    evidence.words.push_str("; its signature was not checked: ");
                    evidence.words.push_str(why);
                }
                evidence
            }
        }
    }
}

/// The earlier of two times, of those that are known.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Opens a vendor's document: checks its signatures, inside or beside it, by the rules. Without rules no signature is demanded and none counts.
///
/// # Errors
/// `SignatureRefused`, `KeyMissing`, `SignatureMissing`: by the rules; `SumsRefused` for text that is not signed as its marks say.
pub fn open(
    document: &Kept,
    signatures: &[Kept],
    rules: Option<&VendorRules>,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<OpenedDocument> {
    let bytes = &document.document.bytes[..];
    let refuse = |error: SignatureError| Reason::SumsRefused.about(&document.url).and(error);
    let plain = |unchecked| {
        let content = content(bytes).map_err(refuse)?.into_owned();
        Ok(OpenedDocument { content, signed: None, updated: None, unchecked })
    };
    let Some(rules) = rules.filter(|rules| rules.signs_lists()) else { return plain(None) };
    let trust = TrustedKeys { keyring, pins: &rules.keys, now };
    let mut failed: Option<(SignatureError, &str)> = None;
    if rules.signs_inside() {
        match verify_inside(bytes, &trust) {
            Ok((content, by)) => {
                return Ok(OpenedDocument::signed(content.into_owned(), by, vec![document.url.clone()]));
            }
            Err(SignatureError::NoSignature) => {}
            Err(error) => failed = Some((error, &document.url)),
        }
    }
    for signature in signatures {
        match verify_detached(&signature.document.bytes, &mut Cursor::new(bytes), &trust) {
            Ok(by) => {
                let content = content(bytes).map_err(refuse)?.into_owned();
                return Ok(OpenedDocument::signed(content, by, vec![document.url.clone(), signature.url.clone()]));
            }
            Err(error) if failed.as_ref().is_none_or(|(other, _)| error.weight() > other.weight()) => {
                failed = Some((error, &signature.url));
            }
            Err(_) => {}
        }
    }
    let demanded = rules.demands_signed_lists();
    match failed {
        // What can't be checked here is no sign of tampering. A key that is in none of the files is one, though a file may be too old.
        Some((error @ SignatureError::KeyMissing { .. }, _)) if !demanded => plain(Some(error.to_string())),
        Some((error, url)) => Err(refused(error, url)),
        None if demanded => Err(Reason::SignatureMissing.about(&rules.title).and(&document.url)),
        None => plain(None),
    }
}

/// Checks again what documents say of the file under a URL: the list first, then its signatures, as [`Evidence::documents`] names them. `None`
/// when the list does not name the file.
///
/// # Errors
/// As [`open`]; `SumsRefused` for a list that contradicts itself.
pub fn recheck(
    url: &str,
    rules: Option<&VendorRules>,
    keyring: &Keyring,
    kept: &[Kept],
    now: Timestamp,
) -> Result<Option<Expectation>> {
    let Some((list, signatures)) = kept.split_first() else { return Ok(None) };
    let opened = open(list, signatures, rules, keyring, now)?;
    let Some(facts) = facts(&opened.content, &list.url, url)? else { return Ok(None) };
    let title = rules.map_or("", |rules| rules.title.as_str());
    let evidence = opened.evidence(list, title, url, &facts);
    Ok(Some(expectation(facts, evidence)))
}

/// Facts of a list, of any form, about the file under a URL.
fn facts(content: &[u8], list_url: &str, url: &str) -> Result<Option<FoundSums>> {
    if learn::is_products(content) {
        return Ok(learn::find(list_url, content, url));
    }
    let sums = Sums::parse(content, &file_name(list_url))?;
    let by_path = below(folder(list_url), url).and_then(|path| sums.find(&path));
    Ok(by_path.or_else(|| sums.find(&file_name(url))))
}

/// Verifies a signature over a file itself, which is read from its beginning to its end.
///
/// # Errors
/// `SignatureRefused`, `KeyMissing`; `RolledBack` when it is older than the one held.
pub fn verify_file_signature<R: Read + Seek>(
    signature: &Kept,
    file: &mut R,
    rules: &VendorRules,
    keyring: &Keyring,
    held: Option<&Evidence>,
    now: Timestamp,
) -> Result<Evidence> {
    let trust = TrustedKeys { keyring, pins: &rules.keys, now };
    let by =
        verify_detached(&signature.document.bytes, file, &trust).map_err(|error| refused(error, &signature.url))?;
    let evidence = signed_evidence(&rules.title, &by, true, vec![signature.url.clone()]);
    super::guard::not_rolled_back(&evidence, held, &signature.url)?;
    Ok(evidence)
}

fn refused(error: SignatureError, url: &str) -> Error {
    let reason = match error {
        SignatureError::KeyMissing { .. } => Reason::KeyMissing,
        SignatureError::Unreadable(_) => return Error::internal(error),
        _ => Reason::SignatureRefused,
    };
    reason.about(url).and(error)
}
