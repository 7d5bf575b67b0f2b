//! v2's names of attributes. Knows no value.

use crate::image::Attr;
use crate::image::attr::ATTRS;

/// v2's name of an attribute; `None` if v2 has none. Two digests share a name: an image shows the one that `os_hash_algo`
/// names.
pub(super) fn name_of(attr: Attr) -> Option<&'static str> {
    Some(match attr {
        Attr::Id => "id",
        Attr::Name => "name",
        Attr::Visibility => "visibility",
        Attr::Format => "disk_format",
        Attr::Container => "container_format",
        Attr::Store => "stores",
        Attr::Owner => "owner",
        Attr::Status => "status",
        Attr::Size => "size",
        Attr::VirtualSize => "virtual_size",
        Attr::CreatedAt => "created_at",
        Attr::UpdatedAt => "updated_at",
        Attr::Checksum => "checksum",
        Attr::Sha256 | Attr::Sha512 => "os_hash_value",
        Attr::MinDisk => "min_disk",
        Attr::MinRam => "min_ram",
        Attr::Protected => "protected",
        Attr::Hidden => "os_hidden",
        // Properties in v2.
        Attr::Architecture | Attr::Kernel | Attr::Ramdisk => return None,
        // Never shown: the place of the bytes is internal.
        Attr::Location => return None,
        Attr::Kind | Attr::UploadedAt => return None,
        Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered => return None,
    })
}

/// Finds the attribute of a name, the first of two that share it.
pub(super) fn attr_of(name: &str) -> Option<Attr> {
    ATTRS.iter().map(|row| row.attr).find(|attr| name_of(*attr) == Some(name))
}

/// Names that every image shows besides its attributes.
const MORE: [&str; 5] = ["os_hash_algo", "tags", "self", "file", "schema"];

/// Tells whether a name has a fixed meaning in every image, so that no property can have it.
pub(super) fn is_base(name: &str) -> bool {
    MORE.contains(&name) || attr_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::change::AttributeSetter;
    use super::super::query::V2ListQuery;
    use super::super::render::ShownImage;
    use super::*;
    use crate::image::attr::Edit;
    use crate::image::full_tests::full;
    use crate::image::query::Filter;
    use crate::image::{Image, ImageId, ImagePatch, Timestamp};

    fn shown(image: &Image) -> Value {
        serde_json::to_value(ShownImage { image, import: None }).unwrap()
    }

    /// Every value shown can be sent back, if clients set it, and filtered by.
    #[test]
    fn every_attribute_with_a_name_is_shown_and_read() {
        let setter = AttributeSetter { companions: [].into() };
        let mut image = full();
        let record = shown(&image);
        // A new image for the values.
        let mut other = Image::blank(ImageId::random(), Timestamp(1));
        image.parts.truncate(2);
        for row in &ATTRS {
            let Some(name) = name_of(row.attr) else { continue };
            let value = &record[name];
            assert!(!value.is_null(), "{name} is not shown");
            let mut patch = ImagePatch::default();
            let set = setter.set(&mut patch, name, value);
            if row.edit == Edit::Service || row.attr == Attr::Store {
                set.unwrap_err();
            } else {
                set.unwrap();
                assert!(patch.properties.is_empty(), "{name} became a property");
                patch.apply(&mut other).unwrap();
                assert_eq!(row.attr.read(&other), row.attr.read(&image), "{name} is not set");
            }
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let asked = V2ListQuery::parse(&format!("{name}={text}&os_hidden=true")).unwrap().filter;
            // Glance has no filter by store.
            if row.attr == Attr::Store {
                continue;
            }
            assert!(!has_property(&asked, name), "{name} is asked for as a property");
            assert!(asked.passes(&image), "{name}={text}");
        }
    }

    fn has_property(filter: &Filter, name: &str) -> bool {
        match filter {
            Filter::Property(asked, _) => asked == name,
            Filter::All(all) | Filter::Any(all) => all.iter().any(|one| has_property(one, name)),
            _ => false,
        }
    }

    #[test]
    fn names_go_both_ways() {
        for attr in ATTRS.iter().map(|row| row.attr) {
            let back = name_of(attr).and_then(attr_of);
            assert_eq!(back.and_then(name_of), name_of(attr), "{attr:?}");
            assert!(back == name_of(attr).map(|_| attr) || attr == Attr::Sha512, "{attr:?}");
        }
        assert!(is_base("tags") && is_base("os_hash_value") && !is_base("os_distro"));
    }
}
