//! Accounts: rights, changes, names and keys.

use super::*;
use crate::error::Kind;

fn named(access_key: &str) -> AccountChange {
    AccountChange { access_key: Some(access_key.into()), ..AccountChange::default() }
}

#[test]
fn an_account_may_be_for_reading_and_an_administrator_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(dir.path()).unwrap();
    let add = |name: &str, role| accounts.add(name, None, role, Timestamp(1)).unwrap().role();
    let roles = [Role::Administrator, Role::Member, Role::Reader];
    assert_eq!([add("root", roles[0]), add("anna", roles[1]), add("rita", roles[2])], roles);
    let set = |name: &str, read_only| {
        let change = AccountChange { read_only: Some(read_only), ..AccountChange::default() };
        accounts.update(name, change, Timestamp(2)).map(|account| account.role())
    };
    assert_eq!((set("anna", true).unwrap(), set("rita", false).unwrap()), (Role::Reader, Role::Member));
    assert_eq!(set("root", true).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(accounts.get("root").unwrap().unwrap().role(), Role::Administrator);
    let other = Accounts::open(dir.path()).unwrap();
    assert_eq!(other.get("anna").unwrap().unwrap().role(), Role::Reader, "it is kept");
    assert_eq!(accounts.update("anna", named("nora"), Timestamp(3)).unwrap().role(), Role::Reader);
}

/// A file of an earlier version, which knew no such accounts.
#[test]
fn an_earlier_file_is_read_as_it_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    Accounts::open(dir.path()).unwrap().add("anna", None, Role::Member, Timestamp(1)).unwrap();
    let text = std::fs::read_to_string(dir.path().join("accounts.json")).unwrap();
    assert!(!text.contains("read_only"), "such a file is also written, for accounts that need no more");
    assert_eq!(Accounts::open(dir.path()).unwrap().get("anna").unwrap().unwrap().role(), Role::Member);
}

#[test]
fn accounts_are_made_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(dir.path()).unwrap();
    assert!(accounts.is_empty().unwrap());
    let foo = accounts.add("foo", Some("foo@example.org".into()), Role::Administrator, Timestamp(7)).unwrap();
    assert_eq!(foo.secret_key.reveal().len(), 40);
    assert_eq!(accounts.add("foo", None, Role::Member, Timestamp(8)).unwrap_err().kind(), Kind::AlreadyExists);
    let bar = accounts.update("foo", named("bar"), Timestamp(9)).unwrap();
    assert_eq!((bar.id, bar.updated_at()), (foo.id, Some(Timestamp(9))));
    assert_eq!(accounts.with_id(foo.id).unwrap().unwrap().access_key, "bar");
    assert!(accounts.get("foo").unwrap().is_none());
    assert_eq!(accounts.remove("bar").unwrap().id, foo.id);
    assert_eq!(accounts.remove("bar").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_another_process_adds_is_seen_when_its_command_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Accounts::open(dir.path()).unwrap();
    assert!(server.is_empty().unwrap());
    let other = Accounts::open(dir.path()).unwrap();
    for n in 0..3 {
        let added = other.add(&format!("user_{n}"), None, Role::Member, Timestamp(1)).unwrap();
        wait_for_servers();
        assert_eq!(server.get(&added.access_key).unwrap().unwrap().secret_key, added.secret_key);
    }
}

#[test]
fn names_and_addresses_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(dir.path()).unwrap();
    for bad in ["", "a b", "a:b", "ä", &"x".repeat(65)] {
        assert_eq!(accounts.add(bad, None, Role::Member, Timestamp(1)).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    for bad in ["", "x", "@x", "x@", "a@b@c", "a b@c"] {
        let error = accounts.add("ok", Some(bad.into()), Role::Member, Timestamp(1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
}

#[test]
fn keys_are_right_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(dir.path()).unwrap();
    let foo = accounts.add("foo", None, Role::Member, Timestamp(1)).unwrap();
    let secret = foo.secret_key.reveal();
    assert_eq!(accounts.with_keys("foo", secret).unwrap().unwrap().id, foo.id);
    for (key, guess) in [("foo", ""), ("foo", &secret[1..]), ("bar", secret), ("nobody", ""), ("", "")] {
        assert!(accounts.with_keys(key, guess).unwrap().is_none(), "{key} {guess}");
    }
}

#[test]
fn secrets_do_not_print() {
    let dir = tempfile::tempdir().unwrap();
    let account = Accounts::open(dir.path()).unwrap().add("foo", None, Role::Member, Timestamp(1)).unwrap();
    assert!(!format!("{account:?}").contains(account.secret_key.reveal()));
}
