//! Who may see and do what over LXD's API, on a server with accounts: those who are not trusted, two who are, and an
//! administrator.

use serde_json::{Value, json};

use crate::bundles::{container, machine};
use crate::harness::{Answer, sha256};
use crate::lxd_sources::PUBLIC;
use crate::secure::{Client, Lab, refusal};

const READ: &str = "[auth]\npublic_read = true\n";

/// All images of alice's: a public one, and a private one, each with an alias.
struct Hers {
    public: String,
    private: String,
}

impl Hers {
    fn new(alice: &Client) -> Self {
        let public = alice.import(&container("public"), &[PUBLIC, ("X-Incus-aliases", "alias=os/public")]);
        let private = alice.import(&container("private"), &[("X-Incus-aliases", "alias=os/private")]);
        Self { public, private }
    }
}

fn path(fingerprint: &str) -> String {
    format!("/1.0/images/{fingerprint}")
}

fn secret_of(client: &Client, fingerprint: &str) -> (String, String) {
    let answer = client.send("POST", &format!("{}/secret", path(fingerprint)), &Value::Null);
    assert_eq!(answer.status, 202, "{answer:?}");
    let operation = answer.json();
    let secret = operation["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    (secret, operation["operation"].as_str().unwrap().to_owned())
}

/// The requests for an image, by any name that it has.
fn of_image(name: &str) -> Vec<(&'static str, String, Value)> {
    let path = path(name);
    let push = json!({ "target": "https://192.0.2.1:8443", "secret": "x" });
    vec![
        ("GET", path.clone(), Value::Null),
        ("GET", format!("{path}?project=default"), Value::Null),
        ("GET", format!("{path}?secret=guess"), Value::Null),
        ("PUT", path.clone(), json!({ "public": true })),
        ("PATCH", path.clone(), json!({ "properties": { "a": "b" } })),
        ("DELETE", path.clone(), Value::Null),
        ("GET", format!("{path}/export"), Value::Null),
        ("GET", format!("{path}/export?secret=guess"), Value::Null),
        ("POST", format!("{path}/export"), push),
        ("POST", format!("{path}/secret"), Value::Null),
        ("POST", format!("{path}/refresh"), Value::Null),
        ("POST", "/1.0/images/aliases".to_owned(), json!({ "name": "taken", "target": name })),
        ("PUT", "/1.0/images/aliases/mine".to_owned(), json!({ "target": name })),
        ("PATCH", "/1.0/images/aliases/mine".to_owned(), json!({ "target": name })),
    ]
}

/// The requests for an alias.
fn of_alias(name: &str, target: &str) -> Vec<(&'static str, String, Value)> {
    let path = format!("/1.0/images/aliases/{name}");
    let push = json!({ "target": "https://192.0.2.1:8443", "secret": "x" });
    vec![
        ("GET", path.clone(), Value::Null),
        ("PUT", path.clone(), json!({ "target": target })),
        ("PATCH", path.clone(), json!({ "description": "x" })),
        ("POST", path.clone(), json!({ "name": "other" })),
        ("DELETE", path, Value::Null),
        // By an alias, in the place of a fingerprint.
        ("POST", format!("/1.0/images/{}/export", name.replace('/', "%2F")), push),
    ]
}

/// An answer as far as two may be told apart: its status, the names of its headers, and its body to the byte.
fn shown(answer: &Answer) -> (u16, Vec<String>, String) {
    let mut names: Vec<String> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    (answer.status, names, answer.text())
}

#[test]
fn who_is_not_trusted_reads_what_is_public() {
    let lab = Lab::configured(READ);
    let alice = lab.trusted(&lab.alice);
    let hers = Hers::new(&alice);
    for client in [lab.stranger(), lab.newcomer("laptop").0] {
        assert_eq!(client.read("/1.0/images"), json!([path(&hers.public)]));
        assert_eq!(client.read("/1.0/images?recursion=1"), json!([alice.read(&path(&hers.public))]));
        let private = format!("/1.0/images?recursion=1&filter=fingerprint%20eq%20{}", hers.private);
        assert_eq!(client.read(&private), json!([]));
        assert_eq!(client.read(&path(&hers.public)), alice.read(&path(&hers.public)));
        assert_eq!(client.read(&path(&hers.public[..12]))["fingerprint"], hers.public);
        assert_eq!(client.get(&format!("{}/export", path(&hers.public))).body, container("public"));
        assert_eq!(client.read("/1.0/images/aliases/os/public")["target"], hers.public);
        assert_eq!(client.read("/")[0], "/1.0");
        assert_eq!(client.read("/1.0")["auth"], "untrusted");
        let nothing = shown(&client.get(&path(&"0".repeat(64))));
        assert_eq!((nothing.0, nothing.2.contains("Image not found")), (404, true), "{nothing:?}");
        for name in [&hers.private, &hers.private[..12], &hers.private[..20], "%25", "zz"] {
            assert_eq!(shown(&client.get(&path(name))), nothing, "{name}");
            assert_eq!(shown(&client.get(&format!("{}/export", path(name)))), nothing, "{name}");
            assert_eq!(shown(&client.get(&format!("{}?secret=guess", path(name)))), nothing, "{name}");
        }
        let alias = |name: &str| shown(&client.get(&format!("/1.0/images/aliases/{name}")));
        assert_eq!((alias("os/private"), alias("none").0), (alias("none"), 404));
    }
    assert_eq!(alice.read(&path(&hers.private))["public"], false, "for herself it is there");
}

#[test]
fn who_is_not_trusted_changes_nothing() {
    for public_read in [true, false] {
        let lab = Lab::configured(&format!("[auth]\npublic_read = {public_read}\n"));
        let hers = Hers::new(&lab.trusted(&lab.alice));
        let (newcomer, _) = lab.newcomer("laptop");
        let mut requests = vec![
            ("GET", "/1.0/images/aliases".to_owned(), Value::Null),
            ("GET", "/1.0/images/aliases?recursion=1".to_owned(), Value::Null),
            ("POST", "/1.0/images".to_owned(), json!({ "source": { "type": "image", "alias": "x" } })),
            ("POST", "/1.0/images".to_owned(), json!({ "source": { "type": "container", "name": "x" } })),
            ("GET", "/1.0/instances".to_owned(), Value::Null),
            ("GET", "/1.0/containers/x".to_owned(), Value::Null),
            ("GET", "/1.0/operations".to_owned(), Value::Null),
            ("GET", "/1.0/events".to_owned(), Value::Null),
            ("GET", "/1.0/projects".to_owned(), Value::Null),
            ("GET", "/1.0/profiles/default".to_owned(), Value::Null),
            ("GET", "/1.0/certificates".to_owned(), Value::Null),
        ];
        let none = "0".repeat(64);
        for name in [&hers.public, &hers.private, &none] {
            requests.extend(of_image(name).into_iter().filter(|(method, _, _)| *method != "GET"));
        }
        for name in ["os/public", "os/private", "none"] {
            requests.extend(of_alias(name, &hers.public).into_iter().filter(|(method, _, _)| *method != "GET"));
        }
        let mut answers = Vec::new();
        for (method, path, body) in &requests {
            let answer = newcomer.send(method, path, body);
            assert_eq!(refusal(&answer, 403), "not authorized", "{method} {path}");
            answers.push(shown(&answer));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "all of them are told the same");
        if !public_read {
            // The daemon of a user who may change the setting reads an image so: it is told, and of each image the same.
            let reads = [&hers.public, &hers.private, &none].map(|name| of_image(name));
            let reads = reads.iter().flatten().filter(|(method, _, _)| *method == "GET");
            let mut told: Vec<_> = reads.map(|(method, path, body)| newcomer.send(method, path, body)).collect();
            let more = ["", "?recursion=1", "/aliases/os/public", "/aliases/none"];
            told.extend(more.map(|rest| newcomer.get(&format!("/1.0/images{rest}"))));
            let words =
                "not authorized: without a trusted certificate, public images are read only if auth.public_read is set";
            assert!(told.iter().all(|answer| refusal(answer, 403) == words), "{told:?}");
            assert!(told.iter().all(|answer| shown(answer) == shown(&told[0])), "{told:?}");
        }
        let upload = newcomer.raw("POST", "/1.0/images", &[], &container("mine"));
        assert_eq!(refusal(&upload, 403), "not authorized");
        assert_eq!(lab.trusted(&lab.root).read("/1.0/images").as_array().unwrap().len(), 2);
        assert_eq!(lab.trusted(&lab.alice).read(&path(&hers.public))["properties"]["os"], "public");
    }
}

/// The same status and the same bytes, whatever is asked and by which name.
#[test]
fn not_yours_and_not_there_are_the_same() {
    let lab = Lab::configured(READ);
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    let hers = Hers::new(&alice);
    bob.import(&machine("his"), &[("X-Incus-aliases", "alias=mine")]);
    let before = alice.read("/1.0/images?recursion=1");
    let none = sha256(b"none");
    for length in [64, 40, 12] {
        for ((method, hidden, body), (_, nothing, other)) in
            of_image(&hers.private[..length]).into_iter().zip(of_image(&none[..length]))
        {
            let expected = shown(&bob.send(method, &nothing, &other));
            assert_eq!(expected.0, 404, "{method} {nothing}: {expected:?}");
            assert_eq!(shown(&bob.send(method, &hidden, &body)), expected, "{method} {hidden}");
        }
    }
    for ((method, hidden, body), (_, nothing, _)) in
        of_alias("os/private", &hers.private).into_iter().zip(of_alias("os/nothing", &hers.private))
    {
        let expected = shown(&bob.send(method, &nothing, &body));
        assert_eq!(expected.0, 404, "{method} {nothing}: {expected:?}");
        assert_eq!(shown(&bob.send(method, &hidden, &body)), expected, "{method} {hidden}");
    }
    // The same bytes can be his without anybody telling him of hers.
    assert_eq!(bob.import(&container("private"), &[]), hers.private);
    assert_eq!(bob.read(&path(&hers.private))["aliases"], json!([]));
    bob.ended(&bob.delete(&path(&hers.private)));
    assert_eq!(alice.read("/1.0/images?recursion=1"), before, "and nothing has become of hers");
}

#[test]
fn what_is_somebody_elses_is_only_read() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    let hers = Hers::new(&alice);
    let his = bob.import(&machine("his"), &[("X-Incus-aliases", "alias=mine")]);
    let before = alice.read("/1.0/images?recursion=1");
    let own = |client: &Client| -> Vec<String> {
        let mut all: Vec<String> = client
            .read("/1.0/images")
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().to_owned())
            .collect();
        all.sort();
        all
    };
    let sorted = |all: &[&String]| {
        let mut all: Vec<String> = all.iter().map(|fingerprint| path(fingerprint)).collect();
        all.sort();
        all
    };
    assert_eq!(own(&alice), sorted(&[&hers.public, &hers.private]));
    assert_eq!(own(&bob), sorted(&[&hers.public, &his]));
    assert_eq!(own(&root), sorted(&[&hers.public, &hers.private, &his]));
    // Aliases are an account's own; those of others find what is seen.
    assert_eq!(bob.read("/1.0/images/aliases"), json!(["/1.0/images/aliases/mine"]));
    assert_eq!(bob.read("/1.0/images/aliases/os/public")["target"], hers.public);
    let by_kind = bob.read("/1.0/images?filter=type%20eq%20container");
    assert_eq!(by_kind, json!([path(&hers.public)]));
    assert_eq!(bob.get(&format!("{}/export", path(&hers.public))).body, container("public"));
    for name in [&hers.public, &hers.public[..12]] {
        for (method, path, body) in of_image(name) {
            let answer = bob.send(method, &path, &body);
            match method {
                "GET" => assert_eq!(answer.status, 200, "{path}"),
                _ => assert!(refusal(&answer, 403).starts_with("Only its owner may "), "{method} {path}: {answer:?}"),
            }
        }
    }
    for (method, path, body) in of_alias("os/public", &his) {
        let answer = bob.send(method, &path, &body);
        match method {
            "GET" => assert_eq!(answer.status, 200, "{path}"),
            _ => assert!(refusal(&answer, 403).starts_with("Only its owner may "), "{method} {path}: {answer:?}"),
        }
    }
    let mut after = alice.read("/1.0/images?recursion=1");
    for image in after.as_array_mut().unwrap() {
        image["last_used_at"] = json!("0001-01-01T00:00:00Z");
    }
    assert_eq!(after, before);
    // An administrator may.
    assert_eq!(root.send("PATCH", &path(&hers.private), &json!({ "public": true })).status, 200);
    assert_eq!(bob.get(&path(&hers.private)).status, 200);
    assert_eq!(root.send("DELETE", "/1.0/images/aliases/os/private", &Value::Null).status, 200);
    assert_eq!(root.ended(&root.delete(&path(&hers.private)))["status_code"], 200);
    assert_eq!(own(&alice), sorted(&[&hers.public]));
}

