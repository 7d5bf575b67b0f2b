//! Changes by callers, and the rules about values. A new image is a blank one with a patch applied.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Architecture, Container, Format, Image, ImageId, ImageKind, Status, StoreName, Timestamp, UpdateSource, Visibility,
};
use crate::error::{Error, Reason, Result};

/// Longest name of an image, a free attribute, a tag or a member, in characters: Glance's limit.
pub const NAME_CHARS_MAX: usize = 255;
/// Beginning of the names of free attributes that only the server itself sets: they say where an image came from and how far it was
/// verified, and no caller may claim that.
pub const RESERVED: &str = "visor.";
/// Most free attributes of one image. Glance has 128; LXD, whose images bring theirs in a file, has no limit.
pub const PROPERTIES_MAX: usize = 512;
/// Longest value of a free attribute, in bytes. Glance's has 65,535: the volumes of a snapshot are one value there.
pub const PROPERTY_BYTES_MAX: usize = 64 * 1024;
/// Largest sum of all free attributes of one image, in bytes. Lists hold a page of records in memory.
pub const PROPERTIES_BYTES_MAX: usize = 256 * 1024;

/// Most tags of one image: Glance's limit. Each is an index entry.
pub const TAGS_MAX: usize = 128;
/// Most members of one image: Glance's limit. Each is an index entry.
pub const MEMBERS_MAX: usize = 128;
/// Most aliases of one image. Each is an index entry.
pub const ALIASES_MAX: usize = 64;
/// Longest description of an alias, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Longest text about the source of an image, in bytes: a certificate is about one KiB.
const ORIGIN_BYTES_MAX: usize = 16 * 1024;
/// Largest demand for disk or memory: the limit of Glance's database.
pub const DEMAND_MAX: u32 = i32::MAX as u32;

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
    /// [`Image::container`]
    pub container: Option<Option<Container>>,
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
    /// Free attributes to set, or with `None` to remove.
    pub properties: BTreeMap<String, Option<String>>,
    /// Reserved free attributes to set or remove, on the word of the server itself; see [`RESERVED`].
    pub own_properties: BTreeMap<String, Option<String>>,
    /// Removes free attributes that are not named here, but no reserved ones. Otherwise they stay.
    pub purge: bool,
    /// [`Image::tags`], all of them.
    pub tags: Option<BTreeSet<String>>,
    /// [`Image::protected`]
    pub protected: Option<bool>,
    /// [`Image::hidden`]
    pub hidden: Option<bool>,
    /// [`Image::min_disk`]
    pub min_disk: Option<u32>,
    /// [`Image::min_ram`]
    pub min_ram: Option<u32>,
    /// [`Image::aliases`], all of them.
    pub aliases: Option<BTreeMap<String, String>>,
    /// [`Image::filename`]
    pub filename: Option<Option<String>>,
    /// [`Image::offer_to_lxd`]
    pub offer_to_lxd: Option<bool>,
    /// [`Image::update_source`]
    pub update_source: Option<Option<UpdateSource>>,
    /// [`Image::auto_update`]
    pub auto_update: Option<bool>,
    /// [`Image::built_at`]
    pub built_at: Option<Option<Timestamp>>,
    /// [`Image::supported_until`]
    pub supported_until: Option<Option<Timestamp>>,
    /// [`Image::expires_at`]
    pub expires_at: Option<Option<Timestamp>>,
}

impl ImagePatch {
    /// Tells whether the patch changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts a later patch on top of this one.
    pub fn then(self, later: ImagePatch) -> Self {
        let mut properties = if later.purge { BTreeMap::new() } else { self.properties };
        properties.extend(later.properties);
        let mut own_properties = self.own_properties;
        own_properties.extend(later.own_properties);
        Self {
            own_properties,
            name: later.name.or(self.name),
            owner: later.owner.or(self.owner),
            visibility: later.visibility.or(self.visibility),
            format: later.format.or(self.format),
            container: later.container.or(self.container),
            kind: later.kind.or(self.kind),
            architecture: later.architecture.or(self.architecture),
            store: later.store.or(self.store),
            kernel: later.kernel.or(self.kernel),
            ramdisk: later.ramdisk.or(self.ramdisk),
            properties,
            purge: later.purge || self.purge,
            tags: later.tags.or(self.tags),
            protected: later.protected.or(self.protected),
            hidden: later.hidden.or(self.hidden),
            min_disk: later.min_disk.or(self.min_disk),
            min_ram: later.min_ram.or(self.min_ram),
            aliases: later.aliases.or(self.aliases),
            filename: later.filename.or(self.filename),
            offer_to_lxd: later.offer_to_lxd.or(self.offer_to_lxd),
            update_source: later.update_source.or(self.update_source),
            auto_update: later.auto_update.or(self.auto_update),
            built_at: later.built_at.or(self.built_at),
            supported_until: later.supported_until.or(self.supported_until),
            expires_at: later.expires_at.or(self.expires_at),
        }
    }

