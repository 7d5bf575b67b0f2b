//! The metadata of a request: `x-image-meta-*` headers, read into a patch of the core. Knows no handler and no answer.

use std::collections::BTreeMap;

use actix_web::http::header::HeaderMap;

use super::super::quota::check_properties;
use super::super::spell::{self, container_of, format_of, kind_of};
use super::names::attr_of;
use super::quoting::{all_quoted, unquoted, url};
use super::render::{PREFIX, PROPERTY, status_word};
use crate::digest::from_hex;
use crate::error::{Error, Reason, Result};
use crate::http::headers::text;
use crate::image::{Attr, Container, Digests, Format, Image, ImageId, ImageKind, ImagePatch, StoreName, Visibility};
use crate::registry::policy::{Action, On};
use crate::registry::{Caller, Expected};

const COPY_FROM: &str = "x-glance-api-copy-from";
const PURGE: &str = "x-glance-registry-purge-props";

/// Accepted names that no attribute has: Glance's own, and two of the document of 2011 that Glance had forgotten. Names that
/// the code below does not read are set by the service only; clients send them back as shown, so they are no mistake.
const MORE: [&str; 7] = ["location", "store", "copy_from", "uri", "deleted_at", "deleted", "type"];

/// Source of the bytes of an image, if the request has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UrlSource {
    /// The bytes stay under this URL.
    Location(String),
    /// The bytes are copied from this URL.
    Copy(String),
}

/// The metadata in the headers of a request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ImageHeaders {
    /// Changes that do not depend on the stored image.
    patch: ImagePatch,
    is_public: Option<bool>,
    owner: Option<String>,
    status: Option<String>,
    properties: BTreeMap<String, String>,
    /// Removes the properties that the request does not name.
    pub(super) purge: bool,
    /// The request brings bytes: its size and checksum are theirs.
    pub(super) brings_bytes: bool,
    pub(super) id: Option<ImageId>,
    /// Announced size and digests of the bytes.
    pub(super) claim: Expected,
    pub(super) origin: Option<UrlSource>,
}

/// Reads a flag like Glance: every word that is not a yes is a no.
pub(super) fn is_yes(word: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].iter().any(|yes| yes.eq_ignore_ascii_case(word.trim()))
}

impl ImageHeaders {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn of_headers(headers: &HeaderMap) -> Result<Self> {
        let mut meta = Self { purge: text(headers, PURGE).is_none_or(is_yes), ..Self::default() };
        let mut formats = (None, None);
        for (name, value) in attributes(headers)? {
            if let Some(name) = name.strip_prefix(PROPERTY) {
                meta.properties.insert(name.to_owned(), value);
                continue;
            }
            if attr_of(&name).is_none() && !MORE.contains(&name.as_str()) && name != spell::ARCHITECTURE {
                return Err(Error::invalid(format!("Bad header: {PREFIX}{}", name.escape_default())));
            }
            match name.as_str() {
                // Clients of 2011 send an empty value for a missing one.
                _ if value.is_empty() => {}
                "disk_format" => formats.0 = Some(format_of(&value)?),
                "container_format" => formats.1 = Some(container_of(&value)?),
                _ => meta.set(&name, value)?,
            }
        }
        meta.set_formats(formats)?;
        if let Some(from) = text(headers, COPY_FROM).filter(|from| !from.is_empty()) {
            if meta.origin.is_some() {
                return Err(two_sources());
            }
            meta.origin = Some(UrlSource::Copy(web_url(from)?));
        }
        Ok(meta)
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match attr_of(name) {
            None => return self.set_more(name, value),
            Some(Attr::Name) => self.patch.name = Some(Some(value)),
            Some(Attr::MinDisk) => self.patch.min_disk = Some(number(name, &value)?),
            Some(Attr::MinRam) => self.patch.min_ram = Some(number(name, &value)?),
            Some(Attr::Protected) => self.patch.protected = Some(is_yes(&value)),
            Some(Attr::Visibility) => self.is_public = Some(is_yes(&value)),
            Some(Attr::Owner) => self.owner = Some(value),
            Some(Attr::Status) => self.status = Some(value),
            Some(Attr::Id) => {
                self.id = Some(value.parse().map_err(|()| Error::invalid("Invalid image id format"))?);
            }
            Some(Attr::Size) => self.claim.size = Some(number(name, &value)?),
            Some(Attr::Checksum) => {
                let md5 = from_hex(&value).ok_or_else(|| Error::invalid("A checksum is an md5 in hexadecimal."))?;
                self.claim.digests = Digests { md5: Some(md5), ..Digests::default() };
            }
            // Read before, together: the two depend on each other.
            Some(Attr::Format | Attr::Container) => {}
            // Set by the service only.
            Some(Attr::VirtualSize | Attr::CreatedAt | Attr::UpdatedAt) => {}
            // No name in v1, so never found by one.
            Some(Attr::Architecture | Attr::Kernel | Attr::Ramdisk | Attr::Location | Attr::Store | Attr::Kind) => {}
            Some(Attr::Hidden | Attr::UploadedAt | Attr::Sha256 | Attr::Sha512 | Attr::Fingerprint) => {}
            Some(Attr::Alias | Attr::ExpiresAt | Attr::Offered) => {}
        }
        Ok(())
    }

