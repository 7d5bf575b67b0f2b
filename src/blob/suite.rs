//! The contract of [`BlobStore`] as a test. Every store runs it; what only one store can break is tested there.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::{BlobBody, BlobStore, BlobWriter, Buffers, StoreError, stream};
use crate::image::{BlobKey, Format, ImageId};

/// Runs the whole contract against an empty store.
pub(crate) async fn run(store: &dyn BlobStore) {
    run_beside(store, store).await;
}

/// Runs the contract against a store that keeps unfinished bytes in another one, which is swept separately.
pub(crate) async fn run_beside(store: &dyn BlobStore, spool: &dyn BlobStore) {
    assert_eq!(store.sweep(Some(&[])).await.unwrap(), 0);
    assert_eq!(store.list().await.unwrap(), []);
    what_was_put_is_there(store).await;
    ranges(store).await;
    nothing_shows_before_finish(store).await;
    abort_and_drop_leave_nothing(store).await;
    overwriting_is_one_step(store).await;
    open_bodies_survive_delete_and_overwrite(store).await;
    many_writers(store).await;
    writers_of_one_key(store).await;
    what_was_kept_is_gone_on_with(store, spool).await;
    zeros_are_bytes(store).await;
    links(store).await;
    files_are_adopted(store).await;
    assert_eq!(store.list().await.unwrap(), []);
}

/// Writes a blob in chunks of odd sizes.
pub(crate) async fn put(store: &dyn BlobStore, key: &BlobKey, bytes: &[u8]) {
    let mut writer = store.begin(key, Some(bytes.len() as u64)).await.unwrap();
    write(&mut *writer, bytes).await;
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
}

/// Writes over a blob, and says whether the store does that.
async fn put_over(store: &dyn BlobStore, key: &BlobKey, bytes: &[u8]) -> bool {
    let mut writer = store.begin(key, None).await.unwrap();
    write(&mut *writer, bytes).await;
    match writer.finish().await {
        Err(StoreError::Exists) => false,
        size => size.unwrap() == bytes.len() as u64,
    }
}

async fn write(writer: &mut dyn BlobWriter, mut bytes: &[u8]) {
    for size in [1, 0, 4095, 3, 70_001].into_iter().cycle() {
        let (chunk, rest) = bytes.split_at(bytes.len().min(size));
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        if rest.is_empty() {
            return;
        }
        bytes = rest;
    }
}

/// Reads all of a body and checks the length that it announced.
pub(crate) async fn read(body: BlobBody) -> Result<Vec<u8>, StoreError> {
    let length = body.length();
    let mut pieces = stream(body, &Buffers::for_reads());
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    assert!(length.is_none_or(|length| length == bytes.len() as u64), "{length:?} announced, {} came", bytes.len());
    Ok(bytes)
}

async fn get(store: &dyn BlobStore, key: &BlobKey, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
    read(store.open(key, range).await?).await
}

fn key() -> BlobKey {
    BlobKey::main(ImageId::random(), Some(Format::Qcow2))
}

/// Bytes that differ everywhere, so that a piece in the wrong place shows.
fn sample(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}

async fn absent(store: &dyn BlobStore, key: &BlobKey) {
    assert!(matches!(store.open(key, None).await, Err(StoreError::NotFound)));
    assert!(matches!(store.stat(key).await, Err(StoreError::NotFound)));
    assert!(!store.list().await.unwrap().contains(key));
}

async fn what_was_put_is_there(store: &dyn BlobStore) {
    for size in [0, 1, 65_536, 300_007, 2 * 1024 * 1024 + 17] {
        let (key, bytes) = (key(), sample(size, 1));
        absent(store, &key).await;
        put(store, &key, &bytes).await;
        assert!(get(store, &key, None).await.unwrap() == bytes, "{size}");
        assert_eq!(store.stat(&key).await.unwrap().size, size as u64);
        assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&key));
        assert!(store.uri(&key).ends_with(key.as_str()), "{}", store.uri(&key));

        store.delete(&key).await.unwrap();
        absent(store, &key).await;
        store.delete(&key).await.unwrap();
    }
}

async fn ranges(store: &dyn BlobStore) {
    let (full, empty) = (key(), key());
    let bytes = sample(600_000, 2);
    put(store, &full, &bytes).await;
    put(store, &empty, &[]).await;
    let end = bytes.len() as u64;

    for range in [0..1, 0..end, 0..262_144, 262_143..262_145, 1..599_999, end - 1..end, 5..5, end..end] {
        let want = &bytes[range.start as usize..range.end as usize];
        assert!(get(store, &full, Some(range.clone())).await.unwrap() == want, "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a range that runs backwards is the point")]
    for range in [0..end + 1, end..end + 1, end + 1..end + 1, 5..4, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
        assert!(matches!(get(store, &full, Some(range.clone())).await, Err(StoreError::BadRange)), "{range:?}");
    }
    assert!(get(store, &empty, Some(0..0)).await.unwrap().is_empty());
    assert!(matches!(get(store, &empty, Some(0..1)).await, Err(StoreError::BadRange)));
    assert!(matches!(get(store, &key(), Some(0..0)).await, Err(StoreError::NotFound)));
    for key in [full, empty] {
        store.delete(&key).await.unwrap();
    }
}