    /// Leaves the reserved attributes out: a new image may be a copy of one that was pulled, and is not pulled itself.
    #[must_use]
    pub fn without_reserved(mut self) -> Self {
        self.properties.retain(|name, _| !name.starts_with(RESERVED));
        self
    }

    /// Applies the patch to an image.
    ///
    /// # Errors
    /// `Forbidden` for a reserved attribute that would change; as [`check`]. The image may then be half changed and must be discarded.
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
        set(&mut image.container, &self.container);
        set(&mut image.kind, &self.kind);
        set(&mut image.architecture, &self.architecture);
        set(&mut image.store, &self.store);
        set(&mut image.kernel, &self.kernel);
        set(&mut image.ramdisk, &self.ramdisk);
        set(&mut image.tags, &self.tags);
        set(&mut image.protected, &self.protected);
        set(&mut image.hidden, &self.hidden);
        set(&mut image.min_disk, &self.min_disk);
        set(&mut image.min_ram, &self.min_ram);
        set(&mut image.aliases, &self.aliases);
        set(&mut image.filename, &self.filename);
        set(&mut image.offer_to_lxd, &self.offer_to_lxd);
        set(&mut image.update_source, &self.update_source);
        set(&mut image.auto_update, &self.auto_update);
        set(&mut image.built_at, &self.built_at);
        set(&mut image.supported_until, &self.supported_until);
        set(&mut image.expires_at, &self.expires_at);
        if self.purge {
            image.properties.retain(|name, _| name.starts_with(RESERVED));
        }
        let changes = |(name, value): &(&String, &Option<String>)| {
            name.starts_with(RESERVED) && image.properties.get(*name) != value.as_ref()
        };
        if let Some((name, _)) = self.properties.iter().find(changes) {
            return Err(Reason::ReadOnly.about(name));
        }
        for (name, value) in self.properties.iter().chain(&self.own_properties) {
            match value {
                Some(value) => image.properties.insert(name.clone(), value.clone()),
                None => image.properties.remove(name),
            };
        }
        check(image)
    }
}

/// Checks the limits of an image's values.
///
/// # Errors
/// `Invalid` when a value breaks a limit of this module, `TooMany` when there are more values than allowed.
pub fn check(image: &Image) -> Result<()> {
    if let Some(name) = &image.name {
        check_name("name", name)?;
    }
    if image.min_disk.max(image.min_ram) > DEMAND_MAX {
        return Err(Error::invalid(format!("A demand for disk or memory is at most {DEMAND_MAX}.")));
    }
    check_count("additional attributes", image.properties.len(), PROPERTIES_MAX)?;
    let mut bytes = 0;
    for (name, value) in &image.properties {
        check_name("attribute name", name)?;
        check_length(name, value, PROPERTY_BYTES_MAX)?;
        if value.chars().any(|c| c.is_control() && !is_white(c)) {
            return Err(has_control_character(name));
        }
        bytes += name.len() + value.len();
    }
    if bytes > PROPERTIES_BYTES_MAX {
        return Err(Error::invalid(format!(
            "Additional attributes take at most {PROPERTIES_BYTES_MAX} bytes together."
        )));
    }
    check_count("tags", image.tags.len(), TAGS_MAX)?;
    image.tags.iter().try_for_each(|tag| check_name("tag", tag))?;
    check_count("members", image.members.len(), MEMBERS_MAX)?;
    image.members.keys().try_for_each(|account| check_full_name("name of a member", account))?;
    check_count("aliases", image.aliases.len(), ALIASES_MAX)?;
    for (alias, description) in &image.aliases {
        check_full_name("alias", alias)?;
        check_text("description of an alias", description, DESCRIPTION_BYTES_MAX)?;
    }
    image.filename.as_deref().map_or(Ok(()), check_filename)?;
    let Some(update_source) = &image.update_source else { return Ok(()) };
    // A certificate has lines.
    let certificate = update_source.certificate.as_deref().map(|text| text.replace(['\n', '\r'], " "));
    [Some(&update_source.server), Some(&update_source.alias), certificate.as_ref(), update_source.error.as_ref()]
        .into_iter()
        .flatten()
        .try_for_each(|text| check_text("origin of an image", text, ORIGIN_BYTES_MAX))
}

