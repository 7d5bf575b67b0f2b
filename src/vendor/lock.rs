//! Lock files: exactly which bytes stand for which names, so that another machine, or a later day, has the same ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::name::Name;
use super::order::natural;
use super::sum::Sum;
use crate::error::{Error, Reason, Result};

/// Usual name of a lock file.
pub const LOCK_FILE: &str = "images.lock";

/// First line of a lock file.
const HEAD: &str = "# Images and their bytes, written by `visor lock`; `visor pull --locked` brings exactly these.\n";

/// An image in a lock file. Its size and its digest are those of the file as it is published, packed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// Name with its build: `debian/13:20260105-2236`.
    pub name: String,
    /// Alias that the image is found by: `debian/13`; its name with the build, if another build has that alias.
    pub alias: String,
    /// Processor, in the core's word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// URL of the file.
    pub url: String,
    /// Place that its bytes came from, after redirects.
    #[serde(rename = "final")]
    pub final_url: String,
    /// SHA-256.
    pub sha256: Sum,
    /// Size in bytes.
    pub size: u64,
    /// Format of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Serial of the build.
    pub serial: String,
    /// Level that the bytes reached when they came.
    pub verified: Level,
    /// Fingerprint of the key that signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Time at which they were verified.
    pub at: String,
    /// File that describes it to LXD and Incus, of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<LockedMetadata>,
}

/// The description of a container in a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedMetadata {
    /// URL of the file.
    pub url: String,
    /// SHA-256.
    pub sha256: Sum,
    /// Size in bytes.
    pub size: u64,
}

/// The content of a lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Images, sorted by name and processor.
    #[serde(default, rename = "image")]
    pub images: Vec<LockedImage>,
}

/// A difference between a lock file and the images that are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Name and processor of the image.
    pub image: String,
    /// Difference in words: `is not here`.
    pub words: String,
}

impl Lock {
    /// A lock of images, in its order. An alias is one image's: of several, the newest build's, and the others have their names.
    pub fn of(mut images: Vec<LockedImage>) -> Self {
        images.sort_by(|one, other| natural(&other.serial, &one.serial));
        let mut taken = BTreeSet::new();
        for image in &mut images {
            if !taken.insert((image.alias.clone(), image.architecture.clone())) {
                image.stand_back();
            }
        }
        images.sort_by(|one, other| one.key().cmp(&other.key()));
        Self { images }
    }

    /// This lock in the place of another one: an entry of the very bytes stays as it was. What the file says of their origin came from
    /// the vendor, and an image that was pulled by the file knows no more than the file; a signature only adds to it.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let before: BTreeMap<_, _> = before.images.iter().map(|image| (image.key(), image)).collect();
        let kept = |image: LockedImage| match before.get(&image.key()) {
            Some(&old) if old.digests() == image.digests() && !adds(image.verified, old.verified) => {
                LockedImage { alias: image.alias, ..LockedImage::clone(old) }
            }
            _ => image,
        };
        Self { images: self.images.into_iter().map(kept).collect() }
    }

    /// Tells if it has an image by the name of its build, beside the one that has the alias.
    pub fn has_build(&self, image: &LockedImage) -> bool {
        self.images.iter().any(|locked| locked.key() == image.key() && locked.stands_back())
    }

    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// `Invalid`: it is no lock file, in words that say where and why; two entries are of one image; a digest is another than SHA-256.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format!("This is no lock file of images: {}", why.trim_end()));
        let lock: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let lock = Self::of(lock.images);
        if let Some(twice) = lock.twice() {
            return Err(wrong(format!("{} is in it twice.", twice.title())));
        }
        match lock.images.iter().find(|image| image.sha256.algorithm() != super::sum::SumAlgorithm::Sha256) {
            Some(image) => Err(wrong(format!("the sha256 of {} is another digest.", image.title()))),
            None => Ok(lock),
        }
    }

    /// An image that has two entries.
    fn twice(&self) -> Option<&LockedImage> {
        self.images.windows(2).find(|pair| pair[0].key() == pair[1].key()).map(|pair| &pair[0])
    }

    /// Text of the lock file.
    ///
    /// # Errors
    /// `Conflict` when two entries are of one image: which bytes it has can't be told; `Internal`.
    pub fn text(&self) -> Result<String> {
        if let Some(twice) = self.twice() {
            let words = format!("{} is here twice: remove one of the two images to lock the other.", twice.title());
            return Err(Reason::Conflict.saying(words));
        }
        toml::to_string(self).map(|text| format!("{HEAD}{text}")).map_err(Error::internal)
    }

    /// Differences between this lock and the images that are here: what is missing, and what is other bytes. Images that the lock
    /// does not name are none.
    pub fn drift(&self, here: &[LockedImage]) -> Vec<Drift> {
        let named: BTreeMap<_, _> = here.iter().map(|image| (image.key(), image)).collect();
        let called: BTreeMap<_, _> = here.iter().map(|image| (image.alias_key(), image)).collect();
        let differs = |image: &LockedImage| {
            let holder = called.get(&image.alias_key()).filter(|holder| holder.key() != image.key());
            match (named.get(&image.key()), holder) {
                (None, Some(other)) => Some(format!("is {} here, and not the build that is locked", other.name)),
                (None, None) => Some("is not here".to_owned()),
                (Some(other), _) if other.digests() != image.digests() => Some(image.differs_from(other)),
                (Some(_), Some(other)) => Some(format!("is here, but {} is {}", image.alias, other.name)),
                (Some(_), None) => None,
            }
        };
        let each = |image: &LockedImage| Some(Drift { image: image.title(), words: differs(image)? });
        self.images.iter().filter_map(each).collect()
    }
}

