//! Contents of a document: products, their versions and files. Pure.
//!
//! A document is never built in memory: its author would decide how much memory that takes, many times its own size. It is
//! walked through, and of one version at a time the few files that can be an image are kept.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::digest::from_hex;
use crate::image::{Architecture, ImageKind, Timestamp};

/// Longest text that is kept, in bytes. What has a longer one is passed over.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

/// Most demands of a product that are kept.
const DEMANDS_MAX: usize = 128;

/// A document with products.
#[derive(Deserialize)]
pub(super) struct StreamDocument<'a> {
    /// By name.
    #[serde(borrow)]
    pub(super) products: &'a RawValue,
}

/// An operating system in one release, variant and architecture. What is not given, or `null`, is as if empty; what else is
/// in there is not for us.
#[derive(Deserialize)]
pub(super) struct StreamProduct<'a> {
    /// Of any length: compared, and not kept.
    pub(super) aliases: Option<String>,
    pub(super) arch: Option<String>,
    os: Option<String>,
    release: Option<String>,
    release_title: Option<String>,
    version: Option<String>,
    variant: Option<String>,
    support_eol: Option<String>,
    #[serde(borrow)]
    requirements: Option<&'a RawValue>,
    #[serde(borrow)]
    lxd_requirements: Option<&'a RawValue>,
    /// By name.
    #[serde(borrow)]
    pub(super) versions: Option<&'a RawValue>,
}

/// One build of a product.
#[derive(Deserialize)]
pub(super) struct StreamVersion {
    #[serde(default, deserialize_with = "known_items")]
    items: Vec<Item>,
    pub(super) label: Option<String>,
}

/// A file of a build.
#[derive(Clone, Deserialize)]
pub(super) struct Item {
    #[serde(default, deserialize_with = "or_empty")]
    ftype: String,
    #[serde(default, deserialize_with = "or_empty")]
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

/// Hands over the entries of an object, one after the other. `null` has none.
pub(super) fn each<'a>(
    object: &'a RawValue,
    mut f: impl FnMut(String, &'a RawValue) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    if object.get() == "null" {
        return Ok(());
    }
    let mut from = serde_json::Deserializer::from_str(object.get());
    Each(|name, value| f(name, value).map_err(|error| error.to_string())).deserialize(&mut from)
}

struct Each<F>(F);

impl<'de, F: FnMut(String, &'de RawValue) -> Result<(), String>> DeserializeSeed<'de> for Each<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(String, &'de RawValue) -> Result<(), String>> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            (self.0)(name, value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Of the files of a build, the first of each type that matters.
fn known_items<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Item>, D::Error> {
    let mut items: Vec<Item> = Vec::new();
    let Some(object) = Option::<&'de RawValue>::deserialize(from)? else { return Ok(items) };
    let collected = each(object, |_, value| {
        let item: Item = serde_json::from_str(value.get())?;
        let known = META.iter().chain(&COMBINED).chain(&ROOTS).any(|ftype| *ftype == item.ftype);
        if known && items.iter().all(|other| other.ftype != item.ftype) {
            items.push(item);
        }
        Ok(())
    });
    collected.map_err(D::Error::custom).map(|()| items)
}

/// Go, in which those who write these documents try them, takes `null` for nothing.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// The types of the file that describes an image and goes with another one, and of those that are a whole image. LXD and
/// Incus each know their own; they are the same.
const META: [&str; 2] = ["incus.tar.xz", "lxd.tar.xz"];
const COMBINED: [&str; 2] = ["incus_combined.tar.gz", "lxd_combined.tar.gz"];

/// The types of the file that goes with it: best first, as LXD prefers them.
const ROOTS: [&str; 5] = ["squashfs", "root.tar.xz", "disk-kvm.img", "uefi1.img", "disk1.img"];

/// An image that a build offers: one file, or two.
#[derive(Clone)]
pub(super) struct Build {
    pub(super) meta: Item,
    pub(super) root: Option<Item>,
    pub(super) fingerprint: [u8; 32],
    pub(super) kind: ImageKind,
    /// Rank: lower is preferred.
    pub(super) rank: usize,
}

/// Tells whether all of these texts are short enough to be kept.
fn fit<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> bool {
    texts.into_iter().flatten().all(|text| text.len() <= TEXT_BYTES_MAX)
}

impl StreamProduct<'_> {
    /// Tells whether all of its texts are short enough to be kept.
    pub(super) fn fits(&self) -> bool {
        let Self { arch, os, release, release_title, version, variant, support_eol, .. } = self;
        fit([arch, os, release, release_title, version, variant, support_eol])
    }

    /// The processor it is for, if it is one that we know.
    pub(super) fn architecture(&self) -> Option<Architecture> {
        Architecture::parse(self.arch.as_deref()?)
    }

    /// The names under which it is found, which anyone may write carelessly.
    pub(super) fn aliases(&self) -> impl Iterator<Item = &str> {
        let aliases = self.aliases.as_deref().unwrap_or_default().split(',');
        aliases.map(str::trim).filter(|alias| !alias.is_empty())
    }

    /// Sort key of products: the names of their system. Products without a name come last.
    pub(super) fn order(&self) -> [(bool, String); 3] {
        [&self.os, &self.release, &self.variant].map(|name| {
            let name = name.clone().unwrap_or_default();
            (name.is_empty(), name)
        })
    }

    /// Time after which it is out of date.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        midnight(self.support_eol.as_deref()?.parse().ok()?)
    }

    /// The properties that an image of it gets: those that LXD gives it.
    pub(super) fn properties(&self, serial: &str, label: &str, build: &Build) -> BTreeMap<String, String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut description = format!("{} {} {}", text(&self.os), text(&self.release_title), text(&self.arch));
        for detail in [label, serial] {
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
            ("label", label.to_owned()),
            ("serial", serial.to_owned()),
            ("description", description.trim().to_owned()),
            ("type", build.root.as_ref().map_or("tar.gz", |root| root.ftype.as_str()).to_owned()),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        fixed.chain(self.demands()).filter(|(_, value)| !value.is_empty()).collect()
    }

    /// Requirements of its images, as properties.
    fn demands(&self) -> Vec<(String, String)> {
        let mut demands = Vec::new();
        for object in [self.lxd_requirements, self.requirements].into_iter().flatten() {
            // What is no text is no demand that we could pass on.
            let _ = each(object, |name, value| {
                let value: String = serde_json::from_str(value.get())?;
                if demands.len() < DEMANDS_MAX && name.len().max(value.len()) <= TEXT_BYTES_MAX {
                    demands.push((format!("requirements.{name}"), value));
                }
                Ok(())
            });
        }
        demands
    }
}

