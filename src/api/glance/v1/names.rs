//! v1's names of attributes. Knows no value.

use crate::image::Attr;
use crate::image::attr::ATTRS;

/// v1's name of an attribute; `None` if v1 does not show it.
pub(super) fn name_of(attr: Attr) -> Option<&'static str> {
    Some(match attr {
        Attr::Id => "id",
        Attr::Name => "name",
        Attr::Visibility => "is_public",
        Attr::Format => "disk_format",
        Attr::Container => "container_format",
        Attr::Owner => "owner",
        Attr::Status => "status",
        Attr::Size => "size",
        Attr::VirtualSize => "virtual_size",
        Attr::CreatedAt => "created_at",
        Attr::UpdatedAt => "updated_at",
        Attr::Checksum => "checksum",
        Attr::MinDisk => "min_disk",
        Attr::MinRam => "min_ram",
        Attr::Protected => "protected",
        // Properties in v1.
        Attr::Architecture | Attr::Kernel | Attr::Ramdisk => return None,
        // Read from requests, never shown: the source and store of the bytes, and the kind, which the format tells.
        Attr::Location | Attr::Store | Attr::Kind => return None,
        Attr::Hidden | Attr::UploadedAt | Attr::Sha256 | Attr::Sha512 => return None,
        Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered => return None,
    })
}

/// Finds the attribute of a name.
pub(super) fn attr_of(name: &str) -> Option<Attr> {
    ATTRS.iter().map(|row| row.attr).find(|attr| name_of(*attr) == Some(name))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::super::meta::ImageHeaders;
    use super::super::render::PREFIX;
    use super::super::render::detail;
    use super::*;
    use crate::image::full_tests::full;
    use crate::image::{Image, ImageId, Timestamp};
    use crate::registry::Caller;

    /// Clients send back what they were shown. For another image this sets every attribute that an administrator may set.
    #[test]
    fn every_attribute_with_a_name_is_shown_and_read() {
        let image = full();
        let record = detail(&image);
        let who = Caller::Admin(Some("root".into()));
        for attr in ATTRS.iter().map(|row| row.attr) {
            let Some(name) = name_of(attr) else { continue };
            assert_eq!(attr_of(name), Some(attr));
            let value = &record[name];
            assert!(!value.is_null(), "{name} is not shown");
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let header = |name: &str, text: &str| {
                let name = HeaderName::try_from(format!("{PREFIX}{name}")).unwrap();
                let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(text).unwrap())]);
                ImageHeaders::of_headers(&headers)
            };
            let said = header(name, &text).unwrap();
            // For the image itself it is no change.
            let same = said.patch(&who, Some(&image), &[].into()).unwrap();
            let mut again = image.clone();
            same.apply(&mut again).unwrap();
            assert_eq!(attr.read(&again), attr.read(&image), "{name}");
            if attr.row().edit != crate::image::attr::Edit::Service {
                let mut other = Image::blank(ImageId::random(), Timestamp(1));
                said.patch(&who, None, &[].into()).unwrap().apply(&mut other).unwrap();
                assert_eq!(attr.read(&other), attr.read(&image), "{name} is not set");
            }
        }
    }
}
