//! Moving names: from a URL that stands for the newest build to the URL of that build, by the vendor's own list.

use super::find;
use super::seeker::Seeker;
use crate::error::Result;
use crate::image::{Architecture, Timestamp};
use crate::vendor::catalogue::{Catalogue, Vendor};
use crate::vendor::documents::Documents;
use crate::vendor::expectation::Evidence;
use crate::vendor::moving::is_moving;
use crate::vendor::name::Name;
use crate::vendor::template::KnownFields;

/// Fields that tell the release of a build, the most exact first.
const OF_RELEASE: [&str; 4] = ["version", "release", "major", "codename"];

/// Finds the build that a moving name stands for at present; `None` for a URL that no vendor says to be one. `held` is what is known of
/// the build that it stood for before: an older list does not bring back an older build.
///
/// # Errors
/// As [`resolve`](super::resolve).
pub async fn dated(
    catalogue: &Catalogue,
    url: &str,
    documents: &dyn Documents,
    held: Option<&Evidence>,
    now: Timestamp,
) -> Result<Option<String>> {
    let Some((vendor, architecture, told)) = told(catalogue, url)? else { return Ok(None) };
    let release = OF_RELEASE.into_iter().find_map(|field| told.get(field)).unwrap_or("latest");
    let name = Name::of(&vendor.name, release);
    let mut seeker = Seeker::new(catalogue, &name, architecture, documents, now, None)?;
    seeker.held = held;
    seeker.file = told.get("file").map(ToOwned::to_owned);
    seeker.facts = seeker.facts.and(&told);
    let found = find(&mut seeker).await?;
    Ok(found.into_iter().next().map(|build| build.url).filter(|build| !is_moving(build)))
}

/// Vendor that says a URL to be a moving name, the processor of its image, and the facts that the URL tells. Over https, what is asked for over
/// http is the vendor's too.
fn told<'a>(catalogue: &'a Catalogue, url: &str) -> Result<Option<(&'a Vendor, Architecture, KnownFields)>> {
    let secure = url.replacen("http://", "https://", 1);
    let urls = [Some(url), (secure != url).then_some(secure.as_str())];
    for vendor in catalogue.vendors().filter(|vendor| !vendor.moving.is_empty()) {
        for (architecture, facts) in beginnings(vendor) {
            for moving in &vendor.moving {
                for url in urls.into_iter().flatten() {
                    if let Some(told) = moving.read(&facts, url)? {
                        return Ok(Some((vendor, architecture, told)));
                    }
                }
            }
        }
    }
    Ok(None)
}

/// Facts that a URL of a vendor may have: words of processors, and of releases where the host is one's. A pattern could not tell where they
/// end.
fn beginnings(vendor: &Vendor) -> Vec<(Architecture, KnownFields)> {
    let of_release = |facts: &KnownFields| {
        let with = |(architecture, word): &(Architecture, String)| (*architecture, facts.with("arch", word.as_str()));
        vendor.architectures.iter().map(with).collect::<Vec<_>>()
    };
    vendor.of_bases().iter().flat_map(of_release).collect()
}