/// Properties from a source without such rules, with blanks for the control characters that they may not have.
pub fn cleaned(properties: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let value = |text: &str| text.replace(|c: char| c.is_control() && !is_white(c), " ");
    let others = properties.iter().filter(|(name, _)| !name.starts_with(RESERVED));
    others.map(|(name, text)| (on_one_line(name), Some(value(text)))).collect()
}

/// A text with blanks for its control characters, line breaks among them.
pub fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Tells whether a control character may stand in the value of a free attribute: texts have lines. Headers have none, so
/// each protocol decides what it shows there.
fn is_white(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t')
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    check_length(what, text, bytes_max)?;
    check_characters(what, text)
}

/// Checks the length of a text, in bytes.
///
/// # Errors
/// `Invalid`.
pub fn check_length(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(Error::invalid(format!("The {what} is longer than {bytes_max} bytes.")));
    }
    Ok(())
}

/// Checks a file name. Clients save files under it, maybe carelessly: it must be neither a path nor hidden.
fn check_filename(name: &str) -> Result<()> {
    if name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(Error::invalid("A filename is a name, without slashes and with no dot before it."));
    }
    check_name("filename", name)
}

/// Checks a name that is required.
fn check_full_name(what: &str, text: &str) -> Result<()> {
    if text.is_empty() { Err(Error::invalid(format!("The {what} can't be empty."))) } else { check_name(what, text) }
}

/// Checks a number of values of an image.
///
/// # Errors
/// `TooMany`.
pub fn check_count(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(Reason::TooMany.saying(format!("An image has at most {most} {what}.")));
    }
    Ok(())
}

fn check_name(what: &str, text: &str) -> Result<()> {
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(Error::invalid(format!("The {what} is longer than {NAME_CHARS_MAX} characters.")));
    }
    check_characters(what, text)
}

/// Control characters are refused here, so that no protocol can emit them.
fn check_characters(what: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) {
        return Err(has_control_character(what));
    }
    Ok(())
}

fn has_control_character(what: &str) -> Error {
    Error::invalid(format!("The {what} has a control character in it."))
}

