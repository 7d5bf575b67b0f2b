//! Documents of simplestreams: an index, and products with their versions and items. Of a vendor with keys the signed ones are read.

use std::collections::BTreeMap;

use super::found::{ContainerMetadata, FoundBuild};
use super::incomplete;
use super::object::{Attributes, JsonObject};
use super::seeker::Seeker;
use super::trust::Trusted;
use crate::digest::from_hex;
use crate::error::{Error, Reason, Result};
use crate::vendor::expectation::Expectation;
use crate::vendor::learn::PRODUCTS_BYTES_MAX;
use crate::vendor::level::Level;
use crate::vendor::order::natural;
use crate::vendor::place::{folder, last_part};
use crate::vendor::sum::Sum;
use crate::vendor::template::KnownFields;

/// Most products documents of an index that are read.
const DOCUMENTS_MAX: usize = 5;

/// Variant of a product that says none.
const DEFAULT: &str = "default";

/// Types of the file that describes a container, as LXD and Incus call it: each has the same content.
const METADATA: [&str; 2] = ["lxd.tar.xz", "incus.tar.xz"];

/// Type of a container's file system, and the digest of it and its description together.
const ROOT: (&str, &str) = ("squashfs", "combined_squashfs_sha256");

/// Objects of a product with what its images demand of LXD and Incus.
const DEMANDS: [&str; 2] = ["lxd_requirements", "requirements"];

/// Most demands of a product that are kept.
const DEMANDS_MAX: usize = 128;

/// Finds the builds of a release.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let list = seeker.vendor.list.as_ref().ok_or_else(|| incomplete(seeker))?;
    let url = seeker.url(list, &seeker.facts)?.ok_or_else(|| incomplete(seeker))?;
    let index = get(seeker, &url).await?;
    let mut search = Search::default();
    match products_of(&index).map_err(|error| seeker.refused(&url, error))? {
        None => search.read(seeker, &url, &index)?,
        Some(paths) if paths.is_empty() => return Err(seeker.refused(&url, "it names no images")),
        Some(paths) => {
            for path in paths {
                let url = seeker.place(&root(&url), &path)?;
                let document = get(seeker, &url).await?;
                search.read(seeker, &url, &document)?;
            }
        }
    }
    match search.found.is_empty() {
        true => Err(search.nothing(seeker)),
        false => seeker.wanted(search.found),
    }
}

/// Folder that paths are relative to: the one that has `streams/v1/`.
fn root(url: &str) -> String {
    url.split_once("/streams/v1/").map_or_else(|| folder(url).to_owned(), |(root, _)| format!("{root}/"))
}

/// Gets a document, signed if the vendor has keys. Without a signed one the other has to do, unless a signature is required.
async fn get(seeker: &mut Seeker<'_>, url: &str) -> Result<Trusted> {
    let plain = url.trim_end_matches(".sjson").trim_end_matches(".json");
    if !seeker.vendor.rules.keys.is_empty() {
        let signed = format!("{plain}.sjson");
        if let Some(document) = seeker.get(&signed, PRODUCTS_BYTES_MAX).await? {
            return seeker.open_signed(&signed, document);
        }
        if seeker.require == Level::Signature {
            return Err(Reason::SignatureMissing.about(&seeker.vendor.title).and(last_part(&signed)));
        }
    }
    let url = format!("{plain}.json");
    let document = seeker.get(&url, PRODUCTS_BYTES_MAX).await?;
    seeker.open(&url, document.ok_or_else(|| seeker.refused(&url, "it is not there"))?)
}

/// Paths of the products documents that an index names; `None` when it is one itself.
fn products_of(index: &Trusted) -> serde_json::Result<Option<Vec<String>>> {
    let text = String::from_utf8_lossy(index.content());
    let document = JsonObject::read(&text)?;
    let Some(entries) = document.below("index")? else { return Ok(None) };
    let mut paths = Vec::new();
    for entry in entries.members() {
        let (_, entry) = entry?;
        let is = |name: &str, wanted: &str| entry.text(name).is_none_or(|text| text == wanted);
        if is("datatype", "image-downloads") && is("format", "products:1.0") {
            paths.extend(entry.text("path"));
        }
    }
    paths.truncate(DOCUMENTS_MAX);
    Ok(Some(paths))
}

/// Builds that were found in the documents, and what there is in place of the wanted one.
#[derive(Default)]
struct Search {
    found: Vec<FoundBuild>,
    releases: Vec<String>,
    builds: Vec<String>,
    variants: Vec<String>,
    architectures: Vec<String>,
}

/// A product, and its names.
struct Product<'a, 'b> {
    attributes: Attributes<'a, 'b>,
    names: Vec<String>,
    /// Name that its release goes by here.
    release: String,
    /// True if the release that is asked for ends with its variant, as in `debian/13/cloud`.
    is_spelled: bool,
}

