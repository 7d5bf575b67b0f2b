//! What a client may set, by name and JSON value: in the body that makes an image, and in the operations of a patch.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::spell::{self, container_of, format_of, kind_of};
use crate::error::{Error, Reason, Result};
use crate::image::{Image, ImageId, ImageKind, ImagePatch, Visibility};
use crate::registry::Caller;

/// Attributes that only the service sets.
const READ_ONLY: [&str; 14] = [
    "id",
    "status",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "direct_url",
    "stores",
];

/// Names that nobody may use.
const RESERVED: [&str; 4] = ["location", "locations", "deleted", "deleted_at"];

/// Attributes that every image has; all other names are properties.
const BASE: [&str; 10] = [
    "name",
    "disk_format",
    "container_format",
    "visibility",
    "min_disk",
    "min_ram",
    "protected",
    "os_hidden",
    "tags",
    "owner",
];

/// Who sets what, and what is known of the images that it refers to.
pub(super) struct Hand<'a> {
    pub(super) who: &'a Caller,
    pub(super) companions: BTreeMap<ImageId, ImageKind>,
}

impl Hand<'_> {
    /// Adds to a patch that an attribute or a property gets a value.
    ///
    /// # Errors
    /// `Invalid` value; `Forbidden` name, owner or visibility.
    pub(super) fn set(&self, patch: &mut ImagePatch, name: &str, value: &Value) -> Result<()> {
        check_name(name)?;
        match name {
            "name" => patch.name = Some(optional_text(name, value)?.map(ToOwned::to_owned)),
            "disk_format" => {
                patch.format = Some(optional_text(name, value)?.map(format_of).transpose()?);
                // Told to VISOR's clients. Only said, never unsaid: they may have said more.
                patch.kind = patch.format.and_then(kind_of).map(Some).or(patch.kind);
            }
            "container_format" => {
                patch.container = Some(optional_text(name, value)?.map(container_of).transpose()?);
            }
            "visibility" => patch.visibility = Some(self.visibility(text(name, value)?)?),
            "min_disk" => patch.min_disk = Some(number(name, value)?),
            "min_ram" => patch.min_ram = Some(number(name, value)?),
            "protected" => patch.protected = Some(flag(name, value)?),
            "os_hidden" => patch.hidden = Some(flag(name, value)?),
            "tags" => patch.tags = Some(tags(value)?),
            "owner" => self.owner(patch, optional_text(name, value)?)?,
            // Clients that copy an image send these as they found them.
            spell::KERNEL | spell::RAMDISK => {
                spell::set_property(patch, name, optional_text(name, value)?, &self.companions);
            }
            _ => spell::set_property(patch, name, Some(text(name, value)?), &self.companions),
        }
        Ok(())
    }

    fn visibility(&self, word: &str) -> Result<Visibility> {
        let names = || spell::names::<Visibility>().join(", ");
        let visibility = Visibility::parse(word).filter(|visibility| visibility.name() == word);
        let visibility =
            visibility.ok_or_else(|| Error::invalid(format!("Invalid visibility: it is one of {}.", names())))?;
        if visibility == Visibility::Public && !self.who.is_admin() {
            return Err(Reason::MayNotPublish.into());
        }
        Ok(visibility)
    }

    /// Saying that it is one's own changes nothing, and clients say so.
    fn owner(&self, patch: &mut ImagePatch, owner: Option<&str>) -> Result<()> {
        if self.who.is_admin() {
            patch.owner = Some(owner.map(ToOwned::to_owned));
        } else if owner != self.who.account() {
            return Err(Reason::OwnerFixed.saying("You are not permitted to create images owned by another."));
        }
        Ok(())
    }

    /// Adds to a patch that a property goes.
    ///
    /// # Errors
    /// `Forbidden` for everything else.
    pub(super) fn remove(&self, patch: &mut ImagePatch, name: &str) -> Result<()> {
        check_name(name)?;
        if BASE.contains(&name) {
            return Err(Reason::ReadOnly.saying(format!("Property {name} may not be removed.")));
        }
        spell::set_property(patch, name, None, &self.companions);
        Ok(())
    }
}

/// Whether an image has an attribute or a property of this name.
pub(super) fn has(image: &Image, name: &str) -> bool {
    BASE.contains(&name) || READ_ONLY.contains(&name) || spell::has_property(image, name)
}

/// The ids among the values of names that refer to another image.
pub(super) fn referred<'a>(pairs: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<ImageId> {
    let refers = pairs.filter(|(name, _)| [spell::KERNEL, spell::RAMDISK].contains(name));
    let ids: BTreeSet<ImageId> = refers.filter_map(|(_, value)| value.as_str()?.parse().ok()).collect();
    ids.into_iter().collect()
}

fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Reason::ReadOnly.saying(format!("Attribute '{name}' is {why}.")));
    if READ_ONLY.contains(&name) {
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
