//! Operations as clients follow, wait for and stop them.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundles::container;
use crate::harness::{eventually, request, run, sha256};
use crate::secure::{Client, Lab, metadata, refusal};

/// An operation that goes on for an hour: its path, and the secret in it.
fn begin(client: &Client) -> (String, String) {
    let answer = client.send("POST", "/1.0/certificates", &json!({ "type": "client", "name": "x", "token": true }));
    assert_eq!(answer.status, 202, "{answer:?}");
    let envelope = answer.json();
    let words = (&envelope["type"], &envelope["status"], &envelope["status_code"]);
    assert_eq!(words, (&json!("async"), &json!("Operation created"), &json!(100)));
    let secret = envelope["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    (envelope["operation"].as_str().unwrap().to_owned(), secret)
}

#[test]
fn they_are_listed_by_status_and_shown() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    assert_eq!(alice.read("/1.0/operations"), json!({}));
    let (first, _) = begin(&alice);
    let (second, _) = begin(&alice);
    assert_eq!(alice.read("/1.0/operations"), json!({ "running": [first, second] }));
    alice.delete(&first);
    assert_eq!(alice.read("/1.0/operations"), json!({ "cancelled": [first], "running": [second] }));
    let one = alice.read(&second);
    assert_eq!(alice.read("/1.0/operations?recursion=1")["running"], json!([one]));
    for (name, value) in [
        ("class", json!("token")),
        ("status", json!("Running")),
        ("status_code", json!(103)),
        ("resources", json!({})),
        ("may_cancel", json!(true)),
        ("err", json!("")),
        ("location", json!("none")),
    ] {
        assert_eq!(one[name], value, "{name}");
    }
    assert!(second.ends_with(one["id"].as_str().unwrap()));
    for name in ["created_at", "updated_at"] {
        assert!(one[name].as_str().unwrap().ends_with('Z'), "{name}");
    }
    assert_eq!(bob.read("/1.0/operations"), json!({}));
    assert_eq!(root.read("/1.0/operations?all-projects=true")["running"], json!([second]));
    for (client, path) in [(&bob, second.as_str()), (&alice, "/1.0/operations/nonsense")] {
        for (method, path) in [
            ("GET", path.to_owned()),
            ("DELETE", path.to_owned()),
            ("GET", format!("{path}/wait")),
            ("GET", format!("{path}/websocket")),
        ] {
            let answer = client.send(method, &path, &Value::Null);
            assert_eq!(refusal(&answer, 404), "Operation not found", "{method} {path}");
        }
    }
}

#[test]
fn they_are_stopped_once() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let (path, _) = begin(&alice);
    assert_eq!(metadata(&alice.delete(&path)), json!({}));
    assert_eq!(refusal(&alice.delete(&path), 400), "Only running operations can be cancelled");
    let stopped = alice.read(&path);
    assert_eq!((&stopped["status_code"], &stopped["may_cancel"]), (&json!(401), &json!(false)));
    assert_eq!(alice.read(&format!("{path}/wait")), stopped, "what has ended is not waited for");
}

#[test]
fn waiting_ends_with_the_operation() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let (path, secret) = begin(&alice);
    for timeout in ["0", "1"] {
        let waited = alice.read(&format!("{path}/wait?timeout={timeout}"));
        assert_eq!(waited["status_code"], 103, "with time over it is told as it is");
    }
    refusal(&alice.get(&format!("{path}/wait?timeout=soon")), 400);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = ["", "?timeout=-1", "?timeout=60", "?timeout="]
            .into_iter()
            .map(|query| {
                let (alice, path) = (&alice, format!("{path}/wait{query}"));
                scope.spawn(move || alice.read(&path))
            })
            .collect();
        let untrusted = scope.spawn(|| lab.stranger().read(&format!("{path}/wait?secret={secret}")));
        let others = scope.spawn(|| lab.trusted(&lab.bob).read(&format!("{path}/wait?secret={secret}")));
        std::thread::sleep(Duration::from_millis(300));
        assert!(waiting.iter().all(|one| !one.is_finished()) && !untrusted.is_finished());
        alice.delete(&path);
        for one in waiting {
            assert_eq!(one.join().unwrap()["status"], "Cancelled");
        }
        for one in [untrusted, others] {
            assert_eq!(one.join().unwrap()["status"], "Cancelled");
        }
    });
    for wrong in ["", "?secret=", "?secret=guess"] {
        let answer = lab.stranger().get(&format!("{path}/wait{wrong}"));
        assert_eq!(refusal(&answer, 403), "not authorized", "{wrong}");
    }
}

