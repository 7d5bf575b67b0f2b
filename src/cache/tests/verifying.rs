//! The verdict at the end of a transfer.

use super::*;
use crate::cache::fake::{Script, Upstream, file, noise};

#[tokio::test]
async fn the_tail_waits_for_the_verdict() {
    let bytes = noise(51, 1_000_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.expect(&bytes);
    let closed = place.sums.gate.write().await;
    let served = place.get().await.unwrap();
    let body = served.open(None).await.unwrap();
    let mut pieces = blob::stream(body, &Buffers::for_reads());
    let mut got = Vec::new();
    while let Ok(Some(piece)) = tokio::time::timeout(Duration::from_millis(700), pieces.next()).await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(got.len() as u64, 1_000_000 - crate::cache::fill::TAIL);
    drop(closed);
    while let Some(piece) = pieces.next().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == bytes);
    let served = place.get().await.unwrap();
    assert_eq!((served.outcome, served.level), (Outcome::Hit { ttl: None }, Level::Checksum));
}

#[tokio::test]
async fn other_bytes_are_cut_put_away_and_adopted_by_a_corrected_sum() {
    let (bytes, wrong) = (noise(52, 600_000), noise(53, 600_000));
    let place = Place::new(Upstream::with(file(&wrong)));
    place.expect(&bytes);
    let error = place.bytes().await.unwrap_err();
    assert!(error.contains("hash to"), "{error}");
    assert_eq!(place.get().await.unwrap_err().reason(), Reason::VendorMismatch, "not fetched again at once");
    let stats = place.cache.stats();
    assert_eq!((stats.entries, stats.quarantine_bytes), (0, 600_000));
    assert_eq!(place.upstream.requests(), 1);
    let place = place.reopened();
    assert_eq!(place.cache.stats().quarantine_bytes, 600_000);
    let given = Expectation {
        size: Some(600_000),
        sums: vec![sha256(&wrong)],
        evidence: Evidence { level: Level::Given, ..Evidence::default() },
        ..Expectation::default()
    };
    let whole = place.cache.bring(&place.key(), Some(given), Level::Given, &|_| {}).await.unwrap();
    assert!(std::fs::read(&whole.path).unwrap() == wrong);
    assert_eq!((place.upstream.requests(), place.cache.stats().quarantine_bytes), (1, 0));
    let (_, got) = place.bytes().await.unwrap();
    assert!(got == wrong);
}

#[tokio::test]
async fn sums_that_come_late_adopt_what_they_name() {
    let (old, new) = (noise(63, 200_000), noise(64, 200_000));
    let place = Place::new(Upstream::with(file(&new)));
    place.expect(&old);
    place.bytes().await.unwrap_err();
    place.expect(&new);
    place.cache.slot(&place.key(), |slot| slot.quiet = None);
    assert!(place.bytes().await.unwrap().1 == new);
    assert_eq!((place.upstream.requests(), place.cache.stats().quarantine_bytes), (1, 0));
}

fn given(sum: Sum) -> Expectation {
    let evidence =
        Evidence { level: Level::Given, words: "matches the digest that you gave".to_owned(), ..Evidence::default() };
    Expectation { sums: vec![sum], evidence, ..Expectation::default() }
}

/// Readers that share a transfer with a caller who expects other bytes have it to its end.
#[tokio::test]
async fn a_digest_that_is_wrong_is_its_callers_own_affair() {
    let bytes = noise(66, 600_000);
    for is_named in [true, false] {
        let place = Place::new(Upstream::with(Script { gate: Some(300_000), ..file(&bytes) }));
        if is_named {
            place.expect(&bytes);
        }
        let wrong = tokio::spawn({
            let (cache, key) = (Arc::clone(&place.cache), place.key());
            let wrong = given(sha256(b"wrong"));
            async move { cache.bring(&key, Some(wrong), Level::Given, &|_| {}).await.map(drop) }
        });
        place.until(|place| place.here() > 200_000).await;
        let reader = place.get().await.unwrap();
        place.upstream.change("f-1.img", |file| file.gate = None);
        assert!(read(&reader, None).await.unwrap() == bytes);
        let refused = wrong.await.unwrap().unwrap_err();
        assert_eq!(refused.reason(), Reason::GivenMismatch);
        assert!(refused.message().ends_with(", the digest that you gave."), "{refused}");
        let level = if is_named { Level::Checksum } else { Level::None };
        assert_eq!((place.get().await.unwrap().level, place.cache.stats().quarantine_bytes), (level, 0));
        // And one who is right has them at once.
        let sha512 = Sum::new(SumAlgorithm::Sha512, sha2::Sha512::digest(&bytes).to_vec()).unwrap();
        place.cache.bring(&place.key(), Some(given(sha512)), Level::Given, &|_| {}).await.unwrap();
        assert_eq!(place.get().await.unwrap().level, Level::Given);
        assert_eq!(place.upstream.requests(), 1);
    }
}

