//! Which of all images is meant: by an alias, for a kind and a processor, the best and newest of them; or by fingerprint.
//! Pure.

use std::cmp::Reverse;

use super::super::download::{File, Listed, Part};
use super::super::server::file_name;
use super::super::{Ask, Files, Found, lxd};
use super::products::{Build, Item, Product, Products, Version, built_at};
use crate::image::digest::{from_hex, hex};
use crate::image::{Architecture, ImageKind};

/// Most names of an image that are kept.
const ALIASES_MAX: usize = 256;

/// What is asked for.
pub(super) struct Wanted {
    name: String,
    /// The same as the beginning of a fingerprint, if it can be one.
    prefix: Option<String>,
    kind: Option<ImageKind>,
    architecture: Option<Architecture>,
    /// This machine's.
    native: Option<Architecture>,
}

impl Wanted {
    pub(super) fn of(ask: &Ask) -> Self {
        Self { kind: ask.kind, architecture: ask.architecture, ..Self::named(&ask.image, this_machine()) }
    }

    /// An image by its name, for a machine with this processor.
    pub(super) fn named(name: &str, native: Option<Architecture>) -> Self {
        Self { name: name.to_owned(), prefix: lxd::prefix(name), kind: None, architecture: None, native }
    }

    /// How little an image of this kind and for this processor is what was meant; `None` if it is not at all.
    fn distance(&self, kind: ImageKind, architecture: Architecture) -> Option<(u8, u8)> {
        let kind_at = match self.kind {
            Some(wanted) if wanted != kind => return None,
            None if kind != ImageKind::Container => 1,
            _ => 0,
        };
        let architecture_at = match (self.architecture, self.native) {
            (Some(wanted), _) if wanted != architecture => return None,
            (Some(_), _) => 0,
            (None, Some(native)) if native == architecture => 0,
            (None, Some(Architecture::X86_64)) if architecture == Architecture::I386 => 1,
            (None, Some(Architecture::Aarch64)) if architecture == Architecture::Armv7l => 1,
            (None, _) => 2,
        };
        Some((kind_at, architecture_at))
    }

    /// Whether a product has the name that is asked for, alone or with its architecture behind it.
    fn names(&self, product: &Product) -> bool {
        let arch = product.arch.as_deref().unwrap_or_default();
        let with_arch = self.name.strip_suffix(arch).and_then(|rest| rest.strip_suffix('/'));
        product.aliases().any(|alias| alias == self.name || with_arch == Some(alias))
    }
}

/// The processor of this machine, by its kernel.
pub fn this_machine() -> Option<Architecture> {
    Architecture::parse(rustix::system::uname().machine().to_str().ok()?)
}

/// By what the images of one product are sorted, as LXD does: what was meant, the newest build, the best files. The last only
/// makes it certain.
type Within<'a> = ((u8, u8), Reverse<&'a str>, usize, [u8; 32]);

/// By what the best images of all products are sorted: what was meant, then the names of the system, then as above.
type Among = ((u8, u8), [(bool, String); 3], Reverse<String>, Architecture, usize, [u8; 32]);

/// The choice as far as it has been made.
pub(super) struct Choice {
    wanted: Wanted,
    by_alias: Option<(Among, Found)>,
    by_fingerprint: Option<Found>,
    /// Whether there is another one that the beginning of the fingerprint fits.
    ambiguous: bool,
}

