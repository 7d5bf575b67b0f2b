//! Conversion between the stored shape and the domain's image. Stored data is not trusted: a text that names no value
//! makes the row unreadable.

use uuid::Uuid;

use super::{
    RowError, StoredIdentity, StoredImage, StoredLocation, StoredMember, StoredPart, StoredResumable, StoredSource,
    StoredTicket, malformed,
};
use crate::digest::{from_hex, hex};
use crate::image::{
    Digests, Fallback, Image, ImageId, Location, LxdIdentity, Member, Part, PartKind, Resumable, Status, StoreName,
    StoredAt, Timestamp, UpdateSource, UploadTicket, Vocabulary,
};

fn uuid(id: ImageId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

fn id(uuid: Uuid) -> ImageId {
    ImageId::from_bytes(uuid.into_bytes())
}

/// The value of a stored word. Only canonical names are stored: a spelling variant is as wrong as an unknown word.
fn word<V: Vocabulary>(name: &str) -> Result<V, RowError> {
    V::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(|| malformed(format!("unknown word {name:?}")))
}

fn words<V: Vocabulary>(name: Option<&String>) -> Result<Option<V>, RowError> {
    name.map(|name| word(name)).transpose()
}

fn store_name(name: &str) -> Result<StoreName, RowError> {
    let parsed = name.parse().ok().filter(|parsed: &StoreName| parsed.as_str() == name);
    parsed.ok_or_else(|| malformed(format!("{name:?} is no name of a store")))
}

impl From<&Image> for StoredImage {
    fn from(image: &Image) -> Self {
        fn name<V: Vocabulary>(value: Option<V>) -> Option<String> {
            value.map(|v| v.name().to_owned())
        }
        Self {
            id: uuid(image.id),
            revision: image.revision,
            name: image.name.clone(),
            owner: image.owner.clone(),
            visibility: image.visibility.name().to_owned(),
            status: image.status.word().to_owned(),
            format: name(image.format),
            container: name(image.container),
            kind: name(image.kind),
            architecture: name(image.architecture),
            store: image.store.as_ref().map(ToString::to_string),
            kernel: image.kernel.map(uuid),
            ramdisk: image.ramdisk.map(uuid),
            parts: image.parts.iter().map(StoredPart::from).collect(),
            properties: image.properties.clone(),
            tags: image.tags.iter().cloned().collect(),
            members: image.members.iter().map(|(account, member)| (account.clone(), member.into())).collect(),
            protected: image.protected,
            hidden: image.hidden,
            min_disk_gib: image.min_disk,
            min_ram_mib: image.min_ram,
            aliases: image.aliases.clone(),
            filename: image.filename.clone(),
            offer: image.lxd_identity.as_ref().map(StoredIdentity::from),
            offered: image.offer_to_lxd,
            name_is_alias: image.name_is_alias,
            update_source: image.update_source.as_ref().map(StoredSource::from),
            auto_update: image.auto_update,
            built_at_us: image.built_at.map(|t| t.0),
            supported_until_us: image.supported_until.map(|t| t.0),
            expires_at_us: image.expires_at.map(|t| t.0),
            created_at_us: image.created_at.0,
            updated_at_us: image.updated_at.map(|t| t.0),
            uploaded_at_us: image.uploaded_at.map(|t| t.0),
            ticket: image.ticket.map(StoredTicket::from),
        }
    }
}

impl TryFrom<StoredImage> for Image {
    type Error = RowError;

    fn try_from(row: StoredImage) -> Result<Self, RowError> {
        Ok(Image {
            id: id(row.id),
            revision: row.revision,
            visibility: word(&row.visibility)?,
            status: Status::ALL
                .into_iter()
                .find(|status| status.word() == row.status)
                .ok_or_else(|| malformed(format!("unknown status {:?}", row.status)))?,
            format: words(row.format.as_ref())?,
            container: words(row.container.as_ref())?,
            kind: words(row.kind.as_ref())?,
            architecture: words(row.architecture.as_ref())?,
            store: row.store.as_deref().map(store_name).transpose()?,
            name: row.name,
            owner: row.owner,
            kernel: row.kernel.map(id),
            ramdisk: row.ramdisk.map(id),
            parts: row.parts.into_iter().map(Part::try_from).collect::<Result<_, _>>()?,
            properties: row.properties,
            tags: row.tags.into_iter().collect(),
            members: row
                .members
                .into_iter()
                .map(|(account, member)| Ok((account, member.try_into()?)))
                .collect::<Result<_, RowError>>()?,
            protected: row.protected,
            hidden: row.hidden,
            min_disk: row.min_disk_gib,
            min_ram: row.min_ram_mib,
            aliases: row.aliases,
            filename: row.filename,
            lxd_identity: row.offer.map(LxdIdentity::try_from).transpose()?,
            offer_to_lxd: row.offered,
            name_is_alias: row.name_is_alias,
            update_source: row.update_source.map(UpdateSource::try_from).transpose()?,
            auto_update: row.auto_update,
            built_at: row.built_at_us.map(Timestamp),
            supported_until: row.supported_until_us.map(Timestamp),
            expires_at: row.expires_at_us.map(Timestamp),
            created_at: Timestamp(row.created_at_us),
            updated_at: row.updated_at_us.map(Timestamp),
            uploaded_at: row.uploaded_at_us.map(Timestamp),
            ticket: row.ticket.map(UploadTicket::try_from).transpose()?,
        })
    }
}

impl From<&Part> for StoredPart {
    fn from(part: &Part) -> Self {
        Self {
            kind: match part.kind {
                // The word is older than images of two parts.
                PartKind::Main => "whole".to_owned(),
                PartKind::Metadata => "metadata".to_owned(),
            },
            location: match &part.location {
                Location::Stored(StoredAt { store, key }) => {
                    StoredLocation::Stored { store: store.to_string(), key: key.to_string() }
                }
                Location::File { path } => StoredLocation::File { path: path.clone() },
                Location::Http { url } => StoredLocation::Http { url: url.clone() },
            },
            size_bytes: part.size,
            virtual_size_bytes: part.virtual_size,
            md5: part.digests.md5_hex(),
            sha256: part.digests.sha256_hex(),
            sha512: part.digests.sha512_hex(),
            etag: part.etag.clone(),
        }
    }
}

fn digest<const N: usize>(text: Option<String>) -> Result<Option<[u8; N]>, RowError> {
    text.map(|text| from_hex(&text).ok_or_else(|| malformed("a digest is no hexadecimal"))).transpose()
}

fn digests(md5: Option<String>, sha256: Option<String>, sha512: Option<String>) -> Result<Digests, RowError> {
    Ok(Digests { md5: digest(md5)?, sha256: digest(sha256)?, sha512: digest(sha512)? })
}

impl TryFrom<StoredPart> for Part {
    type Error = RowError;

    fn try_from(row: StoredPart) -> Result<Self, RowError> {
        Ok(Part {
            kind: match row.kind.as_str() {
                "whole" => PartKind::Main,
                "metadata" => PartKind::Metadata,
                other => return Err(malformed(format!("unknown part {other:?}"))),
            },
            location: match row.location {
                StoredLocation::Stored { store, key } => Location::Stored(StoredAt {
                    store: store_name(&store)?,
                    key: key.parse().map_err(|()| malformed("a blob key is none of ours"))?,
                }),
                StoredLocation::File { path } => Location::File { path },
                StoredLocation::Http { url } => Location::Http { url },
            },
            size: row.size_bytes,
            virtual_size: row.virtual_size_bytes,
            digests: digests(row.md5, row.sha256, row.sha512)?,
            etag: row.etag,
        })
    }
}

fn fallback_word(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Discard => "discard",
        Fallback::Fail => "fail",
    }
}

