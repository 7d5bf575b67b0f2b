//! The service over a real catalogue and a store in memory, for every protocol.

use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use super::*;
use crate::blob::{BlobStore as _, Buffers, MemoryStore, stream};
use crate::error::{Kind, Result};
use crate::fetch::{FetchRules, Retries};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{
    Digests, Fallback, Image, ImageId, ImageKind, ImagePatch, Location, Part, PartKind, Status, UploadTicket,
    Visibility,
};
use crate::inspect::Rules;

/// A service whose directory outlives it, for another one to follow.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) store: MemoryStore,
    pub(super) registry: Arc<Registry>,
}

pub(super) fn limits() -> Limits {
    let patience = RateLimits { idle: Duration::from_secs(30), bytes_per_second_min: 1 };
    Limits {
        image_bytes_max: 1 << 30,
        uploads_max: 2,
        free_bytes_min: 0,
        inspect: Rules::default(),
        unpack_imports: false,
        publish: policy::Publish::Owner,
        sha512: false,
        url_digests: false,
        offer_disks: true,
        keep_removed: Duration::from_secs(3600),
        patience,
    }
}

pub(super) fn service(dir: &std::path::Path, store: &MemoryStore) -> Arc<Registry> {
    service_with(dir, Stores::local(Box::new(store.clone())), limits())
}

pub(super) fn service_with(dir: &std::path::Path, stores: Stores, limits: Limits) -> Arc<Registry> {
    service_lending(dir, stores, limits, Instances::default())
}

