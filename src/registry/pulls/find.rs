//! From a request to one file: its URL, what its bytes have to be, and the names of the image that it becomes.

use std::collections::BTreeMap;

use crate::cache::Key;
use crate::error::{Error, Result};
use crate::image::{Architecture, Format, Image};
use crate::registry::mirror::source::without_query;
use crate::registry::pulls::ask::PullAsk;
use crate::registry::pulls::provenance::Provenance;
use crate::registry::pulls::service::Pulls;
use crate::registry::pulls::stem::{architecture_in, format_in, stem};
use crate::registry::this_machine;
use crate::vendor::proof::{Anew, prove, prove_listed};
use crate::vendor::{
    CONTAINER, ContainerMetadata, Documents, Evidence, Expectation, Level, LockedImage, LockedMetadata, Name, Sum,
    SumAlgorithm, Vendor, VendorRules, is_moving, resolve,
};

/// A file that was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: Key,
    /// Name without the build.
    pub(super) alias: String,
    /// Place among the names of the caller.
    pub(super) place: Place,
    /// Alias that the caller asked for.
    pub(super) own: Option<String>,
    /// Serial of the build; of a file under a URL it is known with its bytes.
    pub(super) serial: Option<String>,
    /// Name with the build, where the vendor has builds.
    pub(super) name: Option<String>,
    /// Aliases that the image is to have; the first has to be free.
    pub(super) aliases: Vec<String>,
    /// True if the image takes the place of the one that has its name.
    pub(super) takes_place: bool,
    pub(super) architecture: Option<Architecture>,
    pub(super) format: Option<Format>,
    pub(super) expectation: Option<Expectation>,
    /// Digest of the disk in a packed file, by its vendor's list.
    pub(super) unpacked: Option<Sum>,
    /// Level that the bytes have to reach.
    pub(super) require: Level,
    /// Evidence that newer documents are compared with: not older than it, and no less unless that was asked for.
    pub(super) held: Option<Evidence>,
    /// File that describes it to LXD and Incus, of a container.
    pub(super) metadata: Option<FoundMetadata>,
    /// Attributes that the vendor's list gives to its images.
    pub(super) properties: BTreeMap<String, String>,
}

/// File that describes a container, and is a part of the image.
#[derive(Debug, Clone)]
pub(super) struct FoundMetadata {
    pub(super) key: Key,
    pub(super) expectation: Option<Expectation>,
    /// Level that it has to reach.
    pub(super) require: Level,
    /// SHA-256 of the whole image, if it is known before the bytes.
    pub(super) fingerprint: Option<[u8; 32]>,
}

/// Name that an image is to have. Any two files may have one name: of a file under a URL, only an image of this very URL has the place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) alias: String,
    /// URL without its query, of a file that has no vendor.
    pub(super) url: Option<String>,
    /// True for a container: a machine may have the alias besides.
    pub(super) is_container: bool,
}

impl Place {
    /// Place of a vendor's image, or of one under a URL, which the alias tells.
    fn new(alias: String, url: &str) -> Self {
        match alias.parse::<Name>() {
            Ok(name) => Self::named(&name),
            Err(_) => Self { alias, url: Some(without_query(url).to_owned()), is_container: false },
        }
    }

    /// Place of a vendor's image.
    fn named(name: &Name) -> Self {
        let is_container = name.variant.as_deref() == Some(CONTAINER);
        Self { alias: name.moving().to_string(), url: None, is_container }
    }

    /// Place that a request is for, as far as it can be told without a request.
    ///
    /// # Errors
    /// `Invalid` name or URL.
    pub(super) fn of(ask: &PullAsk) -> Result<Self> {
        match &ask.locked {
            Some(locked) => Ok(Self::new(locked.alias.clone(), Key::parse(&locked.url)?.url())),
            None if is_url(&ask.name) => {
                let key = Key::parse(&ask.name)?;
                Ok(Self::new(stem(&key)?, key.url()))
            }
            None => Ok(Self::named(&ask.name.parse()?)),
        }
    }

    /// Tells if an image may have the place.
    pub(super) fn admits(&self, image: &Image) -> bool {
        Provenance::of(image).is_some_and(|origin| self.is_of(&origin))
    }

    /// Tells if an image of this origin may have the place.
    pub(super) fn is_of(&self, origin: &Provenance) -> bool {
        match &self.url {
            Some(url) => *url == origin.origin && origin.alias == self.alias,
            None => origin.alias.parse::<Name>().is_ok(),
        }
    }
}

