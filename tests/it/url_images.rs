//! Images under URLs whose servers misbehave: each is told as what it is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fake::{Fake, Say, answer};
use crate::harness::{Answer, Server};

const BYTES: &[u8] = b"0123456789abcdef";

fn server() -> Server {
    Server::with(&["--allow-fetch", "127.0.0.1/32"])
}

fn register(server: &Server, url: &str) -> Answer {
    let headers = [
        ("x-image-meta-name", "a"),
        ("x-image-meta-architecture", "x86_64"),
        ("x-image-meta-store", "http"),
        ("x-image-meta-location", url),
    ];
    server.send("POST", "/images", &headers, b"")
}

fn path(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    format!("/images/{}", answer.json()["image"]["_id"].as_str().unwrap())
}

#[test]
fn a_server_in_trouble_is_not_a_missing_file() {
    let server = server();
    let down = std::sync::Arc::new(AtomicBool::new(false));
    let is_down = std::sync::Arc::clone(&down);
    let fake = Fake::serving(None, move |asked| match (asked.target(), is_down.load(Ordering::SeqCst)) {
        ("/gone", _) => answer("404 Not Found", "", ""),
        ("/forbidden", _) => answer("403 Forbidden", "", ""),
        ("/failing", _) | (_, true) => answer("500 Internal Server Error", "", "a page"),
        _ => answer("200 OK", "", BYTES),
    });
    let refused = register(&server, &fake.url("failing"));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert_eq!((refused.status, refused.header("x-visor-error")), (503, Some("upstream-failed")), "{refused:?}");
    assert_eq!(message, "The server of this URL answers with status 500.");
    for missing in ["gone", "forbidden"] {
        assert_eq!(register(&server, &fake.url(missing)).status, 404, "{missing}");
    }
    let image = path(&register(&server, &fake.url("there")));
    assert_eq!(server.get(&image).body, BYTES);
    down.store(true, Ordering::SeqCst);
    for (headers, what) in [(&[][..], "whole"), (&[("Range", "bytes=1-2")], "part")] {
        let answer = server.send("GET", &image, headers, b"");
        assert_eq!((answer.status, answer.header("x-visor-error")), (503, Some("upstream-failed")), "{what}");
    }
    let id = image.trim_start_matches("/images/");
    assert_eq!(server.get(&format!("/v2/images/{id}/file")).status, 503);
    assert_eq!(server.get(&format!("/v1/images/{id}")).status, 503);
}

#[test]
fn a_server_that_always_compresses_is_refused_at_registration() {
    let server = server();
    // Some leave it out of their answer to HEAD.
    let fake = Fake::serving(None, |asked| match (asked.target(), asked.head.starts_with("HEAD")) {
        ("/honest", _) | (_, false) => answer("200 OK", "Content-Encoding: gzip\r\n", "xxxx"),
        _ => answer("200 OK", "", BYTES),
    });
    for name in ["honest", "quiet"] {
        let refused = register(&server, &fake.url(name));
        assert_eq!(
            (refused.status, refused.header("x-visor-error")),
            (400, Some("url-refused")),
            "{name}: {refused:?}"
        );
        assert!(refused.text().contains("Content-Encoding"), "{refused:?}");
    }
}

#[test]
fn a_server_that_ignores_ranges_is_passed_on() {
    let server = server();
    let told = std::sync::Arc::new(Mutex::new(""));
    let tells = std::sync::Arc::clone(&told);
    let fake = Fake::serving(None, move |asked| {
        let more = *tells.lock().unwrap();
        match (asked.target(), asked.header("range")) {
            ("/ranges", Some("bytes=2-4")) => answer("206 P", "Content-Range: Bytes 2-4/16\r\n", &BYTES[2..5]),
            ("/ranges", Some(_)) => answer("206 P", "Content-Range: bytes 0-0/16\r\n", &BYTES[..1]),
            _ => match asked.head.starts_with("HEAD") {
                true => Say::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n".to_vec()),
                false => answer("200 OK", more, BYTES),
            },
        }
    });
    let ignoring = path(&register(&server, &fake.url("ignoring")));
    for range in ["bytes=2-4", "Bytes=2-4", "bytes=0-0,2-3", "bytes=-1"] {
        let answer = server.send("GET", &ignoring, &[("Range", range)], b"");
        assert_eq!((answer.status, answer.body.as_slice()), (200, BYTES), "{range}: {answer:?}");
        assert_eq!((answer.header("content-range"), answer.header("accept-ranges")), (None, None), "{range}");
    }
    assert_eq!(server.send("HEAD", &ignoring, &[], b"").header("accept-ranges"), None, "not promised");
    let able = path(&register(&server, &fake.url("ranges")));
    let part = server.send("GET", &able, &[("Range", "bytes=2-4")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &BYTES[2..5]), "{part:?}");
    assert_eq!((part.header("content-range"), part.header("accept-ranges")), (Some("bytes 2-4/16"), Some("bytes")));
    *told.lock().unwrap() = "Accept-Ranges: bytes\r\n";
    assert_eq!(server.get(&ignoring).header("accept-ranges"), Some("bytes"), "its own word");
}

#[test]
fn a_refused_address_names_the_setting_that_would_help() {
    let server = Server::start();
    let message = |url: &str| {
        let answer = register(&server, url);
        assert_eq!((answer.status, answer.header("x-visor-error")), (400, Some("url-refused")), "{url}");
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    for address in ["http://127.0.0.1/a", "http://10.1.2.3:8080/a", "http://[::1]/a", "http://169.254.169.254/a"] {
        let said = message(address);
        assert!(said.contains("fetch.allow") && !said.contains("host is not known"), "{address}: {said}");
    }
    // A name that exists and one that does not look alike.
    let (inside, outside) = (message("http://localhost/a"), message("http://no-such-name.invalid/a"));
    assert!(inside.contains("fetch.allow") && inside == outside, "{inside}: {outside}");
    assert!(message("https://u:p@example.org/a").contains("begin with http"));
    // An import is judged before its answer by the form of the URL, and later by what its name resolves to.
    let glance = crate::glance::Client::new(&server);
    let import = |uri: &str| {
        let id = glance.create(&serde_json::json!({ "disk_format": "raw", "container_format": "bare" }));
        let wanted = serde_json::json!({ "method": { "name": "web-download", "uri": uri } });
        (glance.post(&format!("/v2/images/{id}/import"), &wanted), id)
    };
    for (uri, would_help) in
        [("http://127.0.0.1:9/x", true), ("ftp://example.org/x", false), ("https://u:p@example.org/x", false)]
    {
        let answer = import(uri).0;
        assert_eq!((answer.status, answer.text().contains("fetch.allow")), (400, would_help), "{answer:?}");
    }
    let (begun, id) = import("http://localhost/x");
    assert_eq!(begun.status, 202, "{begun:?}");
    crate::harness::eventually("it is refused", || glance.show(&id)["os_glance_failed_import"] == "file");
    let task = glance.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    let said = task["message"].as_str().unwrap();
    assert!(said.contains("fetch.allow") && !said.contains("begin with http"), "{said}");
    let lxd = Server::secure(&[]);
    let client = crate::secure::Client::new(&lxd, None);
    let wanted = serde_json::json!({ "source": { "type": "url", "url": "http://10.0.0.1/" } });
    let answer = client.send("POST", "/1.0/images", &wanted);
    let said = match answer.status {
        202 => client.ended(&answer)["err"].as_str().unwrap_or_default().to_owned(),
        _ => answer.text(),
    };
    assert!(said.contains("fetch.allow") && said.contains("10.0.0.1"), "{said}");
}