impl Choice {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, by_alias: None, by_fingerprint: None, ambiguous: false }
    }

    /// Looks through a document. Whatever it lists, no more is made up than one image of a product.
    pub(super) fn look(&mut self, document: &[u8]) -> serde_json::Result<()> {
        let document: Products = serde_json::from_slice(document)?;
        for product in document.products.values() {
            let Some(architecture) = product.architecture() else { continue };
            let named = self.wanted.names(product);
            if !named && self.wanted.prefix.is_none() {
                continue;
            }
            let mut best: Option<(Within<'_>, Offer<'_>)> = None;
            let versions = product.versions.iter().filter(|(serial, _)| built_at(serial).is_some());
            for (serial, version) in versions {
                for build in version.builds() {
                    let offer = Offer { product, architecture, serial, version, build };
                    self.match_fingerprint(&offer);
                    let Some(distance) = self.wanted.distance(offer.build.kind, architecture).filter(|_| named) else {
                        continue;
                    };
                    let order = (distance, Reverse(serial.as_str()), offer.build.rank, offer.build.fingerprint);
                    if best.as_ref().is_none_or(|(best, _)| order < *best) {
                        best = Some((order, offer));
                    }
                }
            }
            if let Some(((distance, ..), offer)) = best {
                self.weigh(distance, &offer);
            }
        }
        Ok(())
    }

    fn weigh(&mut self, distance: (u8, u8), offer: &Offer<'_>) {
        let order: Among = (
            distance,
            offer.product.order(),
            Reverse(offer.serial.to_owned()),
            offer.architecture,
            offer.build.rank,
            offer.build.fingerprint,
        );
        if self.by_alias.as_ref().is_none_or(|(best, _)| order < *best) {
            self.by_alias = Some((order, offer.found(true)));
        }
    }

    fn match_fingerprint(&mut self, offer: &Offer<'_>) {
        let fits = |prefix: &String| hex(&offer.build.fingerprint).starts_with(prefix.as_str());
        if !self.wanted.prefix.as_ref().is_some_and(fits) {
            return;
        }
        match &self.by_fingerprint {
            Some(other) => self.ambiguous |= other.fingerprint != offer.build.fingerprint,
            None => self.by_fingerprint = Some(offer.found(false)),
        }
    }

    /// What was meant. An error of nothing: there is no such image; of something: there are several.
    pub(super) fn made(self) -> Result<Found, Option<()>> {
        match (self.by_alias, self.by_fingerprint) {
            (Some((_, found)), _) => Ok(found),
            (None, Some(_)) if self.ambiguous => Err(Some(())),
            (None, Some(found)) => Ok(found),
            (None, None) => Err(None),
        }
    }
}

/// An image of a document.
struct Offer<'a> {
    product: &'a Product,
    architecture: Architecture,
    serial: &'a str,
    version: &'a Version,
    build: Build<'a>,
}

impl Offer<'_> {
    fn found(&self, by_alias: bool) -> Found {
        let Build { meta, root, fingerprint, kind, .. } = self.build;
        let built_at = built_at(self.serial);
        let size = |item: &Item| item.size();
        let size = match root {
            None => size(meta),
            Some(root) => size(meta).zip(size(root)).and_then(|(meta, root)| meta.checked_add(root)),
        };
        let files = match root {
            None => vec![listed(Part::Whole, meta)],
            Some(root) => vec![listed(Part::Metadata, meta), listed(Part::Rootfs, root)],
        };
        let aliases = self.product.aliases().take(ALIASES_MAX);
        Found {
            fingerprint,
            by_alias,
            kind,
            architecture: self.architecture,
            filename: name_of(meta).to_owned(),
            properties: self.product.properties(self.serial, self.version, &self.build),
            created_at: built_at,
            expires_at: self.product.expires_at(),
            uploaded_at: built_at,
            size,
            public: true,
            aliases: aliases.map(|alias| (alias.to_owned(), String::new())).collect(),
            files: Files::Listed(files),
        }
    }
}

fn name_of(item: &Item) -> &str {
    item.path.rsplit('/').next().and_then(file_name).unwrap_or_default()
}

fn listed(part: Part, item: &Item) -> Listed {
    let file = File { part, name: name_of(item).to_owned(), size: item.size() };
    // One that is none can't be compared with; the fingerprint still is.
    Listed { file, path: format!("/{}", item.path), sha256: item.sha256.as_deref().and_then(from_hex) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Wanted {
        pub(crate) fn of_kind(self, kind: ImageKind) -> Self {
            Self { kind: Some(kind), ..self }
        }

        pub(crate) fn on(self, architecture: Architecture) -> Self {
            Self { architecture: Some(architecture), ..self }
        }
    }

    #[test]
    fn this_machine_has_a_processor_that_is_known() {
        assert_eq!(this_machine(), Architecture::parse(std::env::consts::ARCH));
    }
}