impl Found {
    /// Tells if the image has to get this alias, or none at all.
    pub(super) fn demands(&self, alias: &str) -> bool {
        self.aliases.first().map(String::as_str) == Some(alias) || self.own.as_deref() == Some(alias)
    }

    /// True for a container, which LXD and Incus tell from a machine of this name.
    pub(super) fn is_container(&self) -> bool {
        self.metadata.is_some()
    }

    /// Digest that the file has to have, if it is known before its bytes.
    pub(super) fn sha256(&self) -> Option<&Sum> {
        let sums = self.expectation.iter().flat_map(|expectation| &expectation.sums);
        sums.into_iter().find(|sum| sum.algorithm() == SumAlgorithm::Sha256)
    }
}

/// An expectation on the word of the caller.
fn given(sum: &Sum, size: Option<u64>, words: &str) -> Expectation {
    let evidence = Evidence { level: Level::Given, words: words.to_owned(), ..Evidence::default() };
    Expectation { size, sums: vec![sum.clone()], evidence, others: Vec::new() }
}

impl Pulls {
    /// Finds the file that a request means. `held` is the image that has the name now.
    ///
    /// # Errors
    /// `Invalid` name or URL; `NotFound` vendor, release or build; `Upstream` when lists or sums can't be had or believed.
    pub(super) async fn find(&self, ask: &PullAsk, held: Option<&Image>) -> Result<Found> {
        let found = match &ask.locked {
            Some(locked) => Found { held: guarding(ask, Some(&locked.sha256), held), ..locked_file(locked)? },
            None if is_url(&ask.name) => self.file_at(ask, held).await?,
            None => self.newest(ask, held).await?,
        };
        let (own, has) = (ask.alias.clone(), |alias: &String| found.aliases.contains(alias));
        let aliases = found.aliases.iter().cloned().chain(own.clone().filter(|alias| !has(alias))).collect();
        Ok(Found { aliases, own, ..found })
    }

    /// The build that a name means.
    async fn newest(&self, ask: &PullAsk, held: Option<&Image>) -> Result<Found> {
        let name: Name = ask.name.parse()?;
        let vendor = self.catalogue.vendor(&name.vendor)?;
        let unknown =
            || Error::invalid("This machine's processor is not known: say for which one the image has to be.");
        let architecture = ask.architecture.or_else(this_machine).ok_or_else(unknown)?;
        let own = ask.sha256.as_ref().or(name.sum.as_ref());
        let (documents, now) = (self.cache.documents(), self.core.now());
        let evidence = guarding(ask, own, held);
        // A build that is asked for may be older than the one that is here.
        let evidence =
            evidence.map(|held| if name.build.is_some() { Evidence { signed_at: None, ..held } } else { held });
        // A pull is for the newest build, and for its sums as they are now: documents are asked for anew.
        let anew = Anew(&*documents);
        let lists: &dyn Documents = if self.cache.is_offline().is_some() { &*documents } else { &anew };
        let require = required(ask, own, vendor.rules.require);
        let candidate = resolve(&self.catalogue, &name, architecture, lists, evidence.as_ref(), now, require).await?;
        let guard = evidence.as_ref();
        let expectation = match own {
            Some(sum) => Some(given(sum, None, "matches the digest that you gave")),
            None => self.proof(vendor, &candidate.url, candidate.expectation, require, lists, guard).await?,
        };
        let metadata = match candidate.metadata {
            Some(ContainerMetadata { url, expectation, fingerprint }) => {
                // The digest that a caller gives is the file system's.
                let require = required(ask, None, vendor.rules.require);
                let expectation = self.proof(vendor, &url, expectation, require, lists, guard).await?;
                Some(FoundMetadata { key: Key::parse(&url)?, expectation, require, fingerprint: Some(fingerprint) })
            }
            None => None,
        };
        let place = Place::named(&candidate.name);
        Ok(Found {
            key: Key::parse(&candidate.url)?,
            alias: place.alias.clone(),
            place,
            own: None,
            serial: Some(candidate.serial),
            name: Some(Name { sum: None, ..candidate.name }.to_string()),
            takes_place: !candidate.aliases.is_empty(),
            aliases: candidate.aliases,
            architecture: Some(candidate.architecture),
            format: candidate.format,
            expectation,
            unpacked: candidate.unpacked.filter(|_| own.is_none()),
            require,
            held: evidence,
            metadata,
            properties: candidate.properties,
        })
    }

