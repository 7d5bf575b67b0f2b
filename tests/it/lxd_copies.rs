//! Copies of images that another server has, and how they follow it.

use serde_json::{Value, json};

use crate::bundles::container;
use crate::harness::{Answer, Server};

/// One that others copy from, and one that does.
fn two() -> (Server, Server) {
    (Server::start(), Server::with(&["--allow-fetch", "127.0.0.1/32"]))
}

/// Imports an image for everybody, and lets an alias stand for it.
fn publish(server: &Server, os: &str, alias: &str) -> String {
    let fingerprint = server.import(&container(os), &[("X-LXD-public", "1")]);
    let path = format!("/1.0/images/aliases/{alias}");
    let moved = server.send_json("PUT", &path, &json!({ "target": fingerprint }));
    if moved.status == 404 {
        let made = server.send_json("POST", "/1.0/images/aliases", &json!({ "name": alias, "target": fingerprint }));
        assert_eq!(made.status, 201);
    }
    fingerprint
}

/// Asks one server to copy from the other.
fn copy(from: &Server, to: &Server, alias: &str, more: &Value) -> Answer {
    let source = json!({ "type": "image", "protocol": "simplestreams", "server": format!("http://{}", from.address()), "alias": alias });
    let mut asked = json!({ "source": source });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    to.send_json("POST", "/1.0/images", &asked)
}

fn target(server: &Server, alias: &str) -> Value {
    server.lxd(&format!("/1.0/images/aliases/{alias}"))["target"].clone()
}

#[test]
fn a_copy_follows_its_alias_and_hands_its_own_over() {
    let (from, to) = two();
    let old = publish(&from, "old", "debian");
    let done =
        to.succeeded(&copy(&from, &to, "debian", &json!({ "auto_update": true, "aliases": [{ "name": "mine" }] })));
    assert_eq!(done["fingerprint"], old);
    let refresh = |fingerprint: &str| to.send("POST", &format!("/1.0/images/{fingerprint}/refresh"), &[], b"");
    assert_eq!(to.succeeded(&refresh(&old))["refreshed"], false);
    let new = publish(&from, "new", "debian");
    assert_eq!(to.succeeded(&refresh(&old))["refreshed"], true);
    assert_eq!(target(&to, "mine"), new);
    let image = to.lxd(&format!("/1.0/images/{new}"));
    assert_eq!((&image["auto_update"], &image["update_source"]["last_error"]), (&true.into(), &"".into()));
    assert_eq!(to.get(&format!("/1.0/images/{old}")).status, 404);
}

#[test]
fn many_may_want_the_same_at_once() {
    let (from, to) = two();
    let first = publish(&from, "0", "debian");
    // Whoever comes second finds what the first has brought.
    let copies: Vec<_> =
        (0..4).map(|n| copy(&from, &to, "debian", &json!({ "aliases": [{ "name": n.to_string() }] }))).collect();
    for copied in copies {
        assert_eq!(to.succeeded(&copied)["fingerprint"], first);
    }
    for round in 1..4 {
        let old = target(&to, "0").as_str().unwrap().to_owned();
        let new = publish(&from, &round.to_string(), "debian");
        let path = format!("/1.0/images/{old}/refresh");
        let refreshes: Vec<_> = (0..4).map(|_| to.send("POST", &path, &[], b"")).collect();
        for refreshed in refreshes.iter().filter(|answer| answer.status == 202) {
            to.succeeded(refreshed);
        }
        for alias in 0..4 {
            assert_eq!(target(&to, &alias.to_string()), new);
        }
        assert_eq!(to.lxd("/1.0/images").as_array().unwrap().len(), 1);
    }
}
