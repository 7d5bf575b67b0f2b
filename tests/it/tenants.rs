//! What belongs to somebody else looks like what is not there, through every protocol and every method.

use serde_json::json;

use crate::glance::Client;
use crate::harness::Server;

/// An id that no image has.
const NOBODYS: &str = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";
const PATCH: &str = "application/openstack-images-v2.1-json-patch";

#[test]
fn not_yours_and_not_there_are_the_same_bytes() {
    let server = Server::start();
    Client::named(&server, "root", &["--admin"]);
    let (alice, bob) = (Client::named(&server, "alice", &[]), Client::named(&server, "bob", &[]));
    let private = alice.create(&json!({ "visibility": "private", "disk_format": "raw", "container_format": "bare" }));
    let filled = alice.with_bytes("filled", b"bytes");
    alice.put(&format!("/v2/images/{filled}/tags/x"), b"");
    let import = json!({ "method": { "name": "glance-direct" } }).to_string();
    let rename = json!([{ "op": "replace", "path": "/name", "value": "mine" }]).to_string();
    let member = json!({ "member": "bob" }).to_string();
    let status = json!({ "status": "accepted" }).to_string();
    let location = json!({ "url": "http://192.0.2.1/x" }).to_string();
    let requests: [(&str, &str, &str, &str); 18] = [
        ("GET", "", OCTETS, ""),
        ("PATCH", "", PATCH, &rename),
        ("DELETE", "", OCTETS, ""),
        ("GET", "/file", OCTETS, ""),
        ("PUT", "/file", OCTETS, "bytes"),
        ("PUT", "/stage", OCTETS, "bytes"),
        ("POST", "/import", JSON, &import),
        ("GET", "/tasks", OCTETS, ""),
        ("POST", "/actions/deactivate", JSON, ""),
        ("POST", "/actions/reactivate", JSON, ""),
        ("GET", "/members", OCTETS, ""),
        ("POST", "/members", JSON, &member),
        ("GET", "/members/bob", OCTETS, ""),
        ("PUT", "/members/bob", JSON, &status),
        ("DELETE", "/members/bob", OCTETS, ""),
        ("PUT", "/tags/x", OCTETS, ""),
        ("DELETE", "/tags/x", OCTETS, ""),
        ("POST", "/locations", JSON, &location),
    ];
    for (method, path, content_type, body) in requests {
        let ask = |id: &str| {
            let answer = bob.send(method, &format!("/v2/images/{id}{path}"), content_type, body.as_bytes());
            let mut names: Vec<String> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            (answer.status, names, answer.text().replace(id, "ID"))
        };
        let nothing = ask(NOBODYS);
        assert_eq!(nothing.0, 404, "{method} {path}: {nothing:?}");
        assert_eq!(ask(&private), nothing, "{method} {path}");
        assert_eq!(ask(&filled), nothing, "{method} {path}");
    }
    assert_eq!(bob.names("?visibility=all"), Vec::<String>::new());
    assert_eq!(
        bob.get(&format!("/v2/images?marker={private}")).text().replace(&private, "ID"),
        bob.get(&format!("/v2/images?marker={NOBODYS}")).text().replace(NOBODYS, "ID")
    );
    // A kernel of somebody else's is only a text.
    let refers = bob.create(&json!({ "name": "refers", "kernel_id": private }));
    assert_eq!(bob.show(&refers)["kernel_id"], private.as_str());
    assert_eq!((alice.status(&filled).as_str(), alice.show(&filled)["tags"].clone()), ("active", json!(["x"])));
    assert_eq!(alice.show(&private)["status"], "queued");
}

#[test]
fn without_a_token_nothing_is_told() {
    let server = Server::start();
    let alice = Client::named(&server, "alice", &["--admin"]);
    let id = alice.with_bytes("a", b"bytes");
    let nobody = |method: &str, path: &str| server.send(method, path, &[("Content-Type", OCTETS)], b"");
    for (method, path) in [
        ("GET", "/v2/images".to_owned()),
        ("POST", "/v2/images".to_owned()),
        ("GET", format!("/v2/images/{id}")),
        ("GET", format!("/v2/images/{NOBODYS}")),
        ("GET", format!("/v2/images/{id}/file")),
        ("PUT", format!("/v2/images/{id}/file")),
        ("DELETE", format!("/v2/images/{id}")),
        ("GET", "/v2/schemas/image".to_owned()),
        ("GET", "/v2/info/import".to_owned()),
        ("GET", "/v2/tasks".to_owned()),
    ] {
        let answer = nobody(method, &path);
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Keystone uri="), "{answer:?}");
        assert!(!answer.text().contains(&id), "{answer:?}");
    }
    let claims =
        [("X-User-Id", "alice"), ("X-Roles", "admin"), ("X-Identity-Status", "Confirmed"), ("X-Tenant-Id", "alice")];
    assert_eq!(server.send("GET", "/v2/images", &claims, b"").status, 401);
    assert_eq!(server.get("/versions").status, 200);
}
