//! Uploads in pieces, as tus 1.0 and as the IETF's draft have them.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Answer, Server, eventually, md5, noise, sha256};

pub(crate) const META: [(&str, &str); 2] = [("x-image-meta-name", "pieces"), ("x-image-meta-architecture", "x86_64")];
pub(crate) const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
pub(crate) const PARTIAL: (&str, &str) = ("Content-Type", "application/partial-upload");
pub(crate) const OFFSET_STREAM: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// The path of a new upload.
pub(crate) fn path_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    let location = answer.header("location").unwrap();
    location[location.find("/uploads/").unwrap()..].to_owned()
}

pub(crate) fn begin(server: &Server, more: &[(&str, &str)]) -> String {
    path_of(&server.send("POST", "/uploads", &[&META, more].concat(), b""))
}

pub(crate) fn image_path(upload: &str) -> String {
    upload.replace("/uploads/", "/images/")
}

/// A piece in the draft's way.
fn patch(server: &Server, path: &str, offset: usize, complete: bool, bytes: &[u8]) -> Answer {
    let (offset, complete) = (offset.to_string(), if complete { "?1" } else { "?0" });
    let headers = [
        PARTIAL,
        ("Upload-Offset", &offset),
        ("Upload-Complete", complete),
        ("Content-Length", &bytes.len().to_string()),
    ];
    server.send("PATCH", path, &headers, bytes)
}

fn offset(server: &Server, path: &str) -> Answer {
    server.send("HEAD", path, &[], b"")
}

