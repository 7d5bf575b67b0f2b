//! The stored form of an image: its own types, never the domain's and never a protocol's.
//!
//! One shape, two encodings: bincode behind a version byte and a checksum in the database, JSON in the journal.
//! bincode can't evolve a struct, so a new field is a new `RowV5` with `From<RowV4>`, the decoder keeps both, and the old
//! one goes to `frozen`. This is the only file that names bincode.

mod convert;
mod frozen;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::frozen::{ResumableV2, RowV1, RowV2, RowV3};
use crate::image::{Access, Image, Timestamp};

/// Version of the newest row shape, in the database and in the journal.
pub(crate) const VERSION: u8 = 4;

/// Version byte and CRC-32.
const HEAD_BYTES: usize = 5;

/// Why stored bytes are not an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("a row fails its checksum")]
    Damaged,
    #[error("a row has version {0}; this program knows up to {VERSION}")]
    Newer(u8),
    #[error("a row can't be read: {0}")]
    Malformed(String),
}

fn malformed(why: impl std::fmt::Display) -> RowError {
    RowError::Malformed(why.to_string())
}

/// Version 4 of the shape. Frozen, as every version is from the moment when a row was written in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RowV4 {
    id: Uuid,
    revision: u64,
    name: Option<String>,
    owner: Option<String>,
    visibility: String,
    status: String,
    format: Option<String>,
    container: Option<String>,
    kind: Option<String>,
    architecture: Option<String>,
    store: Option<String>,
    kernel: Option<Uuid>,
    ramdisk: Option<Uuid>,
    parts: Vec<PartV3>,
    properties: BTreeMap<String, String>,
    tags: Vec<String>,
    members: BTreeMap<String, MemberV3>,
    protected: bool,
    hidden: bool,
    min_disk_gib: u32,
    min_ram_mib: u32,
    aliases: BTreeMap<String, String>,
    filename: Option<String>,
    offer: Option<OfferV4>,
    offered: bool,
    update_source: Option<UpdateSourceV4>,
    auto_update: bool,
    built_at_us: Option<i64>,
    supported_until_us: Option<i64>,
    expires_at_us: Option<i64>,
    created_at_us: i64,
    updated_at_us: Option<i64>,
    uploaded_at_us: Option<i64>,
    ticket: Option<TicketV3>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OfferV4 {
    fingerprint: String,
    root_sha256: Option<String>,
    made: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct UpdateSourceV4 {
    server: String,
    protocol: String,
    alias: String,
    certificate: Option<String>,
    kind: Option<String>,
    checked_at_us: Option<i64>,
    error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartV3 {
    kind: String,
    location: LocationV1,
    size_bytes: Option<u64>,
    virtual_size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    sha512: Option<String>,
    etag: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LocationV1 {
    Stored { store: String, key: String },
    File { path: String },
    Http { url: String },
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberV3 {
    status: String,
    can_share: bool,
    created_at_us: i64,
    updated_at_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct TicketV3 {
    boot: Uuid,
    fallback: String,
    resumable: Option<ResumableV3>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResumableV3 {
    offset: u64,
    size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    sha512: Option<String>,
    expires_at_us: i64,
}

/// Bytes for the database: version, CRC-32 of the rest (little endian), bincode.
pub(crate) fn encode(image: &Image) -> Result<Vec<u8>, RowError> {
    seal(&RowV4::from(image))
}

/// The image in some bytes of the database.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, RowError> {
    let row = match unseal(bytes)? {
        (1, body) => RowV3::from(RowV2::from(read::<RowV1>(body)?)).into(),
        (2, body) => RowV3::from(read::<RowV2>(body)?).into(),
        (3, body) => read::<RowV3>(body)?.into(),
        (_, body) => read::<RowV4>(body)?,
    };
    row.try_into()
}

/// Bytes for the counters of an image.
pub(crate) fn encode_access(access: Access) -> Result<Vec<u8>, RowError> {
    seal(&(access.count, access.last.map(|t| t.0)))
}

/// The counters in some bytes.
pub(crate) fn decode_access(bytes: &[u8]) -> Result<Access, RowError> {
    let (count, last): (u64, Option<i64>) = read(unseal(bytes)?.1)?;
    Ok(Access { count, last: last.map(Timestamp) })
}

fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, RowError> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(malformed)?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.push(VERSION);
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// The version of some bytes, and what stands behind it.
fn unseal(bytes: &[u8]) -> Result<(u8, &[u8]), RowError> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(RowError::Damaged)?;
    let [version, crc @ ..] = *head;
    // The checksum comes first: a damaged version byte must not look like a newer program's row.
    if crc32fast::hash(body) != u32::from_le_bytes(crc) {
        return Err(RowError::Damaged);
    }
    check_version(version)?;
    Ok((version, body))
}

/// Whether this program knows a version of the shape.
pub(crate) fn check_version(version: u8) -> Result<(), RowError> {
    match version {
        0 => Err(RowError::Damaged),
        1..=VERSION => Ok(()),
        newer => Err(RowError::Newer(newer)),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, RowError> {
    // The limit keeps a length prefix from asking for memory that the row can't fill.
    let config = bincode::config::standard().with_limit::<{ 1 << 20 }>();
    bincode::serde::decode_from_slice(body, config).map(|(value, _)| value).map_err(malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::{
        Architecture, BlobKey, Container, Digests, Fallback, Format, ImageId, ImageKind, Location, LxdIdentity, Member,
        MemberStatus, Part, PartKind, Protocol, Resumable, Status, StoreName, StoredAt, UpdateSource, UploadTicket,
        Visibility, Vocabulary,
    };

    fn part() -> impl Strategy<Value = Part> {
        let location = prop_oneof![
            (any::<[u8; 16]>(), proptest::option::of(proptest::sample::select(Format::ALL))).prop_map(
                |(id, format)| {
                    let key = BlobKey::main(ImageId::from_bytes(id), format);
                    Location::Stored(StoredAt { store: StoreName::FILE, key })
                }
            ),
            "/[a-z/]{0,20}".prop_map(|path| Location::File { path }),
            "https://[a-z]{1,9}/".prop_map(|url| Location::Http { url }),
        ];
        let sizes = any::<(Option<u64>, Option<u64>)>();
        let digests = any::<(Option<[u8; 16]>, Option<[u8; 32]>)>();
        let kind = proptest::sample::select(&[PartKind::Main, PartKind::Metadata][..]);
        (kind, location, sizes, digests, any::<Option<String>>()).prop_map(
            |(kind, location, (size, virtual_size), (md5, sha256), etag)| Part {
                kind,
                location,
                size,
                virtual_size,
                digests: Digests { md5, sha256, sha512: sha256.map(|half| [half; 2].concat().try_into().unwrap()) },
                etag,
            },
        )
    }

    fn members() -> impl Strategy<Value = BTreeMap<String, Member>> {
        let member = (proptest::sample::select(MemberStatus::ALL), any::<bool>(), any::<i64>(), any::<i64>()).prop_map(
            |(status, can_share, created, updated)| Member {
                status,
                can_share,
                created_at: Timestamp(created),
                updated_at: Timestamp(updated),
            },
        );
        proptest::collection::btree_map("[a-b]", member, 0..3)
    }

    fn update_source() -> impl Strategy<Value = UpdateSource> {
        let words = (
            proptest::sample::select(Protocol::ALL),
            proptest::option::of(proptest::sample::select(ImageKind::ALL)),
            any::<Option<i64>>(),
        );
        let texts = ("[a-c]{0,3}", "[a-c]{0,3}", any::<Option<String>>(), any::<Option<String>>());
        (words, texts).prop_map(|((protocol, kind, checked), (server, alias, certificate, error))| UpdateSource {
            server,
            protocol,
            alias,
            certificate,
            kind,
            checked_at: checked.map(Timestamp),
            error,
        })
    }

    /// Any image at all, consistent or not: the codec must not care.
    pub(crate) fn any_image() -> impl Strategy<Value = Image> {
        let words = (
            proptest::sample::select(Visibility::ALL),
            proptest::sample::select(&Status::ALL[..]),
            proptest::option::of(proptest::sample::select(Format::ALL)),
            proptest::option::of(proptest::sample::select(ImageKind::ALL)),
            proptest::option::of(proptest::sample::select(Architecture::ALL)),
            proptest::option::of("[a-z][a-z0-9_-]{0,5}"),
            proptest::option::of(proptest::sample::select(Container::ALL)),
        );
        let texts = (
            any::<[u8; 16]>(),
            proptest::option::of("[a-c]{0,3}"),
            proptest::option::of("[a-b]"),
            proptest::collection::btree_map("[a-b]", "[a-c\u{0}]{0,3}", 0..3),
            proptest::collection::vec(part(), 0..2),
            proptest::collection::btree_set("[a-c]{0,2}", 0..3),
            members(),
        );
        let flags = (any::<bool>(), any::<bool>(), 0u32..3, 0u32..3);
        let bundle = (
            proptest::collection::btree_map("[a-b]", "[a-c]{0,3}", 0..3),
            proptest::option::of("[a-c]{0,3}"),
            proptest::option::of((any::<[u8; 32]>(), any::<Option<[u8; 32]>>(), any::<bool>())),
            any::<(bool, bool, Option<i64>, Option<i64>)>(),
            proptest::option::of(update_source()),
        );
        let rest = (0u64..1000, -5i64..5, any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<[u8; 16]>>());
        (words, texts, flags, bundle, rest).prop_map(|(words, texts, flags, bundle, rest)| Image {
            id: ImageId::from_bytes(texts.0),
            revision: rest.0,
            name: texts.1,
            owner: texts.2,
            visibility: words.0,
            status: words.1,
            format: words.2,
            kind: words.3,
            architecture: words.4,
            store: words.5.map(|name| name.parse().unwrap()),
            container: words.6,
            kernel: rest.4.map(ImageId::from_bytes),
            ramdisk: None,
            parts: texts.4,
            properties: texts.3,
            tags: texts.5,
            members: texts.6,
            protected: flags.0,
            hidden: flags.1,
            min_disk: flags.2,
            min_ram: flags.3,
            aliases: bundle.0,
            filename: bundle.1,
            lxd_identity: bundle.2.map(|(fingerprint, root_sha256, made)| LxdIdentity {
                fingerprint,
                root_sha256,
                made,
            }),
            offer_to_lxd: bundle.3.0,
            auto_update: bundle.3.1,
            built_at: bundle.3.2.map(Timestamp),
            supported_until: bundle.3.2.map(Timestamp),
            expires_at: bundle.3.3.map(Timestamp),
            update_source: bundle.4,
            created_at: Timestamp(rest.1),
            updated_at: rest.2.map(Timestamp),
            uploaded_at: rest.3.map(Timestamp),
            ticket: rest.4.map(|b| UploadTicket {
                boot: Uuid::from_bytes(b),
                fallback: Fallback::Discard,
                resumable: rest.2.map(|at| Resumable {
                    offset: u64::from(b[0]),
                    size: rest.3.map(i64::unsigned_abs),
                    digests: Digests { md5: Some(b), ..Digests::default() },
                    expires_at: Timestamp(at),
                }),
            }),
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went(image in any_image()) {
            prop_assert_eq!(&decode(&encode(&image).unwrap()).unwrap(), &image);
            let json = serde_json::to_vec(&RowV4::from(&image)).unwrap();
            let back: RowV4 = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&Image::try_from(back).unwrap(), &image);
        }

        #[test]
        fn no_bytes_at_all_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn one_flipped_bit_is_noticed(image in any_image(), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&image).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }
    }

    /// As the programs wrote them that knew versions 1 and 2. The second differs by what it has at the end.
    const OLD_BODY: &str = "\
        10070707070707070707070707070707070301016101026d65067075626c696306736176696e67000000000000010577686f\
        6c65000466696c652830373037303730372d303730372d303730372d303730372d3037303730373037303730372e69736f01\
        0901203333333333333333333333333333333333333333333333333333333333333333014034343434343434343434343434\
        3434343434343434343434343434343434343434343434343434343434343434343434343434343434343434343434343434\
        340001026f73056c696e7578fc809698000000011009090909090909090909090909090909046661696c";
    const OLD_HEADS: [&str; 2] = ["016d4061c5", "0291aec0e4"];
    const OLD_ENDS: [&str; 2] =
        ["", "01040109012035353535353535353535353535353535353535353535353535353535353535350010"];

    /// The image that is in them.
    pub(crate) fn old_image(resumable: bool) -> Image {
        let mut image = Image::blank(ImageId::from_bytes([7; 16]), Timestamp(5_000_000));
        image.revision = 3;
        image.name = Some("a".into());
        image.owner = Some("me".into());
        image.visibility = Visibility::Public;
        image.status = Status::Saving;
        image.properties.insert("os".into(), "linux".into());
        let key = BlobKey::main(image.id, Some(Format::Iso));
        image.parts.push(Part {
            kind: PartKind::Main,
            location: Location::Stored(StoredAt { store: StoreName::FILE, key }),
            size: Some(9),
            virtual_size: None,
            digests: Digests { md5: Some([0x33; 16]), sha256: Some([0x44; 32]), sha512: None },
            etag: None,
        });
        let resumable = resumable.then(|| Resumable {
            offset: 4,
            size: Some(9),
            digests: Digests { md5: Some([0x55; 16]), ..Digests::default() },
            expires_at: Timestamp(8),
        });
        image.ticket = Some(UploadTicket { boot: Uuid::from_bytes([9; 16]), fallback: Fallback::Fail, resumable });
        image
    }

    #[test]
    fn rows_of_earlier_versions_are_read() {
        for (version, resumable) in [(0, false), (1, true)] {
            let text = [OLD_HEADS[version], OLD_BODY, OLD_ENDS[version]].concat();
            let bytes: Vec<u8> =
                (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
            assert_eq!(decode(&bytes).unwrap(), old_image(resumable));
        }
    }

    #[test]
    fn a_newer_row_says_so() {
        let mut bytes = encode(&crate::image::change::tests::sample("a")).unwrap();
        bytes[0] = VERSION + 1;
        assert!(matches!(decode(&bytes), Err(RowError::Newer(v)) if v == VERSION + 1));
    }
}
