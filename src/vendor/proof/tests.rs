//! Proofs over a map of documents, signed by the keys of `signature/fixtures`.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Kind;
use crate::vendor::Sum;
use crate::vendor::fake::FakeDocuments;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../signature/fixtures/", $name)).as_slice()
    };
}

const OLD: &str = "F243FA9F3CDCDD70279C6D0356B0FF01E00689A6";
const IMAGE: &str = "https://h/noble/current/noble-server-cloudimg-amd64.img";
const LIST: &str = "https://h/noble/current/SHA256SUMS";
const LIST_SIGNATURE: &str = "https://h/noble/current/SHA256SUMS.gpg";

/// 2026-11-30.
const NOW: Timestamp = Timestamp(1_796_000_000_000_000);

/// Documents by URL: bytes, place that they come from, and bytes when asked for anew.
#[derive(Default)]
struct Map {
    held: BTreeMap<String, (Vec<u8>, String)>,
    newer: BTreeMap<String, Vec<u8>>,
    fails: Vec<String>,
    asked: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Map {
    fn with(mut self, url: &str, bytes: &[u8]) -> Self {
        self.held.insert(url.to_owned(), (bytes.to_vec(), url.to_owned()));
        self
    }

    fn moved(mut self, url: &str, to: &str) -> Self {
        self.held.get_mut(url).unwrap().1 = to.to_owned();
        self
    }

    fn newer(mut self, url: &str, bytes: &[u8]) -> Self {
        self.newer.insert(url.to_owned(), bytes.to_vec());
        self
    }
}

#[async_trait]
impl Documents for Map {
    async fn get(&self, url: &str, _: usize) -> Result<Option<VendorDocument>> {
        self.asked.lock().unwrap().push(url.to_owned());
        self.most.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        if self.fails.iter().any(|failing| failing == url) {
            return Err(Reason::Upstream.into());
        }
        Ok(self.held.get(url).map(|(bytes, from)| VendorDocument {
            url: from.clone(),
            bytes: bytes.clone().into(),
            checked_at: Timestamp(0),
        }))
    }