/// As many as may wait at a time, and twice: so those who left are not waited for.
#[test]
fn who_leaves_does_not_go_on_waiting() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let (path, _) = begin(&alice);
    let head = request(alice.address(), "GET", &format!("{path}/wait"), &[], b"");
    for _ in 0..2 {
        // More than may wait: whoever asks whether they all do takes a place for a moment.
        let mut all: Vec<_> = (0..96).map(|_| alice.connect()).collect();
        for stream in &mut all {
            stream.write_all(&head).unwrap();
        }
        eventually("all of them wait", || alice.get(&format!("{path}/wait?timeout=0")).status == 503);
        drop(all);
        eventually("none of them waits", || alice.get(&format!("{path}/wait?timeout=0")).status == 200);
    }
}

#[test]
fn none_has_a_websocket() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let (path, secret) = begin(&alice);
    assert_eq!(refusal(&alice.get(&format!("{path}/websocket")), 400), "missing secret");
    let answer = alice.get(&format!("{path}/websocket?secret={secret}"));
    assert_eq!(refusal(&answer, 400), "Only websocket operations can be connected");
    assert_eq!(refusal(&lab.stranger().get(&format!("{path}/websocket?secret=x")), 403), "not authorized");
}

#[test]
fn the_servers_end_is_not_waited_for() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let (path, _) = begin(&alice);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| alice.read(&format!("{path}/wait")));
        // Until it has asked; nobody is told when it has.
        std::thread::sleep(Duration::from_secs(2));
        let began = Instant::now();
        let (_, clean) = lab.server.stop();
        assert!(clean && began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert_eq!(waiting.join().unwrap()["status"], "Running");
    });
}

fn accepted(client: &Client, path: &str, body: &Value) -> Value {
    let answer = client.send("POST", path, body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["metadata"]["metadata"].clone()
}

#[test]
fn a_secret_is_good_for_its_owners_image_and_as_long_as_its_owner_is() {
    let lab = Lab::new();
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    let bytes = container("same");
    for (client, owner) in [(&bob, "bob"), (&alice, "alice")] {
        let properties = format!("of={owner}");
        let begun = client.raw("POST", "/1.0/images", &[("X-LXD-properties", &properties)], &bytes).json();
        let ended = client.read(&format!("{}/wait", begun["operation"].as_str().unwrap()));
        assert_eq!(ended["status"], "Success", "{ended}");
    }
    let path = format!("/1.0/images/{}", sha256(&bytes));
    let read = |secret: &Value| lab.stranger().get(&format!("{}?secret={}", &path[..24], secret.as_str().unwrap()));
    let secret = || accepted(&alice, &format!("{path}/secret"), &json!({}))["secret"].clone();
    assert_eq!(metadata(&read(&secret()))["properties"]["of"], "alice", "though bob's is older");

    let push = |fingerprint: &str| json!({ "source": { "type": "image", "mode": "push", "fingerprint": fingerprint } });
    let other = container("other");
    let ticket = accepted(&alice, "/1.0/images", &push(&sha256(&other)))["secret"].clone();
    let unused = secret();
    let data = lab.server.dir.to_str().unwrap();
    assert_eq!(run(&["account", "remove", "alice", "--data-dir", data]).0, 0);
    lab.server.account("alice", &[]);
    assert_ne!(read(&unused).status, 200, "whoever has the name now has left nothing");
    let ticket = [("X-LXD-secret", ticket.as_str().unwrap())];
    assert_eq!(refusal(&lab.stranger().raw("POST", "/1.0/images", &ticket, &other), 403), "not authorized");
}
