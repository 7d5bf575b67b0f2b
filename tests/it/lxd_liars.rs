//! Servers that do not have what they say, say what they do not have, or never end: a copy of theirs fails in good time, says
//! why, and leaves nothing.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundles::{container, form, metadata};
use crate::fake::{Fake, Say, answer};
use crate::harness::{Server, eventually, noise, qcow2, sha256};
use crate::lxd_sources::assert_empty;

const JSON: &str = "Content-Type: application/json\r\n";
pub(crate) const BYTES: &str = "Content-Type: application/octet-stream\r\n";

/// What is said of a server that nothing is asked of, in words behind which clients try another.
const BARRED: &str = "Unable to connect to: 127.0.0.";

/// One that gives up soon, and has place for only two uploads: a seat that is not given back would be missed.
fn impatient() -> Server {
    Server::configured(
        "[fetch]\nallow = [\"127.0.0.1/32\"]\n[upload]\nidle = \"3s\"\nimage_max = \"16 MiB\"\nuploads_max = 2\n",
    )
}

fn sync(metadata: &Value) -> Say {
    let body = json!({ "type": "sync", "status": "Success", "status_code": 200, "metadata": metadata });
    answer("200 OK", JSON, body.to_string())
}

fn error(status: &str, text: &str) -> Say {
    answer(status, JSON, json!({ "type": "error", "error": text, "error_code": 404, "metadata": null }).to_string())
}

/// What a server says to whoever wants an image.
type Script = Box<dyn Fn() -> Say + Send + Sync>;

/// What an honest server says of an image.
pub(crate) fn described(bytes: &[u8]) -> Value {
    json!({
        "fingerprint": sha256(bytes), "size": bytes.len(), "type": "container", "architecture": "x86_64", "public": true,
        "filename": "x.tar.gz", "properties": { "os": "x" }, "created_at": "2024-02-03T00:00:00Z", "aliases": [],
    })
}

/// A server with one image, which is called `x`, and what it sends for it.
pub(crate) fn server_of(image: Value, export: impl Fn() -> Say + Send + Sync + 'static) -> Fake {
    Fake::serving(None, move |asked| {
        let path = asked.target().split('?').next().unwrap().to_owned();
        match path.as_str() {
            "/1.0/images/aliases/x" => {
                sync(&json!({ "name": "x", "target": image["fingerprint"], "type": image["type"] }))
            }
            path if path.ends_with("/export") => export(),
            path if path.starts_with("/1.0/images/") => sync(&image),
            _ => error("404 Not Found", "not found"),
        }
    })
}

/// What an operation that copies an image from there fails with.
fn fails(server: &Server, from: &Fake, protocol: &str) -> String {
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x", "protocol": protocol });
    let began = Instant::now();
    let said = server.failed(&server.send_json("POST", "/1.0/images", &json!({ "source": source })));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}: {said}", began.elapsed());
    assert!(!said.is_empty() && !said.contains("panicked"), "{said}");
    said
}

/// An answer in chunks, whose length nobody knows.
pub(crate) fn chunked(headers: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    all.extend(chunk(bytes));
    all
}

pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn other_bytes_than_were_announced() {
    let server = impatient();
    let (bytes, page) = (container("x"), "<html>Sign in</html>");
    // As long as the other, and nobody could tell but by what it hashes to.
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let whole = bytes.clone();
    let cases: Vec<(&str, Script)> = vec![
        ("fingerprints don't match, got ", Box::new(move || answer("200 OK", BYTES, &other))),
        ("sent more or less than it announced", Box::new(|| answer("200 OK", BYTES, b"short"))),
        ("sent more or less than it announced", Box::new(|| Say::Bytes(chunked(BYTES, &noise(1, 900))))),
        ("sent more or less than it announced", {
            let head = format!("HTTP/1.1 200 OK\r\n{BYTES}Content-Length: {}\r\n\r\n", whole.len());
            let cut = [head.as_bytes(), &whole[..100]].concat();
            Box::new(move || Say::Bytes(cut.clone()))
        }),
        (
            "does not answer as an LXD or Incus server",
            Box::new(move || answer("200 OK", "Content-Type: text/html\r\n", page)),
        ),
        ("does not answer as an LXD or Incus server", Box::new(|| sync(&json!({})))),
        ("has no image or alias 'x'", Box::new(|| error("404 Not Found", "Image not found"))),
        ("says: out of tape", Box::new(|| error("500 Internal Server Error", "out of tape"))),
        ("compresses the file, although that was not asked for", {
            let zipped = format!("{BYTES}Content-Encoding: gzip\r\n");
            Box::new(move || answer("200 OK", &zipped, crate::bundles::gzip(b"x")))
        }),
        ("are copied", Box::new(|| answer("200 OK", &format!("{BYTES}X-Incus-Type: oci\r\n"), b"x"))),
        ("does not answer as", Box::new(|| Say::Bytes(b"220 mail ESMTP\r\n".to_vec()))),
        ("can't answer now", Box::new(|| Say::Bytes(Vec::new()))),
    ];
    for (text, export) in cases {
        let from = server_of(described(&bytes), export);
        let said = fails(&server, &from, "lxd");
        assert!(said.contains(text), "{text}: {said}");
    }
    assert_empty(&server);
}

