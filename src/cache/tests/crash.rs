//! A process that is killed at any moment: what it leaves never becomes wrong bytes.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::cache::fake::{Script, Upstream, file, noise};

/// A copy of a directory while it is being written to: of transfers first, so that a later one is not beside a file that went before it
/// began. Files that vanish meanwhile are left out.
pub(super) fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut rooms = vec![std::path::PathBuf::new()];
    while let Some(room) = rooms.pop() {
        fs::create_dir_all(copy.path().join(&room)).unwrap();
        let mut entries: Vec<_> = fs::read_dir(dir.join(&room)).unwrap().map_while(Result::ok).collect();
        entries.sort_by_key(|entry| entry.file_name() == "partial");
        for entry in entries {
            let below = room.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => rooms.push(below),
                _ => drop(fs::copy(dir.join(&below), copy.path().join(&below))),
            }
        }
    }
    copy
}

fn files_below(dir: &Path, room: &str) -> BTreeSet<String> {
    fs::read_dir(dir.join(room)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_copy_of_any_moment_serves_right_bytes() {
    let upstream = Upstream::new();
    let names: Vec<String> = (0..6).map(|number| format!("f-{number}.img")).collect();
    let contents: Vec<Vec<u8>> = (0..6).map(|number| noise(70 + number, 1_200_000)).collect();
    for (name, bytes) in names.iter().zip(&contents) {
        upstream.put(name, Script { cuts: [700_000, 1_100_000].into(), ..file(bytes) });
    }
    let place = Place::under(upstream, |settings| settings.retry_after = Duration::from_millis(5), Sums::default());
    let keys: Vec<Key> = names.iter().map(|name| Key::parse(&place.upstream.url(name)).unwrap()).collect();
    let filling = tokio::spawn({
        let (cache, keys) = (Arc::clone(&place.cache), keys.clone());
        async move {
            for round in 0..3 {
                for key in &keys {
                    cache.bring(key, None, Level::None, &|_| {}).await.unwrap();
                }
                for key in keys.iter().filter(|_| round < 2) {
                    cache.drop_entry(key).await.unwrap();
                }
            }
        }
    });
    let mut copies = Vec::new();
    while !filling.is_finished() && copies.len() < 14 {
        copies.push(copy_of(place.dir.path()));
        tokio::time::sleep(Duration::from_millis(23)).await;
    }
    filling.await.unwrap();
    assert!(copies.len() > 3);
    for copy in copies {
        let cache = Cache::open(settings(copy.path()), fetcher(), Arc::new(Sums::default()), clock).unwrap();
        for (key, bytes) in keys.iter().zip(&contents) {
            let served = cache.get(key, &Lookup::default()).await.unwrap();
            assert!(read(&served, None).await.unwrap() == *bytes, "{key}");
        }
        let whole: BTreeSet<_> = files_below(copy.path(), "files");
        let entries: BTreeSet<_> = files_below(copy.path(), "entries");
        assert_eq!(whole.len(), 6);
        assert_eq!(entries, whole.iter().map(|name| format!("{name}.json")).collect());
        assert!(files_below(copy.path(), "partial").is_empty(), "no staged file is left behind");
    }
}

#[tokio::test]
async fn what_does_not_fit_together_goes_at_the_start() {
    let bytes = noise(80, 100_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.bytes().await.unwrap();
    let dir = place.dir.path().to_owned();
    for (path, text) in [
        ("files/0123", "orphan"),
        ("partial/0123", "orphan"),
        ("partial/4567.json", "{"),
        ("entries/89ab.json", "{\"id\":\"89ab\"}"),
        ("entries/cdef.json.new", "{"),
        ("quarantine/0123", "orphan"),
    ] {
        fs::write(dir.join(path), text).unwrap();
    }
    let place = place.reopened();
    assert!(place.bytes().await.unwrap().1 == bytes);
    let left = ["files", "entries", "partial", "quarantine"].map(|room| files_below(&dir, room).len());
    assert_eq!(left, [1, 1, 0, 0]);
    // A file of another length is not the one that its entry speaks of.
    let file = files_below(&dir, "files").pop_first().unwrap();
    fs::write(dir.join("files").join(file), "short").unwrap();
    let place = place.reopened();
    assert_eq!(place.cache.stats().entries, 0);
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!(place.upstream.requests(), 2);
}
