//! What a caller may set, and the rules about its values. A new image is a blank one with a patch on it.

use std::collections::BTreeMap;

use super::{Architecture, Format, Image, ImageId, ImageKind, Status, StoreName, Timestamp, Visibility};
use crate::error::{Error, Result};

/// Longest name, in bytes: what Glance allows, and more than a file name may have.
pub const NAME_BYTES_MAX: usize = 255;
/// Most free attributes of one image. Each is a header of VISOR's answers, and many HTTP libraries read 100 at most.
pub const PROPERTIES_MAX: usize = 64;
/// Longest value of a free attribute, in bytes.
pub const PROPERTY_BYTES_MAX: usize = 4096;
/// All free attributes of one image together, in bytes.
pub const PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// A change: `None` leaves a field alone, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagePatch {
    /// [`Image::name`]
    pub name: Option<Option<String>>,
    /// [`Image::owner`]; for administrators.
    pub owner: Option<Option<String>>,
    /// [`Image::visibility`]
    pub visibility: Option<Visibility>,
    /// [`Image::format`]
    pub format: Option<Option<Format>>,
    /// [`Image::kind`]
    pub kind: Option<Option<ImageKind>>,
    /// [`Image::architecture`]
    pub architecture: Option<Option<Architecture>>,
    /// [`Image::store`]
    pub store: Option<Option<StoreName>>,
    /// [`Image::kernel`]
    pub kernel: Option<Option<ImageId>>,
    /// [`Image::ramdisk`]
    pub ramdisk: Option<Option<ImageId>>,
    /// Free attributes to set, or with `None` to remove. Others stay.
    pub properties: BTreeMap<String, Option<String>>,
}

impl ImagePatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The later patch on top of this one.
    pub fn then(self, later: ImagePatch) -> Self {
        let mut properties = self.properties;
        properties.extend(later.properties);
        Self {
            name: later.name.or(self.name),
            owner: later.owner.or(self.owner),
            visibility: later.visibility.or(self.visibility),
            format: later.format.or(self.format),
            kind: later.kind.or(self.kind),
            architecture: later.architecture.or(self.architecture),
            store: later.store.or(self.store),
            kernel: later.kernel.or(self.kernel),
            ramdisk: later.ramdisk.or(self.ramdisk),
            properties,
        }
    }

    /// Puts the change into an image.
    ///
    /// # Errors
    /// `Invalid` when a text breaks the limits of this module; the image may then be half changed and is to be
    /// thrown away.
    pub fn apply(&self, image: &mut Image) -> Result<()> {
        fn set<T: Clone>(field: &mut T, change: &Option<T>) {
            if let Some(value) = change {
                field.clone_from(value);
            }
        }
        set(&mut image.name, &self.name);
        set(&mut image.owner, &self.owner);
        set(&mut image.visibility, &self.visibility);
        set(&mut image.format, &self.format);
        set(&mut image.kind, &self.kind);
        set(&mut image.architecture, &self.architecture);
        set(&mut image.store, &self.store);
        set(&mut image.kernel, &self.kernel);
        set(&mut image.ramdisk, &self.ramdisk);
        for (name, value) in &self.properties {
            match value {
                Some(value) => image.properties.insert(name.clone(), value.clone()),
                None => image.properties.remove(name),
            };
        }
        check(image)
    }
}

/// The rules about texts.
fn check(image: &Image) -> Result<()> {
    if let Some(name) = &image.name {
        check_text("name", name, NAME_BYTES_MAX)?;
        if name.is_empty() {
            return Err(Error::invalid("A name can't be empty."));
        }
    }
    if image.properties.len() > PROPERTIES_MAX {
        return Err(Error::invalid(format!("An image has at most {PROPERTIES_MAX} additional attributes.")));
    }
    let mut bytes = 0;
    for (name, value) in &image.properties {
        check_text("attribute name", name, NAME_BYTES_MAX)?;
        check_text(name, value, PROPERTY_BYTES_MAX)?;
        bytes += name.len() + value.len();
    }
    if bytes > PROPERTIES_BYTES_MAX {
        return Err(Error::invalid(format!(
            "Additional attributes take at most {PROPERTIES_BYTES_MAX} bytes together."
        )));
    }
    Ok(())
}

/// Control characters are refused here, so that no protocol can be made to emit them.
fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(Error::invalid(format!("The {what} is longer than {bytes_max} bytes.")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("The {what} has a control character in it.")));
    }
    Ok(())
}

impl Image {
    /// An image with nothing set, registered at `now`.
    pub fn blank(id: ImageId, now: Timestamp) -> Self {
        Self {
            id,
            revision: 0,
            name: None,
            owner: None,
            visibility: Visibility::Public,
            status: Status::Queued,
            format: None,
            kind: None,
            architecture: None,
            store: None,
            kernel: None,
            ramdisk: None,
            parts: Vec::new(),
            properties: BTreeMap::new(),
            created_at: now,
            updated_at: None,
            uploaded_at: None,
            ticket: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An image for tests: public, named, registered at second 1,000,000.
    pub(crate) fn sample(name: &str) -> Image {
        let mut image = Image::blank(ImageId::random(), Timestamp(1_000_000_000_000));
        image.name = Some(name.to_owned());
        image
    }

    #[test]
    fn a_patch_sets_empties_and_leaves_alone() {
        let mut image = sample("a");
        image.format = Some(Format::Iso);
        image.properties.insert("old".into(), "1".into());
        let patch = ImagePatch {
            format: Some(None),
            kind: Some(Some(ImageKind::Kernel)),
            properties: [("old".into(), None), ("new".into(), Some("2".into()))].into(),
            ..ImagePatch::default()
        };
        patch.apply(&mut image).unwrap();
        assert_eq!((image.format, image.kind, image.name.as_deref()), (None, Some(ImageKind::Kernel), Some("a")));
        assert_eq!(image.properties, [("new".into(), "2".into())].into());
    }

    #[test]
    fn the_later_patch_wins() {
        let named = |name: &str| ImagePatch { name: Some(Some(name.into())), ..ImagePatch::default() };
        assert_eq!(named("a").then(named("b")), named("b"));
        assert_eq!(named("a").then(ImagePatch::default()), named("a"));
    }

    #[test]
    fn texts_have_limits() {
        let with = |name: &str, value: &str| ImagePatch {
            properties: [(name.to_owned(), Some(value.to_owned()))].into(),
            ..ImagePatch::default()
        };
        let long = "x".repeat(PROPERTY_BYTES_MAX + 1);
        for bad in [with("a", &long), with(&long, "a"), with("a", "b\r\nc"), with("a\0", "b")] {
            assert!(bad.apply(&mut sample("a")).is_err());
        }
        let empty = ImagePatch { name: Some(Some(String::new())), ..ImagePatch::default() };
        assert!(empty.apply(&mut sample("a")).is_err());
        let many = ImagePatch {
            properties: (0..=PROPERTIES_MAX).map(|n| (format!("p{n}"), Some(String::new()))).collect(),
            ..ImagePatch::default()
        };
        assert!(many.apply(&mut sample("a")).is_err());
    }
}