impl StreamVersion {
    /// Tells whether all of its texts are short enough to be kept.
    pub(super) fn fits(&self) -> bool {
        fit([&self.label]) && self.items.iter().all(Item::fits)
    }

    /// The images that a build offers.
    pub(super) fn builds(&self) -> Vec<Build> {
        let of_type = |ftype: &str| self.items.iter().find(|item| item.ftype == ftype);
        let metas = META.into_iter().filter_map(of_type);
        let pairs = metas.flat_map(|meta| {
            let roots = ROOTS.into_iter().enumerate();
            roots.filter_map(move |(rank, ftype)| {
                let root = of_type(ftype)?.clone();
                let kind = if rank < 2 { ImageKind::Container } else { ImageKind::VirtualMachine };
                let fingerprint = from_hex(meta.combined(ftype)?)?;
                Some(Build { meta: meta.clone(), root: Some(root), fingerprint, kind, rank })
            })
        });
        let combined = COMBINED.into_iter().filter_map(of_type).filter_map(|meta| {
            let machine = meta.combined_type.as_deref() == Some("virtual-machine");
            let kind = if machine { ImageKind::VirtualMachine } else { ImageKind::Container };
            let fingerprint = from_hex(meta.sha256.as_deref()?)?;
            Some(Build { meta: meta.clone(), root: None, fingerprint, kind, rank: ROOTS.len() })
        });
        let usable = |build: &Build| build.root.iter().chain([&build.meta]).all(|item| path(&item.path).is_some());
        pairs.chain(combined).filter(usable).collect()
    }
}

impl Item {
    fn fits(&self) -> bool {
        let Self { combined_sha256, combined_rootxz_sha256, combined_squashfs_sha256, combined_type, .. } = self;
        let Self { sha256, combined_disk_kvm_sha256, combined_disk1_sha256, combined_uefi1_sha256, .. } = self;
        // Its type is one of ours.
        self.path.len() <= TEXT_BYTES_MAX
            && fit([sha256, combined_sha256, combined_rootxz_sha256, combined_squashfs_sha256, combined_type])
            && fit([combined_disk_kvm_sha256, combined_disk1_sha256, combined_uefi1_sha256])
    }

    /// Digest of this file and the file of the other type together.
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

    /// Its size, if it is listed.
    pub(super) fn size(&self) -> Option<u64> {
        self.size.filter(|size| *size > 0)
    }
}

/// A path below the root of the server, if it is one.
pub(super) fn path(text: &str) -> Option<&str> {
    let good = !text.is_empty()
        && text.len() <= TEXT_BYTES_MAX
        && !text.contains(['?', '#', '\\'])
        && !text.chars().any(char::is_control);
    good.then_some(text)
}

/// Time of a build: its name begins with the day.
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
