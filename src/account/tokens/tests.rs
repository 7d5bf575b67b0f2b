use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::account::{AccountChange, Role};

const HOUR: Duration = Duration::from_secs(3600);
const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn later(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1_000_000)
}

struct House {
    dir: tempfile::TempDir,
    accounts: Accounts,
    tokens: Tokens,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (accounts, tokens) = (Accounts::open(dir.path()).unwrap(), Tokens::open(dir.path(), HOUR, NOW).unwrap());
        Self { dir, accounts, tokens }
    }

    fn account(&self, name: &str) -> Account {
        self.accounts.add(name, None, Role::Member, NOW).unwrap()
    }

    fn grant(&self, account: &Account, from: Option<&Grant>, now: Timestamp) -> Grant {
        let scope = Scope::Project(account.access_key.clone());
        self.tokens.grant(&account.access_key, [Method::Password].into(), scope, from, now).unwrap()
    }

    fn token(&self, account: &Account) -> String {
        self.tokens.issue(account, &self.grant(account, None, NOW)).unwrap().reveal().to_owned()
    }

    fn holds(&self, token: &str, now: Timestamp) -> bool {
        self.tokens.find(token, &self.accounts, now).unwrap().is_some()
    }

    fn restart(&mut self, now: Timestamp) {
        self.tokens = Tokens::open(self.dir.path(), HOUR, now).unwrap();
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("tokens.jsonl")
    }

    fn lines(&self) -> usize {
        std::fs::read_to_string(self.log()).unwrap().lines().count()
    }
}

#[test]
fn a_token_is_its_accounts_until_it_expires() {
    let house = House::new();
    let alice = house.account("alice");
    let grant = house.grant(&alice, None, NOW);
    let token = house.tokens.issue(&alice, &grant).unwrap();
    assert_eq!((token.reveal().len(), grant.expires_at), (64, later(3600)));
    let (account, found) = house.tokens.find(token.reveal(), &house.accounts, later(3599)).unwrap().unwrap();
    assert_eq!((account.id, found), (alice.id, grant));
    for (when, holds) in [(3600, false), (360_000_000, false), (-299, true), (-301, false), (-360_000_000, false)] {
        assert_eq!(house.holds(token.reveal(), later(when)), holds, "{when} s after it was given");
    }
    for wrong in ["", "x", &token.reveal()[1..], &format!("{} ", token.reveal())] {
        assert!(!house.holds(wrong, NOW), "{wrong}");
    }
}

#[test]
fn a_token_got_with_another_ends_with_it() {
    let house = House::new();
    let alice = house.account("alice");
    let first = house.grant(&alice, None, NOW);
    let mut last = first.clone();
    for minute in 1..5 {
        last = house
            .tokens
            .grant("alice", [Method::Token].into(), Scope::Unscoped, Some(&last), later(minute * 60))
            .unwrap();
    }
    assert_eq!((last.expires_at, last.issued_at), (first.expires_at, later(240)));
    assert_eq!(last.methods, [Method::Password, Method::Token].into());
    assert_eq!((last.audit_ids.len(), &last.audit_ids[1]), (2, &first.audit_ids[0]));
}

#[test]
fn tokens_survive_a_restart_and_their_end_does() {
    let mut house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let (kept, revoked, other) = (house.token(&alice), house.token(&alice), house.token(&bob));
    assert!(house.tokens.revoke(&revoked, NOW).unwrap());
    assert!(!house.tokens.revoke(&revoked, NOW).unwrap() && !house.tokens.revoke("nonsense", NOW).unwrap());
    let before = house.tokens.find(&kept, &house.accounts, NOW).unwrap().unwrap().1;
    for _ in 0..2 {
        assert_eq!([&kept, &revoked, &other].map(|token| house.holds(token, NOW)), [true, false, true]);
        house.restart(NOW);
    }
    assert_eq!(house.tokens.find(&kept, &house.accounts, NOW).unwrap().unwrap().1, before);
    let late = house.token(&alice);
    house.restart(NOW);
    assert!(house.holds(&late, NOW), "after a restart they are kept too");
    house.restart(later(3600));
    assert_eq!(house.lines(), 0, "what has expired is forgotten");
}