fn service_lending(dir: &std::path::Path, stores: Stores, limits: Limits, instances: Instances) -> Arc<Registry> {
    let catalog = Catalog::open(dir, 1 << 20).unwrap();
    let retries = Retries { pause: Duration::from_millis(1), ..Retries::default() };
    let fetcher = Fetcher::new(FetchRules { retries, ..FetchRules::default() });
    let linked = Linked::new(Vec::new());
    Registry::new(catalog, stores, linked, instances, fetcher, system_clock, limits)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(limits())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let (dir, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
        let registry = service_with(dir.path(), Stores::local(Box::new(store.clone())), limits);
        Self { dir, store, registry }
    }

    pub(super) fn lending(instances: Instances) -> Self {
        let (dir, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
        let registry = service_lending(dir.path(), Stores::local(Box::new(store.clone())), limits(), instances);
        Self { dir, store, registry }
    }

    /// Ends the service and starts the next one.
    pub(super) async fn restart(self) -> (Self, Swept) {
        let Self { dir, store, registry } = self;
        registry.close();
        drop(registry);
        let registry = service(dir.path(), &store);
        let swept = registry.maintenance().sweep_at_start().await.unwrap();
        (Self { dir, store, registry }, swept)
    }

    pub(super) async fn images(&self) -> Vec<Image> {
        let query = Query { filter: Filter::everything(), sort: Sort::default(), limit: 1000, after: None };
        self.registry.core.catalog.list(&query).await.unwrap().images
    }

    pub(super) async fn blobs(&self) -> usize {
        self.store.list().await.unwrap().len()
    }

    /// Waits until no image is in a state between, then lists them.
    pub(super) async fn settled(&self) -> Vec<Image> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let images = self.images().await;
            if images.iter().all(|image| image.status != Status::Saving) {
                return images;
            }
            assert!(Instant::now() < deadline, "still saving: {images:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn queued(&self, name: &str) -> Image {
        self.registry.create(&ROOT, None, &public(name), None, &Expected::default()).await.unwrap()
    }

    pub(super) async fn bytes(&self, image: &Image) -> Vec<u8> {
        let body = self.registry.downloads().open(&ROOT, image, None).await.unwrap();
        let mut pieces = stream(body, &Buffers::for_reads());
        let mut bytes = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes
    }
}

pub(super) const ROOT: Caller = Caller::Admin(None);

pub(super) fn named(name: &str) -> ImagePatch {
    ImagePatch { name: Some(Some(name.into())), ..ImagePatch::default() }
}

pub(super) fn public(name: &str) -> ImagePatch {
    ImagePatch { visibility: Some(Visibility::Public), ..named(name) }
}

pub(super) fn content() -> Bytes {
    // More than two buffers, and no multiple of one.
    static CONTENT: LazyLock<Bytes> = LazyLock::new(|| (0..2_500_000u32).map(|i| (i % 251) as u8).collect());
    CONTENT.clone()
}

pub(super) async fn begin(registry: &Arc<Registry>, into: Option<ImageId>, claim: Expected) -> Result<Upload> {
    let patch = if into.is_some() { ImagePatch::default() } else { public("new") };
    registry.uploads().begin(&ROOT, into, &patch, claim).await
}

async fn send(registry: &Arc<Registry>, into: Option<ImageId>, claim: Expected, bytes: Bytes) -> Result<Image> {
    let mut upload = begin(registry, into, claim).await?;
    for start in (0..bytes.len()).step_by(700_000) {
        upload.write(bytes.slice(start..bytes.len().min(start + 700_000))).await?;
    }
    upload.finish(&ImagePatch::default()).await
}

#[tokio::test]
async fn bytes_come_back_as_they_were_sent() {
    let bench = Bench::new();
    for into in [None, Some(bench.queued("old").await.id)] {
        let image = send(&bench.registry, into, Expected::default(), content()).await.unwrap();
        assert_eq!(image.status, Status::Available);
        assert_eq!(image.main().unwrap().size, Some(2_500_000));
        assert!(bench.bytes(&image).await == content());
        assert_eq!(bench.registry.get(&ROOT, image.id).await.unwrap(), image);
    }
}

/// Bad input, and the resulting state of the image, new or existing.
#[tokio::test]
async fn an_upload_that_fails_leaves_what_was_there() {
    let zeros = Digests { md5: Some([0; 16]), ..Digests::default() };
    let sized = |size| Expected { size: Some(size), ..Expected::default() };
    for (claim, room, kind) in [
        (Expected::default(), Some(2_000_000), Kind::StoreFull),
        (Expected::default(), Some(0), Kind::StoreFull),
        (sized(2_500_000), Some(2_499_999), Kind::StoreFull),
        (sized(2_500_001), None, Kind::DigestMismatch),
        (sized(2_499_999), None, Kind::DigestMismatch),
        (Expected { size: None, digests: zeros }, None, Kind::DigestMismatch),
        (sized(u64::MAX), None, Kind::TooLarge),
    ] {
        let bench = Bench::new();
        let old = bench.queued("old").await;
        if let Some(room) = room {
            bench.store.fail_after(room);
        }
        for into in [None, Some(old.id)] {
            let error = send(&bench.registry, into, claim.clone(), content()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{claim:?} {room:?}: {error}");
            let images = bench.images().await;
            assert_eq!(images.len(), 1, "put back before the error is told: {images:?}");
            assert!(matches!(images[0].status, Status::Queued | Status::Failed), "{images:?}");
            assert_eq!((bench.blobs().await, bench.registry.free_bytes().await), (0, room));
        }
        bench.store.fail_after(10_000_000);
        send(&bench.registry, Some(old.id), Expected::default(), content()).await.unwrap();
    }
}

/// Waker that notifies a test when a future wants to be polled.
#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Runs a number of steps of a future: polls it, lets its threads run a moment, and waits until it wants to be polled
/// again. Drops it if it is not ready then.
pub(super) async fn take_steps<T>(steps: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    for step in 0..steps {
        match step % 3 {
            0 => {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(value);
                }
            }
            1 => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => bell.0.notified().await,
        }
    }
    None
}

#[tokio::test]
async fn an_upload_may_be_dropped_at_every_await() {
    let mut finished = 0;
    // Threads do not advance equally far each time.
    for new in [true, false].repeat(3) {
        for steps in 0..10_000 {
            let bench = Bench::new();
            let old = bench.queued("old").await;
            let into = (!new).then_some(old.id);
            let done = take_steps(steps, send(&bench.registry, into, Expected::default(), content())).await;
            // Spawned work may still be running.
            let deadline = Instant::now() + Duration::from_secs(120);
            let (images, available) = loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let images = bench.settled().await;
                let available = images.iter().filter(|image| image.status == Status::Available).count();
                if bench.blobs().await == available && images.iter().all(|image| image.status != Status::Deleting) {
                    break (images, available);
                }
                assert!(Instant::now() < deadline, "{images:?} after {steps} steps");
            };
            for image in &images {
                match image.status {
                    Status::Available => assert!(bench.bytes(image).await == content()),
                    Status::Queued => assert_eq!(image.id, old.id),
                    Status::Failed => assert!(image.id == old.id && !new),
                    other => panic!("{other:?} after {steps} steps"),
                }
            }
            if let Some(image) = done {
                assert_eq!((image.unwrap().status, available), (Status::Available, 1));
                finished += 1;
                break;
            }
        }
    }
    assert_eq!(finished, 6);
}

