//! Moving names and the builds that they stand for.

use super::*;
use crate::cache::fake::{Script, Upstream, file, noise};
use crate::cache::{Freshness, Vendors};
use crate::digest::hex;
use crate::error::Reason;
use crate::vendor::Catalogue;

const NAME: &str = "current/f.img";
const OLD: &str = "20260105/f-20260105.img";
const NEW: &str = "20260112/f-20260112.img";

/// A cache whose moving name stands for a build of these bytes. Nothing is under the name itself.
fn place(bytes: &[u8]) -> Place {
    let place = Place::new(Upstream::new());
    place.upstream.put(OLD, file(bytes));
    place.stands_for(OLD);
    place
}

impl Place {
    fn at(&self, name: &str) -> Key {
        Key::parse(&self.upstream.url(name)).unwrap()
    }

    fn stands_for(&self, build: &str) {
        self.sums.builds.lock().unwrap().insert(self.upstream.url(NAME), self.upstream.url(build));
    }

    /// Makes it long ago that the list said what the name stands for.
    async fn age_name(&self) {
        self.until(|place| !place.names(OLD).is_empty()).await;
        let held = self.cache.held(&self.at(OLD)).unwrap();
        held.change(|entry| entry.names.values_mut().for_each(|told_at| *told_at -= 2 * 3600 * 1_000_000)).unwrap();
    }

    fn names(&self, build: &str) -> Vec<String> {
        self.cache.held(&self.at(build)).map_or_else(Vec::new, |held| held.entry().names.into_keys().collect())
    }

    async fn named(&self, lookup: &Lookup) -> Result<Served> {
        self.cache.get(&self.at(NAME), lookup).await
    }

    async fn named_bytes(&self) -> Result<(Outcome, Vec<u8>), String> {
        let served = self.named(&Lookup::default()).await.map_err(|error| error.to_string())?;
        Ok((served.outcome.clone(), read(&served, None).await?))
    }

