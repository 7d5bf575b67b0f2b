//! Images under URLs through Glance's API: their digests, announced and found out, and copies of them in a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::fake::{Fake, Say, answer};
use crate::glance::Client;
use crate::harness::{Server, eventually, md5, noise, qcow2, qcow2_over_a_file, sha256};

const LOCAL: &str = "[fetch]\nallow = [\"127.0.0.1/32\"]\n";

/// A web server with this content under every path.
fn web(content: Vec<u8>) -> Fake {
    Fake::serving(None, move |asked| match asked.head.starts_with("HEAD") {
        true => Say::Bytes(
            format!("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n", content.len()).into_bytes(),
        ),
        false => answer("200 OK", "ETag: \"1\"\r\n", &content),
    })
}

fn sha512(bytes: &[u8]) -> String {
    visor::digest::hex(&<sha2::Sha512 as sha2::Digest>::digest(bytes))
}

fn new(client: &Client, format: &str) -> String {
    client.create(&json!({ "name": "a", "disk_format": format, "container_format": "bare" }))
}

fn register(client: &Client, id: &str, url: &str, validation: Option<Value>) -> u16 {
    let mut body = json!({ "url": url });
    if let Some(validation) = validation {
        body["validation_data"] = validation;
    }
    client.post(&format!("/v2/images/{id}/locations"), &body).status
}

fn tasks(client: &Client, id: &str) -> Value {
    client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"].clone()
}

#[test]
fn a_url_gets_digests_in_the_background() {
    let bytes = noise(5, 700_000);
    let web = web(bytes.clone());
    let server = Server::configured(LOCAL);
    let client = Client::new(&server);
    let id = new(&client, "raw");
    assert_eq!(register(&client, &id, &web.url("a.img?token=s3cret"), None), 202);
    assert_eq!(client.status(&id), "active", "at once, as in Glance");
    eventually("the digests are there", || client.show(&id)["os_hash_value"] == sha256(&bytes));
    let image = client.show(&id);
    assert_eq!((&image["checksum"], &image["virtual_size"]), (&md5(&bytes).into(), &700_000.into()));
    assert_eq!(client.names(&format!("?checksum={}", md5(&bytes))), ["a"], "it is found by them");
    // Before it is registered, its first byte is asked for.
    let reads = web.heads().iter().filter(|head| head.starts_with("GET") && !head.contains("bytes=0-0")).count();
    assert_eq!(reads, 1, "once");
    // One that was registered through another protocol, and one of v1.
    let by_visor = server.add("b", &[("x-image-meta-location", &web.url("b")), ("x-image-meta-store", "http")], b"");
    let by_visor = by_visor["_id"].as_str().unwrap().to_owned();
    eventually("that has digests too", || client.show(&by_visor)["checksum"] == md5(&bytes));
}

#[test]
fn urls_are_not_read_if_the_operator_says_so() {
    let web = web(b"remote".to_vec());
    let server = Server::configured(&format!("{LOCAL}digests = false\n"));
    let client = Client::new(&server);
    let id = new(&client, "raw");
    assert_eq!(register(&client, &id, &web.url("a"), None), 202);
    let other = new(&client, "raw");
    let announced = json!({ "os_hash_algo": "sha256", "os_hash_value": sha256(b"remote") });
    assert_eq!(register(&client, &other, &web.url("b"), Some(announced)), 202);
    // By now the first would have been read.
    eventually("what was announced is verified all the same", || client.status(&other) == "active");
    assert_eq!(client.show(&id)["checksum"], Value::Null);
    assert!(!web.heads().iter().any(|head| head.starts_with("GET /a") && !head.contains("bytes=0-0")));
}

