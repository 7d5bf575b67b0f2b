//! Events between the steps of a change: another change, a client that disconnects, a process that dies, a store that
//! is down.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Copied;
use super::*;
use crate::blob::{BlobStore, LocalStore, MemoryStore};
use crate::error::Kind;
use crate::image::{
    Architecture, BlobKey, Fallback, Format, Image, ImageId, ImagePatch, PartKind, Status, StoreName, Timestamp,
    UploadTicket, Visibility,
};
use crate::registry::copies_tests::{Two, cold};
use crate::registry::mirror::succession::Leaving;
use crate::registry::tests::{Bench, ROOT, content, limits, service_with, take_steps};

/// A raw disk that LXD can use.
fn disk() -> ImagePatch {
    let architecture = Some(Some(Architecture::X86_64));
    ImagePatch { format: Some(Some(Format::Raw)), architecture, ..ImagePatch::default() }
}

async fn add(registry: &Arc<Registry>, patch: &ImagePatch) -> Image {
    let mut upload = registry.uploads().begin(&ROOT, None, patch, Expected::default()).await.unwrap();
    upload.write(content()).await.unwrap();
    upload.finish(&ImagePatch::default()).await.unwrap()
}

/// Holds the catalogue in the middle of a change to an image until the returned sender is dropped. Later requests wait
/// for their turn behind it.
async fn hold(registry: &Registry, id: ImageId, change: impl Fn(&mut Image) + Send + 'static) -> mpsc::Sender<()> {
    let ((gate, held), (entered, begun)) = (mpsc::channel(), mpsc::channel());
    let held = Mutex::new(held);
    registry.core.catalog.amend_later(id, move |row| {
        let mut row = row.clone();
        change(&mut row);
        let _ = entered.send(());
        let _ = held.lock().unwrap().recv();
        Ok(Some(row))
    });
    begun.recv().unwrap();
    gate
}

