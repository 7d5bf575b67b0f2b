//! Readers behind a writer.

use super::*;
use crate::cache::fake::{Upstream, file, header, noise};

#[tokio::test]
async fn thirty_readers_are_one_request() {
    let bytes = noise(1, 3_000_000);
    let upstream = Upstream::with(file(&bytes));
    upstream.change("f-1.img", |file| file.gate = Some(1_000_000));
    let place = Arc::new(Place::new(upstream));
    let readers: Vec<_> = (0..30)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.bytes().await.unwrap() })
        })
        .collect();
    place.until(|place| place.here() > 900_000).await;
    place.upstream.change("f-1.img", |file| file.gate = None);
    let mut began = 0;
    for reader in readers {
        let (outcome, got) = reader.await.unwrap();
        assert_eq!(got, bytes);
        began += usize::from(outcome == Outcome::Fill);
    }
    assert_eq!((place.upstream.heads("f-1.img").len(), began), (1, 1));
    let (outcome, got) = place.bytes().await.unwrap();
    assert!(matches!(outcome, Outcome::Hit { .. }) && got == bytes, "{outcome:?}");
    assert_eq!(place.upstream.requests(), 1);
}

#[tokio::test]
async fn a_reader_has_what_is_here_while_the_rest_is_coming() {
    let bytes = noise(2, 3_000_000);
    let upstream = Upstream::with(file(&bytes));
    upstream.change("f-1.img", |file| file.gate = Some(2_000_000));
    let place = Place::new(upstream);
    let served = place.get().await.unwrap();
    assert_eq!((served.size, &served.outcome), (Some(3_000_000), &Outcome::Fill));
    assert_eq!(read(&served, Some(1000..1_900_000)).await.unwrap(), bytes[1000..1_900_000]);
    assert_eq!(served.open(Some(0..3_000_001)).await.unwrap_err().reason(), Reason::BadRange);
    place.upstream.change("f-1.img", |file| file.gate = None);
    assert_eq!(read(&served, None).await.unwrap(), bytes);
    assert_eq!(read(&served, Some(2_999_999..3_000_000)).await.unwrap(), bytes[2_999_999..]);
}

#[tokio::test]
async fn a_part_far_ahead_is_one_request_of_its_own_and_stays() {
    let bytes = noise(3, 1_000_000).repeat(24);
    let upstream = Upstream::with(file(&bytes));
    upstream.change("f-1.img", |file| file.gate = Some(100_000));
    let place = Place::new(upstream);
    let served = place.get().await.unwrap();
    place.until(|place| place.here() > 90_000).await;
    // The gate holds the first request only.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let side = tokio::spawn({
        let (cache, key) = (Arc::clone(&place.cache), place.key());
        async move {
            let served = cache.get(&key, &Lookup::default()).await.unwrap();
            read(&served, Some(23_900_000..24_000_000)).await
        }
    });
    place.until(|place| place.upstream.heads("f-1.img").len() == 2).await;
    let head = place.upstream.heads("f-1.img")[1].clone();
    assert_eq!(header(&head, "Range"), Some("bytes=23900000-23999999"));
    assert_eq!(header(&head, "If-Range"), served.etag.as_deref());
    place.upstream.change("f-1.img", |file| file.gate = None);
    assert_eq!(side.await.unwrap().unwrap(), bytes[23_900_000..]);
    assert_eq!(read(&served, None).await.unwrap(), bytes);
    assert!(place.upstream.sent() < 24_300_000, "the writer skips what is here: {}", place.upstream.sent());
}

#[tokio::test]
async fn a_transfer_that_nobody_reads_stops_and_goes_on_later() {
    let bytes = noise(4, 1_000_000).repeat(72);
    let upstream = Upstream::with(file(&bytes));
    upstream.change("f-1.img", |file| file.gate = Some(4_000_000));
    let place = Place::new(upstream);
    let served = place.get().await.unwrap();
    place.until(|place| place.here() > 3_900_000).await;
    drop(served);
    place.until(|place| place.cache.entries().first().is_some_and(|view| view.state == "partial")).await;
    place.upstream.change("f-1.img", |file| file.gate = None);
    let (_, got) = place.bytes().await.unwrap();
    assert!(got == bytes);
    let head = place.upstream.heads("f-1.img")[1].clone();
    assert!(header(&head, "Range").is_some_and(|range| range.starts_with("bytes=39")), "{head}");
    assert!(place.upstream.sent() < 73_000_000, "{}", place.upstream.sent());
}