/// A caller's own digest stands above sums that say otherwise, for that caller.
#[tokio::test]
async fn a_digest_that_is_right_takes_what_the_sums_refuse() {
    let bytes = noise(67, 600_000);
    for algorithm in [SumAlgorithm::Sha256, SumAlgorithm::Sha512] {
        let sum = match algorithm {
            SumAlgorithm::Sha256 => sha256(&bytes),
            _ => Sum::new(algorithm, sha2::Sha512::digest(&bytes).to_vec()).unwrap(),
        };
        let place = Place::new(Upstream::with(Script { gate: Some(300_000), ..file(&bytes) }));
        place.expect(b"other bytes");
        let right = tokio::spawn({
            let (cache, key) = (Arc::clone(&place.cache), place.key());
            async move { cache.bring(&key, Some(given(sum)), Level::Given, &|_| {}).await }
        });
        place.until(|place| place.here() > 200_000).await;
        let reader = place.get().await.unwrap();
        place.upstream.change("f-1.img", |file| file.gate = None);
        assert!(read(&reader, None).await.unwrap_err().contains("hash to"), "others are held to the sums");
        let whole = right.await.unwrap().unwrap();
        assert!(std::fs::read(&whole.path).unwrap() == bytes);
        assert_eq!((place.upstream.requests(), place.cache.stats().quarantine_bytes), (1, 0));
    }
}

/// A file whose sums are refused is refused as often as it is asked for, fetched once, and served when they are good again.
#[tokio::test]
async fn sums_that_are_refused_vouch_for_nothing() {
    let bytes = noise(65, 300_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.expect(&bytes);
    place.sums.refused.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = place.bytes().await.unwrap_err();
        assert!(error.contains("is refused"), "{error}");
        // Asked again as if a minute had passed.
        place.cache.slot(&place.key(), |slot| slot.quiet = None);
        let stats = place.cache.stats();
        assert_eq!((stats.entries, stats.quarantine_bytes, place.upstream.requests()), (0, 300_000, 1));
    }
    let place = place.reopened();
    assert!(place.bytes().await.unwrap_err().contains("is refused"));
    place.sums.refused.store(false, Ordering::SeqCst);
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!((place.upstream.requests(), place.cache.stats().quarantine_bytes), (1, 0));
}

#[tokio::test]
async fn every_algorithm_is_compared() {
    use sha1::Sha1;
    let bytes = noise(54, 700_000);
    let sums = [
        Sum::new(SumAlgorithm::Sha512, sha2::Sha512::digest(&bytes).to_vec()).unwrap(),
        Sum::new(SumAlgorithm::Md5, md5::Md5::digest(&bytes).to_vec()).unwrap(),
        Sum::new(SumAlgorithm::Sha1, Sha1::digest(&bytes).to_vec()).unwrap(),
        sha256(&bytes),
    ];
    for sum in sums {
        for cut in [None, Some(300_000)] {
            let place = Place::new(Upstream::with(Script { cuts: cut.into_iter().collect(), ..file(&bytes) }));
            let expected = expectation(sum.clone());
            place.sums.known.lock().unwrap().insert(place.key().url().to_owned(), expected.clone());
            assert!(place.bytes().await.unwrap().1 == bytes, "{sum}");
            // And of what is here already.
            let place = Place::new(Upstream::with(file(&bytes)));
            place.bytes().await.unwrap();
            let whole = place.cache.bring(&place.key(), Some(expected), Level::None, &|_| {}).await.unwrap();
            assert_eq!(whole.expectation.evidence.level, Level::Checksum);
            assert_eq!(place.upstream.requests(), 1);
        }
        let place = Place::new(Upstream::with(file(&noise(55, 700_000))));
        place.sums.known.lock().unwrap().insert(place.key().url().to_owned(), expectation(sum.clone()));
        assert!(place.bytes().await.is_err(), "{sum}");
    }
}