#[test]
fn bodies_without_an_end() {
    let server = impatient();
    let bytes = container("x");
    let mut sizeless = described(&bytes);
    sizeless["size"] = json!(0);
    let begun = chunked(BYTES, &bytes[..100]);
    let (one, other, third, fourth) = (begun.clone(), begun.clone(), begun.clone(), begun);
    let part = b"--x\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"";
    let form = chunked("Content-Type: multipart/form-data; boundary=x\r\n", part);
    let mebibyte = chunk(&noise(2, 1 << 20));
    let endless = mebibyte.clone();
    let cases: Vec<(Value, &str, Script)> = vec![
        (described(&bytes), "more or less", Box::new(move || Say::Endless(one.clone(), mebibyte.clone()))),
        (sizeless.clone(), "at most 16777216 bytes", Box::new(move || Say::Endless(other.clone(), endless.clone()))),
        (described(&bytes), "The server sends too slowly.", Box::new(move || Say::Hold(third.clone()))),
        (sizeless, "The server sends too slowly.", Box::new(move || Say::Dripping(fourth.clone(), chunk(b"x")))),
        (described(&bytes), "The server sends too slowly.", Box::new(move || Say::Dripping(form.clone(), chunk(b"x")))),
    ];
    for (image, text, export) in cases {
        let from = server_of(image, export);
        let said = fails(&server, &from, "lxd");
        assert!(said.contains(text), "{text}: {said}");
    }
    assert_empty(&server);
}

#[test]
fn descriptions_that_can_not_be_true() {
    let server = impatient();
    let bytes = container("x");
    let many: serde_json::Map<_, _> = (0..10_000).map(|n| (n.to_string(), json!("x"))).collect();
    for (field, value, text) in [
        ("fingerprint", json!("x"), "does not answer as an LXD or Incus server"),
        ("fingerprint", json!(null), "does not answer as an LXD or Incus server"),
        ("type", json!("gadget"), "does not answer as an LXD or Incus server"),
        ("properties", json!({ "os": 1 }), "does not answer as an LXD or Incus server"),
        ("architecture", json!("pdp11"), "Architecture isn't supported: pdp11"),
        ("properties", many.into(), "attribute"),
        ("properties", json!({ "x": "y".repeat(900_000) }), "longer than"),
        ("properties", json!({ "x": "y".repeat(2_000_000) }), "more or less"),
    ] {
        let mut image = described(&bytes);
        image[field] = value;
        let sent = bytes.clone();
        let from = server_of(image, move || answer("200 OK", BYTES, &sent));
        let said = fails(&server, &from, "lxd");
        assert!(said.contains(text), "{field}: {said}");
    }
    // It gives another image for the one that was asked for.
    let (first, second) = (described(&bytes), described(&container("y")));
    let from = Fake::serving(None, move |asked| match asked.target() {
        "/1.0/images/aliases/x" => sync(&json!({ "name": "x", "target": first["fingerprint"] })),
        _ => sync(&second),
    });
    assert!(fails(&server, &from, "lxd").contains("does not answer as an LXD or Incus server"));
    assert_empty(&server);
    // A name that is a path is none, and of what kind it is the bytes say. All else of this one is well.
    let mut image = described(&bytes);
    (image["filename"], image["type"]) = (json!("../../etc/passwd"), json!("virtual-machine"));
    let from = server_of(image, move || answer("200 OK", BYTES, &bytes));
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    let done = server.succeeded(&server.send_json("POST", "/1.0/images", &json!({ "source": source })));
    let copy = server.lxd(&format!("/1.0/images/{}", done["fingerprint"].as_str().unwrap()));
    assert_eq!((&copy["filename"], &copy["type"]), (&json!(""), &json!("container")));
}

/// Texts with lines in them are put on one; what no image may have is not even fetched.
#[test]
fn descriptions_are_judged_before_the_bytes_come() {
    let server = impatient();
    let bytes = container("x");
    let mut image = described(&bytes);
    image["properties"] = json!({ "description": "one\ntwo", "a\tb": "y" });
    let sent = bytes.clone();
    let from = server_of(image.clone(), move || answer("200 OK", BYTES, &sent));
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    let asked = json!({ "source": source, "properties": { "more": "three\r\nfour" } });
    server.succeeded(&server.send_json("POST", "/1.0/images", &asked));
    let copy = server.lxd(&format!("/1.0/images/{}", sha256(&bytes)));
    assert_eq!(copy["properties"], json!({ "description": "one\ntwo", "a b": "y", "more": "three\r\nfour" }));
    server.succeeded(&server.send("DELETE", &format!("/1.0/images/{}", sha256(&bytes)), &[], b""));
    image["properties"] = json!({ "x": "y".repeat(70_000) });
    let from = server_of(image, move || answer("200 OK", BYTES, &bytes));
    assert!(fails(&server, &from, "lxd").contains("longer than"));
    assert!(from.asked().iter().all(|asked| !asked.target().contains("/export")));
    assert_empty(&server);
}

