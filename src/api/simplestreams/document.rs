//! The two documents, as LXD and Incus read them (their `shared/simplestreams` and Canonical's description of the
//! format). It knows nothing of requests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::http::time::formatted;
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{AliasSlot, Architecture, Attr, Format, Image, ImageKind, Visibility};
use crate::registry::{Caller, FileRole, ListScope, LxdFile, LxdImages, Precedence, Registry, aliases_of, files_of};

/// Paths of the documents, below the server's root.
pub(super) const INDEX_PATH: &str = "streams/v1/index.json";
pub(super) const PRODUCTS_PATH: &str = "streams/v1/images.json";

/// Number of records that are read together.
const PAGE: usize = 256;

/// The products: one for each image. In this format an alias names the newest version of a product, and clients take any of
/// several products with it. So each alias is listed once for an architecture and a kind, at the image that it stands for; and
/// images that their makers see as versions of each other are separate products.
#[derive(Serialize)]
pub(super) struct Products {
    content_id: &'static str,
    datatype: &'static str,
    format: &'static str,
    products: BTreeMap<String, PublishedProduct>,
}

#[derive(Serialize)]
struct PublishedProduct {
    #[serde(serialize_with = "joined")]
    aliases: BTreeSet<String>,
    arch: &'static str,
    os: String,
    release: String,
    release_title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support_eol: Option<String>,
    /// Requirements that the host must meet, for Incus.
    #[serde(skip_serializing_if = "Map::is_empty")]
    requirements: Map<String, Value>,
    /// Requirements that the host must meet, for LXD.
    #[serde(skip_serializing_if = "Map::is_empty")]
    lxd_requirements: Map<String, Value>,
    versions: BTreeMap<String, PublishedVersion>,
}

#[derive(Serialize)]
struct PublishedVersion {
    items: BTreeMap<&'static str, Map<String, Value>>,
}

impl Products {
    pub(super) fn into_json(self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self).map_err(Error::internal)
    }
}

/// Renders the index, which points to the products.
pub(super) fn index(products: &Products) -> Result<Vec<u8>> {
    let names: Vec<_> = products.products.keys().collect();
    let images = json!({
        "datatype": products.datatype,
        "path": PRODUCTS_PATH,
        "format": products.format,
        "products": names,
    });
    serde_json::to_vec(&json!({ "format": "index:1.0", "index": { "images": images } })).map_err(Error::internal)
}

/// Reads the public images as products.
pub(super) async fn products(registry: &Registry) -> Result<Products> {
    let public = Filter::spelled(Attr::Visibility, Visibility::Public.name());
    let sort = Sort::by(Attr::Fingerprint, Direction::Ascending);
    let query = Query { filter: LxdImages::listed().and(public), sort, limit: PAGE, after: None };
    let mut pages = registry.pages(&Caller::Anonymous, ListScope::default(), query, usize::MAX);
    let mut products = BTreeMap::<String, PublishedProduct>::new();
    let mut meant = BTreeMap::<String, BTreeMap<AliasSlot, (Precedence, String)>>::new();
    while let Some(images) = pages.next().await? {
        for image in &images {
            let Some((name, product)) = product(image) else { continue };
            // Commas separate aliases.
            for alias in aliases_of(image).into_keys().filter(|alias| !alias.contains(',')) {
                let candidate = (Precedence::of(image, alias), name.clone());
                let slots = meant.entry(alias.to_owned()).or_default();
                let best = slots.entry(image.alias_slot()).or_insert_with(|| candidate.clone());
                if candidate < *best {
                    *best = candidate;
                }
            }
            // Two owners may have identical images.
            products.entry(name).or_insert(product);
        }
    }
    for (alias, slots) in meant {
        for (_, product) in slots.into_values() {
            if let Some(product) = products.get_mut(&product) {
                product.aliases.insert(alias.clone());
            }
        }
    }
    Ok(Products { content_id: "images", datatype: "image-downloads", format: "products:1.0", products })
}

/// Turns an image into a product, if the format can express it.
fn product(image: &Image) -> Option<(String, PublishedProduct)> {
    let fingerprint = hex(&image.fingerprint()?);
    let property = |name: &str| image.properties.get(name).filter(|value| !value.is_empty()).cloned();
    let arch = debian_name(image.architecture?);
    let os = property("os").or_else(|| image.name.clone()).unwrap_or_else(|| "image".to_owned());
    let release = property("release").unwrap_or_default();
    let variant = property("variant");
    let requirements = image.properties.iter().filter_map(|(name, value)| {
        Some((name.strip_prefix("requirements.")?.to_owned(), Value::String(value.clone())))
    });
    let requirements: Map<_, _> = requirements.collect();
    let items = items(image, &fingerprint)?;
    // Names have colons between their parts, so a part may have none.
    let part = |text: &str| text.to_lowercase().replace([':', ' '], "-");
    let kind = part(variant.as_deref().unwrap_or("default"));
    // The name has the full fingerprint: another image with an equal prefix could otherwise take its place.
    let name = format!("{}:{}:{kind}:{arch}:{fingerprint}", part(&os), part(&release));
    let built_at = image.built_at.or(image.uploaded_at).unwrap_or(image.created_at);
    let product = PublishedProduct {
        aliases: BTreeSet::new(),
        arch,
        release_title: property("release_title").unwrap_or_else(|| release.clone()),
        os,
        release,
        variant,
        version: property("version"),
        support_eol: image.supported_until.or(image.expires_at).and_then(|at| formatted("%Y-%m-%d", at)),
        lxd_requirements: requirements.clone(),
        requirements,
        versions: [(formatted("%Y%m%d_%H:%M", built_at)?, PublishedVersion { items })].into(),
    };
    Some((name, product))
}