#[tokio::test]
async fn what_does_not_reach_the_demanded_level_is_not_served_and_not_fetched_twice() {
    let bytes = noise(56, 300_000);
    let sums = Sums { require: Level::Checksum, ..Sums::default() };
    let place = Place::under(Upstream::with(file(&bytes)), |_| {}, sums);
    let error = place.bytes().await.unwrap_err();
    assert!(error.contains("'checksum'"), "{error}");
    assert_eq!(place.get().await.unwrap_err().reason(), Reason::WeakerThanRequired);
    // Sums that come later are enough.
    place.expect(&bytes);
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!(place.upstream.requests(), 1);
    let higher = Lookup { require: Some(Level::Signature), ..Lookup::default() };
    assert_eq!(place.cache.get(&place.key(), &higher).await.unwrap_err().reason(), Reason::WeakerThanRequired);
}

#[tokio::test]
async fn a_demand_of_one_reader_holds_back_everything() {
    let bytes = noise(57, 300_000);
    let place = Place::new(Upstream::with(Script { gate: Some(200_000), ..file(&bytes) }));
    let (plain, demanding) = (place.get().await.unwrap(), Lookup { require: Some(Level::Given), ..Lookup::default() });
    let demanding = place.cache.get(&place.key(), &demanding).await.unwrap();
    let reading = tokio::spawn(async move { read(&demanding, Some(0..10)).await });
    assert_eq!(read(&plain, Some(0..10)).await.unwrap(), bytes[..10]);
    assert!(!reading.is_finished());
    place.upstream.change("f-1.img", |file| file.gate = None);
    assert!(reading.await.unwrap().unwrap_err().contains("'given'"));
    assert!(read(&plain, None).await.unwrap() == bytes);
}

#[tokio::test]
async fn documents_teach_the_digests_of_files() {
    let (bytes, next) = (noise(58, 300_000), noise(59, 300_000));
    let upstream = Upstream::with(file(&bytes));
    let line = |bytes: &[u8]| format!("{}  f-1.img\n", sha256(bytes).hex());
    upstream.put("SHA256SUMS", file(line(&bytes).as_bytes()));
    let place = Place::new(upstream);
    let documents = place.cache.documents();
    let url = place.upstream.url("SHA256SUMS");
    let document = documents.get(&url, 1000).await.unwrap().unwrap();
    assert_eq!(&*document.bytes, line(&bytes).as_bytes());
    assert!(documents.get(&place.upstream.url("nothing.json"), 1000).await.unwrap().is_none());
    assert_eq!(documents.get(&url, 10).await.unwrap_err().reason(), Reason::FileTooLarge);
    assert!(place.bytes().await.unwrap().1 == bytes);
    assert_eq!(place.get().await.unwrap().outcome, Outcome::Hit { ttl: None });
    let place = place.reopened();
    assert_eq!(place.get().await.unwrap().level, Level::Checksum);
    // A document that names other bytes makes the old ones unusable.
    place.upstream.put("SHA256SUMS", file(line(&next).as_bytes()));
    place.upstream.put("f-1.img", file(&next));
    let sums = Key::parse(&url).unwrap();
    place.cache.held(&sums).unwrap().change(|entry| entry.checked_at -= 6_000_000).unwrap();
    place.cache.documents().get_anew(&url, 1000).await.unwrap();
    assert!(place.bytes().await.unwrap().1 == next);
}

#[tokio::test]
async fn a_pull_is_told_how_it_goes_and_its_transfer_outlives_it() {
    let bytes = noise(60, 2_000_000);
    let place = Place::new(Upstream::with(Script { gate: Some(1_000_000), ..file(&bytes) }));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pull = tokio::spawn({
        let (cache, key, seen) = (Arc::clone(&place.cache), place.key(), Arc::clone(&seen));
        async move { cache.bring(&key, None, Level::None, &|state| seen.lock().unwrap().push(state)).await.map(drop) }
    });
    place.until(|place| place.here() > 900_000).await;
    pull.abort();
    place.upstream.change("f-1.img", |file| file.gate = None);
    place.until(|place| place.cache.stats().entries == 1).await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.iter().any(|state| matches!(state, crate::cache::Bringing::Filling { bytes: 1.., .. })), "{seen:?}");
    let whole = place.cache.bring(&place.key(), None, Level::None, &|_| {}).await.unwrap();
    assert_eq!((whole.size, place.upstream.requests()), (2_000_000, 1));
    let digests = whole.digests;
    assert!(digests.md5.is_some() && digests.sha256_hex().unwrap() == sha256(&bytes).hex());
}