/// Metadata may change during the upload; the file's name may not.
#[tokio::test]
async fn metadata_changes_during_an_upload_and_both_count() {
    let bench = Bench::new();
    let old = bench.queued("old").await;
    for ends_well in [false, true] {
        let mut upload = begin(&bench.registry, Some(old.id), Expected::default()).await.unwrap();
        upload.write(content()).await.unwrap();
        let update = |patch| {
            let registry = Arc::clone(&bench.registry);
            async move { registry.update(&ROOT, old.id, &patch, None, &Expected::default()).await }
        };
        update(named("renamed")).await.unwrap();
        let format = ImagePatch { format: Some(Some(crate::image::Format::Iso)), ..ImagePatch::default() };
        let store = ImagePatch { store: Some(Some("cold".parse().unwrap())), ..ImagePatch::default() };
        for fixed in [format, store] {
            assert_eq!(update(fixed).await.unwrap_err().kind(), Kind::Conflict);
        }
        if ends_well {
            let image = upload.finish(&ImagePatch::default()).await.unwrap();
            assert_eq!((image.status, image.name.as_deref()), (Status::Available, Some("renamed")));
        } else {
            drop(upload);
            let [image] = &bench.settled().await[..] else { panic!("one image") };
            assert_eq!((image.status, image.name.as_deref()), (Status::Failed, Some("renamed")));
        }
    }
}

/// The journal line that made an image available is damaged, and the database too: the rest looks like an upload that
/// never ended, and has the last bytes of the image.
#[tokio::test]
async fn bytes_are_not_removed_on_the_word_of_a_damaged_journal() {
    let bench = Bench::new();
    let image = send(&bench.registry, None, Expected::default(), content()).await.unwrap();
    bench.queued("later").await;
    let Bench { dir, store, registry } = bench;
    registry.close();
    drop(registry);
    let path = dir.path().join("journal-1.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"available\"", "\"avialable\"")).unwrap();
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let registry = service(dir.path(), &store);
    assert_eq!(registry.maintenance().sweep_at_start().await.unwrap().uploads, 1);
    assert_eq!(registry.get(&ROOT, image.id).await.unwrap().status, Status::Failed);
    assert_eq!(store.list().await.unwrap().len(), 1);
    let (problems, _) = registry.maintenance().verify(&[], |_| {}).await.unwrap();
    assert!(problems.iter().any(|problem| problem.contains("no image has it")), "{problems:?}");
}

#[tokio::test]
async fn some_space_stays_free_whatever_senders_say() {
    let (dir, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
    let limits = Limits { free_bytes_min: 100_000_000, ..limits() };
    let registry = service_with(dir.path(), Stores::local(Box::new(store.clone())), limits);
    store.fail_after(140_000_000);
    let mut upload = begin(&registry, None, Expected::default()).await.unwrap();
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let mut sent = 0;
    let error = loop {
        match upload.write(chunk.clone()).await {
            Ok(()) => sent += chunk.len(),
            Err(error) => break error,
        }
    };
    assert!(error.kind() == Kind::StoreFull && sent < 70_000_000, "{sent}: {error}");
    store.fail_after(99_999_999);
    assert_eq!(begin(&registry, None, Expected::default()).await.err().unwrap().kind(), Kind::StoreFull);
}

/// Waiting for bytes blocks no thread of the pool that writes them.
#[test]
fn uploads_do_not_starve_each_other() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::blob::LocalStore::open(dir.path()).unwrap();
        let registry = service_with(&dir.path().join("catalog"), Stores::local(Box::new(store)), limits());
        let work = futures_util::future::join(
            send(&registry, None, Expected::default(), content()),
            send(&registry, None, Expected::default(), content()),
        );
        let (a, b) = tokio::time::timeout(Duration::from_secs(120), work).await.unwrap();
        assert!(a.is_ok() && b.is_ok());
    });
}

