//! Copies that are old, servers that are dead, and the state of sending nothing.

use std::net::TcpListener;
use std::time::Instant;

use super::*;
use crate::cache::Freshness;
use crate::cache::fake::{Script, Upstream, file, header, noise};

#[tokio::test]
async fn an_old_copy_is_asked_about_once_and_its_bytes_do_not_come_again() {
    let bytes = noise(31, 200_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.bytes().await.unwrap();
    let sent = place.upstream.sent();
    place.age();
    let (outcome, got) = place.bytes().await.unwrap();
    assert!(outcome == Outcome::Revalidated && got == bytes, "{outcome:?}");
    let head = place.upstream.heads("f-1.img")[1].clone();
    assert!(header(&head, "If-None-Match").is_some());
    assert!(matches!(place.bytes().await.unwrap().0, Outcome::Hit { .. }));
    assert_eq!((place.upstream.requests(), place.upstream.sent()), (2, sent));
}

#[tokio::test]
async fn another_tag_under_the_same_date_and_length_is_a_mirror() {
    let bytes = noise(32, 200_000);
    let modified = Some("Mon, 02 Nov 2026 10:00:00 GMT".to_owned());
    let script = Script { last_modified: modified, random_tags: true, ..file(&bytes) };
    let place = Place::new(Upstream::with(script));
    place.bytes().await.unwrap();
    place.age();
    assert_eq!(place.bytes().await.unwrap().0, Outcome::Revalidated);
}

/// Sums of one length and date, which differ in their tags.
#[tokio::test]
async fn a_document_is_what_its_tag_says() {
    let modified = Some("Mon, 02 Nov 2026 10:00:00 GMT".to_owned());
    let place = Place::new(Upstream::new());
    let key = Key::parse(&place.upstream.url("SHA256SUMS")).unwrap();
    for (text, requests) in [(b"one", 1), (b"two", 2), (b"two", 3)] {
        place.upstream.put("SHA256SUMS", Script { last_modified: modified.clone(), ..file(text) });
        if let Some(held) = place.cache.held(&key) {
            held.change(|entry| entry.checked_at -= 3_600_000_000).unwrap();
        }
        let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
        assert_eq!(read(&served, None).await.unwrap(), text);
        assert_eq!(place.upstream.requests(), requests);
    }
    assert_eq!(place.upstream.sent(), 6, "what is current is not sent again");
}

#[tokio::test]
async fn a_new_content_replaces_the_old_one_only_when_it_is_whole() {
    let (old, new) = (noise(33, 200_000), noise(34, 300_000));
    let place = Place::new(Upstream::with(file(&old)));
    place.bytes().await.unwrap();
    place.age();
    place.upstream.put("f-1.img", Script { gate: Some(100_000), ..file(&new) });
    let served = place.get().await.unwrap();
    assert_eq!((&served.outcome, served.size), (&Outcome::Fill, Some(300_000)));
    assert_eq!(std::fs::read(place.cache.held(&place.key()).unwrap().path()).unwrap(), old);
    place.upstream.change("f-1.img", |file| file.gate = None);
    assert!(read(&served, None).await.unwrap() == new);
    assert!(place.bytes().await.unwrap().1 == new);
    assert_eq!(place.cache.stats().entries, 1);
    assert!(place.reopened().bytes().await.unwrap().1 == new);
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_copy() {
    let (old, new) = (noise(35, 200_000), noise(36, 200_000));
    let place = Place::new(Upstream::with(file(&old)));
    place.bytes().await.unwrap();
    for script in [
        Script { status: 500, ..file(b"error") },
        Script { status: 404, ..file(b"error") },
        Script { announced: Some(900_000), ..file(&new) },
    ] {
        place.age();
        place.upstream.put("f-1.img", script);
        let _ = place.bytes().await;
        place.until(|place| place.cache.stats().fills == 0).await;
        assert_eq!(std::fs::read(place.cache.held(&place.key()).unwrap().path()).unwrap(), old);
    }
    // An error page in its place does not match what is expected of the file.
    place.expect(&old);
    place.age();
    place.upstream.put("f-1.img", file(b"<html>not found</html>"));
    assert!(place.bytes().await.is_err() || place.bytes().await.unwrap().1 == old);
    assert!(place.bytes().await.unwrap().1 == old);
}

/// A moving name of which a verified copy is here, and then other bytes that its sums do not name, or that nothing vouches for.
#[tokio::test]
async fn a_refresh_that_does_not_verify_leaves_the_verified_copy() {
    let (old, new) = (noise(44, 200_000), noise(45, 200_000));
    for is_named in [true, false] {
        let sums = Sums { require: Level::Checksum, ..Sums::default() };
        let place = Place::under(Upstream::new(), |_| {}, sums);
        let (name, key) = ("latest.img", Key::parse(&place.upstream.url("latest.img")).unwrap());
        place.upstream.put(name, file(&old));
        let expected = expectation(sha256(&old));
        place.sums.known.lock().unwrap().insert(key.url().to_owned(), expected);
        place.cache.bring(&key, None, Level::None, &|_| {}).await.unwrap();
        if !is_named {
            place.sums.known.lock().unwrap().clear();
        }
        place.upstream.put(name, file(&new));
        for _ in 0..2 {
            let held = place.cache.held(&key).unwrap();
            held.change(|entry| entry.checked_at -= 100 * 24 * 3600 * 1_000_000).unwrap();
            let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
            let got = read(&served, None).await;
            assert!(got.is_err() || got.unwrap() == old, "no byte of the end of the new ones goes out");
            place.until(|place| place.cache.stats().fills == 0).await;
            // And afterwards the copy goes out, as what it is.
            let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
            assert_eq!(
                (&served.outcome, served.level),
                (&Outcome::Stale { detail: "upstream-differs" }, Level::Checksum)
            );
            assert!(read(&served, None).await.unwrap() == old);
        }
        let place = place.reopened();
        assert_eq!(place.cache.held(&key).unwrap().entry().evidence.level, Level::Checksum);
        assert!(std::fs::read(place.cache.held(&key).unwrap().path()).unwrap() == old);
    }
}

/// A listener whose queue is full takes no connection, and refuses none.
fn black_hole() -> (TcpListener, Vec<std::net::TcpStream>) {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let brief = Duration::from_millis(200);
    let fill = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, brief).ok());
    let held = fill.take(8).collect();
    (listener, held)
}