fn joined<S: Serializer>(aliases: &BTreeSet<String>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&aliases.iter().map(String::as_str).collect::<Vec<_>>().join(","))
}

/// Name of a file in its URL.
pub(super) fn name_of(role: FileRole) -> &'static str {
    match role {
        FileRole::Unified => "combined.tar",
        FileRole::Metadata => "metadata.tar",
        FileRole::Rootfs => "rootfs",
        FileRole::Disk => "disk.qcow2",
    }
}

/// The files of an image. LXD and Incus each have a name for the description, and ignore that of the other.
fn items(image: &Image, fingerprint: &str) -> Option<BTreeMap<&'static str, Map<String, Value>>> {
    let files = files_of(image).ok()?;
    let item = |ftype: &str, file: &LxdFile| -> Option<Map<String, Value>> {
        let path = format!("streams/v1/files/{fingerprint}/{}", name_of(file.role));
        let item = json!({ "ftype": ftype, "path": path, "size": file.size, "sha256": hex(&file.sha256?) });
        if let Value::Object(item) = item { Some(item) } else { None }
    };
    let mut items = BTreeMap::new();
    match &files[..] {
        [unified] if image.kind == Some(ImageKind::VirtualMachine) => {
            // Only newer versions of Incus can be told that this is a virtual machine; all others would take it for a
            // container.
            let mut combined = item("incus_combined.tar.gz", unified)?;
            combined.insert("combined_type".into(), ImageKind::VirtualMachine.name().into());
            items.insert("incus_combined.tar.gz", combined);
        }
        [unified] => {
            for ftype in ["lxd_combined.tar.gz", "incus_combined.tar.gz"] {
                items.insert(ftype, item(ftype, unified)?);
            }
        }
        [metadata, root] => {
            let (ftype, combined) = match (root.role, image.format) {
                (FileRole::Disk, _) => ("disk-kvm.img", "combined_disk-kvm-img_sha256"),
                (_, Some(Format::Squashfs)) => ("squashfs", "combined_squashfs_sha256"),
                _ => ("root.tar.xz", "combined_rootxz_sha256"),
            };
            for name in ["lxd.tar.xz", "incus.tar.xz"] {
                let mut described = item(name, metadata)?;
                described.insert(combined.into(), fingerprint.into());
                items.insert(name, described);
            }
            items.insert(ftype, item(ftype, root)?);
        }
        _ => return None,
    }
    Some(items)
}

/// Debian's name of an architecture, which these documents use.
fn debian_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::I386 => "i386",
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
        Architecture::Armv7l => "armhf",
        Architecture::Ppc64le => "ppc64el",
        Architecture::Riscv64 => "riscv64",
        Architecture::S390x => "s390x",
        Architecture::Armv6l => "armel",
        Architecture::Ppc64 => "ppc64",
        Architecture::Loongarch64 => "loong64",
        Architecture::Ppc => "powerpc",
        Architecture::Mips => "mipsel",
        Architecture::Mips64 => "mips64el",
        Architecture::Armv8l | Architecture::Riscv32 => architecture.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents' name of an attribute; `None` if they do not show it.
    fn name_of(attr: Attr) -> Option<&'static str> {
        Some(match attr {
            Attr::Architecture => "arch",
            Attr::Alias => "aliases",
            // Each file has its own.
            Attr::Size => "size",
            Attr::Sha256 => "sha256",
            // Their names in the documents depend on the files that they cover.
            Attr::Fingerprint => return None,
            // Names of products have the properties, and all images here are public.
            Attr::Id | Attr::Name | Attr::Visibility | Attr::Kind | Attr::Format | Attr::Store => return None,
            Attr::Location | Attr::Kernel | Attr::Ramdisk | Attr::Owner | Attr::Status => return None,
            Attr::CreatedAt | Attr::UploadedAt | Attr::UpdatedAt | Attr::Checksum | Attr::Container => return None,
            Attr::MinDisk | Attr::MinRam | Attr::Protected | Attr::Hidden | Attr::VirtualSize => return None,
            // The documents show the end of support that the makers set, if any.
            Attr::ExpiresAt => return None,
            Attr::Sha512 | Attr::Offered => return None,
        })
    }

    #[test]
    fn every_attribute_with_a_name_is_shown() {
        let (_, product) = product(&crate::image::full_tests::full()).unwrap();
        let text = serde_json::to_string(&product).unwrap();
        for row in &crate::image::attr::ATTRS {
            if let Some(name) = name_of(row.attr) {
                assert!(text.contains(&format!("\"{name}\":")), "{name}: {text}");
            }
        }
    }
}
