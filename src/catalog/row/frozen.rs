//! The earlier shapes of a row, and how each becomes the next. Nothing is written in them any more, and nothing here
//! changes again.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::{LocationV1, MemberV3, PartV3, ResumableV3, RowV4, TicketV3};

/// Version 1 of the shape.
#[derive(Debug, Deserialize)]
pub(crate) struct RowV1 {
    id: Uuid,
    revision: u64,
    name: Option<String>,
    owner: Option<String>,
    visibility: String,
    status: String,
    format: Option<String>,
    kind: Option<String>,
    architecture: Option<String>,
    store: Option<String>,
    kernel: Option<Uuid>,
    ramdisk: Option<Uuid>,
    parts: Vec<PartV1>,
    properties: BTreeMap<String, String>,
    created_at_us: i64,
    updated_at_us: Option<i64>,
    uploaded_at_us: Option<i64>,
    ticket: Option<TicketV1>,
}

#[derive(Debug, Deserialize)]
struct PartV1 {
    kind: String,
    location: LocationV1,
    size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    etag: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TicketV1 {
    boot: Uuid,
    fallback: String,
}

/// Version 2 of the shape: what version 1 has, and how far a resumable upload is.
#[derive(Debug, Deserialize)]
pub(crate) struct RowV2 {
    pub(crate) image: RowV1,
    pub(crate) resumable: Option<ResumableV2>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ResumableV2 {
    offset: u64,
    size_bytes: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    expires_at_us: i64,
}

/// Version 3 of the shape: with tags, members and what else Glance knows.
#[derive(Debug, Deserialize)]
pub(crate) struct RowV3 {
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
    created_at_us: i64,
    updated_at_us: Option<i64>,
    uploaded_at_us: Option<i64>,
    ticket: Option<TicketV3>,
}

impl From<RowV1> for RowV2 {
    fn from(image: RowV1) -> Self {
        Self { image, resumable: None }
    }
}

impl From<RowV2> for RowV3 {
    fn from(RowV2 { image: row, resumable }: RowV2) -> Self {
        let resumable = resumable.map(|resumable| ResumableV3 {
            offset: resumable.offset,
            size_bytes: resumable.size_bytes,
            md5: resumable.md5,
            sha256: resumable.sha256,
            sha512: None,
            expires_at_us: resumable.expires_at_us,
        });
        Self {
            id: row.id,
            revision: row.revision,
            name: row.name,
            owner: row.owner,
            visibility: row.visibility,
            status: row.status,
            format: row.format,
            container: None,
            kind: row.kind,
            architecture: row.architecture,
            store: row.store,
            kernel: row.kernel,
            ramdisk: row.ramdisk,
            parts: row.parts.into_iter().map(PartV3::from).collect(),
            properties: row.properties,
            tags: Vec::new(),
            members: BTreeMap::new(),
            protected: false,
            hidden: false,
            min_disk_gib: 0,
            min_ram_mib: 0,
            created_at_us: row.created_at_us,
            updated_at_us: row.updated_at_us,
            uploaded_at_us: row.uploaded_at_us,
            ticket: row.ticket.map(|ticket| TicketV3 { boot: ticket.boot, fallback: ticket.fallback, resumable }),
        }
    }
}

impl From<PartV1> for PartV3 {
    fn from(part: PartV1) -> Self {
        Self {
            kind: part.kind,
            location: part.location,
            size_bytes: part.size_bytes,
            virtual_size_bytes: None,
            md5: part.md5,
            sha256: part.sha256,
            sha512: None,
            etag: part.etag,
        }
    }
}

impl From<RowV3> for RowV4 {
    fn from(row: RowV3) -> Self {
        Self {
            id: row.id,
            revision: row.revision,
            name: row.name,
            owner: row.owner,
            visibility: row.visibility,
            status: row.status,
            format: row.format,
            container: row.container,
            kind: row.kind,
            architecture: row.architecture,
            store: row.store,
            kernel: row.kernel,
            ramdisk: row.ramdisk,
            parts: row.parts,
            properties: row.properties,
            tags: row.tags,
            members: row.members,
            protected: row.protected,
            hidden: row.hidden,
            min_disk_gib: row.min_disk_gib,
            min_ram_mib: row.min_ram_mib,
            aliases: BTreeMap::new(),
            filename: None,
            offer: None,
            offered: true,
            update_source: None,
            auto_update: false,
            built_at_us: None,
            supported_until_us: None,
            expires_at_us: None,
            created_at_us: row.created_at_us,
            updated_at_us: row.updated_at_us,
            uploaded_at_us: row.uploaded_at_us,
            ticket: row.ticket,
        }
    }
}