#[test]
fn a_url_is_held_to_the_digest_that_was_announced() {
    let bytes = noise(6, 300_000);
    let web = web(bytes.clone());
    let server = Server::configured(LOCAL);
    let client = Client::new(&server);
    for (algorithm, value) in [("md5", md5(&bytes)), ("sha256", sha256(&bytes)), ("sha512", sha512(&bytes))] {
        let id = new(&client, "raw");
        let announced = json!({ "os_hash_algo": algorithm, "os_hash_value": value });
        assert_eq!(register(&client, &id, &web.url("x?token=s3cret"), Some(announced.clone())), 202, "{algorithm}");
        eventually("it is active", || client.status(&id) == "active");
        let image = client.show(&id);
        assert_eq!(image["checksum"], md5(&bytes), "{algorithm}");
        if algorithm == "sha512" {
            assert_eq!((&image["os_hash_algo"], &image["os_hash_value"]), (&"sha512".into(), &value.into()));
        }
        eventually("the task is over", || tasks(&client, &id)[0]["status"] == "success");
        let task = tasks(&client, &id)[0].clone();
        assert_eq!((&task["type"], &task["input"]["validation_data"]), (&"location_import".into(), &announced));
        assert!(!task.to_string().contains("s3cret") && task["request_id"].as_str().unwrap().starts_with("req-"));
        assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
    }
    // Other bytes than announced leave it as it was.
    let id = new(&client, "raw");
    let wrong = json!({ "os_hash_algo": "sha256", "os_hash_value": sha256(b"other") });
    assert_eq!(register(&client, &id, &web.url("x"), Some(wrong)), 202);
    eventually("the task failed", || tasks(&client, &id)[0]["status"] == "failure");
    assert!(tasks(&client, &id)[0]["message"].as_str().unwrap().contains("sha256"));
    assert_eq!((client.status(&id).as_str(), &client.show(&id)["checksum"]), ("queued", &Value::Null));
    assert_eq!(register(&client, &id, &web.url("x"), None), 202, "and may be tried again");
    for bad in [
        json!({ "os_hash_algo": "sha256" }),
        json!({ "os_hash_value": sha256(b"x") }),
        json!({ "os_hash_algo": "sha1", "os_hash_value": "0".repeat(40) }),
        json!({ "os_hash_algo": "sha256", "os_hash_value": "ab" }),
        json!({ "os_hash_algo": "sha256", "os_hash_value": "z".repeat(64) }),
        json!({ "os_hash_algo": "md5", "os_hash_value": md5(b"x"), "checksum": md5(b"x") }),
        json!("sha256"),
    ] {
        let id = new(&client, "raw");
        assert_eq!(register(&client, &id, &web.url("x"), Some(bad.clone())), 400, "{bad}");
        assert_eq!(client.status(&id), "queued");
    }
}

#[test]
fn a_url_is_held_to_the_format_of_its_image() {
    for (format, bytes, words) in
        [("qcow2", noise(7, 90_000), "does not match"), ("qcow2", qcow2_over_a_file(b""), "safety")]
    {
        let web = web(bytes.clone());
        let server = Server::configured(LOCAL);
        let client = Client::new(&server);
        let id = new(&client, format);
        let announced = json!({ "os_hash_algo": "sha256", "os_hash_value": sha256(&bytes) });
        assert_eq!(register(&client, &id, &web.url("x"), Some(announced)), 202);
        eventually("the task failed", || tasks(&client, &id)[0]["status"] == "failure");
        assert!(tasks(&client, &id)[0]["message"].as_str().unwrap().contains(words), "{}", tasks(&client, &id));
        assert_eq!(client.status(&id), "queued");
    }
}

#[test]
fn digests_that_a_restart_interrupted_are_made_up_for() {
    let bytes = noise(8, 200_000);
    let (ready, content) = (Arc::new(AtomicBool::new(false)), bytes.clone());
    let opens = Arc::clone(&ready);
    let web = Fake::serving(None, move |asked| match asked.head.starts_with("HEAD") {
        true => Say::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".to_vec()),
        false if opens.load(Ordering::SeqCst) => answer("200 OK", "", &content),
        false => Say::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".to_vec()),
    });
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("visor.toml"), dir.path().join("data"));
    std::fs::write(&config, LOCAL).unwrap();
    let server = Server::on(&data, &["--config", config.to_str().unwrap()]);
    let id = new(&Client::new(&server), "raw");
    assert_eq!(register(&Client::new(&server), &id, &web.url("x"), None), 202);
    eventually("it is being read", || web.heads().iter().any(|head| head.starts_with("GET")));
    server.kill();
    ready.store(true, Ordering::SeqCst);
    let server = Server::on(&data, &["--config", config.to_str().unwrap()]);
    eventually("it has digests", || Client::new(&server).show(&id)["checksum"] == md5(&bytes));
}