#[tokio::test]
async fn an_image_removed_during_its_upload_stays_removed() {
    let bench = Bench::new();
    for new in [true, false] {
        let into = if new { None } else { Some(bench.queued("old").await.id) };
        let mut upload = begin(&bench.registry, into, Expected::default()).await.unwrap();
        upload.write(content()).await.unwrap();
        let [image] = &bench.images().await[..] else { panic!("one image") };
        bench.registry.delete(&ROOT, image.id).await.unwrap();
        let error = upload.finish(&ImagePatch::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert_eq!((bench.images().await.len(), bench.blobs().await), (0, 0));
    }
}

#[tokio::test]
async fn the_next_start_ends_what_a_crash_left() {
    let bench = Bench::new();
    let (old, whole) = (bench.queued("old").await, bench.queued("whole").await);
    send(&bench.registry, Some(whole.id), Expected::default(), content()).await.unwrap();
    // State of the rows when the process dies in the middle.
    let dead = |fallback| Some(UploadTicket { boot: Uuid::new_v4(), fallback, resumable: None });
    let saving = Image { status: Status::Saving, ..old.clone() };
    let new = Image { id: ImageId::random(), ticket: dead(Fallback::Discard), ..saving.clone() };
    bench.registry.core.catalog.insert(new).await.unwrap();
    bench.registry.core.catalog.replace(Image { ticket: dead(Fallback::Fail), ..saving }).await.unwrap();
    assert_eq!(bench.images().await.iter().filter(|image| image.status == Status::Saving).count(), 2);
    let (bench, swept) = bench.restart().await;
    assert_eq!(swept, Swept { uploads: 2, removals: 0, staged: 0 });
    let mut states: Vec<_> = bench.images().await.iter().map(|image| (image.id, image.status)).collect();
    states.sort_by_key(|(_, status)| *status == Status::Available);
    assert_eq!(states, [(old.id, Status::Failed), (whole.id, Status::Available)]);
    assert_eq!(bench.restart().await.1, Swept::default(), "once is enough");
}

#[tokio::test]
async fn a_sweep_finishes_removals_and_touches_no_upload_of_this_run() {
    let bench = Bench::new();
    let image = send(&bench.registry, None, Expected::default(), content()).await.unwrap();
    let running = begin(&bench.registry, None, Expected::default()).await.unwrap();
    // State of a removal without its second half.
    bench.registry.core.catalog.replace(Image { status: Status::Deleting, ..image.clone() }).await.unwrap();
    assert_eq!(bench.registry.get(&ROOT, image.id).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(bench.registry.maintenance().sweep().await.unwrap(), 1);
    assert_eq!(bench.blobs().await, 0);
    assert_eq!(bench.registry.maintenance().sweep_at_start().await.unwrap(), Swept::default());
    assert_eq!(running.finish(&ImagePatch::default()).await.unwrap().status, Status::Available);
}

#[tokio::test]
async fn only_so_many_uploads_at_a_time() {
    let bench = Bench::new();
    let (_first, second) = (
        begin(&bench.registry, None, Expected::default()).await.unwrap(),
        begin(&bench.registry, None, Expected::default()).await.unwrap(),
    );
    let refused = begin(&bench.registry, None, Expected::default()).await.err().unwrap();
    assert_eq!((refused.kind(), bench.images().await.len()), (Kind::Busy, 2));
    second.abandon().await;
    begin(&bench.registry, None, Expected::default()).await.unwrap();
}

#[tokio::test]
async fn changes_that_meet_are_all_made() {
    let bench = Bench::new();
    let id = bench.queued("a").await.id;
    let changes = (0..8).map(|n| {
        let registry = Arc::clone(&bench.registry);
        let mut patch = ImagePatch::default();
        patch.properties.insert(format!("key{n}"), Some("value".into()));
        tokio::spawn(async move { registry.update(&ROOT, id, &patch, None, &Expected::default()).await })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap().unwrap();
    }
    assert_eq!(bench.registry.get(&ROOT, id).await.unwrap().properties.len(), 8);
}

#[tokio::test]
async fn rights_hold_for_every_verb() {
    let bench = Bench::new();
    let (me, you) = (Caller::User("me".into()), Caller::User("you".into()));
    let private = ImagePatch { visibility: Some(Visibility::Private), ..named("mine") };
    let mine = bench.registry.create(&me, None, &private, None, &Expected::default()).await.unwrap();
    let shown = bench.registry.create(&me, None, &public("shown"), None, &Expected::default()).await.unwrap();
    for (who, id, kind) in [
        (&you, mine.id, Kind::NotFound),
        (&Caller::Anonymous, mine.id, Kind::NotFound),
        (&you, shown.id, Kind::Forbidden),
        (&Caller::Anonymous, shown.id, Kind::Unauthenticated),
    ] {
        let (patch, claim) = (named("yours"), Expected::default());
        assert_eq!(bench.registry.update(who, id, &patch, None, &claim).await.unwrap_err().kind(), kind);
        assert_eq!(bench.registry.delete(who, id).await.unwrap_err().kind(), kind);
        assert_eq!(bench.registry.uploads().begin(who, Some(id), &patch, claim).await.err().unwrap().kind(), kind);
    }
    assert_eq!(bench.registry.set_active(&you, shown.id, false).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(bench.registry.set_active(&me, shown.id, false).await.unwrap_err().kind(), Kind::Conflict);
    assert!(bench.registry.delete_all(&you).await.unwrap().is_empty());
    assert_eq!(bench.registry.delete_all(&me).await.unwrap().len(), 2);
}

/// A URL may carry a token: only callers that may change the image see that part.
#[test]
fn locations_tell_others_no_secrets() {
    let bench = Bench::new();
    let mut image = Image::blank(ImageId::random(), system_clock());
    image.owner = Some("me".into());
    image.parts = vec![Part {
        kind: PartKind::Main,
        location: Location::Http { url: "https://example.org/a?X-Amz-Signature=abc#x".into() },
        size: None,
        virtual_size: None,
        digests: Digests::default(),
        etag: None,
    }];
    let shown = |who: &str| bench.registry.location(&Caller::User(who.into()), &image).unwrap();
    assert_eq!(shown("you"), "https://example.org/a");
    assert!(shown("me").contains("X-Amz-Signature"));
}

#[tokio::test]
async fn a_kernel_has_to_be_one() {
    let bench = Bench::new();
    let disk = bench.queued("disk").await;
    let patch = ImagePatch { kind: Some(Some(ImageKind::Kernel)), ..named("vmlinuz") };
    let kernel = bench.registry.create(&ROOT, None, &patch, None, &Expected::default()).await.unwrap();
    for (id, fits) in [(kernel.id, true), (disk.id, false), (ImageId::random(), false)] {
        let patch = ImagePatch { kernel: Some(Some(id)), ..named("machine") };
        assert_eq!(bench.registry.create(&ROOT, None, &patch, None, &Expected::default()).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn withheld_bytes_are_given_to_administrators_only() {
    let bench = Bench::new();
    let image = send(&bench.registry, None, Expected::default(), content()).await.unwrap();
    let withheld = bench.registry.set_active(&ROOT, image.id, false).await.unwrap();
    let user = Caller::User("me".into());
    assert_eq!(bench.registry.downloads().open(&user, &withheld, None).await.unwrap_err().kind(), Kind::Conflict);
    assert!(bench.registry.downloads().open(&ROOT, &withheld, None).await.is_ok());
    let error = send(&bench.registry, Some(image.id), Expected::default(), content()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "what is withheld is not up for replacement");
    let again = bench.registry.set_active(&ROOT, image.id, true).await.unwrap();
    assert!(bench.bytes(&again).await == content());
}

/// An interrupted sender's bytes are incomplete, and do not block the next try.
#[tokio::test]
async fn an_import_takes_only_what_was_staged_completely() {
    let bench = Bench::new();
    let image = bench.queued("a").await;
    let (registry, id) = (&bench.registry, image.id);
    let begun =
        registry.uploads().begin_resumable(&ROOT, Some(id), &ImagePatch::default(), Expected::default()).await.unwrap();
    let mut append = registry.uploads().append(&ROOT, begun.image.id, 0, None).await.unwrap();
    append.write(content()).await.unwrap();
    append.pause().await.unwrap();
    assert_eq!(
        registry.mirror().import_staged(&ROOT, id, ImportWish::default()).await.unwrap_err().kind(),
        Kind::Conflict
    );
    let mut stage = registry.uploads().stage(&ROOT, id, &ImagePatch::default(), Expected::default()).await.unwrap();
    stage.write(content()).await.unwrap();
    assert_eq!(
        registry.mirror().import_staged(&ROOT, id, ImportWish::default()).await.unwrap_err().kind(),
        Kind::Conflict,
        "it is still coming"
    );
    stage.finish().await.unwrap();
    assert_eq!(
        registry.uploads().stage(&ROOT, id, &ImagePatch::default(), Expected::default()).await.unwrap_err().kind(),
        Kind::Conflict,
        "it is all there"
    );
    registry.mirror().import_staged(&ROOT, id, ImportWish::default()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while registry.get(&ROOT, id).await.unwrap().status != Status::Available {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(registry.imports(&ROOT, Some(id)).await.unwrap().iter().all(|job| !has_failed(job)));
}

async fn pieces(bench: &Bench, id: ImageId, from: u64, to: u64) -> UploadProgress {
    let mut append = bench.registry.uploads().append(&ROOT, id, from, None).await.unwrap();
    append.write(content().slice(from as usize..to as usize)).await.unwrap();
    append.pause().await.unwrap()
}

#[tokio::test]
async fn an_upload_in_pieces_survives_restarts_and_those_who_leave() {
    let mut bench = Bench::new();
    let (all, claim) = (content().len() as u64, Expected { size: Some(content().len() as u64), ..Expected::default() });
    let begun = bench.registry.uploads().begin_resumable(&ROOT, None, &named("in pieces"), claim).await.unwrap();
    let id = begun.image.id;
    assert_eq!((begun.offset, begun.size, begun.image.status), (0, Some(all), Status::Saving));
    assert_eq!(pieces(&bench, id, 0, 1_200_000).await.offset, 1_200_000);
    let error = bench.registry.uploads().append(&ROOT, id, 5, None).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.message().contains("1200000"), "{error}");

    // Once with the digests remembered, once computed again.
    assert_eq!(pieces(&bench, id, 1_200_000, 1_500_000).await.offset, 1_500_000);
    let swept;
    (bench, swept) = bench.restart().await;
    assert_eq!(swept, Swept::default());
    assert_eq!(bench.registry.uploads().progress(&ROOT, id).await.unwrap().offset, 1_500_000);

    // A client that disconnects leaves the bytes that were received.
    let mut append = bench.registry.uploads().append(&ROOT, id, 1_500_000, None).await.unwrap();
    append.write(content().slice(1_500_000..1_500_010)).await.unwrap();
    drop(append);
    assert_eq!(bench.registry.uploads().progress(&ROOT, id).await.unwrap().offset, 1_500_010);

    // Too early, then with an invalid patch, then right.
    let append = bench.registry.uploads().append(&ROOT, id, 1_500_010, None).await.unwrap();
    assert_eq!(append.finish(&ImagePatch::default()).await.unwrap_err().kind(), Kind::Incomplete);
    assert_eq!(pieces(&bench, id, 1_500_010, all).await.offset, all);
    let append = bench.registry.uploads().append(&ROOT, id, all, None).await.unwrap();
    let kernel = ImagePatch { kernel: Some(Some(ImageId::random())), ..ImagePatch::default() };
    assert_eq!(append.finish(&kernel).await.unwrap_err().kind(), Kind::NotFound);
    // Another store: the bytes are in the default one by then.
    let append = bench.registry.uploads().append(&ROOT, id, all, None).await.unwrap();
    let store = ImagePatch { store: Some("s3".parse().ok()), ..ImagePatch::default() };
    assert_eq!(append.finish(&store).await.unwrap_err().reason(), crate::error::Reason::StoreFixed);
    let append = bench.registry.uploads().append(&ROOT, id, all, None).await.unwrap();
    let image = append.finish(&named("whole")).await.unwrap().image;
    assert_eq!((image.status, image.name.as_deref()), (Status::Available, Some("whole")));
    assert!(bench.bytes(&image).await == content());
    assert_eq!(image.main().unwrap().digests, digests_of_content());
    assert!(bench.registry.uploads().progress(&ROOT, id).await.unwrap().is_complete());
    let swept;
    (bench, swept) = bench.restart().await;
    assert_eq!((swept, bench.images().await.len(), bench.blobs().await), (Swept::default(), 1, 1));
}

fn digests_of_content() -> Digests {
    let mut hasher = crate::digest::Hasher::new(crate::digest::Algorithm::Both);
    hasher.update(&content());
    hasher.finish()
}

#[tokio::test]
async fn an_upload_in_pieces_ends_by_its_owner_by_removal_by_age_and_by_wrong_bytes() {
    let bench = Bench::new();
    let begin = async |into| {
        let begun =
            bench.registry.uploads().begin_resumable(&ROOT, into, &named("x"), Expected::default()).await.unwrap();
        pieces(&bench, begun.image.id, 0, 100_000).await.image.id
    };
    let cancelled = begin(None).await;
    bench.registry.uploads().cancel(&ROOT, cancelled).await.unwrap();
    assert_eq!(bench.registry.uploads().progress(&ROOT, cancelled).await.unwrap_err().kind(), Kind::NotFound);
    let removed = begin(None).await;
    bench.registry.delete(&ROOT, removed).await.unwrap();
    assert!(bench.images().await.is_empty());

    // An existing image stays.
    let queued = bench.queued("was there").await.id;
    begin(Some(queued)).await;
    bench.registry.uploads().cancel(&ROOT, queued).await.unwrap();
    assert_eq!(bench.images().await[0].status, Status::Failed);

    begin(Some(queued)).await;
    let age = |row: &Image| {
        let ticket = row.ticket.map(|ticket| UploadTicket {
            resumable: ticket.resumable.map(|r| crate::image::Resumable { expires_at: Timestamp(1), ..r }),
            ..ticket
        });
        Ok(Some(Image { ticket, ..row.clone() }))
    };
    bench.registry.core.catalog.amend(queued, age).await.unwrap();
    bench.registry.maintenance().sweep().await.unwrap();
    assert_eq!(bench.images().await[0].status, Status::Failed);

    let claim = Expected { size: None, digests: Digests { md5: Some([1; 16]), ..Digests::default() } };
    let begun = bench.registry.uploads().begin_resumable(&ROOT, None, &named("wrong"), claim).await.unwrap();
    let append = bench.registry.uploads().append(&ROOT, begun.image.id, 0, Some(0)).await.unwrap();
    assert_eq!(append.finish(&ImagePatch::default()).await.unwrap_err().kind(), Kind::DigestMismatch);
    assert_eq!((bench.images().await.len(), bench.blobs().await), (1, 0));
    assert_eq!(bench.store.sweep(Some(&[])).await.unwrap(), 0, "nothing is kept of what ended");
}

#[tokio::test]
async fn the_newest_writer_of_an_upload_in_pieces_takes_over() {
    let bench = Bench::new();
    let begun = bench.registry.uploads().begin_resumable(&ROOT, None, &named("x"), Expected::default()).await.unwrap();
    let id = begun.image.id;
    let mut old = bench.registry.uploads().append(&ROOT, id, 0, None).await.unwrap();
    old.write(content().slice(..10)).await.unwrap();
    let registry = Arc::clone(&bench.registry);
    let asks = tokio::spawn(async move { registry.uploads().progress(&ROOT, id).await.unwrap().offset });
    old.interrupted().await;
    old.pause().await.unwrap();
    assert_eq!(asks.await.unwrap(), 10);
}

#[tokio::test]
async fn whoever_leaves_at_the_very_end_finds_the_upload_complete() {
    let bench = Bench::new();
    let begun = bench.registry.uploads().begin_resumable(&ROOT, None, &named("x"), Expected::default()).await.unwrap();
    let id = begun.image.id;
    let mut append = bench.registry.uploads().append(&ROOT, id, 0, None).await.unwrap();
    append.write(content()).await.unwrap();
    {
        let patch = ImagePatch::default();
        let mut finish = pin!(append.finish(&patch));
        // As far as possible without waiting, several times; then the client disconnects.
        for _ in 0..3 {
            let _ = finish.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            tokio::task::yield_now().await;
        }
    }
    let progress = bench.registry.uploads().progress(&ROOT, id).await.unwrap();
    assert_eq!(bench.blobs().await, 1);
    let image = bench.settled().await.remove(0);
    if progress.is_complete() {
        assert!(bench.bytes(&image).await == content());
    }
    assert_eq!(image.status, Status::Available);
}
