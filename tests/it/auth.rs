//! Accounts and signatures.

use std::time::{Duration, SystemTime};

use visor::account::signature::{ContentType, sign, string_to_sign};

use crate::harness::{Answer, Server};

/// The keys of an account.
pub(crate) struct Account {
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// Makes an account on the directory of a running server.
pub(crate) fn account(server: &Server, name: &str, arguments: &[&str]) -> Account {
    let made = server.account(name, arguments);
    assert_eq!(made.as_object().unwrap().len(), 2);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Account { key: text("access_key"), secret: text("secret_key") }
}

fn date(offset_s: i64) -> String {
    let offset = Duration::from_secs(offset_s.unsigned_abs());
    let time = if offset_s < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset };
    httpdate::fmt_http_date(time)
}

impl Account {
    pub(crate) fn send(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send_at(server, &date(0), method, path, headers, body)
    }

    fn send_at(
        &self,
        server: &Server,
        date: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("Date", date));
        let signed = path.split('?').next().unwrap();
        let text = string_to_sign(method, signed, headers.iter().copied(), ContentType::AsSent);
        let authorization = format!("VISOR {}:{}", self.key, sign(&self.secret, &text));
        headers.push(("Authorization", &authorization));
        server.send(method, path, &headers, body)
    }
}

const NAME: (&str, &str) = ("X-Image-Meta-Name", "a");
const ARCH: (&str, &str) = ("X-Image-Meta-Architecture", "i386");
const PRIVATE: (&str, &str) = ("X-Image-Meta-Access", "private");
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

fn message(answer: &Answer) -> String {
    assert_eq!(answer.status, 403, "{answer:?}");
    answer.json()["message"].as_str().unwrap().to_owned()
}

#[test]
fn with_accounts_every_request_is_signed() {
    let server = Server::start();
    assert_eq!(server.get("/images").status, 404, "without accounts everybody on the machine may");
    let alice = account(&server, "alice", &[]);
    for (method, path) in [("GET", "/images"), ("POST", "/images"), ("DELETE", "/all"), ("GET", "/users")] {
        assert_eq!(message(&server.send(method, path, &[], b"")), "Authorization not provided.");
    }
    let head = server.send("HEAD", "/images/x", &[], b"");
    assert_eq!((head.status, head.header("x-error-message")), (403, Some("Authorization not provided.")));
    let xml = server.send("GET", "/images", &[("Accept", "application/xml")], b"");
    assert!(xml.text().contains("<message>Authorization not provided.</message>"));
    assert_eq!(alice.send(&server, "GET", "/images?sort=name", &[], b"").status, 404);
    assert_eq!(server.get("/status").text(), "OK");
}

