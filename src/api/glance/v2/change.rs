//! Attributes and properties that a client sets, by name and JSON value: in the body of a new image, and in the operations of a
//! patch. Knows no request; the core checks rights and values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::spell::{self, container_of, format_of, kind_of};
use super::names::{attr_of, is_base};
use crate::error::{Error, Reason, Result};
use crate::image::attr::Edit;
use crate::image::{Attr, Image, ImageId, ImageKind, ImagePatch, Visibility};

/// Names that only the service sets, besides those of attributes.
const READ_ONLY: [&str; 5] = ["os_hash_algo", "self", "file", "schema", "direct_url"];

/// Names that no property can have.
const RESERVED: [&str; 4] = ["location", "locations", "deleted", "deleted_at"];

/// Tells whether only the service sets the value of this name.
fn is_read_only(name: &str) -> bool {
    // The request with the bytes names the store.
    let fixed = |attr: Attr| attr.row().edit == Edit::Service || attr == Attr::Store;
    attr_of(name).map_or_else(|| READ_ONLY.contains(&name), fixed)
}

/// Sets attributes and properties in a patch.
pub(super) struct AttributeSetter {
    /// Kernels and ramdisks that the values refer to.
    pub(super) companions: BTreeMap<ImageId, ImageKind>,
}

impl AttributeSetter {
    /// Adds the value of an attribute or a property to a patch.
    ///
    /// # Errors
    /// `Invalid` value; `Forbidden` name.
    pub(super) fn set(&self, patch: &mut ImagePatch, name: &str, value: &Value) -> Result<()> {
        check_name(name)?;
        match attr_of(name) {
            Some(Attr::Name) => patch.name = Some(optional_text(name, value)?.map(ToOwned::to_owned)),
            Some(Attr::Format) => {
                patch.format = Some(optional_text(name, value)?.map(format_of).transpose()?);
                // A format sets the kind and never clears it: VISOR's clients may have set it.
                patch.kind = patch.format.and_then(kind_of).map(Some).or(patch.kind);
            }
            Some(Attr::Container) => {
                patch.container = Some(optional_text(name, value)?.map(container_of).transpose()?);
            }
            Some(Attr::Visibility) => patch.visibility = Some(Self::visibility(text(name, value)?)?),
            Some(Attr::MinDisk) => patch.min_disk = Some(number(name, value)?),
            Some(Attr::MinRam) => patch.min_ram = Some(number(name, value)?),
            Some(Attr::Protected) => patch.protected = Some(flag(name, value)?),
            Some(Attr::Hidden) => patch.hidden = Some(flag(name, value)?),
            Some(Attr::Owner) => patch.owner = Some(optional_text(name, value)?.map(ToOwned::to_owned)),
            // Refused by `check_name`.
            Some(Attr::Id | Attr::Status | Attr::Size | Attr::VirtualSize | Attr::Checksum) => {}
            Some(Attr::Sha256 | Attr::Sha512 | Attr::CreatedAt | Attr::UpdatedAt | Attr::Store) => {}
            // No name in v2, so never found by one.
            Some(Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Kind) => {}
            Some(Attr::UploadedAt | Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered) => {}
            None if name == "tags" => patch.tags = Some(tags(value)?),
            // Clients that copy an image send these as received, null included.
            None if [spell::KERNEL, spell::RAMDISK].contains(&name) => {
                spell::set_property(patch, name, optional_text(name, value)?, &self.companions);
            }
            None => spell::set_property(patch, name, Some(text(name, value)?), &self.companions),
        }
        Ok(())
    }

    fn visibility(word: &str) -> Result<Visibility> {
        let names = || spell::names::<Visibility>().join(", ");
        let visibility = Visibility::parse(word).filter(|visibility| visibility.name() == word);
        visibility.ok_or_else(|| Error::invalid(format!("Invalid visibility: it is one of {}.", names())))
    }

    /// Adds the removal of a property to a patch.
    ///
    /// # Errors
    /// `Forbidden` for any other name.
    pub(super) fn remove(&self, patch: &mut ImagePatch, name: &str) -> Result<()> {
        check_name(name)?;
        if is_base(name) {
            return Err(Reason::ReadOnly.saying(format!("Property {name} may not be removed.")));
        }
        spell::set_property(patch, name, None, &self.companions);
        Ok(())
    }
}

/// Tells whether an image has an attribute or a property of this name.
pub(super) fn has(image: &Image, name: &str) -> bool {
    is_base(name) || is_read_only(name) || spell::has_property(image, name)
}

/// Ids of other images among these names and values.
pub(super) fn referred<'a>(pairs: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<ImageId> {
    let refers = pairs.filter(|(name, _)| [spell::KERNEL, spell::RAMDISK].contains(name));
    let ids: BTreeSet<ImageId> = refers.filter_map(|(_, value)| value.as_str()?.parse().ok()).collect();
    ids.into_iter().collect()
}

fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Reason::ReadOnly.saying(format!("Attribute '{name}' is {why}.")));
    if is_read_only(name) {
        return refuse("read-only");
    }
    if RESERVED.contains(&name) || name.starts_with("os_glance_") {
        return refuse("reserved");
    }
    Ok(())
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Error {
    // A value may be as large as a body.
    let shown: String = value.to_string().chars().take(80).collect();
    Error::invalid(format!("Provided object does not match schema 'image': {shown} is not {wanted} ({name})"))
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str> {
    value.as_str().ok_or_else(|| wrong(name, value, "of type 'string'"))
}

fn optional_text<'a>(name: &str, value: &'a Value) -> Result<Option<&'a str>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => Err(wrong(name, other, "of type 'null', 'string'")),
    }
}

fn number(name: &str, value: &Value) -> Result<u32> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| wrong(name, value, "a small 'integer' that is not negative"))
}

fn flag(name: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(name, value, "of type 'boolean'"))
}

fn tags(value: &Value) -> Result<BTreeSet<String>> {
    let list = value.as_array().ok_or_else(|| wrong("tags", value, "of type 'array'"))?;
    list.iter().map(|tag| text("tags", tag).map(ToOwned::to_owned)).collect()
}