    fn set_more(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "location" => self.origin = Some(UrlSource::Location(web_url(&value)?)),
            "store" => self.patch.store = store(&value)?,
            "type" => self.set_type(&value)?,
            spell::ARCHITECTURE => _ = self.properties.insert(name.to_owned(), value),
            _ => {}
        }
        Ok(())
    }

    fn set_type(&mut self, word: &str) -> Result<()> {
        self.patch.kind = match word {
            // A format rather than a kind. Glance migrated such images to the disk format.
            "raw" => {
                self.patch.format = Some(Some(Format::Raw));
                return Ok(());
            }
            word => Some(Some(ImageKind::parse(word).ok_or_else(|| {
                let text = format!("Invalid type '{}': it is kernel, machine, raw or ramdisk.", word.escape_default());
                Error::invalid(text)
            })?)),
        };
        Ok(())
    }

    /// Sets both formats. Amazon's are disk and container format at once, so one of them sets the other.
    fn set_formats(&mut self, given: (Option<Format>, Option<Container>)) -> Result<()> {
        const AMAZON: [(Format, Container); 3] =
            [(Format::Ami, Container::Ami), (Format::Aki, Container::Aki), (Format::Ari, Container::Ari)];
        let pair = AMAZON.iter().find(|(format, container)| given.0 == Some(*format) || given.1 == Some(*container));
        let (format, container) = match (pair, given) {
            (Some((format, container)), given)
                if given.0.is_none_or(|given| given == *format) && given.1.is_none_or(|given| given == *container) =>
            {
                (Some(*format), Some(*container))
            }
            (Some(_), _) => {
                let text = "Invalid mix of disk and container formats. When setting a disk or container format to one of \
                            'aki', 'ari', or 'ami', the container and disk formats must match.";
                return Err(Error::invalid(text));
            }
            (None, given) => given,
        };
        self.patch.format = format.map(Some).or(self.patch.format);
        self.patch.container = container.map(Some);
        // A format sets the kind and never clears it: VISOR's clients may have set it.
        self.patch.kind = self.patch.kind.or(kind_of(format).map(Some));
        Ok(())
    }

    /// Ids of other images among the properties.
    pub(super) fn referred(&self) -> Vec<ImageId> {
        let values = [spell::KERNEL, spell::RAMDISK].into_iter().filter_map(|name| self.properties.get(name));
        values.filter_map(|value| value.parse().ok()).collect()
    }

    /// The requested store.
    pub(super) fn store(&self) -> Option<&StoreName> {
        self.patch.store.as_ref()?.as_ref()
    }

    /// The patch of `image`, or of a new image.
    ///
    /// # Errors
    /// `Forbidden` to change a value that only the service sets.
    pub(super) fn patch(
        &self,
        who: &Caller,
        image: Option<&Image>,
        companions: &BTreeMap<ImageId, ImageKind>,
    ) -> Result<ImagePatch> {
        let mut patch = ImagePatch { visibility: self.visibility(image), ..self.patch.clone() };
        // Ignored from other callers, not refused.
        patch.owner = self.owner.clone().filter(|_| who.may(Action::SetOwner, On::Server).is_ok()).map(Some);
        if let Some(image) = image {
            self.check_fixed(image)?;
            // A store is for new bytes; stored bytes stay.
            patch.store = patch.store.filter(|_| image.parts.is_empty());
            let gone = spell::properties(image).into_keys().filter(|name| !self.properties.contains_key(*name));
            for name in gone.filter(|_| self.purge) {
                spell::set_property(&mut patch, name, None, companions);
            }
        }
        for (name, value) in &self.properties {
            spell::set_property(&mut patch, name, Some(value), companions);
        }
        check_properties(&patch, image)?;
        Ok(patch)
    }

    /// Visibility by `is_public`. An image that is not public can be shared.
    fn visibility(&self, image: Option<&Image>) -> Option<Visibility> {
        let was_public = image.map(|image| image.visibility == Visibility::Public);
        match (self.is_public.unwrap_or(was_public == Some(true)), was_public) {
            (true, Some(true)) | (false, Some(false)) => None,
            (true, _) => Some(Visibility::Public),
            (false, _) => Some(Visibility::Shared),
        }
    }

    /// Refuses another value of a fixed attribute. The current value is no change: clients send back what they were shown.
    fn check_fixed(&self, image: &Image) -> Result<()> {
        let refuse = |name: &str| Err(Reason::ReadOnly.saying(format!("Forbidden to modify '{name}' of image.")));
        if self.id.is_some_and(|id| id != image.id) {
            return refuse("id");
        }
        if self.status.as_deref().is_some_and(|status| status != status_word(image.status)) {
            return refuse("status");
        }
        // Of the bytes that are there. Bytes for an image that has some are refused as such.
        let Some(part) = image.main().filter(|_| !self.brings_bytes) else { return Ok(()) };
        if self.claim.size.is_some_and(|size| size != part.size.unwrap_or(0)) {
            return refuse("size");
        }
        if self.claim.digests.md5.is_some_and(|md5| part.digests.md5 != Some(md5)) {
            return refuse("checksum");
        }
        Ok(())
    }
}

