use super::entry::{NAME_BYTES_MAX, default_name};
use super::*;
use crate::account::{AccountChange, Role};
use crate::error::Kind;

const NOW: Timestamp = Timestamp(1_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn later(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1_000_000)
}

fn certificate(name: &str) -> Certificate {
    certificate_until(name, 4000)
}

fn certificate_until(name: &str, year: i32) -> Certificate {
    let mut described = rcgen::CertificateParams::default();
    described.not_before = rcgen::date_time_ymd(1970, 1, 1);
    described.not_after = rcgen::date_time_ymd(year, 1, 1);
    described.distinguished_name = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        described.distinguished_name.push(rcgen::DnType::CommonName, name);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    Certificate::read(described.self_signed(&key).unwrap().der()).unwrap()
}

/// An applicant with a certificate, with or without its key.
fn applicant(certificate: &Certificate, has_key: bool) -> Applicant {
    Applicant { certificate: certificate.clone(), name: None, restriction: Restriction::default(), has_key }
}

struct Place {
    _dir: tempfile::TempDir,
    accounts: Accounts,
    trust: Trust,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (accounts, trust) = (Accounts::open(dir.path()).unwrap(), Trust::open(dir.path()).unwrap());
    Place { _dir: dir, accounts, trust }
}

impl Place {
    fn account(&self, name: &str) -> Account {
        self.accounts.add(name, None, Role::Member, NOW).unwrap()
    }

    fn stands_for(&self, certificate: &Certificate) -> Option<String> {
        self.stands_at(certificate, NOW)
    }

    fn stands_at(&self, certificate: &Certificate, now: Timestamp) -> Option<String> {
        let standing = self.trust.standing(&certificate.fingerprint, &self.accounts, now).unwrap();
        standing.map(|standing| standing.account.access_key)
    }

    fn redeem(&self, secret: &str, certificate: &Certificate, open: bool, now: Timestamp) -> Option<Client> {
        self.trust.redeem(secret, &applicant(certificate, true), &self.accounts, open, now).unwrap()
    }
}

#[test]
fn an_entry_has_the_name_in_its_certificate_if_that_can_be_shown() {
    assert_eq!(default_name(&certificate("root@laptop")), "root@laptop");
    for nameless in ["", "two\nlines", "  "] {
        let read = certificate(nameless);
        assert_eq!(default_name(&read), read.fingerprint[..12], "{nameless:?}");
    }
}

/// A certificate is trusted from its first to its last moment, and neither before nor after.
#[test]
fn trust_ends_with_the_certificate() {
    let place = place();
    let (alice, shown) = (place.account("alice"), certificate_until("laptop", 1980));
    let validity = shown.validity;
    let (before, after) = (Timestamp(validity.from.0 - 1), Timestamp(validity.until.0 + 1));
    let token = || place.trust.issue(None, Some(&alice), Restriction::default(), HOUR * 24 * 365 * 20, NOW).unwrap().0;
    for (moment, reason) in [(before, Reason::CertificateNotYetValid), (after, Reason::CertificateExpired)] {
        for refused in [
            place.trust.add(&applicant(&shown, false), Some(&alice), moment).map(Some),
            place.trust.admit(&applicant(&shown, true), Some(&alice), moment).map(Some),
            place.trust.redeem(token().reveal(), &applicant(&shown, true), &place.accounts, false, moment),
        ] {
            assert_eq!(refused.unwrap_err().reason(), reason);
        }
    }
    assert!(place.trust.list().unwrap().is_empty());
    place.trust.add(&applicant(&shown, false), Some(&alice), validity.until).unwrap();
    // As another process reads it.
    let trust = Trust::open(place._dir.path()).unwrap();
    let place = Place { trust, ..place };
    for (moment, trusted) in [(before, false), (validity.from, true), (validity.until, true), (after, false)] {
        assert_eq!(place.stands_at(&shown, moment).is_some(), trusted, "{moment:?}");
    }
}

