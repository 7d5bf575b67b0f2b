//! Operations on LXD's images, for every protocol.

use std::io::Write;

use bytes::Bytes;
use futures_util::stream;
use sha2::Digest;

use super::*;
use crate::archive::make_metadata;
use crate::digest::hex;
use crate::error::{Error, Kind, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Architecture, BlobKey, Image, ImageKind, ImagePatch, Status, StoreName, Visibility};
use crate::ingest::room::Reserve as _;
use crate::registry::parts::keep_metadata;
use crate::registry::tests::{Bench, ROOT, content};
use crate::registry::*;

/// A container in one file, which differs by its name.
fn unified(name: &str) -> Bytes {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let yaml = format!("architecture: x86_64\ncreation_date: 1700000000\nproperties: {{description: {name}}}\n");
    for (name, bytes) in [("metadata.yaml", yaml.as_bytes()), ("rootfs/a", b"")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    let mut encoder = archive.into_inner().unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap().into()
}

fn metadata() -> Bytes {
    make_metadata(Architecture::X86_64, Timestamp(1_700_000_000_000_000), &Default::default()).into()
}

fn squashfs() -> Bytes {
    [b"hsqs".as_slice(), &content()].concat().into()
}

async fn sealed(bench: &Bench, who: &Caller, described: bool, bytes: Bytes) -> Result<ReceivedImage> {
    let metadata = described.then(|| (metadata(), ImageKind::Container));
    let mut pieces = stream::iter([Ok::<_, Error>(bytes)]);
    let arriving = IncomingImage {
        slot: bench.registry.lxd().slot()?,
        metadata,
        claim: Expected::default(),
        pauses: Pauses::default(),
    };
    let taken = bench.registry.lxd().take_in(who, arriving, &mut pieces, |error| error, |_| {});
    taken.await?.seal().await
}

async fn import(bench: &Bench, who: &Caller, bytes: Bytes, patch: ImagePatch) -> Result<Image> {
    sealed(bench, who, false, bytes).await?.publish(&ImportOptions { patch, fingerprint: None }).await
}

fn with_aliases(names: &[&str]) -> ImagePatch {
    let aliases = names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    ImagePatch { aliases: Some(aliases), ..ImagePatch::default() }
}

fn public() -> ImagePatch {
    ImagePatch { visibility: Some(Visibility::Public), ..ImagePatch::default() }
}

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

#[tokio::test]
async fn what_is_not_published_leaves_nothing() {
    let bench = Bench::new();
    drop(sealed(&bench, &ROOT, true, squashfs()).await.unwrap());
    assert_eq!((bench.settled().await.len(), bench.blobs().await), (0, 0));
    let wrong = ImportOptions { patch: ImagePatch::default(), fingerprint: Some([7; 32]) };
    let error = sealed(&bench, &ROOT, true, squashfs()).await.unwrap().publish(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DigestMismatch);
    assert_eq!((bench.images().await.len(), bench.blobs().await), (0, 0));
}

#[tokio::test]
async fn two_files_are_one_image_and_both_go_with_it() {
    let bench = Bench::new();
    let sealed = sealed(&bench, &ROOT, true, squashfs()).await.unwrap();
    let fingerprint = sealed.fingerprint();
    let image = sealed.publish(&ImportOptions::default()).await.unwrap();
    assert_eq!((image.fingerprint(), bench.blobs().await), (Some(fingerprint), 2));
    assert!(bench.bytes(&image).await == squashfs(), "the main file is the root");
    let (problems, count) = bench.registry.maintenance().verify(&[], |_| {}).await.unwrap();
    assert_eq!((problems, count), (Vec::new(), 1));
    bench.registry.delete(&ROOT, image.id).await.unwrap();
    assert_eq!(bench.blobs().await, 0);
}

/// A process that died between the two files and the record.
#[tokio::test]
async fn a_start_removes_both_files_of_an_upload_that_died() {
    let bench = Bench::new();
    let sealed = sealed(&bench, &ROOT, true, squashfs()).await.unwrap();
    let id = bench.images().await[0].id;
    keep_metadata(&bench.registry.core.stores, BlobKey::metadata(id).in_store(StoreName::FILE), metadata())
        .await
        .unwrap();
    // Stands for a dead process, which puts nothing back.
    std::mem::forget(sealed);
    let (bench, swept) = bench.restart().await;
    assert_eq!((swept.uploads, bench.images().await.len(), bench.blobs().await), (1, 0, 0));
}

#[tokio::test]
async fn an_alias_stands_for_one_image_at_any_moment() {
    let bench = Bench::new();
    let one = import(&bench, &ROOT, unified("one"), with_aliases(&["a"])).await.unwrap();
    let two = import(&bench, &ROOT, unified("two"), ImagePatch::default()).await.unwrap();
    let error = bench.registry.lxd().add_alias(&ROOT, two.id, "a", "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    // Also in ways that do not check first.
    let patch = with_aliases(&["a", "b"]);
    let error = bench.registry.update(&ROOT, two.id, &patch, None, &Expected::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    let moved = bench.registry.lxd().change_alias(&ROOT, &"a".into(), Some(two.id), None, |_| Ok(())).await.unwrap();
    assert_eq!(moved.id, two.id);
    assert!(bench.registry.get(&ROOT, one.id).await.unwrap().aliases.is_empty());
    // Several changes at once fail together when one is refused.
    let refused = bench.registry.core.catalog.amend_together(vec![
        (two.id, Box::new(|row: &Image| Ok(Some(Image { aliases: Default::default(), ..row.clone() })))),
        (one.id, Box::new(|_: &Image| Err(Error::invalid("no")))),
    ]);
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Invalid);
    let (bench, _) = bench.restart().await;
    assert_eq!(bench.registry.lxd().by_alias(&ROOT, &"a".into()).await.unwrap().id, two.id);
}

#[tokio::test]
async fn the_same_bytes_are_an_image_for_each_who_has_them_and_no_more() {
    let bench = Bench::new();
    let (me, you) = (user("me"), user("you"));
    let mine = import(&bench, &me, unified("x"), ImagePatch::default()).await.unwrap();
    let error = import(&bench, &me, unified("x"), ImagePatch::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    // A caller does not learn of another account's images; each finds its own.
    let yours = import(&bench, &you, unified("x"), ImagePatch::default()).await.unwrap();
    let fingerprint = hex(&mine.fingerprint().unwrap());
    for (who, image) in [(&me, &mine), (&you, &yours)] {
        assert_eq!(bench.registry.lxd().by_fingerprint(who, &fingerprint).await.unwrap().id, image.id);
    }
    for who in [user("else"), Caller::Anonymous] {
        let error = bench.registry.lxd().by_fingerprint(&who, &fingerprint).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, &*format!("Image '{fingerprint}' not found.")));
    }
    // A caller may have its own copy of a public image, and finds that one.
    import(&bench, &you, unified("p"), public()).await.unwrap();
    let mine = import(&bench, &me, unified("p"), ImagePatch::default()).await.unwrap();
    let fingerprint = hex(&mine.fingerprint().unwrap());
    assert_eq!(bench.registry.lxd().by_fingerprint(&me, &fingerprint).await.unwrap().id, mine.id);
}

#[tokio::test]
async fn what_has_expired_goes_when_nobody_reads_it() {
    let bench = Bench::new();
    let now = bench.registry.now();
    let ends = |at| ImagePatch { expires_at: Some(Some(Timestamp(at))), ..ImagePatch::default() };
    let past = import(&bench, &ROOT, unified("past"), ends(now.0 - 1)).await.unwrap();
    let future = import(&bench, &ROOT, unified("future"), ends(now.0 + 3_600_000_000)).await.unwrap();
    let guarded = ImagePatch { protected: Some(true), ..ends(now.0 - 1) };
    let guarded = import(&bench, &ROOT, unified("guarded"), guarded).await.unwrap();
    let reading = bench.registry.downloads().open(&ROOT, &past, None).await.unwrap();
    bench.registry.maintenance().sweep().await.unwrap();
    assert_eq!(bench.images().await.len(), 3, "the image is being read");
    drop(reading);
    bench.registry.maintenance().sweep().await.unwrap();
    let mut left: Vec<_> = bench.images().await.iter().map(|image| image.id).collect();
    left.sort();
    let mut expected = vec![future.id, guarded.id];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn files_of_what_was_public_stay_a_while() {
    let bench = Bench::new();
    let shown = import(&bench, &ROOT, unified("shown"), public()).await.unwrap();
    let hidden = import(&bench, &ROOT, unified("hidden"), ImagePatch::default()).await.unwrap();
    for image in [&shown, &hidden] {
        bench.registry.delete(&ROOT, image.id).await.unwrap();
        assert_eq!(bench.registry.get(&ROOT, image.id).await.unwrap_err().kind(), Kind::NotFound);
    }
    bench.registry.maintenance().sweep().await.unwrap();
    assert_eq!(bench.blobs().await, 1);
    let found = bench.registry.lxd().published(&shown.fingerprint().unwrap()).await.unwrap();
    let file = files_of(&found).unwrap().remove(0);
    bench.registry.lxd().open_file(&Caller::Anonymous, &found, &file, None).await.unwrap();
    assert_eq!(
        bench.registry.lxd().published(&hidden.fingerprint().unwrap()).await.unwrap_err().kind(),
        Kind::NotFound
    );
    // An equal image may arrive meanwhile.
    import(&bench, &ROOT, unified("shown"), public()).await.unwrap();
    // Free room has precedence.
    bench.registry.removal.release(&StoreName::FILE, 0).await.unwrap();
    let left = bench.images().await;
    assert_eq!((left.len(), left[0].status, bench.blobs().await), (1, Status::Available, 1));
}

#[tokio::test]
async fn lists_by_what_few_images_have() {
    let bench = Bench::new();
    for n in 0..5 {
        bench.queued(&format!("other {n}")).await;
        import(&bench, &ROOT, unified(&n.to_string()), with_aliases(&[&format!("n{n}"), "x"][..1])).await.unwrap();
    }
    let sort = Sort::by(crate::image::Attr::Fingerprint, crate::image::query::Direction::Ascending);
    let mut query = Query { filter: LxdImages::all(), sort: sort.clone(), limit: 2, after: None };
    let mut seen = Vec::new();
    loop {
        let page = bench.registry.list(&ROOT, ListScope::default(), query.clone()).await.unwrap();
        seen.extend(page.images.iter().map(|image| image.fingerprint().unwrap()));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    assert!(seen.len() == 5 && seen.is_sorted());
    // As an order of all images this would leave most of them out: it is refused.
    let all = Query { filter: Filter::everything(), sort, limit: 2, after: None };
    assert!(bench.registry.list(&ROOT, ListScope::default(), all).await.is_err());
}

#[tokio::test]
async fn root_file_systems_are_lent_by_name_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("web");
    for path in ["rootfs/etc", "snapshots/one/rootfs", "snapshots/none", "outside/rootfs"] {
        std::fs::create_dir_all(root.join(path)).unwrap();
    }
    std::fs::write(root.join("rootfs/etc/hostname"), "web").unwrap();
    std::os::unix::fs::symlink("/etc/shadow", root.join("rootfs/link")).unwrap();
    std::os::unix::fs::symlink(root.join("outside"), root.join("snapshots/linked")).unwrap();
    std::os::unix::net::UnixListener::bind(root.join("rootfs/socket")).unwrap();
    let bench = Bench::lending(Instances::new([("web".to_owned(), root)]));
    for unknown in ["", "other", "web/", "web/none", "web/linked", "web/..", "web/../web", "web/one/two", "../web"] {
        let error = bench.registry.lxd().instances().find(unknown, "").unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, "Instance not found."), "{unknown}");
    }
    assert_eq!(bench.registry.lxd().instances().find("web", "bzip2; rm -rf /").unwrap_err().kind(), Kind::Invalid);
    for (name, packing) in [("web", "gzip"), ("web/one", "none")] {
        let instance = bench.registry.lxd().instances().find(name, packing).unwrap();
        let patch = ImagePatch { properties: [("os".into(), Some("x".into()))].into(), ..ImagePatch::default() };
        let wishes = ImportOptions { patch, fingerprint: None };
        let image = bench.registry.lxd().publish_instance(&ROOT, instance, &wishes).await.unwrap();
        assert_eq!((image.kind, image.architecture), (Some(ImageKind::Container), this_machine()));
        assert_eq!(image.properties, [("os".into(), "x".into())].into());
        if name == "web" {
            let bytes = bench.bytes(&image).await;
            let description = crate::archive::read(std::io::Cursor::new(&bytes), bytes.len() as u64, &|| true).unwrap();
            assert_eq!(description.manifest.properties, image.properties);
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
            let entries: Vec<_> = archive
                .entries()
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    (entry.path().unwrap().display().to_string(), entry.header().entry_type())
                })
                .collect();
            assert!(entries.contains(&("rootfs/etc/hostname".into(), tar::EntryType::Regular)));
            assert!(entries.contains(&("rootfs/link".into(), tar::EntryType::Symlink)), "{entries:?}");
            assert!(!entries.iter().any(|(path, _)| path.ends_with("socket")));
        }
    }
}

