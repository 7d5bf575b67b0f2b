//! Metadata from clients: `x-image-meta-*` headers, or the fields of a form. Parsed into the core's terms; rules about
//! images are the registry's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use actix_web::http::header::HeaderMap;

use super::Visor;
use super::wire::{READ_ONLY, access_word, attr_of, name_of};
use crate::account::signature::META_PREFIX;
use crate::digest::from_hex;
use crate::error::{Error, Reason, Result};
use crate::image::{
    Architecture, Attr, Digests, Format, ImageId, ImageKind, ImagePatch, StoreName, Visibility, Vocabulary,
};
use crate::registry::policy::{Action, On};
use crate::registry::{Caller, Expected, Source};

/// Names and values as they arrived. Later ones replace earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, String>);

/// Parsed metadata, in the core's terms.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RequestedMeta {
    pub(super) patch: ImagePatch,
    pub(super) source: Option<Source>,
    pub(super) claim: Expected,
    /// A wish to deactivate an image, or to reactivate it.
    pub(super) active: Option<bool>,
}

/// Context of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct With {
    /// True for a new image, which needs a name and an architecture.
    pub(super) new: bool,
    /// True if a file follows.
    pub(super) file: bool,
    /// True if the fields that administrators set are taken, such as another owner.
    pub(super) admin: bool,
    /// The visibility of a new image by default.
    pub(super) usual: Visibility,
}

impl Visor {
    /// The context of metadata from a caller.
    pub(super) fn with(&self, who: &Caller, new: bool, file: bool) -> With {
        let usual = if self.registry.lets_publish(who) { Visibility::Public } else { Visibility::Private };
        // An account that may only read is refused by the registry as such, whichever fields it sends.
        let admin = who.is_read_only() || who.can(Action::SetOwner, On::Server);
        With { new, file, admin, usual }
    }
}

impl RequestedMeta {
    /// The patch of a new image. It is public by default, unless the caller may not publish it.
    pub(super) fn first(&self, with: With) -> ImagePatch {
        ImagePatch { visibility: self.patch.visibility.or(Some(with.usual)), ..self.patch.clone() }
    }
}

impl Fields {
    /// Reads the metadata among headers. `x_image_meta_` is an equivalent prefix.
    ///
    /// # Errors
    /// `Invalid` when a value is not UTF-8.
    pub(super) fn of_headers(headers: &HeaderMap) -> Result<Self> {
        let mut fields = Self::default();
        for (name, value) in headers {
            let Some(name) = meta_name(name.as_str()) else { continue };
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Error::invalid(format!("The value of {name} is not UTF-8.")))?;
            fields.put(&name, value)?;
        }
        Ok(fields)
    }

    /// Adds a field of a form, whose name may have the prefix of the headers.
    ///
    /// # Errors
    /// `Invalid` for a name that no attribute can have.
    pub(super) fn put(&mut self, name: &str, value: &str) -> Result<()> {
        let name = meta_name(name).unwrap_or_else(|| name.to_ascii_lowercase()).replace('-', "_");
        // The name must be valid in a header, where answers show it.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b)) {
            return Err(Error::invalid("The name of an attribute may have letters, digits, '_', '-' and '.'."));
        }
        self.0.insert(name, value.trim().to_owned());
        Ok(())
    }

    /// Adds a field unless one has that name.
    pub(super) fn suggest(&mut self, attr: Attr, value: &str) {
        if let Some(name) = name_of(attr) {
            self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Translates the fields. Checks in the original's order: read-only names, missing names, values.
    ///
    /// # Errors
    /// `Invalid` with the original's messages; `NotFound` for a kernel or ramdisk that has no valid id.
    pub(super) fn read(&self, with: With) -> Result<RequestedMeta> {
        let has_source = self.0.get("location").is_some_and(|location| !location.is_empty());
        if with.file && has_source {
            return Err(Error::invalid("When the location header is present no file content can be provided"));
        }
        self.check_read_only(with, has_source)?;
        if with.new {
            let wanted = [Attr::Name, Attr::Architecture].into_iter().filter_map(name_of);
            let missing: Vec<_> = wanted.filter(|name| self.0.get(*name).is_none_or(String::is_empty)).collect();
            if !missing.is_empty() {
                return Err(Error::invalid(format!("These fields are required: {}", missing.join(", "))));
            }
        }
        let mut meta = RequestedMeta::default();
        for (name, value) in &self.0 {
            meta.put(name, value, with.usual)?;
        }
        // One change is made whole or not at all.
        if meta.active.is_some() && (with.file || self.0.len() > 1) {
            return Err(Error::invalid("The status must be changed alone, without other fields or a file."));
        }
        if with.new && meta.patch.store == Some(Some(StoreName::HTTP)) && !has_source {
            return Err(match with.file {
                true => Reason::StoreTakesNoFiles.about(StoreName::HTTP),
                false => Error::invalid("An image of the http store needs a location."),
            });
        }
        Ok(meta)
    }

    fn check_read_only(&self, with: With, has_source: bool) -> Result<()> {
        let fixed = |name: &str, value: &str| match attr_of(name) {
            // Digests and size of bytes that follow are an expectation, which the upload verifies.
            Some(Attr::Size | Attr::Checksum) => !(with.file || has_source),
            Some(Attr::Owner) => !with.admin,
            // The original's clients know it as read-only; only the two words that withhold a file and release it are new.
            Some(Attr::Status) => with.new || (!with.admin && active(value).is_err()),
            Some(Attr::Id | Attr::CreatedAt | Attr::UpdatedAt | Attr::UploadedAt | Attr::Fingerprint) => true,
            Some(_) => false,
            None => READ_ONLY.contains(&name),
        };
        let refused = self.0.iter().filter(|(name, value)| fixed(name, value)).map(|(name, _)| name.as_str());
        let refused: Vec<_> = refused.collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("These fields are read-only: {}", refused.join(", "))))
    }
}