impl Search {
    /// Looks through a document.
    fn read(&mut self, seeker: &Seeker<'_>, url: &str, document: &Trusted) -> Result<()> {
        let refused = |error: serde_json::Error| seeker.refused(url, error);
        let text = std::str::from_utf8(document.content()).map_err(|error| seeker.refused(url, error))?;
        let top = JsonObject::read(text).map_err(refused)?;
        let aliases = top.aliases();
        let products = top.below("products").map_err(refused)?;
        let products = products.ok_or_else(|| seeker.refused(url, "it has no products"))?;
        let attributes = Attributes::of(&top, &aliases);
        for product in products.members() {
            let (_, object) = product.map_err(refused)?;
            let product = Product::of(seeker, attributes.and(&object));
            if !self.wants(seeker, &product) {
                continue;
            }
            let versions = object.below("versions").map_err(refused)?.unwrap_or_default();
            let mut serials: Vec<&str> = versions.names().collect();
            serials.sort_by(|one, other| natural(other, one));
            self.builds.extend(serials.iter().map(|serial| (*serial).to_owned()));
            serials.retain(|serial| seeker.name.build.as_deref().is_none_or(|build| build == *serial));
            for serial in serials {
                let Some(version) = versions.below(serial).map_err(refused)? else { continue };
                let found = Version { seeker, url, document, product: &product }.file(serial, &version)?;
                let found = found.map(|found| FoundBuild { properties: demands(&object), ..found });
                let is_found = found.is_some();
                self.found.extend(found);
                // Only the newest with such a file is wanted.
                if is_found && !seeker.all {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells whether a product is the wanted one, and notes what it is otherwise.
    fn wants(&mut self, seeker: &Seeker<'_>, product: &Product<'_, '_>) -> bool {
        let text = |name: &str| product.attributes.text(name).unwrap_or_default();
        let variant = product.variant();
        let named = seeker.name.variant.as_deref().filter(|_| seeker.spellings.is_empty()).unwrap_or(DEFAULT);
        let is_release = match seeker.facts.get("release") {
            Some(release) => product.names.iter().any(|name| name.eq_ignore_ascii_case(release)),
            // The newest release is one by its number, and one that is supported.
            None => seeker.every_release || text("supported") != "false" && !text("version").is_empty(),
        };
        let is_architecture = seeker.file.is_some() || Some(text("arch").as_str()) == seeker.facts.get("arch");
        match (is_release, is_architecture, variant == named || product.is_spelled) {
            (true, true, true) => return true,
            (true, true, false) => self.variants.push(variant),
            (true, false, _) => self.architectures.push(text("arch")),
            (false, true, true) => self.releases.push(product.release.clone()),
            (false, ..) => {}
        }
        false
    }

    /// Refusal, with what there is.
    fn nothing(mut self, seeker: &Seeker<'_>) -> Error {
        let newest_first = |names: &mut Vec<String>| names.sort_by(|one, other| natural(other, one));
        newest_first(&mut self.releases);
        if !self.builds.is_empty() {
            return seeker.no_build(&self.builds);
        }
        if !self.variants.is_empty() {
            self.variants.extend(seeker.vendor.variants.keys().cloned());
            return seeker.no_variant(&self.variants);
        }
        match self.architectures.is_empty() {
            false => seeker.no_architecture(&self.architectures),
            true => seeker.no_release(&self.releases),
        }
    }
}

impl<'a, 'b> Product<'a, 'b> {
    fn of(seeker: &Seeker<'_>, attributes: Attributes<'a, 'b>) -> Self {
        let mut product = Self { attributes, names: Vec::new(), release: String::new(), is_spelled: false };
        let ending = format!("/{}", product.variant());
        let aliases = product.attributes.text("aliases").unwrap_or_default();
        let spelled = seeker.facts.get("release").filter(|release| release.ends_with(&ending));
        product.is_spelled = spelled.is_some_and(|release| aliases.split(',').any(|alias| alias.trim() == release));
        let is_spelled = product.is_spelled;
        let short = |alias: &str| if is_spelled { alias } else { alias.trim_end_matches(&ending) }.trim().to_owned();
        let aliases = aliases.split(',').map(short).filter(|alias| !is_spelled || alias.ends_with(&ending));
        let version = product.attributes.text("version").filter(|_| !is_spelled);
        let release = product.attributes.text("release");
        let names: Vec<String> = version.clone().into_iter().chain(aliases).chain(release).collect();
        let asked = seeker.facts.get("release").filter(|asked| names.iter().any(|name| name == asked));
        // One of several names of a release is its own, whichever was asked for: that with a number.
        let parts = |name: &str| name.split('/').count();
        let has_number = |name: &&String| {
            asked.is_some_and(|asked| parts(name) == parts(asked))
                && name.split('/').skip(1).any(|part| part.starts_with(|c: char| c.is_ascii_digit()))
        };
        let numbered = names.iter().find(has_number).cloned();
        let other = || asked.map(str::to_owned).or_else(|| names.first().cloned());
        product.release = version.or(numbered).or_else(other).unwrap_or_default();
        product.names = names;
        product
    }

    fn variant(&self) -> String {
        self.attributes.text("variant").unwrap_or_else(|| DEFAULT.to_owned())
    }
}

/// Demands of a product's images, as the attributes that LXD and Incus read them from.
fn demands(product: &JsonObject<'_>) -> BTreeMap<String, String> {
    let objects = DEMANDS.iter().filter_map(|name| product.below(name).ok().flatten());
    let demands = objects.flat_map(|object| {
        let names = object.names().map(str::to_owned).collect::<Vec<_>>();
        names.into_iter().filter_map(move |name| Some((format!("requirements.{name}"), object.text(&name)?)))
    });
    demands.take(DEMANDS_MAX).collect()
}

/// Place of a version: its product, and the document that lists it.
struct Version<'s, 'p, 'a, 'b> {
    seeker: &'s Seeker<'p>,
    url: &'s str,
    document: &'s Trusted,
    product: &'s Product<'a, 'b>,
}

impl Version<'_, '_, '_, '_> {
    fn refused(&self, error: impl std::fmt::Display) -> Error {
        self.seeker.refused(self.url, error)
    }

    /// The wanted file of a version, if it has one.
    fn file(&self, serial: &str, version: &JsonObject<'_>) -> Result<Option<FoundBuild>> {
        let (seeker, product) = (self.seeker, self.product);
        let of_default = seeker.vendor.variant.as_ref().and_then(|variant| seeker.vendor.variants.get(variant));
        let kinds =
            if seeker.spellings.is_empty() { of_default.map_or(&[][..], Vec::as_slice) } else { seeker.spellings };
        let items = version.below("items").map_err(|error| self.refused(error))?.unwrap_or_default();
        let items: serde_json::Result<Vec<JsonObject<'_>>> =
            items.members().map(|item| item.map(|(_, item)| item)).collect();
        let items = items.map_err(|error| self.refused(error))?;
        let attributes = product.attributes.and(version);
        let of_kind = |kind: &str| {
            let is_it = |item: &&JsonObject<'_>| attributes.and(item).text("ftype").as_deref() == Some(kind);
            items.iter().find(is_it).map(|item| attributes.and(item))
        };
        let is_called =
            |item: &Attributes<'_, '_>, name: &str| item.text("path").is_some_and(|path| last_part(&path) == name);
        let found = match &seeker.file {
            Some(name) => items.iter().map(|item| attributes.and(item)).find(|item| is_called(item, name)),
            None => kinds.iter().find_map(|kind| of_kind(kind)),
        };
        let Some(item) = found else { return Ok(None) };
        let Some((url, expectation)) = self.listed(&item)? else { return Ok(None) };
        let is_root = seeker.file.is_none() && item.text("ftype").as_deref() == Some(ROOT.0);
        let metadata = match is_root {
            true => METADATA.into_iter().filter_map(of_kind).find_map(|item| self.metadata(&item).transpose()),
            false => None,
        };
        // A letter, the word for whatever is the newest, and a half of a name are no names that an image is looked up by.
        let has_parts = product.release.contains('/');
        let is_name = |name: &&String| name.len() > 1 && *name != DEFAULT && name.contains('/') == has_parts;
        let aliases = product.names.iter().filter(is_name).cloned().collect();
        let facts = KnownFields::default().with("release", product.release.as_str()).with("build", serial);
        let metadata = metadata.transpose()?;
        Ok(Some(FoundBuild { aliases, metadata, ..FoundBuild::at(facts, url, expectation) }))
    }

    /// The description of a container, if its item is one that the container is listed with.
    fn metadata(&self, item: &Attributes<'_, '_>) -> Result<Option<ContainerMetadata>> {
        let Some(fingerprint) = item.text(ROOT.1).as_deref().and_then(from_hex) else { return Ok(None) };
        let listed = self.listed(item)?;
        Ok(listed.map(|(url, expectation)| ContainerMetadata { url, expectation, fingerprint }))
    }

    /// Place of a file, and its digests.
    fn listed(&self, item: &Attributes<'_, '_>) -> Result<Option<(String, Option<Expectation>)>> {
        let Some(path) = item.text("path") else { return Ok(None) };
        let mut sums = Vec::new();
        for name in ["sha512", "sha256", "md5"] {
            let Some(hex) = item.text(name) else { continue };
            let sum = Sum::of_hex(&hex).filter(|sum| sum.algorithm().name() == name);
            sums.push(sum.ok_or_else(|| self.refused(format!("{hex:?} is no {name}")))?);
        }
        let size = item.text("size").and_then(|size| size.parse().ok());
        let place = self.seeker.place(&root(self.url), &path)?;
        let expectation = self.seeker.expect(self.document, &place, size, sums)?;
        Ok(Some((place, expectation)))
    }
}
