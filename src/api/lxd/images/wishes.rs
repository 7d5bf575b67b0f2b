//! Requests for new images and for changes, in JSON or headers, as values of the core. Nothing is looked up here.

use std::collections::BTreeMap;

use actix_web::http::header::HeaderMap;
use actix_web::web::Payload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::lxd::projects::DEFAULT;
use crate::error::{Error, Result};
use crate::http::body::Body;
use crate::http::json;
use crate::http::query::pairs;
use crate::http::time::read_rfc_3339;
use crate::image::change::cleaned;
use crate::image::{Architecture, Image, ImageKind, ImagePatch, Timestamp, Visibility};
use crate::registry::{ImportOptions, RateLimits, fingerprint_of};

/// Largest body in JSON, in bytes: several times the largest image record.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;

/// The JSON of a small body.
///
/// # Errors
/// `Invalid` for other content; as [`Body::whole`].
pub(super) async fn small_json<T: DeserializeOwned>(payload: Payload, patience: RateLimits) -> Result<T> {
    let bytes = Body::new(payload, patience).whole(JSON_BYTES_MAX).await?;
    from_json(&bytes)
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong = |why| Error::invalid(format!("Invalid JSON: {why}"));
    // Serde would also take a list of the values.
    let object: Map<String, Value> = json::from_text(bytes).map_err(wrong)?;
    json::from_value(Value::Object(object)).map_err(wrong)
}

/// The names and descriptions of aliases in a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NewAlias {
    name: String,
    description: Option<String>,
}

/// A new image as a client describes it, without its source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NewImage {
    public: bool,
    auto_update: bool,
    properties: Option<BTreeMap<String, Option<String>>>,
    filename: Option<String>,
    aliases: Option<Vec<NewAlias>>,
    expires_at: Option<String>,
    profiles: Option<Vec<String>>,
}

impl NewImage {
    /// The options of an import.
    ///
    /// # Errors
    /// `Invalid` times and profiles.
    pub(super) fn wishes(&self) -> Result<ImportOptions> {
        check_profiles(self.profiles.as_deref())?;
        let aliases = self.aliases.iter().flatten();
        let aliases: BTreeMap<_, _> =
            aliases.map(|alias| (alias.name.clone(), alias.description.clone().unwrap_or_default())).collect();
        let patch = ImagePatch {
            visibility: Some(if self.public { Visibility::Public } else { Visibility::Private }),
            auto_update: Some(self.auto_update),
            properties: self.properties.as_ref().map(|given| cleaned(&texts(given))).unwrap_or_default(),
            filename: self.filename.clone().filter(|name| !name.is_empty()).map(Some),
            aliases: (!aliases.is_empty()).then_some(aliases),
            expires_at: self.expires_at.as_deref().map(moment).transpose()?.flatten(),
            ..ImagePatch::default()
        };
        Ok(ImportOptions { patch, fingerprint: None })
    }
}

/// The options in the headers of an upload. LXD and Incus have header names of their own; here both count.
///
/// # Errors
/// `Invalid` values.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<ImportOptions> {
    let values = |name: &str| {
        let families = [format!("x-lxd-{name}"), format!("x-incus-{name}")];
        let all = families.into_iter().flat_map(|name| headers.get_all(name).cloned().collect::<Vec<_>>());
        // Clients send file names unescaped, in any language.
        let texts = all.map(|value| String::from_utf8(value.as_bytes().to_vec()));
        texts
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| Error::invalid(format!("The {name} is not text in UTF-8.")))
    };
    let one = |name: &str| values(name).map(|values| values.into_iter().find(|value| !value.is_empty()));
    let listed = |name: &str, key: &str| -> Result<Vec<String>> {
        let all: Vec<_> = values(name)?.iter().map(|text| pairs(text)).collect::<Result<Vec<_>>>()?.concat();
        Ok(all.into_iter().filter(|(name, _)| name == key).map(|(_, value)| value).collect())
    };
    let mut properties = BTreeMap::new();
    for text in values("properties")? {
        // Of two values in one header the first counts, and of two headers the second, as in LXD.
        let given = pairs(&text)?.into_iter().rev().map(|(name, value)| (name, Some(value)));
        properties.extend(given);
    }
    let public = one("public")?.is_some_and(|text| is_true(&text));
    let aliases: BTreeMap<_, _> = listed("aliases", "alias")?.into_iter().map(|name| (name, String::new())).collect();
    let fingerprint = one("fingerprint")?.map(|text| {
        fingerprint_of(&text)
            .ok_or_else(|| Error::invalid("The fingerprint is not a SHA-256 in lower-case hexadecimal."))
    });
    check_profiles(Some(&listed("profiles", "profile")?))?;
    let patch = ImagePatch {
        visibility: Some(if public { Visibility::Public } else { Visibility::Private }),
        filename: one("filename")?.map(Some),
        aliases: (!aliases.is_empty()).then_some(aliases),
        properties,
        ..ImagePatch::default()
    };
    Ok(ImportOptions { patch, fingerprint: fingerprint.transpose()? })
}