#[test]
fn wrong_signatures_in_the_originals_words() {
    let server = Server::start();
    let alice = account(&server, "alice", &[]);
    let with =
        |value: &str| message(&server.send("GET", "/images", &[("Authorization", value), ("Date", &date(0))], b""));
    for malformed in ["VISOR", "VISOR alice", "VISOR :x", "VISOR a-b:x"] {
        assert_eq!(with(malformed), "No access key found in Authorization.", "{malformed}");
    }
    assert_eq!(with("VISOR nobody:x"), "No user found with access key 'nobody'.");
    for scheme in ["VISOR", "visor"] {
        assert_eq!(with(&format!("{scheme} alice:x")), "Invalid authorization, signatures do not match.");
    }
    assert_eq!(with("VISOR alice:AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "Invalid authorization, signatures do not match.");
    let thief = Account { key: "alice".into(), secret: "guess".into() };
    assert_eq!(
        message(&thief.send(&server, "GET", "/images", &[], b"")),
        "Invalid authorization, signatures do not match."
    );
    for offset in [-16 * 60, 16 * 60, -10 * 365 * 86400] {
        let answer = alice.send_at(&server, &date(offset), "GET", "/images", &[], b"");
        assert!(message(&answer).contains("Date"), "{offset}");
    }
    for offset in [-14 * 60, 14 * 60] {
        assert_eq!(alice.send_at(&server, &date(offset), "GET", "/images", &[], b"").status, 404);
    }
    assert!(message(&alice.send_at(&server, "", "GET", "/images", &[], b"")).contains("Date"));
    assert!(message(&alice.send_at(&server, "yesterday", "GET", "/images", &[], b"")).contains("Date"));
}

/// A modern Ruby adds a content type that the original's client did not sign, to requests without a body only.
/// The signature covers one of two dates, and the clock is compared with one of two: never with another.
#[test]
fn a_second_date_does_not_make_an_old_request_fresh() {
    let server = Server::start();
    let alice = account(&server, "alice", &[]);
    let old = date(-86_400);
    for fresh in [vec![("Date", date(0))], vec![("Content-Type", "a/b".to_owned()), ("Content-Type", "c/d".to_owned())]]
    {
        let mut headers: Vec<(&str, &str)> = fresh.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.insert(0, NAME);
        let answer = alice.send_at(&server, &old, "GET", "/images", &headers, b"");
        assert!(message(&answer).contains("only once each"), "{answer:?}");
    }
}

#[test]
fn what_a_modern_ruby_adds_is_overlooked() {
    let server = Server::start();
    let alice = account(&server, "alice", &[]);
    let date = date(0);
    let signed = [NAME, ARCH, ("Date", date.as_str())];
    let text = string_to_sign("POST", "/images", signed, ContentType::Left);
    let authorization = format!("VISOR alice:{}", sign(&alice.secret, &text));
    let mut headers = signed.to_vec();
    headers.extend([("Authorization", authorization.as_str()), ("Content-Type", "application/x-www-form-urlencoded")]);
    assert_eq!(server.send("POST", "/images", &headers, b"x=1").status, 403);
    headers.push(("Content-Length", "0"));
    assert_eq!(server.send("POST", "/images", &headers, b"").status, 200);
}

#[test]
fn images_belong_to_their_makers() {
    let server = Server::start();
    let (alice, bob, root) =
        (account(&server, "alice", &[]), account(&server, "bob", &[]), account(&server, "root", &["--admin"]));
    let add = |headers: &[(&str, &str)]| {
        let answer = alice.send(&server, "POST", "/images", &[&[NAME, ARCH, OCTETS], headers].concat(), b"bytes");
        assert_eq!(answer.status, 200, "{answer:?}");
        let image = answer.json()["image"].clone();
        assert_eq!(image["owner"], "alice");
        format!("/images/{}", image["_id"].as_str().unwrap())
    };
    let (public, private) = (add(&[]), add(&[PRIVATE]));
    let count =
        |who: &Account| who.send(&server, "GET", "/images", &[], b"").json()["images"].as_array().unwrap().len();
    assert_eq!((count(&alice), count(&bob), count(&root)), (2, 1, 2));

    // Not yours and not there are the same answer, for every verb.
    let nowhere = "/images/11111111-2222-4333-8444-555555555555";
    for (method, headers) in [("GET", vec![]), ("DELETE", vec![]), ("PUT", vec![NAME]), ("HEAD", vec![])] {
        let (not_yours, not_there) =
            (bob.send(&server, method, &private, &headers, b""), bob.send(&server, method, nowhere, &headers, b""));
        let own = |answer: &Answer, path: &str| answer.text().replace(&path[8..], "ID");
        assert_eq!((not_yours.status, own(&not_yours, &private)), (404, own(&not_there, nowhere)), "{method}");
    }
    let kernel = [NAME, ARCH, ("X-Image-Meta-Kernel", &private[8..])];
    assert_eq!(bob.send(&server, "POST", "/images", &kernel, b"").status, 404);

    assert_eq!(bob.send(&server, "GET", &public, &[], b"").body, b"bytes");
    assert_eq!(bob.send(&server, "PUT", &public, &[NAME], b"").status, 403);
    assert_eq!(bob.send(&server, "DELETE", &public, &[], b"").status, 403);
    let shown = bob.send(&server, "HEAD", &public, &[], b"");
    assert_eq!(shown.header("x-image-meta-location"), None, "the server's directories are the owner's to know");
    let owner = ("X-Image-Meta-Owner", "bob");
    assert_eq!(alice.send(&server, "PUT", &public, &[owner], b"").status, 400);
    assert_eq!(root.send(&server, "PUT", &public, &[owner], b"").json()["image"]["owner"], "bob");
    assert_eq!(bob.send(&server, "DELETE", &public, &[], b"").status, 200);
    let all = ("x-visor-confirm", "all");
    assert!(bob.send(&server, "DELETE", "/all", &[all], b"").json()["images"].as_array().unwrap().is_empty());
    assert_eq!(root.send(&server, "DELETE", "/all", &[all], b"").json()["images"].as_array().unwrap().len(), 1);
}

#[test]
fn an_administrator_withholds_and_gives_out_again() {
    let server = Server::start();
    let id = server.add("a", &[], b"bytes")["_id"].as_str().unwrap().to_owned();
    let path = format!("/images/{id}");
    let status = |word: &str| server.send("PUT", &path, &[("x-image-meta-status", word)], b"");
    assert_eq!(status("locked").json()["image"]["status"], "locked");
    let withheld = server.get(&path);
    assert_eq!((withheld.status, withheld.body.len()), (200, 0));
    assert_eq!(server.send("PUT", &path, &[OCTETS], b"other bytes").status, 409, "withheld is not empty");
    assert_eq!(status("available").json()["image"]["status"], "available");
    assert_eq!(server.get(&path).body, b"bytes");
}

#[test]
fn public_images_may_be_opened_to_readers() {
    let server = Server::configured("[auth]\npublic_read = true\n");
    let alice = account(&server, "alice", &[]);
    alice.send(&server, "POST", "/images", &[NAME, ARCH], b"");
    alice.send(&server, "POST", "/images", &[NAME, ARCH, PRIVATE], b"");
    assert_eq!(server.names("").len(), 1);
    assert_eq!(message(&server.send("POST", "/images", &[NAME, ARCH], b"")), "Authorization not provided.");
    let own = format!("/images/{}", server.get("/images").json()["images"][0]["_id"].as_str().unwrap());
    assert_eq!(message(&server.send("DELETE", &own, &[], b"")), "Authorization not provided.");
}

#[test]
fn accounts_over_http_are_the_administrators() {
    let server = Server::start();
    let (alice, root) = (account(&server, "alice", &[]), account(&server, "root", &["--admin"]));
    assert_eq!(alice.send(&server, "GET", "/users", &[], b"").status, 403);
    let send = |method: &str, path: &str, body: &str| root.send(&server, method, path, &[], body.as_bytes());
    let made = send("POST", "/users", r#"{"user":{"access_key":"carol","email":"carol@example.org"}}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let carol = Account { key: "carol".into(), secret: made.json()["user"]["secret_key"].as_str().unwrap().to_owned() };
    assert_eq!(carol.send(&server, "GET", "/images", &[], b"").status, 404, "it works at once");
    let again = send("POST", "/users", r#"{"user":{"access_key":"carol","email":"carol@example.org"}}"#);
    assert_eq!((again.status, &again.json()["message"]), (409, &"The access_key 'carol' was already taken.".into()));
    let shown = send("GET", "/users/carol", "");
    assert_eq!(shown.json()["user"]["email"], "carol@example.org");
    let all = send("GET", "/users", "").text();
    for secret in [&alice.secret, &root.secret, &carol.secret] {
        assert!(!all.contains(secret) && !shown.text().contains(secret) && !server.log().contains(secret));
    }
    for (body, message) in [
        (r#"{"user":{"access_key":"d"}}"#, "These fields are required: email"),
        (r#"{"user":{"access_key":"d","email":"d"}}"#, "The email address seems to be invalid."),
        (r#"{"user":{"access_key":"d","email":"d@e","secret_key":"x"}}"#, "These fields are read-only: secret_key"),
        ("{", "JSON"),
        ("[[[[", "JSON"),
    ] {
        let answer = send("POST", "/users", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{answer:?}");
    }
    assert_eq!(send("GET", "/users?zz=1", "").status, 400);
    assert_eq!(send("GET", "/users?email=carol@example.org", "").json()["users"].as_array().unwrap().len(), 1);
    let moved = send("PUT", "/users/carol", r#"{"user":{"email":"c@example.org"}}"#);
    assert_eq!(moved.json()["user"]["email"], "c@example.org");
    assert_eq!(send("POST", "/users", r#"{"user":{"access_key":"d","email":"d@e","admin":"x","zz":1}}"#).status, 400);
    assert_eq!(send("PUT", "/users/carol", r#"{"user":{"admin":true}}"#).status, 400, "not quietly overlooked");
    assert_eq!(carol.send(&server, "POST", "/images", &[NAME, ARCH], b"").status, 200);
    let reader = send("PUT", "/users/carol", r#"{"user":{"read_only":true}}"#);
    assert_eq!(reader.json()["user"]["read_only"], "true", "{reader:?}");
    let refused = carol.send(&server, "POST", "/images", &[NAME, ARCH], b"");
    assert_eq!((refused.status, refused.header("x-visor-error")), (403, Some("read-only-account")));
    assert_eq!(refused.json()["message"], "This account may only read; it may not create images.");
    assert_eq!(carol.send(&server, "GET", "/images", &[], b"").status, 200);
    assert_eq!(send("GET", "/users?read_only=true", "").json()["users"].as_array().unwrap().len(), 1);
    assert_eq!(send("PUT", "/users/root", r#"{"user":{"read_only":true}}"#).status, 400);
    assert_eq!(send("PUT", "/users/carol", r#"{"user":{"read_only":false}}"#).status, 200);
    let both = r#"{"user":{"access_key":"e","email":"e@e","admin":true,"read_only":true}}"#;
    assert_eq!(send("POST", "/users", both).status, 400);
    let renamed = send("PUT", "/users/carol", r#"{"user":{"access_key":"dave"}}"#);
    assert_eq!(renamed.status, 409, "her images would be nobody's: {renamed:?}");
    assert_eq!(send("DELETE", "/users/root", "").status, 409, "a request never opens the server to everybody");
    assert_eq!(send("DELETE", "/users/carol", "").status, 200);
    assert_eq!(send("DELETE", "/users/carol", "").json()["message"], "No user found with access_key 'carol'.");
    assert_eq!(carol.send(&server, "GET", "/images", &[], b"").status, 403);
}