#[tokio::test]
async fn a_signature_over_the_file_itself_is_the_last_word() {
    let (bytes, other) = (noise(61, 300_000), noise(62, 300_000));
    let sums = Sums { require: Level::Signature, ..Sums::default() };
    *sums.signed.lock().unwrap() = Some((bytes.clone(), "signed by the vendor".to_owned()));
    let place = Place::under(Upstream::with(file(&bytes)), |_| {}, sums);
    assert!(place.bytes().await.unwrap().1 == bytes);
    let served = place.get().await.unwrap();
    assert_eq!((served.level, served.words.as_str()), (Level::Signature, "signed by the vendor"));
    let sums = Sums { require: Level::Signature, ..Sums::default() };
    *sums.signed.lock().unwrap() = Some((bytes, "signed by the vendor".to_owned()));
    let place = Place::under(Upstream::with(file(&other)), |_| {}, sums);
    assert!(place.bytes().await.unwrap_err().contains("signature"));
    assert_eq!((place.cache.stats().entries, place.cache.stats().quarantine_bytes), (0, 300_000));
}

/// Digests of a vendor's list stand beside its signature over the file, and neither for the other.
#[tokio::test]
async fn what_a_vendors_list_says_and_a_signature_over_the_file_both_hold() {
    let (bytes, other) = (noise(68, 300_000), noise(69, 300_000));
    let listed = |bytes: &[u8]| expectation(sha256(bytes));
    let place = |served: &[u8], signed: &[u8]| {
        let sums = Sums { require: Level::Checksum, ..Sums::default() };
        *sums.signed.lock().unwrap() = Some((signed.to_vec(), "signed by the vendor".to_owned()));
        Place::under(Upstream::with(file(served)), |_| {}, sums)
    };
    let good = place(&bytes, &bytes);
    let whole = good.cache.bring(&good.key(), Some(listed(&bytes)), Level::Signature, &|_| {}).await.unwrap();
    assert_eq!((whole.expectation.evidence.level, whole.expectation.sums), (Level::Signature, vec![sha256(&bytes)]));
    for (served, signed, words) in [(&other, &other, "hash to"), (&bytes, &other, "signature")] {
        let place = place(served, signed);
        // The second time the bytes are in quarantine.
        for _ in 0..2 {
            let refused = place.cache.bring(&place.key(), Some(listed(&bytes)), Level::Checksum, &|_| {}).await;
            let refused = refused.unwrap_err();
            assert!(refused.message().contains(words), "{refused}");
            assert_eq!(place.cache.stats().entries, 0);
        }
        let right = place.cache.bring(&place.key(), Some(given(sha256(served))), Level::Given, &|_| {}).await.unwrap();
        assert_eq!(right.expectation.evidence.level, Level::Given, "the caller knows better");
    }
}

/// What a vendor's list says is not looked for a second time, and its mismatch is said in its words.
#[tokio::test]
async fn a_mismatch_with_a_vendors_list_is_told_as_one() {
    let bytes = noise(70, 300_000);
    let place = Place::new(Upstream::with(file(&bytes)));
    place.sums.refused.store(true, Ordering::SeqCst);
    let mut listed = expectation(sha256(b"other"));
    listed.evidence.documents = vec!["https://h/streams/v1/products.sjson".to_owned()];
    let refused = place.cache.bring(&place.key(), Some(listed.clone()), Level::Checksum, &|_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::VendorMismatch);
    let words = refused.message();
    assert!(words.contains(", as products.sjson says. They are kept aside for seven days"), "{words}");
    assert!(words.contains("--sha256"), "{words}");
    listed.sums = vec![sha256(&bytes)];
    place.cache.bring(&place.key(), Some(listed), Level::Checksum, &|_| {}).await.unwrap();
    assert_eq!((place.upstream.requests(), place.cache.stats().quarantine_bytes), (1, 0));
}
