//! Builds of vendors: from a name to the URL of one build, by the lists that its vendor publishes. A file for each form of list.
//!
//! A moving name never leaves here: `latest` and `current` are resolved to the place of the build itself.

mod candidate;
mod coreos;
mod dated;
mod debian;
mod fedora;
mod fixed;
mod found;
mod listing;
mod object;
mod oracle;
mod refusal;
mod seeker;
mod simplestreams;
#[cfg(test)]
mod tests;
mod trust;
mod walk;

pub use self::candidate::Candidate;
pub use self::dated::dated;
pub use self::found::ContainerMetadata;
use self::found::FoundBuild;
use self::seeker::Seeker;
use super::catalogue::{Catalogue, ListKind};
use super::documents::Documents;
use super::expectation::Evidence;
use super::level::Level;
use super::name::Name;
use crate::error::{Error, Result};
use crate::image::{Architecture, Timestamp};

/// Most builds that are listed of a vendor.
const BUILDS_MAX: usize = 200;

/// Finds the build that a name means at present. `require` is the level that the image has to reach.
///
/// The expectation, where the list has digests, is on the list's word: it may be less than the vendor's rules require, and then the sums beside
/// the file have to say more.
///
/// # Errors
/// `NotFound` for a vendor, release, variant, architecture or build that there is not, with those that there are; `Upstream` when
/// a list can't be had or read; `SumsRefused` when it leads out of its vendor's places; when signatures are required, `WeakerThanRequired` for a vendor
/// without keys, `KeyMissing` when none of them is here, `SignatureMissing` and `SignatureRefused`; `RolledBack` for a list that is older than the
/// one known.
pub async fn resolve(
    catalogue: &Catalogue,
    name: &Name,
    architecture: Architecture,
    documents: &dyn Documents,
    held: Option<&Evidence>,
    now: Timestamp,
    require: Level,
) -> Result<Candidate> {
    let mut seeker = Seeker::new(catalogue, name, architecture, documents, now, Some(require))?;
    seeker.held = held;
    let found = find(&mut seeker).await?;
    let first = found.into_iter().next().ok_or_else(|| seeker.no_build(&[]))?;
    Ok(seeker.candidate(first))
}

/// Lists the builds that a vendor has of a release, the newest first; without a release, those of the newest one, or of each where one list
/// has them all.
///
/// # Errors
/// As [`resolve`].
pub async fn builds(
    catalogue: &Catalogue,
    vendor: &str,
    release: Option<&str>,
    architecture: Architecture,
    documents: &dyn Documents,
    now: Timestamp,
) -> Result<Vec<Candidate>> {
    let name = Name::of(vendor, release.unwrap_or("latest"));
    let mut seeker = Seeker::new(catalogue, &name, architecture, documents, now, None)?;
    seeker.all = true;
    seeker.every_release = release.is_none();
    let found = find(&mut seeker).await?;
    Ok(found.into_iter().take(BUILDS_MAX).map(|found| seeker.candidate(found)).collect())
}

async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    match seeker.vendor.kind {
        ListKind::Simplestreams => simplestreams::find(seeker).await,
        ListKind::Sums | ListKind::Listing => walk::find(seeker).await,
        ListKind::DebianJson => debian::find(seeker).await,
        ListKind::FedoraJson => fedora::find(seeker).await,
        ListKind::CoreosStream => coreos::find(seeker).await,
        ListKind::OracleJson => oracle::find(seeker).await,
        ListKind::Fixed => fixed::find(seeker).await,
    }
}

/// An entry of the catalogue without what its kind needs, which reading it does not let pass.
fn incomplete(seeker: &Seeker<'_>) -> Error {
    Error::invalid(format!("The entry of {} in the catalogue is not complete.", seeker.vendor.name))
}