/// Names and values of the metadata headers, without the prefix of the names.
fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Error::invalid(format!("The value of {PREFIX}{name} is not UTF-8.")))?;
        let name = match name.strip_prefix(PROPERTY) {
            Some(name) => format!("{PROPERTY}{}", unquoted(name).replace('-', "_")),
            None => name.replace('-', "_"),
        };
        all.insert(name, value.trim().to_owned());
    }
    let is_text = |name: &str| name != "location";
    if all_quoted(all.iter().filter(|(name, _)| is_text(name)).map(|(_, value)| value.as_str())) {
        all.iter_mut().filter(|(name, _)| is_text(name)).for_each(|(_, value)| *value = unquoted(value));
    }
    Ok(all)
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    let wrong = || Error::invalid(format!("Cannot convert image {name} '{}' to an integer.", value.escape_default()));
    value.parse().map_err(|_| wrong())
}

/// Reads the URL of a source.
///
/// # Errors
/// `Invalid` for a scheme other than `http` and `https`, whose sources can be fetched without credentials.
fn web_url(text: &str) -> Result<String> {
    let url = url(text);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    if !["http", "https"].contains(&scheme.as_str()) {
        // The URL may carry credentials, so the message shows only its scheme.
        return Err(Error::invalid(format!("External sources are not supported: '{}'", scheme.escape_default())));
    }
    Ok(url)
}

/// Reads the name of a store. Glance's `filesystem` is the local directory; `http` names no store, since the location tells.
fn store(name: &str) -> Result<Option<Option<StoreName>>> {
    match name {
        "http" | "https" => Ok(None),
        "filesystem" => Ok(Some(Some(StoreName::FILE))),
        name => {
            name.parse().map(|store| Some(Some(store))).map_err(|()| Reason::NoSuchStore.about(name.escape_default()))
        }
    }
}

