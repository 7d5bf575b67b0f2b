//! Verification of a fill: what its bytes have to be, sought beside the transfer, and the verdict at its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::core::Cache;
use super::entry::Head;
use super::fill::{Fill, FillState, Voucher};
use super::key::Key;
use super::trouble::Setback;
use crate::error::{Error, Kind, Reason, Result};
use crate::vendor::proof::Anew;
use crate::vendor::{Documents, Evidence, Expectation, Level, Sum};

/// Time to find out what vouches for a file.
const LOOKUP: Duration = Duration::from_secs(30);

/// Verdict on the bytes of a fill.
#[derive(Debug)]
pub(super) enum Passed {
    /// They reach a level.
    As(Evidence, Vec<Sum>),
    /// They are not the expected ones.
    Not(Difference),
}

/// Difference between bytes and an expectation.
#[derive(Debug)]
pub(super) struct Difference {
    /// Words for what differs, with the document that says what it should be.
    how: String,
    /// True if the expectation is the caller's own.
    is_given: bool,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.how)
    }
}

/// Finds out what the bytes of a fill have to be, and lets its readers know.
pub(super) async fn lookup(cache: Arc<Cache>, fill: Arc<Fill>) {
    let proof = match (fill.document, &fill.given) {
        (true, _) => Voucher::Absent,
        // All documents of the vendor were asked for just now, by the pull that began it.
        (false, Some(known)) if known.evidence.level != Level::Given => Voucher::Known(Arc::new(known.clone())),
        (false, _) => match cache.expected(&fill.key, false).await {
            Ok(Some(expectation)) => Voucher::Known(expectation),
            Ok(None) => Voucher::Absent,
            Err(error) => Voucher::Refused(error.into()),
        },
    };
    let least = least(&fill.key);
    fill.state.send_modify(|state| {
        state.released |= matches!(proof, Voucher::Absent) && fill.require <= least;
        state.proof = proof;
    });
}

/// Level that the connection alone gives to the bytes under a key.
fn least(key: &Key) -> Level {
    if key.scheme() == "https" { Level::Tls } else { Level::None }
}

impl Cache {
    /// Waits until it is known whether anything vouches for a file whose connection is not enough: a client whose answer could only break
    /// off at its end gets the error in its place.
    ///
    /// # Errors
    /// `WeakerThanRequired`.
    pub(super) async fn promises(&self, fill: &Fill, require: Level) -> Result<()> {
        let least = least(&fill.key);
        // A vendor may sign its files themselves, which their bytes will tell.
        if require <= least || self.prover.require(fill.key.url()).is_some() {
            return Ok(());
        }
        let mut state = fill.state.subscribe();
        let is_known = |state: &FillState| state.end.is_some() || !matches!(state.proof, Voucher::Sought);
        let state = state.wait_for(is_known).await.map_err(Error::internal)?;
        match state.proof {
            Voucher::Absent if state.end.is_none() => {
                Err(unverified(&fill.key, require, &Evidence { level: least, ..Evidence::default() }))
            }
            _ => Ok(()),
        }
    }

    /// Expectation of the bytes under a key: from a document that named it, or from sums beside it. With `anew`, documents are asked
    /// for again.
    ///
    /// # Errors
    /// Those of documents that are not to be trusted; and of those that can't be had, for a file that was more than its connection before.
    pub(super) async fn expected(&self, key: &Key, anew: bool) -> Result<Option<Arc<Expectation>>> {
        let held = self.held(key).map(|held| held.see(|entry| entry.evidence.clone()));
        let least = held.as_ref().map_or(Level::None, |held| held.level).max(self.required(key));
        let learned = self.learned(key);
        if let Some(learned) = learned.as_ref().filter(|learned| learned.evidence.level >= least && !anew) {
            return Ok(Some(Arc::clone(learned)));
        }
        let again = Anew(&*self.documents);
        let documents: &dyn Documents = if anew { &again } else { &*self.documents };
        let proving = self.prover.prove(key.url(), documents, held.as_ref(), self.now());
        let proven = tokio::time::timeout(LOOKUP, proving).await;
        let proven = proven.unwrap_or_else(|_| Err(Reason::Upstream.saying("The checksums did not come in time.")));
        match proven {
            Ok(Some(expectation)) => Ok(Some(Arc::new(expectation))),
            Ok(None) => Ok(learned),
            // Without its documents a file is what its connection makes of it, unless it was more before.
            Err(error) if is_away(&error) && held.is_none_or(|held| held.level <= Level::Tls) => {
                log::info!("nothing vouches for {}: {}", key.shown(), error.logged());
                Ok(learned)
            }
            Err(error) => Err(error),
        }
    }
}