/// Reads LXD's word for a kind of image.
///
/// # Errors
/// `Invalid` for any other word.
pub(super) fn kind_of(word: &str) -> Result<ImageKind> {
    match ImageKind::parse(word) {
        Some(kind @ (ImageKind::Container | ImageKind::VirtualMachine)) => Ok(kind),
        _ => Err(Error::invalid(format!("Unknown image type {word:?}"))),
    }
}

/// Reads the name of an architecture.
///
/// # Errors
/// `Invalid` for a name that is not known.
pub(super) fn architecture_of(word: &str) -> Result<Architecture> {
    Architecture::parse(word).ok_or_else(|| Error::invalid(format!("Unknown architecture {word:?}")))
}

/// Reads a flag as LXD reads flags in headers.
fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Refuses every profile but the one that exists.
fn check_profiles(profiles: Option<&[String]>) -> Result<()> {
    match profiles.unwrap_or_default().iter().find(|name| *name != DEFAULT) {
        Some(name) => Err(Error::invalid(format!("Profile '{}' doesn't exist", name.escape_debug()))),
        None => Ok(()),
    }
}

/// Reads the end of an image. `None` leaves it unchanged, `Some(None)` means no end.
fn moment(text: &str) -> Result<Option<Option<Timestamp>>> {
    if text.is_empty() {
        return Ok(None);
    }
    let at = read_rfc_3339(text).ok_or_else(|| Error::invalid("expires_at is not a time as in RFC 3339."))?;
    // LXD's "not set" is the zero time of Go, in year 1; its "never" is the start of 1970.
    Ok(match at.0 / 1_000_000 {
        i64::MIN..0 => None,
        0 => Some(None),
        _ => Some(Some(at)),
    })
}

/// Properties as Go reads them: null is an empty text.
fn texts(given: &BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect()
}

/// A change of a property. Clients unset a property by an empty value.
fn changed((name, value): (&String, &Option<String>)) -> (String, Option<String>) {
    (name.clone(), value.clone().filter(|value| !value.is_empty()))
}

/// A change of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageChange {
    public: Option<bool>,
    auto_update: Option<bool>,
    properties: Option<BTreeMap<String, Option<String>>>,
    expires_at: Option<String>,
    profiles: Option<Vec<String>>,
}

impl ImageChange {
    /// The change as a patch. With `whole`, fields that are not named are reset.
    ///
    /// # Errors
    /// `Invalid` times and profiles.
    pub(super) fn patch(&self, image: &Image, whole: bool) -> Result<ImagePatch> {
        check_profiles(self.profiles.as_deref())?;
        let public = self.public.or(whole.then_some(false));
        let end = self.expires_at.as_deref().map(moment).transpose()?.flatten();
        Ok(ImagePatch {
            visibility: match public {
                Some(true) => Some(Visibility::Public),
                // A shared image is not public already.
                Some(false) if image.visibility == Visibility::Public => Some(Visibility::Private),
                _ => None,
            },
            auto_update: self.auto_update.or(whole.then_some(false)),
            properties: self.properties.iter().flatten().map(changed).collect(),
            purge: whole,
            // Clients send back the end that they were shown, which may be the end of support only.
            expires_at: end.filter(|end| *end != super::wire::end_of(image)),
            ..ImagePatch::default()
        })
    }
}

/// A new alias, or a change of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AliasFields {
    pub(super) name: Option<String>,
    pub(super) target: Option<String>,
    pub(super) description: Option<String>,
}

impl AliasFields {
    /// A field that a request must have.
    ///
    /// # Errors
    /// `Invalid` when it is absent or empty.
    pub(super) fn required<'a>(field: Option<&'a String>, name: &str) -> Result<&'a str> {
        let missing = || Error::invalid(format!("{name} is required"));
        field.map(String::as_str).filter(|text| !text.is_empty()).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_header_is_text_in_any_language() {
        let named = |bytes: &[u8]| {
            let (name, value) = (HeaderName::from_static("x-lxd-filename"), HeaderValue::from_bytes(bytes).unwrap());
            of_headers(&HeaderMap::from_iter([(name, value)])).map(|wishes| wishes.patch.filename)
        };
        assert_eq!(named("Größe.tar.xz".as_bytes()).unwrap(), Some(Some("Größe.tar.xz".to_owned())));
        assert_eq!(named(b"Gr\xf6\xdfe.tar.xz").unwrap_err().kind(), Kind::Invalid);
    }
}
