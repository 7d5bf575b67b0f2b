//! Transfers that break off, under contents that change.

use super::*;
use crate::cache::entry::Sidecar;
use crate::cache::fake::{Ranges, Script, Upstream, file, header, noise};

fn dated(bytes: &[u8], changed: &str, now: &str) -> Script {
    Script { etag: None, last_modified: Some(changed.to_owned()), headers: format!("Date: {now}\r\n"), ..file(bytes) }
}

#[tokio::test]
async fn a_transfer_that_is_cut_twice_goes_on_under_its_tag() {
    let bytes = noise(11, 4_000_000);
    let place = Place::new(Upstream::with(Script { cuts: [2_400_000, 3_000_000].into(), ..file(&bytes) }));
    assert!(place.bytes().await.unwrap().1 == bytes);
    let heads = place.upstream.heads("f-1.img");
    assert_eq!(heads.len(), 3);
    for (head, from) in heads[1..].iter().zip(["bytes=2400000-", "bytes=3000000-"]) {
        assert_eq!(header(head, "Range"), Some(from));
        assert!(header(head, "If-Range").is_some());
    }
    assert!(place.upstream.sent() as f64 <= 1.05 * bytes.len() as f64);
}

#[tokio::test]
async fn an_old_date_will_do_for_a_tag_and_a_young_one_will_not() {
    let bytes = noise(12, 1_000_000);
    let (monday, later) = ("Mon, 02 Nov 2026 10:00:00 GMT", "Mon, 02 Nov 2026 10:01:00 GMT");
    for (now, part) in [(later, true), ("Mon, 02 Nov 2026 10:00:59 GMT", false)] {
        let script = Script { cuts: [600_000].into(), ..dated(&bytes, monday, now) };
        let place = Place::new(Upstream::with(script));
        assert!(place.bytes().await.unwrap().1 == bytes);
        let head = place.upstream.heads("f-1.img")[1].clone();
        assert_eq!(header(&head, "If-Range"), part.then_some(monday), "{now}");
        assert_eq!(header(&head, "Range").is_some(), part, "{now}");
    }
}

/// Without anything that tells contents apart, the whole body comes again and is compared.
#[tokio::test]
async fn weak_missing_and_random_tags_end_in_the_right_bytes() {
    let bytes = noise(13, 1_000_000);
    for (etag, random_tags) in [(Some("W/\"weak\"".to_owned()), false), (None, false), (None, true)] {
        for ranges in [Ranges::Right, Ranges::Ignored] {
            let script = Script { etag: etag.clone(), random_tags, ranges, cuts: [600_000].into(), ..file(&bytes) };
            let place = Place::new(Upstream::with(script));
            assert!(place.bytes().await.unwrap().1 == bytes, "{etag:?} {random_tags}");
            assert_eq!(place.upstream.heads("f-1.img").len(), 2);
        }
    }
}

/// All that is here is compared, however much it is: a weak tag is that of several contents.
#[tokio::test]
async fn a_weak_tag_is_compared_to_the_last_byte_that_is_here() {
    let bytes = noise(23, 1_000_000).repeat(24);
    for differs_at in [None, Some(10_000_000), Some(11_999_999)] {
        let weak = |bytes: &[u8]| Script { etag: Some("W/\"weak\"".to_owned()), ..file(bytes) };
        let script = Script { gate: Some(12_000_000), cuts: [12_010_000].into(), ..weak(&bytes) };
        let place = Place::new(Upstream::with(script));
        let served = place.get().await.unwrap();
        let reading = tokio::spawn(async move { read(&served, None).await });
        place.until(|place| place.here() > 11_980_000).await;
        let mut new = bytes.clone();
        if let Some(at) = differs_at {
            new[at] = !new[at];
        }
        // What was on its way is of the old content.
        place.upstream.put("f-1.img", weak(&new));
        match (reading.await.unwrap(), differs_at) {
            (Ok(got), None) => assert!(got == new),
            (got, _) => assert!(got.is_err() && differs_at.is_some(), "{differs_at:?}"),
        }
        assert!(place.bytes().await.unwrap().1 == new);
        let heads = place.upstream.heads("f-1.img");
        assert!(heads.len() == 2 && header(&heads[1], "Range").is_none(), "{differs_at:?}: {heads:?}");
    }
}