/// Refuses a request with two sources of bytes.
pub(super) fn two_sources() -> Error {
    Error::invalid("It's invalid to provide multiple image sources.")
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::error::Kind;
    use crate::image::change::tests::sample;
    use crate::image::{Architecture, Location, Part, PartKind, Status};

    fn read(pairs: &[(&str, &str)]) -> Result<ImageHeaders> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        ImageHeaders::of_headers(&headers)
    }

    fn user() -> Caller {
        Caller::User("me".into())
    }

    fn of_new(pairs: &[(&str, &str)]) -> ImagePatch {
        read(pairs).unwrap().patch(&user(), None, &BTreeMap::new()).unwrap()
    }

    fn of_old(who: &Caller, image: &Image, pairs: &[(&str, &str)]) -> Result<ImagePatch> {
        read(pairs).unwrap().patch(who, Some(image), &BTreeMap::new())
    }

    #[test]
    fn headers_become_a_patch() {
        let patch = of_new(&[
            ("X-Image-Meta-Name", "Fünf (5)"),
            ("x-image-meta-Min-Ram", "64"),
            ("x-image-meta-protected", "on"),
            ("x-image-meta-is_public", "None"),
            ("x-image-meta-property-Foo-Bar", "50%20"),
            ("x-image-meta-architecture", "amd64"),
            ("x-image-meta-type", "ramdisk"),
            ("x-image-meta-owner", "somebody else"),
            ("x-image-meta-created_at", "2011-08-15T16:20:49"),
            ("x-image-meta-location", ""),
            ("x-auth-token", "t"),
        ]);
        assert_eq!(patch.name, Some(Some("Fünf (5)".into())));
        assert_eq!((patch.min_ram, patch.protected, patch.owner), (Some(64), Some(true), None));
        assert_eq!((patch.visibility, patch.kind), (Some(Visibility::Shared), Some(Some(ImageKind::Ramdisk))));
        assert_eq!(patch.architecture, Some(Some(Architecture::X86_64)));
        let properties = [("foo_bar", "50%20"), ("architecture", "amd64")];
        assert_eq!(patch.properties, properties.map(|(n, v)| (n.to_owned(), Some(v.to_owned()))).into());
    }

    #[test]
    fn what_was_quoted_is_unquoted() {
        let patch = of_new(&[
            ("x-image-meta-name", "F%C3%BCnf%20%285%29"),
            ("x-image-meta-property-hw%3acpu", "100%25"),
            ("x-image-meta-location", "http://h/a?b c=%20"),
        ]);
        assert_eq!(patch.name, Some(Some("Fünf (5)".into())));
        assert_eq!(patch.properties, [("hw:cpu".to_owned(), Some("100%".to_owned()))].into());
    }

    #[test]
    fn amazons_formats_are_tied_together() {
        let of = |pairs: &[(&str, &str)]| {
            let patch = read(pairs).map(|meta| meta.patch);
            patch.map(|patch| (patch.format.flatten(), patch.container.flatten(), patch.kind.flatten()))
        };
        let (disk, container) = ("x-image-meta-disk_format", "x-image-meta-container_format");
        let kernel = (Some(Format::Aki), Some(Container::Aki), Some(ImageKind::Kernel));
        for pairs in [&[(disk, "aki")][..], &[(container, "aki")], &[(disk, "aki"), (container, "aki")]] {
            assert_eq!(of(pairs).unwrap(), kernel);
        }
        assert_eq!(of(&[(disk, "raw")]).unwrap(), (Some(Format::Raw), None, None));
        assert_eq!(of(&[(disk, "raw"), (container, "bare")]).unwrap().1, Some(Container::Bare));
        assert_eq!(of(&[("x-image-meta-type", "raw")]).unwrap(), (Some(Format::Raw), None, None));
        assert_eq!(of(&[]).unwrap(), (None, None, None));
        for bad in [
            [(disk, "aki"), (container, "ari")],
            [(disk, "raw"), (container, "ami")],
            [(disk, "ami"), (container, "bare")],
            [(disk, "img"), (container, "bare")],
        ] {
            assert!(of(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for bad in [
            ("x-image-meta-bogus", "1"),
            ("x-image-meta-bogus", ""),
            ("x-image-meta-id", "1"),
            ("x-image-meta-size", "-1"),
            ("x-image-meta-size", "12k"),
            ("x-image-meta-min_disk", "1.5"),
            ("x-image-meta-checksum", "abc"),
            ("x-image-meta-type", "weird"),
            ("x-image-meta-store", "no store"),
            ("x-image-meta-location", "file:///etc/passwd"),
            ("x-image-meta-location", "/etc/passwd"),
            ("x-glance-api-copy-from", "swift://key:secret@h/a"),
        ] {
            let error = read(&[bad]).unwrap_err();
            assert!(error.kind() == Kind::Invalid && !error.message().contains("secret"), "{bad:?}: {error}");
        }
        let error = read(&[("x-image-meta-bogus", "1")]).unwrap_err();
        assert_eq!(error.message(), "Bad header: x-image-meta-bogus");
        let url = "https://h/a";
        let both = read(&[("x-image-meta-location", url), ("x-glance-api-copy-from", url)]);
        assert_eq!(both.unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn properties_that_are_not_named_go() {
        let mut image = sample("a");
        image.properties.insert("old".into(), "1".into());
        image.architecture = Some(Architecture::Aarch64);
        let named = ("x-image-meta-property-new", "2");
        let patch = of_old(&user(), &image, &[named]).unwrap();
        let mut purged = image.clone();
        patch.apply(&mut purged).unwrap();
        assert_eq!(spell::properties(&purged), [("new", "2".to_owned())].into());
        of_old(&user(), &image, &[named, ("x-glance-registry-purge-props", "False")])
            .unwrap()
            .apply(&mut image)
            .unwrap();
        let kept = [("architecture", "aarch64"), ("new", "2"), ("old", "1")];
        assert_eq!(spell::properties(&image), kept.map(|(n, v)| (n, v.to_owned())).into());
    }

    #[test]
    fn who_sees_it_is_changed_only_if_it_changes() {
        let becomes = |was: Visibility, is_public: &str| {
            let image = Image { visibility: was, ..sample("a") };
            let patch = of_old(&user(), &image, &[("x-image-meta-is_public", is_public)]);
            patch.map(|patch| patch.visibility).map_err(|error| error.kind())
        };
        for was in [Visibility::Private, Visibility::Shared, Visibility::Community] {
            assert_eq!(becomes(was, "False"), Ok(None));
            assert_eq!(becomes(was, "True"), Ok(Some(Visibility::Public)));
        }
        assert_eq!(becomes(Visibility::Public, "True"), Ok(None));
        assert_eq!(becomes(Visibility::Public, "False"), Ok(Some(Visibility::Shared)));
        assert_eq!(of_old(&user(), &sample("a"), &[]).unwrap().visibility, None);
    }

    #[test]
    fn what_is_so_already_may_be_said() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let digests = Digests { md5: from_hex(md5), ..Digests::default() };
        let location = Location::Http { url: "https://h/a".into() };
        let part = Part { kind: PartKind::Main, location, size: Some(3), virtual_size: None, digests, etag: None };
        let image = Image { parts: vec![part], status: Status::Available, ..sample("a") };
        let id = image.id.to_string();
        let all = [("id", id.as_str()), ("status", "active"), ("size", "3"), ("checksum", md5), ("deleted", "True")];
        let named = all.map(|(name, value)| (format!("{PREFIX}{name}"), value));
        let pairs: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert!(of_old(&user(), &image, &pairs).unwrap().is_empty());
        let other = ImageId::random().to_string();
        for (name, value) in
            [("id", other.as_str()), ("status", "queued"), ("size", "4"), ("checksum", &"0".repeat(32))]
        {
            let error = of_old(&user(), &image, &[(&format!("{PREFIX}{name}"), value)]).unwrap_err();
            assert_eq!((error.kind(), error.message().contains(name)), (Kind::Forbidden, true), "{name}");
        }
    }
}