/// Tells if a level says more of bytes than a lock file with another one does.
fn adds(here: Level, locked: Level) -> bool {
    here == Level::Signature && locked < here
}

impl LockedImage {
    fn key(&self) -> (&str, Option<&str>) {
        (&self.name, self.architecture.as_deref())
    }

    /// Alias as one image has it at a time. Files under several URLs may have one.
    fn alias_key(&self) -> (&str, Option<&str>, Option<&str>) {
        let url = Some(self.url.as_str()).filter(|_| !self.is_vendors());
        (&self.alias, self.architecture.as_deref(), url)
    }

    fn is_vendors(&self) -> bool {
        self.alias.parse::<Name>().is_ok()
    }

    /// Leaves the alias to another build of the vendor's: the image is found by its name alone.
    pub fn stand_back(&mut self) {
        if self.is_vendors() {
            self.alias.clone_from(&self.name);
        }
    }

    /// Tells if another build has the alias.
    pub fn stands_back(&self) -> bool {
        self.alias == self.name
    }

    /// Words for an image of this name that has other bytes here.
    fn differs_from(&self, here: &Self) -> String {
        if self.sha256 != here.sha256 {
            return format!("has {} here, and {} is locked", here.sha256, self.sha256);
        }
        let metadata = |image: &Self| image.metadata.as_ref().map_or("none".to_owned(), |one| one.sha256.to_string());
        format!("has the description {} here, and {} is locked", metadata(here), metadata(self))
    }

    /// Digests of its files.
    fn digests(&self) -> (&Sum, Option<&Sum>) {
        (&self.sha256, self.metadata.as_ref().map(|metadata| &metadata.sha256))
    }

