//! The attribute table: each row has an attribute's kind of value, the callers who may set it, its stored field and its index.
//!
//! The name of an attribute in a protocol is that protocol's business, in an exhaustive match of its own. A new
//! attribute is a variant and a row here, and a compile error in each protocol.

use std::borrow::Cow;

use self::Index::{Nothing, Sparse, Table, Whole};
use super::{Architecture, Container, Format, Image, ImageId, ImageKind, Location, Timestamp, Visibility, Vocabulary};
use crate::digest::hex;

/// An attribute that every image may have. Free attributes are properties, and not in this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Attr {
    /// [`Image::id`]
    Id,
    /// [`Image::name`]
    Name,
    /// [`Image::architecture`]
    Architecture,
    /// [`Image::visibility`]
    Visibility,
    /// [`Image::kind`]
    Kind,
    /// [`Image::format`]
    Format,
    /// [`Image::store`]
    Store,
    /// Place of the bytes.
    Location,
    /// [`Image::kernel`]
    Kernel,
    /// [`Image::ramdisk`]
    Ramdisk,
    /// [`Image::owner`]
    Owner,
    /// [`Image::status`]
    Status,
    /// Size in bytes.
    Size,
    /// [`Image::created_at`]
    CreatedAt,
    /// [`Image::uploaded_at`]
    UploadedAt,
    /// [`Image::updated_at`]
    UpdatedAt,
    /// MD5 of the bytes in hexadecimal, or the entity tag of a URL.
    Checksum,
    /// [`Image::container`]
    Container,
    /// [`Image::min_disk`]
    MinDisk,
    /// [`Image::min_ram`]
    MinRam,
    /// [`Image::protected`]
    Protected,
    /// [`Image::hidden`]
    Hidden,
    /// Size of the disk in the bytes, in bytes.
    VirtualSize,
    /// SHA-256 of the bytes in hexadecimal.
    Sha256,
    /// SHA-512 of the bytes in hexadecimal.
    Sha512,
    /// Fingerprint in hexadecimal: the name of the image in LXD and Incus.
    Fingerprint,
    /// The first of its [`Image::aliases`].
    Alias,
    /// [`Image::expires_at`]
    ExpiresAt,
    /// [`Image::offer_to_lxd`]
    Offered,
}

/// A value of an attribute. Ordered as people would sort it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// Text, or a word of a vocabulary.
    Text(Cow<'a, str>),
    /// A number.
    Int(u64),
    /// A moment.
    Time(Timestamp),
    /// An image.
    Id(ImageId),
    /// Yes or no.
    Flag(bool),
}

/// Kind of an attribute's values.
#[derive(Debug, Clone, Copy)]
pub enum ValueType {
    /// Any text.
    Text,
    /// Word of a closed set: a function from a spelling to the canonical name, and one for all names in messages.
    Word(fn(&str) -> Option<&'static str>, fn() -> String),
    /// Name of a store.
    Store,
    /// A number: of bytes, unless the attribute says otherwise.
    Count,
    /// A moment.
    Time,
    /// Id of an image.
    Id,
    /// Yes or no: `true` or `false`.
    Flag,
}

/// Callers who may set an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Every caller who may change the image.
    Owner,
    /// An administrator.
    Admin,
    /// Only the service itself.
    Service,
}

/// Index of an attribute in the catalogue. A number is the index's tag on disk: far below those of other indexes, and never
/// used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// No index: filters read the records.
    Nothing,
    /// The table of images itself, which is sorted by id.
    Table,
    /// An entry for every image: lists can be sorted by the attribute, and filters on it are cheap.
    Whole(u8),
    /// An entry for each image that has the attribute: filters on it are cheap, but it is no order of all images.
    Sparse(u8),
}

impl Index {
    /// Tag of the index, if it is a table of its own.
    pub fn tag(self) -> Option<u8> {
        match self {
            Self::Nothing | Self::Table => None,
            Self::Whole(tag) | Self::Sparse(tag) => Some(tag),
        }
    }