#[test]
fn the_drafts_way() {
    let server = Server::start();
    let bytes = noise(30, 3_000_000);
    let path = begin(&server, &[("Upload-Complete", "?0"), ("Upload-Length", "3000000")]);
    let head = offset(&server, &path);
    assert_eq!((head.status, head.header("upload-offset")), (204, Some("0")), "{head:?}");
    assert_eq!((head.header("upload-length"), head.header("upload-complete")), (Some("3000000"), Some("?0")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(server.send("HEAD", &image_path(&path), &[], b"").header("x-image-meta-status"), Some("uploading"));

    let first = patch(&server, &path, 0, false, &bytes[..1_000_001]);
    assert_eq!((first.status, first.header("upload-offset")), (204, Some("1000001")), "{first:?}");
    let wrong = patch(&server, &path, 1_000_000, false, &bytes[1_000_000..]);
    assert_eq!((wrong.status, wrong.header("upload-offset")), (409, Some("1000001")), "{wrong:?}");
    let early = patch(&server, &path, 1_000_001, true, &bytes[1_000_001..2_000_000]);
    assert_eq!(early.status, 400, "{early:?}");
    assert_eq!(offset(&server, &path).header("upload-offset"), Some("2000000"), "what came stays");
    let last = patch(&server, &path, 2_000_000, true, &bytes[2_000_000..]);
    assert_eq!((last.status, last.header("upload-complete")), (200, Some("?1")), "{last:?}");
    let image = &last.json()["image"];
    assert_eq!((image["status"].as_str(), image["checksum"].as_str()), (Some("available"), Some(&*md5(&bytes))));
    assert!(server.get(&image_path(&path)).body == bytes);
    let head = offset(&server, &path);
    assert_eq!((head.header("upload-offset"), head.header("upload-complete")), (Some("3000000"), Some("?1")));
    assert_eq!(patch(&server, &path, 3_000_000, true, b"").status, 409);
    assert!(server.files().1.is_empty());
}

#[test]
fn the_drafts_way_in_one_request_and_without_a_length() {
    let server = Server::start();
    let bytes = noise(31, 100_000);
    let stream = ("Content-Type", "application/octet-stream");
    let whole = server.send("POST", "/uploads", &[META[0], META[1], stream, ("Upload-Complete", "?1")], &bytes);
    assert_eq!((whole.status, whole.header("upload-complete")), (201, Some("?1")), "{whole:?}");
    assert!(server.get(&image_path(&path_of(&whole))).body == bytes);

    let begun = server.send("POST", "/uploads", &[META[0], META[1], stream, ("Upload-Complete", "?0")], &bytes[..10]);
    assert_eq!(begun.header("upload-offset"), Some("10"), "{begun:?}");
    // What is said last goes over what was said first.
    let more = [
        PARTIAL,
        ("Upload-Offset", "10"),
        ("Upload-Complete", "?1"),
        ("x-image-meta-name", "renamed"),
        ("x-image-meta-checksum", &md5(&bytes)),
    ];
    let done = server.send("PATCH", &path_of(&begun), &more, &bytes[10..]);
    assert_eq!(done.json()["image"]["name"], "renamed", "{done:?}");
}

#[test]
fn the_way_of_tus() {
    let server = Server::start();
    let bytes = noise(32, 500_000);
    let options = server.send("OPTIONS", "/uploads", &[], b"");
    assert_eq!((options.status, options.header("tus-version")), (204, Some("1.0.0")), "{options:?}");
    assert!(options.header("tus-extension").unwrap().contains("creation"));
    assert_eq!(server.send("HEAD", "/uploads/x", &[("Tus-Resumable", "0.2.2")], b"").status, 412);

    let word = |text: &str| STANDARD.encode(text);
    let meta = format!(
        "filename {},architecture {},filetype {},os {}",
        word("é.iso"),
        word("i386"),
        word("a/b"),
        word("debian")
    );
    let headers = [TUS, ("Upload-Length", "500000"), ("Upload-Metadata", &meta)];
    let path = path_of(&server.send("POST", "/uploads", &headers, b""));
    let head = server.send("HEAD", &path, &[TUS], b"");
    assert_eq!((head.status, head.header("tus-resumable")), (200, Some("1.0.0")), "{head:?}");
    assert!(head.header("upload-metadata").unwrap().contains(&format!("name {}", word("é.iso"))), "{head:?}");
    assert!(head.header("upload-expires").unwrap().ends_with("GMT"));

    let wrong = server.send("PATCH", &path, &[TUS, ("Upload-Offset", "0"), PARTIAL], &bytes);
    assert_eq!(wrong.status, 415, "{wrong:?}");
    assert_eq!(server.send("PATCH", &path, &[TUS, OFFSET_STREAM], &bytes).status, 400, "no offset");
    let first = server.send("PATCH", &path, &[TUS, OFFSET_STREAM, ("Upload-Offset", "0")], &bytes[..200_000]);
    assert_eq!((first.status, first.header("upload-offset")), (204, Some("200000")), "{first:?}");
    let over = [TUS, OFFSET_STREAM, ("Upload-Offset", "200000"), ("X-HTTP-Method-Override", "PATCH")];
    let last = server.send("POST", &path, &over, &bytes[200_000..]);
    assert_eq!((last.status, last.header("upload-offset")), (204, Some("500000")), "{last:?}");
    assert!(last.header("content-location").unwrap().ends_with(&image_path(&path)));
    let image = server.get(&image_path(&path));
    assert!(image.body == bytes);
    assert_eq!(image.header("x-image-meta-os"), Some("debian"));

    // Its length told late, and an end before its time.
    let path = path_of(&server.send("POST", "/uploads", &[META[0], META[1], TUS, ("Upload-Defer-Length", "1")], b""));
    assert_eq!(server.send("HEAD", &path, &[TUS], b"").header("upload-defer-length"), Some("1"));
    assert_eq!(server.send("DELETE", &path, &[TUS], b"").status, 204);
    assert_eq!(server.send("HEAD", &path, &[TUS], b"").status, 404);
    let path = path_of(&server.send("POST", "/uploads", &[META[0], META[1], TUS, ("Upload-Defer-Length", "1")], b""));
    let late = [TUS, OFFSET_STREAM, ("Upload-Offset", "0"), ("Upload-Length", "10")];
    assert_eq!(server.send("PATCH", &path, &late, &bytes[..10]).status, 204);
    assert!(server.get(&image_path(&path)).body == bytes[..10]);
    assert_eq!(server.files().0.len(), 2);
    assert!(server.files().1.is_empty());
}

/// tus-js-client sends its metadata in the draft's dialect too, and as drafts of other years have it.
#[test]
fn clients_of_the_drafts_send_metadata() {
    let server = Server::start();
    let word = |text: &str| STANDARD.encode(text);
    let uppy = format!(
        "relativePath {},name {},type ,filetype {},filename {},architecture {}",
        word("null"),
        word("disk.img"),
        word("application/x-raw-disk-image"),
        word("disk.img"),
        word("x86_64")
    );
    for (version, typed) in [("5", false), ("6", true), ("8", true)] {
        let draft = ("Upload-Draft-Interop-Version", version);
        let headers = [draft, ("Upload-Complete", "?0"), ("Upload-Metadata", &uppy)];
        let path = path_of(&server.send("POST", "/uploads", &headers, b""));
        let mut headers = vec![draft, ("Upload-Offset", "0"), ("Upload-Complete", "?1")];
        let untyped = server.send("PATCH", &path, &headers, b"bytes");
        if typed {
            assert_eq!(untyped.status, 415, "{version}");
            headers.push(PARTIAL);
            assert_eq!(server.send("PATCH", &path, &headers, b"bytes").status, 200, "{version}");
        } else {
            assert_eq!(untyped.status, 200, "{version}: {untyped:?}");
        }
        assert_eq!(server.get(&image_path(&path)).header("x-image-meta-name"), Some("disk.img"), "{version}");
    }
    let tus = [TUS, ("Upload-Length", "0"), ("Upload-Metadata", &uppy)];
    assert_eq!(server.send("POST", "/uploads", &tus, b"").status, 201, "Uppy, by tus");
    let named = [
        META[1],
        ("Content-Disposition", "attachment; filename=\"named.iso\""),
        ("Upload-Incomplete", "?0"),
        ("Content-Type", "application/octet-stream"),
    ];
    let whole = server.send("POST", "/uploads", &named, b"bytes");
    assert_eq!((whole.status, whole.json()["image"]["name"].as_str()), (201, Some("named.iso")), "{whole:?}");
}

#[test]
fn what_can_not_begin_leaves_nothing() {
    let server = Server::start();
    let refused = |headers: &[(&str, &str)]| server.send("POST", "/uploads", headers, b"").status;
    assert_eq!(refused(&[("Upload-Length", "5")]), 400, "no name");
    assert_eq!(refused(&[META[0], META[1], ("Upload-Length", "-5")]), 400);
    assert_eq!(refused(&[META[0], META[1], ("Upload-Length", "2000000000000")]), 413);
    assert_eq!(refused(&[META[0], META[1], TUS, ("Upload-Length", "5"), ("Upload-Metadata", "name !!")]), 400);
    assert_eq!(refused(&[META[0], META[1], TUS]), 400, "tus wants a length, or to know that it comes later");
    assert_eq!(refused(&[META[0], META[1], TUS, ("Upload-Length", "5"), ("Upload-Defer-Length", "1")]), 400);
    assert_eq!(refused(&[META[0], META[1], TUS, ("Upload-Defer-Length", "2")]), 400);
    assert_eq!(server.send("POST", "/uploads/nonsense", &META, b"").status, 404);
    assert_eq!(
        server
            .send("PATCH", "/uploads/5e7d0c7b-8b1c-4d20-9d6c-2f4c5c7f3a11", &[PARTIAL, ("Upload-Offset", "0")], b"x")
            .status,
        404
    );
    // A form of one's own is refused with the length that it was to have.
    let path = begin(&server, &[("Upload-Length", "10")]);
    let long = patch(&server, &path, 0, true, &[1; 11]);
    assert_eq!((long.status, long.header("x-visor-error")), (400, Some("mismatch")), "{long:?}");
    assert_eq!(offset(&server, &path).header("upload-offset"), Some("0"));
    let short = server.send("PATCH", &path, &[PARTIAL, ("Upload-Offset", "0"), ("Upload-Length", "9")], b"x");
    assert_eq!(short.status, 409, "{short:?}");
    assert_eq!(server.send("DELETE", &image_path(&path), &[], b"").status, 200);
    assert_eq!(offset(&server, &path).status, 404);
    let path = begin(&server, &[]);
    assert_eq!(patch(&server, &path, 0, false, b"12345").status, 204);
    let short = server.send("PATCH", &path, &[PARTIAL, ("Upload-Offset", "5"), ("Upload-Length", "4")], b"");
    assert_eq!(short.status, 400, "{short:?}");
    let format = [PARTIAL, ("Upload-Offset", "5"), ("Upload-Complete", "?1"), ("x-image-meta-format", "iso")];
    assert_eq!(server.send("PATCH", &path, &format, b"").status, 409, "the file has its name");
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(server.names(""), [""; 0]);
    assert_eq!(server.files(), (vec![], vec![]));
}

#[test]
fn an_image_that_was_there_gets_its_bytes_in_pieces() {
    let server = Server::start();
    let id = server.add("was there", &[], b"")["_id"].as_str().unwrap().to_owned();
    let begun = server.send("POST", &format!("/uploads/{id}"), &[("Upload-Complete", "?0")], b"");
    let path = path_of(&begun);
    assert_eq!(path, format!("/uploads/{id}"));
    assert_eq!(server.send("POST", &format!("/uploads/{id}"), &[], b"").status, 409, "it gets them already");
    assert_eq!(patch(&server, &path, 0, true, b"bytes").status, 200);
    assert_eq!(server.get(&image_path(&path)).body, b"bytes");
}

/// A client whose connection hangs comes back on another one.
#[test]
fn a_new_connection_takes_over_from_a_dead_one() {
    let server = Server::start();
    let bytes = noise(33, 400_000);
    let path = begin(&server, &[]);
    let mut dead = server.connect();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/partial-upload\r\nUpload-Offset: 0\r\n\
         Content-Length: 400000\r\n\r\n"
    );
    dead.write_all(head.as_bytes()).unwrap();
    dead.write_all(&bytes[..100_000]).unwrap();
    eventually("the first bytes are there", || {
        let at = offset(&server, &path).header("upload-offset").unwrap().parse::<usize>().unwrap();
        at == 100_000 || {
            // It was interrupted before they came: this asks again, as a client would.
            dead = server.connect();
            let rest = head.replace("Upload-Offset: 0", &format!("Upload-Offset: {at}"));
            dead.write_all(rest.replace("400000", &(400_000 - at).to_string()).as_bytes()).unwrap();
            dead.write_all(&bytes[at..100_000]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            false
        }
    });
    assert_eq!(patch(&server, &path, 100_000, true, &bytes[100_000..]).status, 200);
    assert!(server.get(&image_path(&path)).body == bytes);
}

#[test]
fn pieces_survive_a_kill() {
    let bytes = noise(34, 2_500_000);
    let server = Server::start();
    let path = begin(&server, &[("Upload-Length", "2500000")]);
    assert_eq!(patch(&server, &path, 0, false, &bytes[..1_100_000]).status, 204);
    let mut torn = server.connect();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/partial-upload\r\nUpload-Offset: 1100000\r\n\
         Content-Length: 1400000\r\n\r\n"
    );
    torn.write_all(head.as_bytes()).unwrap();
    torn.write_all(&bytes[1_100_000..2_200_000]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let dir = server.dir.clone();
    let temp = server.kill();
    let server = Server::on(&dir, &[]);
    let at: usize = offset(&server, &path).header("upload-offset").unwrap().parse().unwrap();
    assert!((1_100_000..=2_200_000).contains(&at), "what was acknowledged is there: {at}");
    assert_eq!(patch(&server, &path, at, true, &bytes[at..]).status, 200);
    let image = server.get(&image_path(&path));
    assert!(image.body == bytes);
    assert_eq!(image.header("etag"), Some(&*format!("\"{}\"", sha256(&bytes))));
    drop(server);
    drop(temp);
}
