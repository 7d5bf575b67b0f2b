//! Seekers: a name that is looked for at its vendor, with what is known of it and a bound on what may be asked.

use super::found::FoundBuild;
use super::refusal;
use crate::error::{Error, Reason, Result};
use crate::image::{Architecture, Timestamp};
use crate::vendor::catalogue::{Catalogue, Vendor};
use crate::vendor::documents::{Documents, VendorDocument, get};
use crate::vendor::expectation::Evidence;
use crate::vendor::level::Level;
use crate::vendor::name::{NEWEST, Name};
use crate::vendor::place::{last_part, listed};
use crate::vendor::signature::Keyring;
use crate::vendor::site::is_below;
use crate::vendor::template::{KnownFields, Template};

/// Most bytes of a list.
pub(super) const LIST_BYTES_MAX: usize = 8 << 20;

/// Most documents that are asked for to find one name.
const DOCUMENTS_MAX: usize = 8;

/// A name that is looked for.
pub(super) struct Seeker<'a> {
    pub(super) vendor: &'a Vendor,
    pub(super) keyring: &'a Keyring,
    pub(super) documents: &'a dyn Documents,
    pub(super) now: Timestamp,
    /// Level that an image has to reach.
    pub(super) require: Level,
    /// Proof that is held of an earlier build.
    pub(super) held: Option<&'a Evidence>,
    pub(super) name: &'a Name,
    pub(super) architecture: Architecture,
    /// Fields that are known before anything is asked.
    pub(super) facts: KnownFields,
    /// Spellings of the variant, the best first; none for a variant of the vendor's own words.
    pub(super) spellings: &'a [String],
    /// Name of the file that is wanted, in place of a variant and an architecture: for lists that have names of files.
    pub(super) file: Option<String>,
    /// All builds are wanted, and not the newest only.
    pub(super) all: bool,
    /// No release in particular is wanted.
    pub(super) every_release: bool,
    asked: usize,
}

impl<'a> Seeker<'a> {
    /// Begins with a name: what the catalogue knows of it. Without a level that is required, the vendor's counts.
    pub(super) fn new(
        catalogue: &'a Catalogue,
        name: &'a Name,
        architecture: Architecture,
        documents: &'a dyn Documents,
        now: Timestamp,
        require: Option<Level>,
    ) -> Result<Self> {
        let vendor = catalogue.vendor(&name.vendor)?;
        let keyring = catalogue.keyring();
        let (keys, require) = (&vendor.rules.keys, require.unwrap_or(vendor.rules.require));
        let is_here = |key: &String| key.starts_with("RW") || keyring.has(key);
        if require == Level::Signature && keys.is_empty() {
            return Err(refusal::unsigned(vendor));
        }
        if require == Level::Signature && !keys.iter().any(is_here) {
            return Err(refusal::key_missing(vendor));
        }
        let (spellings, facts): (&[String], _) = (&[], KnownFields::default());
        let (file, all, every_release, held, asked) = (None, false, false, None, 0);
        let mut seeker = Self {
            vendor,
            keyring,
            documents,
            now,
            require,
            held,
            name,
            architecture,
            facts,
            spellings,
            file,
            all,
            every_release,
            asked,
        };
        seeker.learn_architecture()?;
        seeker.learn_variant()?;
        seeker.learn_release()?;
        Ok(seeker)
    }