async fn nothing_shows_before_finish(store: &dyn BlobStore) {
    let key = key();
    let mut writer = store.begin(&key, None).await.unwrap();
    absent(store, &key).await;
    for _ in 0..3 {
        writer.write(sample(100_000, 3).into()).await.unwrap();
        absent(store, &key).await;
    }
    assert_eq!(store.sweep(Some(&[])).await.unwrap(), 0, "a writer of this run is not swept");
    store.delete(&key).await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), 300_000);
    assert_eq!(store.stat(&key).await.unwrap().size, 300_000);
    store.delete(&key).await.unwrap();
}

async fn abort_and_drop_leave_nothing(store: &dyn BlobStore) {
    let key = key();
    for size in [0, 10, 500_000] {
        let mut writer = store.begin(&key, None).await.unwrap();
        write(&mut *writer, &sample(size, 4)).await;
        writer.abort().await;
        absent(store, &key).await;

        let mut writer = store.begin(&key, None).await.unwrap();
        write(&mut *writer, &sample(size, 4)).await;
        drop(writer);
        absent(store, &key).await;
    }
}

async fn overwriting_is_one_step(store: &dyn BlobStore) {
    let key = key();
    let (old, new) = (sample(300_000, 5), sample(200_000, 6));
    put(store, &key, &old).await;
    let before = store.stat(&key).await.unwrap();

    let mut writer = store.begin(&key, None).await.unwrap();
    write(&mut *writer, &new).await;
    assert!(get(store, &key, None).await.unwrap() == old);
    let finished = writer.finish().await;
    let there = if matches!(finished, Err(StoreError::Exists)) { &old } else { &new };
    assert!(finished.is_ok_and(|size| size == new.len() as u64) || there == &old);
    assert!(get(store, &key, None).await.unwrap() == *there);
    assert!(store.stat(&key).await.unwrap().modified >= before.modified);

    let mut writer = store.begin(&key, None).await.unwrap();
    write(&mut *writer, &old).await;
    writer.abort().await;
    assert!(get(store, &key, None).await.unwrap() == *there);
    store.delete(&key).await.unwrap();
}

async fn open_bodies_survive_delete_and_overwrite(store: &dyn BlobStore) {
    let key = key();
    let (old, new) = (sample(700_000, 7), sample(10, 8));
    put(store, &key, &old).await;
    let first = store.open(&key, None).await.unwrap();
    let there = if put_over(store, &key, &new).await { &new } else { &old };
    let second = store.open(&key, Some(3..9)).await.unwrap();
    store.delete(&key).await.unwrap();
    absent(store, &key).await;
    assert!(read(first).await.unwrap() == old);
    assert_eq!(read(second).await.unwrap(), there[3..9]);
}

async fn many_writers(store: &dyn BlobStore) {
    let blobs: Vec<_> = (0..8).map(|seed| (key(), sample(400_000 + seed, seed as u32))).collect();
    join_all(blobs.iter().map(|(key, bytes)| put(store, key, bytes))).await;
    assert_eq!(store.list().await.unwrap().len(), blobs.len());
    join_all(blobs.iter().map(|(key, bytes)| async move {
        assert!(get(store, key, None).await.unwrap() == *bytes);
        store.delete(key).await.unwrap();
    }))
    .await;
}

async fn writers_of_one_key(store: &dyn BlobStore) {
    let key = key();
    let versions: Vec<_> = (0..8).map(|seed| sample(150_000 + seed, seed as u32)).collect();
    let put = join_all(versions.iter().map(|bytes| put_over(store, &key, bytes))).await;
    assert!(put.contains(&true));
    let got = get(store, &key, None).await.unwrap();
    assert!(versions.contains(&got), "one of the versions, and all of it");
    store.delete(&key).await.unwrap();
}

