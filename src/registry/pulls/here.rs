//! Images that are here: whether one will do for a request in place of bytes that are fetched. Values only.

use crate::image::Image;
use crate::registry::pulls::ask::PullAsk;
use crate::registry::pulls::find::Found;
use crate::registry::pulls::provenance::Provenance;
use crate::vendor::{Evidence, Level, Name, Sum, SumAlgorithm};

/// Demands of a request on the image that it is for.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    /// Build that the name says.
    build: Option<String>,
    /// Digests on the caller's word: the image has to have them.
    given: Vec<Sum>,
    /// Digests that are published for the file, and on whose word.
    published: Vec<Sum>,
    evidence: Option<Evidence>,
    /// Level that the image has to have.
    require: Level,
}

impl Demands {
    /// Demands that the request itself makes.
    pub(super) fn of(ask: &PullAsk) -> Self {
        let name = if ask.locked.is_some() { None } else { ask.name.parse::<Name>().ok() };
        let (build, sum) = name.map_or((None, None), |name| (name.build, name.sum));
        let locked = ask.locked.as_ref().map(|locked| locked.sha256.clone());
        let given = ask.sha256.clone().into_iter().chain(sum).chain(locked).collect();
        Self { build, given, published: Vec::new(), evidence: None, require: ask.require.unwrap_or_default() }
    }

    /// These, and those that are known of the file.
    pub(super) fn and(self, found: &Found) -> Self {
        let (published, evidence) =
            found.expectation.clone().map_or((Vec::new(), None), |found| (found.sums, Some(found.evidence)));
        Self { published, evidence, require: found.require, ..self }
    }

    /// Tells if they say which build or bytes are meant, be it the newest or not.
    pub(super) fn names_bytes(&self) -> bool {
        self.build.is_some() || !self.given.is_empty()
    }

    /// Tells if an image meets them, as far as that can be told without its file: a digest on the caller's word that can't be
    /// compared is not met, and one of the file's that can't be is no contradiction.
    pub(super) fn are_met_by(&self, image: &Image) -> bool {
        let Some(origin) = Provenance::of(image) else { return false };
        let is_build =
            |build: &String| origin.name.parse::<Name>().is_ok_and(|name| name.build.as_ref() == Some(build));
        let has_given = self.given.iter().all(|sum| has(image, &origin, sum) == Some(true));
        let contradicts = self.published.iter().any(|sum| has(image, &origin, sum) == Some(false));
        let given = if self.given.is_empty() { Level::None } else { Level::Given };
        let proven = self.proof(image).map_or(Level::None, |evidence| evidence.level);
        let level = origin.evidence.level.max(given).max(proven);
        self.build.as_ref().is_none_or(is_build) && has_given && !contradicts && level >= self.require
    }

    /// Evidence that is good for the bytes of an image: every published digest is the image's.
    pub(super) fn proof(&self, image: &Image) -> Option<&Evidence> {
        let origin = Provenance::of(image)?;
        let all = !self.published.is_empty() && self.published.iter().all(|sum| has(image, &origin, sum) == Some(true));
        self.evidence.as_ref().filter(|_| all)
    }
}

