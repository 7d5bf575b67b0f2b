//! Debian's lists: beside each image a document of what was uploaded of its build, with digests in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;

use super::found::FoundBuild;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use super::{incomplete, walk};
use crate::error::Result;
use crate::vendor::sum::{Sum, SumAlgorithm};

/// A list.
#[derive(Deserialize)]
struct BuildList {
    items: Vec<Upload>,
}

/// A file of a build, if `kind` says so.
#[derive(Deserialize)]
struct Upload {
    kind: String,
    #[serde(default)]
    data: UploadData,
    #[serde(default)]
    metadata: UploadMetadata,
}

#[derive(Default, Deserialize)]
struct UploadData {
    /// Path below the base.
    #[serde(rename = "ref", default)]
    path: String,
}

#[derive(Default, Deserialize)]
struct UploadMetadata {
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "cloud.debian.org/digest")]
    digest: Option<String>,
}

/// Finds the builds of a release: the newest, or the one that is asked for; all of them by the listing of their folder.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    if seeker.all {
        return walk::find(seeker).await;
    }
    let vendor = seeker.vendor;
    let (Some(image), Some(list)) = (&vendor.image, &vendor.list) else { return Err(incomplete(seeker)) };
    // The list of an older build lies beside its image, and is called as that is.
    let of_build = seeker.url(image, &seeker.facts)?.map(|url| format!("{}.json", url.trim_end_matches(".qcow2")));
    let url = match of_build {
        Some(url) => url,
        None => seeker.url(list, &seeker.facts)?.ok_or_else(|| incomplete(seeker))?,
    };
    let Some(document) = seeker.get(&url, LIST_BYTES_MAX).await? else { return Err(seeker.no_build(&[])) };
    let list: BuildList = serde_json::from_slice(&document.bytes).map_err(|error| seeker.refused(&url, error))?;
    let trusted = seeker.open(&url, document)?;
    let mut found = Vec::new();
    let read = image.reader(&seeker.facts)?;
    for upload in list.items.iter().filter(|upload| upload.kind.eq_ignore_ascii_case("upload")) {
        let Some(facts) = read(&upload.data.path) else { continue };
        let digest = upload.metadata.annotations.digest.as_deref();
        let sum =
            digest.map(|digest| sum(digest).ok_or_else(|| seeker.refused(&url, format!("{digest:?} is no digest"))));
        let sums = sum.transpose()?.into_iter().collect();
        let url = seeker.place(&seeker.base(), &upload.data.path)?;
        let expectation = seeker.expect(&trusted, &url, None, sums)?;
        found.push(FoundBuild::at(facts, url, expectation));
    }
    if found.is_empty() {
        return Err(seeker.refused(&url, format!("it names no image '{}' with its build", seeker.name)));
    }
    seeker.wanted(found)
}

/// A digest such as `sha512:…` in base64, with its padding or without.
fn sum(text: &str) -> Option<Sum> {
    let (name, digest) = text.split_once(':')?;
    let algorithm = SumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)?;
    Sum::new(algorithm, STANDARD_NO_PAD.decode(digest.trim_end_matches('=')).ok()?)
}
