//! Fedora's list of releases: one document with every image, its digest and its length.

use serde::Deserialize;

use super::found::FoundBuild;
use super::incomplete;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use crate::error::Result;
use crate::vendor::place::last_part;
use crate::vendor::sum::Sum;

/// An image. Lengths are texts.
#[derive(Deserialize)]
struct FedoraImage {
    arch: String,
    link: String,
    sha256: Option<String>,
    size: Option<String>,
}

/// Finds the images of a release, or of the newest one: betas, whose number is followed by a word, are none.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let vendor = seeker.vendor;
    let (Some(image), Some(list)) = (&vendor.image, &vendor.list) else { return Err(incomplete(seeker)) };
    let last = image.segments().pop().unwrap_or_default();
    let url = seeker.url(list, &seeker.facts)?.ok_or_else(|| incomplete(seeker))?;
    let document = seeker.get(&url, LIST_BYTES_MAX).await?.ok_or_else(|| seeker.refused(&url, "it is not there"))?;
    let images: Vec<FedoraImage> =
        serde_json::from_slice(&document.bytes).map_err(|error| seeker.refused(&url, error))?;
    let trusted = seeker.open(&url, document)?;
    let (mut found, mut releases) = (Vec::new(), Vec::new());
    let any = seeker.facts.without("release").without("build");
    let read = last.reader(&any)?;
    for listed in images.iter().filter(|listed| Some(listed.arch.as_str()) == seeker.facts.get("arch")) {
        let Some(facts) = read(last_part(&listed.link)) else { continue };
        releases.extend(facts.get("release").map(str::to_owned));
        if seeker.facts.get("release").is_some_and(|wanted| facts.get("release") != Some(wanted)) {
            continue;
        }
        let digest = listed.sha256.as_deref();
        let sum = digest
            .map(|digest| Sum::of_hex(digest).ok_or_else(|| seeker.refused(&url, format!("{digest:?} is no sha256"))));
        let size = listed.size.as_deref().and_then(|size| size.parse().ok());
        let sums = sum.transpose()?.into_iter().collect();
        let url = seeker.place(&seeker.base(), &listed.link)?;
        let expectation = seeker.expect(&trusted, &url, size, sums)?;
        found.push(FoundBuild::at(facts, url, expectation));
    }
    match found.is_empty() {
        true => Err(seeker.no_release(&releases)),
        false => seeker.wanted(found),
    }
}