#[test]
fn an_image_under_a_url_is_copied_into_stores() {
    let bytes = qcow2(&noise(9, 400_000));
    let web = web(bytes.clone());
    let bucket = Bucket::start();
    let server = Server::configured(&bucket.configuration(LOCAL));
    let client = Client::new(&server);
    let id = new(&client, "qcow2");
    assert_eq!(register(&client, &id, &web.url("disk.qcow2"), None), 202);
    assert_eq!(client.show(&id)["stores"], "http");
    let copy = |stores: &[&str]| {
        let body = json!({ "method": { "name": "copy-image" }, "stores": stores });
        client.post(&format!("/v2/images/{id}/import"), &body)
    };
    assert_eq!(copy(&["file"]).status, 202);
    eventually("the copy is there", || client.show(&id)["stores"] == "file,http");
    let image = client.show(&id);
    assert_eq!((&image["os_hash_value"], &image["size"]), (&sha256(&bytes).into(), &bytes.len().into()));
    assert_eq!(image["virtual_size"], 1_u64 << 30, "what the headers say of it");
    let url = web.url("disk.qcow2");
    assert_eq!(client.get(&format!("/v2/images/{id}/locations")).json()[0]["url"], url);
    // What is read comes from here now.
    let before = web.connections();
    assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
    assert_eq!((web.connections(), server.files().0.len()), (before, 1));
    assert_eq!(copy(&["file"]).status, 400, "it is there already");
    eventually("that import is over", || client.show(&id)["os_glance_importing_to_stores"] == "");
    assert_eq!(copy(&["cold"]).status, 202);
    eventually("another copy", || client.show(&id)["stores"] == "file,cold,http");
    // The URL is a store like others: it can be left, as long as there is another copy.
    assert_eq!(client.delete(&format!("/v2/stores/http/{id}")).status, 204);
    assert_eq!(client.show(&id)["stores"], "file,cold");
    assert_eq!(client.delete(&format!("/v2/stores/http/{id}")).status, 409);
    assert_eq!(client.get(&format!("/v2/images/{id}/locations")).json(), json!([]));

    // By VISOR's clients: a move leaves the URL behind.
    let other = server.add("b", &[("x-image-meta-location", &url), ("x-image-meta-store", "http")], b"");
    let path = format!("/images/{}", other["_id"].as_str().unwrap());
    let moved = server.send("PUT", &path, &[("x-image-meta-store", "file")], b"");
    assert_eq!((moved.status, &moved.json()["image"]["store"]), (200, &"file".into()));
    assert!(moved.json()["image"]["location"].as_str().unwrap().starts_with("file://"));
    assert!(server.get(&path).body == bytes);
    // And back is no way.
    assert_eq!(server.send("PUT", &path, &[("x-image-meta-store", "http")], b"").status, 409);
}

#[test]
fn a_copy_from_a_url_is_held_to_format_and_digests() {
    let changed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&changed);
    let web = Fake::serving(None, move |asked| {
        let body = if now.load(Ordering::SeqCst) { noise(11, 50_000) } else { noise(10, 50_000) };
        match asked.head.starts_with("HEAD") {
            true => Say::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n".to_vec()),
            false => answer("200 OK", "", body),
        }
    });
    let server = Server::configured(LOCAL);
    let client = Client::new(&server);
    let copy = |id: &str| {
        let body = json!({ "method": { "name": "copy-image" }, "stores": ["file"] });
        assert_eq!(client.post(&format!("/v2/images/{id}/import"), &body).status, 202);
        eventually("the copy failed", || client.show(id)["os_glance_failed_import"] == "file");
        assert_eq!((client.show(id)["stores"].clone(), client.status(id)), ("http".into(), "active".to_owned()));
        assert_eq!(server.files(), (vec![], vec![]));
        tasks(&client, id)[0]["message"].as_str().unwrap().to_owned()
    };
    let lies = new(&client, "qcow2");
    assert_eq!(register(&client, &lies, &web.url("x"), None), 202);
    assert!(copy(&lies).contains("does not match"));
    let id = new(&client, "raw");
    assert_eq!(register(&client, &id, &web.url("x"), None), 202);
    eventually("it has digests", || !client.show(&id)["checksum"].is_null());
    changed.store(true, Ordering::SeqCst);
    assert!(copy(&id).contains("was changed"), "{}", tasks(&client, &id));
}