#[test]
fn a_secret_opens_the_image_that_it_was_made_for() {
    for public_read in [true, false] {
        let lab = Lab::configured(&format!("[auth]\npublic_read = {public_read}\n"));
        let (alice, bob, stranger) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.stranger());
        let hers = Hers::new(&alice);
        let other = alice.import(&machine("other"), &[]);
        let closed = if public_read { 404 } else { 403 };
        let (secret, operation) = secret_of(&alice, &hers.private);
        for client in [&stranger, &bob] {
            // Of its own: from its first use on it is good for five seconds.
            let (secret, _) = secret_of(&alice, &hers.private);
            for wrong in [&other, &"0".repeat(64)] {
                let expected = if std::ptr::eq(client, &bob) { 404 } else { closed };
                refusal(&client.get(&format!("{}?secret={secret}", path(wrong))), expected);
                refusal(&client.get(&format!("{}/export?secret={secret}", path(wrong))), expected);
            }
            for name in [&hers.private, &hers.private[..12]] {
                assert_eq!(client.read(&format!("{}?secret={secret}", path(name))), alice.read(&path(&hers.private)));
                let export = client.get(&format!("{}/export?secret={secret}", path(name)));
                assert_eq!((export.status, &export.body), (200, &container("private")));
            }
        }
        // Reading is all that it opens.
        refusal(&stranger.get(&format!("/1.0/images/aliases/os/private?secret={secret}")), closed);
        for (method, path, body) in of_image(&hers.private).into_iter().filter(|(method, _, _)| *method != "GET") {
            let answer = stranger.send(method, &format!("{path}?secret={secret}"), &body);
            assert_eq!(refusal(&answer, 403), "not authorized", "{method} {path}");
        }
        assert_eq!(alice.delete(&operation).status, 200);
        refusal(&stranger.get(&format!("{}?secret={secret}", path(&hers.private))), closed);
        // One whose image has gone opens nothing, also when there is one with these bytes again.
        let (secret, _) = secret_of(&alice, &hers.private);
        alice.ended(&alice.delete(&path(&hers.private)));
        refusal(&stranger.get(&format!("{}?secret={secret}", path(&hers.private))), closed);
        bob.import(&container("private"), &[]);
        refusal(&stranger.get(&format!("{}?secret={secret}", path(&hers.private))), closed);
    }
}

/// Two have the same bytes, and each says something else of them.
#[test]
fn a_secret_shows_the_image_of_whoever_made_it() {
    let lab = Lab::new();
    let (alice, bob, stranger) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.stranger());
    let of = |client: &Client, name: &str| {
        let (alias, properties) = (format!("alias={name}"), format!("whose={name}"));
        client.import(&container("same"), &[("X-Incus-aliases", &alias), ("X-LXD-properties", &properties)])
    };
    let fingerprint = of(&alice, "hers");
    assert_eq!(of(&bob, "his"), fingerprint);
    for (client, name) in [(&alice, "hers"), (&bob, "his")] {
        let (secret, _) = secret_of(client, &fingerprint[..20]);
        let seen = stranger.read(&format!("{}?secret={secret}", path(&fingerprint)));
        assert_eq!((&seen["aliases"][0]["name"], &seen["properties"]["whose"]), (&json!(name), &json!(name)));
        let export = stranger.get(&format!("{}/export?secret={secret}", path(&fingerprint)));
        assert_eq!((export.status, &export.body), (200, &container("same")), "{name}");
    }
}