#[tokio::test]
async fn however_many_have_the_same_bytes_ones_own_is_meant() {
    let bench = Bench::new();
    for n in 0..17 {
        import(&bench, &user(&format!("u{n}")), unified("x"), public()).await.unwrap();
    }
    let me = user("me");
    let mine = import(&bench, &me, unified("x"), ImagePatch::default()).await.unwrap();
    let fingerprint = hex(&mine.fingerprint().unwrap());
    for name in [&fingerprint[..12], &fingerprint] {
        assert_eq!(bench.registry.lxd().by_fingerprint(&me, name).await.unwrap().id, mine.id);
        let oldest = bench.registry.lxd().by_fingerprint(&Caller::Anonymous, name).await.unwrap();
        assert_eq!(oldest.owner.as_deref(), Some("u0"));
    }
    // A different fingerprint with the same beginning is found on either side of them.
    let first = |name: &str| hex(&sha2::Sha256::digest(unified(name)))[..1].to_owned();
    let (mut below, mut above) = (false, false);
    for name in (0..).map(|n| n.to_string()).filter(|name| first(name) == fingerprint[..1]) {
        let other = import(&bench, &ROOT, unified(&name), public()).await.unwrap();
        let error = bench.registry.lxd().by_fingerprint(&me, &fingerprint[..1]).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Invalid, "More than one image matches the name."));
        assert_eq!(bench.registry.lxd().by_fingerprint(&me, &fingerprint).await.unwrap().id, mine.id);
        let is_below = hex(&other.fingerprint().unwrap()) < fingerprint;
        (below, above) = (below || is_below, above || !is_below);
        bench.registry.delete(&ROOT, other.id).await.unwrap();
        assert_eq!(bench.registry.lxd().by_fingerprint(&me, &fingerprint[..1]).await.unwrap().id, mine.id);
        if below && above {
            break;
        }
    }
}
