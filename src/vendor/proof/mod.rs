//! Proof of a file: its checksums and their signature are looked up beside its URL, checked, and held against what was known before.
//!
//! Documents come through [`Documents`]; what is checked of them is pure, and stands in `check`.

mod check;
mod guard;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _};

pub use self::check::{Kept, OpenedDocument, open, recheck, verify_file_signature};
pub(super) use self::guard::not_rolled_back;
use super::documents::{Documents, VendorDocument, get};
use super::expectation::{Evidence, Expectation};
use super::level::Level;
use super::place::{folder, last_part};
use super::rules::VendorRules;
use super::signature::{Keyring, SIGNATURE_BYTES_MAX};
use super::sums::SUMS_BYTES_MAX;
use crate::error::{Error, Kind, Reason, Result};
use crate::image::Timestamp;

/// Most lists that are asked for at the same time, and that rules may name.
const REQUESTS_MAX: usize = 6;

/// Seconds within which documents count as of one moment.
const AGE_MAX: i64 = 60;

/// Endings of lists about one file, and names of those about a folder, in the order in which they are believed.
const SIDECARS: [&str; 7] = [".sha512", ".sha256", ".SHA256", ".sha256sum", ".CHECKSUM", ".SHA256SUM", ".DIGESTS"];
const FOLDER_LISTS: [&str; 5] = ["SHA512SUMS", "SHA256SUMS", "CHECKSUM", "sha256sum.txt", "MD5SUMS"];

/// Documents as their servers have them now, whatever is held of them.
pub struct Anew<'a>(pub &'a dyn Documents);

#[async_trait]
impl Documents for Anew<'_> {
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.0.get_anew(url, bytes_max).await
    }

    async fn get_anew(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.0.get_anew(url, bytes_max).await
    }
}

/// Looks up what the file under a URL has to be: where the rules say, or in the usual places beside it if there are none that say a place.
/// `None` when no list names it. `held` is what was known before of the name that the file has; without it, weaker evidence and older lists are accepted.
///
/// # Errors
/// `SignatureRefused`, `KeyMissing`, `SignatureMissing`, `WeakerThanRequired`, `SumsRefused` by what is there; `WeakerThanBefore`, `RolledBack` by
/// what was; `Upstream` when a list that the rules name can't be asked for.
pub async fn prove(
    url: &str,
    rules: Option<&VendorRules>,
    keyring: &Keyring,
    documents: &dyn Documents,
    held: Option<&Evidence>,
    now: Timestamp,
) -> Result<Option<Expectation>> {
    prove_listed(url, None, rules, keyring, documents, held, now).await
}

/// As [`prove`], of a file that its vendor's list has digests of: these and what lies beside the file have to agree, and the bytes with all of
/// them. Nothing of a vendor's overrules another of its documents.
///
/// # Errors
/// As [`prove`]; `SumsRefused` when two documents contradict each other.
pub async fn prove_listed(
    url: &str,
    listed: Option<Expectation>,
    rules: Option<&VendorRules>,
    keyring: &Keyring,
    documents: &dyn Documents,
    held: Option<&Evidence>,
    now: Timestamp,
) -> Result<Option<Expectation>> {
    let will_do = rules.zip(listed.as_ref()).is_some_and(|(rules, listed)| listed.evidence.level >= rules.require);
    let is_list_signed = listed.as_ref().is_some_and(|listed| listed.evidence.level == Level::Signature);
    let beside = match rules {
        None => None,
        Some(rules) => match by_rules(url, rules, keyring, documents, now).await {
            // The list alone reaches what is demanded.
            Err(error) if will_do && is_absent(&error) => None,
            found => found?,
        },
    };
    let is_beside = beside.is_some();
    let mut found = match (beside, listed) {
        (Some(beside), Some(listed)) => Some(beside.and_listed(listed, url)?),
        (beside, listed) => beside.or(listed),
    };
    if !is_beside
        && !will_do
        && let Some(rules) = rules.filter(|rules| rules.demands_signed_lists())
    {
        return Err(Reason::SignatureMissing.about(&rules.title).and(url));
    }
    if found.is_none() && rules.is_none_or(VendorRules::names_nothing) {
        found = by_usual_places(url, rules.is_some(), documents, now).await?;
    }
    let (level, words) = found.as_ref().map_or((Level::None, "no checksum found"), |found: &Expectation| {
        (found.evidence.level, found.evidence.words.as_str())
    });
    // Where files themselves are signed, the verdict is that signature's, after the fill.
    if !rules.is_some_and(VendorRules::signs_files) {
        guard::not_weaker(level, words, held, url)?;
        if let Some(rules) = rules.filter(|rules| found.is_some() && level < rules.require) {
            return Err(Reason::WeakerThanRequired.about(url).and(rules.require).and(level));
        }
    }
    // A signed list was held to what was before when it was read. What lies beside the file is as old as its build, which may be older.
    if let Some(found) = found.as_ref().filter(|_| !is_list_signed) {
        guard::not_rolled_back(&found.evidence, held, found.evidence.documents.first().map_or(url, String::as_str))?;
    }
    Ok(found)
}