    /// Tells whether the index is an order of all images.
    pub fn orders_all(self) -> bool {
        matches!(self, Self::Table | Self::Whole(_))
    }
}

/// A row of the table.
pub struct Row {
    /// The attribute.
    pub attr: Attr,
    /// Kind of value.
    pub value: ValueType,
    /// Callers who may set it.
    pub edit: Edit,
    /// Field of the stored record.
    pub stored: &'static str,
    /// Index in the catalogue.
    pub indexed: Index,
    /// Reads the value from an image, if it has one.
    pub read: fn(&Image) -> Option<Value<'_>>,
}

fn word<V: Vocabulary>(text: &str) -> Option<&'static str> {
    V::parse(text).map(V::name)
}

const fn words<V: Vocabulary>() -> ValueType {
    ValueType::Word(word::<V>, V::names)
}

const fn row(
    attr: Attr,
    value: ValueType,
    edit: Edit,
    (stored, indexed): (&'static str, Index),
    read: fn(&Image) -> Option<Value<'_>>,
) -> Row {
    Row { attr, value, edit, stored, indexed, read }
}

fn text(value: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(value))
}

/// The table, in the order in which VISOR lists its attributes.
pub static ATTRS: [Row; 29] = [
    row(Attr::Id, ValueType::Id, Edit::Service, ("id", Table), |i| Some(Value::Id(i.id))),
    row(Attr::Name, ValueType::Text, Edit::Owner, ("name", Whole(1)), |i| i.name.as_deref().map(text)),
    row(Attr::Architecture, words::<Architecture>(), Edit::Owner, ("architecture", Whole(2)), |i| {
        i.architecture.map(|v| text(v.name()))
    }),
    row(Attr::Visibility, words::<Visibility>(), Edit::Owner, ("visibility", Whole(3)), |i| {
        Some(text(i.visibility.name()))
    }),
    row(Attr::Kind, words::<ImageKind>(), Edit::Owner, ("kind", Whole(4)), |i| i.kind.map(|v| text(v.name()))),
    row(Attr::Format, words::<Format>(), Edit::Owner, ("format", Whole(5)), |i| i.format.map(|v| text(v.name()))),
    row(Attr::Store, ValueType::Store, Edit::Owner, ("store", Whole(6)), |i| {
        i.store.as_ref().map(|v| text(v.as_str()))
    }),
    row(Attr::Location, ValueType::Text, Edit::Owner, ("parts", Nothing), location),
    row(Attr::Kernel, ValueType::Id, Edit::Owner, ("kernel", Whole(7)), |i| i.kernel.map(Value::Id)),
    row(Attr::Ramdisk, ValueType::Id, Edit::Owner, ("ramdisk", Whole(8)), |i| i.ramdisk.map(Value::Id)),
    row(Attr::Owner, ValueType::Text, Edit::Admin, ("owner", Whole(9)), |i| i.owner.as_deref().map(text)),
    row(Attr::Status, ValueType::Text, Edit::Service, ("status", Whole(10)), |i| Some(text(i.status.word()))),
    row(Attr::Size, ValueType::Count, Edit::Service, ("parts", Whole(11)), |i| i.size().map(Value::Int)),
    row(Attr::CreatedAt, ValueType::Time, Edit::Service, ("created_at_us", Whole(13)), |i| {
        Some(Value::Time(i.created_at))
    }),
    row(Attr::UploadedAt, ValueType::Time, Edit::Service, ("uploaded_at_us", Whole(14)), |i| {
        i.uploaded_at.map(Value::Time)
    }),
    row(Attr::UpdatedAt, ValueType::Time, Edit::Service, ("updated_at_us", Whole(15)), |i| {
        i.updated_at.map(Value::Time)
    }),
    row(Attr::Checksum, ValueType::Text, Edit::Service, ("parts", Whole(12)), checksum),
    row(Attr::Container, words::<Container>(), Edit::Owner, ("container", Whole(16)), |i| {
        i.container.map(|v| text(v.name()))
    }),
    // Each would add an entry for every image, and queries for them are rare: filters on them read the rows.
    row(Attr::MinDisk, ValueType::Count, Edit::Owner, ("min_disk_gib", Nothing), |i| {
        Some(Value::Int(i.min_disk.into()))
    }),
    row(Attr::MinRam, ValueType::Count, Edit::Owner, ("min_ram_mib", Nothing), |i| Some(Value::Int(i.min_ram.into()))),
    row(Attr::Protected, ValueType::Flag, Edit::Owner, ("protected", Nothing), |i| Some(Value::Flag(i.protected))),
    row(Attr::Hidden, ValueType::Flag, Edit::Owner, ("hidden", Nothing), |i| Some(Value::Flag(i.hidden))),
    row(Attr::VirtualSize, ValueType::Count, Edit::Service, ("parts", Nothing), |i| {
        i.main()?.virtual_size.map(Value::Int)
    }),
    row(Attr::Sha256, ValueType::Text, Edit::Service, ("parts", Nothing), |i| {
        i.main()?.digests.sha256_hex().map(owned)
    }),
    row(Attr::Sha512, ValueType::Text, Edit::Service, ("parts", Nothing), |i| {
        i.main()?.digests.sha512_hex().map(owned)
    }),
    // Few images have these.
    row(Attr::Fingerprint, ValueType::Text, Edit::Service, ("offer", Sparse(17)), |i| {
        i.fingerprint().map(|bytes| owned(hex(&bytes)))
    }),
    row(Attr::Alias, ValueType::Text, Edit::Owner, ("aliases", Sparse(18)), |i| {
        i.aliases.keys().next().map(|alias| text(alias))
    }),
    row(Attr::ExpiresAt, ValueType::Time, Edit::Owner, ("expires_at_us", Sparse(19)), |i| {
        i.expires_at.map(Value::Time)
    }),
    // Stated only where it differs from the default.
    row(Attr::Offered, ValueType::Flag, Edit::Owner, ("offered", Nothing), |i| {
        (!i.offer_to_lxd).then_some(Value::Flag(false))
    }),
];

