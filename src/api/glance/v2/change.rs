//! What a client may set, by name and JSON value: in the body that makes an image, and in the operations of a patch.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::spell::{self, container_of, format_of, kind_of};
use super::names::{attr_of, is_base};
use crate::error::{Error, Kind, Result};
use crate::image::attr::Edit;
use crate::image::{Attr, Image, ImageId, ImageKind, ImagePatch, Visibility};

/// Names of what only the service sets, beside those of attributes.
const READ_ONLY: [&str; 5] = ["os_hash_algo", "self", "file", "schema", "direct_url"];

/// Names that nobody may use.
const RESERVED: [&str; 4] = ["location", "locations", "deleted", "deleted_at"];

/// Tells whether only the service sets what has this name.
fn is_read_only(name: &str) -> bool {
    // Bytes go to a store by a request of their own.
    let fixed = |attr: Attr| attr.row().edit == Edit::Service || attr == Attr::Store;
    attr_of(name).map_or_else(|| READ_ONLY.contains(&name), fixed)
}

/// What a client sets, with what is known of the images that it refers to.
pub(super) struct Hand {
    pub(super) companions: BTreeMap<ImageId, ImageKind>,
}

impl Hand {
    /// Adds to a patch that an attribute or a property gets a value.
    ///
    /// # Errors
    /// `Invalid` value; `Forbidden` name.
    pub(super) fn set(&self, patch: &mut ImagePatch, name: &str, value: &Value) -> Result<()> {
        check_name(name)?;
        match attr_of(name) {
            Some(Attr::Name) => patch.name = Some(optional_text(name, value)?.map(ToOwned::to_owned)),
            Some(Attr::Format) => {
                patch.format = Some(optional_text(name, value)?.map(format_of).transpose()?);
                // Told to VISOR's clients. Only said, never unsaid: they may have said more.
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
            // Refused before.
            Some(Attr::Id | Attr::Status | Attr::Size | Attr::VirtualSize | Attr::Checksum) => {}
            Some(Attr::Sha256 | Attr::Sha512 | Attr::CreatedAt | Attr::UpdatedAt | Attr::Store) => {}
            // Without a name here, so never found by one.
            Some(Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Kind) => {}
            Some(Attr::UploadedAt | Attr::Fingerprint | Attr::Alias | Attr::ExpiresAt | Attr::Offered) => {}
            None if name == "tags" => patch.tags = Some(tags(value)?),
            // Clients that copy an image send these as they found them.
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

    /// Adds to a patch that a property goes.
    ///
    /// # Errors
    /// `Forbidden` for everything else.
    pub(super) fn remove(&self, patch: &mut ImagePatch, name: &str) -> Result<()> {
        check_name(name)?;
        if is_base(name) {
            return Err(Error::new(Kind::Forbidden, format!("Property {name} may not be removed.")));
        }
        spell::set_property(patch, name, None, &self.companions);
        Ok(())
    }
}

/// Whether an image has an attribute or a property of this name.
pub(super) fn has(image: &Image, name: &str) -> bool {
    is_base(name) || is_read_only(name) || spell::has_property(image, name)
}

/// The ids among the values of names that refer to another image.
pub(super) fn referred<'a>(pairs: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<ImageId> {
    let refers = pairs.filter(|(name, _)| [spell::KERNEL, spell::RAMDISK].contains(name));
    let ids: BTreeSet<ImageId> = refers.filter_map(|(_, value)| value.as_str()?.parse().ok()).collect();
    ids.into_iter().collect()
}

fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(Kind::Forbidden, format!("Attribute '{name}' is {why}.")));
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