/// The attribute in a header's name, if the header is metadata.
fn meta_name(header: &str) -> Option<String> {
    let name = header.to_ascii_lowercase();
    let dashed = name.replace('_', "-");
    dashed.starts_with(META_PREFIX).then(|| name[META_PREFIX.len()..].replace('-', "_"))
}

impl RequestedMeta {
    fn put(&mut self, name: &str, value: &str, usual: Visibility) -> Result<()> {
        let patch = &mut self.patch;
        match attr_of(name) {
            None => drop(patch.properties.insert(name.to_owned(), Some(value.to_owned()).filter(|v| !v.is_empty()))),
            Some(Attr::Name) if value.is_empty() => return Err(Error::invalid("A name can't be empty.")),
            Some(Attr::Name) => patch.name = Some(Some(value.to_owned())),
            Some(Attr::Owner) => patch.owner = Some(Some(value.to_owned()).filter(|v| !v.is_empty())),
            Some(Attr::Architecture) => {
                let architecture = word::<Architecture>(name, value)?;
                patch.architecture = Some(Some(architecture.ok_or_else(|| unknown_word::<Architecture>(name, value))?));
            }
            Some(Attr::Format) => patch.format = Some(word::<Format>(name, value)?),
            Some(Attr::Kind) => patch.kind = Some(word::<ImageKind>(name, value)?),
            Some(Attr::Store) => patch.store = Some(store(value)?),
            Some(Attr::Visibility) => patch.visibility = Some(access(name, value, usual)?),
            Some(Attr::Kernel) => patch.kernel = Some(image_id(value)?),
            Some(Attr::Ramdisk) => patch.ramdisk = Some(image_id(value)?),
            Some(Attr::Location) => self.source = source(value)?,
            Some(Attr::Size) => {
                let size = value.parse().map_err(|_| Error::invalid(format!("Invalid size '{value}'")))?;
                self.claim.size = Some(size);
            }
            Some(Attr::Checksum) => self.claim.digests = checksum(value)?,
            Some(Attr::Status) => self.active = Some(active(value)?),
            Some(Attr::Offered) => patch.offer_to_lxd = Some(flag(name, value)?),
            // These were refused before.
            Some(Attr::Id | Attr::CreatedAt | Attr::UpdatedAt | Attr::UploadedAt | Attr::Fingerprint) => {}
            // These have no name in VISOR, so no field leads here.
            Some(Attr::Container | Attr::MinDisk | Attr::MinRam | Attr::Protected | Attr::Hidden) => {}
            Some(Attr::VirtualSize | Attr::Sha256 | Attr::Sha512 | Attr::Alias | Attr::ExpiresAt) => {}
        }
        Ok(())
    }
}

/// Reads a word of a vocabulary; an empty value is none.
fn word<V: Vocabulary>(name: &str, value: &str) -> Result<Option<V>> {
    if value.is_empty() {
        return Ok(None);
    }
    V::parse(value).map(Some).ok_or_else(|| unknown_word::<V>(name, value))
}

fn unknown_word<V: Vocabulary>(name: &str, value: &str) -> Error {
    Error::invalid(format!("Invalid {name} '{value}', available options: {}", V::names()))
}

