use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bytes::Bytes;

use super::staged::Sink;
use super::*;
use crate::blob::suite;
use crate::image::{Format, ImageId};

struct Place {
    dir: tempfile::TempDir,
    store: LocalStore,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("data")).unwrap();
        Self { dir, store }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn blob(&self, key: &BlobKey) -> PathBuf {
        self.data().join("images").join(key.as_str())
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.data().join("staging")).unwrap().count()
    }

    /// A writer whose bytes go into another file.
    fn writer_to(&self, key: &BlobKey, file: File) -> Box<LocalWriter> {
        let mut staged = Staged::create(&self.store.0, None).unwrap();
        staged.sink = Arc::new(Sink::of(file));
        Box::new(LocalWriter::new(key.clone(), staged, 0))
    }

    /// Dropped writers clean up in the background.
    async fn nothing_staged(&self) {
        for _ in 0..12_000 {
            if self.staged() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} files are left in the staging area", self.staged());
    }
}

fn key() -> BlobKey {
    BlobKey::main(ImageId::random(), Some(Format::Raw))
}

fn broken<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Broken(_)))
}

#[tokio::test]
async fn keeps_the_contract() {
    let place = Place::new();
    suite::run(&place.store).await;
    place.nothing_staged().await;
}

#[tokio::test]
async fn only_the_user_of_the_server_gets_at_the_bytes() {
    let place = Place::new();
    let key = key();
    suite::put(&place.store, &key, b"secret").await;
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.data()), 0o700);
    assert_eq!(mode(place.data().join("images")), 0o700);
    assert_eq!(mode(place.data().join("staging")), 0o700);
    assert_eq!(mode(place.blob(&key)), 0o600);
}

#[tokio::test]
async fn the_address_is_a_url_of_an_absolute_path() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&dir.path().join("a b%?#é")).unwrap();
    let (key, root) = (key(), fs::canonicalize(dir.path()).unwrap());
    let want = format!("file://{}/a%20b%25%3F%23%C3%A9/images/{key}", root.display());
    assert_eq!(store.uri(&key), want);
}