#[test]
fn only_digests_are_kept_and_nobody_else_reads_them() {
    let house = House::new();
    let alice = house.account("alice");
    let token = house.token(&alice);
    let log = std::fs::read_to_string(house.log()).unwrap();
    assert!(!log.contains(&token) && !log.contains(alice.secret_key.reveal()), "{log}");
    assert_eq!(std::fs::metadata(house.log()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", house.tokens).contains(&token));
}

#[test]
fn a_token_goes_with_its_account() {
    let house = House::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| house.account(name));
    let tokens = [&alice, &bob, &carol].map(|account| house.token(account));
    house.accounts.remove("alice").unwrap();
    house.account("alice");
    house
        .accounts
        .update("bob", AccountChange { access_key: Some("robert".into()), ..AccountChange::default() }, NOW)
        .unwrap();
    house
        .accounts
        .update("carol", AccountChange { email: Some("carol@example.org".into()), ..AccountChange::default() }, NOW)
        .unwrap();
    assert_eq!(tokens.each_ref().map(|token| house.holds(token, NOW)), [false, false, true]);
    // A changed secret ends the tokens that were issued for the old one.
    let path = house.dir.path().join("accounts.json");
    let text = std::fs::read_to_string(&path).unwrap().replace(carol.secret_key.reveal(), "another secret");
    std::fs::write(&path, text).unwrap();
    crate::account::wait_for_servers();
    assert!(!house.holds(&tokens[2], NOW));
}

#[test]
fn an_accounts_oldest_token_makes_room() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let (first, second, other) = (house.token(&alice), house.token(&alice), house.token(&bob));
    for _ in 2..=ACCOUNT_TOKENS_MAX {
        house.token(&alice);
    }
    assert_eq!([&first, &second, &other].map(|token| house.holds(token, NOW)), [false, true, true]);
    assert_eq!(house.tokens.live.read().unwrap().tokens.len(), ACCOUNT_TOKENS_MAX + 1);
}

#[test]
fn there_are_so_many_tokens_and_no_more() {
    let house = House::new();
    let account = house.account("alice");
    let grant = house.grant(&account, None, NOW);
    let mut live = Live::default();
    let print = |number: usize| Print::of(&number.to_string());
    let greedy = TOKENS_MAX - 100;
    for number in 0..TOKENS_MAX + 10 {
        // A few that have nearly as many as each may, and many that have one.
        let account = Uuid::from_u128(if number < greedy { number % 5 } else { number } as u128);
        live.put(Kept { token: print(number), account, secret: print(0), grant: grant.clone() });
    }
    assert_eq!((live.tokens.len(), live.order.values().map(BTreeMap::len).sum()), (TOKENS_MAX, TOKENS_MAX));
    assert!((greedy..TOKENS_MAX + 10).all(|number| live.tokens.contains_key(&print(number))), "who has one keeps it");
    assert!((0..5).any(|number| !live.tokens.contains_key(&print(number))), "the oldest of who has most went");
}

#[test]
fn the_log_does_not_grow_with_what_is_gone() {
    let mut house = House::new();
    let alice = house.account("alice");
    let kept = house.token(&alice);
    for _ in 0..1500 {
        let token = house.token(&alice);
        house.tokens.live.write().unwrap().take(&Print::of(&token));
    }
    assert!(house.lines() < 1100, "{}", house.lines());
    house.restart(NOW);
    assert!(house.holds(&kept, NOW));
}

#[test]
fn a_torn_end_costs_one_token_and_not_the_next() {
    let mut house = House::new();
    let alice = house.account("alice");
    let (first, torn) = (house.token(&alice), house.token(&alice));
    let bytes = std::fs::read(house.log()).unwrap();
    std::fs::write(house.log(), &bytes[..bytes.len() - 20]).unwrap();
    house.restart(NOW);
    let next = house.token(&alice);
    house.restart(NOW);
    assert_eq!([&first, &torn, &next].map(|token| house.holds(token, NOW)), [true, false, true]);
}

#[test]
fn a_log_that_can_not_be_written_stops_nobody_from_getting_in() {
    let mut house = House::new();
    let alice = house.account("alice");
    let before = house.token(&alice);
    // Every device is full here: a file takes no bytes and can't be replaced by one either.
    house.tokens.log = Mutex::new(Log::at("/dev/full/tokens.jsonl".into()));
    let token = house.token(&alice);
    assert!(house.holds(&token, NOW) && house.holds(&before, NOW));
    assert!(house.tokens.revoke(&token, NOW).is_err(), "no success is reported for a revocation that is not kept");
    assert!(!house.holds(&token, NOW));
    // As soon as it can be written again everything is.
    house.tokens.log = Mutex::new(Log::at(house.log()));
    let after = house.token(&alice);
    house.restart(NOW);
    assert_eq!([&before, &token, &after].map(|token| house.holds(token, NOW)), [true, false, true]);
}

#[test]
fn an_open_token_says_what_it_stands_for_and_is_good_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (accounts, tokens) = (Accounts::open(dir.path()).unwrap(), Tokens::open(dir.path(), HOUR, NOW).unwrap());
    let grant = tokens.grant("anna", [Method::Password].into(), Scope::Project("läb".into()), None, NOW).unwrap();
    let token = open_token(&grant).unwrap();
    assert!(token.reveal().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "it fits in a header");
    assert_eq!(read_open(token.reveal()), Some(grant));
    for other in ["", "open-", "open-e30", "anything", &token.reveal()[1..]] {
        assert_eq!(read_open(other), None, "{other}");
    }
    accounts.add("anna", None, Role::Administrator, NOW).unwrap();
    assert!(tokens.find(token.reveal(), &accounts, NOW).unwrap().is_none(), "it stands for no account");
}