impl Cache {
    /// Evidence of a file whose vendor signs files themselves, or else what there is already.
    ///
    /// # Errors
    /// Those of a signature that is not to be trusted, or that is demanded and can't be had.
    pub(super) async fn signed(&self, key: &Key, file: &Path, require: Level, evidence: Evidence) -> Result<Evidence> {
        let held = self.held(key).map(|held| held.see(|entry| entry.evidence.clone()));
        match self.prover.prove_file(key.url(), file, &*self.documents, held.as_ref(), self.now()).await {
            Ok(Some(signed)) => Ok(signed),
            Ok(None) => Ok(evidence),
            Err(error) if is_away(&error) && require < Level::Signature => Ok(evidence),
            Err(error) => Err(error),
        }
    }
}

fn is_away(error: &Error) -> bool {
    matches!(error.kind(), Kind::Upstream | Kind::NotFound | Kind::Busy)
}

/// Judges bytes by their length and digests.
pub(super) fn judge(key: &Key, head: &Head, size: u64, sums: &[Sum], proof: &Voucher) -> Result<Passed, Setback> {
    match proof {
        Voucher::Refused(failure) => Err(failure.clone()),
        Voucher::Known(expectation) => Ok(compare(expectation, size, sums)),
        Voucher::Sought | Voucher::Absent => Ok(Passed::As(plain(key, head), Vec::new())),
    }
}

/// Compares bytes with an expectation: all of its sums have to be theirs.
pub(super) fn compare(expectation: &Expectation, size: u64, sums: &[Sum]) -> Passed {
    let is_given = expectation.evidence.level == Level::Given;
    let differ = |how: String| Passed::Not(Difference { how, is_given });
    if let Some(wanted) = expectation.size.filter(|wanted| *wanted != size) {
        return differ(format!("there are {size} of them, not {wanted}"));
    }
    for wanted in &expectation.sums {
        match sums.iter().find(|sum| sum.algorithm() == wanted.algorithm()) {
            Some(sum) if sum == wanted => {}
            Some(sum) => return differ(format!("they hash to {sum}, not to {wanted}{}", expectation.source(wanted))),
            None => return differ(format!("they were not hashed by {}", wanted.algorithm().name())),
        }
    }
    Passed::As(expectation.evidence.clone(), expectation.sums.clone())
}

/// Level of bytes that nothing but their connection vouches for.
pub(super) fn plain(key: &Key, head: &Head) -> Evidence {
    let host = Key::parse(&head.url).map_or_else(|_| key.host().to_owned(), |at| at.host().to_owned());
    let is_tls = key.scheme() == "https" && head.url.starts_with("https://");
    let (level, words) = match is_tls {
        true => (Level::Tls, format!("came over https from {host}; no checksum found")),
        false => (Level::None, "came over http; nothing to check against".to_owned()),
    };
    Evidence { level, words, ..Evidence::default() }
}

/// A verdict that lets bytes pass, raised to what the caller knows of them.
pub(super) fn raised(passed: Passed, given: Option<&Expectation>, size: u64, sums: &[Sum]) -> Passed {
    match (passed, given.map(|given| compare(given, size, sums))) {
        (Passed::As(found, _), Some(Passed::As(evidence, expected))) if evidence.level > found.level => {
            Passed::As(evidence, expected)
        }
        (passed, _) => passed,
    }
}

/// The error for bytes that are not the expected ones.
pub(super) fn mismatch(key: &Key, difference: &Difference) -> Error {
    let reason = if difference.is_given { Reason::GivenMismatch } else { Reason::VendorMismatch };
    reason.about(key.shown()).and(difference)
}

/// The error for bytes that are not those of the vendor's documents, and were put into quarantine.
pub(super) fn put_aside(key: &Key, difference: &Difference) -> Error {
    let what =
        "They are kept aside for seven days: if they are right all the same, 'visor pull' takes them with --sha256";
    Reason::VendorMismatch.about(key.shown()).and(format!("{difference}. {what}"))
}

/// The error for bytes that did not reach a level.
pub(super) fn unverified(key: &Key, required: Level, evidence: &Evidence) -> Error {
    Reason::WeakerThanRequired.about(key.shown()).and(required).and(evidence.level)
}
