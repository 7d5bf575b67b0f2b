//! Stream documents of Fedora CoreOS: the newest build of a stream, with an artifact for each architecture and platform.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::found::FoundBuild;
use super::incomplete;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use crate::error::Result;
use crate::image::Architecture;
use crate::vendor::sum::Sum;

/// A stream.
#[derive(Deserialize)]
struct StreamOfCoreos {
    architectures: BTreeMap<String, Processor>,
}

#[derive(Deserialize)]
struct Processor {
    #[serde(default)]
    artifacts: BTreeMap<String, Artifact>,
}

/// Artifact for a platform.
#[derive(Deserialize)]
struct Artifact {
    release: String,
    #[serde(default)]
    formats: BTreeMap<String, Files>,
}

/// Files of a format.
#[derive(Deserialize)]
struct Files {
    disk: Option<Disk>,
}

/// A file, as it is published: compressed.
#[derive(Deserialize)]
struct Disk {
    location: String,
    sha256: String,
    /// Of the disk in it.
    #[serde(rename = "uncompressed-sha256")]
    unpacked: Option<String>,
}

/// Finds the newest build of a stream; an older one by the shape of its URL.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let vendor = seeker.vendor;
    let (Some(image), Some(list)) = (&vendor.image, &vendor.list) else { return Err(incomplete(seeker)) };
    let url = seeker.url(list, &seeker.facts)?.ok_or_else(|| seeker.no_release(&vendor.releases))?;
    let Some(document) = seeker.get(&url, LIST_BYTES_MAX).await? else {
        return Err(seeker.no_release(&vendor.releases));
    };
    let stream: StreamOfCoreos =
        serde_json::from_slice(&document.bytes).map_err(|error| seeker.refused(&url, error))?;
    let arch = seeker.facts.get("arch").unwrap_or_default();
    let artifacts = stream.architectures.get(arch).map(|processor| &processor.artifacts);
    let Some(artifacts) = artifacts else {
        let known = stream.architectures.keys().filter(|name| Architecture::parse(name).is_some());
        return Err(seeker.no_architecture(&known.cloned().collect::<Vec<_>>()));
    };
    let platform = seeker.facts.get("variant").unwrap_or_default();
    let Some(artifact) = artifacts.get(platform) else {
        return Err(seeker.no_variant(&artifacts.keys().cloned().collect::<Vec<_>>()));
    };
    let facts = seeker.facts.with("build", artifact.release.as_str());
    // An older build is as it was: its digest comes from its signature alone.
    if let Some(asked) = seeker.name.build.as_ref().filter(|asked| **asked != artifact.release) {
        let facts = seeker.facts.with("build", asked.as_str());
        let url = seeker.url(image, &facts)?.ok_or_else(|| incomplete(seeker))?;
        return Ok(vec![FoundBuild::at(facts, url, None)]);
    }
    let formats: Vec<String> = artifact.formats.keys().cloned().collect();
    let of_format = |name: &str| vendor.format.is_none_or(|format| name.split('.').next() == Some(format.name()));
    let disk = artifact.formats.iter().filter(|(name, _)| of_format(name)).find_map(|(_, files)| files.disk.as_ref());
    let disk = disk.or_else(|| artifact.formats.values().find_map(|files| files.disk.as_ref()));
    let disk = disk.ok_or_else(|| seeker.no_variant(&formats))?;
    let sum = |hex: &String| Sum::of_hex(hex).ok_or_else(|| seeker.refused(&url, format!("{hex:?} is no sha256")));
    let (packed, unpacked) = (sum(&disk.sha256)?, disk.unpacked.as_ref().map(sum).transpose()?);
    let place = seeker.place(&seeker.base(), &disk.location)?;
    let expectation = seeker.expect(&seeker.open(&url, document)?, &place, None, vec![packed])?;
    Ok(vec![FoundBuild { unpacked, ..FoundBuild::at(facts, place, expectation) }])
}