async fn what_was_kept_is_gone_on_with(store: &dyn BlobStore, spool: &dyn BlobStore) {
    let (key, bytes) = (key(), sample(2_500_000, 9));
    assert!(matches!(store.resume(&key, 0, None).await.err(), Some(StoreError::NotFound)));
    let mut writer = store.begin(&key, Some(bytes.len() as u64)).await.unwrap();
    assert_eq!(writer.keep().await.unwrap(), 0);
    write(&mut *writer, &bytes[..1_000_000]).await;
    assert_eq!(writer.keep().await.unwrap(), 1_000_000);
    // What comes after that is lost with the writer.
    write(&mut *writer, &bytes[..500_000]).await;
    drop(writer);
    absent(store, &key).await;
    assert_eq!(store.sweep(Some(std::slice::from_ref(&key))).await.unwrap(), 0);

    assert!(matches!(store.resume(&key, 9_000_000, None).await.err(), Some(StoreError::NotFound)), "not so much");
    let mut writer = store.resume(&key, 1_000_000, Some(bytes.len() as u64)).await.unwrap();
    assert!(read(writer.reread().await.unwrap()).await.unwrap() == bytes[..1_000_000]);
    write(&mut *writer, &bytes[1_000_000..]).await;
    assert_eq!(writer.keep().await.unwrap(), bytes.len() as u64);
    drop(writer);
    // Back to a place before its end.
    let mut writer = store.resume(&key, 7, None).await.unwrap();
    write(&mut *writer, &bytes[7..]).await;
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
    assert!(get(store, &key, None).await.unwrap() == bytes);
    store.delete(&key).await.unwrap();
    assert!(matches!(store.resume(&key, 0, None).await.err(), Some(StoreError::NotFound)));

    // Every way to be rid of it.
    for way in 0..3 {
        let mut writer = store.begin(&key, None).await.unwrap();
        assert_eq!(writer.keep().await.unwrap(), 0);
        write(&mut *writer, &bytes[..10]).await;
        writer.keep().await.unwrap();
        if way == 0 {
            writer.abort().await;
        } else {
            drop(writer);
        }
        match way {
            1 => store.delete(&key).await.unwrap(),
            2 => assert_eq!(spool.sweep(Some(&[])).await.unwrap(), 1),
            _ => {}
        }
        assert!(matches!(store.resume(&key, 0, None).await.err(), Some(StoreError::NotFound)), "{way}");
    }
}

async fn zeros_are_bytes(store: &dyn BlobStore) {
    const BLOCK: usize = 1 << 16;
    let key = key();
    let mut bytes = sample(BLOCK * 20, 10);
    for range in [0..BLOCK * 3, BLOCK * 5 + 1..BLOCK * 8, BLOCK * 17 + 9..BLOCK * 20] {
        bytes[range].fill(0);
    }
    for (size, hint) in [(bytes.len(), true), (bytes.len(), false), (bytes.len() - 5, true), (BLOCK * 3, false)] {
        let mut writer = store.begin(&key, hint.then_some(size as u64)).await.unwrap();
        for chunk in bytes[..size].chunks(BLOCK * 4) {
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), size as u64);
        assert!(get(store, &key, None).await.unwrap() == bytes[..size], "{size} {hint}");
        store.delete(&key).await.unwrap();
    }
}

async fn links(store: &dyn BlobStore) {
    let (first, second, bytes) = (key(), key(), sample(100_000, 11));
    put(store, &first, &bytes).await;
    let mut other = bytes.clone();
    other[77_777] ^= 1;
    for (twin, bytes, same) in [(&key(), &bytes, false), (&first, &other, false), (&first, &bytes, true)] {
        let mut writer = store.begin(&second, None).await.unwrap();
        write(&mut *writer, bytes).await;
        let linked = writer.link(twin).await.unwrap();
        // A store may always say no.
        assert!(same || !linked);
        if linked {
            writer.abort().await;
        } else if matches!(writer.finish().await, Err(StoreError::Exists)) {
            store.delete(&second).await.unwrap();
            put(store, &second, bytes).await;
        }
        assert!(get(store, &second, None).await.unwrap() == *bytes);
    }
    store.delete(&first).await.unwrap();
    absent(store, &first).await;
    assert!(get(store, &second, None).await.unwrap() == bytes, "each name stands for itself");
    store.delete(&second).await.unwrap();
}

async fn files_are_adopted(store: &dyn BlobStore) {
    let elsewhere = tempfile::tempdir().unwrap();
    for size in [0, 700_001] {
        let (key, bytes, file) = (key(), sample(size, 12), elsewhere.path().join(size.to_string()));
        std::fs::write(&file, &bytes).unwrap();
        // A store may always say no, and nothing has happened then.
        let Some(given_up) = store.adopt(&key, &file).await.unwrap() else { return absent(store, &key).await };
        given_up.abort().await;
        absent(store, &key).await;
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "the file is not the store's to remove");

        let mut writer = store.adopt(&key, &file).await.unwrap().unwrap();
        absent(store, &key).await;
        assert!(read(writer.reread().await.unwrap()).await.unwrap() == bytes);
        assert_eq!(writer.finish().await.unwrap(), size as u64);
        assert!(get(store, &key, None).await.unwrap() == bytes);

        // A blob is written over as a whole, and the file has its own bytes.
        put_over(store, &key, b"other").await;
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        store.adopt(&key, &file).await.unwrap().unwrap().finish().await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(get(store, &key, None).await.unwrap() == bytes, "each name stands for itself");
        store.delete(&key).await.unwrap();

        assert!(store.adopt(&key, &file).await.unwrap().is_none(), "there is no such file any more");
        let folder = store.adopt(&key, elsewhere.path()).await;
        assert!(folder.is_err() || folder.is_ok_and(|writer| writer.is_none()));
        let written = async {
            std::fs::write(&file, &bytes).unwrap();
            let mut writer = store.adopt(&key, &file).await.unwrap().unwrap();
            writer.write(sample(10, 13).into()).await?;
            writer.finish().await
        };
        assert!(written.await.is_err(), "an adopted file takes no bytes");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        absent(store, &key).await;
    }
}