#[tokio::test]
async fn a_dead_upstream_costs_one_wait() {
    let bytes = noise(37, 200_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.bytes().await.unwrap();
    // The copy becomes one of a host that does not answer.
    let (dead, _held) = black_hole();
    let key = Key::parse(&format!("http://{}/f-1.img", dead.local_addr().unwrap())).unwrap();
    let held = place.cache.held(&place.key()).unwrap();
    held.change(|entry| entry.key = key.url().to_owned()).unwrap();
    let place = place.reopened();
    place.cache.held(&key).unwrap().change(|entry| entry.checked_at = 0).unwrap();
    let began = Instant::now();
    let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
    assert!(matches!(served.outcome, Outcome::Stale { .. }), "{:?}", served.outcome);
    assert!(began.elapsed() >= Duration::from_millis(1900) && began.elapsed() < Duration::from_secs(8));
    assert!(read(&served, None).await.unwrap() == bytes);
    // The question goes on, and then the host is known to be dead.
    place.until(|place| place.cache.stats().hosts_dead == 1).await;
    let began = Instant::now();
    for _ in 0..10 {
        let served = place.cache.get(&key, &Lookup::default()).await.unwrap();
        assert!(matches!(served.outcome, Outcome::Stale { .. }));
    }
    assert!(began.elapsed() < Duration::from_millis(1500));
    let other = Key::parse(&format!("http://{}/other-1.img", dead.local_addr().unwrap())).unwrap();
    let error = place.cache.get(&other, &Lookup::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UpstreamDead, "{error}");
}

#[tokio::test]
async fn offline_nothing_is_sent_and_another_run_remembers() {
    let bytes = noise(38, 200_000);
    let upstream = Upstream::with(file(&bytes));
    upstream.put("g-1.img", file(&bytes));
    let place = Place::new(upstream);
    place.bytes().await.unwrap();
    place.age();
    place.cache.set_offline(true).unwrap();
    let other = Key::parse(&place.upstream.url("g-1.img")).unwrap();
    let place = place.reopened();
    assert!(place.cache.is_offline().is_some());
    let (outcome, got) = place.bytes().await.unwrap();
    assert!(outcome == Outcome::Offline && got == bytes);
    for lookup in [Lookup::default(), Lookup { head: true, ..Lookup::default() }] {
        let error = place.cache.get(&other, &lookup).await.unwrap_err();
        assert!(error.reason() == Reason::Offline && error.message().contains("offline since"), "{error}");
    }
    assert!(place.cache.bring(&other, None, Level::None, &|_| {}).await.is_err());
    assert_eq!(place.upstream.requests(), 1);
    place.cache.set_offline(false).unwrap();
    assert!(place.cache.get(&other, &Lookup::default()).await.is_ok());
}

#[tokio::test]
async fn going_offline_stops_transfers_which_go_on_later() {
    let bytes = noise(39, 2_000_000);
    let place = Place::new(Upstream::with(Script { gate: Some(1_000_000), ..file(&bytes) }));
    let served = place.get().await.unwrap();
    let reading = tokio::spawn(async move { read(&served, None).await });
    place.until(|place| place.here() > 900_000).await;
    place.cache.set_offline(true).unwrap();
    assert!(reading.await.unwrap().unwrap_err().contains("offline"));
    place.upstream.change("f-1.img", |file| file.gate = None);
    place.cache.set_offline(false).unwrap();
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert!(header(&place.upstream.heads("f-1.img")[1], "Range").is_some());
}

#[tokio::test]
async fn clients_can_ask_for_newer_and_for_nothing_but_the_cache() {
    let bytes = noise(40, 100_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    let only = Lookup { freshness: Freshness::OnlyIfCached, ..Lookup::default() };
    assert_eq!(place.cache.get(&place.key(), &only).await.unwrap_err().reason(), Reason::NotCached);
    assert_eq!(place.upstream.requests(), 0);
    place.bytes().await.unwrap();
    assert!(place.cache.get(&place.key(), &only).await.is_ok());
    let newer = Lookup { freshness: Freshness::Revalidate, ..Lookup::default() };
    place.cache.get(&place.key(), &newer).await.unwrap();
    assert_eq!(place.upstream.requests(), 1, "it was asked a moment ago");
    place.cache.held(&place.key()).unwrap().change(|entry| entry.checked_at -= 6_000_000).unwrap();
    assert_eq!(place.cache.get(&place.key(), &newer).await.unwrap().outcome, Outcome::Revalidated);
    let looped = Lookup { via: vec![place.cache.via.clone()], ..Lookup::default() };
    assert_eq!(place.cache.get(&place.key(), &looped).await.unwrap_err().reason(), Reason::CacheLoop);
}

#[tokio::test]
async fn a_head_fills_nothing() {
    let place = Place::new(Upstream::with(file(&noise(41, 100_000))));
    let served = place.cache.get(&place.key(), &Lookup { head: true, ..Lookup::default() }).await.unwrap();
    assert_eq!((served.size, &served.outcome), (Some(100_000), &Outcome::Passed));
    assert_eq!((place.upstream.sent(), place.cache.entries().len()), (0, 0));
    assert!(place.upstream.heads("f-1.img")[0].starts_with("HEAD "));
}

#[tokio::test]
async fn what_is_private_is_passed_on_to_others_and_not_kept() {
    let bytes = noise(42, 200_000);
    for headers in ["Cache-Control: private\r\n", "Cache-Control: max-age=9, no-store\r\n", "Vary: *\r\n"] {
        for public in [true, false] {
            let script = Script { headers: headers.to_owned(), ..file(&bytes) };
            let place = Place::under(Upstream::with(script), |settings| settings.public = public, Sums::default());
            assert!(place.bytes().await.unwrap().1 == bytes);
            place.until(|place| place.cache.stats().fills == 0).await;
            assert_eq!(place.cache.stats().entries, u64::from(!public), "{headers}");
        }
    }
}

#[tokio::test]
async fn parents_are_asked_first_and_mirrors_before_the_host() {
    let bytes = noise(43, 100_000);
    let (parent, upstream) = (Upstream::new(), Upstream::with(file(&bytes)));
    let (url, behind) = (parent.url(""), upstream.url("f-1.img").replace("http://", "cache/http/"));
    let place = Place::under(upstream, |settings| settings.parents = vec![url], Sums::default());
    parent.put(&behind, file(&bytes));
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!((parent.requests(), place.upstream.requests()), (1, 0));
    assert_eq!(header(&parent.heads(&behind)[0], "Via"), Some(place.cache.via.as_str()));
    assert_eq!(place.cache.stats().bytes.get("parent"), Some(&100_000));
    // What a parent has not is asked of the host, without telling it of parents.
    place.upstream.put("g-1.img", file(&bytes));
    let other = Key::parse(&place.upstream.url("g-1.img")).unwrap();
    place.cache.bring(&other, None, Level::None, &|_| {}).await.unwrap();
    assert_eq!(header(&place.upstream.heads("g-1.img")[0], "Via"), None);

    let (mirror, upstream) = (Upstream::with(file(&bytes)), Upstream::with(file(&bytes)));
    let host = place_host(&upstream);
    let mirrors = [(host, vec![mirror.url("")])].into();
    let place = Place::under(upstream, |settings| settings.mirrors = mirrors, Sums::default());
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!((mirror.requests(), place.upstream.requests()), (1, 0));
}

#[tokio::test]
async fn a_parent_that_is_away_costs_a_moment_once() {
    let bytes = noise(46, 100_000);
    let (dead, _held) = black_hole();
    let host = dead.local_addr().unwrap().to_string();
    let parents = vec![format!("http://{host}")];
    let place = Place::under(Upstream::with(file(&bytes)), |settings| settings.parents = parents, Sums::default());
    let began = Instant::now();
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert!(began.elapsed() >= Duration::from_millis(290) && began.elapsed() < Duration::from_millis(2500));
    assert!(place.cache.hosts.barred(&host).is_some(), "it is not asked again");
    place.upstream.put("g-1.img", file(&bytes));
    let other = Key::parse(&place.upstream.url("g-1.img")).unwrap();
    let began = Instant::now();
    place.cache.bring(&other, None, Level::None, &|_| {}).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(290), "{:?}", began.elapsed());
}

fn place_host(upstream: &Upstream) -> String {
    Key::parse(&upstream.url("")).unwrap().host().to_owned()
}