#[tokio::test]
async fn a_reader_that_leaves_ends_no_other_and_little_is_finished() {
    let bytes = noise(5, 2_000_000);
    let upstream = Upstream::with(file(&bytes));
    upstream.change("f-1.img", |file| file.gate = Some(500_000));
    let place = Place::new(upstream);
    let (first, second) = (place.get().await.unwrap(), place.get().await.unwrap());
    drop(first);
    let reading = tokio::spawn(async move { read(&second, None).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    reading.abort();
    // Less than 64 MiB are missing: it is finished without readers.
    tokio::time::sleep(Duration::from_millis(300)).await;
    place.upstream.change("f-1.img", |file| file.gate = None);
    place.until(|place| place.cache.stats().entries == 1).await;
    assert_eq!(place.bytes().await.unwrap().1, bytes);
    assert_eq!(place.upstream.requests(), 1);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_its_first_byte() {
    let place = Place::under(Upstream::with(file(&noise(6, 100_000))), |s| s.file_bytes_max = 99_999, Sums::default());
    assert_eq!(place.get().await.unwrap_err().reason(), Reason::FileTooLarge);
    let place = Place::under(Upstream::with(file(&noise(6, 100_000))), |s| s.budget = Some(99_999), Sums::default());
    let error = place.get().await.unwrap_err();
    assert!(error.reason() == Reason::StoreFull && error.message().contains("1 bytes are missing"), "{error}");
    assert_eq!(place.cache.stats().used_bytes, 0);
    let endless = crate::cache::fake::Script { endless: true, ..file(&noise(6, 100_000)) };
    let place = Place::under(Upstream::with(endless), |s| s.file_bytes_max = 50_000, Sums::default());
    assert!(place.bytes().await.is_err());
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let place = Place::new(Upstream::with(file(b"")));
    for _ in 0..2 {
        assert_eq!(place.bytes().await.unwrap().1, b"");
    }
    assert_eq!(place.upstream.requests(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_not_asked_for_again_at_once() {
    let place = Place::new(Upstream::new());
    for _ in 0..5 {
        assert_eq!(place.get().await.unwrap_err().reason(), Reason::UrlNotFound);
    }
    assert_eq!(place.upstream.requests(), 1);
    let bad = crate::cache::fake::Script { status: 403, ..file(b"") };
    let place = Place::new(Upstream::with(bad));
    for asked in 1..4 {
        assert_eq!(place.get().await.unwrap_err().reason(), Reason::Upstream);
        assert_eq!(place.upstream.requests(), asked, "what is forbidden may be allowed the next time");
    }
}

#[tokio::test]
async fn room_is_made_from_what_was_not_used_for_the_longest_time() {
    let upstream = Upstream::new();
    for name in ["a-1.img", "b-1.img", "c-1.img", "d-1.img"] {
        upstream.put(name, file(&noise(7, 300_000)));
    }
    let place = Place::under(upstream, |s| s.budget = Some(1_000_000), Sums::default());
    let key = |name: &str| Key::parse(&place.upstream.url(name)).unwrap();
    for (name, hours) in [("a-1.img", 3), ("b-1.img", 9), ("c-1.img", 5)] {
        place.cache.bring(&key(name), None, Level::None, &|_| {}).await.unwrap();
        let old = |entry: &mut crate::cache::entry::Entry| {
            entry.used_at -= hours * 3_600_000_000;
            entry.fetched_at -= hours * 3_600_000_000;
        };
        place.cache.held(&key(name)).unwrap().change(old).unwrap();
    }
    place.cache.pin(&key("b-1.img"), true).await.unwrap();
    let dry = place.cache.prune(Some(500_000), true).await.unwrap();
    assert_eq!(
        dry.iter().map(|pruned| pruned.what.clone()).collect::<Vec<_>>(),
        [place.upstream.url("c-1.img"), place.upstream.url("a-1.img")]
    );
    assert_eq!(place.cache.stats().entries, 3, "only said");
    let whole = place.cache.bring(&key("d-1.img"), None, Level::None, &|_| {}).await.unwrap();
    assert!(place.cache.held(&key("c-1.img")).is_none(), "the pinned one stays, and c was used before a");
    assert!(place.cache.held(&key("a-1.img")).is_some() && place.cache.held(&key("b-1.img")).is_some());
    assert!(place.cache.drop_entry(&key("d-1.img")).await.unwrap());
    assert!(whole.path.exists(), "a path is good for as long as its holder lives");
    let path = whole.path.clone();
    drop(whole);
    assert!(!path.exists());
}

/// Builds of images, which are files in a directory.
struct Builds {
    dir: std::path::PathBuf,
    url: String,
    locked: std::sync::Mutex<Vec<crate::vendor::Sum>>,
}

#[async_trait::async_trait]
impl crate::cache::Superseded for Builds {
    async fn stock(&self) -> crate::error::Result<crate::cache::Stock> {
        // The one that shares the cache's file comes last, when that is gone already.
        let mut names: Vec<_> = std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort_by(|one, other| other.cmp(one));
        let build = |path: std::path::PathBuf| crate::cache::SupersededBuild {
            id: path.to_str().unwrap().to_owned(),
            what: "old".to_owned(),
            reason: "a newer build took its place".to_owned(),
            url: self.url.clone(),
            files: vec![crate::cache::FileOnDisk::at(&path).unwrap()],
        };
        let locked = self.locked.lock().unwrap().iter().cloned().collect();
        Ok(crate::cache::Stock { builds: names.into_iter().map(build).collect(), locked, ..Default::default() })
    }

    async fn remove(&self, build: &crate::cache::SupersededBuild) -> crate::error::Result<bool> {
        std::fs::remove_file(&build.id).unwrap();
        Ok(true)
    }
}

#[tokio::test]
async fn builds_go_with_the_file_that_they_share_and_count_once() {
    let upstream = Upstream::new();
    for (name, bytes) in [("a-1.img", 300_000), ("b-1.img", 300_000), ("c-1.img", 300_000), ("d-1.img", 2_000_000)] {
        upstream.put(name, file(&noise(bytes as u64 + name.as_bytes()[0] as u64, bytes)));
    }
    let place = Place::under(upstream, |s| s.budget = Some(1_000_000), Sums::default());
    let key = |name: &str| Key::parse(&place.upstream.url(name)).unwrap();
    let images = tempfile::tempdir_in(place.dir.path()).unwrap();
    for name in ["a-1.img", "b-1.img"] {
        let whole = place.cache.bring(&key(name), None, Level::None, &|_| {}).await.unwrap();
        std::fs::hard_link(&whole.path, images.path().join(name)).unwrap();
        let old = |entry: &mut crate::cache::entry::Entry| {
            entry.used_at -= 3_600_000_000;
            entry.fetched_at -= 3_600_000_000;
        };
        place.cache.held(&key(name)).unwrap().change(old).unwrap();
    }
    // The image of a is a build that may go; that of b is current.
    let builds = tempfile::tempdir_in(place.dir.path()).unwrap();
    std::fs::rename(images.path().join("a-1.img"), builds.path().join("a")).unwrap();
    std::fs::write(builds.path().join("unpacked"), noise(1, 200_000)).unwrap();
    let seam = std::sync::Arc::new(Builds {
        dir: builds.path().to_owned(),
        url: key("a-1.img").url().to_owned(),
        locked: std::sync::Mutex::default(),
    });
    place.cache.share_budget(std::sync::Arc::clone(&seam) as _);
    let all = place.cache.prune(Some(0), true).await.unwrap();
    let mut bytes: Vec<_> = all.iter().map(|pruned| (pruned.what == "old", pruned.bytes)).collect();
    bytes.sort_unstable();
    assert!(bytes.contains(&(false, 0)), "the disk gains nothing by b, which is an image's too: {all:?}");
    assert_eq!(all.iter().filter(|pruned| pruned.what == "old").count(), 2, "{all:?}");
    assert_eq!(place.cache.stats().used_bytes, 800_000, "what a and its image share is counted once");
    // Too much is refused before anything goes.
    let error = place.cache.bring(&key("d-1.img"), None, Level::None, &|_| {}).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreFull, "{error}");
    assert_eq!(std::fs::read_dir(builds.path()).unwrap().count(), 2);
    assert!(place.cache.held(&key("b-1.img")).is_some());
    // What is locked stays, and builds go first.
    let sum = place.cache.held(&key("b-1.img")).unwrap().entry().sum(crate::vendor::SumAlgorithm::Sha256).cloned();
    seam.locked.lock().unwrap().extend(sum);
    place.cache.bring(&key("c-1.img"), None, Level::None, &|_| {}).await.unwrap();
    assert!(std::fs::read_dir(builds.path()).unwrap().count() < 2 && place.cache.held(&key("b-1.img")).is_some());
    let rest = place.cache.prune(Some(0), false).await.unwrap();
    assert!(rest.iter().all(|pruned| pruned.what == "old"), "{rest:?}");
    assert!(place.cache.held(&key("b-1.img")).is_some());
}
