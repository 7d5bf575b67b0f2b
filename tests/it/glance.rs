//! Glance's image API v2, as its clients put it on the wire.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Server, eventually, md5, noise, sha256};
use crate::identity::{account, token};

const PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// Somebody who calls a server.
pub(crate) struct Client<'a> {
    pub(crate) server: &'a Server,
    pub(crate) token: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self { server, token: "any".into() }
    }

    /// The holder of a new account.
    pub(crate) fn named(server: &'a Server, name: &str, arguments: &[&str]) -> Self {
        let secret = account(server, name, arguments);
        Self { server, token: token(server, name, &secret) }
    }

    pub(crate) fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let headers = [("X-Auth-Token", self.token.as_str()), ("Content-Type", content_type), ("Accept", "*/*")];
        self.server.send(method, path, &headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        // Clients say so of requests without a body too.
        self.send("GET", path, "application/octet-stream", b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.send("PUT", path, "application/octet-stream", body)
    }

    pub(crate) fn patch(&self, id: &str, operations: &Value) -> Answer {
        self.send("PATCH", &format!("/v2/images/{id}"), PATCH, operations.to_string().as_bytes())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "application/octet-stream", b"")
    }

    /// A new image; its id.
    pub(crate) fn create(&self, body: &Value) -> String {
        let answer = self.post("/v2/images", body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// A new image with bytes.
    pub(crate) fn with_bytes(&self, name: &str, bytes: &[u8]) -> String {
        let id = self.create(&json!({ "name": name, "disk_format": "raw", "container_format": "bare" }));
        let answer = self.put(&format!("/v2/images/{id}/file"), bytes);
        assert_eq!(answer.status, 204, "{answer:?}");
        id
    }

    pub(crate) fn show(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v2/images/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.show(id)["status"].as_str().unwrap().to_owned()
    }

    /// The names of a page.
    pub(crate) fn names(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/v2/images{query}"));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let page = answer.json();
        page["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn versions_lead_to_the_images() {
    let server = Server::start();
    for (path, status) in [("/", 300), ("/versions", 200), ("/versions/", 200)] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")), "{path}");
        let versions = answer.json()["versions"].clone();
        assert_eq!((&versions[0]["id"], &versions[0]["status"]), (&"v2.17".into(), &"CURRENT".into()));
        assert_eq!(versions[0]["links"][0]["href"], format!("http://{}/v2/", server.address()));
        assert!(versions.as_array().unwrap().iter().any(|version| version["id"] == "v1.0"));
    }
    let moved = server.get("/v2");
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, Some(format!("http://{}/v2/", server.address()).as_str()))
    );
    assert_eq!(server.get("/v2/").status, 404);
    assert_eq!(server.get("/healthcheck").text(), "OK");
    for path in ["/v2/images", "/v2.7/images", "/v2.17/images"] {
        assert_eq!(server.get(path).json()["images"], json!([]), "{path}");
    }
}

#[test]
fn behind_a_proxy_the_addresses_are_those_that_the_operator_says() {
    let server = Server::configured("[server]\npublic_url = \"https://images.example/\"\n");
    let versions = server.get("/versions").json();
    assert_eq!(versions["versions"][0]["links"][0]["href"], "https://images.example/v2/");
    let image = server.add("a", &[], b"");
    assert!(image["uri"].as_str().unwrap().starts_with("https://images.example/images/"), "{image}");
    let made = Client::new(&server).post("/v2/images", &json!({}));
    assert!(made.header("location").unwrap().starts_with("https://images.example/v2/images/"), "{made:?}");
}

#[test]
fn a_container_is_not_taken_for_the_disk_in_it() {
    let server = Server::start();
    let client = Client::new(&server);
    for (container, status) in [("ova", 204), ("ovf", 204), ("compressed", 204), ("docker", 204), ("bare", 415)] {
        let id = client.create(&json!({ "disk_format": "vmdk", "container_format": container }));
        assert_eq!(client.put(&format!("/v2/images/{id}/file"), b"an archive").status, status, "{container}");
    }
}

