//! Copies in several stores, over stores in memory.

use bytes::Bytes;

use std::time::Duration;

use super::*;
use crate::blob::{BlobStore, MemoryStore, Store, stream};
use crate::error::{Kind, Result};
use crate::image::{Image, ImageId, ImagePatch, StoreName, Timestamp, Visibility};
use crate::jobs::Handle;
use crate::registry::tests::{limits, service_with};

const ROOT: Caller = Caller::Admin(None);

pub(super) fn cold() -> StoreName {
    "cold".parse().unwrap()
}

/// A service with a second store.
pub(super) struct Two {
    _dir: tempfile::TempDir,
    near: MemoryStore,
    pub(super) far: MemoryStore,
    pub(super) registry: Arc<Registry>,
}

impl Two {
    pub(super) fn new(default_is_far: bool) -> Self {
        Self::with(default_is_far, limits())
    }

    fn with(default_is_far: bool, limits: Limits) -> Self {
        let (dir, near, far) = (tempfile::tempdir().unwrap(), MemoryStore::new(), MemoryStore::new());
        let mut stores = Stores::local(Box::new(near.clone()));
        let blobs = Box::new(far.clone());
        stores.add(Store { name: cold(), kind: "s3", description: String::new(), blobs }, default_is_far);
        let registry = service_with(dir.path(), stores, limits);
        Self { _dir: dir, near, far, registry }
    }

    pub(super) async fn add(&self, store: Option<StoreName>) -> Result<Image> {
        let visibility = Some(Visibility::Public);
        let patch =
            ImagePatch { name: Some(Some("a".into())), store: store.map(Some), visibility, ..ImagePatch::default() };
        let mut upload = self.registry.uploads().begin(&ROOT, None, &patch, Expected::default()).await?;
        upload.write(Bytes::from(vec![7; 3 << 20])).await?;
        upload.finish(&ImagePatch::default()).await
    }

    pub(super) async fn counts(&self) -> (usize, usize) {
        (self.near.list().await.unwrap().len(), self.far.list().await.unwrap().len())
    }

