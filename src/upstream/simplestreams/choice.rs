//! Choice of an image: the best and newest for an alias, a kind and a processor; or the one with a fingerprint. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use super::super::file::{File, Listed, Part};
use super::super::server::file_name;
use super::super::{Ask, Files, Found, lxd};
use super::products::{Build, Item, StreamDocument, StreamProduct, StreamVersion, TEXT_BYTES_MAX, built_at, each};
use crate::digest::{from_hex, hex};
use crate::image::{Architecture, ImageKind};

/// The requested image.
pub(super) struct WantedImage {
    name: String,
    /// The requested name as the beginning of a fingerprint, if it can be one.
    prefix: Option<String>,
    kind: Option<ImageKind>,
    architecture: Option<Architecture>,
    /// This machine's.
    native: Option<Architecture>,
}

impl WantedImage {
    pub(super) fn of(ask: &Ask) -> Self {
        Self { kind: ask.kind, architecture: ask.architecture, ..Self::named(&ask.image, this_machine()) }
    }

    /// An image by its name, for a machine with this processor.
    pub(super) fn named(name: &str, native: Option<Architecture>) -> Self {
        Self { name: name.to_owned(), prefix: lxd::prefix(name), kind: None, architecture: None, native }
    }

    /// Distance of an image of this kind and processor from the request; `None` if it does not fit.
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
            (None, Some(native)) if native.personalities().contains(&architecture) => 1,
            (None, _) => 2,
        };
        Some((kind_at, architecture_at))
    }

    /// Tells whether a product has the requested name, alone or followed by its architecture.
    fn names(&self, product: &StreamProduct<'_>) -> bool {
        let arch = product.arch.as_deref().unwrap_or_default();
        let with_arch = self.name.strip_suffix(arch).and_then(|rest| rest.strip_suffix('/'));
        product.aliases().any(|alias| alias == self.name || with_arch == Some(alias))
    }
}

/// The processor of this machine, by its kernel.
pub fn this_machine() -> Option<Architecture> {
    Architecture::parse(rustix::system::uname().machine().to_str().ok()?)
}

/// Sort key of the best images of all products, in LXD's order: the match, the names of the system, the newest build, the
/// best files. The last field only makes the order certain.
type Among = ((u8, u8), [(bool, String); 3], Reverse<Arc<str>>, Architecture, usize, [u8; 32]);

/// Reasons why there is nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// There is no such image.
    Nothing,
    /// The beginning of a fingerprint is that of several.
    Several,
}

/// The choice as far as it has been made.
pub(super) struct Choice {
    wanted: WantedImage,
    by_alias: Option<(Among, Found)>,
    by_fingerprint: Option<Found>,
    /// Another image fits the beginning of the fingerprint.
    ambiguous: bool,
}

impl Choice {
    pub(super) fn new(wanted: WantedImage) -> Self {
        Self { wanted, by_alias: None, by_fingerprint: None, ambiguous: false }
    }

    /// Looks through a document.
    pub(super) fn look(&mut self, document: &[u8]) -> serde_json::Result<()> {
        let document: StreamDocument<'_> = serde_json::from_slice(document)?;
        each(document.products, |_, product| self.look_at(&serde_json::from_str(product.get())?))
    }

    /// Looks through the builds of a product. Only the best of them is compared with those of other products: between
    /// themselves, the names of the system make no difference.
    fn look_at(&mut self, product: &StreamProduct<'_>) -> serde_json::Result<()> {
        let named = self.wanted.names(product);
        let (Some(architecture), Some(versions)) = (product.architecture(), product.versions) else { return Ok(()) };
        if !product.fits() || !named && self.wanted.prefix.is_none() {
            return Ok(());
        }
        let mut best: Option<((u8, u8), Offer)> = None;
        each(versions, |serial, version| {
            if serial.len() > TEXT_BYTES_MAX || built_at(&serial).is_none() {
                return Ok(());
            }
            let version: StreamVersion = serde_json::from_str(version.get())?;
            if !version.fits() {
                return Ok(());
            }
            let (serial, label) = (Arc::<str>::from(serial), Arc::from(version.label.as_deref().unwrap_or_default()));
            for build in version.builds() {
                let offer = Offer { serial: Arc::clone(&serial), label: Arc::clone(&label), architecture, build };
                self.match_fingerprint(product, &offer);
                let distance = self.wanted.distance(offer.build.kind, architecture).filter(|_| named);
                let Some(distance) = distance else { continue };
                if best.as_ref().is_none_or(|(other, best)| (distance, offer.order()) < (*other, best.order())) {
                    best = Some((distance, offer));
                }
            }
            Ok(())
        })?;
        if let Some((distance, offer)) = best {
            self.weigh(distance, product, &offer);
        }
        Ok(())
    }

    fn weigh(&mut self, distance: (u8, u8), product: &StreamProduct<'_>, offer: &Offer) {
        let Build { rank, fingerprint, .. } = offer.build;
        let order: Among =
            (distance, product.order(), Reverse(Arc::clone(&offer.serial)), offer.architecture, rank, fingerprint);
        if self.by_alias.as_ref().is_none_or(|(best, _)| order < *best) {
            self.by_alias = Some((order, offer.found(product, true)));
        }
    }

    fn match_fingerprint(&mut self, product: &StreamProduct<'_>, offer: &Offer) {
        let fits = |prefix: &String| hex(&offer.build.fingerprint).starts_with(prefix.as_str());
        if !self.wanted.prefix.as_ref().is_some_and(fits) {
            return;
        }
        match &self.by_fingerprint {
            Some(other) => self.ambiguous |= other.fingerprint != offer.build.fingerprint,
            None => self.by_fingerprint = Some(offer.found(product, false)),
        }
    }

    /// The chosen image.
    pub(super) fn made(self) -> Result<Found, Miss> {
        match (self.by_alias, self.by_fingerprint) {
            (Some((_, found)), _) => Ok(found),
            (None, Some(_)) if self.ambiguous => Err(Miss::Several),
            (None, found) => found.ok_or(Miss::Nothing),
        }
    }
}

/// An image of a product.
struct Offer {
    serial: Arc<str>,
    label: Arc<str>,
    architecture: Architecture,
    build: Build,
}

impl Offer {
    /// Sort key of the images of one product.
    fn order(&self) -> (Reverse<&str>, usize, [u8; 32]) {
        (Reverse(&self.serial), self.build.rank, self.build.fingerprint)
    }

    fn found(&self, product: &StreamProduct<'_>, by_alias: bool) -> Found {
        let Build { meta, root, fingerprint, kind, .. } = &self.build;
        let (size, files) = match root {
            None => (meta.size(), vec![listed(Part::Whole, meta)]),
            Some(root) => (
                meta.size().zip(root.size()).and_then(|(meta, root)| meta.checked_add(root)),
                vec![listed(Part::Metadata, meta), listed(Part::Rootfs, root)],
            ),
        };
        Found {
            fingerprint: *fingerprint,
            by_alias,
            kind: *kind,
            architecture: self.architecture,
            filename: name_of(meta).to_owned(),
            properties: product.properties(&self.serial, &self.label, &self.build),
            created_at: built_at(&self.serial),
            expires_at: product.expires_at(),
            size,
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

    impl WantedImage {
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