fn owned(value: String) -> Value<'static> {
    Value::Text(Cow::Owned(value))
}

fn location(image: &Image) -> Option<Value<'_>> {
    image.main().map(|part| match &part.location {
        Location::Stored(place) => text(place.key.as_str()),
        Location::File { path } => text(path),
        Location::Http { url } => text(url),
    })
}

fn checksum(image: &Image) -> Option<Value<'_>> {
    let part = image.main()?;
    match part.digests.md5_hex() {
        Some(hex) => Some(owned(hex)),
        None => part.etag.as_deref().map(text),
    }
}

impl Attr {
    /// Row of this attribute.
    pub fn row(self) -> &'static Row {
        &ATTRS[self as usize]
    }

    /// Value in an image, if it has one.
    pub fn read(self, image: &Image) -> Option<Value<'_>> {
        (self.row().read)(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_variants() {
        for (position, row) in ATTRS.iter().enumerate() {
            assert_eq!(row.attr as usize, position, "{:?}", row.attr);
        }
    }

    #[test]
    fn what_an_owner_sets_is_never_the_services() {
        let of_the_record = [Attr::Id, Attr::CreatedAt, Attr::UpdatedAt, Attr::UploadedAt, Attr::Status];
        let of_the_bytes =
            [Attr::Size, Attr::VirtualSize, Attr::Checksum, Attr::Sha256, Attr::Sha512, Attr::Fingerprint];
        for attr in of_the_record.into_iter().chain(of_the_bytes) {
            assert_eq!(attr.row().edit, Edit::Service, "{attr:?}");
        }
    }
}
