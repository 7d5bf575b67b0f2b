//! Provenance: where a pulled image came from and how far it was verified, as free attributes of its record, which every protocol
//! shows. Values only.

use std::collections::BTreeMap;

use crate::image::query::Filter;
use crate::image::{Image, PartKind, Timestamp};
use crate::vendor::{Evidence, Level, LockedImage, LockedMetadata, Sum};

const ORIGIN: &str = "visor.origin";
const FINAL: &str = "visor.final";
const NAME: &str = "visor.name";
const ALIAS: &str = "visor.alias";
const SERIAL: &str = "visor.serial";
const VERIFIED: &str = "visor.verified";
const WORDS: &str = "visor.verified_words";
const BY: &str = "visor.verified_by";
const AT: &str = "visor.verified_at";
const SIGNED_AT: &str = "visor.signed_at";
const DOCUMENTS: &str = "visor.documents";
const UNPACKED_FROM: &str = "visor.unpacked_from";
const UNPACKED_SIZE: &str = "visor.unpacked_size";
const QUERY: &str = "visor.origin_query";
const METADATA: &str = "visor.metadata";
const PINNED: &str = "visor.pinned";
const SUPERSEDED_AT: &str = "visor.superseded_at";

/// Origin of a pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// URL of the file, without its query, which may hold a secret.
    pub origin: String,
    /// Place that the bytes came from, after redirects, without its query.
    pub final_url: String,
    /// Name with the build: `debian/13:20260105`.
    pub name: String,
    /// Name without the build, by which the newest image is found.
    pub alias: String,
    /// Serial of the build.
    pub serial: String,
    /// Level that the bytes reached, and on whose word.
    pub evidence: Evidence,
    /// Time of the verification.
    pub verified_at: String,
    /// SHA-256 and size of the file as it is published, where the image is what was in it.
    pub unpacked_from: Option<(Sum, u64)>,
    /// True if the URL had a query, which is not kept: without it the file can't be asked for again.
    pub had_query: bool,
    /// True if it is never removed for room.
    pub is_pinned: bool,
    /// URL of the file that describes it to LXD and Incus, of a container.
    pub metadata: Option<String>,
}

impl Provenance {
    /// The attributes.
    pub(in crate::registry) fn properties(&self) -> BTreeMap<String, Option<String>> {
        let Evidence { level, words, fingerprint, signed_at, documents } = &self.evidence;
        let some = |text: &str| Some(text.to_owned());
        let unpacked = self.unpacked_from.as_ref();
        let pairs = [
            (ORIGIN, some(&self.origin)),
            (FINAL, some(&self.final_url).filter(|url| *url != self.origin)),
            (NAME, some(&self.name)),
            (ALIAS, some(&self.alias)),
            (SERIAL, some(&self.serial)),
            (VERIFIED, some(level.name())),
            (WORDS, some(words)),
            (BY, fingerprint.clone()),
            (AT, some(&self.verified_at)),
            (SIGNED_AT, signed_at.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()).map(|at| at.to_string())),
            (DOCUMENTS, Some(documents.join(" ")).filter(|text| !text.is_empty())),
            (UNPACKED_FROM, unpacked.map(|(sum, _)| sum.hex())),
            (UNPACKED_SIZE, unpacked.map(|(_, size)| size.to_string())),
            (QUERY, self.had_query.then(|| "left out".to_owned())),
            (PINNED, self.is_pinned.then(|| "true".to_owned())),
            (METADATA, self.metadata.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Reads the attributes of an image; `None` for one that was not pulled.
    pub fn of(image: &Image) -> Option<Self> {
        let text = |name: &str| image.properties.get(name).cloned();
        let unpacked_from = text(UNPACKED_FROM)
            .and_then(|hex| Sum::of_hex(&hex))
            .zip(text(UNPACKED_SIZE).and_then(|size| size.parse().ok()));
        let origin = text(ORIGIN)?;
        Some(Self {
            final_url: text(FINAL).unwrap_or_else(|| origin.clone()),
            origin,
            name: text(NAME)?,
            alias: text(ALIAS)?,
            serial: text(SERIAL).unwrap_or_default(),
            evidence: Evidence {
                level: text(VERIFIED).and_then(|word| word.parse().ok()).unwrap_or(Level::None),
                words: text(WORDS).unwrap_or_default(),
                fingerprint: text(BY),
                signed_at: text(SIGNED_AT).and_then(|at| moment(&at)),
                documents: text(DOCUMENTS).iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect(),
            },
            verified_at: text(AT).unwrap_or_default(),
            unpacked_from,
            had_query: text(QUERY).is_some(),
            is_pinned: text(PINNED).is_some(),
            metadata: text(METADATA),
        })
    }

    /// Condition on images: pulled under a name, without its build.
    pub(in crate::registry) fn has_alias(alias: &str) -> Filter {
        Filter::Property(ALIAS.to_owned(), alias.to_owned())
    }

    /// Condition on images: pulled from a URL, without its query.
    pub(in crate::registry) fn has_origin(url: &str) -> Filter {
        Filter::Property(ORIGIN.to_owned(), url.to_owned())
    }

    /// SHA-256 and size of the file of an image as it is published.
    pub(in crate::registry) fn published(&self, image: &Image) -> Option<(Sum, u64)> {
        let stored = || {
            let part = image.main()?;
            Some((Sum::of_hex(&part.digests.sha256_hex()?)?, part.size?))
        };
        self.unpacked_from.clone().or_else(stored)
    }

    /// Entry of an image in a lock file.
    pub fn locked(image: &Image) -> Option<LockedImage> {
        let origin = Self::of(image)?;
        let (sha256, size) = origin.published(image)?;
        let described = image.parts.iter().find(|part| part.kind == PartKind::Metadata);
        let metadata = origin.metadata.zip(described).and_then(|(url, part)| {
            Some(LockedMetadata { url, sha256: Sum::of_hex(&part.digests.sha256_hex()?)?, size: part.size? })
        });
        Some(LockedImage {
            metadata,
            sha256,
            size,
            name: origin.name,
            alias: origin.alias,
            architecture: image.architecture.map(|one| one.name().to_owned()),
            url: origin.origin,
            final_url: origin.final_url,
            format: image.format.map(|format| format.name().to_owned()),
            serial: origin.serial,
            verified: origin.evidence.level,
            by: origin.evidence.fingerprint,
            at: origin.verified_at,
        })
    }
}

/// Tells if a newer build took the place of an image.
pub fn is_superseded(image: &Image) -> bool {
    image.properties.contains_key(SUPERSEDED_AT)
}

/// Time in seconds at which a newer build took the place of an image.
pub(in crate::registry) fn superseded_at(image: &Image) -> Option<i64> {
    let at: jiff::Timestamp = image.properties.get(SUPERSEDED_AT)?.parse().ok()?;
    Some(at.as_second())
}

/// Marks an image as superseded: it is found by the name of its build from now on, and in lists that ask for hidden images.
pub(in crate::registry) fn supersede(image: &mut Image, now: Timestamp) {
    if let Some(name) = image.properties.get(NAME).cloned() {
        image.name = Some(name);
    }
    image.properties.insert(SUPERSEDED_AT.to_owned(), written(now));
    (image.hidden, image.name_is_alias, image.auto_update) = (true, false, false);
    image.updated_at = Some(now);
}

/// Makes an image the current one of its name.
pub(in crate::registry) fn instate(image: &mut Image, now: Timestamp) {
    if let Some(alias) = image.properties.get(ALIAS).cloned() {
        image.name = Some(alias);
    }
    image.properties.remove(SUPERSEDED_AT);
    (image.hidden, image.name_is_alias) = (false, true);
    image.updated_at = Some(now);
}

/// Microseconds of a moment that was written down: in RFC 3339, or as that number, as it was once.
fn moment(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_microsecond()))
}

