//! Servers that are slow, that refuse, or that stand in for others: each costs one wait, and none decides for ever.

use std::time::Instant;

use super::*;
use crate::cache::fake::{Script, Upstream, file, noise};

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_once() {
    let bytes = noise(81, 100_000);
    let patient = |settings: &mut CacheSettings| settings.stale_after = Duration::from_millis(400);
    let place = Place::under(Upstream::with(file(&bytes)), patient, Sums::default());
    place.upstream.put("g-1.img", file(&bytes));
    let other = Key::parse(&place.upstream.url("g-1.img")).unwrap();
    place.bytes().await.unwrap();
    read(&place.cache.get(&other, &Lookup::default()).await.unwrap(), None).await.unwrap();
    place.age();
    let long_ago = |entry: &mut crate::cache::entry::Entry| entry.checked_at -= 100 * 24 * 3600 * 1_000_000;
    place.cache.held(&other).unwrap().change(long_ago).unwrap();
    for name in ["f-1.img", "g-1.img"] {
        place.upstream.change(name, |file| file.silent = true);
    }
    let stale = Outcome::Stale { detail: "upstream-slow" };
    let began = Instant::now();
    assert_eq!(place.get().await.unwrap().outcome, stale);
    assert!(began.elapsed() >= Duration::from_millis(390), "{:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(place.get().await.unwrap().outcome, stale);
        assert_eq!(place.cache.get(&other, &Lookup::default()).await.unwrap().outcome, stale);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "twenty waits are eight seconds");
    assert_eq!(place.upstream.requests(), 3, "one question, and none about the other file");
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_once_about_a_copy() {
    let bytes = noise(82, 100_000);
    for (status, detail) in [(404, "upstream-gone"), (403, "upstream-error"), (500, "upstream-error")] {
        let place = Place::new(Upstream::with(file(&bytes)));
        place.bytes().await.unwrap();
        place.age();
        place.upstream.change("f-1.img", |file| file.status = status);
        for _ in 0..4 {
            let (outcome, got) = place.bytes().await.unwrap();
            assert!(outcome == Outcome::Stale { detail } && got == bytes, "{status}: {outcome:?}");
        }
        assert_eq!(place.upstream.requests(), 2, "{status}");
    }
}

#[tokio::test]
async fn the_age_in_other_caches_counts() {
    let bytes = noise(83, 1000);
    let headers = "Age: 100\r\nCache-Control: max-age=300\r\n".to_owned();
    let place = Place::new(Upstream::with(Script { headers, ..file(&bytes) }));
    place.bytes().await.unwrap();
    let served = place.get().await.unwrap();
    assert!((100..110).contains(&served.age.as_secs()), "{:?}", served.age);
    let Outcome::Hit { ttl: Some(ttl) } = served.outcome else { panic!("{:?}", served.outcome) };
    assert!((190..=200).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_date_and_a_length_prove_nothing_against_a_digest() {
    let (old, new) = (noise(84, 100_000), noise(85, 100_000));
    let modified = Some("Mon, 02 Nov 2026 10:00:00 GMT".to_owned());
    let script = |bytes: &[u8]| Script { last_modified: modified.clone(), ..file(bytes) };
    let place = Place::new(Upstream::with(script(&old)));
    place.bytes().await.unwrap();
    place.upstream.put("f-1.img", script(&new));
    let bring = |bytes: &[u8]| {
        let expected = expectation(sha256(bytes));
        let (cache, key) = (Arc::clone(&place.cache), place.key());
        async move { cache.bring(&key, Some(expected), Level::Checksum, &|_| {}).await }
    };
    assert_eq!(std::fs::read(bring(&new).await.unwrap().path).unwrap(), new);
    assert_eq!(bring(&old).await.unwrap_err().reason(), Reason::VendorMismatch);
}

#[tokio::test]
async fn a_mirror_with_other_bytes_is_left_for_the_host_itself() {
    let (right, wrong) = (noise(86, 300_000), noise(87, 300_000));
    for with_parent in [false, true] {
        let (stand_in, upstream) = (Upstream::with(file(&wrong)), Upstream::with(file(&right)));
        let host = Key::parse(&upstream.url("")).unwrap().host().to_owned();
        let behind = upstream.url("f-1.img").replace("http://", "cache/http/");
        stand_in.put(&behind, file(&wrong));
        let set = |settings: &mut CacheSettings| match with_parent {
            true => settings.parents = vec![stand_in.url("")],
            false => settings.mirrors = [(host, vec![stand_in.url("")])].into(),
        };
        let place = Place::under(upstream, set, Sums::default());
        place.expect(&right);
        assert!(place.bytes().await.is_err(), "they were going out when it was found");
        assert!(place.bytes().await.unwrap().1 == right);
        assert_eq!(place.cache.stats().quarantine_bytes, 0);
        assert_eq!((stand_in.requests(), place.upstream.requests()), (1, 1));
    }
}

#[tokio::test]
async fn a_list_that_comes_behind_the_look_up_counts() {
    let bytes = noise(88, 300_000);
    let sums = Sums { require: Level::Checksum, ..Sums::default() };
    let place = Place::under(Upstream::with(Script { gate: Some(100_000), ..file(&bytes) }), |_| {}, sums);
    let served = place.get().await.unwrap();
    let reading = tokio::spawn(async move { read(&served, None).await });
    place.until(|place| place.here() > 90_000).await;
    place.expect(&bytes);
    place.upstream.change("f-1.img", |file| file.gate = None);
    assert!(reading.await.unwrap().unwrap() == bytes);
    assert_eq!(place.get().await.unwrap().level, Level::Checksum);
}

#[tokio::test]
async fn the_settings_demand_of_files_of_no_vendor_and_a_pull_of_its_own_file() {
    let place = Place::new(Upstream::with(file(&noise(89, 1000))));
    let whole = place.cache.bring(&place.key(), None, Level::None, &|_| {}).await.unwrap();
    assert_eq!(whole.expectation.evidence.level, Level::None);
    let strict = |level| {
        let sums = Sums { require: level, ..Sums::default() };
        Place::under(Upstream::with(file(&noise(90, 1000))), |settings| settings.require = Level::Signature, sums)
    };
    // Its vendor demands less than the settings do of others.
    let place = strict(Level::None);
    assert!(place.bytes().await.is_ok());
    let place = strict(Level::Checksum);
    let refused = place.cache.bring(&place.key(), None, Level::Checksum, &|_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::WeakerThanRequired);
    place.cache.slot(&place.key(), |slot| slot.quiet = None);
    place.cache.bring(&place.key(), None, Level::None, &|_| {}).await.unwrap();
    place.cache.slot(&place.key(), |slot| slot.quiet = None);
    assert!(place.bytes().await.is_err(), "the door demands the usual level");
}

#[tokio::test]
async fn a_server_that_leads_to_a_dead_one_is_not_dead() {
    let bytes = noise(91, 1000);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::new(Upstream::with(file(&bytes)));
    let headers = format!("Location: http://{dead}/f-1.img\r\n");
    place.upstream.put("red-1.img", Script { status: 302, headers, ..file(b"") });
    let red = Key::parse(&place.upstream.url("red-1.img")).unwrap();
    let error = place.cache.get(&red, &Lookup::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UpstreamDead);
    assert!(error.to_string().contains(&dead.to_string()), "{error}");
    assert!(place.upstream.heads("red-1.img").len() > 1, "it might have led elsewhere");
    assert!(place.bytes().await.unwrap().1 == bytes);
    // And back at once, when it leads to a place that there is.
    let headers = format!("Location: {}\r\n", place.upstream.url("f-1.img"));
    place.upstream.put("red-1.img", Script { status: 302, headers, ..file(b"") });
    place.cache.slot(&red, |slot| slot.quiet = None);
    assert!(read(&place.cache.get(&red, &Lookup::default()).await.unwrap(), None).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_page_in_the_place_of_an_image_is_not_kept() {
    let bytes = noise(92, 1000);
    let page = Script { headers: "Content-Type: text/html; charset=utf-8\r\n".to_owned(), ..file(b"<html>") };
    let place = Place::new(Upstream::with(page.clone()));
    assert_eq!(place.get().await.unwrap_err().reason(), Reason::Upstream);
    place.upstream.put("f-1.img", file(&bytes));
    assert!(place.bytes().await.unwrap().1 == bytes);
    place.age();
    place.upstream.put("f-1.img", page.clone());
    let (outcome, got) = place.bytes().await.unwrap();
    assert!(matches!(outcome, Outcome::Stale { .. }) && got == bytes, "{outcome:?}");
    place.upstream.put("page", page);
    let other = Key::parse(&place.upstream.url("page")).unwrap();
    assert!(place.cache.get(&other, &Lookup::default()).await.is_ok(), "it may be one");
}

#[tokio::test]
async fn one_servers_tag_is_its_word_after_any_failure() {
    let (old, new) = (noise(93, 1_000_000), noise(94, 1_000_000));
    let modified = Some("Mon, 02 Nov 2026 10:00:00 GMT".to_owned());
    let dated = "Date: Tue, 03 Nov 2026 10:00:00 GMT\r\n".to_owned();
    let script = |bytes: &[u8]| Script { last_modified: modified.clone(), headers: dated.clone(), ..file(bytes) };
    for etag in [file(&new).etag, None] {
        let place = Place::new(Upstream::with(Script { gate: Some(600_000), cuts: [600_000].into(), ..script(&old) }));
        let served = place.get().await.unwrap();
        let reading = tokio::spawn(async move { read(&served, None).await });
        place.until(|place| place.here() > 580_000).await;
        place.upstream.change("f-1.img", |file| (file.status, file.gate) = (503, None));
        place.until(|place| place.upstream.requests() > 2).await;
        place.upstream.put("f-1.img", Script { etag: etag.clone(), ..script(&new) });
        assert!(reading.await.unwrap().is_err(), "{etag:?}: its content is gone");
        place.until(|place| place.cache.stats().fills == 0).await;
        assert!(place.bytes().await.unwrap().1 == new);
    }
}
