//! Candidates: builds that were found, with what a pull needs to know of them.

use std::collections::BTreeMap;

use super::found::{ContainerMetadata, FoundBuild};
use super::seeker::Seeker;
use crate::image::{Architecture, Format};
use crate::vendor::expectation::Expectation;
use crate::vendor::name::Name;
use crate::vendor::place::last_part;
use crate::vendor::sum::Sum;
use crate::vendor::template::KnownFields;

/// Endings of files that are compressed.
const PACKED: [&str; 4] = ["xz", "bz2", "zst", "gz"];

/// A build of an image, and the place of its file.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name, with the build where the vendor has builds.
    pub name: Name,
    /// URL of the file: of this build, and of no moving name.
    pub url: String,
    /// Format of the disk, once unpacked, if it is known.
    pub format: Option<Format>,
    /// True if the file has to be unpacked.
    pub packed: bool,
    /// Processor.
    pub architecture: Architecture,
    /// Serial, which grows from build to build.
    pub serial: String,
    /// Names that stand for this build at present: none when an older one was asked for.
    pub aliases: Vec<String>,
    /// Title for people.
    pub title: String,
    /// Digests of the list, with its word for them.
    pub expectation: Option<Expectation>,
    /// Digest of the disk in the file, of one that has to be unpacked.
    pub unpacked: Option<Sum>,
    /// File that describes it to LXD and Incus, of a container: the two together are the image.
    pub metadata: Option<ContainerMetadata>,
    /// Attributes that the list gives to images, such as what they demand of LXD and Incus.
    pub properties: BTreeMap<String, String>,
}

impl Seeker<'_> {
    /// Makes a candidate of a build.
    pub(super) fn candidate(&self, found: FoundBuild) -> Candidate {
        let FoundBuild { facts, url, aliases, expectation, unpacked, metadata, properties } = found;
        let vendor = self.vendor;
        let release = facts.get("version").or(facts.get("release")).unwrap_or("latest").to_owned();
        let build = facts.get("build").map(ToOwned::to_owned);
        let variant = self.name.variant.clone().filter(|variant| Some(variant) != vendor.variant.as_ref());
        let name = Name { release: release.clone(), build: build.clone(), variant, ..self.name.clone() };
        let serial = match (facts.get("version"), build) {
            (Some(version), Some(build)) => format!("{version}-{build}"),
            (_, build) => build.unwrap_or_else(|| release.clone()),
        };
        let file = last_part(&url).to_ascii_lowercase();
        let packed = vendor.unpack.iter().any(|step| step == "tar") || PACKED.iter().any(|end| ends(&file, end));
        let aliases =
            if self.all || self.name.build.is_some() { Vec::new() } else { self.aliases(&name, &facts, aliases) };
        let number = if release == "latest" { &serial } else { &release };
        let title = format!("{} {number}", vendor.title);
        let (format, architecture) = (format(&file).or(vendor.format), self.architecture);
        Candidate {
            format,
            packed,
            architecture,
            serial,
            aliases,
            title,
            expectation,
            unpacked,
            metadata,
            properties,
            name,
            url,
        }
    }

    /// Names of the newest build of a release.
    fn aliases(&self, name: &Name, facts: &KnownFields, listed: Vec<String>) -> Vec<String> {
        let release = facts.get("release").unwrap_or_default();
        let aliases = self.vendor.aliases.iter().filter(|(_, of)| *of == release).map(|(alias, _)| alias.clone());
        let codename = self.vendor.codenames.get(release).cloned();
        let numbers = [name.release.clone(), release.to_owned()];
        let releases =
            numbers.into_iter().chain(codename).chain(aliases).chain(listed).chain([self.name.release.clone()]);
        let mut names = Vec::new();
        for release in releases.filter(|release| !release.is_empty()) {
            let alias = Name { release, ..name.moving() }.to_string();
            // A list may have names that are none here.
            if alias.parse::<Name>().is_ok() && !names.contains(&alias) {
                names.push(alias);
            }
        }
        names
    }
}

fn ends(file: &str, ending: &str) -> bool {
    file.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.'))
}

/// Format of the disk that a file's name tells. What ends in `img` may be anything.
fn format(file: &str) -> Option<Format> {
    let plain = PACKED.iter().find(|end| ends(file, end)).map_or(file, |end| &file[..file.len() - end.len() - 1]);
    let (_, ending) = plain.rsplit_once('.')?;
    Format::parse(ending).filter(|_| ending != "img").filter(|format| *format != Format::Tar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_the_format_of_the_disk_in_it() {
        let cases = [
            ("a-1.qcow2", Some(Format::Qcow2)),
            ("a.raw.xz", Some(Format::Raw)),
            ("a.img", None),
            ("a.img.bz2", None),
            ("a.tar.xz", None),
            ("a.iso", Some(Format::Iso)),
            ("a.squashfs", Some(Format::Squashfs)),
            ("disk", None),
        ];
        for (file, expected) in cases {
            assert_eq!(format(file), expected, "{file}");
        }
        assert!(ends("a.xz", "xz") && !ends("axz", "xz"));
    }
}