    pub(super) async fn read(&self, id: ImageId) -> Result<Vec<u8>> {
        let image = self.registry.get(&ROOT, id).await?;
        let mut pieces =
            stream(self.registry.downloads().open(&ROOT, &image, None).await?, &self.registry.uploads.ingest.buffers);
        let mut bytes = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}

#[tokio::test]
async fn bytes_go_where_they_are_asked_to_or_to_the_default() {
    for (far, wish, expected) in [
        (false, None, (1, 0)),
        (true, None, (0, 1)),
        (true, Some(StoreName::FILE), (1, 0)),
        (false, Some(cold()), (0, 1)),
    ] {
        let two = Two::new(far);
        let image = two.add(wish).await.unwrap();
        assert_eq!(two.counts().await, expected);
        assert_eq!(image.store, Some(if expected.0 == 1 { StoreName::FILE } else { cold() }));
        assert_eq!(two.read(image.id).await.unwrap().len(), 3 << 20);
        two.registry.delete(&ROOT, image.id).await.unwrap();
        assert_eq!(two.counts().await, (0, 0));
    }
    let two = Two::new(false);
    let error = two.add(Some("s3".parse().unwrap())).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Unsupported, "The store 's3' is not supported"));
    assert_eq!(two.add(Some("nowhere".parse().unwrap())).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn an_image_moves_whole_and_back() {
    let two = Two::new(false);
    let id = two.add(None).await.unwrap().id;
    let moved = two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap();
    assert_eq!((moved.homes(), moved.store.clone(), two.counts().await), (vec![cold()], Some(cold()), (0, 1)));
    assert_eq!(two.read(id).await.unwrap(), vec![7; 3 << 20]);
    assert_eq!(two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::Conflict);
    two.registry.copies().move_to(&ROOT, id, &StoreName::FILE).await.unwrap();
    assert_eq!(two.counts().await, (1, 0));
    let nowhere = "s3".parse().unwrap();
    assert_eq!(two.registry.copies().move_to(&ROOT, id, &nowhere).await.unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(two.registry.maintenance().verify(&[], |_| {}).await.unwrap().0, Vec::<String>::new());
}

/// The transfer has ended before its bytes are copied on.
#[tokio::test]
async fn an_import_into_two_stores_needs_one_permit_at_a_time() {
    let two = Two::with(false, Limits { uploads_max: 1, ..limits() });
    let mut upload =
        two.registry.uploads().begin(&ROOT, None, &ImagePatch::default(), Expected::default()).await.unwrap();
    upload.saving.also = (vec![cold()], Handle::default());
    upload.write(Bytes::from(vec![7; 3 << 20])).await.unwrap();
    let image = upload.finish(&ImagePatch::default()).await.unwrap();
    assert_eq!((image.homes().len(), two.counts().await), (2, (1, 1)));
}

/// A store that stops in the middle is read on, and its job tells so; one that goes on stopping is given up.
#[tokio::test]
async fn a_copy_is_read_on_where_its_store_stopped() {
    let two = Two::new(true);
    let id = two.add(None).await.unwrap().id;
    two.far.break_readers(2, 1 << 20);
    let jobs = two.registry.jobs();
    let job = two.registry.copies().start_move(&ROOT, id, &StoreName::FILE).await.unwrap();
    let job = jobs.wait(job.id, None).await.unwrap();
    assert_eq!((job.error, job.retried.map(|retried| retried.times)), (None, Some(2)));
    assert_eq!((two.counts().await, two.read(id).await.unwrap()), ((1, 0), vec![7; 3 << 20]));

    let two = Two::new(true);
    let id = two.add(None).await.unwrap().id;
    two.far.break_readers(usize::MAX, 1000);
    let error = two.registry.copies().move_to(&ROOT, id, &StoreName::FILE).await.unwrap_err();
    assert_eq!((error.reason(), two.counts().await), (crate::error::Reason::StoreUnavailable, (0, 1)));
}

#[tokio::test]
async fn an_image_moves_to_its_copy_if_that_is_sound() {
    let two = Two::new(false);
    let id = two.add(None).await.unwrap().id;
    let both = two.registry.copies().copy_to(&ROOT, id, &cold()).await.unwrap();
    assert_eq!(two.registry.copies().copy_to(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::Conflict);
    let copy =
        both.parts.iter().find_map(|part| part.place().filter(|place| place.store == cold())).unwrap().key.clone();
    let write = async |bytes: Vec<u8>| {
        let mut writer = two.far.begin(&copy, None).await.unwrap();
        writer.write(Bytes::from(bytes)).await.unwrap();
        writer.finish().await.unwrap();
    };
    write(vec![8; 3 << 20]).await;
    assert_eq!(two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::Internal);
    assert_eq!((two.counts().await, two.registry.get(&ROOT, id).await.unwrap().homes().len()), ((1, 1), 2));
    write(vec![7; 3 << 20]).await;
    let moved = two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap();
    assert_eq!((moved.homes(), moved.store.clone(), two.counts().await), (vec![cold()], Some(cold()), (0, 1)));
    assert_eq!(two.read(id).await.unwrap(), vec![7; 3 << 20]);
}

#[tokio::test]
async fn copies_that_have_to_be_in_all_stores_are_in_all_or_none() {
    let (dir, full) = (tempfile::tempdir().unwrap(), MemoryStore::new());
    let mut stores = Stores::local(Box::new(MemoryStore::new()));
    let names = ["cold", "full", "last"].map(|name| name.parse::<StoreName>().unwrap());
    for name in &names {
        let blobs = Box::new(if name.as_str() == "full" { full.clone() } else { MemoryStore::new() });
        stores.add(Store { name: name.clone(), kind: "s3", description: String::new(), blobs }, false);
    }
    let registry = service_with(dir.path(), stores, limits());
    full.fail_after(0);
    let mut upload = registry.uploads().begin(&ROOT, None, &ImagePatch::default(), Expected::default()).await.unwrap();
    upload.write(Bytes::from_static(b"bytes")).await.unwrap();
    let id = upload.finish(&ImagePatch::default()).await.unwrap().id;
    for (all_or_none, homes) in [(true, vec!["file"]), (false, vec!["file", "cold", "last"])] {
        registry
            .mirror()
            .import_copies(&ROOT, id, ImportWish { stores: names.to_vec(), all_or_none, request: None })
            .await
            .unwrap();
        let ended = async {
            while registry.imports(&ROOT, Some(id)).await.unwrap().iter().any(|job| !job.status.is_final()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), ended).await.unwrap();
        let image = registry.get(&ROOT, id).await.unwrap();
        assert_eq!(image.homes().iter().map(StoreName::as_str).collect::<Vec<_>>(), homes);
        assert!(registry.import_of(&image).is_some_and(|job| has_failed(&job)), "it is told of");
    }
}

#[tokio::test]
async fn a_copy_stands_in_for_one_that_is_lost() {
    let two = Two::new(false);
    let image = two.add(None).await.unwrap();
    let id = image.id;
    let both = two.registry.copies().copy_to(&ROOT, id, &cold()).await.unwrap();
    assert_eq!((both.homes(), two.counts().await), (vec![StoreName::FILE, cold()], (1, 1)));
    two.near.delete(&image.main().unwrap().place().unwrap().key).await.unwrap();
    assert_eq!(two.read(id).await.unwrap().len(), 3 << 20);
    let (problems, _) = two.registry.maintenance().verify(&[], |_| {}).await.unwrap();
    assert!(problems.iter().any(|problem| problem.contains(&id.to_string())), "a copy is missing: {problems:?}");
    let left = two.registry.copies().remove_copy(&ROOT, id, &StoreName::FILE).await.unwrap();
    assert_eq!((left.homes(), left.store), (vec![cold()], Some(cold())));
    assert_eq!(two.registry.copies().remove_copy(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(
        two.registry.copies().remove_copy(&ROOT, id, &StoreName::FILE).await.unwrap_err().kind(),
        Kind::Conflict
    );
    assert_eq!(two.read(id).await.unwrap().len(), 3 << 20);
}

#[tokio::test]
async fn what_can_not_be_copied_stays_where_it_is() {
    let two = Two::new(false);
    let id = two.add(None).await.unwrap().id;
    two.far.fail_after(1 << 20);
    assert_eq!(two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::StoreFull);
    assert_eq!(two.counts().await, (1, 0));
    two.far.fail_after(u64::MAX);
    // The linked file was overwritten: a copy of it is not the image.
    let key = two.near.list().await.unwrap().remove(0);
    let mut writer = two.near.begin(&key, None).await.unwrap();
    writer.write(Bytes::from(vec![8; 3 << 20])).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(two.registry.copies().move_to(&ROOT, id, &cold()).await.unwrap_err().kind(), Kind::Internal);
    assert_eq!((two.counts().await, two.registry.get(&ROOT, id).await.unwrap().home()), ((1, 0), StoreName::FILE));
    let other = Caller::User("other".into());
    assert_eq!(two.registry.copies().move_to(&other, id, &cold()).await.unwrap_err().kind(), Kind::Forbidden);
}

#[tokio::test]
async fn an_upload_in_pieces_goes_to_the_store_that_was_asked_for() {
    let two = Two::new(true);
    let begun =
        two.registry.uploads().begin_resumable(&ROOT, None, &ImagePatch::default(), Expected::default()).await.unwrap();
    let id = begun.image.id;
    for (offset, size) in [(0, None), (5, Some(10))] {
        let mut append = two.registry.uploads().append(&ROOT, id, offset, size).await.unwrap();
        append.write(Bytes::from_static(b"12345")).await.unwrap();
        append.pause().await.unwrap();
    }
    let append = two.registry.uploads().append(&ROOT, id, 10, Some(10)).await.unwrap();
    append.finish(&ImagePatch::default()).await.unwrap();
    assert_eq!((two.counts().await, two.read(id).await.unwrap()), ((0, 1), b"1234512345".to_vec()));
}

/// The default store may change at a restart: a start after a crash looks in the store where the upload began.
#[tokio::test]
async fn the_store_of_an_upload_is_in_its_record_before_the_first_byte() {
    for (far, wish, expected) in [
        (false, None, StoreName::FILE),
        (true, None, cold()),
        (false, Some(cold()), cold()),
        (true, Some(StoreName::FILE), StoreName::FILE),
    ] {
        let two = Two::new(far);
        let patch = ImagePatch { store: wish.map(Some), ..ImagePatch::default() };
        let upload = two.registry.uploads().begin(&ROOT, None, &patch, Expected::default()).await.unwrap();
        assert_eq!(two.registry.get(&ROOT, upload.image()).await.unwrap().store, Some(expected));
    }
}

/// A store on another machine may be slow, and the start must not wait for it.
#[tokio::test]
async fn what_expired_goes_at_the_start_and_elsewhere_beside_it() {
    let two = Two::new(false);
    let mut ids = Vec::new();
    for store in [StoreName::FILE, cold()] {
        let past = Timestamp(two.registry.now().0 - 1);
        let patch = ImagePatch { store: Some(Some(store)), expires_at: Some(Some(past)), ..ImagePatch::default() };
        let mut upload = two.registry.uploads().begin(&ROOT, None, &patch, Expected::default()).await.unwrap();
        upload.write(Bytes::from_static(b"bytes")).await.unwrap();
        ids.push(upload.finish(&ImagePatch::default()).await.unwrap().id);
    }
    two.registry.maintenance().sweep_at_start().await.unwrap();
    assert_eq!(two.registry.get(&ROOT, ids[0]).await.unwrap_err().kind(), Kind::NotFound);
    assert!(two.registry.get(&ROOT, ids[1]).await.is_ok());
    two.registry.maintenance().sweep_elsewhere().await.unwrap();
    assert_eq!(two.registry.get(&ROOT, ids[1]).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(two.counts().await, (0, 0));
}

/// The store that an image names may be missing, which must not keep the image.
#[tokio::test]
async fn a_record_that_asked_for_a_store_that_is_not_there_can_be_removed() {
    let two = Two::new(false);
    let patch = ImagePatch {
        store: Some(Some("s3".parse().unwrap())),
        format: Some(Some(crate::image::Format::Qcow2)),
        ..ImagePatch::default()
    };
    let image = two.registry.create(&ROOT, None, &patch, None, &Expected::default()).await.unwrap();
    two.registry.delete(&ROOT, image.id).await.unwrap();
    assert!(two.registry.core.catalog.get(image.id).await.is_err(), "nothing of it is left");
}

#[tokio::test]
async fn a_change_while_it_is_copied_is_taken_along() {
    let two = Two::new(false);
    let image = two.add(None).await.unwrap();
    let before = two.registry.core.catalog.get(image.id).await.unwrap();
    let arrived = two.registry.copies().bring(&before, &cold(), true, &Handle::default()).await.unwrap();
    let other = move |row: &Image| {
        let mut row = row.clone();
        row.parts[0].digests.sha512 = Some([1; 64]);
        Ok(Some(row))
    };
    two.registry.core.catalog.amend(image.id, other).await.unwrap();
    let error = two.registry.copies().settle_copies(&before, &cold(), &arrived, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Precondition);
}
