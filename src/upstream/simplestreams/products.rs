//! What a document says: products, their versions, the files of these. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::image::digest::from_hex;
use crate::image::{Architecture, ImageKind, Timestamp};

/// Longest path of a file, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// A document with products. What of them is not given, or `null`, is as if empty; what else is in there is not for us.
#[derive(Deserialize)]
pub(super) struct Products {
    pub(super) products: BTreeMap<String, Product>,
}

/// An operating system in one release, variant and architecture.
#[derive(Deserialize)]
pub(super) struct Product {
    pub(super) aliases: Option<String>,
    pub(super) arch: Option<String>,
    os: Option<String>,
    release: Option<String>,
    release_title: Option<String>,
    version: Option<String>,
    variant: Option<String>,
    support_eol: Option<String>,
    requirements: Option<BTreeMap<String, String>>,
    lxd_requirements: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, Version>,
}

/// One build of a product.
#[derive(Deserialize)]
pub(super) struct Version {
    #[serde(default)]
    items: BTreeMap<String, Item>,
    label: Option<String>,
}

/// A file of a build.
#[derive(Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    ftype: String,
    #[serde(default)]
    pub(super) path: String,
    pub(super) sha256: Option<String>,
    size: Option<u64>,
    combined_sha256: Option<String>,
    combined_rootxz_sha256: Option<String>,
    combined_squashfs_sha256: Option<String>,
    #[serde(rename = "combined_disk-kvm-img_sha256")]
    combined_disk_kvm_sha256: Option<String>,
    #[serde(rename = "combined_disk1-img_sha256")]
    combined_disk1_sha256: Option<String>,
    #[serde(rename = "combined_uefi1-img_sha256")]
    combined_uefi1_sha256: Option<String>,
    combined_type: Option<String>,
}

/// The types of the file that describes an image and goes with another one, and of those that are a whole image. LXD and
/// Incus each know their own; they are the same.
const META: [&str; 2] = ["incus.tar.xz", "lxd.tar.xz"];
const COMBINED: [&str; 2] = ["incus_combined.tar.gz", "lxd_combined.tar.gz"];

/// The types of the file that goes with it: best first, as LXD prefers them.
const ROOTS: [&str; 5] = ["squashfs", "root.tar.xz", "disk-kvm.img", "uefi1.img", "disk1.img"];

/// An image that a build offers: one file, or two.
pub(super) struct Build<'a> {
    pub(super) meta: &'a Item,
    pub(super) root: Option<&'a Item>,
    pub(super) fingerprint: [u8; 32],
    pub(super) kind: ImageKind,
    /// How much others are preferred to it.
    pub(super) rank: usize,
}

impl Product {
    /// The processor it is for, if it is one that we know.
    pub(super) fn architecture(&self) -> Option<Architecture> {
        Architecture::parse(self.arch.as_deref()?)
    }

    /// The names under which it is found, which anyone may write carelessly.
    pub(super) fn aliases(&self) -> impl Iterator<Item = &str> {
        let aliases = self.aliases.as_deref().unwrap_or_default().split(',');
        aliases.map(str::trim).filter(|alias| !alias.is_empty())
    }

    /// By what products are sorted: the names of their system. What has none comes last.
    pub(super) fn order(&self) -> [(bool, String); 3] {
        [&self.os, &self.release, &self.variant].map(|name| {
            let name = name.clone().unwrap_or_default();
            (name.is_empty(), name)
        })
    }

