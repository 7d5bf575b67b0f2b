//! Glance's limits of properties. An image may have more and longer ones, such as LXD's images bring: they stay, and are shown.

use crate::error::Result;
use crate::image::change::{check_count, check_length};
use crate::image::{Image, ImagePatch};

/// Most properties of one image: `image_property_quota`.
const PROPERTIES_MAX: usize = 128;

/// Longest value of a property, in bytes, as the columns of Glance's database have it.
const VALUE_BYTES_MAX: usize = 65_535;

/// Checks the properties that a patch sets on this image, or on a new one.
///
/// # Errors
/// `TooMany` when the patch adds some; `Invalid` for a value that is too long.
pub(super) fn check_properties(patch: &ImagePatch, before: Option<&Image>) -> Result<()> {
    let has = |name: &String| before.is_some_and(|image| image.properties.contains_key(name));
    let mut adds = false;
    let mut count = match before {
        Some(image) if !patch.purge => image.properties.len(),
        _ => 0,
    };
    for (name, value) in &patch.properties {
        let stays = !patch.purge && has(name);
        match value {
            Some(value) => {
                check_length(name, value, VALUE_BYTES_MAX)?;
                count += usize::from(!stays);
                adds |= !has(name);
            }
            None => count -= usize::from(stays),
        }
    }
    if adds { check_count("properties", count, PROPERTIES_MAX) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::image::change::tests::sample;

    fn setting(names: std::ops::Range<usize>) -> ImagePatch {
        let properties = names.map(|n| (format!("p{n}"), Some("v".to_owned()))).collect();
        ImagePatch { properties, ..ImagePatch::default() }
    }

    #[test]
    fn what_an_image_has_from_elsewhere_stays() {
        let mut image = sample("a");
        setting(0..300).apply(&mut image).unwrap();
        let check = |patch: &ImagePatch| check_properties(patch, Some(&image)).map_err(|error| error.kind());
        assert_eq!((check(&ImagePatch::default()), check(&setting(0..300))), (Ok(()), Ok(())));
        assert_eq!(check(&setting(300..301)), Err(Kind::TooMany));
        let purge = |names| ImagePatch { purge: true, ..setting(names) };
        assert_eq!((check(&purge(300..428)), check(&purge(300..429))), (Ok(()), Err(Kind::TooMany)));
        let mut fewer = setting(300..301);
        fewer.properties.extend((0..173).map(|n| (format!("p{n}"), None)));
        assert_eq!(check(&fewer), Ok(()));
        fewer.properties.remove("p0");
        assert_eq!(check(&fewer), Err(Kind::TooMany));
    }

    #[test]
    fn a_new_image_has_as_many_and_as_long_ones_as_in_glance() {
        let check = |patch: &ImagePatch| check_properties(patch, None).map_err(|error| error.kind());
        assert_eq!((check(&setting(0..128)), check(&setting(0..129))), (Ok(()), Err(Kind::TooMany)));
        let long =
            |bytes| ImagePatch { properties: [("a".into(), Some("x".repeat(bytes)))].into(), ..ImagePatch::default() };
        assert_eq!((check(&long(65_535)), check(&long(65_536))), (Ok(()), Err(Kind::Invalid)));
    }
}