    async fn get_anew(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        let document = self.get(url, bytes_max).await?;
        Ok(document.map(|document| match self.newer.get(url) {
            Some(bytes) => VendorDocument { bytes: bytes.clone().into(), checked_at: NOW, ..document },
            None => document,
        }))
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn rules() -> VendorRules {
    VendorRules {
        title: "Old Images".to_owned(),
        sums: texts(&["SHA256SUMS"]),
        signatures: texts(&["{sums}.gpg"]),
        keys: texts(&[OLD]),
        require: Level::Signature,
    }
}

fn keys(files: &[&[u8]]) -> Keyring {
    let mut keyring = Keyring::new();
    files.iter().for_each(|file| _ = keyring.add(file).unwrap());
    keyring
}

fn signed_map() -> Map {
    Map::default().with(LIST, fixture!("SHA256SUMS")).with(LIST_SIGNATURE, fixture!("SHA256SUMS.gpg"))
}

async fn proved(map: &Map, rules: Option<&VendorRules>, held: Option<&Evidence>) -> Result<Option<Expectation>> {
    prove(IMAGE, rules, &keys(&[fixture!("old.asc")]), map, held, NOW).await
}

fn reason(result: Result<Option<Expectation>>) -> (Reason, String) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Verification);
    (error.reason(), error.to_string())
}

fn sum() -> Sum {
    Sum::of_hex(&format!("{}7", "a".repeat(63))).unwrap()
}

#[tokio::test]
async fn a_signed_list_proves_a_file_and_can_do_so_again_without_a_network() {
    let map = signed_map();
    let found = proved(&map, Some(&rules()), None).await.unwrap().unwrap();
    assert_eq!((found.sums.clone(), found.size), (vec![sum()], None));
    let evidence = &found.evidence;
    assert_eq!(evidence.words, "signed by Old Images (F243 FA9F…89A6), sums of 2026-01-05");
    assert_eq!((evidence.level, evidence.fingerprint.as_deref()), (Level::Signature, Some(OLD)));
    assert_eq!(evidence.documents, [LIST, LIST_SIGNATURE]);
    assert_eq!(map.asked.lock().unwrap().len(), 2, "nothing else is asked for");
    let mut kept = Vec::new();
    for url in &evidence.documents {
        kept.push(Kept { url: url.clone(), document: map.get(url, 0).await.unwrap().unwrap() });
    }
    let keyring = keys(&[fixture!("old.asc")]);
    assert_eq!(recheck(IMAGE, Some(&rules()), &keyring, &kept, NOW).unwrap(), Some(found.clone()));
    assert_eq!(recheck("https://h/noble/current/x", Some(&rules()), &keyring, &kept, NOW).unwrap(), None);
    assert_eq!(recheck(IMAGE, None, &keyring, &kept, NOW).unwrap().unwrap().evidence.level, Level::Checksum);
    kept[0].document.bytes = fixture!("old.asc").into();
    assert_eq!(recheck(IMAGE, Some(&rules()), &keyring, &kept, NOW).unwrap_err().reason(), Reason::SignatureRefused);
}

#[tokio::test]
async fn a_list_with_its_signature_inside_counts_by_its_text() {
    let rules = VendorRules { sums: texts(&["CHECKSUM"]), signatures: texts(&["inside"]), ..rules() };
    let url = "https://h/d/Fedora-Cloud-44.qcow2";
    let map = Map::default().with("https://h/d/CHECKSUM", fixture!("CHECKSUM"));
    let found = prove(url, Some(&rules), &keys(&[fixture!("old.asc")]), &map, None, NOW).await.unwrap().unwrap();
    assert_eq!((found.size, found.evidence.level), (Some(536_870_912), Level::Signature));
    assert_eq!(found.evidence.documents, ["https://h/d/CHECKSUM"]);
    let unsigned = Map::default()
        .with("https://h/d/CHECKSUM", format!("SHA256 (Fedora-Cloud-44.qcow2) = {}", sum().hex()).as_bytes());
    let refused = prove(url, Some(&rules), &Keyring::new(), &unsigned, None, NOW).await;
    assert_eq!(reason(refused).0, Reason::SignatureMissing);
}

#[tokio::test]
async fn a_demanded_signature_is_never_silently_less() {
    let tampered = signed_map().with(LIST, &fixture!("SHA256SUMS").to_ascii_uppercase());
    let (why, words) = reason(proved(&tampered, Some(&rules()), None).await);
    assert_eq!(why, Reason::SignatureRefused);
    assert!(words.contains("SHA256SUMS.gpg") && words.contains("one of the two was changed"), "{words}");
    let missing = prove(IMAGE, Some(&rules()), &Keyring::new(), &signed_map(), None, NOW).await;
    let (why, words) = reason(missing);
    assert_eq!(why, Reason::KeyMissing);
    assert!(words.contains(OLD) && words.contains("get its file from the vendor"), "{words}");
    let without = Map::default().with(LIST, fixture!("SHA256SUMS"));
    assert_eq!(reason(proved(&without, Some(&rules()), None).await).0, Reason::SignatureMissing);
    assert_eq!(reason(proved(&Map::default(), Some(&rules()), None).await).0, Reason::SignatureMissing);
    let keyless = VendorRules { keys: Vec::new(), ..rules() };
    assert_eq!(reason(proved(&signed_map(), Some(&keyless), None).await).0, Reason::WeakerThanRequired);
    let stranger = signed_map().with(LIST_SIGNATURE, fixture!("SHA256SUMS.stranger.sig"));
    assert_eq!(reason(proved(&stranger, Some(&rules()), None).await).0, Reason::SignatureRefused);
}

#[tokio::test]
async fn a_signature_that_is_not_demanded_may_be_missing_and_may_not_be_bad() {
    let rules = VendorRules { require: Level::Checksum, ..rules() };
    let without = Map::default().with(LIST, fixture!("SHA256SUMS"));
    let found = proved(&without, Some(&rules), None).await.unwrap().unwrap();
    assert_eq!(found.evidence.words, "matches SHA256SUMS of the same host, over https");
    let unchecked = prove(IMAGE, Some(&rules), &Keyring::new(), &signed_map(), None, NOW).await.unwrap().unwrap();
    assert_eq!(unchecked.evidence.level, Level::Checksum);
    assert!(
        unchecked.evidence.words.contains("its signature was not checked: the key F243"),
        "{:?}",
        unchecked.evidence
    );
    let weak = signed_map().with(LIST_SIGNATURE, fixture!("SHA256SUMS.sha1.sig"));
    let (why, words) = reason(proved(&weak, Some(&rules), None).await);
    assert!(why == Reason::SignatureRefused && words.contains("SHA1"), "{words}");
    let rules = VendorRules { sums: texts(&["MD5SUMS"]), ..rules };
    let weak_sums = Map::default().with(
        "https://h/noble/current/MD5SUMS",
        format!("{}  noble-server-cloudimg-amd64.img\n", "a".repeat(32)).as_bytes(),
    );
    assert_eq!(reason(proved(&weak_sums, Some(&rules), None).await).0, Reason::WeakerThanRequired);
}

#[tokio::test]
async fn a_list_of_a_vendors_and_what_lies_beside_the_file_have_to_agree() {
    let listed = |sum: Sum, size, level| Expectation {
        size,
        sums: vec![sum],
        evidence: Evidence { level, documents: texts(&["https://h/list.json"]), ..Evidence::default() },
        others: Vec::new(),
    };
    let hex = |digits: usize| Sum::of_hex(&"b".repeat(digits)).unwrap();
    let with = async |map: &Map, rules: &VendorRules, listed: Expectation, held: Option<&Evidence>| {
        prove_listed(IMAGE, Some(listed), Some(rules), &keys(&[fixture!("old.asc")]), map, held, NOW).await
    };
    let lax = VendorRules { require: Level::Checksum, signatures: Vec::new(), ..rules() };
    for (rules, level) in [(&rules(), Level::Signature), (&lax, Level::Checksum)] {
        let found = with(&signed_map(), rules, listed(sum(), Some(5), Level::Checksum), None).await.unwrap().unwrap();
        assert_eq!((found.size, &found.sums[..], found.evidence.level), (Some(5), &[sum()][..], level));
        assert_eq!(found.source(&sum()), ", as SHA256SUMS says");
        let both = with(&signed_map(), rules, listed(hex(128), None, Level::Checksum), None).await.unwrap().unwrap();
        assert_eq!(both.sums, [sum(), hex(128)], "the bytes have to be of both");
        assert_eq!(both.source(&hex(128)), ", as list.json says");
        let (why, words) = reason(with(&signed_map(), rules, listed(hex(64), None, Level::Checksum), None).await);
        assert_eq!(why, Reason::SumsRefused);
        assert!(words.contains("SHA256SUMS are refused") && words.contains("list.json says sha256:bbbb"), "{words}");
    }
    // The list alone will do where it reaches what is demanded.
    let none = Map::default();
    let alone = with(&none, &lax, listed(hex(64), None, Level::Checksum), None).await.unwrap().unwrap();
    assert_eq!(alone.sums, [hex(64)]);
    let (why, _) = reason(with(&none, &rules(), listed(hex(64), None, Level::Checksum), None).await);
    assert_eq!(why, Reason::SignatureMissing);
    let unsigned = Map::default().with(LIST, fixture!("SHA256SUMS"));
    let signed = with(&unsigned, &rules(), listed(hex(64), None, Level::Signature), None).await.unwrap().unwrap();
    assert_eq!((signed.sums, signed.evidence.level), (vec![hex(64)], Level::Signature));
    // Of a list that is signed, the sums beside an older build are no roll-back.
    let held = Evidence { level: Level::Signature, signed_at: Some(NOW.0), ..Evidence::default() };
    assert!(with(&signed_map(), &rules(), listed(sum(), None, Level::Signature), Some(&held)).await.is_ok());
}

#[tokio::test]
async fn a_vendor_is_asked_for_what_its_entry_names() {
    let mut weak = format!("{IMAGE}.sha256");
    let map = Map::default().with(&weak, format!("{}\n", sum().hex()).as_bytes());
    let signs_files = VendorRules { sums: Vec::new(), signatures: texts(&["{file}.sig"]), ..rules() };
    let has_sums = VendorRules { signatures: Vec::new(), require: Level::Checksum, ..rules() };
    for (rules, asked) in [(signs_files, vec![]), (has_sums, vec![LIST.to_owned()])] {
        assert_eq!(proved(&map, Some(&rules), None).await.unwrap(), None);
        assert_eq!(std::mem::take(&mut *map.asked.lock().unwrap()), asked);
    }
    let nothing = VendorRules { require: Level::Checksum, ..VendorRules::default() };
    assert_eq!(proved(&map, Some(&nothing), None).await.unwrap().unwrap().sums, [sum()]);
    weak.push('x');
    let map = Map::default().with(&weak, b"");
    assert_eq!(proved(&map, Some(&nothing), None).await.unwrap(), None);
    assert_eq!(map.asked.lock().unwrap().len(), REQUESTS_MAX);
}

/// Keys of several releases are pinned, and the file of an old one may be outlived: that excuses nothing.
#[tokio::test]
async fn a_key_that_is_in_no_file_is_not_excused_by_one_that_is_outlived() {
    const OUTLIVED: &str = "5A89F68C6591AACEF0D02FFEFE3B874294177A6A";
    let files = [fixture!("old.asc"), fixture!("subkeys-2025.asc")];
    let map = signed_map().with(LIST_SIGNATURE, fixture!("SHA256SUMS.2026.sig"));
    for (pins, words) in [(&[OLD][..], "none of the keys that count"), (&[OLD, OUTLIVED], "may be too old")] {
        let rules = VendorRules { require: Level::Checksum, keys: texts(pins), ..rules() };
        let (why, said) = reason(prove(IMAGE, Some(&rules), &keys(&files), &map, None, NOW).await);
        assert!(why == Reason::SignatureRefused && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn what_was_signed_stays_signed_and_lists_do_not_go_back() {
    let held = |seconds: i64| Evidence {
        level: Level::Signature,
        signed_at: Some(seconds * 1_000_000),
        ..Evidence::default()
    };
    let (before, after) = (held(1_767_000_000), held(1_770_000_000));
    assert!(proved(&signed_map(), Some(&rules()), Some(&before)).await.is_ok());
    let (why, words) = reason(proved(&signed_map(), Some(&rules()), Some(&after)).await);
    assert_eq!(why, Reason::RolledBack);
    assert!(words.contains("is of 2026-01-05, older than the one of 2026-02-02"), "{words}");
    let lax = VendorRules { require: Level::Checksum, ..rules() };
    let without = Map::default().with(LIST, fixture!("SHA256SUMS"));
    let (why, words) = reason(proved(&without, Some(&lax), Some(&before)).await);
    assert!(why == Reason::WeakerThanBefore && words.contains("--accept-weaker"), "{words}");
    assert_eq!(reason(proved(&Map::default(), None, Some(&before)).await).0, Reason::WeakerThanBefore);
    assert!(proved(&without, Some(&lax), None).await.unwrap().is_some(), "nothing is held when weaker is accepted");
}

#[tokio::test]
async fn a_list_that_is_signed_counts_though_one_before_it_is_not() {
    let sidecar = format!("{}  noble-server-cloudimg-amd64.img\n", sum().hex());
    let map = signed_map().with(&format!("{IMAGE}.CHECKSUM"), sidecar.as_bytes());
    for require in [Level::Checksum, Level::Signature] {
        let rules = VendorRules { sums: texts(&["{file}.CHECKSUM", "SHA256SUMS"]), require, ..rules() };
        let found = proved(&map, Some(&rules), None).await.unwrap().unwrap();
        assert_eq!((found.evidence.level, found.sums), (Level::Signature, vec![sum()]));
        let alone = Map::default().with(&format!("{IMAGE}.CHECKSUM"), sidecar.as_bytes());
        let alone = proved(&alone, Some(&rules), None).await;
        match require {
            Level::Signature => assert_eq!(reason(alone).0, Reason::SignatureMissing),
            _ => assert_eq!(alone.unwrap().unwrap().evidence.level, Level::Checksum),
        }
    }
}

#[tokio::test]
async fn a_list_that_is_too_long_is_refused_as_one() {
    let long = FakeDocuments::default().with(LIST, vec![b'\n'; SUMS_BYTES_MAX + 1]);
    let rules = VendorRules { keys: Vec::new(), require: Level::Checksum, ..rules() };
    let (why, words) = reason(prove(IMAGE, Some(&rules), &Keyring::new(), &long, None, NOW).await);
    assert!(why == Reason::SumsRefused && words.contains("SHA256SUMS") && words.contains("too long"), "{words}");
}

#[tokio::test]
async fn documents_of_different_ages_are_asked_for_anew_once() {
    let map = signed_map().with(LIST, b"an older list\n").newer(LIST, fixture!("SHA256SUMS"));
    let found = proved(&map, Some(&rules()), None).await.unwrap().unwrap();
    assert_eq!((found.evidence.level, map.asked.lock().unwrap().len()), (Level::Signature, 4));
    let lax = VendorRules { require: Level::Checksum, signatures: Vec::new(), ..rules() };
    let unnamed = Map::default().with(LIST, b"").newer(LIST, fixture!("SHA256SUMS"));
    assert_eq!(proved(&unnamed, Some(&lax), None).await.unwrap().unwrap().sums, [sum()]);
}

#[tokio::test]
async fn without_rules_the_usual_places_are_asked_in_order_and_errors_are_no_verdict() {
    let line = |digit: &str, digits: usize| format!("{}  noble-server-cloudimg-amd64.img\n", digit.repeat(digits));
    let mut map = Map::default()
        .with(LIST, line("b", 64).as_bytes())
        .with("https://h/noble/current/MD5SUMS", line("c", 32).as_bytes())
        .with(&format!("{IMAGE}.sha256"), b"<html>not found</html>");
    map.fails.push(format!("{IMAGE}.sha512"));
    let found = proved(&map, None, None).await.unwrap().unwrap();
    assert_eq!(found.sums, [Sum::of_hex(&"b".repeat(64)).unwrap()]);
    assert_eq!(found.evidence.documents, [LIST]);
    assert!(map.most.load(Ordering::SeqCst) <= 6, "at most six at a time");
    let bare = Map::default()
        .with(&format!("{IMAGE}.sha512"), "d".repeat(128).as_bytes())
        .with(LIST, line("b", 64).as_bytes());
    assert_eq!(proved(&bare, None, None).await.unwrap().unwrap().sums, [Sum::of_hex(&"d".repeat(128)).unwrap()]);
    let weak = Map::default().with("https://h/noble/current/MD5SUMS", line("c", 32).as_bytes());
    assert_eq!(
        proved(&weak, None, None).await.unwrap().unwrap().evidence.words,
        "matches MD5SUMS: guards against accidents only"
    );
    let moved = Map::default().with(LIST, line("b", 64).as_bytes()).moved(LIST, "http://mirror/SHA256SUMS");
    let words = "matches SHA256SUMS of mirror, over http: it can have been changed on the way";
    assert_eq!(proved(&moved, None, None).await.unwrap().unwrap().evidence.words, words);
    let twice = Map::default().with(LIST, format!("{}{}", line("b", 64), line("c", 64)).as_bytes());
    assert_eq!(reason(proved(&twice, None, None).await).0, Reason::SumsRefused);
    assert_eq!(proved(&Map::default(), None, None).await.unwrap(), None);
    let keyring = Keyring::new();
    let folder: Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(prove("https://h/d/", None, &keyring, &map, None, NOW));
    assert_eq!(folder.await.unwrap(), None);
}

#[tokio::test]
async fn a_file_that_is_signed_itself_is_verified_when_it_is_here() {
    let rules = VendorRules { sums: Vec::new(), signatures: texts(&["{file}.sig"]), ..rules() };
    let signature = format!("{IMAGE}.sig");
    let map = Map::default().with(&signature, fixture!("SHA256SUMS.sig"));
    let keyring = keys(&[fixture!("old.asc")]);
    assert_eq!(proved(&map, Some(&rules), None).await.unwrap(), None, "no list names it");
    let kept = file_signature(IMAGE, &rules, &map, None).await.unwrap().unwrap();
    let verify = |file: &[u8], held: Option<&Evidence>| {
        verify_file_signature(&kept, &mut Cursor::new(file), &rules, &keyring, held, NOW)
    };
    let evidence = verify(fixture!("SHA256SUMS"), None).unwrap();
    assert_eq!(evidence.words, "signed by Old Images (F243 FA9F…89A6), the file itself, 2026-01-05");
    assert_eq!(evidence.documents, [signature]);
    assert_eq!(verify(b"other bytes", None).unwrap_err().reason(), Reason::SignatureRefused);
    let later = Evidence { signed_at: Some(NOW.0), ..evidence.clone() };
    assert_eq!(verify(fixture!("SHA256SUMS"), Some(&later)).unwrap_err().reason(), Reason::RolledBack);
    let none = file_signature(IMAGE, &rules, &Map::default(), None).await.unwrap_err();
    assert_eq!(none.reason(), Reason::SignatureMissing);
    let lax = VendorRules { require: Level::Checksum, ..rules.clone() };
    let weaker = file_signature(IMAGE, &lax, &Map::default(), Some(&evidence)).await.unwrap_err();
    assert_eq!(weaker.reason(), Reason::WeakerThanBefore);
    assert!(file_signature(IMAGE, &lax, &Map::default(), None).await.unwrap().is_none());
}