#[test]
fn an_entry_whose_certificate_can_not_be_read_is_trusted_at_no_time() {
    let place = place();
    let (alice, shown) = (place.account("alice"), certificate("laptop"));
    place.trust.add(&applicant(&shown, false), Some(&alice), NOW).unwrap();
    let file = place._dir.path().join("trust.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, kept.replace("BEGIN CERTIFICATE", "BEGIN")).unwrap();
    assert_eq!((place.stands_for(&shown), place.trust.list().unwrap().len()), (None, 1));
}

#[test]
fn a_certificate_stands_for_an_account_as_long_as_there_is_one() {
    let place = place();
    let (alice, shown) = (place.account("alice"), certificate("laptop"));
    assert_eq!(place.stands_for(&shown), None);
    place.trust.add(&applicant(&shown, false), Some(&alice), NOW).unwrap();
    assert_eq!(place.stands_for(&shown).as_deref(), Some("alice"));
    let again = place.trust.add(&applicant(&shown, false), Some(&alice), NOW).unwrap_err();
    assert_eq!(again.kind(), Kind::AlreadyExists);
    place
        .accounts
        .update("alice", AccountChange { access_key: Some("alicia".into()), ..AccountChange::default() }, NOW)
        .unwrap();
    assert_eq!(place.stands_for(&shown).as_deref(), Some("alicia"), "an account may change its name");
    place.accounts.remove("alicia").unwrap();
    assert_eq!(place.stands_for(&shown), None);
    place.account("alicia");
    assert_eq!(place.stands_for(&shown), None, "another account of the same name is another's");
}

#[test]
fn without_an_account_an_entry_means_nothing() {
    let (place, shown) = (place(), certificate("laptop"));
    place.trust.add(&Applicant { name: Some("mine".into()), ..applicant(&shown, false) }, None, NOW).unwrap();
    assert_eq!(place.stands_for(&shown), None);
    let alice = place.account("alice");
    assert_eq!(place.stands_for(&shown), None, "also when there are accounts by now");
    let admitted = place.trust.admit(&applicant(&shown, true), Some(&alice), NOW).unwrap();
    assert_eq!((place.stands_for(&shown).as_deref(), admitted.name.as_str()), (Some("alice"), "laptop"));
    assert_eq!(place.trust.list().unwrap(), [admitted], "one entry a certificate");
}

#[test]
fn a_certificate_is_not_taken_over_without_its_key() {
    let place = place();
    let (alice, mallory, shown) = (place.account("alice"), place.account("mallory"), certificate("laptop"));
    place.trust.admit(&applicant(&shown, false), Some(&alice), NOW).unwrap();
    place.trust.admit(&applicant(&shown, false), Some(&alice), NOW).unwrap();
    let (secret, _) = place.trust.issue(None, Some(&mallory), Restriction::default(), HOUR, NOW).unwrap();
    let stolen = applicant(&shown, false);
    for refused in [
        place.trust.admit(&stolen, Some(&mallory), NOW).map(Some),
        place.trust.admit(&stolen, None, NOW).map(Some),
        place.trust.redeem(secret.reveal(), &stolen, &place.accounts, false, NOW),
    ] {
        assert_eq!(refused.unwrap_err().kind(), Kind::AlreadyExists);
        assert_eq!(place.stands_for(&shown).as_deref(), Some("alice"));
    }
    assert!(
        place.redeem(secret.reveal(), &shown, false, NOW).is_some(),
        "the holder of the key may change the account"
    );
    assert_eq!(place.stands_for(&shown).as_deref(), Some("mallory"));
    assert_eq!(place.trust.list().unwrap().len(), 1);
}

#[test]
fn entries_are_found_by_the_beginning_of_their_fingerprint() {
    let place = place();
    let alice = place.account("alice");
    let all: Vec<_> = (0..20).map(|_| certificate("c")).collect();
    for (n, one) in all.iter().enumerate() {
        place.trust.add(&applicant(one, false), (n % 2 == 0).then_some(&alice), NOW).unwrap();
    }
    let (own, others) = (&all[0].fingerprint, &all[1].fingerprint);
    let visible = |client: &Client| client.holder.is_some();
    assert_eq!(place.trust.find(&own[..40].to_uppercase(), visible).unwrap().fingerprint, *own);
    for (prefix, kind) in [(&own[..0], Kind::NotFound), (others, Kind::NotFound), ("%", Kind::NotFound)] {
        assert_eq!(place.trust.find(prefix, visible).unwrap_err().kind(), kind, "{prefix}");
        assert_eq!(place.trust.remove(prefix, visible).unwrap_err().kind(), kind, "{prefix}");
    }
    let digits = "0123456789abcdef".chars();
    let several = digits.filter(|digit| all.iter().filter(|c| c.fingerprint.starts_with(*digit)).count() > 1);
    for digit in several {
        assert_eq!(place.trust.find(&digit.to_string(), |_| true).unwrap_err().kind(), Kind::Conflict);
    }
    assert_eq!(place.trust.remove(own, visible).unwrap().fingerprint, *own);
    assert_eq!(place.trust.list().unwrap().len(), 19);
}

#[test]
fn a_token_lets_one_certificate_in() {
    let place = place();
    let alice = place.account("alice");
    let (secret, expires_at) = place.trust.issue(Some("ci"), Some(&alice), Restriction::default(), HOUR, NOW).unwrap();
    assert_eq!(expires_at, later(3600));
    let kept = std::fs::read_to_string(place._dir.path().join("trust.json")).unwrap();
    assert!(!kept.contains(secret.reveal()), "only a digest is kept");
    let (first, second) = (certificate("first"), certificate("second"));
    assert!(place.redeem("nonsense", &first, true, NOW).is_none());
    let client = place.redeem(secret.reveal(), &first, false, later(3599)).unwrap();
    assert_eq!((client.name.as_str(), place.stands_for(&first).as_deref()), ("ci", Some("alice")));
    assert!(place.redeem(secret.reveal(), &second, true, NOW).is_none());
    assert_eq!(place.stands_for(&second), None);
}

#[test]
fn tokens_end() {
    let place = place();
    let alice = place.account("alice");
    let shown = certificate("laptop");
    let issue = |account| place.trust.issue(None, account, Restriction::default(), HOUR, NOW).unwrap().0;
    assert!(place.redeem(issue(Some(&alice)).reveal(), &shown, true, later(3600)).is_none());
    let orphan = issue(Some(&alice));
    place.accounts.remove("alice").unwrap();
    place.account("alice");
    assert!(place.redeem(orphan.reveal(), &shown, true, NOW).is_none(), "its account is gone");
    assert!(
        place.redeem(issue(None).reveal(), &shown, false, NOW).is_none(),
        "without an account, on a server with accounts"
    );
    assert_eq!(place.redeem(issue(None).reveal(), &shown, true, NOW).unwrap().holder, None);
}

#[test]
fn there_are_so_many_and_no_more() {
    let place = place();
    let alice = place.account("alice");
    for _ in 0..ACCOUNT_TOKENS_MAX {
        place.trust.issue(None, Some(&alice), Restriction::default(), HOUR, NOW).unwrap();
    }
    let full = place.trust.issue(None, Some(&alice), Restriction::default(), HOUR, NOW).unwrap_err();
    assert_eq!(full.kind(), Kind::TooMany);
    place.trust.issue(None, None, Restriction::default(), HOUR, NOW).unwrap();
    place.trust.issue(None, Some(&alice), Restriction::default(), HOUR, later(3600)).unwrap();
    for bad in ["", " ", "a\u{1b}b", &"x".repeat(NAME_BYTES_MAX + 1)] {
        assert!(place.trust.issue(Some(bad), None, Restriction::default(), HOUR, NOW).is_err(), "{bad:?}");
    }
    let mut table = TrustTable::default();
    let client = |n: usize, holder: Option<Holder>| Client {
        fingerprint: n.to_string(),
        name: "x".into(),
        holder,
        restriction: Restriction::default(),
        certificate: String::new().into(),
        added_at: NOW,
    };
    for n in 0..ACCOUNT_CLIENTS_MAX {
        table.put(client(n, None), false).unwrap();
    }
    assert_eq!(table.put(client(ACCOUNT_CLIENTS_MAX, None), false).unwrap_err().kind(), Kind::TooMany);
    table.put(client(0, None), false).unwrap();
    table.put(client(ACCOUNT_CLIENTS_MAX, Some(Holder::of(&alice))), false).unwrap();
}

fn bound(projects: &[&str]) -> Restriction {
    Restriction { restricted: true, projects: projects.iter().map(|name| (*name).to_owned()).collect() }
}

/// A restricted certificate has an ordinary account's rights, in its projects, however it came in.
#[test]
fn a_restricted_certificate_is_no_administrators() {
    let place = place();
    let root = place.accounts.add("root", None, Role::Administrator, NOW).unwrap();
    let (added, admitted, redeemed) = (certificate("added"), certificate("admitted"), certificate("redeemed"));
    let asked = |certificate| Applicant { restriction: bound(&["default"]), ..applicant(certificate, true) };
    place.trust.add(&asked(&added), Some(&root), NOW).unwrap();
    place.trust.admit(&asked(&admitted), Some(&root), NOW).unwrap();
    let (secret, _) = place.trust.issue(None, Some(&root), bound(&["default"]), HOUR, NOW).unwrap();
    // The bearer of a token asks for more in vain.
    place.redeem(secret.reveal(), &redeemed, false, NOW).unwrap();
    let other = Trust::open(place._dir.path()).unwrap();
    for shown in [&added, &admitted, &redeemed] {
        let standing = other.standing(&shown.fingerprint, &place.accounts, NOW).unwrap().unwrap();
        assert_eq!((standing.account.role(), standing.account.id), (Role::Member, root.id));
        assert!(standing.restriction.admits("default") && !standing.restriction.admits("other"));
    }
    assert!(!bound(&[]).admits("default") && Restriction::default().admits("default"));
}

#[test]
fn an_entry_is_changed_and_its_certificate_replaced() {
    let place = place();
    let (alice, bob) = (place.account("alice"), place.account("bob"));
    let (old, new, others) = (certificate("old"), certificate("new"), certificate("others"));
    place.trust.add(&applicant(&old, true), Some(&alice), NOW).unwrap();
    place.trust.add(&applicant(&others, true), Some(&bob), NOW).unwrap();
    let of_alice = |client: &Client| client.holder.as_ref().is_some_and(|holder| holder.id == alice.id);
    let change = |prefix: &Certificate, to: EntryChange, now| {
        place.trust.change(&prefix.fingerprint[..12], of_alice, now, |_| Ok(to)).map_err(|error| error.reason())
    };
    let plain = |certificate: Option<&Certificate>| EntryChange {
        name: "old".into(),
        restriction: Restriction::default(),
        certificate: certificate.cloned(),
    };
    let bounds = EntryChange { name: "phone".into(), restriction: bound(&["default"]), certificate: None };
    assert_eq!(change(&old, bounds, NOW).unwrap().name, "old", "as it was");
    let now = place.trust.find(&old.fingerprint, |_| true).unwrap();
    assert_eq!((now.name.as_str(), &now.restriction), ("phone", &bound(&["default"])));

    assert_eq!(change(&others, plain(None), NOW), Err(Reason::CertificateNotFound));
    assert_eq!(change(&old, plain(Some(&others)), NOW), Err(Reason::CertificateTrusted));
    let late = certificate_until("late", 1980);
    let after = Timestamp(late.validity.until.0 + 1);
    assert_eq!(change(&old, plain(Some(&late)), after), Err(Reason::CertificateExpired));
    let nameless = EntryChange { name: " ".into(), ..plain(None) };
    assert_eq!(change(&old, nameless, NOW), Err(Reason::InvalidValue));
    assert_eq!(place.trust.find(&old.fingerprint, |_| true).unwrap(), now, "nothing of it is done");

    change(&old, plain(Some(&new)), NOW).unwrap();
    assert_eq!((place.stands_for(&old), place.stands_for(&new).as_deref()), (None, Some("alice")));
    assert_eq!((place.stands_for(&others).as_deref(), place.trust.list().unwrap().len()), (Some("bob"), 2));
}

/// A file of an earlier version, which knew no bounds.
#[test]
fn an_earlier_file_is_read_as_it_was_meant() {
    let place = place();
    let (alice, shown) = (place.account("alice"), certificate("laptop"));
    place.trust.add(&applicant(&shown, true), Some(&alice), NOW).unwrap();
    let (token, _) = place.trust.issue(None, Some(&alice), Restriction::default(), HOUR, NOW).unwrap();
    let text = std::fs::read_to_string(place._dir.path().join("trust.json")).unwrap();
    assert!(!text.contains("restricted") && !text.contains("projects"), "such a file is also written: {text}");
    let place = Place { trust: Trust::open(place._dir.path()).unwrap(), ..place };
    let standing = place.trust.standing(&shown.fingerprint, &place.accounts, NOW).unwrap().unwrap();
    assert_eq!(standing.restriction, Restriction::default());
    assert!(place.redeem(token.reveal(), &certificate("other"), false, NOW).is_some());
}