/// A moment as lock files and attributes have it: RFC 3339, to the second.
pub(in crate::registry) fn written(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;

    fn provenance() -> Provenance {
        Provenance {
            origin: "https://example.org/a.qcow2.xz".to_owned(),
            final_url: "https://mirror.example.org/a.qcow2.xz".to_owned(),
            name: "debian/13:1".to_owned(),
            alias: "debian/13".to_owned(),
            serial: "1".to_owned(),
            evidence: Evidence {
                level: Level::Signature,
                words: "signed by somebody".to_owned(),
                fingerprint: Some("AB".repeat(20)),
                signed_at: Some(7),
                documents: vec![
                    "https://example.org/SHA256SUMS".to_owned(),
                    "https://example.org/SHA256SUMS.gpg".to_owned(),
                ],
            },
            verified_at: written(Timestamp(1_700_000_000_000_000)),
            unpacked_from: Sum::of_hex(&"c".repeat(64)).map(|sum| (sum, 5)),
            had_query: true,
            is_pinned: true,
            metadata: Some("https://example.org/lxd.tar.xz".to_owned()),
        }
    }

    fn pulled(of: &Provenance) -> Image {
        let mut image = sample("x");
        image.properties = of.properties().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        image
    }

    #[test]
    fn attributes_read_back() {
        let mut all = provenance();
        assert_eq!(Provenance::of(&pulled(&all)), Some(all.clone()));
        assert_eq!(all.verified_at, "2023-11-14T22:13:20Z");
        all.final_url.clone_from(&all.origin);
        (all.unpacked_from, all.is_pinned) = (None, false);
        all.evidence = Evidence { level: Level::Tls, words: "came over https".to_owned(), ..Evidence::default() };
        assert_eq!(Provenance::of(&pulled(&all)), Some(all));
        assert_eq!(Provenance::of(&sample("y")), None);
    }

    #[test]
    fn every_attribute_is_a_line_and_older_ones_are_read() {
        let mut all = provenance();
        all.evidence.signed_at = Some(1_764_590_400_000_000);
        let mut image = pulled(&all);
        assert_eq!(image.properties[SIGNED_AT], "2025-12-01T12:00:00Z");
        assert_eq!(image.properties[DOCUMENTS], "https://example.org/SHA256SUMS https://example.org/SHA256SUMS.gpg");
        assert!(image.properties.values().all(|value| !value.contains(char::is_control)));
        image.properties.insert(SIGNED_AT.to_owned(), "1764590400000000".to_owned());
        image.properties.insert(DOCUMENTS.to_owned(), all.evidence.documents.join("\n"));
        assert_eq!(Provenance::of(&image), Some(all));
    }

    #[test]
    fn a_superseded_image_has_the_name_of_its_build_until_it_is_the_current_one_again() {
        let now = Timestamp(1_700_000_000_000_000);
        let mut image = pulled(&provenance());
        instate(&mut image, now);
        assert_eq!((image.name.as_deref(), image.hidden, is_superseded(&image)), (Some("debian/13"), false, false));
        let before = image.clone();
        supersede(&mut image, now);
        assert_eq!((image.name.as_deref(), image.hidden, is_superseded(&image)), (Some("debian/13:1"), true, true));
        instate(&mut image, now);
        assert_eq!(image, before);
    }
}