    /// When it is out of date.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        midnight(self.support_eol.as_deref()?.parse().ok()?)
    }

    /// The properties that an image of it gets: those that LXD gives it.
    pub(super) fn properties(&self, serial: &str, version: &Version, build: &Build<'_>) -> BTreeMap<String, String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut description = format!("{} {} {}", text(&self.os), text(&self.release_title), text(&self.arch));
        for detail in [version.label.as_deref().unwrap_or_default(), serial] {
            if !detail.is_empty() {
                description.push_str(&format!(" ({detail})"));
            }
        }
        let fixed = [
            ("os", text(&self.os)),
            ("release", text(&self.release)),
            ("version", text(&self.version)),
            ("architecture", text(&self.arch)),
            ("variant", text(&self.variant)),
            ("label", text(&version.label)),
            ("serial", serial.to_owned()),
            ("description", description.trim().to_owned()),
            ("type", build.root.map_or("tar.gz", |root| root.ftype.as_str()).to_owned()),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        let demands = [&self.lxd_requirements, &self.requirements].into_iter().flatten().flatten();
        let demands = demands.map(|(name, value)| (format!("requirements.{name}"), value.clone()));
        fixed.chain(demands).filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl Version {
    /// The images that a build offers. At most one of a type is looked at, however many a document lists.
    pub(super) fn builds(&self) -> Vec<Build<'_>> {
        let first = |ftype: &str| self.items.values().find(|item| item.ftype == ftype);
        let metas = META.into_iter().filter_map(first);
        let pairs = metas.flat_map(|meta| {
            let roots = ROOTS.into_iter().enumerate();
            roots.filter_map(move |(rank, ftype)| {
                let root = first(ftype)?;
                let kind = if rank < 2 { ImageKind::Container } else { ImageKind::VirtualMachine };
                let fingerprint = from_hex(meta.combined(ftype)?)?;
                Some(Build { meta, root: Some(root), fingerprint, kind, rank })
            })
        });
        let combined = COMBINED.into_iter().filter_map(first).filter_map(|meta| {
            let machine = meta.combined_type.as_deref() == Some("virtual-machine");
            let kind = if machine { ImageKind::VirtualMachine } else { ImageKind::Container };
            let fingerprint = from_hex(meta.sha256.as_deref()?)?;
            Some(Build { meta, root: None, fingerprint, kind, rank: ROOTS.len() })
        });
        let usable = |build: &Build<'_>| [Some(build.meta), build.root].into_iter().flatten().all(Item::is_somewhere);
        pairs.chain(combined).filter(usable).collect()
    }
}

impl Item {
    /// What this and the file of the other type hash to together.
    fn combined(&self, ftype: &str) -> Option<&str> {
        let given = |sum: &'_ Option<String>| sum.as_deref().is_some_and(|sum| !sum.is_empty());
        let sum = match ftype {
            "squashfs" => &self.combined_squashfs_sha256,
            "root.tar.xz" if given(&self.combined_rootxz_sha256) => &self.combined_rootxz_sha256,
            "root.tar.xz" => &self.combined_sha256,
            "disk-kvm.img" => &self.combined_disk_kvm_sha256,
            "uefi1.img" => &self.combined_uefi1_sha256,
            "disk1.img" => &self.combined_disk1_sha256,
            _ => return None,
        };
        sum.as_deref()
    }

    fn is_somewhere(&self) -> bool {
        path(&self.path).is_some()
    }

    /// Its size, if it is listed.
    pub(super) fn size(&self) -> Option<u64> {
        self.size.filter(|size| *size > 0)
    }
}

/// A path below the root of the server, if it is one.
pub(super) fn path(text: &str) -> Option<&str> {
    let good = !text.is_empty()
        && text.len() <= PATH_BYTES_MAX
        && !text.contains(['?', '#', '\\'])
        && !text.chars().any(char::is_control);
    good.then_some(text)
}

/// When a build was made: its name begins with the day.
pub(super) fn built_at(serial: &str) -> Option<Timestamp> {
    let day = serial.get(..8).filter(|day| day.bytes().all(|byte| byte.is_ascii_digit()))?;
    midnight(Date::strptime("%Y%m%d", day).ok()?)
}

fn midnight(day: Date) -> Option<Timestamp> {
    let moment = day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    (moment > 0).then_some(Timestamp(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_build_begins_with_its_day() {
        assert_eq!(built_at("20240203_05:24"), Some(Timestamp(1_706_918_400_000_000)));
        assert_eq!(built_at("20240203"), Some(Timestamp(1_706_918_400_000_000)));
        for bad in ["", "2024", "2024-02-03", "20241303", "daily-20240203", "2024020é", "+0240203"] {
            assert_eq!(built_at(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_the_root() {
        for good in ["images/a/20240101_05:24/rootfs.squashfs", "streams/v1/com.ubuntu.cloud:released:download.json"] {
            assert_eq!(path(good), Some(good));
        }
        for bad in ["", "a?b", "a#b", "a\\b", "a\nb", &"x".repeat(2000)] {
            assert_eq!(path(bad), None, "{bad:?}");
        }
    }
}
