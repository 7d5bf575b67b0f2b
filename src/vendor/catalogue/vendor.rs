//! A vendor: its place, its lists, its words, and the rules for its files. Values only.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::image::{Architecture, Format};
use crate::vendor::rules::VendorRules;
use crate::vendor::template::{KnownFields, Template};

/// Variant of vendors' images that is the file system of a container.
pub const CONTAINER: &str = "squashfs";

/// The form in which a vendor lists its builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Products documents of simplestreams.
    Simplestreams,
    /// A sums document in a folder.
    Sums,
    /// Debian's list of uploads beside each image.
    DebianJson,
    /// Fedora's list of releases.
    FedoraJson,
    /// A stream document of Fedora CoreOS.
    CoreosStream,
    /// Oracle's description of a template.
    OracleJson,
    /// Listings of folders.
    Listing,
    /// None: a URL, with a document that says the newest version at most.
    Fixed,
}

impl ListKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Simplestreams,
        Self::Sums,
        Self::DebianJson,
        Self::FedoraJson,
        Self::CoreosStream,
        Self::OracleJson,
        Self::Listing,
        Self::Fixed,
    ];

    /// Name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
            Self::Sums => "sums",
            Self::DebianJson => "debian-json",
            Self::FedoraJson => "fedora-json",
            Self::CoreosStream => "coreos-stream",
            Self::OracleJson => "oracle-json",
            Self::Listing => "listing",
            Self::Fixed => "fixed",
        }
    }

    /// True if the list does not say the paths of images.
    pub(super) fn needs_image(self) -> bool {
        !matches!(self, Self::Simplestreams | Self::OracleJson)
    }

    /// True if builds can't be found without a list.
    pub(super) fn needs_list(self) -> bool {
        !matches!(self, Self::Listing | Self::Fixed)
    }
}

impl FromStr for ListKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("kind = {text:?}: it can be {names}"))
    }
}

/// A vendor of images.
#[derive(Debug, Clone)]
pub struct Vendor {
    /// Name in the catalogue, and first part of its images' names.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Form of its lists.
    pub kind: ListKind,
    /// URL below which its templates lie.
    pub base: String,
    /// URLs with the same content.
    pub mirrors: Vec<String>,
    /// More URLs below which files are its own.
    pub sites: Vec<String>,
    /// Rules for its files. Their templates are filled by [`Vendor::rules_for`].
    pub rules: VendorRules,
    /// Releases that are known beforehand, the newest first. There may be others.
    pub releases: Vec<String>,
    /// Releases to show what a name is like, of a vendor whose releases are not known beforehand.
    pub examples: Vec<String>,
    /// Other names of releases.
    pub aliases: BTreeMap<String, String>,
    /// Variant of a name without one.
    pub variant: Option<String>,
    /// Variants with their spellings; when there is none, any may be asked for.
    pub variants: BTreeMap<String, Vec<String>>,
    /// Architectures with their spellings; when there is none, any may be asked for.
    pub architectures: Vec<(Architecture, String)>,
    /// Format of images whose name does not tell.
    pub format: Option<Format>,
    /// Steps from a file to its disk: `xz`, `bz2`, `zst`, `gz`, `tar`.
    pub unpack: Vec<String>,
    /// True if the entry was compared with the vendor's documents.
    pub checked: bool,
    /// Remarks.
    pub note: String,
    /// URLs below which its files are. A base with a field in it stands for those of its known releases.
    pub(in crate::vendor) places: Vec<String>,
    pub(in crate::vendor) base_template: Template,
    pub(in crate::vendor) image: Option<Template>,
    pub(in crate::vendor) list: Option<Template>,
    pub(in crate::vendor) find: Option<Template>,
    /// URLs that stand for the newest build of a release.
    pub(in crate::vendor) moving: Vec<Template>,
    pub(in crate::vendor) codenames: BTreeMap<String, String>,
    pub(in crate::vendor) file_architectures: Vec<(Architecture, String)>,
    pub(in crate::vendor) schematic: Option<String>,
}

impl Vendor {
    /// Tells if its lists have images for LXD and Incus: those of containers besides disks.
    pub fn has_containers(&self) -> bool {
        self.kind == ListKind::Simplestreams && self.variants.contains_key(CONTAINER)
    }

    /// Tells if its releases may have parts, as in `debian/13`: if an example has, or there is none.
    pub fn has_parts(&self) -> bool {
        self.examples.is_empty() || self.examples.iter().any(|example| example.contains('/'))
    }

    /// Names that can be pulled, as far as they are known beforehand: releases with their aliases, or examples.
    pub fn known_names(&self) -> Vec<String> {
        let releases = self.releases.iter().flat_map(|release| {
            let codename = self.codenames.get(release);
            let aliases = self.aliases.iter().filter(move |(_, of)| *of == release).map(|(alias, _)| alias);
            [release].into_iter().chain(codename).chain(aliases)
        });
        releases.chain(&self.examples).map(|release| format!("{}/{release}", self.name)).collect()
    }

    /// Facts that tell its bases: one with a field in it stands for those of its known releases.
    pub(in crate::vendor) fn of_bases(&self) -> Vec<KnownFields> {
        if !self.base.contains('{') {
            return vec![KnownFields::default()];
        }
        self.releases.iter().map(|release| KnownFields::default().with("release", release.as_str())).collect()
    }

    /// This vendor, with the places of its files.
    pub(super) fn placed(mut self) -> Self {
        let bases = self.of_bases().into_iter().filter_map(|facts| self.base_template.fill(&facts));
        self.places = bases.chain(self.mirrors.iter().chain(&self.sites).cloned()).collect();
        self
    }
}
