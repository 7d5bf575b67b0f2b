//! Glance's words for formats and properties, common to both versions. Knows no request and no answer.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::image::query::Filter;
use crate::image::{Architecture, Container, Format, Image, ImageId, ImageKind, ImagePatch, Timestamp, Vocabulary};
use crate::image::{Attr, Value};

/// Properties that are attributes of the record, so that every protocol shows and sets them. The property keeps the
/// client's spelling, the attribute the meaning.
pub(super) const ARCHITECTURE: &str = "architecture";
pub(super) const KERNEL: &str = "kernel_id";
pub(super) const RAMDISK: &str = "ramdisk_id";

/// Properties of an image. An attribute that differs from the property of its name was changed through another protocol,
/// and wins.
pub(super) fn properties(image: &Image) -> BTreeMap<&str, String> {
    let mut all: BTreeMap<&str, String> = image.properties.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let mut put = |name: &'static str, is: Option<String>, means: Option<String>| {
        if let Some(is) = is
            && means.as_ref() != Some(&is)
        {
            all.insert(name, is);
        }
    };
    let kept = |name: &str| image.properties.get(name);
    let architecture = kept(ARCHITECTURE).and_then(|text| Architecture::parse(text));
    put(ARCHITECTURE, image.architecture.map(|a| a.name().into()), architecture.map(|a| a.name().into()));
    let id = |name: &str| kept(name).and_then(|text| text.parse::<ImageId>().ok()).map(|id| id.to_string());
    put(KERNEL, image.kernel.map(|id| id.to_string()), id(KERNEL));
    put(RAMDISK, image.ramdisk.map(|id| id.to_string()), id(RAMDISK));
    all
}

/// Tells whether an image has a property.
pub(super) fn has_property(image: &Image, name: &str) -> bool {
    let attribute = match name {
        ARCHITECTURE => image.architecture.is_some(),
        KERNEL => image.kernel.is_some(),
        RAMDISK => image.ramdisk.is_some(),
        _ => false,
    };
    attribute || image.properties.contains_key(name)
}

/// Sets a property, or removes it. `companions` are the known kernels and ramdisks; other ids stay texts, because Glance
/// accepts references to unknown images.
pub(super) fn set_property(
    patch: &mut ImagePatch,
    name: &str,
    value: Option<&str>,
    companions: &BTreeMap<ImageId, ImageKind>,
) {
    let companion = |kind| {
        let id = value.and_then(|value| value.parse().ok());
        id.filter(|id| companions.get(id) == Some(&kind))
    };
    match name {
        ARCHITECTURE => patch.architecture = Some(value.and_then(Architecture::parse)),
        KERNEL => patch.kernel = Some(companion(ImageKind::Kernel)),
        RAMDISK => patch.ramdisk = Some(companion(ImageKind::Ramdisk)),
        _ => {}
    }
    patch.properties.insert(name.to_owned(), value.map(ToOwned::to_owned));
}

/// Filter for images whose property has this value.
pub(super) fn property_is(name: String, value: String) -> Filter {
    let attribute = match name.as_str() {
        ARCHITECTURE => Architecture::parse(&value)
            .filter(|architecture| architecture.name() == value)
            .map(|architecture| Filter::Equals(Attr::Architecture, Value::Text(architecture.name().into()))),
        KERNEL => value.parse().ok().map(|id| Filter::Equals(Attr::Kernel, Value::Id(id))),
        RAMDISK => value.parse().ok().map(|id| Filter::Equals(Attr::Ramdisk, Value::Id(id))),
        _ => None,
    };
    let property = Filter::Property(name, value);
    match attribute {
        Some(attribute) => Filter::Any(vec![property, attribute]),
        None => property,
    }
}

/// Kind of an image, if its disk format tells.
pub(super) fn kind_of(format: Option<Format>) -> Option<ImageKind> {
    match format? {
        Format::Aki => Some(ImageKind::Kernel),
        Format::Ari => Some(ImageKind::Ramdisk),
        Format::Ami => Some(ImageKind::Machine),
        _ => None,
    }
}

/// Reads a disk format. Glance knows only one spelling of each.
///
/// # Errors
/// `Invalid`, with the known spellings.
pub(super) fn format_of(text: &str) -> Result<Format> {
    exactly(text).ok_or_else(|| wrong_word("disk format", text, &names::<Format>()))
}

/// Reads a container format.
///
/// # Errors
/// `Invalid`, with the known spellings.
pub(super) fn container_of(text: &str) -> Result<Container> {
    exactly(text).ok_or_else(|| wrong_word("container format", text, &names::<Container>()))
}

fn exactly<V: Vocabulary>(text: &str) -> Option<V> {
    V::parse(text).filter(|value| value.name() == text)
}

/// All words of a vocabulary.
pub(super) fn names<V: Vocabulary>() -> Vec<&'static str> {
    V::ALL.iter().map(|value| value.name()).collect()
}

fn wrong_word(what: &str, text: &str, names: &[&str]) -> Error {
    Error::invalid(format!("Invalid {what} '{}' for image: it is one of {}.", text.escape_default(), names.join(", ")))
}

/// Time of the last change of an image or its bytes.
pub(super) fn changed_at(image: &Image) -> Timestamp {
    image.created_at.max(image.updated_at.unwrap_or_default()).max(image.uploaded_at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;

    #[test]
    fn a_property_that_is_an_attribute_is_both() {
        let mut image = sample("a");
        let (kernel, other) = (ImageId::random(), ImageId::random());
        let companions = [(kernel, ImageKind::Kernel)].into();
        let set = |image: &mut Image, name: &str, value: Option<&str>| {
            let mut patch = ImagePatch::default();
            set_property(&mut patch, name, value, &companions);
            patch.apply(image).unwrap();
        };
        set(&mut image, ARCHITECTURE, Some("amd64"));
        set(&mut image, KERNEL, Some(kernel.to_string().as_str()));
        set(&mut image, RAMDISK, Some(other.to_string().as_str()));
        assert_eq!((image.architecture, image.kernel, image.ramdisk), (Some(Architecture::X86_64), Some(kernel), None));
        let shown = properties(&image);
        assert_eq!(shown[ARCHITECTURE], "amd64", "as it was spelled");
        assert_eq!(shown[RAMDISK], other.to_string());
        // Through another protocol.
        image.architecture = Some(Architecture::Aarch64);
        assert_eq!(properties(&image)[ARCHITECTURE], "aarch64");
        set(&mut image, ARCHITECTURE, None);
        assert_eq!((image.architecture, properties(&image).get(ARCHITECTURE)), (None, None));
    }

    #[test]
    fn words_have_one_spelling() {
        assert_eq!(format_of("raw").unwrap(), Format::Raw);
        for bad in ["RAW", "img", "qcow3", ""] {
            assert!(format_of(bad).is_err(), "{bad}");
        }
        assert_eq!(container_of("bare").unwrap(), Container::Bare);
        assert!(container_of("Bare").is_err());
    }
}
