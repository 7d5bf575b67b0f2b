//! Uploads in pieces that several clients continue at the same time: none of them may believe that an upload is complete
//! before its image is available.

use std::thread;

use serde_json::json;

use crate::glance::Client;
use crate::harness::{Server, eventually, md5, noise};
use crate::resumable::{META, OFFSET_STREAM, PARTIAL, TUS, begin, image_path, path_of};

/// Bytes of an upload: a few pieces, of which the last is small.
const BYTES: usize = 60_000;

/// The next number of a seeded sequence.
fn next(state: &mut u64) -> usize {
    let bytes = noise(*state, 4);
    *state += 1;
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

/// A client of tus as its protocol has it: it asks for the offset, sends a piece from there, and is done when the offset is
/// the length. Refusals are for other clients' sake, and it asks again.
fn send_all(server: &Server, path: &str, bytes: &[u8], seed: u64) {
    let mut state = seed;
    for _ in 0..10_000 {
        let head = server.send("HEAD", path, &[TUS], b"");
        let Some(offset) = head.header("upload-offset").and_then(|at| at.parse::<usize>().ok()) else {
            assert!([409, 429, 503].contains(&head.status), "{head:?}");
            continue;
        };
        if offset == bytes.len() {
            return;
        }
        let end = bytes.len().min(offset + 1 + next(&mut state) % 30_000);
        let headers = [TUS, OFFSET_STREAM, ("Upload-Offset", &offset.to_string())];
        let sent = server.send("PATCH", path, &headers, &bytes[offset..end]);
        assert!([204, 409, 429, 503].contains(&sent.status), "{sent:?}");
        if sent.status == 204 && sent.header("upload-offset") == Some(&*bytes.len().to_string()) {
            return;
        }
    }
    panic!("no end of {path}");
}

#[test]
fn an_upload_that_a_client_believes_complete_is() {
    let server = Server::start();
    let mut unfinished = Vec::new();
    for round in 0..40_u64 {
        let bytes = noise(round, BYTES);
        let length = bytes.len().to_string();
        let path = path_of(&server.send("POST", "/uploads", &[META[0], META[1], TUS, ("Upload-Length", &length)], b""));
        thread::scope(|scope| {
            for client in 0..3 {
                let (server, path, bytes) = (&server, &path, &bytes);
                scope.spawn(move || {
                    send_all(server, path, bytes, round * 1000 + client * 100);
                    // To this client, the upload is complete.
                    let image = server.get(&image_path(path));
                    assert_eq!(image.header("x-image-meta-status"), Some("available"), "{image:?}");
                    assert!(image.body == *bytes, "{path}");
                });
            }
        });
        let image = server.send("HEAD", &image_path(&path), &[], b"");
        if image.header("x-image-meta-status") != Some("available") {
            unfinished.push(path);
        }
    }
    assert!(unfinished.is_empty(), "{unfinished:?}");
    assert!(server.files().1.is_empty());
}

/// The last piece came without the word that it is the last, as it does when its request is cut between its last byte and the
/// end: the next request finds all announced bytes.
fn all_bytes_and_no_end(server: &Server, bytes: &[u8]) -> String {
    let path = begin(server, &[("Upload-Complete", "?0"), ("Upload-Length", &bytes.len().to_string())]);
    let headers = [PARTIAL, ("Upload-Offset", "0"), ("Upload-Complete", "?0")];
    assert_eq!(server.send("PATCH", &path, &headers, bytes).status, 204);
    let image = server.send("HEAD", &image_path(&path), &[], b"");
    assert_eq!(image.header("x-image-meta-status"), Some("uploading"), "the client may still say more");
    path
}

#[test]
fn a_question_for_the_offset_finishes_an_upload_that_has_all_its_bytes() {
    let server = Server::start();
    let bytes = noise(50, 300_000);
    let path = all_bytes_and_no_end(&server, &bytes);
    let head = server.send("HEAD", &path, &[TUS], b"");
    assert_eq!((head.status, head.header("upload-offset")), (200, Some("300000")), "{head:?}");
    let image = server.get(&image_path(&path));
    assert_eq!(image.header("x-image-meta-status"), Some("available"));
    assert!(image.body == bytes);

    let path = all_bytes_and_no_end(&server, &bytes);
    let last = server.send("PATCH", &path, &[TUS, OFFSET_STREAM, ("Upload-Offset", "300000")], b"");
    assert_eq!((last.status, last.header("upload-offset")), (204, Some("300000")), "{last:?}");
    assert!(server.get(&image_path(&path)).body == bytes);

    // A client that is at a wrong place is told of the right one, and that is the end.
    let path = all_bytes_and_no_end(&server, &bytes);
    let wrong = server.send("PATCH", &path, &[TUS, OFFSET_STREAM, ("Upload-Offset", "7")], b"x");
    assert_eq!((wrong.status, wrong.header("upload-offset")), (409, Some("300000")), "{wrong:?}");
    assert!(server.get(&image_path(&path)).body == bytes);
    assert!(server.files().1.is_empty());
}

#[test]
fn bytes_that_are_not_those_announced_are_told_to_the_request_that_finishes() {
    let server = Server::start();
    let bytes = noise(51, 1000);
    let announced = [("Upload-Complete", "?0"), ("Upload-Length", "1000"), ("x-image-meta-checksum", &md5(b"others"))];
    let path = begin(&server, &announced);
    let headers = [PARTIAL, ("Upload-Offset", "0"), ("Upload-Complete", "?0")];
    assert_eq!(server.send("PATCH", &path, &headers, &bytes).status, 204);
    let head = server.send("HEAD", &path, &[TUS], b"");
    assert_eq!((head.status, head.header("x-visor-error")), (400, Some("mismatch")), "{head:?}");
    assert_eq!(server.send("HEAD", &path, &[TUS], b"").status, 404);
    assert!(server.files().1.is_empty());
}

/// The server died between the last byte and the end; its client believes that it is done, and never comes back.
#[test]
fn a_start_finishes_uploads_that_have_all_their_bytes() {
    let bytes = noise(52, 300_000);
    let server = Server::start();
    let path = all_bytes_and_no_end(&server, &bytes);
    let part = begin(&server, &[TUS, ("Upload-Concat", "partial"), ("Upload-Length", "1000")]);
    let headers = [TUS, OFFSET_STREAM, ("Upload-Offset", "0")];
    assert_eq!(server.send("PATCH", &part, &headers, &bytes[..1000]).status, 204);
    let dir = server.dir.clone();
    let _temp = server.kill();
    let server = Server::on(&dir, &[]);
    eventually("the image is available", || {
        let image = server.send("HEAD", &image_path(&path), &[], b"");
        image.header("x-image-meta-status") == Some("available")
    });
    assert!(server.get(&image_path(&path)).body == bytes);
    // A part waits for the others.
    let head = server.send("HEAD", &part, &[TUS], b"");
    assert_eq!(
        (head.header("upload-offset"), head.header("upload-concat")),
        (Some("1000"), Some("partial")),
        "{head:?}"
    );
}

/// Only an import makes an image of staged bytes.
#[test]
fn staged_bytes_are_finished_by_no_question_and_no_start() {
    let server = Server::start();
    let client = Client::new(&server);
    let id = client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    assert_eq!(client.put(&format!("/v2/images/{id}/stage"), b"staged").status, 204);
    let ask = |server: &Server| server.send("HEAD", &format!("/uploads/{id}"), &[TUS], b"").status;
    assert_eq!((ask(&server), client.status(&id)), (200, "uploading".to_owned()));
    let dir = server.dir.clone();
    let _temp = server.kill();
    let server = Server::on(&dir, &[]);
    let client = Client::new(&server);
    assert_eq!((ask(&server), client.status(&id)), (200, "uploading".to_owned()));
    let direct = json!({ "method": { "name": "glance-direct" } });
    assert_eq!(client.post(&format!("/v2/images/{id}/import"), &direct).status, 202);
    eventually("it is active", || client.status(&id) == "active");
}