#[tokio::test]
async fn a_digest_stands_in_for_a_tag() {
    let bytes = noise(14, 1_000_000);
    let script = Script { etag: None, cuts: [600_000].into(), ..file(&bytes) };
    let place = Place::new(Upstream::with(script));
    place.expect(&bytes);
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!(header(&place.upstream.heads("f-1.img")[1], "Range"), Some("bytes=600000-"));
    assert_eq!(place.get().await.unwrap().level, Level::Checksum);
}

/// Where only the digest can tell contents apart, nothing of another one goes out behind the beginning of the first.
#[tokio::test]
async fn what_a_digest_has_to_decide_goes_out_behind_the_verdict() {
    let (old, new) = (noise(24, 1_000_000), noise(25, 1_000_000));
    let script = Script { etag: None, gate: Some(600_000), cuts: [610_000].into(), ..file(&old) };
    let place = Place::new(Upstream::with(script));
    place.expect(&new);
    let served = place.get().await.unwrap();
    let mut pieces = blob::stream(served.open(None).await.unwrap(), &Buffers::for_reads());
    place.until(|place| place.here() > 580_000).await;
    place.upstream.put("f-1.img", Script { etag: None, ..file(&new) });
    let mut got = Vec::new();
    let error = loop {
        match pieces.next().await.unwrap() {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("changed") && got.len() <= 610_000 && old.starts_with(&got), "{error}: {}", got.len());
    assert_eq!(header(&place.upstream.heads("f-1.img")[1], "Range"), Some("bytes=610000-"));
    assert!(place.bytes().await.unwrap().1 == new);
    assert_eq!(place.cache.stats().quarantine_bytes, 0, "neither of the two is to blame");
}

#[tokio::test]
async fn servers_that_lie_about_ranges_are_asked_for_everything() {
    let bytes = noise(15, 1_000_000);
    for ranges in [Ranges::Ignored, Ranges::WrongStart] {
        let place = Place::new(Upstream::with(Script { ranges, cuts: [600_000].into(), ..file(&bytes) }));
        assert!(place.bytes().await.unwrap().1 == bytes);
    }
}

/// The readers of the first content are cut off, the next one has the second, and none has some of both.
#[tokio::test]
async fn a_content_that_is_replaced_meanwhile_is_never_glued() {
    let (old, new) = (noise(16, 1_000_000), noise(17, 1_000_000));
    let longer = noise(18, 1_300_000);
    // The new content begins as the old one did.
    let alike = [&old[..700_000], &new[700_000..]].concat();
    let later = [&old[..300_000], &new[300_000..]].concat();
    for (ranges, new) in [
        (Ranges::Right, &new),
        (Ranges::Right, &longer),
        (Ranges::Right, &later),
        (Ranges::Ignored, &new),
        (Ranges::Ignored, &longer),
        (Ranges::Ignored, &later),
        (Ranges::Unconditional, &new),
        (Ranges::Unconditional, &longer),
        (Ranges::Refused, &longer),
    ] {
        let place = Place::new(Upstream::with(Script { gate: Some(500_000), cuts: [500_000].into(), ..file(&old) }));
        let served = place.get().await.unwrap();
        let reading = tokio::spawn(async move { read(&served, None).await });
        place.until(|place| place.here() == 500_000).await;
        place.upstream.put("f-1.img", Script { ranges, ..file(new) });
        assert!(reading.await.unwrap().is_err(), "the first reader is cut off");
        assert!(place.bytes().await.unwrap().1 == **new, "and the next one has the new bytes");
    }
    let place = Place::new(Upstream::with(Script { gate: Some(500_000), cuts: [500_000].into(), ..file(&old) }));
    let served = place.get().await.unwrap();
    let reading = tokio::spawn(async move { read(&served, None).await });
    place.until(|place| place.here() == 500_000).await;
    place.upstream.put("f-1.img", file(&alike));
    assert!(reading.await.unwrap().unwrap() == alike, "what was sent is the beginning of the new content too");
}

#[tokio::test]
async fn lengths_that_are_not_kept_end_in_an_error() {
    let bytes = noise(19, 500_000);
    for announced in [400_000, 600_000] {
        let place = Place::new(Upstream::with(Script { announced: Some(announced), ..file(&bytes) }));
        let got = place.bytes().await;
        assert!(got.as_ref().is_err() || got.as_ref().is_ok_and(|(_, got)| *got == bytes[..400_000]), "{announced}");
        assert_eq!(got.is_ok(), announced == 400_000, "a length that is too short can't be told from a right one");
    }
    // A digest tells.
    let place = Place::new(Upstream::with(Script { announced: Some(400_000), ..file(&bytes) }));
    place.expect(&bytes);
    assert!(place.bytes().await.is_err());
    assert_eq!(place.cache.stats().entries, 0);
}

#[tokio::test]
async fn an_end_that_may_be_a_break_is_not_kept() {
    let bytes = noise(20, 300_000);
    let place = Place::new(Upstream::with(Script { endless: true, ..file(&bytes) }));
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!(place.cache.stats().entries, 0);
    place.expect(&bytes);
    assert!(place.bytes().await.unwrap().1 == bytes);
    place.until(|place| place.cache.stats().entries == 1).await;
}

/// Bytes that a transfer has, as its files say.
fn noted(dir: &Path) -> u64 {
    let notes = std::fs::read_dir(dir.join("partial")).unwrap().map(|entry| entry.unwrap().path());
    let notes = notes.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let sidecars = notes.filter_map(|path| serde_json::from_slice::<Sidecar>(&std::fs::read(path).ok()?).ok());
    sidecars.map(|sidecar| sidecar.bytes()).max().unwrap_or(0)
}

#[tokio::test]
async fn a_new_run_goes_on_with_what_is_durable() {
    let bytes = noise(21, 1_000_000).repeat(24);
    let place = Place::new(Upstream::with(Script { gate: Some(12_000_000), ..file(&bytes) }));
    let served = place.get().await.unwrap();
    place.until(|place| noted(place.dir.path()) > 11_000_000).await;
    // A copy of the directory is what a process that was killed leaves.
    let copy = crash::copy_of(place.dir.path());
    place.cache.set_offline(true).unwrap();
    place.until(|place| place.cache.stats().fills == 0).await;
    drop(served);
    let Place { sums, upstream, .. } = place;
    let before = upstream.sent();
    upstream.change("f-1.img", |file| file.gate = None);
    let cache = Cache::open(settings(copy.path()), fetcher(), Arc::clone(&sums) as Arc<dyn Prover>, clock).unwrap();
    let place = Place { dir: copy, cache, sums, upstream };
    assert!(place.bytes().await.unwrap().1 == bytes);
    let head = place.upstream.heads("f-1.img").pop().unwrap();
    assert!(header(&head, "Range").is_some() && header(&head, "If-Range").is_some());
    let more = place.upstream.sent() - before;
    assert!(more < 13_200_000, "{more}");
    let whole = place.cache.bring(&place.key(), None, Level::None, &|_| {}).await.unwrap();
    assert_eq!(whole.digests.sha256_hex().unwrap(), sha256(&bytes).hex());
    assert!(place.reopened().bytes().await.unwrap().1 == bytes);
}

#[tokio::test]
async fn an_upstream_that_gives_nothing_any_more_is_given_up() {
    let bytes = noise(22, 1_000_000);
    let place = Place::new(Upstream::with(Script { cuts: [400_000].into(), gate: Some(400_000), ..file(&bytes) }));
    let served = place.get().await.unwrap();
    let reading = tokio::spawn(async move { read(&served, None).await });
    place.until(|place| place.here() == 400_000).await;
    place.upstream.change("f-1.img", |file| file.status = 503);
    let error = reading.await.unwrap().unwrap_err();
    assert!(error.contains("again and again"), "{error}");
    assert_eq!(place.cache.entries()[0].state, "partial", "what came stays");
}
