//! Imports and copies from servers that fail now and then: what breaks off is continued, what can't be now is asked for again, and
//! the job says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bundles::{container, form, metadata, tar};
use crate::fake::{Fake, Say, answer};
use crate::glance::Client;
use crate::harness::{Server, eventually, md5, noise, sha256};
use crate::lxd_liars::{BYTES, described, server_of};
use crate::lxd_sources::assert_empty;

const QUICK: &str = "[fetch]\nallow = [\"127.0.0.1/32\"]\n";

/// An answer of which only the first bytes come.
fn cut(status: &str, headers: &str, body: &[u8], sent: usize) -> Say {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Say::Bytes([head.as_bytes(), &body[..sent]].concat())
}

/// Begins a download into a new image.
fn download(client: &Client, uri: &str) -> String {
    let id = client.create(&json!({ "disk_format": "raw", "container_format": "bare" }));
    let import = json!({ "method": { "name": "web-download", "uri": uri } });
    assert_eq!(client.post(&format!("/v2/images/{id}/import"), &import).status, 202);
    id
}

/// The job of VISOR's that brings an image.
fn job(server: &Server, image: &str) -> Value {
    let jobs = server.get("/jobs").json()["jobs"].clone();
    jobs.as_array().unwrap().iter().find(|job| job["image"] == image).unwrap().clone()
}

#[test]
fn an_import_goes_on_where_it_broke_off_and_its_job_says_so() {
    let bytes = noise(1, 3 << 20);
    let (go, wait) = channel::<()>();
    let (wait, body, count) = (Mutex::new(wait), bytes.clone(), AtomicUsize::new(0));
    let fake = Fake::serving(None, move |asked| {
        let range =
            asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from: usize = range.unwrap_or(0);
        let headers = format!("ETag: \"v1\"\r\nContent-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer("503 Service Unavailable", "Retry-After: 0\r\n", ""),
            1 => cut(status, &headers, &body[from..], 2 << 20),
            _ => {
                let _ = wait.lock().unwrap().recv();
                answer(status, &headers, &body[from..])
            }
        }
    });
    let server = Server::configured(QUICK);
    let client = Client::new(&server);
    let id = download(&client, &fake.url("x"));
    eventually("it is asked for the third time", || fake.connections() == 3);
    let seen = job(&server, &id);
    assert_eq!((&seen["status"], &seen["retries"]), (&json!("running"), &json!(2)), "{seen}");
    let trouble = "The other server sent more or less than it announced; it is asked again.";
    assert_eq!(seen["trouble"], trouble);
    let task = client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    assert_eq!((&task["status"], &task["message"]), (&json!("processing"), &json!(trouble)));
    go.send(()).unwrap();
    eventually("it is there", || client.status(&id) == "active");
    let shown = client.show(&id);
    assert_eq!((&shown["checksum"], &shown["os_hash_value"]), (&json!(md5(&bytes)), &json!(sha256(&bytes))));
    assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
    let last = fake.asked().pop().unwrap();
    let asked = (last.header("range"), last.header("if-range"));
    assert_eq!(asked, (Some("bytes=2097152-"), Some("\"v1\"")), "nothing comes twice");
    let task = client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    assert_eq!((&task["status"], &task["message"]), (&json!("success"), &json!("")));
}

#[test]
fn an_import_whose_source_changes_fails_and_mixes_nothing() {
    let count = AtomicUsize::new(0);
    let fake = Fake::serving(None, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => cut("200 OK", "ETag: \"v1\"\r\n", &noise(1, 1 << 20), 500_000),
        _ => answer("200 OK", "ETag: \"v2\"\r\n", noise(2, 1 << 20)),
    });
    let server = Server::configured(QUICK);
    let client = Client::new(&server);
    let id = download(&client, &fake.url("x"));
    eventually("it has failed", || client.show(&id)["os_glance_failed_import"] == "file");
    let task = client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    assert_eq!(task["message"], "The server of this URL has other bytes now than when the transfer began.");
    assert_eq!((client.status(&id).as_str(), server.files(), fake.connections()), ("queued", (vec![], vec![]), 2));
}

#[test]
fn a_server_that_never_can_is_given_up_and_one_that_refuses_is_asked_once() {
    let server = Server::configured(&format!("{QUICK}tries = 3\n"));
    let client = Client::new(&server);
    for (status, asked) in [("502 Bad Gateway", 3), ("404 Not Found", 1), ("403 Forbidden", 1)] {
        let fake = Fake::serving(None, move |_| answer(status, "", ""));
        let id = download(&client, &fake.url("x"));
        eventually("it has failed", || client.show(&id)["os_glance_failed_import"] == "file");
        assert_eq!(fake.connections(), asked, "{status}");
    }
    assert_eq!(server.files(), (vec![], vec![]));
}

/// Copies an image from a server, and returns the operation's end.
fn pulled(server: &Server, from: &Fake) -> Value {
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    server.ended(&server.send_json("POST", "/1.0/images", &json!({ "source": source })))
}

#[test]
fn a_copy_of_one_file_goes_on_and_one_in_a_form_begins_anew() {
    let server = Server::configured(QUICK);
    let whole = container("x");
    let (bytes, count) = (whole.clone(), AtomicUsize::new(0));
    // Without a mark of its version: from the beginning, and the part that was there is compared.
    let from = server_of(described(&whole), move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => cut("200 OK", BYTES, &bytes, bytes.len() / 2),
        _ => answer("200 OK", BYTES, &bytes),
    });
    let ended = pulled(&server, &from);
    assert_eq!((&ended["status"], &ended["metadata"]["retries"]), (&json!("Success"), &json!("1")), "{ended}");

    let (meta, root) = (metadata("y"), tar(&[("rootfs/etc/os-release", b"y")]));
    let (content_type, body) = form(&[("metadata", "meta.tar.gz", &meta), ("rootfs", "root.tar", &root)]);
    let mut image = described(&[&meta[..], &root].concat());
    image["size"] = json!(meta.len() + root.len());
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let from = server_of(image.clone(), move || {
        let headers = format!("Content-Type: {content_type}\r\n");
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => cut("200 OK", &headers, &body, body.len() - 600),
            _ => answer("200 OK", &headers, &body),
        }
    });
    let ended = pulled(&server, &from);
    assert_eq!((&ended["status"], &ended["metadata"]["retries"]), (&json!("Success"), &json!("1")), "{ended}");
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    let images = server.lxd("/1.0/images");
    assert!(
        images.as_array().unwrap().contains(&json!(format!("/1.0/images/{}", image["fingerprint"].as_str().unwrap())))
    );
}

/// Bytes with another digest than was announced are not asked for again: they would be the same.
#[test]
fn a_copy_with_other_bytes_is_not_tried_again() {
    let server = Server::configured(QUICK);
    let (whole, tries) = (container("x"), Arc::new(AtomicUsize::new(0)));
    let (mut other, count) = (whole.clone(), Arc::clone(&tries));
    *other.last_mut().unwrap() ^= 1;
    let from = server_of(described(&whole), move || {
        count.fetch_add(1, Ordering::SeqCst);
        answer("200 OK", BYTES, &other)
    });
    assert_eq!(pulled(&server, &from)["status"], "Failure");
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    assert_empty(&server);
}