    /// Name and processor, for people.
    pub fn title(&self) -> String {
        self.architecture.as_ref().map_or_else(|| self.name.clone(), |word| format!("{} ({word})", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(alias: &str, build: &str, digit: &str) -> LockedImage {
        LockedImage {
            name: format!("{alias}:{build}"),
            alias: alias.to_owned(),
            architecture: Some("x86_64".to_owned()),
            url: format!("https://example.org/{build}/a \"b\".qcow2"),
            final_url: "https://mirror.example.org/x".to_owned(),
            sha256: Sum::of_hex(&digit.repeat(64)).unwrap(),
            size: 1 << 40,
            format: None,
            serial: build.to_owned(),
            verified: Level::Signature,
            by: Some("AB".repeat(20)),
            at: "2026-11-30T15:00:00Z".to_owned(),
            metadata: None,
        }
    }

    #[test]
    fn a_lock_reads_back_sorted() {
        let lock = Lock::of(vec![image("ubuntu/24.04", "2", "b"), image("debian/13", "1", "a")]);
        let text = lock.text().unwrap();
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        assert_eq!(Lock::of(Lock::parse(&text).unwrap().images).text().unwrap(), text, "written again it is the same");
        let places = [
            "[[image]]",
            "debian/13:1",
            "final = ",
            "sha256 = \"sha256:aaaa",
            "verified = \"signature\"",
            "ubuntu/24.04:2",
        ]
        .map(|piece| text.find(piece).unwrap_or_else(|| panic!("{piece} in {text}")));
        assert!(places.is_sorted(), "{text}");
        assert_eq!(Lock::parse("").unwrap(), Lock::default());
    }

    #[test]
    fn what_is_no_lock_is_refused_with_the_place() {
        let twice = Lock::of(vec![image("a/1", "1", "a"), image("a/1", "1", "b")]);
        assert!(twice.text().unwrap_err().message().contains("a/1:1 (x86_64) is here twice"));
        let twice = toml::to_string(&twice).unwrap();
        let text = Lock::of(vec![image("a/1", "1", "a")]).text().unwrap();
        for (text, why) in [
            (twice.as_str(), "a/1:1 (x86_64) is in it twice"),
            (&text.replace("size = ", "sise = "), "sise"),
            (&text.replace("\"sha256:aa", "\"sha256:"), "sha256"),
            (
                &text.replace(&format!("sha256:{}", "a".repeat(64)), &format!("md5:{}", "a".repeat(32))),
                "another digest",
            ),
            ("image = 3", "image"),
            ("[[image]", "1"),
        ] {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.message().contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn drift_is_what_is_missing_or_other_bytes() {
        let lock = Lock::of(vec![image("a/1", "1", "a"), image("b/1", "1", "b"), image("c/1", "1", "c")]);
        let mut arm = image("c/1", "1", "c");
        arm.architecture = Some("aarch64".to_owned());
        let here = [image("a/1", "1", "a"), image("b/1", "2", "c"), arm, image("other/1", "1", "d")];
        assert_eq!(
            said(&lock, &here),
            ["b/1:1 (x86_64) is b/1:2 here, and not the build that is locked", "c/1:1 (x86_64) is not here"]
        );
        let words =
            format!("a/1:1 (x86_64) has sha256:{} here, and sha256:{} is locked", "d".repeat(64), "a".repeat(64));
        assert_eq!(said(&Lock::of(vec![image("a/1", "1", "a")]), &[image("a/1", "1", "d")]), [words]);
    }

    #[test]
    fn builds_of_one_name_are_each_found_by_their_own() {
        let lock = Lock::of(vec![image("a/1", "10", "a"), image("a/1", "9", "b")]);
        assert_eq!(lock.images.iter().map(|image| &*image.alias).collect::<Vec<_>>(), ["a/1", "a/1:9"]);
        assert_eq!(said(&lock, &lock.images), [""; 0]);
        assert_eq!(Lock::parse(&lock.text().unwrap()).unwrap(), lock);
        // A file of before, in which both have the alias.
        let both = Lock { images: vec![image("a/1", "10", "a"), image("a/1", "9", "b")] };
        assert_eq!(Lock::parse(&both.text().unwrap()).unwrap(), lock);
        let mut turned = lock.images.clone();
        (turned[0].alias, turned[1].alias) = ("a/1:10".to_owned(), "a/1".to_owned());
        assert_eq!(said(&lock, &turned), ["a/1:10 (x86_64) is here, but a/1 is a/1:9"]);
    }

    #[test]
    fn an_entry_stays_as_it_was_unless_its_bytes_or_a_signature_are_new() {
        let (old, mut here) = (image("a/1", "1", "a"), image("a/1", "1", "a"));
        (here.verified, here.by, here.at) = (Level::Given, None, "2027-01-01T00:00:00Z".to_owned());
        let lock = |image: &LockedImage| Lock::of(vec![image.clone()]);
        assert_eq!(lock(&here).after(&lock(&old)), lock(&old));
        assert_eq!(lock(&old).after(&lock(&here)), lock(&old), "a signature is more");
        here.sha256 = Sum::of_hex(&"b".repeat(64)).unwrap();
        assert_eq!(lock(&here).after(&lock(&old)), lock(&here));
    }

    fn said(lock: &Lock, here: &[LockedImage]) -> Vec<String> {
        lock.drift(here).into_iter().map(|drift| format!("{} {}", drift.image, drift.words)).collect()
    }
}