#[tokio::test]
async fn an_adopted_file_takes_no_second_room() {
    let place = Place::new();
    let (key, file) = (key(), place.dir.path().join("file"));
    fs::write(&file, "bytes").unwrap();
    let writer = place.store.adopt(&key, &file).await.unwrap().expect("one file system");
    writer.finish().await.unwrap();
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&place.blob(&key)), inode(&file));

    // What leads elsewhere is not followed.
    let link = place.dir.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(broken(place.store.adopt(&key, &link).await.map(drop)));
    assert_eq!(fs::read_dir(place.data().join("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_lies_in_place_of_a_blob_is_refused() {
    let place = Place::new();
    let canary = place.dir.path().join("canary");
    fs::write(&canary, "outside").unwrap();
    let (link, dangling, directory, fifo) = (key(), key(), key(), key());
    symlink(&canary, place.blob(&link)).unwrap();
    symlink("nowhere", place.blob(&dangling)).unwrap();
    fs::create_dir(place.blob(&directory)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.blob(&fifo), Mode::RWXU).unwrap();

    for key in [&link, &dangling, &directory, &fifo] {
        let opened = tokio::time::timeout(Duration::from_secs(60), place.store.open(key, None)).await.unwrap();
        assert!(broken(opened), "{key}");
        assert!(broken(place.store.stat(key).await), "{key}");
    }
    assert_eq!(place.store.list().await.unwrap(), []);

    suite::put(&place.store, &link, b"inside").await;
    assert!(!place.blob(&link).is_symlink());
    place.store.delete(&dangling).await.unwrap();
    assert_eq!(fs::read_to_string(canary).unwrap(), "outside");
}

#[tokio::test]
async fn directories_that_are_links_are_refused_at_the_start() {
    for name in ["images", "staging"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink("elsewhere", dir.path().join(name)).unwrap();
        assert!(broken(LocalStore::open(dir.path())), "{name}");
        fs::remove_file(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name), "").unwrap();
        assert!(broken(LocalStore::open(dir.path())), "{name}");
    }
}

#[tokio::test]
async fn directories_swapped_for_links_lead_nowhere() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["images", "staging"] {
        fs::rename(place.data().join(name), place.data().join(format!("old-{name}"))).unwrap();
        symlink(&outside, place.data().join(name)).unwrap();
    }
    let key = key();
    suite::put(&place.store, &key, b"bytes").await;
    place.store.delete(&key).await.unwrap();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[tokio::test]
async fn the_sweep_takes_what_earlier_runs_left_and_nothing_else() {
    let place = Place::new();
    let mut lost = place.store.begin(&key(), None).await.unwrap();
    lost.write(Bytes::from_static(b"half")).await.unwrap();
    std::mem::forget(lost);
    fs::write(place.data().join("staging/notes.txt"), "mine").unwrap();
    assert_eq!(place.store.sweep(Some(&[])).await.unwrap(), 0);

    let next = LocalStore::open(&place.data()).unwrap();
    let live = next.begin(&key(), None).await.unwrap();
    assert_eq!(next.sweep(Some(&[])).await.unwrap(), 1);
    assert_eq!(place.staged(), 2, "the notes and the live writer");
    live.finish().await.unwrap();
    assert!(place.data().join("staging/notes.txt").exists());
}

#[tokio::test]
async fn foreign_names_are_not_blobs() {
    let place = Place::new();
    let key = key();
    suite::put(&place.store, &key, b"x").await;
    for name in ["README", ".hidden", "x.iso", "lost+found"] {
        fs::write(place.data().join("images").join(name), "").unwrap();
    }
    fs::write(place.blob(&key).with_extension("exe"), "").unwrap();
    assert_eq!(place.store.list().await.unwrap(), [key]);
}

#[tokio::test]
async fn aborted_and_dropped_writers_leave_no_file() {
    let place = Place::new();
    let mut writer = place.store.begin(&key(), None).await.unwrap();
    writer.write(vec![1; 3_000_000].into()).await.unwrap();
    assert_eq!(place.staged(), 1);
    writer.abort().await;
    assert_eq!(place.staged(), 0, "abort waits");

    let mut writer = place.store.begin(&key(), None).await.unwrap();
    writer.write(vec![1; 3_000_000].into()).await.unwrap();
    drop(writer);
    place.nothing_staged().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_file_half_way() {
    let place = Place::new();
    let key = key();
    // Dropped at its first wait, if it comes to one: the file is made on the blocking pool all the same, and removed there.
    drop(futures_util::FutureExt::now_or_never(place.store.begin(&key, None)));
    place.nothing_staged().await;

    let mut writer = place.store.begin(&key, None).await.unwrap();
    writer.write(vec![1; 1_000_000].into()).await.unwrap();
    let _ = futures_util::FutureExt::now_or_never(writer.finish());
    place.nothing_staged().await;
    match place.store.stat(&key).await {
        Ok(stat) => assert_eq!(stat.size, 1_000_000),
        Err(error) => assert!(matches!(error, StoreError::NotFound)),
    }
}

#[tokio::test]
async fn a_failed_write_fails_everything_after_it() {
    let place = Place::new();
    let key = key();
    // A file that can't be written to stands for a disk that fails.
    let mut writer = place.writer_to(&key, File::open("/dev/null").unwrap());
    writer.write(Bytes::from_static(b"lost")).await.unwrap();
    // A few writes are on their way at once, and none more is begun before the first has ended.
    let mut later = 0;
    while writer.write(Bytes::from_static(b"more")).await.is_ok() {
        later += 1;
        assert!(later < 4, "the failure of the first write is not found");
    }
    assert!(broken(writer.write(Bytes::from_static(b"more")).await));
    assert!(broken(writer.write(Bytes::new()).await));
    assert!(broken(writer.finish().await));
    place.nothing_staged().await;
    assert!(matches!(place.store.stat(&key).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn an_upload_that_can_not_fit_is_refused_before_its_first_byte() {
    let place = Place::new();
    assert!(place.store.free().await.is_some_and(|free| free > 0));
    assert!(matches!(place.store.begin(&key(), Some(u64::MAX)).await.err(), Some(StoreError::Full)));
    assert_eq!(place.staged(), 0);
}

#[tokio::test]
async fn a_full_device_is_full_and_not_broken() {
    let place = Place::new();
    let mut writer = place.writer_to(&key(), File::options().write(true).open("/dev/full").unwrap());
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(writer.finish().await, Err(StoreError::Full)));
    place.nothing_staged().await;
}

#[tokio::test]
async fn whole_buffers_and_odd_ones_arrive_in_their_places() {
    let place = Place::new();
    let (key, pool) = (key(), crate::blob::Buffers::for_uploads());
    let bytes: Vec<u8> = (0..pool.size() * 5 / 2).map(|n| (n / 3 + n / 70_000) as u8).collect();
    let mut writer = place.store.begin(&key, None).await.unwrap();
    let mut rest = Bytes::copy_from_slice(&bytes);
    // The odd piece in the middle puts what follows out of step with the disk's blocks; the next is back in it.
    for size in [pool.size(), 5, pool.size() - 5, pool.size() / 2] {
        let mut buffer = pool.take();
        buffer.fill(&mut rest.split_to(size));
        writer.write(buffer.freeze()).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
    assert!(fs::read(place.blob(&key)).unwrap() == bytes);
}

#[tokio::test]
async fn zeros_take_no_space_and_twins_share_theirs() {
    const SIZE: usize = 4 << 20;
    let place = Place::new();
    for hint in [None, Some(SIZE as u64)] {
        let key = key();
        let mut writer = place.store.begin(&key, hint).await.unwrap();
        let mut bytes = vec![0; SIZE];
        bytes[SIZE / 2] = 1;
        writer.write(bytes.into()).await.unwrap();
        writer.finish().await.unwrap();
        let stat = fs::metadata(place.blob(&key)).unwrap();
        assert_eq!(stat.len(), SIZE as u64);
        assert!(stat.blocks() * 512 <= 256 << 10, "{hint:?}: {} bytes", stat.blocks() * 512);
    }
    let (first, second) = (key(), key());
    suite::put(&place.store, &first, &[7; 1000]).await;
    let mut writer = place.store.begin(&second, None).await.unwrap();
    writer.write(vec![7; 1000].into()).await.unwrap();
    assert!(writer.link(&first).await.unwrap());
    writer.abort().await;
    let inode = |key| fs::metadata(place.blob(key)).unwrap().ino();
    assert_eq!(inode(&first), inode(&second));
    assert_eq!(place.staged(), 0);
}

#[tokio::test]
async fn room_is_set_aside_before_the_first_byte() {
    let place = Place::new();
    let writer = place.store.begin(&key(), Some(64 << 20)).await.unwrap();
    let staged = fs::read_dir(place.data().join("staging")).unwrap().next().unwrap().unwrap().metadata().unwrap();
    // Not every file system can.
    if staged.blocks() > 0 {
        assert!(staged.blocks() * 512 >= 64 << 20);
    }
    writer.abort().await;
    assert_eq!(place.staged(), 0);
}

#[tokio::test]
async fn what_was_published_before_a_crash_is_gone_on_with() {
    let place = Place::new();
    let key = key();
    suite::put(&place.store, &key, b"all of it").await;
    let mut writer = place.store.resume(&key, 9, Some(9)).await.unwrap();
    assert_eq!(place.store.list().await.unwrap(), []);
    assert_eq!(suite::read(writer.reread().await.unwrap()).await.unwrap(), b"all of it");
    assert_eq!(writer.finish().await.unwrap(), 9);
    // A file that is another blob's too is not touched.
    let twin = self::key();
    fs::hard_link(place.blob(&key), place.blob(&twin)).unwrap();
    assert!(matches!(place.store.resume(&twin, 9, None).await.err(), Some(StoreError::NotFound)));
}