impl From<&Member> for StoredMember {
    fn from(member: &Member) -> Self {
        Self {
            status: member.status.name().to_owned(),
            can_share: member.can_share,
            created_at_us: member.created_at.0,
            updated_at_us: member.updated_at.0,
        }
    }
}

impl TryFrom<StoredMember> for Member {
    type Error = RowError;

    fn try_from(row: StoredMember) -> Result<Self, RowError> {
        Ok(Self {
            status: word(&row.status)?,
            can_share: row.can_share,
            created_at: Timestamp(row.created_at_us),
            updated_at: Timestamp(row.updated_at_us),
        })
    }
}

impl From<UploadTicket> for StoredTicket {
    fn from(ticket: UploadTicket) -> Self {
        let resumable = ticket.resumable.map(|resumable| StoredResumable {
            offset: resumable.offset,
            size_bytes: resumable.size,
            md5: resumable.digests.md5_hex(),
            sha256: resumable.digests.sha256_hex(),
            sha512: resumable.digests.sha512_hex(),
            expires_at_us: resumable.expires_at.0,
            staged: resumable.staged,
        });
        Self { boot: ticket.boot, fallback: fallback_word(ticket.fallback).to_owned(), resumable }
    }
}

impl TryFrom<StoredTicket> for UploadTicket {
    type Error = RowError;

    fn try_from(row: StoredTicket) -> Result<Self, RowError> {
        let fallback = match row.fallback.as_str() {
            "discard" => Fallback::Discard,
            "fail" => Fallback::Fail,
            other => return Err(malformed(format!("unknown fallback {other:?}"))),
        };
        let resumable = |row: StoredResumable| {
            Ok(Resumable {
                offset: row.offset,
                size: row.size_bytes,
                digests: digests(row.md5, row.sha256, row.sha512)?,
                expires_at: Timestamp(row.expires_at_us),
                staged: row.staged,
            })
        };
        Ok(Self { boot: row.boot, fallback, resumable: row.resumable.map(resumable).transpose()? })
    }
}

impl From<&LxdIdentity> for StoredIdentity {
    fn from(offer: &LxdIdentity) -> Self {
        Self {
            fingerprint: hex(&offer.fingerprint),
            root_sha256: offer.root_sha256.map(|bytes| hex(&bytes)),
            made: offer.made,
        }
    }
}

impl TryFrom<StoredIdentity> for LxdIdentity {
    type Error = RowError;

    fn try_from(row: StoredIdentity) -> Result<Self, RowError> {
        let fingerprint = digest(Some(row.fingerprint))?.ok_or_else(|| malformed("an offer without a name"))?;
        Ok(Self { fingerprint, root_sha256: digest(row.root_sha256)?, made: row.made })
    }
}

impl From<&UpdateSource> for StoredSource {
    fn from(update_source: &UpdateSource) -> Self {
        Self {
            server: update_source.server.clone(),
            protocol: update_source.protocol.name().to_owned(),
            alias: update_source.alias.clone(),
            certificate: update_source.certificate.clone(),
            kind: update_source.kind.map(|kind| kind.name().to_owned()),
            checked_at_us: update_source.checked_at.map(|t| t.0),
            error: update_source.error.clone(),
        }
    }
}

impl TryFrom<StoredSource> for UpdateSource {
    type Error = RowError;

    fn try_from(row: StoredSource) -> Result<Self, RowError> {
        Ok(Self {
            server: row.server,
            protocol: word(&row.protocol)?,
            alias: row.alias,
            certificate: row.certificate,
            kind: words(row.kind.as_ref())?,
            checked_at: row.checked_at_us.map(Timestamp),
            error: row.error,
        })
    }
}