    fn asked(&self) -> usize {
        self.sums.questions.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_name_and_its_build_share_their_bytes() {
    let bytes = noise(61, 200_000);
    let place = place(&bytes);
    let head = Lookup { head: true, ..Lookup::default() };
    let served = place.named(&head).await.unwrap();
    assert_eq!((served.size, served.outcome), (Some(200_000), Outcome::Passed));
    let (outcome, got) = place.named_bytes().await.unwrap();
    assert!(outcome == Outcome::Fill && got == bytes, "{outcome:?}");
    let served = place.cache.get(&place.at(OLD), &Lookup::default()).await.unwrap();
    assert!(matches!(served.outcome, Outcome::Hit { .. }));
    let named = place.named(&Lookup::default()).await.unwrap();
    assert!(matches!(named.outcome, Outcome::Hit { ttl: Some(1..=3600) }), "{:?}", named.outcome);
    assert_eq!((named.etag.clone(), named.sha256()), (served.etag.clone(), served.sha256()));
    assert!(read(&named, Some(1000..2000)).await.unwrap() == bytes[1000..2000]);
    let whole = place.cache.bring(&place.at(NAME), None, Level::None, &|_| {}).await.unwrap();
    assert_eq!((whole.key, whole.final_url), (place.at(NAME), place.upstream.url(OLD)), "a pull has them too");
    assert_eq!((place.cache.stats().entries, place.upstream.sent(), place.asked()), (1, 200_000, 1));
    assert!(place.upstream.heads(NAME).is_empty());
}

#[tokio::test]
async fn many_requests_are_one_question_and_one_transfer() {
    let bytes = noise(62, 300_000);
    let place = Arc::new(place(&bytes));
    let ask = |place: Arc<Place>| tokio::spawn(async move { place.named_bytes().await.unwrap().1 });
    let all: Vec<_> = (0..20).map(|_| ask(Arc::clone(&place))).collect();
    for one in all {
        assert!(one.await.unwrap() == bytes);
    }
    assert_eq!((place.upstream.heads(OLD).len(), place.asked()), (1, 1));
}

#[tokio::test]
async fn a_name_that_moves_under_a_transfer_leaves_it_alone() {
    let (old, new) = (noise(63, 400_000), noise(64, 400_000));
    let place = place(&old);
    place.upstream.change(OLD, |file| file.gate = Some(100_000));
    let served = place.named(&Lookup::default()).await.unwrap();
    let reading = tokio::spawn(async move { read(&served, None).await });
    place.until(|place| place.here() > 50_000).await;
    place.upstream.put(NEW, file(&new));
    place.stands_for(NEW);
    place.upstream.change(OLD, |file| file.gate = None);
    assert!(reading.await.unwrap().unwrap() == old);
    assert!(place.named_bytes().await.unwrap().1 == old, "the list is asked once in an hour");
    place.age_name().await;
    let place = place.reopened();
    assert!(place.named_bytes().await.unwrap().1 == new);
    let newer = Lookup { freshness: Freshness::Revalidate, ..Lookup::default() };
    let asked = place.asked();
    assert!(read(&place.named(&newer).await.unwrap(), None).await.unwrap() == new);
    assert_eq!(place.asked(), asked, "it was asked a moment ago");
}

#[tokio::test]
async fn the_last_build_stands_without_a_list_or_a_network() {
    let bytes = noise(65, 200_000);
    let place = place(&bytes);
    place.named_bytes().await.unwrap();
    place.age_name().await;
    let place = place.reopened();
    place.sums.list_is_gone.store(true, Ordering::SeqCst);
    let asked = place.asked();
    for _ in 0..3 {
        let (outcome, got) = place.named_bytes().await.unwrap();
        assert!(outcome == Outcome::Stale { detail: "list-unknown" } && got == bytes, "{outcome:?}");
    }
    assert_eq!(place.asked(), asked + 1, "it is left in peace for a while");
    place.cache.set_offline(true).unwrap();
    let place = place.reopened();
    let (outcome, got) = place.named_bytes().await.unwrap();
    assert!(outcome == Outcome::Offline && got == bytes, "{outcome:?}");
    assert_eq!(place.asked(), asked + 1);
    assert_eq!(place.upstream.requests(), 1);
}

#[tokio::test]
async fn a_new_build_that_does_not_come_leaves_the_last_one() {
    let (old, new) = (noise(66, 200_000), noise(67, 200_000));
    let place = place(&old);
    place.named_bytes().await.unwrap();
    place.age_name().await;
    let place = place.reopened();
    place.stands_for(NEW);
    let only = Lookup { freshness: Freshness::OnlyIfCached, ..Lookup::default() };
    assert!(read(&place.named(&only).await.unwrap(), None).await.unwrap() == old);
    let (outcome, got) = place.named_bytes().await.unwrap();
    assert!(matches!(outcome, Outcome::Stale { .. }) && got == old, "the list is ahead of the files: {outcome:?}");
    // What comes is not what is expected: the last build stands, and other bytes never follow its own.
    let expected = expectation(sha256(&new));
    place.sums.known.lock().unwrap().insert(place.upstream.url(NEW), expected);
    place.upstream.put(NEW, file(b"<html>not found</html>"));
    place.until(|place| place.cache.quiet(&place.at(NEW)).is_none()).await;
    let _ = place.named_bytes().await;
    assert!(place.named_bytes().await.unwrap().1 == old);
}

#[tokio::test]
async fn a_name_without_a_build_is_fetched_as_it_stands() {
    let bytes = noise(68, 100_000);
    let place = Place::new(Upstream::new());
    place.upstream.put(NAME, file(&bytes));
    place.sums.list_is_gone.store(true, Ordering::SeqCst);
    assert!(place.named_bytes().await.unwrap().1 == bytes);
    assert_eq!(place.upstream.heads(NAME).len(), 1);
    // A build that is listed and not there yet, with nothing older here.
    let place = Place::new(Upstream::new());
    place.upstream.put(NAME, file(&bytes));
    place.stands_for(NEW);
    assert!(place.named_bytes().await.unwrap().1 == bytes);
    let gone = Place::new(Upstream::new());
    let error = gone.named(&Lookup::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UrlNotFound);
}

#[tokio::test]
async fn a_name_that_no_vendor_knows_any_more_is_fetched_as_it_stands() {
    let (old, new) = (noise(70, 100_000), noise(71, 100_000));
    let place = place(&old);
    place.named_bytes().await.unwrap();
    place.age_name().await;
    let place = place.reopened();
    place.sums.builds.lock().unwrap().clear();
    place.upstream.put(NAME, file(&new));
    assert!(place.named_bytes().await.unwrap().1 == new);
    assert!(place.named_bytes().await.unwrap().1 == new);
}

#[tokio::test]
async fn a_name_manages_its_build() {
    let bytes = noise(69, 100_000);
    let place = place(&bytes);
    place.named_bytes().await.unwrap();
    let name = place.at(NAME);
    place.cache.pin(&name, true).await.unwrap();
    assert!(place.cache.held(&place.at(OLD)).unwrap().entry().pinned);
    assert!(!place.cache.sums(&name).is_empty());
    assert!(place.cache.drop_entry(&name).await.unwrap());
    assert!(!place.cache.drop_entry(&name).await.unwrap() && place.cache.stats().entries == 0);
    let script = Script { gate: Some(0), ..file(&bytes) };
    place.upstream.put(OLD, script);
    place.upstream.change(OLD, |file| file.gate = None);
    assert!(place.named_bytes().await.unwrap().1 == bytes, "it comes again");
}

/// Publishes a build of Debian's, and makes it the newest.
fn publish(upstream: &Upstream, serial: &str, bytes: &[u8]) -> String {
    let name = format!("debian-13-genericcloud-amd64-{serial}.qcow2");
    let list = format!(r#"{{"items":[{{"kind":"Upload","data":{{"ref":"trixie/{serial}/{name}"}}}}]}}"#);
    let sums = format!("{}  {name}\n", hex(&sha2::Sha512::digest(bytes)));
    upstream.put(&format!("cloud/trixie/{serial}/{name}"), file(bytes));
    upstream.put(&format!("cloud/trixie/{serial}/SHA512SUMS"), file(sums.as_bytes()));
    upstream.put("cloud/trixie/latest/debian-13-genericcloud-amd64.json", file(list.as_bytes()));
    format!("cloud/trixie/{serial}/{name}")
}

#[tokio::test]
async fn a_vendors_own_list_says_the_build() {
    let (old, new) = (noise(72, 200_000), noise(73, 210_000));
    let (upstream, dir) = (Upstream::new(), tempfile::tempdir().unwrap());
    let build = publish(&upstream, "20260105-2299", &old);
    let over = format!("[debian]\nbase = {:?}\n", upstream.url("cloud/"));
    let catalogue = Arc::new(Catalogue::shipped().with(over.parse().unwrap(), "a test").unwrap());
    let open = || Cache::open(settings(dir.path()), fetcher(), Arc::new(Vendors::new(&catalogue)), clock).unwrap();
    let cache = open();
    let name = Key::parse(&upstream.url("cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2")).unwrap();
    let served = cache.get(&name, &Lookup::default()).await.unwrap();
    assert!(read(&served, None).await.unwrap() == old);
    let served = cache.get(&name, &Lookup::default()).await.unwrap();
    assert_eq!((served.level, served.size), (Level::Checksum, Some(200_000)), "{}", served.words);
    let newer = publish(&upstream, "20260112-0101", &new);
    // Lists are asked for again after five seconds, when a client insists.
    tokio::time::sleep(Duration::from_millis(5_200)).await;
    let insisting = Lookup { freshness: Freshness::Revalidate, ..Lookup::default() };
    assert!(read(&cache.get(&name, &insisting).await.unwrap(), None).await.unwrap() == new);
    assert_eq!((upstream.heads(&build).len(), upstream.heads(&newer).len()), (1, 1));
    assert!(upstream.heads(name.path().trim_start_matches('/')).is_empty());
    drop((served, cache, upstream));
    let cache = open();
    cache.set_offline(true).unwrap();
    assert!(read(&cache.get(&name, &Lookup::default()).await.unwrap(), None).await.unwrap() == new);
}
