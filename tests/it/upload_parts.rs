//! Uploads that are put together of parts, as tus has them.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Answer, Server, eventually, noise};
use crate::resumable::{META, OFFSET_STREAM, PARTIAL, TUS, begin, image_path, path_of};
use crate::secure::Client;

/// As tus-js-client does with `parallelUploads`: parts without metadata, and an upload that is made of them.
#[test]
fn parts_that_arrive_beside_each_other() {
    let server = Server::start();
    let bytes = noise(33, 700_001);
    assert!(server.send("OPTIONS", "/uploads", &[], b"").header("tus-extension").unwrap().contains("concatenation"));
    let partial = ("Upload-Concat", "partial");
    let begin =
        |length: &str| path_of(&server.send("POST", "/uploads", &[TUS, partial, ("Upload-Length", length)], b""));
    let (first, second) = (begin("300000"), begin("400001"));
    let send = |path: &str, offset: &str, bytes: &[u8]| {
        let answer = server.send("PATCH", path, &[TUS, OFFSET_STREAM, ("Upload-Offset", offset)], bytes);
        assert_eq!((answer.status, answer.header("content-location")), (204, None), "a part is no image: {answer:?}");
    };
    send(&second, "0", &bytes[300_000..]);
    send(&first, "0", &bytes[..100_000]);
    let meta = format!("filename {},architecture {}", STANDARD.encode("joined.img"), STANDARD.encode("x86_64"));
    let join = |concat: &str| {
        server.send("POST", "/uploads", &[TUS, ("Upload-Concat", concat), ("Upload-Metadata", &meta)], b"")
    };
    let url = |path: &str| format!("http://{}{path}", server.address());
    let both = format!("final;{} {second}", url(&first));
    let early = join(&both);
    assert_eq!((early.status, early.header("x-visor-error")), (409, Some("part-incomplete")), "{early:?}");
    send(&first, "100000", &bytes[100_000..300_000]);
    let head = server.send("HEAD", &first, &[TUS], b"");
    assert_eq!((head.header("upload-offset"), head.header("upload-length")), (Some("300000"), Some("300000")));
    assert_eq!(head.header("upload-concat"), Some("partial"));
    for (bad, status) in [
        ("final;".to_owned(), 400),
        ("final;nonsense".to_owned(), 400),
        ("half".to_owned(), 400),
        (format!("final;{first} {first}"), 400),
        ("final;/uploads/5e7d0c7b-8b1c-4d20-9d6c-2f4c5c7f3a11".to_owned(), 404),
    ] {
        assert_eq!(join(&bad).status, status, "{bad}");
    }
    let done = join(&both);
    let image = image_path(&path_of(&done));
    assert_eq!(done.header("upload-offset"), Some("700001"), "{done:?}");
    assert!(server.get(&image).body == bytes);
    assert_eq!(server.send("HEAD", &image, &[], b"").header("x-image-meta-name"), Some("joined.img"));
    for part in [&first, &second] {
        assert_eq!(server.send("HEAD", part, &[TUS], b"").status, 404, "it is in the image now");
    }
    assert_eq!(
        (server.files().0.len(), server.files().1.len(), server.names("")),
        (1, 0, vec!["joined.img".to_owned()])
    );
}

/// Parts survive the server, and are nothing that an ordinary upload could be made of.
#[test]
fn parts_survive_a_kill() {
    let server = Server::start();
    let partial = [TUS, ("Upload-Concat", "partial"), ("Upload-Length", "3")];
    let part = path_of(&server.send("POST", "/uploads", &partial, b""));
    assert_eq!(server.send("PATCH", &part, &[TUS, OFFSET_STREAM, ("Upload-Offset", "0")], b"abc").status, 204);
    let temp = server.kill().unwrap();
    let server = Server::on(temp.path(), &[]);
    let whole = begin(&server, &[TUS, ("Upload-Length", "3")]);
    let join = |parts: &str| {
        let concat = format!("final;{parts}");
        server.send("POST", "/uploads", &[META[0], META[1], TUS, ("Upload-Concat", &concat)], b"")
    };
    assert_eq!(join(&whole).status, 400, "not a part");
    let done = join(&part);
    assert_eq!(server.get(&image_path(&path_of(&done))).body, b"abc");
}

/// Begins a part, and sends its bytes.
fn part(server: &Server, bytes: &[u8]) -> String {
    let length = bytes.len().to_string();
    let headers = [TUS, ("Upload-Concat", "partial"), ("Upload-Length", &length)];
    let part = path_of(&server.send("POST", "/uploads", &headers, b""));
    assert_eq!(server.send("PATCH", &part, &[TUS, OFFSET_STREAM, ("Upload-Offset", "0")], bytes).status, 204);
    part
}