/// Polls a future that can't be ready yet until it has had an effect.
async fn drive<T>(future: &mut (impl Future<Output = T> + Unpin), happened: impl AsyncFn() -> bool) {
    while !happened().await {
        assert!(take_steps(1, &mut *future).await.is_none());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn problems(registry: &Arc<Registry>) -> Vec<String> {
    registry.maintenance().verify(&[], |_| {}).await.unwrap().0
}

async fn put(store: &MemoryStore, key: &BlobKey) {
    let mut writer = store.begin(key, None).await.unwrap();
    writer.write(Bytes::from_static(b"left")).await.unwrap();
    writer.finish().await.unwrap();
}

/// Digests are computed while the removal waits for its turn: the remaining copy looks like another one then.
#[tokio::test]
async fn a_copy_that_goes_takes_no_other_with_it() {
    let two = Two::new(false);
    let id = two.add(None).await.unwrap().id;
    two.registry.copies().copy_to(&ROOT, id, &cold()).await.unwrap();
    let found = |row: &mut Image| row.parts.iter_mut().for_each(|part| part.digests.sha512 = Some([1; 64]));
    let held = hold(&two.registry, id, found).await;
    let registry = Arc::clone(&two.registry);
    let removing = tokio::spawn(async move { registry.copies().remove_copy(&ROOT, id, &cold()).await });
    // Waits until the removal has read the old state.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(held);
    let left = removing.await.unwrap().unwrap();
    assert_eq!((left.homes(), left.parts[0].digests.sha512), (vec![StoreName::FILE], Some([1; 64])));
    assert_eq!((two.counts().await, two.read(id).await.unwrap().len()), ((1, 0), 3 << 20));
}

#[tokio::test]
async fn a_copy_goes_also_when_nobody_waits_for_that() {
    for steps in 0..4 {
        let two = Two::new(false);
        let id = two.add(None).await.unwrap().id;
        two.registry.copies().copy_to(&ROOT, id, &cold()).await.unwrap();
        drop(take_steps(steps, two.registry.copies().remove_copy(&ROOT, id, &cold())).await);
        while two.registry.copies.copying.begin(id).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(two.counts().await, (1, usize::from(steps == 0)));
        assert_eq!(two.registry.get(&ROOT, id).await.unwrap().homes().len(), 1 + usize::from(steps == 0));
        assert!(problems(&two.registry).await.is_empty());
    }
}

/// The upload expires before any request looks at it again.
#[tokio::test]
async fn uploads_in_pieces_of_an_earlier_run_end_wherever_they_go() {
    for by_timer in [false, true] {
        let two = Two::new(false);
        let patch = ImagePatch { store: Some(Some(cold())), ..ImagePatch::default() };
        let id =
            two.registry.uploads().begin_resumable(&ROOT, None, &patch, Expected::default()).await.unwrap().image.id;
        let as_left = |row: &Image| {
            let mut ticket = row.ticket.unwrap();
            ticket.boot = Uuid::new_v4();
            ticket.resumable.as_mut().unwrap().expires_at = Timestamp(1);
            Ok(Some(Image { ticket: Some(ticket), ..row.clone() }))
        };
        two.registry.core.catalog.amend(id, as_left).await.unwrap();
        assert_eq!(
            two.registry.maintenance().sweep_at_start().await.unwrap().uploads,
            0,
            "what is elsewhere is not waited for"
        );
        if by_timer {
            two.registry.maintenance().sweep().await.unwrap();
        } else {
            two.registry.maintenance().sweep_elsewhere().await.unwrap();
        }
        assert_eq!(two.registry.core.catalog.get(id).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(two.far.sweep(Some(&[])).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_image_that_was_removed_does_not_come_back_as_one_that_failed() {
    let bench = Bench::new();
    let image = bench.queued("a").await;
    let ticket = Some(UploadTicket { boot: Uuid::new_v4(), fallback: Fallback::Fail, resumable: None });
    let dead = Image { status: Status::Saving, ticket, ..image };
    let dead = bench.registry.core.catalog.replace(dead).await.unwrap();
    // The files can't be removed yet, and so the record stays for a while.
    bench.registry.core.catalog.replace(Image { status: Status::Deleting, ..dead.clone() }).await.unwrap();
    bench.registry.maintenance().end_dead_upload(&dead).await.unwrap();
    assert_eq!(bench.registry.core.catalog.get(dead.id).await.unwrap().status, Status::Deleting);
    bench.registry.maintenance().sweep().await.unwrap();
    bench.registry.maintenance().end_dead_upload(&dead).await.unwrap();
    assert!(bench.images().await.is_empty());
}

#[tokio::test]
async fn an_upload_is_not_ended_in_the_place_of_the_one_before_it() {
    let bench = Bench::new();
    let image = bench.queued("a").await;
    let ticket = Some(UploadTicket { boot: Uuid::new_v4(), fallback: Fallback::Fail, resumable: None });
    let dead = bench.registry.core.catalog.replace(Image { status: Status::Saving, ticket, ..image }).await.unwrap();
    bench.registry.maintenance().end_dead_upload(&dead).await.unwrap();
    let mut upload = bench
        .registry
        .uploads()
        .begin(&ROOT, Some(dead.id), &ImagePatch::default(), Expected::default())
        .await
        .unwrap();
    upload.write(content()).await.unwrap();
    let image = upload.finish(&ImagePatch::default()).await.unwrap();
    bench.registry.maintenance().end_dead_upload(&dead).await.unwrap();
    assert!(bench.bytes(&image).await == content());
}

/// The description of a disk is written before its record names it; the image may be removed in between.
#[tokio::test]
async fn a_disk_that_goes_while_it_is_offered_leaves_nothing() {
    let bench = Bench::new();
    let id = add(&bench.registry, &disk()).await.id;
    let other = bench.queued("other").await;
    let held = hold(&bench.registry, other.id, |_| {}).await;
    // The removal is queued before the offer, and neither runs yet.
    let mut removal = Box::pin(bench.registry.delete(&ROOT, id));
    assert!(take_steps(1, &mut removal).await.is_none());
    let mut offer = Box::pin(bench.registry.lxd().offers().offer(id));
    drive(&mut offer, async || bench.blobs().await == 2).await;
    drop(held);
    let (removed, offered) = tokio::join!(removal, offer);
    offered.unwrap();
    removed.unwrap();
    assert_eq!(bench.blobs().await, 0);
    assert_eq!(bench.images().await.len(), 1, "the other one");
}

#[tokio::test]
async fn a_disk_that_moves_while_it_is_offered_leaves_nothing_behind() {
    for steps in 0..10_000 {
        let two = Two::new(false);
        let id = add(&two.registry, &disk()).await.id;
        let mut offer = Box::pin(two.registry.lxd().offers().offer(id));
        let offered = take_steps(steps, &mut offer).await;
        two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap();
        if offered.is_none() {
            let _ = offer.await;
        }
        assert!(problems(&two.registry).await.is_empty(), "after {steps} steps: {:?}", problems(&two.registry).await);
        two.registry.lxd().offers().offer(id).await.unwrap();
        assert_eq!(two.counts().await, (0, 2), "it is offered from there");
        if offered.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn what_describes_a_disk_is_not_left_where_the_disk_was() {
    let two = Two::new(false);
    let id = add(&two.registry, &disk()).await.id;
    let other = two.registry.create(&ROOT, None, &ImagePatch::default(), None, &Expected::default()).await.unwrap();
    let held = hold(&two.registry, other.id, |_| {}).await;
    let registry = Arc::clone(&two.registry);
    let moving = tokio::spawn(async move { registry.copies().move_to(&ROOT, id, &cold()).await });
    // The bytes exist; the removal runs before the offer, or after it if this wait is too short.
    while two.counts().await != (1, 1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut offer = Box::pin(two.registry.lxd().offers().offer(id));
    drive(&mut offer, async || two.counts().await.0 == 2).await;
    drop(held);
    let (moved, offered) = tokio::join!(moving, offer);
    offered.unwrap();
    moved.unwrap().unwrap();
    assert!(problems(&two.registry).await.is_empty(), "{:?}", problems(&two.registry).await);
    two.registry.lxd().offers().offer(id).await.unwrap();
    assert_eq!(two.counts().await, (0, 2), "it is offered from there");
}

#[tokio::test]
async fn a_description_that_was_left_is_no_obstacle_to_the_next_and_goes_with_the_image() {
    let bench = Bench::new();
    bench.store.refuse_what_is_there();
    let image = add(&bench.registry, &disk()).await;
    put(&bench.store, &BlobKey::metadata(image.id)).await;
    bench.registry.lxd().offers().offer(image.id).await.unwrap();
    let offered = bench.registry.get(&ROOT, image.id).await.unwrap();
    assert!(offered.lxd_identity.is_some() && offered.part(PartKind::Metadata).is_some());

    // The format changed, and the request that changed it died before the rest.
    let other = ImagePatch { format: Some(Some(Format::Iso)), ..disk() };
    let image = add(&bench.registry, &ImagePatch { format: None, ..other }).await;
    put(&bench.store, &BlobKey::metadata(image.id)).await;
    bench.registry.delete(&ROOT, image.id).await.unwrap();
    assert!(problems(&bench.registry).await.is_empty());
}

#[tokio::test]
async fn what_a_failed_upload_could_not_remove_is_no_obstacle_to_the_next() {
    let bench = Bench::new();
    bench.store.refuse_what_is_there();
    let image = bench.queued("a").await;
    let id = bench.registry.core.catalog.replace(Image { status: Status::Failed, ..image }).await.unwrap().id;
    put(&bench.store, &BlobKey::main(id, None)).await;
    let mut upload =
        bench.registry.uploads().begin(&ROOT, Some(id), &ImagePatch::default(), Expected::default()).await.unwrap();
    upload.write(content()).await.unwrap();
    let image = upload.finish(&ImagePatch::default()).await.unwrap();
    assert!(bench.bytes(&image).await == content());
}

#[tokio::test]
async fn a_store_that_is_away_keeps_no_room_taken_in_another() {
    let two = Two::new(false);
    let image = two.add(None).await.unwrap();
    let away = |row: &Image| {
        let mut part = row.parts[0].clone();
        let key = part.place().unwrap().key.clone();
        part.location = crate::image::Location::Stored(key.in_store("away".parse().unwrap()));
        let mut row = row.clone();
        row.parts.insert(0, part);
        Ok(Some(row))
    };
    two.registry.core.catalog.amend(image.id, away).await.unwrap();
    two.registry.delete(&ROOT, image.id).await.unwrap();
    assert_eq!(two.counts().await, (0, 0));
    assert_eq!(two.registry.core.catalog.get(image.id).await.unwrap().status, Status::Deleting);
}

/// Bytes are neither removed nor taken back after a journal lost lines.
#[tokio::test]
async fn a_damaged_journal_makes_no_upload_of_what_was_complete_and_lets_nothing_expire() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = || Stores::local(Box::new(LocalStore::open(bytes.path()).unwrap()));
    let begin = || service_with(dir.path(), store(), limits());
    let registry = begin();
    let id = registry
        .uploads()
        .begin_resumable(&ROOT, None, &ImagePatch::default(), Expected::default())
        .await
        .unwrap()
        .image
        .id;
    let mut append = registry.uploads().append(&ROOT, id, 0, Some(4)).await.unwrap();
    append.write(Bytes::from_static(b"done")).await.unwrap();
    append.finish(&ImagePatch::default()).await.unwrap();
    assert_eq!(registry.get(&ROOT, id).await.unwrap().status, Status::Available);
    let short = ImagePatch { expires_at: Some(Some(Timestamp(1))), ..ImagePatch::default() };
    let kept = add(&registry, &short).await.id;
    let longer = ImagePatch { expires_at: Some(None), name: Some(Some("stays".into())), ..ImagePatch::default() };
    registry.update(&ROOT, kept, &longer, None, &Expected::default()).await.unwrap();
    registry.close();
    drop(registry);
    let path = dir.path().join("journal-1.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let spoilt =
        |line: &str| match line.contains("stays") || line.contains("available") && line.contains(&id.to_string()) {
            true => line.replace("\"id\"", "\"di\""),
            false => line.to_owned(),
        };
    std::fs::write(&path, text.lines().map(|line| spoilt(line) + "\n").collect::<String>()).unwrap();
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let registry = begin();
    registry.maintenance().sweep_at_start().await.unwrap();
    assert_eq!(registry.get(&ROOT, id).await.unwrap().status, Status::Failed);
    assert_eq!(registry.get(&ROOT, kept).await.unwrap().status, Status::Available);
    assert_eq!(LocalStore::open(bytes.path()).unwrap().list().await.unwrap().len(), 2);
}

/// The source of a copy has a newer image, and the owner changes the copy while that one arrives.
#[tokio::test]
async fn a_newer_image_takes_the_place_of_what_is_there_and_is_what_that_is_now() {
    for gone in [true, false] {
        let bench = Bench::new();
        let old = add(&bench.registry, &ImagePatch { visibility: Some(Visibility::Public), ..disk() }).await;
        let new = add(&bench.registry, &ImagePatch { visibility: Some(Visibility::Private), ..disk() }).await;
        let (before, copied) = (old.clone(), Copied { image: new.clone(), is_new: true });
        if gone {
            bench.registry.delete(&ROOT, old.id).await.unwrap();
        } else {
            let public = ImagePatch { auto_update: Some(true), ..ImagePatch::default() };
            bench.registry.update(&ROOT, old.id, &public, None, &Expected::default()).await.unwrap();
        }
        let taken = bench.registry.mirror().take_the_place(&ROOT, &before, copied, Leaving::Removed).await;
        if gone {
            assert_eq!(taken.unwrap_err().kind(), Kind::NotFound);
            assert!(bench.images().await.iter().all(|image| image.status == Status::Deleting));
        } else {
            let image = taken.unwrap().image;
            assert_eq!((image.id, image.visibility, image.auto_update), (new.id, Visibility::Public, true));
        }
    }
}
