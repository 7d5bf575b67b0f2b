//! The rows of the database: the stored shape in bincode, after the number of the shape and a checksum. This is the only file
//! that names bincode.
//!
//! A row is a cache of a journal line. A row of another shape is not decoded: its database is rebuilt.

use serde::Serialize;

use super::stored::{RowError, SHAPE, StoredImage, malformed};
use crate::image::{Access, Image, Timestamp};

/// Number of the shape and CRC-32.
const HEAD_BYTES: usize = 5;

/// Encodes an image for the database: number of the shape, CRC-32 of the rest (little endian), bincode.
pub(crate) fn encode(image: &Image) -> Result<Vec<u8>, RowError> {
    seal(&StoredImage::from(image))
}

/// Decodes a row of the database.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, RowError> {
    match unseal(bytes)? {
        (SHAPE, body) => read::<StoredImage>(body)?.try_into(),
        (older @ 1..SHAPE, _) => Err(RowError::Older(older)),
        (0, _) => Err(RowError::Damaged),
        (newer, _) => Err(RowError::Newer(newer)),
    }
}

/// Encodes the counters of an image.
pub(crate) fn encode_access(access: Access) -> Result<Vec<u8>, RowError> {
    seal(&(access.count, access.last.map(|t| t.0)))
}

/// Decodes the counters of an image, which never changed their shape.
pub(crate) fn decode_access(bytes: &[u8]) -> Result<Access, RowError> {
    let (count, last): (u64, Option<i64>) = read(unseal(bytes)?.1)?;
    Ok(Access { count, last: last.map(Timestamp) })
}

fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, RowError> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(malformed)?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.push(SHAPE);
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// Splits bytes into the number of their shape and the rest.
fn unseal(bytes: &[u8]) -> Result<(u8, &[u8]), RowError> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(RowError::Damaged)?;
    let [shape, crc @ ..] = *head;
    // The checksum comes first: a damaged number must not look like another program's row.
    if crc32fast::hash(body) != u32::from_le_bytes(crc) {
        return Err(RowError::Damaged);
    }
    Ok((shape, body))
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, RowError> {
    // The limit keeps a length prefix from asking for memory that the row can't fill.
    let config = bincode::config::standard().with_limit::<{ 1 << 20 }>();
    bincode::serde::decode_from_slice(body, config).map(|(value, _)| value).map_err(malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::image::full_tests::full;
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

    /// Any image, consistent or not: the codec must not care.
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
            any::<(bool, bool, bool, Option<i64>, Option<i64>)>(),
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
            name_is_alias: bundle.3.2,
            auto_update: bundle.3.1,
            built_at: bundle.3.3.map(Timestamp),
            supported_until: bundle.3.3.map(Timestamp),
            expires_at: bundle.3.4.map(Timestamp),
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
                    staged: b[1] % 2 == 0,
                }),
            }),
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went(image in any_image()) {
            prop_assert_eq!(&decode(&encode(&image).unwrap()).unwrap(), &image);
            let json = serde_json::to_vec(&StoredImage::from(&image)).unwrap();
            let back: StoredImage = serde_json::from_slice(&json).unwrap();
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

    /// The image in the fixtures of versions 1 and 2.
    pub(crate) fn old_image(resumable: bool) -> Image {
        let mut image = Image::blank(ImageId::from_bytes([7; 16]), Timestamp(5_000_000));
        image.revision = 3;
        image.visibility = Visibility::Public;
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
            staged: false,
        });
        image.ticket = Some(UploadTicket { boot: Uuid::from_bytes([9; 16]), fallback: Fallback::Fail, resumable });
        image
    }

    #[test]
    fn every_attribute_has_a_field_in_the_record() {
        let stored = serde_json::to_value(StoredImage::from(&full())).unwrap();
        for row in &crate::image::attr::ATTRS {
            assert!(stored.get(row.stored).is_some(), "{:?}: {}", row.attr, row.stored);
            assert!(row.attr.read(&full()).is_some(), "{:?}", row.attr);
        }
    }

    /// The journal has them too, in a shape that is read.
    #[test]
    fn a_row_of_another_shape_says_so() {
        let mut bytes = encode(&crate::image::change::tests::sample("a")).unwrap();
        for older in 1..SHAPE {
            bytes[0] = older;
            assert!(matches!(decode(&bytes), Err(RowError::Older(shape)) if shape == older));
        }
        bytes[0] = 0;
        assert!(matches!(decode(&bytes), Err(RowError::Damaged)));
    }

    #[test]
    fn a_newer_row_says_so() {
        let mut bytes = encode(&crate::image::change::tests::sample("a")).unwrap();
        bytes[0] = SHAPE + 1;
        assert!(matches!(decode(&bytes), Err(RowError::Newer(v)) if v == SHAPE + 1));
    }
}