#[test]
fn answers_that_are_none() {
    let server = impatient();
    let page = "<html>".repeat(100);
    let cases: Vec<(&str, Script)> = vec![
        (
            "does not answer as an LXD or Incus server",
            Box::new(move || answer("200 OK", "Content-Type: text/html\r\n", &page)),
        ),
        ("does not answer as an LXD or Incus server", Box::new(|| answer("200 OK", JSON, "[]"))),
        ("does not answer as an LXD or Incus server", Box::new(|| answer("200 OK", JSON, "["))),
        ("does not answer as an LXD or Incus server", Box::new(|| answer("200 OK", JSON, "[".repeat(500_000)))),
        ("sent more or less", Box::new(|| Say::Endless(chunked(JSON, b"{"), chunk(&[b' '; 65536])))),
        ("does not answer as it should", Box::new(|| answer("302 Found", "Location: /again\r\n", ""))),
        (BARRED, Box::new(|| answer("302 Found", "Location: http://169.254.169.254/latest\r\n", ""))),
        (BARRED, Box::new(|| answer("302 Found", "Location: file:///etc/passwd\r\n", ""))),
        ("does not answer as it should", Box::new(|| answer("302 Found", "", ""))),
    ];
    for (text, say) in cases {
        let from = Fake::serving(None, move |_| say());
        for protocol in ["lxd", "simplestreams"] {
            let said = fails(&server, &from, protocol);
            let text = if protocol == "lxd" { text } else { text.trim_end_matches("an LXD or Incus server") };
            assert!(said.contains(text), "{protocol}, {text}: {said}");
        }
    }
    assert_empty(&server);
}

/// Also when the way there is allowed: what it leads to is judged like the URL itself.
#[test]
fn a_redirect_leads_nowhere_that_could_not_be_asked() {
    let server = impatient();
    let inner = TcpListener::bind("127.0.0.2:0").unwrap();
    let to = format!("Location: http://{}/\r\n", inner.local_addr().unwrap());
    let (first, second) = (to.clone(), to.clone());
    let from = server_of(described(&container("x")), move || answer("302 Found", &first, ""));
    assert!(fails(&server, &from, "lxd").contains(BARRED));
    let from = Fake::serving(None, move |_| answer("307 Moved", &second, ""));
    for protocol in ["lxd", "incus", "simplestreams"] {
        assert!(fails(&server, &from, protocol).contains(BARRED));
    }
    let url = json!({ "source": { "type": "url", "url": from.url("x") } });
    assert!(server.failed(&server.send_json("POST", "/1.0/images", &url)).contains(BARRED));
    let inside = format!("http://{}/x", inner.local_addr().unwrap());
    let headers = format!("LXD-Image-Hash: {}\r\nLXD-Image-URL: {inside}\r\n", sha256(b""));
    let from = Fake::serving(None, move |_| answer("200 OK", &headers, ""));
    let url = json!({ "source": { "type": "url", "url": from.url("x") } });
    assert!(server.failed(&server.send_json("POST", "/1.0/images", &url)).contains(BARRED));
    inner.set_nonblocking(true).unwrap();
    assert!(inner.accept().is_err(), "nobody has come");
    assert_empty(&server);
}

#[test]
fn forms_that_are_no_images() {
    let server = impatient();
    let (meta, disk) = (metadata("x"), qcow2(b"x"));
    let mut image = described(&[meta.clone(), disk.clone()].concat());
    image["type"] = json!("virtual-machine");
    let other = qcow2(b"y");
    for (parts, text) in [
        (vec![("metadata", meta.as_slice())], "does not answer as"),
        (vec![("rootfs.img", &disk), ("metadata", &meta)], "does not answer as"),
        (vec![("metadata", &meta), ("rootfs", &disk)], "does not answer as"),
        (vec![("metadata", &meta), ("rootfs.img", &disk), ("more", b"")], "does not answer as"),
        (vec![("metadata", &meta), ("rootfs.img", &other)], "fingerprints don't match"),
        (vec![("metadata", b""), ("rootfs.img", &disk)], ""),
        (vec![], "does not answer as"),
    ] {
        let parts: Vec<_> = parts.into_iter().map(|(name, bytes)| (name, "", bytes)).collect();
        let (content_type, body) = form(&parts);
        let headers = format!("Content-Type: {content_type}\r\n");
        let from = server_of(image.clone(), move || answer("200 OK", &headers, &body));
        let said = fails(&server, &from, "lxd");
        assert!(said.contains(text), "{parts:?}: {said}");
    }
    let (content_type, body) = form(&[("metadata", "", &meta), ("rootfs.img", "", &disk)]);
    let cut = chunked(&format!("Content-Type: {content_type}\r\n"), &body[..body.len() / 2]);
    let from = server_of(image, move || Say::Bytes(cut.clone()));
    assert!(fails(&server, &from, "lxd").contains("more or less"));
    eventually("no thread is left to read them", || threads_named(&server, "multipart") == 0);
    assert_empty(&server);
}

/// How many threads of this name the server has.
fn threads_named(server: &Server, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let is = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    tasks.map(is).filter(|named| *named).count()
}