#[test]
fn an_image_lives() {
    let server = Server::start();
    let client = Client::new(&server);
    let made = client.post("/v2/images", &json!({}));
    let image = made.json();
    let id = image["id"].as_str().unwrap();
    assert_eq!((made.status, made.header("content-type")), (201, Some("application/json")));
    assert_eq!(made.header("location"), Some(format!("http://{}/v2/images/{id}", server.address()).as_str()));
    assert_eq!(made.header("openstack-image-import-methods"), Some("glance-direct,web-download,copy-image"));
    for name in ["name", "disk_format", "container_format", "size", "virtual_size", "checksum", "os_hash_algo"] {
        assert_eq!(image.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(
        (&image["visibility"], &image["status"], &image["tags"]),
        (&"shared".into(), &"queued".into(), &json!([]))
    );
    assert_eq!((&image["self"], &image["schema"]), (&format!("/v2/images/{id}").into(), &"/v2/schemas/image".into()));
    let file = format!("/v2/images/{id}/file");
    assert_eq!(client.get(&file).status, 204, "no data yet");
    assert_eq!(client.put(&file, b"x").status, 400, "nobody said what it is");

    let formats = json!([
        { "op": "add", "path": "/disk_format", "value": "raw" },
        { "op": "replace", "path": "/container_format", "value": "bare" },
        { "op": "add", "path": "/name", "value": "Ünicode: 1" },
        { "op": "add", "path": "/os.distro~1x", "value": "" },
        { "op": "add", "path": "/architecture", "value": "amd64" },
        { "op": "add", "path": "/tags", "value": ["b", "a"] },
    ]);
    let patched = client.patch(id, &formats);
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!((&patched.json()["os.distro/x"], &patched.json()["architecture"]), (&"".into(), &"amd64".into()));
    assert_eq!(client.send("PUT", &file, "text/plain", b"x").status, 415);
    let bytes = noise(1, 3_000_000);
    assert_eq!(client.put(&file, &bytes).status, 204);
    assert_eq!(client.put(&file, &bytes).status, 409, "once");

    let image = client.show(id);
    assert_eq!((&image["status"], &image["size"]), (&"active".into(), &3_000_000.into()));
    assert_eq!(image["virtual_size"], 3_000_000);
    assert_eq!((&image["checksum"], &image["os_hash_algo"]), (&md5(&bytes).into(), &"sha256".into()));
    assert_eq!(image["os_hash_value"], sha256(&bytes));
    let data = client.get(&file);
    assert_eq!((data.status, data.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(
        (data.header("content-md5"), data.header("content-length")),
        (Some(md5(&bytes).as_str()), Some("3000000"))
    );
    assert!(data.body == bytes);
    let part = server.send("GET", &file, &[("Range", "bytes=5-9")], b"");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 5-9/3000000")));
    assert_eq!(part.body, bytes[5..10]);
    let outside = server.send("GET", &file, &[("Range", "bytes=3000000-")], b"");
    assert_eq!((outside.status, outside.header("content-range")), (416, Some("bytes */3000000")));

    // It is the same image through VISOR's API.
    let record = server.get(&format!("/images/{id}"));
    assert_eq!(record.header("x-image-meta-architecture"), Some("x86_64"));
    assert_eq!(
        (record.header("x-image-meta-access"), record.header("x-image-meta-format")),
        (Some("private"), Some("raw"))
    );
    assert!(record.body == bytes);

    assert_eq!(client.patch(id, &json!([{ "op": "replace", "path": "/protected", "value": true }])).status, 200);
    assert_eq!(client.delete(&format!("/v2/images/{id}")).status, 403);
    assert_eq!(client.patch(id, &json!([{ "op": "replace", "path": "/protected", "value": false }])).status, 200);
    assert_eq!(client.delete(&format!("/v2/images/{id}")).status, 204);
    for path in [format!("/v2/images/{id}"), file, "/v2/images/no-uuid".into(), "/v2/images/a%20name".into()] {
        assert_eq!(client.get(&path).status, 404, "{path}");
    }
    assert_eq!(server.files(), (vec![], vec![]));
}

#[test]
fn an_id_can_be_chosen_once() {
    let server = Server::start();
    let client = Client::new(&server);
    let id = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";
    assert_eq!(client.create(&json!({ "id": id })), id);
    assert_eq!(client.post("/v2/images", &json!({ "id": id })).status, 409);
    assert_eq!(client.post("/v2/images", &json!({ "id": "mine" })).status, 400);
    assert_eq!(client.delete(&format!("/v2/images/{id}")).status, 204);
    assert_eq!(client.post("/v2/images", &json!({ "id": id })).status, 409, "others may know another image by it");
}

#[test]
fn what_can_not_be_is_refused_in_the_clients_form() {
    let server = Server::start();
    let client = Client::new(&server);
    for (body, status) in [
        (json!({ "disk_format": "img" }), 400),
        (json!({ "container_format": "box" }), 400),
        (json!({ "min_disk": -1 }), 400),
        (json!({ "min_ram": "1" }), 400),
        (json!({ "x": 1 }), 400),
        (json!({ "x": null }), 400),
        (json!({ "name": "x".repeat(256) }), 400),
        (json!({ "tags": ["x".repeat(256)] }), 400),
        (json!({ "protected": "yes" }), 400),
        (json!({ "visibility": "secret" }), 400),
        (json!([]), 400),
        (json!("x"), 400),
        (json!({ "status": "active" }), 403),
        (json!({ "size": 1 }), 403),
        (json!({ "locations": [] }), 403),
        (json!({ "os_glance_x": "1" }), 403),
        (json!({ "tags": (0..129).map(|n| n.to_string()).collect::<Vec<_>>() }), 413),
    ] {
        let answer = client.post("/v2/images", &body);
        assert_eq!(answer.status, status, "{body} {answer:?}");
        assert!(answer.text().contains("<h1>"), "as a page, for who takes anything: {answer:?}");
    }
    assert_eq!(client.send("POST", "/v2/images", "application/json", b"").status, 400);
    assert_eq!(client.send("POST", "/v2/images", "application/json", b"{").status, 400);
    let id = client.create(&json!({}));
    let wrong_type = client.send("PATCH", &format!("/v2/images/{id}"), "application/json", b"[]");
    assert_eq!(wrong_type.status, 415);
    assert!(wrong_type.header("accept-patch").unwrap().contains(PATCH));
    assert_eq!(client.patch(&id, &json!([{ "op": "remove", "path": "/no" }])).status, 409);
    let image = format!("/v2/images/{id}");
    for (method, path) in [("HEAD", image.as_str()), ("PUT", "/v2/images"), ("POST", &image)] {
        let answer = client.send(method, path, "application/json", b"");
        assert_eq!((answer.status, answer.header("allow").is_some()), (405, true), "{method} {path}");
    }
    let json = server.send("GET", "/v2/nothing", &[("Accept", "application/json")], b"");
    assert_eq!((json.status, &json.json()["title"]), (404, &"Not Found".into()));
    assert!(json.header("x-openstack-request-id").unwrap().starts_with("req-"));
    let own = server.send("GET", "/v2/images", &[("X-OpenStack-Request-ID", "req-my.own")], b"");
    assert_eq!(own.header("x-openstack-request-id"), Some("req-my.own"));
}

#[test]
fn an_upload_that_fails_leaves_a_queued_image() {
    let server = Server::start();
    let client = Client::new(&server);
    let id = client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let file = format!("/v2/images/{id}/file");
    let octets = ("Content-Type", "application/octet-stream");
    for (size, body) in [("99", &b"eleven bytes"[..]), ("x", b"x"), ("-1", b"x")] {
        let answer = server.send("PUT", &file, &[octets, ("x-openstack-image-size", size)], body);
        assert_eq!(answer.status, 400, "{size}: {answer:?}");
        assert_eq!((client.status(&id).as_str(), &client.show(&id)["size"]), ("queued", &Value::Null));
    }
    let head = format!(
        "PUT {file} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\n"
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    eventually("the upload began", || client.status(&id) == "saving");
    drop(stream);
    eventually("the image is queued again", || client.status(&id) == "queued" && server.files().1.is_empty());

    // Removed while its bytes come.
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    eventually("the upload began", || client.status(&id) == "saving");
    assert_eq!(client.delete(&format!("/v2/images/{id}")).status, 204);
    stream.write_all(&[0; 100]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer, false).status, 410);
    eventually("nothing is left", || server.files() == (vec![], vec![]));

    // No bytes are bytes too.
    let empty = client.with_bytes("empty", b"");
    assert_eq!((client.status(&empty).as_str(), &client.show(&empty)["size"]), ("active", &0.into()));
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let server = Server::start();
    let client = Client::new(&server);
    for (name, more) in [
        ("a", json!({ "tags": ["x", "y"], "os": "linux", "min_ram": 64 })),
        ("b", json!({ "tags": ["x"], "disk_format": "qcow2", "visibility": "public" })),
        ("c:1", json!({ "os_hidden": true })),
        ("d", json!({ "disk_format": "qcow2", "visibility": "private", "protected": true })),
        ("d", json!({ "disk_format": "raw", "container_format": "bare", "min_ram": 128 })),
    ] {
        let mut body = more;
        body["name"] = name.into();
        client.create(&body);
    }
    for (query, names) in [
        ("", &["d", "d", "b", "a"][..]),
        ("?sort=name:asc", &["a", "b", "d", "d"]),
        ("?sort_key=name&sort_dir=desc", &["d", "d", "b", "a"]),
        ("?sort=disk_format:asc,name:desc&disk_format=in:qcow2,raw", &["d", "b", "d"]),
        ("?tag=x", &["b", "a"]),
        ("?tag=x&tag=y", &["a"]),
        ("?os=linux", &["a"]),
        ("?os=plan9", &[]),
        ("?disk_format=qcow2&visibility=public", &["b"]),
        ("?visibility=private", &["d"]),
        ("?visibility=all", &["d", "d", "b", "a"]),
        ("?protected=true", &["d"]),
        ("?os_hidden=True", &["c:1"]),
        ("?name=c:1&os_hidden=true", &["c:1"]),
        ("?min_ram_min=65", &["d"]),
        ("?min_ram=64", &["a"]),
        ("?status=active", &[]),
        ("?status=queued&limit=2", &["d", "d"]),
        ("?created_at=gt:2020-01-01T00:00:00Z", &["d", "d", "b", "a"]),
        ("?updated_at=lt:2020-01-01T00:00:00Z", &[]),
        ("?limit=0", &[]),
        ("?sort=updated_at:asc&tag=x", &["a", "b"]),
    ] {
        assert_eq!(client.names(query), names, "{query}");
    }
    for bad in [
        "?limit=-1",
        "?marker=x",
        "?sort=owner",
        "?protected=True",
        "?visibility=x",
        "?size_min=a",
        "?marker=edfa919a-0415-4d26-b54d-ae78ffc4dc79",
    ] {
        assert_eq!(client.get(&format!("/v2/images{bad}")).status, 400, "{bad}");
    }

    let (mut seen, mut next) = (Vec::new(), Some("/v2/images?limit=1&sort=name:asc&min_ram_max=500".to_owned()));
    while let Some(path) = next {
        let page = client.get(&path).json();
        assert_eq!(page["first"], "/v2/images?limit=1&sort=name:asc&min_ram_max=500");
        assert_eq!(page["schema"], "/v2/schemas/images");
        seen.extend(page["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(ToOwned::to_owned);
    }
    assert_eq!(seen, ["a", "b", "d", "d"]);
}

#[test]
fn images_are_shared_among_accounts() {
    let server = Server::configured("[auth]\npublish = \"admin\"\n");
    let admin = Client::named(&server, "root", &["--admin"]);
    let (alice, bob) = (Client::named(&server, "alice", &[]), Client::named(&server, "bob", &[]));
    let stranger = Client { server: &server, token: "wrong".into() };
    assert_eq!(stranger.get("/v2/images").status, 401);
    let id = alice.with_bytes("shared", b"bytes");
    assert_eq!(alice.show(&id)["owner"], "alice");
    let (image, members) = (format!("/v2/images/{id}"), format!("/v2/images/{id}/members"));

    assert_eq!((bob.get(&image).status, bob.get(&members).status), (404, 404));
    assert_eq!(bob.delete(&image).status, 404);
    assert_eq!(bob.post(&members, &json!({ "member": "bob" })).status, 404);
    for bad in [json!({}), json!({ "member": "" }), json!({ "member": 1 })] {
        assert_eq!(alice.post(&members, &bad).status, 400, "{bad}");
    }
    let added = alice.post(&members, &json!({ "member": "bob" }));
    assert_eq!((added.status, &added.json()["status"]), (200, &"pending".into()));
    assert_eq!(added.json()["image_id"], id.as_str());
    assert_eq!(alice.post(&members, &json!({ "member": "bob" })).status, 409);

    // A member knows of it, reads it, and may not change it.
    assert_eq!(bob.get(&format!("{image}/file")).text(), "bytes");
    assert_eq!(bob.patch(&id, &json!([{ "op": "add", "path": "/x", "value": "1" }])).status, 403);
    assert_eq!((bob.names(""), bob.names("?member_status=pending")), (vec![], vec!["shared".to_owned()]));
    let own = format!("{members}/bob");
    let put = |client: &Client, status: &str| {
        client.send("PUT", &own, "application/json", json!({ "status": status }).to_string().as_bytes())
    };
    assert_eq!((put(&alice, "accepted").status, put(&bob, "perhaps").status), (403, 400));
    assert_eq!(put(&bob, "accepted").json()["status"], "accepted");
    assert_eq!(bob.names("?visibility=shared"), ["shared"]);
    assert_eq!(bob.get(&own).json()["member_id"], "bob");
    assert_eq!((bob.delete(&own).status, alice.delete(&own).status, alice.delete(&own).status), (403, 204, 404));
    assert_eq!(bob.get(&image).status, 404);

    // Publishing is for administrators; a community is for everybody who looks for it.
    let visibility = |word: &str| json!([{ "op": "replace", "path": "/visibility", "value": word }]);
    assert_eq!(alice.patch(&id, &visibility("public")).status, 403);
    assert_eq!(alice.patch(&id, &visibility("community")).status, 200);
    assert_eq!(alice.post(&members, &json!({ "member": "bob" })).status, 403, "only shared images have members");
    assert_eq!((bob.names(""), bob.names("?visibility=community")), (vec![], vec!["shared".to_owned()]));
    assert_eq!(bob.get(&image).status, 200);
    assert_eq!(admin.patch(&id, &visibility("public")).status, 200);
    assert_eq!(bob.names(""), ["shared"]);
    assert_eq!(alice.post("/v2/images", &json!({ "owner": "bob" })).status, 403);
    assert_eq!(admin.post("/v2/images", &json!({ "owner": "bob" })).json()["owner"], "bob");

    // Withheld, it is there and not given out.
    assert_eq!(bob.send("POST", &format!("{image}/actions/deactivate"), "application/json", b"").status, 403);
    assert_eq!(alice.send("POST", &format!("{image}/actions/deactivate"), "application/json", b"").status, 204);
    assert_eq!((alice.status(&id).as_str(), alice.get(&format!("{image}/file")).status), ("deactivated", 403));
    let etag = admin.get(&format!("{image}/file")).header("etag").unwrap().to_owned();
    for condition in
        [("If-None-Match", etag.as_str()), ("If-Match", "\"x\""), ("Range", "bytes=99-"), ("Range", "bytes=0-1")]
    {
        for path in [format!("{image}/file"), format!("/v1/images/{id}")] {
            let headers = [("X-Auth-Token", bob.token.as_str()), condition];
            assert_eq!(
                server.send("GET", &path, &headers, b"").status,
                403,
                "{path} tells nothing of it: {condition:?}"
            );
        }
    }
    assert_eq!(admin.get(&format!("{image}/file")).text(), "bytes");
    assert_eq!(alice.send("POST", &format!("{image}/actions/reactivate"), "application/json", b"").status, 204);
    assert_eq!(bob.get(&format!("{image}/file")).text(), "bytes");
}

#[test]
fn tags_come_and_go() {
    let server = Server::start();
    let client = Client::new(&server);
    let id = client.create(&json!({ "name": "a" }));
    let tag = |tag: &str| format!("/v2/images/{id}/tags/{tag}");
    for (name, status) in [("x%20y", 204), ("x%20y", 204), ("b", 204), (&"x".repeat(256), 400)] {
        assert_eq!(client.put(&tag(name), b"").status, status, "{name}");
    }
    assert_eq!(client.show(&id)["tags"], json!(["b", "x y"]));
    assert_eq!((client.delete(&tag("b")).status, client.delete(&tag("b")).status), (204, 404));
    assert_eq!(client.names("?tag=x+y"), ["a"]);
}

#[test]
fn staged_bytes_are_imported() {
    let server = Server::start();
    let client = Client::new(&server);
    let bytes = noise(2, 2_500_000);
    let id = client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let (stage, import) = (format!("/v2/images/{id}/stage"), format!("/v2/images/{id}/import"));
    let direct = json!({ "method": { "name": "glance-direct" } });
    assert_eq!(client.post(&import, &direct).status, 409, "nothing is staged");
    let octets = ("Content-Type", "application/octet-stream");
    let short = server.send("PUT", &stage, &[octets, ("x-openstack-image-size", "7")], b"four");
    assert_eq!(short.status, 400);
    eventually("it waits again", || client.status(&id) == "queued");
    assert_eq!(client.put(&stage, &bytes).status, 204);
    let image = client.show(&id);
    assert_eq!((&image["status"], &image["size"]), (&"uploading".into(), &2_500_000.into()));
    assert_eq!(
        (client.put(&stage, b"x").status, client.put(&format!("/v2/images/{id}/file"), b"x").status),
        (409, 409)
    );
    let imported = client.post(&import, &direct);
    assert_eq!((imported.status, imported.body.len()), (202, 0));
    eventually("it is active", || client.status(&id) == "active");
    assert_eq!(client.show(&id)["checksum"], md5(&bytes));
    assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
    // The image is there a moment before the task is over.
    let task = || client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    eventually("the task has succeeded", || task()["status"] == "success");
    assert_eq!(task()["message"], "");
    assert_eq!(client.post(&import, &direct).status, 409, "it has bytes");

    // Who leaves in the middle leaves nothing.
    let id = client.create(&json!({ "name": "b", "disk_format": "raw", "container_format": "bare" }));
    let head = format!(
        "PUT /v2/images/{id}/stage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 100\r\n\r\nsome"
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    eventually("it is being staged", || client.status(&id) == "uploading");
    drop(stream);
    eventually("it waits again", || client.status(&id) == "queued" && server.files().1.is_empty());
}

#[test]
fn staged_bytes_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let server = Server::on(&path, &[]);
    let id = Client::new(&server).create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    assert_eq!(Client::new(&server).put(&format!("/v2/images/{id}/stage"), b"staged").status, 204);
    server.kill();
    let server = Server::on(&path, &[]);
    let client = Client::new(&server);
    assert_eq!(client.status(&id), "uploading");
    let direct = json!({ "method": { "name": "glance-direct" } });
    assert_eq!(client.post(&format!("/v2/images/{id}/import"), &direct).status, 202);
    eventually("it is active", || client.status(&id) == "active");
    assert_eq!(client.get(&format!("/v2/images/{id}/file")).text(), "staged");
}

/// Answers every request with this, until the test ends. Its port.
pub(crate) fn upstream(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn bytes_come_from_a_url() {
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let gone = upstream("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let short = upstream("HTTP/1.1 200 OK\r\nContent-Length: 600\r\nConnection: close\r\n\r\nremote");
    let server = Server::with(&["--allow-fetch", "127.0.0.1/32"]);
    let client = Client::new(&server);
    let download = |url: String| json!({ "method": { "name": "web-download", "uri": url } });
    let new = || client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let import = |id: &str, url: String| client.post(&format!("/v2/images/{id}/import"), &download(url));

    let id = new();
    assert_eq!(import(&id, format!("http://127.0.0.1:{port}/x?secret=1")).status, 202);
    eventually("it is active", || client.status(&id) == "active");
    assert_eq!(client.get(&format!("/v2/images/{id}/file")).text(), "remote");
    let tasks = client.get(&format!("/v2/images/{id}/tasks")).text();
    assert!(!tasks.contains("secret") && tasks.contains(&format!("http://127.0.0.1:{port}/x")), "{tasks}");

    for port in [gone, short] {
        let id = new();
        assert_eq!(import(&id, format!("http://127.0.0.1:{port}/x")).status, 202);
        eventually("it failed", || client.show(&id)["os_glance_failed_import"] == "file");
        assert_eq!((client.status(&id).as_str(), &client.show(&id)["size"]), ("queued", &Value::Null));
        let task = client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
        assert_eq!(task["status"], "failure");
        assert!(!task["message"].as_str().unwrap().is_empty(), "{task}");
        // And may be tried again.
        assert_eq!(client.put(&format!("/v2/images/{id}/file"), b"by hand").status, 204);
        assert_eq!(client.show(&id).get("os_glance_failed_import"), None);
    }
    // Registered, and not copied.
    let id = new();
    let locations = format!("/v2/images/{id}/locations");
    let url = format!("http://127.0.0.1:{port}/x");
    assert_eq!(
        client.post(&locations, &json!({ "url": url, "validation_data": { "os_hash_algo": "sha512" } })).status,
        400
    );
    assert_eq!(client.post(&locations, &json!({})).status, 400);
    assert_eq!(client.post(&locations, &json!({ "url": url })).status, 202);
    assert_eq!(
        (client.status(&id).as_str(), &client.get(&locations).json()[0]["url"]),
        ("active", &url.as_str().into())
    );
    assert_eq!(client.get(&format!("/v2/images/{id}/file")).text(), "remote");
    assert_eq!(client.post(&locations, &json!({ "url": url })).status, 409, "it has bytes");
    let own = client.with_bytes("own", b"x");
    assert_eq!(client.get(&format!("/v2/images/{own}/locations")).json(), json!([]), "nobody's business");
    for url in ["ftp://127.0.0.1/x", "http://169.254.169.254/latest", "http://localhost@127.0.0.1/", "x"] {
        assert_eq!(import(&new(), url.into()).status, 400, "{url}");
    }
    let unsaid = client.create(&json!({ "name": "a" }));
    assert_eq!(import(&unsaid, format!("http://127.0.0.1:{port}/x")).status, 409, "nobody said what it is");
    drop(server);

    let guarded = Server::start();
    let client = Client::new(&guarded);
    let id = client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let refused = client.post(&format!("/v2/images/{id}/import"), &download(format!("http://127.0.0.1:{port}/x")));
    assert_eq!(refused.status, 400);
}

#[test]
fn a_source_that_drips_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let server =
        Server::configured("[upload]\nidle = \"1s\"\nrate_min = \"10 KiB\"\n[fetch]\nallow = [\"127.0.0.1/32\"]\n");
    let client = Client::new(&server);
    let id = client.create(&json!({ "disk_format": "raw", "container_format": "bare" }));
    let uri = format!("http://127.0.0.1:{port}/x");
    let import = json!({ "method": { "name": "web-download", "uri": uri } });
    assert_eq!(client.post(&format!("/v2/images/{id}/import"), &import).status, 202);
    eventually("it is given up", || client.show(&id)["os_glance_failed_import"] == "file");
    let task = client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    assert!(task["message"].as_str().unwrap().contains("too slowly"), "{task}");
    assert_eq!((client.status(&id).as_str(), server.files()), ("queued", (vec![], vec![])));
}

#[test]
fn a_sha512_is_computed_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let config = dir.path().join("visor.toml");
    std::fs::write(&config, "[glance]\nos_hash_algo = \"sha512\"\n").unwrap();
    let sha512 = |bytes: &[u8]| visor::digest::hex(&<sha2::Sha512 as sha2::Digest>::digest(bytes));
    let (early, late) = (noise(3, 1_500_000), noise(4, 1_500_000));
    let server = Server::on(&path, &[]);
    let before = Client::new(&server).with_bytes("before", &early);
    drop(server);
    let server = Server::on(&path, &["--config", config.to_str().unwrap()]);
    let client = Client::new(&server);
    let after = client.show(&client.with_bytes("after", &late));
    assert_eq!((&after["os_hash_algo"], &after["os_hash_value"]), (&"sha512".into(), &sha512(&late).into()));
    eventually("those that were there get one too", || client.show(&before)["os_hash_algo"] == "sha512");
    assert_eq!(client.show(&before)["os_hash_value"], sha512(&early));
    assert_eq!(client.names(&format!("?os_hash_value={}", sha512(&early))), ["before"]);
}

#[test]
fn what_the_service_can_do_is_told() {
    let server = Server::start();
    let client = Client::new(&server);
    let schema = client.get("/v2/schemas/image").json();
    assert_eq!((&schema["name"], &schema["additionalProperties"]["type"]), (&"image".into(), &"string".into()));
    for (name, value) in client.show(&client.create(&json!({}))).as_object().unwrap() {
        assert!(schema["properties"].get(name).is_some(), "{name} is not in the schema: {value}");
    }
    for name in ["images", "member", "members", "task", "tasks"] {
        assert_eq!(client.get(&format!("/v2/schemas/{name}")).json()["name"], name);
    }
    let methods = client.get("/v2/info/import").json()["import-methods"]["value"].clone();
    assert_eq!(methods, json!(["glance-direct", "web-download", "copy-image"]));
    assert_eq!(
        client.get("/v2/info/stores").json(),
        json!({ "stores": [{ "id": "file", "default": "true" }, { "id": "http", "read-only": "true" }] })
    );
    assert_eq!(client.get("/v2/info/usage").json(), json!({ "usage": {} }));
    assert_eq!(client.get("/v2/cache").status, 404, "as Glance without a cache of its own");
    assert_eq!(client.get("/v2/tasks").json()["tasks"], json!([]));
    let id = client.with_bytes("a", b"x");
    assert_eq!(client.delete(&format!("/v2/stores/file/{id}")).status, 403);
    assert_eq!(client.delete(&format!("/v2/stores/fast/{id}")).status, 409);
}

#[test]
fn images_of_the_other_protocol_are_there() {
    let server = Server::start();
    let kernel = server.add("vmlinuz", &[("x-image-meta-type", "kernel"), ("x-image-meta-format", "aki")], b"kernel");
    let kernel = kernel["_id"].as_str().unwrap();
    let more = [("x-image-meta-kernel", kernel), ("x-image-meta-format", "raw"), ("x-image-meta-os", "linux")];
    let image = server.add("machine", &more, b"machine");
    let client = Client::new(&server);
    let image = client.show(image["_id"].as_str().unwrap());
    for (name, value) in [
        ("name", "machine"),
        ("disk_format", "raw"),
        ("visibility", "public"),
        ("status", "active"),
        ("architecture", "x86_64"),
        ("kernel_id", kernel),
        ("os", "linux"),
        ("checksum", md5(b"machine").as_str()),
    ] {
        assert_eq!(image[name], value, "{name}");
    }
    assert_eq!(client.names(&format!("?kernel_id={kernel}")), ["machine"]);
    assert_eq!(client.names("?architecture=x86_64"), ["machine", "vmlinuz"]);
    // And the other way: a reference to a kernel that is there is one for VISOR too.
    let id = client
        .create(&json!({ "name": "boots", "kernel_id": kernel, "ramdisk_id": "edfa919a-0415-4d26-b54d-ae78ffc4dc79" }));
    let record = server.send("HEAD", &format!("/images/{id}"), &[], b"");
    assert_eq!((record.header("x-image-meta-kernel"), record.header("x-image-meta-ramdisk")), (Some(kernel), None));
    assert_eq!(client.show(&id)["ramdisk_id"], "edfa919a-0415-4d26-b54d-ae78ffc4dc79");
}
