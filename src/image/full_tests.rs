//! An image for the tests that check every attribute.

use uuid::Uuid;

use super::{
    Architecture, BlobKey, Container, Digests, Fallback, Format, Image, ImageId, ImageKind, Location, LxdIdentity,
    Member, MemberStatus, Part, PartKind, Protocol, Resumable, Status, StoredAt, Timestamp, UpdateSource, UploadTicket,
    Visibility,
};

/// An image with a value in every field.
pub(crate) fn full() -> Image {
    let mut image = Image::blank(ImageId::from_bytes([7; 16]), Timestamp(5_000_000));
    (image.revision, image.status, image.visibility) = (3, Status::Saving, Visibility::Public);
    (image.name, image.owner) = (Some("a".into()), Some("me".into()));
    image.properties.insert("os".into(), "linux".into());
    let stored = |key| Location::Stored(StoredAt { store: "cold".parse().unwrap(), key });
    let part = |kind, location| Part {
        kind,
        location,
        size: Some(9),
        virtual_size: Some(1 << 30),
        digests: Digests { md5: Some([0x33; 16]), sha256: Some([0x44; 32]), sha512: Some([0x55; 64]) },
        etag: Some("tag".into()),
    };
    image.parts = vec![
        part(PartKind::Main, stored(BlobKey::main(image.id, Some(Format::Raw)))),
        part(PartKind::Metadata, stored(BlobKey::metadata(image.id))),
        part(PartKind::Main, Location::File { path: "/srv/a.raw".into() }),
        part(PartKind::Main, Location::Http { url: "https://h/a.raw".into() }),
    ];
    (image.format, image.container) = (Some(Format::Raw), Some(Container::Bare));
    (image.kind, image.architecture) = (Some(ImageKind::VirtualMachine), Some(Architecture::X86_64));
    image.store = Some("cold".parse().unwrap());
    (image.kernel, image.ramdisk) = (Some(ImageId::from_bytes([1; 16])), Some(ImageId::from_bytes([2; 16])));
    image.tags.insert("stable".into());
    let (created_at, updated_at) = (Timestamp(11), Timestamp(12));
    let member = Member { status: MemberStatus::Accepted, can_share: true, created_at, updated_at };
    image.members.insert("you".into(), member);
    (image.protected, image.hidden, image.min_disk, image.min_ram) = (true, true, 10, 512);
    image.aliases.insert("os/a".into(), "of it".into());
    image.filename = Some("a.tar.gz".into());
    image.lxd_identity = Some(LxdIdentity { fingerprint: [0x66; 32], root_sha256: Some([0x77; 32]), made: true });
    (image.offer_to_lxd, image.auto_update) = (false, true);
    image.update_source = Some(UpdateSource {
        server: "https://h".into(),
        protocol: Protocol::Incus,
        alias: "os/a".into(),
        certificate: Some("PEM".into()),
        kind: Some(ImageKind::Container),
        checked_at: Some(Timestamp(13)),
        error: Some("gone".into()),
    });
    (image.built_at, image.supported_until) = (Some(Timestamp(14)), Some(Timestamp(15)));
    (image.expires_at, image.updated_at, image.uploaded_at) =
        (Some(Timestamp(16)), Some(Timestamp(9_000_000)), Some(Timestamp(8_000_000)));
    let digests = Digests { md5: Some([1; 16]), sha256: Some([2; 32]), sha512: Some([3; 64]) };
    let resumable = Resumable { offset: 4, size: Some(9), digests, expires_at: Timestamp(8), staged: false };
    image.ticket =
        Some(UploadTicket { boot: Uuid::from_bytes([9; 16]), fallback: Fallback::Fail, resumable: Some(resumable) });
    image
}