    fn learn_architecture(&mut self) -> Result<()> {
        let word = |words: &'a [(Architecture, String)]| {
            words.iter().find(|(architecture, _)| *architecture == self.architecture).map(|(_, word)| word.as_str())
        };
        let known = &self.vendor.architectures;
        let arch = word(known).or(known.is_empty().then(|| self.architecture.name())).ok_or_else(|| {
            let names: Vec<String> = known.iter().map(|(architecture, _)| architecture.name().to_owned()).collect();
            self.no_architecture(&names)
        })?;
        let file_arch = word(&self.vendor.file_architectures).unwrap_or(arch);
        self.facts.set("arch", arch);
        self.facts.set("file_arch", file_arch);
        Ok(())
    }

    fn learn_variant(&mut self) -> Result<()> {
        let (known, vendor) = (&self.vendor.variants, self.vendor);
        let Some(variant) = self.name.variant.as_ref().or(vendor.variant.as_ref()) else { return Ok(()) };
        match known.get(variant) {
            Some(spellings) => self.spellings = spellings,
            // Products of simplestreams have variants of their own, besides the kinds of files.
            None if known.is_empty() || vendor.image.is_none() => {}
            None => return Err(self.no_variant(&known.keys().cloned().collect::<Vec<_>>())),
        }
        self.facts.set("variant", self.spellings.first().unwrap_or(variant).as_str());
        Ok(())
    }

    fn learn_release(&mut self) -> Result<()> {
        let (vendor, asked) = (self.vendor, &self.name.release);
        let by_codename = vendor.codenames.iter().find(|(_, codename)| *codename == asked).map(|(number, _)| number);
        let release = vendor.aliases.get(asked).or(by_codename).unwrap_or(asked);
        let is_known = vendor.releases.contains(release);
        let needs_codename = [&vendor.image, &vendor.list].into_iter().flatten().any(|one| one.has("codename"));
        let is_newest = NEWEST.contains(&release.as_str()) && !is_known;
        let schematic = self.name.schematic.as_deref().or(vendor.schematic.as_deref());
        // A release may be newer than the catalogue; a codename can't be guessed, and no name chooses the host that is asked.
        let has_to_be_known = needs_codename || vendor.base_template.has("release");
        if has_to_be_known && !is_known || is_newest && !vendor.releases.is_empty() {
            return Err(self.no_release(&vendor.releases));
        }
        if !is_newest && !self.names_releases() {
            return Err(self.no_release(&["latest".to_owned()]));
        }
        if !is_newest {
            self.facts.set("release", release.as_str());
        }
        let codename = vendor.codenames.get(release).map(String::as_str);
        let known = [("codename", codename), ("build", self.name.build.as_deref()), ("schematic", schematic)];
        for (field, value) in known {
            if let Some(value) = value {
                self.facts.set(field, value);
            }
        }
        Ok(())
    }

    /// False for a vendor whose only release is the newest.
    fn names_releases(&self) -> bool {
        let fields = ["release", "version", "major", "minor", "compact", "codename"];
        let mut templates =
            [&self.vendor.image, &self.vendor.list].into_iter().flatten().chain([&self.vendor.base_template]);
        self.vendor.image.is_none() || templates.any(|template| fields.iter().any(|field| template.has(field)))
    }

    /// Base of the vendor.
    pub(super) fn base(&self) -> String {
        self.vendor.base_template.fill_known(&self.facts)
    }

    /// URL of a template, which may be one of its own or a path below the base.
    pub(super) fn url(&self, template: &Template, facts: &KnownFields) -> Result<Option<String>> {
        let Some(filled) = template.fill(facts) else { return Ok(None) };
        match filled.contains("://") {
            true => Ok(Some(filled)),
            false => listed(&self.base(), &filled).map(Some).ok_or_else(|| refusal::leads_out(self.vendor, &filled)),
        }
    }

    /// URL that a list gives: a path below `folder`, or a whole one below a place of the vendor's.
    pub(super) fn place(&self, folder: &str, given: &str) -> Result<String> {
        let placed = match given.contains("://") {
            true => self.vendor.places.iter().any(|place| is_below(given, place)).then(|| given.to_owned()),
            false => listed(folder, given),
        };
        placed.ok_or_else(|| refusal::leads_out(self.vendor, given))
    }

    /// Gets a document.
    pub(super) async fn get(&mut self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.asked += 1;
        if self.asked > DOCUMENTS_MAX {
            let text =
                format!("{} was asked for {DOCUMENTS_MAX} lists, and '{}' is in none.", self.vendor.title, self.name);
            return Err(Reason::Upstream.saying(text));
        }
        get(self.documents, url, bytes_max).await
    }

    /// Keeps the builds that are wanted: the one that is named, or all of them, the newest first.
    pub(super) fn wanted(&self, mut found: Vec<FoundBuild>) -> Result<Vec<FoundBuild>> {
        found.sort_by(|one, other| other.facts.order(&one.facts));
        let Some(build) = &self.name.build else { return Ok(found) };
        let builds: Vec<String> =
            found.iter().filter_map(|found| found.facts.get("build").map(str::to_owned)).collect();
        found.retain(|found| found.facts.get("build") == Some(build.as_str()));
        if found.is_empty() { Err(self.no_build(&builds)) } else { Ok(found) }
    }

    fn has_no(&self, what: &str, has: &[String]) -> Error {
        refusal::has_no(&self.vendor.title, what, has)
    }

    /// Refusal of an architecture, with those that there are.
    pub(super) fn no_architecture(&self, has: &[String]) -> Error {
        self.has_no(&format!("images for {}", self.architecture.name()), has)
    }

    /// Refusal of a variant, with those that there are.
    pub(super) fn no_variant(&self, has: &[String]) -> Error {
        let variant = self.name.variant.as_ref().or(self.vendor.variant.as_ref());
        self.has_no(&format!("variant '{}' of {}", variant.map_or("", String::as_str), self.name.release), has)
    }

    /// Refusal of a release, with those that there are.
    pub(super) fn no_release(&self, has: &[String]) -> Error {
        self.has_no(&format!("release '{}'", self.name.release), has)
    }

    /// Refusal of a build, with those that there are.
    pub(super) fn no_build(&self, has: &[String]) -> Error {
        let what = match (&self.name.build, self.facts.get("variant")) {
            (Some(build), _) => format!("build '{build}' of {}", self.name.release),
            (None, Some(variant)) => {
                format!("image '{variant}' of {} for {}", self.name.release, self.architecture.name())
            }
            (None, None) => format!("image of {} for {}", self.name.release, self.architecture.name()),
        };
        self.has_no(&what, has)
    }

    /// Refusal of a list.
    pub(super) fn refused(&self, url: &str, why: impl std::fmt::Display) -> Error {
        Reason::Upstream.saying(format!("The list {} of {} can't be used: {why}.", last_part(url), self.vendor.title))
    }
}