    /// Expectation of a vendor's file: what its list and what stands beside the file say, both of which have to hold.
    async fn proof(
        &self,
        vendor: &Vendor,
        url: &str,
        listed: Option<Expectation>,
        require: Level,
        lists: &dyn Documents,
        held: Option<&Evidence>,
    ) -> Result<Option<Expectation>> {
        let rules = VendorRules { require, ..vendor.rules_for(url) };
        prove_listed(url, listed, Some(&rules), self.catalogue.keyring(), lists, held, self.core.now()).await
    }

    /// The file under a URL.
    async fn file_at(&self, ask: &PullAsk, held: Option<&Image>) -> Result<Found> {
        let (key, own) = (Key::parse(&ask.name)?, ask.sha256.as_ref());
        let vendor = self.catalogue.of_url(key.url());
        let require = required(ask, own, self.cache.required(&key));
        let rules = vendor.map(|vendor| VendorRules { require, ..vendor.rules_for(key.url()) });
        let evidence = guarding(ask, own, held);
        let expectation = match own {
            Some(sum) => Some(given(sum, None, "matches the sha256 that you gave")),
            // The build that it stands for is proved, which the cache finds.
            None if is_moving(key.url()) => None,
            None => {
                let documents = self.cache.documents();
                let keyring = self.catalogue.keyring();
                prove(key.url(), rules.as_ref(), keyring, &*documents, evidence.as_ref(), self.core.now()).await?
            }
        };
        let alias = stem(&key)?;
        Ok(Found {
            serial: None,
            name: None,
            takes_place: true,
            aliases: Vec::new(),
            architecture: ask.architecture.or_else(|| architecture_in(&alias)).or_else(this_machine),
            format: format_in(&key),
            expectation,
            unpacked: None,
            require,
            held: evidence,
            metadata: None,
            properties: BTreeMap::new(),
            place: Place::new(alias.clone(), key.url()),
            own: None,
            alias,
            key,
        })
    }

    /// Tells if a name is one of a vendor's in the catalogue.
    pub fn knows(&self, name: &str) -> bool {
        name.parse::<Name>().is_ok_and(|name| self.catalogue.vendor(&name.vendor).is_ok())
    }
}

/// The very file of a lock file.
fn locked_file(locked: &LockedImage) -> Result<Found> {
    let wrong = |what: &str, word: &str| Error::invalid(format!("The lock's {what} {word:?} is not known."));
    let architecture = locked.architecture.as_deref();
    let architecture =
        architecture.map(|word| Architecture::parse(word).ok_or_else(|| wrong("architecture", word))).transpose()?;
    let format = locked.format.as_deref();
    let format = format.map(|word| Format::parse(word).ok_or_else(|| wrong("format", word))).transpose()?;
    let key = Key::parse(&locked.url)?;
    Ok(Found {
        place: Place::new(locked.alias.clone(), key.url()),
        own: None,
        key,
        alias: locked.alias.clone(),
        serial: Some(locked.serial.clone()),
        name: Some(locked.name.clone()),
        aliases: locked.alias.parse::<Name>().is_ok().then(|| locked.alias.clone()).into_iter().collect(),
        takes_place: true,
        architecture,
        format,
        expectation: Some(locked_sum(&locked.sha256, locked.size)),
        unpacked: None,
        require: Level::Given,
        held: None,
        metadata: locked.metadata.as_ref().map(locked_metadata).transpose()?,
        properties: BTreeMap::new(),
    })
}

/// The very description of a container in a lock file.
fn locked_metadata(locked: &LockedMetadata) -> Result<FoundMetadata> {
    let expectation = Some(locked_sum(&locked.sha256, locked.size));
    Ok(FoundMetadata { key: Key::parse(&locked.url)?, expectation, require: Level::Given, fingerprint: None })
}

fn locked_sum(sum: &Sum, size: u64) -> Expectation {
    given(sum, Some(size), "matches the sha256 that images.lock has")
}

/// Level that the bytes have to reach: as asked; a digest that is given counts as itself.
fn required(ask: &PullAsk, given: Option<&Sum>, rule: Level) -> Level {
    ask.require.unwrap_or(if given.is_some() { Level::Given } else { rule })
}

/// Evidence of the image that has the name, as far as it binds the next one.
fn guarding(ask: &PullAsk, own: Option<&Sum>, held: Option<&Image>) -> Option<Evidence> {
    let evidence = Provenance::of(held?)?.evidence;
    let may_be_weaker = ask.accept_weaker || own.is_some();
    Some(if may_be_weaker { Evidence { level: Level::None, ..evidence } } else { evidence })
}

/// True for what is a URL and no name.
pub(super) fn is_url(name: &str) -> bool {
    name.contains("://")
}
