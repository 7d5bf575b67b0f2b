//! Glance's image API v1, as python-glanceclient of 2011 to 2018 and the class of 2011 put it on the wire.

use serde_json::{Value, json};

use crate::glance::{Client as V2, upstream};
use crate::harness::{Answer, Server, eventually, md5, send_and_leave};
use crate::identity::{account, token};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const RAW: [(&str, &str); 2] = [("x-image-meta-disk_format", "raw"), ("x-image-meta-container_format", "bare")];
const NOBODYS: &str = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";

/// Somebody who calls a server.
struct Client<'a> {
    server: &'a Server,
    token: String,
}

impl<'a> Client<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, token: "any".into() }
    }

    /// The holder of a new account.
    fn named(server: &'a Server, name: &str, arguments: &[&str]) -> Self {
        let secret = account(server, name, arguments);
        Self { server, token: token(server, name, &secret) }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("x-auth-token", self.token.as_str()), ("accept", "*/*")];
        all.extend(headers);
        self.server.send(method, path, &all, body)
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    fn head(&self, id: &str) -> Answer {
        self.send("HEAD", &format!("/v1/images/{id}"), &[], b"")
    }

    fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", "/v1/images", headers, body)
    }

    fn put(&self, id: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("PUT", &format!("/v1/images/{id}"), headers, body)
    }

    /// A new image without bytes, or with some.
    fn add(&self, name: &str, more: &[(&str, &str)], body: &[u8]) -> Value {
        let mut headers = vec![("x-image-meta-name", name)];
        headers.extend(more);
        if !body.is_empty() {
            headers.extend(RAW);
            headers.push(OCTETS);
        }
        let answer = self.post(&headers, body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["image"].clone()
    }

    fn detail(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/images/detail{query}"));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()["images"].as_array().unwrap().clone()
    }

    fn names(&self, query: &str) -> Vec<String> {
        self.detail(query).iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }

    fn one(&self, id: &str) -> Value {
        self.detail("?limit=1000&is_public=None").into_iter().find(|image| image["id"] == id).unwrap()
    }

    fn share(&self, path: &str, body: &str) -> u16 {
        self.send("PUT", path, &[("content-type", "application/json")], body.as_bytes()).status
    }
}

fn id(image: &Value) -> &str {
    image["id"].as_str().unwrap()
}