/// Looks a file up where its vendor's rules say. A list without a signature may stand beside one that is signed: the best that is found counts.
async fn by_rules(
    url: &str,
    rules: &VendorRules,
    keyring: &Keyring,
    documents: &dyn Documents,
    now: Timestamp,
) -> Result<Option<Expectation>> {
    let (mut best, mut unsigned): (Option<Expectation>, Option<Error>) = (None, None);
    for list in rules.sums_of(url).into_iter().take(REQUESTS_MAX) {
        let kept = with_signatures(&list, url, rules, documents).await?;
        let mut checked = recheck(url, Some(rules), keyring, &kept, now);
        // A list and a signature of different ages do not fit each other, and an old list does not name a new file.
        let aged = kept.iter().any(|kept| kept.document.checked_at.seconds() + AGE_MAX < now.seconds());
        if aged
            && may_be_of_age(&checked)
            && let Ok(kept) = with_signatures(&list, url, rules, &Anew(documents)).await
        {
            checked = recheck(url, Some(rules), keyring, &kept, now);
        }
        match checked {
            Ok(Some(found)) => {
                let is_last = !rules.signs_lists() || found.evidence.level >= Level::Signature;
                if best.as_ref().is_none_or(|best| found.evidence.level > best.evidence.level) {
                    best = Some(found);
                }
                if is_last {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) if error.reason() == Reason::SignatureMissing => unsigned = unsigned.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match (best, unsigned) {
        (None, Some(unsigned)) => Err(unsigned),
        (best, _) => Ok(best),
    }
}

/// Tells whether a list is not there, or can't be asked for.
fn is_absent(error: &Error) -> bool {
    error.reason() == Reason::SignatureMissing || matches!(error.kind(), Kind::Upstream | Kind::Busy)
}

/// Tells whether newer documents may give another verdict.
fn may_be_of_age(checked: &Result<Option<Expectation>>) -> bool {
    match checked {
        Ok(found) => found.is_none(),
        Err(error) => matches!(error.reason(), Reason::SignatureRefused | Reason::SignatureMissing),
    }
}

/// Gets a list and the signatures beside it, all at the same time.
async fn with_signatures(list: &str, file: &str, rules: &VendorRules, documents: &dyn Documents) -> Result<Vec<Kept>> {
    let mut wanted = vec![(list.to_owned(), SUMS_BYTES_MAX)];
    if rules.signs_lists() {
        let beside = rules.signatures_of(list, file).into_iter().take(REQUESTS_MAX);
        wanted.extend(beside.map(|signature| (signature, SIGNATURE_BYTES_MAX)));
    }
    let gotten = try_join_all(wanted.into_iter().map(|(url, bytes_max)| kept(url, bytes_max, documents))).await?;
    let mut gotten = gotten.into_iter();
    let Some(list) = gotten.next().flatten() else { return Ok(Vec::new()) };
    Ok(std::iter::once(list).chain(gotten.flatten()).collect())
}

/// Looks a file up in the usual places, of which most are not there, and whose servers refuse in many ways to say so. A vendor whose entry
/// names no place is asked for few.
async fn by_usual_places(
    url: &str,
    few: bool,
    documents: &dyn Documents,
    now: Timestamp,
) -> Result<Option<Expectation>> {
    let (folder, file, keyring) = (folder(url), last_part(url), Keyring::new());
    if file.is_empty() {
        return Ok(None);
    }
    let (sidecars, lists) = if few { (&SIDECARS[..2], &FOLDER_LISTS[..4]) } else { (&SIDECARS[..], &FOLDER_LISTS[..]) };
    let sidecars = sidecars.iter().map(|ending| format!("{folder}{file}{ending}"));
    let lists = lists.iter().map(|name| format!("{folder}{name}"));
    // Collected, so that no closure is part of the future: such futures are not known to be Send.
    let asked: Vec<_> = sidecars.chain(lists).map(|list| kept(list, SUMS_BYTES_MAX, documents)).collect();
    let mut answers = stream::iter(asked).buffered(REQUESTS_MAX);
    while let Some(answer) = answers.next().await {
        let Ok(Some(list)) = answer else { continue };
        if let Some(found) = recheck(url, None, &keyring, &[list], now)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Gets the signature over a file itself, where its vendor makes some; it is verified when the file is here.
///
/// # Errors
/// `SignatureMissing` when there is none and one is demanded, `WeakerThanBefore` when there was one; `Upstream`.
pub async fn file_signature(
    url: &str,
    rules: &VendorRules,
    documents: &dyn Documents,
    held: Option<&Evidence>,
) -> Result<Option<Kept>> {
    for signature in rules.signatures_of_file(url).into_iter().take(REQUESTS_MAX) {
        if let Some(kept) = kept(signature, SIGNATURE_BYTES_MAX, documents).await? {
            return Ok(Some(kept));
        }
    }
    if rules.require == Level::Signature {
        return Err(Reason::SignatureMissing.about(&rules.title).and(url));
    }
    guard::not_weaker(Level::None, "no signature found", held, url)?;
    Ok(None)
}

async fn kept(url: String, bytes_max: usize, documents: &dyn Documents) -> Result<Option<Kept>> {
    let document = get(documents, &url, bytes_max).await?;
    Ok(document.map(|document| Kept { url, document }))
}