/// Reads the name of a store. The registry knows the stores that images can ask for.
fn store(value: &str) -> Result<Option<StoreName>> {
    let named = |name: &str| name.parse().map_err(|()| Error::invalid(format!("Invalid store '{name}'")));
    Some(value).filter(|value| !value.is_empty()).map(named).transpose()
}

/// Reads one of VISOR's two visibilities; an empty value is the default.
fn access(name: &str, value: &str, usual: Visibility) -> Result<Visibility> {
    const KNOWN: [Visibility; 2] = [Visibility::Public, Visibility::Private];
    if value.is_empty() {
        return Ok(usual);
    }
    KNOWN.into_iter().find(|visibility| access_word(*visibility).eq_ignore_ascii_case(value)).ok_or_else(|| {
        let names = KNOWN.map(access_word).join(", ");
        Error::invalid(format!("Invalid {name} '{value}', available options: {names}"))
    })
}

fn image_id(value: &str) -> Result<Option<ImageId>> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|()| unknown_id(value))
}

/// The error for an invalid id: it names no image.
pub(super) fn unknown_id(text: &str) -> Error {
    Reason::ImageNotFound.about(text.escape_default())
}

fn source(value: &str) -> Result<Option<Source>> {
    if value.is_empty() {
        return Ok(None);
    }
    let scheme = value.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    match (scheme.as_str(), value.get("file://".len()..)) {
        ("file", Some(path)) if value[scheme.len()..].starts_with("://") => Ok(Some(Source::File(PathBuf::from(path)))),
        ("http" | "https", _) => Ok(Some(Source::Http(value.to_owned()))),
        // The value may carry credentials, so the error repeats only the scheme.
        ("", _) => Err(Error::invalid("The location must be a URL, such as https://… or file:///….")),
        (scheme, _) => Err(Reason::StoreUnsupported.about(scheme)),
    }
}

fn checksum(value: &str) -> Result<Digests> {
    let digests = Digests { md5: from_hex(value), sha256: from_hex(value), ..Digests::default() };
    if digests == Digests::default() {
        return Err(Error::invalid("The checksum must be MD5 or SHA-256 in hexadecimal."));
    }
    Ok(digests)
}

/// Reads a boolean; an empty value is the default.
fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::invalid(format!("Invalid {name} '{value}', available options: true, false"))),
    }
}