impl Image {
    /// Makes an image with nothing set, registered at `now`.
    pub fn blank(id: ImageId, now: Timestamp) -> Self {
        Self {
            id,
            revision: 0,
            name: None,
            owner: None,
            visibility: Visibility::Private,
            status: Status::Queued,
            format: None,
            container: None,
            kind: None,
            architecture: None,
            store: None,
            kernel: None,
            ramdisk: None,
            parts: Vec::new(),
            properties: BTreeMap::new(),
            tags: BTreeSet::new(),
            members: BTreeMap::new(),
            protected: false,
            hidden: false,
            min_disk: 0,
            min_ram: 0,
            aliases: BTreeMap::new(),
            filename: None,
            lxd_identity: None,
            offer_to_lxd: true,
            name_is_alias: true,
            update_source: None,
            auto_update: false,
            built_at: None,
            supported_until: None,
            expires_at: None,
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
    use crate::error::Kind;
    use crate::image::{Member, MemberStatus};

    /// An image for tests: public, named, registered at second 1,000,000.
    pub(crate) fn sample(name: &str) -> Image {
        let mut image = Image::blank(ImageId::random(), Timestamp(1_000_000_000_000));
        image.name = Some(name.to_owned());
        image.visibility = Visibility::Public;
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
        let purge =
            ImagePatch { properties: [("only".into(), Some("3".into()))].into(), purge: true, ..ImagePatch::default() };
        purge.apply(&mut image).unwrap();
        assert_eq!(image.properties, [("only".into(), "3".into())].into());
    }

    #[test]
    fn reserved_attributes_are_the_servers_own() {
        let mut image = sample("a");
        let own = |value: &str| [("visor.verified".to_owned(), Some(value.to_owned()))];
        let pulled = ImagePatch { own_properties: own("signature").into(), ..ImagePatch::default() };
        pulled.apply(&mut image).unwrap();
        // A client sends back what it read.
        let same = ImagePatch { properties: own("signature").into(), purge: true, ..ImagePatch::default() };
        same.apply(&mut image).unwrap();
        ImagePatch { purge: true, ..ImagePatch::default() }.apply(&mut image).unwrap();
        assert_eq!(image.properties["visor.verified"], "signature");
        for properties in
            [own("given"), [("visor.verified".to_owned(), None)], [("visor.new".to_owned(), Some(String::new()))]]
        {
            let forged = ImagePatch { properties: properties.into(), ..ImagePatch::default() };
            assert_eq!(forged.apply(&mut image.clone()).unwrap_err().reason(), Reason::ReadOnly);
            assert!(forged.without_reserved().is_empty());
        }
        assert!(cleaned(&image.properties).is_empty());
    }

    #[test]
    fn the_later_patch_wins() {
        let named = |name: &str| ImagePatch { name: Some(Some(name.into())), ..ImagePatch::default() };
        assert_eq!(named("a").then(named("b")), named("b"));
        assert_eq!(named("a").then(ImagePatch::default()), named("a"));
        let with = |name: &str, purge| ImagePatch {
            properties: [(name.into(), Some(String::new()))].into(),
            purge,
            ..ImagePatch::default()
        };
        let both = [("a".into(), Some(String::new())), ("b".into(), Some(String::new()))].into();
        assert_eq!(with("a", true).then(with("b", false)), ImagePatch { properties: both, ..with("a", true) });
        assert_eq!(with("a", false).then(with("b", true)), with("b", true));
    }

    #[test]
    fn texts_have_limits() {
        let with = |name: &str, value: &str| ImagePatch {
            properties: [(name.to_owned(), Some(value.to_owned()))].into(),
            ..ImagePatch::default()
        };
        let long = "x".repeat(PROPERTY_BYTES_MAX + 1);
        for bad in [with("a", &long), with(&long, "a"), with("a", "b\u{7}c"), with("a\n", "b"), with("a\0", "b")] {
            assert!(bad.apply(&mut sample("a")).is_err());
        }
        let lines = with("a", "b\r\n\tc\n");
        lines.apply(&mut sample("a")).unwrap();
        let from_elsewhere = BTreeMap::from([("a\nb".to_owned(), "one\ntwo\u{7}\u{85}".to_owned())]);
        assert_eq!(cleaned(&from_elsewhere), [("a b".to_owned(), Some("one\ntwo  ".to_owned()))].into());
        // Names count in characters, and may be empty; free attributes may have no value.
        let named = |name: String| ImagePatch { name: Some(Some(name)), ..with("os:a.b", "") };
        assert!(named("ä".repeat(NAME_CHARS_MAX + 1)).apply(&mut sample("a")).is_err());
        for name in [String::new(), "ä".repeat(NAME_CHARS_MAX)] {
            named(name).apply(&mut sample("a")).unwrap();
        }
    }

    #[test]
    fn an_image_has_only_so_much_of_everything() {
        let tags = |count: usize| (0..count).map(|n| n.to_string()).collect();
        let tagged = |count| ImagePatch { tags: Some(tags(count)), ..ImagePatch::default() };
        tagged(TAGS_MAX).apply(&mut sample("a")).unwrap();
        assert_eq!(tagged(TAGS_MAX + 1).apply(&mut sample("a")).unwrap_err().kind(), Kind::TooMany);
        let many = ImagePatch {
            properties: (0..=PROPERTIES_MAX).map(|n| (format!("p{n}"), Some(String::new()))).collect(),
            ..ImagePatch::default()
        };
        assert_eq!(many.apply(&mut sample("a")).unwrap_err().kind(), Kind::TooMany);
        let demand = |disk| ImagePatch { min_disk: Some(disk), ..ImagePatch::default() };
        demand(DEMAND_MAX).apply(&mut sample("a")).unwrap();
        assert_eq!(demand(DEMAND_MAX + 1).apply(&mut sample("a")).unwrap_err().kind(), Kind::Invalid);
        let now = Timestamp(0);
        let member = Member { status: MemberStatus::Pending, can_share: false, created_at: now, updated_at: now };
        for (accounts, kind) in [
            (vec![String::new()], Some(Kind::Invalid)),
            (vec!["x".repeat(NAME_CHARS_MAX + 1)], Some(Kind::Invalid)),
            ((0..MEMBERS_MAX).map(|n| n.to_string()).collect(), None),
            ((0..=MEMBERS_MAX).map(|n| n.to_string()).collect(), Some(Kind::TooMany)),
        ] {
            let members = accounts.into_iter().map(|account| (account, member)).collect();
            assert_eq!(check(&Image { members, ..sample("a") }).err().map(|error| error.kind()), kind);
        }
    }
}