fn join(server: &Server, parts: &[&String], more: &[(&str, &str)]) -> Answer {
    let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    let concat = format!("final;{}", parts.join(" "));
    server.send("POST", "/uploads", &[&[META[0], META[1], TUS, ("Upload-Concat", &*concat)], more].concat(), b"")
}

/// A proxy that gives up before the copy is made: the copy is made all the same, and asking again shows it.
#[test]
fn a_client_that_does_not_wait_leaves_no_half() {
    let server = Server::secure(&[]);
    let bytes = noise(35, 48 << 20);
    let (first, second) = (part(&server, &bytes[..32 << 20]), part(&server, &bytes[32 << 20..]));
    let mut gone = Client::new(&server, None).connect();
    let head = format!(
        "POST /uploads HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Concat: final;{first} {second}\r\n\
         {}: {}\r\n{}: {}\r\nContent-Length: 0\r\n\r\n",
        META[0].0, META[0].1, META[1].0, META[1].1
    );
    gone.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    drop(gone);
    let mut done = join(&server, &[&first, &second], &[]);
    eventually("it is made", || {
        if done.status != 201 {
            done = join(&server, &[&first, &second], &[]);
        }
        done.status == 201
    });
    let made = path_of(&done);
    let again = join(&server, &[&first, &second], &[]);
    assert_eq!((path_of(&again), again.header("upload-offset")), (made.clone(), done.header("upload-offset")));
    assert!(server.get(&image_path(&made)).body == bytes);
    assert_eq!(
        (server.names("").len(), server.files().0.len(), server.files().1.len()),
        (1, 1, 0),
        "nothing is left over"
    );
    assert_eq!(join(&server, &[&second, &first], &[]).status, 404, "another order is another upload");
    assert_eq!(server.send("DELETE", &image_path(&made), &[], b"").status, 200);
    assert_eq!(join(&server, &[&first, &second], &[]).status, 404);
}

#[test]
fn a_part_is_no_upload_by_itself() {
    let server = Server::start();
    let path = part(&server, b"abc");
    let alone = [PARTIAL, ("Upload-Offset", "3"), ("Upload-Complete", "?1")];
    let refused = server.send("PATCH", &path, &alone, b"");
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text().contains("together with the others"), "{refused:?}");
    assert_eq!(server.send("HEAD", &path, &[TUS], b"").header("upload-offset"), Some("3"), "its bytes stay");
    assert_eq!(join(&server, &[&path], &[]).status, 201);
}

#[test]
fn what_can_not_be_done_with_parts_is_refused() {
    let server = Server::start();
    let (whole, path) = (server.add("was there", &[], b""), part(&server, b"abc"));
    let partial = [TUS, ("Upload-Concat", "partial"), ("Upload-Length", "3")];
    let into = server.send("POST", &format!("/uploads/{}", whole["_id"].as_str().unwrap()), &partial, b"");
    assert_eq!(into.status, 400, "{into:?}");
    let concat = format!("final;{path}");
    let with_bytes = [META[0], META[1], TUS, ("Upload-Concat", &concat)];
    assert_eq!(server.send("POST", "/uploads", &with_bytes, b"abc").status, 400);
    assert_eq!(join(&server, &[&path], &[("Upload-Length", "4")]).status, 400);
    assert_eq!(server.send("POST", "/uploads", &[META[0], META[1], ("Upload-Concat", "partial")], b"").status, 400);
    for name in ["Content-Digest", "Repr-Digest", "Digest", "Upload-Checksum"] {
        for headers in [&partial[..], &[META[0], META[1]]] {
            let refused = server.send("POST", "/uploads", &[headers, &[(name, "sha-256=:eA==:")]].concat(), b"");
            assert!(refused.status == 400 && refused.text().contains(name), "{refused:?}");
        }
    }
    let joined = join(&server, &[&path], &[("Upload-Length", "3")]);
    assert_eq!(server.get(&image_path(&path_of(&joined))).body, b"abc");
    // Into an image that was there.
    let path = part(&server, b"def");
    let concat = [TUS, ("Upload-Concat", &*format!("final;{path}"))];
    let into = format!("/uploads/{}", whole["_id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(path_of(&server.send("POST", &into, &concat, b"")), into);
    }
    assert_eq!(server.get(&image_path(&into)).body, b"def");
}