fn active(value: &str) -> Result<bool> {
    match value {
        "available" => Ok(true),
        "locked" => Ok(false),
        _ => Err(Error::invalid(format!("Invalid status '{value}', available options: available, locked"))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::error::Kind;

    const NEW: With = With { new: true, file: false, admin: false, usual: Visibility::Public };
    const NEW_FILE: With = With { new: true, file: true, admin: false, usual: Visibility::Public };
    const OLD: With = With { new: false, file: false, admin: false, usual: Visibility::Public };
    const ADMIN: With = With { new: false, file: false, admin: true, usual: Visibility::Public };

    fn read(with: With, pairs: &[(&str, &str)]) -> Result<RequestedMeta> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Fields::of_headers(&headers)?.read(with)
    }

    fn message(with: With, pairs: &[(&str, &str)]) -> String {
        crate::api::visor::error::told(&read(with, pairs).unwrap_err()).1
    }

    const NAME: (&str, &str) = ("X-Image-Meta-Name", "12.04");
    const ARCH: (&str, &str) = ("x_image_meta_architecture", "amd64");

    #[test]
    fn headers_become_a_patch() {
        let meta =
            read(NEW, &[NAME, ARCH, ("x-image-meta-my-Attr", "010"), ("accept", "x"), ("x-image-meta-type", "")])
                .unwrap();
        assert_eq!(meta.patch.name, Some(Some("12.04".into())));
        assert_eq!(meta.patch.architecture, Some(Some(Architecture::X86_64)));
        assert_eq!(meta.patch.kind, Some(None));
        assert_eq!(meta.patch.properties, [("my_attr".into(), Some("010".into()))].into());
    }

    #[test]
    fn the_originals_messages_in_the_originals_order() {
        let id = ("x-image-meta-_id", "x");
        let uri = ("x-image-meta-uri", "x");
        assert_eq!(message(NEW, &[uri, id]), "These fields are read-only: _id, uri");
        assert_eq!(message(NEW, &[]), "These fields are required: name, architecture");
        assert_eq!(message(NEW, &[NAME]), "These fields are required: architecture");
        let vax = ("x-image-meta-architecture", "vax");
        assert!(message(NEW, &[NAME, vax]).starts_with("Invalid architecture 'vax', available options: i386, x86_64"));
        let format = ("x-image-meta-format", "../../x");
        assert!(message(OLD, &[format]).starts_with("Invalid format '../../x', available options: iso, vhd"));
        let access = ("x-image-meta-access", "shared");
        assert_eq!(message(OLD, &[access]), "Invalid access 'shared', available options: public, private");
        assert_eq!(message(OLD, &[("x-image-meta-name", "")]), "A name can't be empty.");
        let location = ("x-image-meta-location", "http://h/");
        assert_eq!(
            message(NEW_FILE, &[NAME, ARCH, location]),
            "When the location header is present no file content can be provided"
        );
        let http = ("x-image-meta-store", "http");
        assert_eq!(message(NEW_FILE, &[NAME, ARCH, http]), "Cannot post an image file to a HTTP backend");
    }

    #[test]
    fn what_is_said_of_a_file_is_a_claim_and_else_read_only() {
        let size = ("x-image-meta-size", "12");
        let sum = ("x-image-meta-checksum", "900150983cd24fb0d6963f7d28e17f72");
        let meta = read(NEW_FILE, &[NAME, ARCH, size, sum]).unwrap();
        assert_eq!(meta.claim.size, Some(12));
        assert_eq!(meta.claim.digests.md5_hex().as_deref(), Some(sum.1));
        assert_eq!(message(OLD, &[size, sum]), "These fields are read-only: checksum, size");
        assert!(message(NEW_FILE, &[NAME, ARCH, ("x-image-meta-checksum", "abc")]).contains("checksum"));
        assert!(message(NEW_FILE, &[NAME, ARCH, ("x-image-meta-size", "-1")]).contains("-1"));
    }

    #[test]
    fn the_owner_is_set_by_administrators_and_the_status_alone() {
        let (owner, status) = (("x-image-meta-owner", "me"), ("x-image-meta-status", "locked"));
        assert_eq!(message(OLD, &[owner, status]), "These fields are read-only: owner");
        assert_eq!(message(NEW, &[NAME, ARCH, status]), "These fields are read-only: status");
        assert_eq!(read(OLD, &[status]).unwrap().active, Some(false));
        assert_eq!(message(OLD, &[("x-image-meta-status", "1")]), "These fields are read-only: status");
        assert_eq!(read(ADMIN, &[owner]).unwrap().patch.owner, Some(Some("me".into())));
        assert_eq!(read(ADMIN, &[status]).unwrap().active, Some(false));
        assert!(message(ADMIN, &[owner, status]).contains("changed alone"));
        assert!(message(With { file: true, ..ADMIN }, &[status]).contains("changed alone"));
        assert!(message(ADMIN, &[("x-image-meta-status", "weird")]).contains("weird"));
    }

    #[test]
    fn a_new_image_is_public_for_a_caller_who_may_publish_it() {
        for usual in [Visibility::Public, Visibility::Private] {
            let with = With { usual, ..NEW };
            let first = |more: &[_]| read(with, &[&[NAME, ARCH], more].concat()).unwrap().first(with).visibility;
            assert_eq!(first(&[]), Some(usual));
            assert_eq!(first(&[("x-image-meta-access", "")]), Some(usual));
            assert_eq!(first(&[("x-image-meta-access", "public")]), Some(Visibility::Public));
            assert_eq!(first(&[("x-image-meta-access", "private")]), Some(Visibility::Private));
        }
    }

    #[test]
    fn locations() {
        let location = |value| read(OLD, &[("x-image-meta-location", value)]).map(|meta| meta.source);
        assert_eq!(location("file:///srv/a.iso").unwrap(), Some(Source::File("/srv/a.iso".into())));
        assert_eq!(location("HTTPS://h/a").unwrap(), Some(Source::Http("HTTPS://h/a".into())));
        let text = location("s3://key:secret@host/b/f").unwrap_err().message().to_owned();
        assert_eq!(text, "The store 's3' is not supported");
        for bad in ["/etc/passwd", "file:/etc", "file:", "gopher://x"] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_values_that_could_not_come_back_are_refused() {
        let mut fields = Fields::default();
        for bad in ["", "a b", "ä", "a\r\nb", "a/b"] {
            assert!(fields.put(bad, "x").is_err(), "{bad:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-image-meta-name"), HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert!(Fields::of_headers(&headers).is_err());
    }

    #[test]
    fn ids_that_are_none_are_not_found_and_not_echoed_raw() {
        let error = unknown_id("a\r\nb");
        let words = crate::api::visor::error::told(&error).1;
        assert_eq!((error.kind(), words.as_str()), (Kind::NotFound, "No image found with id 'a\\r\\nb'."));
    }
}