/// Tells if the published file of an image has a digest; `None` where that is not known.
fn has(image: &Image, origin: &Provenance, wanted: &Sum) -> Option<bool> {
    let known = match (wanted.algorithm(), image.main()) {
        (SumAlgorithm::Sha256, _) => origin.published(image).map(|(sum, _)| sum),
        (algorithm, Some(part)) if origin.unpacked_from.is_none() => match algorithm {
            SumAlgorithm::Md5 => part.digests.md5.and_then(|bytes| Sum::new(algorithm, bytes)),
            SumAlgorithm::Sha512 => part.digests.sha512.and_then(|bytes| Sum::new(algorithm, bytes)),
            SumAlgorithm::Sha1 | SumAlgorithm::Sha256 => None,
        },
        _ => None,
    };
    known.map(|sum| sum == *wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digests;
    use crate::image::change::tests::sample;
    use crate::image::{Location, Part, PartKind};

    fn pulled(level: Level) -> Image {
        let mut image = sample("x");
        let origin = Provenance {
            origin: "https://example.org/a.qcow2".to_owned(),
            final_url: "https://example.org/a.qcow2".to_owned(),
            name: "debian/13:1".to_owned(),
            alias: "debian/13".to_owned(),
            serial: "1".to_owned(),
            evidence: Evidence { level, ..Evidence::default() },
            verified_at: String::new(),
            unpacked_from: Sum::of_hex(&"c".repeat(64)).map(|sum| (sum, 5)),
            had_query: false,
            is_pinned: false,
            metadata: None,
        };
        image.properties = origin.properties().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        image
    }

    #[test]
    fn an_image_that_is_here_is_held_to_the_request() {
        let image = pulled(Level::Checksum);
        let (own, other) = ("c".repeat(64), "d".repeat(64));
        let plain = PullAsk::of("debian/13");
        let with = |name: &str| PullAsk::of(name);
        for (ask, will_do) in [
            (plain.clone(), true),
            (with("debian/13:1"), true),
            (with("debian/13:2"), false),
            (with(&format!("debian/13@sha256:{own}")), true),
            (with(&format!("debian/13@sha256:{other}")), false),
            (with(&format!("debian/13@sha512:{}", "e".repeat(128))), false),
            (PullAsk { sha256: Sum::of_hex(&own), ..plain.clone() }, true),
            (PullAsk { sha256: Sum::of_hex(&other), ..plain.clone() }, false),
            (PullAsk { require: Some(Level::Checksum), ..plain.clone() }, true),
            (PullAsk { require: Some(Level::Signature), ..plain.clone() }, false),
            (PullAsk { require: Some(Level::Given), sha256: Sum::of_hex(&own), ..plain.clone() }, true),
        ] {
            assert_eq!(Demands::of(&ask).are_met_by(&image), will_do, "{ask:?}");
        }
        assert!(!Demands::of(&plain).are_met_by(&sample("not pulled")));
    }

    #[test]
    fn a_sha512_is_compared_where_it_is_known() {
        let mut image = pulled(Level::Checksum);
        let ask = PullAsk::of(format!("debian/13@sha512:{}", "ee".repeat(64)));
        image.properties.retain(|name, _| !name.starts_with("visor.unpacked"));
        assert!(!Demands::of(&ask).are_met_by(&image), "not known");
        for (byte, is_it) in [(0xee, true), (0xef, false)] {
            let location = Location::File { path: "/x".into() };
            image.parts = vec![Part {
                kind: PartKind::Main,
                location,
                size: Some(1),
                virtual_size: None,
                digests: Digests { sha512: Some([byte; 64]), ..Digests::default() },
                etag: None,
            }];
            assert_eq!(Demands::of(&ask).are_met_by(&image), is_it, "{byte}");
        }
    }

    #[test]
    fn published_digests_lend_their_level() {
        let image = pulled(Level::Given);
        let signed = |digit: &str| Demands {
            published: Sum::of_hex(&digit.repeat(64)).into_iter().collect(),
            evidence: Some(Evidence { level: Level::Signature, ..Evidence::default() }),
            require: Level::Signature,
            ..Demands::of(&PullAsk::of("debian/13"))
        };
        assert!(signed("c").are_met_by(&image) && signed("c").proof(&image).is_some());
        assert!(!signed("d").are_met_by(&image) && signed("d").proof(&image).is_none());
        let unknown = Demands { published: Sum::of_hex(&"a".repeat(128)).into_iter().collect(), ..signed("c") };
        assert!(!unknown.are_met_by(&image), "it can't be told, and the image itself has no signature");
        assert!(unknown.are_met_by(&pulled(Level::Signature)));
    }
}