#[test]
fn paths_and_methods() {
    let server = Server::start();
    let client = Client::new(&server);
    client.add("a", &[], b"");
    for path in ["/v1/images", "/v1/", "/v1.0/images", "/v1.1/images", "/v1.1/images/detail"] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.json()["images"][0]["name"].as_str()), (200, Some("a")), "{path}");
        assert!(answer.header("x-openstack-request-id").unwrap().starts_with("req-"), "{path}");
    }
    for path in ["/v1", "/v1.1"] {
        let moved = client.get(path);
        let folder = format!("http://{}/v1/", server.address());
        assert_eq!((moved.status, moved.header("location")), (302, Some(folder.as_str())), "{path}");
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/images", "GET, POST"),
        ("HEAD", "/v1/images/detail", "GET"),
        ("POST", "/v1/images/x", "GET, HEAD, PUT, DELETE"),
        ("GET", "/v1/images/x/members/y", "PUT, DELETE"),
        ("POST", "/v1/shared-images/x", "GET"),
    ] {
        let answer = client.send(method, path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(client.get("/v1/nosuch").status, 404);
    assert_eq!(client.get("/v1.7/images").status, 404);

    // Without a version: those of them that nobody else has, and what is said to be of this version or the other.
    assert_eq!(client.get("/shared-images/me").json(), json!({ "shared_images": [] }));
    let images = |accept: &str| server.send("GET", "/images", &[("accept", accept)], b"");
    assert_eq!(images("application/vnd.openstack.images-v1").json()["images"][0]["checksum"], Value::Null);
    assert_eq!(images("application/vnd.openstack.images-v2").json()["schema"], "/v2/schemas/images");
    assert!(images("*/*").json()["images"][0]["_id"].is_string(), "else they are VISOR's");
    let other = [("accept", "application/vnd.openstack.images-v1")];
    assert_eq!(server.send("GET", "/v2/images", &other, b"").json()["schema"], "/v2/schemas/images");
    assert_eq!(server.send("GET", "/status", &other, b"").text(), "OK");
}

/// What the document of 2011 does: an image of which only a name and a type is known, with its bytes, in one request.
#[test]
fn the_example_of_the_document_works() {
    let server = Server::start();
    let client = Client::new(&server);
    let headers = [
        ("x-image-meta-name", "Ubuntu 10.10 5G"),
        ("x-image-meta-type", "machine"),
        ("x-image-meta-is_public", "True"),
        ("x-image-meta-property-distro", "Ubuntu 10.10"),
        OCTETS,
        ("transfer-encoding", "chunked"),
    ];
    let made = client.post(&headers, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
    assert_eq!(made.status, 201, "{made:?}");
    let image = made.json()["image"].clone();
    let (id, sum) = (id(&image), md5(b"hello!"));
    assert_eq!(made.header("location"), Some(format!("http://{}/v1/images/{id}", server.address()).as_str()));
    assert_eq!(made.header("etag"), Some(sum.as_str()));
    let created = image["created_at"].as_str().unwrap();
    assert!(created.len() >= 19 && !created.ends_with('Z') && created.contains('T'), "{created}");
    assert_eq!(
        image,
        json!({
            "id": id, "name": "Ubuntu 10.10 5G", "status": "active", "size": 6, "checksum": sum, "virtual_size": null,
            "disk_format": null, "container_format": null, "min_disk": 0, "min_ram": 0, "owner": null,
            "is_public": true, "protected": false, "deleted": false, "deleted_at": null,
            "created_at": created, "updated_at": image["updated_at"], "properties": { "distro": "Ubuntu 10.10" },
        })
    );
    let brief = json!({
        "id": id, "name": "Ubuntu 10.10 5G", "size": 6, "checksum": sum, "disk_format": null, "container_format": null,
    });
    assert_eq!(client.get("/v1/images").json(), json!({ "images": [brief] }));
    assert_eq!(client.detail("")[0], image);

    let path = format!("/v1/images/{id}");
    let data = client.get(&path);
    assert_eq!((data.status, data.text().as_str(), data.header("content-length")), (200, "hello!", Some("6")));
    assert_eq!(data.header("content-type"), Some("application/octet-stream"));
    let head = client.head(id);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for answer in [&data, &head] {
        for (name, value) in [
            ("etag", sum.as_str()),
            ("x-image-meta-id", id),
            ("x-image-meta-name", "Ubuntu 10.10 5G"),
            ("x-image-meta-status", "active"),
            ("x-image-meta-size", "6"),
            ("x-image-meta-checksum", &sum),
            ("x-image-meta-is_public", "True"),
            ("x-image-meta-deleted", "False"),
            ("x-image-meta-created_at", created),
            ("x-image-meta-property-distro", "Ubuntu 10.10"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert_eq!(answer.header("x-image-meta-disk_format"), None, "what is not there is left out");
    }
    // What Glance did not have.
    assert_eq!(client.send("GET", &path, &[("range", "bytes=1-2")], b"").text(), "el");
    assert_eq!(client.send("GET", &path, &[("range", "bytes=6-")], b"").status, 416);
    assert_eq!(client.send("GET", &path, &[("if-none-match", &sum)], b"").status, 304);

    // And it is the other protocols' too.
    let record = server.send("GET", &format!("/images/{id}"), &[], b"");
    assert_eq!(record.header("x-image-meta-type"), Some("machine"));
    assert_eq!(V2::new(&server).show(id)["visibility"], "public");

    let gone = client.delete(&path);
    assert_eq!((gone.status, gone.body.len()), (200, 0));
    assert_eq!((client.delete(&path).status, client.head(id).status, client.get(&path).status), (404, 404, 404));
}

#[test]
fn an_image_is_registered_and_gets_its_bytes_later() {
    let server = Server::start();
    let client = Client::new(&server);
    let image = client.add("a", &[("x-image-meta-disk_format", "aki"), ("x-image-meta-min-ram", "64")], b"");
    let id = id(&image);
    assert_eq!((&image["status"], &image["size"], &image["checksum"]), (&json!("queued"), &json!(0), &Value::Null));
    assert_eq!((&image["container_format"], &image["min_ram"]), (&json!("aki"), &json!(64)));
    assert_eq!(image["is_public"], false);
    let path = format!("/v1/images/{id}");
    assert_eq!(client.get(&path).status, 404, "it is not active");
    let head = client.head(id);
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, None, Some("0")));

    let claimed = [OCTETS, ("x-image-meta-checksum", "900150983cd24fb0d6963f7d28e17f72")];
    assert_eq!(client.put(id, &claimed, b"wrong").status, 400);
    assert_eq!(client.one(id)["status"], "killed");
    // Glance leaves it so.
    let put = client.put(id, &[claimed[0], claimed[1], ("x-image-meta-property-x", "1")], b"abc");
    assert_eq!((put.status, put.header("etag")), (200, Some(claimed[1].1)), "{put:?}");
    assert_eq!((&put.json()["image"]["status"], &put.json()["image"]["size"]), (&json!("active"), &json!(3)));
    assert_eq!(client.get(&path).text(), "abc");
    assert_eq!(client.put(id, &[OCTETS], b"abc").status, 409);
    let other = [OCTETS, ("x-image-meta-size", "4"), ("x-image-meta-checksum", "0cc175b9c0f1b6a831c399e269772661")];
    assert_eq!(client.put(id, &other, b"abcd").status, 409, "whatever is said of them");
    assert_eq!(client.put(id, &[("x-image-meta-size", "4")], b"").status, 403, "of the bytes that are there");
    assert_eq!(client.put(id, &[], b"abc").status, 400, "of no type");

    let empty = client.add("empty", &[("x-image-meta-size", "0")], b"");
    assert_eq!((&empty["status"], &empty["checksum"]), (&json!("active"), &json!(md5(b""))));
}

#[test]
fn an_upload_that_fails_leaves_an_image_that_was_killed() {
    let server = Server::start();
    let client = Client::new(&server);
    let chunked = ("transfer-encoding", "chunked");
    let (sum, id) = ("900150983cd24fb0d6963f7d28e17f72", ("x-image-meta-id", NOBODYS));
    let body = b"3\r\nabd\r\n0\r\n\r\n";
    for more in [("x-image-meta-checksum", sum), ("x-image-meta-size", "4"), ("x-image-meta-size", "2")] {
        // Each its own: those of removed images are not given again.
        let own = uuid::Uuid::new_v4().to_string();
        let answer = client.post(&[("x-image-meta-id", own.as_str()), OCTETS, chunked, more], body);
        assert_eq!(answer.status, 400, "{more:?}: {answer:?}");
        assert_eq!(client.one(&own)["status"], "killed", "{more:?}");
        assert_eq!(client.get(&format!("/v1/images/{own}")).status, 404);
        assert_eq!(client.names("?status=active").len(), 0);
        assert_eq!(client.delete(&format!("/v1/images/{own}")).status, 200);
    }
    // What is wrong from the first is not even begun.
    for headers in [&[id, OCTETS, ("x-image-meta-size", "4")][..], &[id], &[id, ("content-type", "text/plain")]] {
        assert_eq!(client.post(headers, b"abc").status, 400, "{headers:?}");
    }
    assert_eq!(client.detail("").len(), 0);
    let cut = format!(
        "POST /v1/images HTTP/1.1\r\nHost: {}\r\nx-image-meta-id: {NOBODYS}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 100\r\n\r\nabc",
        server.address()
    );
    send_and_leave(&server, cut.as_bytes());
    eventually("it is killed", || client.detail("?status=killed").len() == 1);
    assert_eq!(server.files(), (vec![], vec![]));
}

#[test]
fn metadata_is_changed_and_properties_are_purged() {
    let server = Server::start();
    let client = Client::new(&server);
    let image = client.add("a", &[("x-image-meta-property-One", "1"), ("x-image-meta-property-t-w-o", "2")], b"bytes");
    let id = id(&image);
    assert_eq!(image["properties"], json!({ "one": "1", "t_w_o": "2" }));
    let put = |headers: &[(&str, &str)]| {
        let answer = client.put(id, headers, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["image"].clone()
    };
    let keep = ("x-glance-registry-purge-props", "false");
    let named = put(&[("x-image-meta-name", "b"), ("x-image-meta-property-three", "3"), keep]);
    assert_eq!(named["properties"], json!({ "one": "1", "t_w_o": "2", "three": "3" }));
    assert_eq!(named["name"], "b");
    let purged = put(&[("x-image-meta-property-two", "2"), ("x-image-meta-deleted", "True")]);
    assert_eq!((&purged["properties"], &purged["name"]), (&json!({ "two": "2" }), &json!("b")));
    assert_eq!(put(&[])["properties"], json!({}));
    // The class of 2011 sends back whatever it was shown.
    let shown = client.head(id);
    let all: Vec<(&str, &str)> =
        shown.headers.iter().filter(|(n, _)| n.starts_with("x-image")).map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(put(&all)["checksum"], image["checksum"]);

    for (name, value) in [
        ("x-image-meta-id", NOBODYS),
        ("x-image-meta-status", "queued"),
        ("x-image-meta-size", "4"),
        ("x-image-meta-checksum", "900150983cd24fb0d6963f7d28e17f72"),
    ] {
        let answer = client.put(id, &[(name, value)], b"");
        assert_eq!(answer.status, 403, "{name}");
        assert!(answer.text().contains("Forbidden to modify"), "{answer:?}");
    }
    let url = ("x-image-meta-location", "http://127.0.0.1/x");
    assert_eq!(client.put(id, &[url], b"").status, 400, "it has bytes");
    assert_eq!(client.put(id, &[("x-image-meta-protected", "True")], b"").status, 200);
    let kept = client.delete(&format!("/v1/images/{id}"));
    assert!(kept.status == 403 && kept.text().contains("protected"), "{kept:?}");
    assert_eq!(client.put(NOBODYS, &[], b"").status, 404);
}

#[test]
fn what_can_not_be_is_refused_in_the_clients_form() {
    let server = Server::start();
    let client = Client::new(&server);
    for (headers, text) in [
        (&[("x-image-meta-bogus", "1")][..], "Bad header: x-image-meta-bogus"),
        (&[("x-image-meta-disk_format", "img")], "Invalid disk format"),
        (&[("x-image-meta-disk_format", "ami"), ("x-image-meta-container_format", "bare")], "Invalid mix"),
        (&[("x-image-meta-size", "-1")], "size"),
        (&[("x-image-meta-min_disk", "x")], "min_disk"),
        (&[("x-image-meta-id", "12")], "image id"),
        (&[("x-image-meta-store", "s3")], "store"),
        (&[("x-image-meta-location", "file:///etc/passwd")], "External sources are not supported"),
        (
            &[("x-image-meta-location", "http://h/a"), ("x-glance-api-copy-from", "http://h/a")],
            "multiple image sources",
        ),
    ] {
        let answer = client.post(headers, b"");
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("text/html; charset=UTF-8")), "{text}");
        assert!(answer.text().contains(text) && answer.text().contains("<h1>400 Bad Request</h1>"), "{answer:?}");
    }
    let long = "x".repeat(256);
    assert_eq!(client.post(&[("x-image-meta-name", &long)], b"").status, 400);
    let with_bytes = [("x-glance-api-copy-from", "http://127.0.0.1/a"), OCTETS];
    assert_eq!(client.post(&with_bytes, b"bytes").status, 400, "two sources");
    assert_eq!(client.detail("").len(), 0);

    let own = [("x-image-meta-id", NOBODYS)];
    assert_eq!(client.post(&own, b"").json()["image"]["id"], NOBODYS);
    assert_eq!(client.post(&own, b"").status, 409);
    assert_eq!(client.post(&[own[0], OCTETS], b"bytes").status, 409);
    for path in [format!("/v1/images/{}", "0".repeat(36)), "/v1/images/name".into()] {
        assert_eq!(client.get(&path).status, 404, "{path}");
    }
}

/// As today's python-glanceclient writes headers, and as it did before 2018.
#[test]
fn quoted_headers_mean_what_was_quoted() {
    let server = Server::start();
    let client = Client::new(&server);
    let quoted = client.add("my%20image%3A%20%C3%BC", &[("x-image-meta-property-note", "100%25")], b"");
    assert_eq!((&quoted["name"], &quoted["properties"]["note"]), (&json!("my image: ü"), &json!("100%")));
    let plain = client.add("my%20image (ü)", &[("x-image-meta-property-note", "100%25")], b"");
    assert_eq!((&plain["name"], &plain["properties"]["note"]), (&json!("my%20image (ü)"), &json!("100%25")));
    // The client looks by name before anything else, and quotes that once.
    assert_eq!(client.names("?limit=20&name=my%20image%3A%20%C3%BC"), ["my image: ü"]);
    let head = client.head(id(&quoted));
    assert_eq!(head.header("x-image-meta-name"), Some("my image: ü"));
    assert_eq!(V2::new(&server).show(id(&quoted))["name"], "my image: ü");
    // What can't be the name of a header is quoted in it.
    let other = V2::new(&server).create(&json!({ "name": "a", "hw:cpu max": "2" }));
    assert_eq!(client.head(&other).header("x-image-meta-property-hw%3acpu%20max"), Some("2"));
    let back = [("x-image-meta-property-hw%3acpu%20max", "3")];
    assert_eq!(client.put(&other, &back, b"").json()["image"]["properties"], json!({ "hw:cpu max": "3" }));
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let server = Server::start();
    let client = Client::new(&server);
    client.add("a", &[("x-image-meta-property-os", "linux"), ("x-image-meta-min_ram", "64")], b"");
    client.add("b", &[("x-image-meta-protected", "True")], b"12");
    client.add("c", &[("x-image-meta-disk_format", "qcow2")], b"");
    client.add("d", &[], b"1234");
    for (query, names) in [
        ("", &["d", "c", "b", "a"][..]),
        ("?sort_key=name&sort_dir=asc", &["a", "b", "c", "d"]),
        ("?sort_key=size&sort_dir=desc&limit=2", &["d", "b"]),
        ("?limit=0", &[]),
        ("?name=b", &["b"]),
        ("?status=active", &["d", "b"]),
        ("?status=queued&disk_format=qcow2", &["c"]),
        ("?container_format=bare", &["d", "b"]),
        ("?size_min=1&size_max=3", &["b"]),
        ("?size_max=0", &["c", "a"]),
        ("?protected=True", &["b"]),
        ("?protected=false", &["d", "c", "a"]),
        ("?min_ram=64", &["a"]),
        ("?property-os=linux", &["a"]),
        ("?property-os=linux&property-arch=x", &[]),
        ("?changes-since=2011-08-15T16:20:49", &["d", "c", "b", "a"]),
        ("?changes-since=2199-08-15T16:20:49.000001", &[]),
        ("?is_public=True", &["d", "c", "b", "a"]),
        ("?is_public=None&owner=somebody&bogus=1", &["d", "c", "b", "a"]),
        ("?deleted=True", &[]),
    ] {
        assert_eq!(client.names(query), names, "{query}");
    }
    for bad in [
        "?limit=-1",
        "?limit=x",
        "?marker=x",
        &format!("?marker={NOBODYS}"),
        "?sort_key=owner",
        "?sort_dir=up",
        "?size_min=abc",
        "?protected=maybe",
        "?is_public=maybe",
        "?changes-since=yesterday",
    ] {
        assert_eq!(client.get(&format!("/v1/images/detail{bad}")).status, 400, "{bad}");
    }
    let text = client.get("/v1/images?size_min=abc").text();
    assert!(text.contains("Bad value passed to filter size_min got abc"), "{text}");

    // As python-glanceclient pages: until a page is shorter than it might be.
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let page = client.detail(&format!("?limit=3&sort_key=name&sort_dir=asc{marker}"));
        seen.extend(page.iter().map(|image| image["name"].as_str().unwrap().to_owned()));
        if page.len() < 3 {
            break;
        }
        marker = format!("&marker={}", id(page.last().unwrap()));
    }
    assert_eq!(seen, ["a", "b", "c", "d"]);
    for n in 0..30 {
        client.add(&n.to_string(), &[], b"");
    }
    assert_eq!(client.detail("").len(), 25);
    assert_eq!(client.detail("?limit=5000").len(), 34);
}

