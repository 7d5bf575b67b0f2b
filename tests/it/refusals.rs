//! Refusals have names: a code in every answer, and the same one for a thing that is not there and a thing that the caller
//! may not know of.

use serde_json::json;

use crate::bundles::container;
use crate::glance::Client;
use crate::harness::{Answer, Server};
use crate::secure::Lab;

/// An id that no image has.
const NOBODYS: &str = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";

const CODE: &str = "x-visor-error";

/// The status, the code, and the body without what was asked for.
fn shown(answer: &Answer, name: &str) -> (u16, String, String) {
    let code = answer.header(CODE).unwrap_or_else(|| panic!("no code: {answer:?}")).to_owned();
    (answer.status, code, answer.text().replace(name, "NAME"))
}

#[test]
fn hidden_and_missing_images_have_one_code_and_one_text() {
    let server = Server::configured("[auth]\npublic_read = true\n");
    Client::named(&server, "root", &["--admin"]);
    let (alice, bob) = (Client::named(&server, "alice", &[]), Client::named(&server, "bob", &[]));
    let hidden = alice.create(&json!({ "visibility": "private", "disk_format": "raw", "container_format": "bare" }));
    for path in
        ["/v2/images/ID", "/v2/images/ID/file", "/v2/images/ID/members", "/v1/images/ID", "/v1/images/ID/members"]
    {
        let ask = |id: &str| shown(&bob.get(&path.replace("ID", id)), id);
        let missing = ask(NOBODYS);
        assert_eq!((missing.0, missing.1.as_str()), (404, "image-not-found"), "{path}");
        assert_eq!(ask(&hidden), missing, "{path}");
    }
    // VISOR's callers without a signature see public images.
    let ask = |id: &str| shown(&server.get(&format!("/images/{id}")), id);
    assert_eq!((ask(NOBODYS).1.as_str(), ask(&hidden)), ("image-not-found", ask(NOBODYS)));
    let user = |name: &str| shown(&bob.get(&format!("/v3/users/{name}")), name);
    assert_eq!((user("nobody").1.as_str(), user("alice")), ("administrators-only", user("nobody")));
    // A text that is no id is refused in the same words.
    assert_eq!(shown(&bob.get("/v2/images/x-y"), "x-y"), shown(&bob.get(&format!("/v2/images/{NOBODYS}")), NOBODYS));
    let marker = |id: &str| shown(&bob.get(&format!("/v2/images?marker={id}")), id);
    assert_eq!((marker(NOBODYS).1.as_str(), marker(&hidden)), ("marker-not-found", marker(NOBODYS)));
}

#[test]
fn hidden_and_missing_have_one_code_through_lxd_and_simplestreams() {
    let lab = Lab::configured("[auth]\npublic_read = true\n");
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    let hidden = alice.import(&container("private"), &[]);
    let nothing = "0".repeat(64);
    for path in ["/1.0/images/NAME", "/1.0/images/NAME/export"] {
        let ask = |name: &str| shown(&bob.get(&path.replace("NAME", name)), name);
        let missing = ask(&nothing);
        assert_eq!((missing.0, missing.1.as_str()), (404, "image-not-found"), "{path}");
        assert_eq!(ask(&hidden), missing, "{path}");
    }
    let file = |name: &str| shown(&lab.server.get(&format!("/streams/v1/files/{name}/combined.tar")), name);
    assert_eq!((file(&nothing).1.as_str(), file(&hidden)), ("image-not-found", file(&nothing)));
    assert_eq!(alice.read(&format!("/1.0/images/{hidden}"))["fingerprint"], hidden.as_str());
}

#[test]
fn answers_that_no_handler_makes_have_a_code_too() {
    let server = Server::start();
    for (method, path, headers, status, code) in [
        ("GET", "/fake", &[][..], 404, "path-not-found"),
        ("DELETE", "/images", &[], 405, "method-not-allowed"),
        ("GET", "/v2/fake", &[], 404, "path-not-found"),
        ("DELETE", "/v2/images", &[], 405, "method-not-allowed"),
        ("GET", "/v1/fake", &[], 404, "path-not-found"),
        ("GET", "/1.0/fake", &[], 404, "path-not-found"),
        ("PATCH", "/1.0/images", &[], 501, "method-not-allowed"),
        ("GET", "/v3/fake", &[], 404, "path-not-found"),
        ("GET", "/streams/v1/fake", &[], 404, "path-not-found"),
        ("GET", "/images", &[("Host", "evil.example")], 403, "wrong-host"),
        ("GET", "/images", &[("Origin", "http://evil.example")], 403, "foreign-request"),
        ("GET", "/1.0/images", &[("Origin", "http://evil.example")], 403, "foreign-request"),
    ] {
        let answer = server.send(method, path, headers, b"");
        assert_eq!((answer.status, answer.header(CODE)), (status, Some(code)), "{method} {path}");
    }
    let wrong = [
        ("x-image-meta-name", "a"),
        ("x-image-meta-architecture", "i386"),
        ("Content-Type", "application/octet-stream"),
    ];
    let mut wrong = wrong.to_vec();
    wrong.push(("x-image-meta-checksum", "d41d8cd98f00b204e9800998ecf8427e"));
    let answer = server.send("POST", "/images", &wrong, b"x");
    assert_eq!((answer.status, answer.header(CODE)), (400, Some("mismatch")));
    assert_eq!(server.get("/images").header(CODE), Some("nothing-matches"));
    assert_eq!(server.get("/status").header(CODE), None);
}