#[test]
fn bytes_come_from_a_url() {
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let gone = upstream("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let short = upstream("HTTP/1.1 200 OK\r\nContent-Length: 600\r\nConnection: close\r\n\r\nremote");
    let server = Server::with(&["--allow-fetch", "127.0.0.1/32"]);
    let client = Client::new(&server);
    let at = |port: u16| format!("http://127.0.0.1:{port}/x");
    let location = |url: &str| client.post(&[RAW[0], RAW[1], ("x-image-meta-location", url)], b"");
    let copy = |url: &str| client.post(&[RAW[0], RAW[1], ("x-glance-api-copy-from", url)], b"");

    let made = location(&at(port));
    let image = made.json()["image"].clone();
    assert_eq!((made.status, &image["status"], &image["size"]), (201, &json!("active"), &json!(6)));
    assert_eq!((image.get("location"), made.header("etag")), (None, None));
    assert_eq!(client.get(&format!("/v1/images/{}", id(&image))).text(), "remote");

    // As today's client writes it.
    let made = copy(&format!("http://127.0.0.1:{port}/x%3Fsecret%3D1"));
    assert_eq!(made.status, 201, "{made:?}");
    let image = made.json()["image"].clone();
    assert!(["saving", "active"].contains(&image["status"].as_str().unwrap()), "{image}");
    eventually("it is copied", || client.one(id(&image))["status"] == "active");
    let copied = client.get(&format!("/v1/images/{}", id(&image)));
    assert_eq!((copied.text().as_str(), copied.header("etag")), ("remote", Some(md5(b"remote").as_str())));
    let later = client.add("later", &[], b"");
    let url = at(port);
    assert_eq!(client.put(id(&later), &[RAW[0], RAW[1], ("x-glance-api-copy-from", &url)], b"").status, 200);
    eventually("it is copied", || client.one(id(&later))["size"] == 6);

    let before = client.detail("?limit=1000").len();
    for make in [&location as &dyn Fn(&str) -> Answer, &copy] {
        assert_eq!(make(&at(gone)).status, 404);
        assert_eq!(make("http://169.254.169.254/latest").status, 400);
    }
    let sized = [("x-image-meta-size", "7"), ("x-image-meta-location", url.as_str())];
    assert_eq!(client.post(&sized, b"").status, 409);
    let sized = [("x-image-meta-size", "7"), ("x-glance-api-copy-from", url.as_str())];
    assert_eq!(client.post(&sized, b"").status, 409);
    assert_eq!(client.detail("?limit=1000").len(), before, "nothing is left of them");

    let image = copy(&at(short)).json()["image"].clone();
    eventually("it is killed", || client.one(id(&image))["status"] == "killed");
}

#[test]
fn images_are_shared_without_being_accepted() {
    let server = Server::start();
    let admin = Client::named(&server, "root", &["--admin"]);
    let (alice, bob) = (Client::named(&server, "alice", &[]), Client::named(&server, "bob", &[]));
    let carol = Client::named(&server, "carol", &[]);
    let image = alice.add("mine", &[("x-image-meta-owner", "bob")], b"bytes");
    assert_eq!(image["owner"], "alice", "nobody makes images for others");
    let id = id(&image);
    let members = format!("/v1/images/{id}/members");
    let list = |who: &Client<'_>| who.get(&members).json()["members"].clone();
    let shared = |who: &Client<'_>, path: &str| who.get(path).json()["shared_images"].clone();
    assert_eq!((bob.get(&members).status, bob.head(id).status, bob.names("").len()), (404, 404, 0));
    assert_eq!(bob.share(&format!("{members}/bob"), ""), 404);

    // As the class of 2011 does: no body, and not even its length.
    assert_eq!(alice.share(&format!("{members}/bob"), ""), 204);
    assert_eq!(bob.names(""), ["mine"]);
    assert_eq!(bob.get(&format!("/v1/images/{id}")).text(), "bytes");
    assert_eq!(list(&alice), json!([{ "member_id": "bob", "can_share": false }]));
    assert_eq!(bob.share(&format!("{members}/carol"), ""), 404, "that was not allowed");
    assert_eq!(alice.share(&format!("{members}/bob"), r#"{"member": {"can_share": true}}"#), 204);
    assert_eq!(alice.share(&format!("{members}/bob"), ""), 204, "it stays as it was");
    assert_eq!(bob.share(&format!("{members}/carol"), r#"{"member": {"can_share": false}}"#), 204);
    assert_eq!(carol.names(""), ["mine"]);
    assert_eq!(list(&carol), json!([{ "member_id": "carol", "can_share": false }]), "and of the others nothing");
    for path in ["/v1/shared-images/bob", "/shared-images/bob"] {
        assert_eq!(shared(&bob, path), json!([{ "image_id": id, "can_share": true }]), "{path}");
        assert_eq!(shared(&carol, path), json!([]));
    }
    assert_eq!(bob.delete(&format!("/v1/images/{id}")).status, 403);
    assert_eq!(bob.put(id, &[("x-image-meta-name", "x")], b"").status, 403);

    // Both of the forms that clients send.
    let both = r#"[{"member_id": "bob"}, {"member_id": "dave", "can_share": true}]"#;
    for body in [both.to_owned(), format!("{{\"memberships\": {both}}}")] {
        assert_eq!(alice.share(&members, &body), 204, "{body}");
        let expected = json!([{ "member_id": "bob", "can_share": true }, { "member_id": "dave", "can_share": true }]);
        assert_eq!(list(&alice), expected);
        assert_eq!(carol.head(id).status, 404);
    }
    for body in ["", "{}", r#"{"memberships": 1}"#, r#"[{"can_share": true}]"#, "x"] {
        assert_eq!(alice.share(&members, body), 400, "{body}");
    }
    assert_eq!(alice.share(&format!("{members}/bob"), r#"{"can_share": true}"#), 400);
    assert_eq!(carol.share(&members, "[]"), 404);
    assert_eq!(alice.delete(&format!("/images/{id}/members/bob")).status, 204);
    assert_eq!(alice.delete(&format!("{members}/bob")).status, 404);
    assert_eq!(bob.head(id).status, 404);

    // A private image of another protocol is shared with its first member.
    let private = V2 { server: &server, token: alice.token.clone() };
    let private = private.create(&json!({ "name": "private", "visibility": "private" }));
    let members = format!("/v1/images/{private}/members");
    assert_eq!(alice.get(&members).json(), json!({ "members": [] }));
    assert_eq!(alice.delete(&format!("{members}/bob")).status, 404);
    assert_eq!(alice.share(&format!("{members}/bob"), ""), 204);
    assert_eq!(bob.names(""), ["private"]);
    let public = admin.add("public", &[("x-image-meta-is_public", "True")], b"");
    let members = format!("/v1/images/{}/members", public["id"].as_str().unwrap());
    assert_eq!(
        (admin.get(&members).json(), admin.share(&format!("{members}/bob"), "")),
        (json!({ "members": [] }), 403)
    );
    assert_eq!(bob.share(&format!("{members}/bob"), ""), 404);
}

#[test]
fn who_sees_and_publishes_what() {
    let server = Server::configured("[auth]\npublish = \"admin\"\n");
    let admin = Client::named(&server, "root", &["--admin"]);
    let (alice, bob) = (Client::named(&server, "alice", &[]), Client::named(&server, "bob", &[]));
    let mine = alice.add("mine", &[], b"");
    let published = ("x-image-meta-is_public", "True");
    assert_eq!(alice.post(&[("x-image-meta-name", "x"), published], b"").status, 403);
    assert_eq!(alice.put(id(&mine), &[published], b"").status, 403);
    admin.add("for all", &[published, ("x-image-meta-owner", "bob")], b"");
    admin.add("of root", &[], b"");
    assert_eq!(alice.names("?sort_key=name&sort_dir=asc"), ["for all", "mine"]);
    assert_eq!(bob.detail("?is_public=False")[0]["owner"], "bob", "who is no administrator has no choice");
    let sorted = |query: &str| admin.names(&format!("?sort_key=name&sort_dir=asc{query}"));
    assert_eq!(sorted(""), ["for all", "of root"]);
    assert_eq!(sorted("&is_public=False"), ["mine", "of root"]);
    assert_eq!(sorted("&is_public=None"), ["for all", "mine", "of root"]);
    for (method, path, body) in [
        ("GET", "", ""),
        ("HEAD", "", ""),
        ("PUT", "", ""),
        ("PUT", "", "bytes"),
        ("DELETE", "", ""),
        ("GET", "/members", ""),
        ("PUT", "/members", "[]"),
        ("PUT", "/members/bob", ""),
        ("DELETE", "/members/bob", ""),
    ] {
        let ask = |id: &str| {
            let answer = bob.send(method, &format!("/v1/images/{id}{path}"), &[OCTETS], body.as_bytes());
            (answer.status, answer.text().replace(id, "ID"))
        };
        assert_eq!((ask(id(&mine)), ask(NOBODYS).0), (ask(NOBODYS), 404), "{method} {path}: in the same words");
    }
    assert_eq!(alice.one(id(&mine))["status"], "queued");
    assert_eq!(server.send("POST", "/v1/images", &[], b"").status, 401);
    assert_eq!(server.get("/v1/images").status, 401);

    // Withheld by an administrator.
    let image = alice.add("filled", &[], b"bytes");
    let path = format!("/v2/images/{}/actions/deactivate", id(&image));
    assert_eq!(admin.send("POST", &path, &[], b"").status, 204);
    assert_eq!(alice.head(id(&image)).header("x-image-meta-status"), Some("deactivated"));
    let path = format!("/v1/images/{}", id(&image));
    assert_eq!((alice.get(&path).status, admin.get(&path).text().as_str()), (403, "bytes"));
}
