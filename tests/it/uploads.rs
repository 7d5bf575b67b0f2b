//! Bytes on their way in: every way to send them, and every way for them not to arrive.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Answer, Server, eventually, iso, md5, noise, qcow2, send_and_leave, sha256};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const NAME: (&str, &str) = ("x-image-meta-name", "a");
const ARCH: (&str, &str) = ("x-image-meta-architecture", "i386");

fn path(image: &Value) -> String {
    format!("/images/{}", image["_id"].as_str().unwrap())
}

/// Nothing is left of an upload that failed.
fn nothing_left(server: &Server) {
    eventually("an upload that failed is gone", || server.names("").is_empty() && server.files() == (vec![], vec![]));
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[test]
fn sized_and_chunked_bodies_arrive_whole() {
    let server = Server::start();
    for (seed, length) in [(1, 1), (2, 65_536), (3, (1 << 20) - 1), (4, 1 << 20), (5, (1 << 20) + 1), (6, 5_000_001)] {
        let body = noise(seed, length);
        let sized = server.send("POST", "/images", &[NAME, ARCH, OCTETS], &body);
        let wire = chunked(&body, 10_007);
        let chunked = server.send("POST", "/images", &[NAME, ARCH, OCTETS, ("Transfer-Encoding", "chunked")], &wire);
        for answer in [sized, chunked] {
            let image = answer.json()["image"].clone();
            assert_eq!((&image["status"], &image["store"]), (&"available".into(), &"file".into()));
            assert_eq!((&image["size"], &image["checksum"]), (&length.into(), &md5(&body).into()));
            let back = server.get(&path(&image));
            assert_eq!(back.header("etag"), Some(format!("\"{}\"", sha256(&body)).as_str()));
            assert!(back.body == body, "{length} bytes come back as they went");
        }
    }
}

#[test]
fn a_body_of_no_bytes_is_no_body() {
    let server = Server::start();
    for framing in [("Content-Length", "0"), ("Transfer-Encoding", "chunked")] {
        let body: &[u8] = if framing.1 == "chunked" { b"0\r\n\r\n" } else { b"" };
        let answer = server.send("POST", "/images", &[NAME, ARCH, framing], body);
        assert_eq!(answer.json()["image"]["status"], "locked", "{framing:?}");
    }
}

#[test]
fn claims_are_verified_and_nothing_is_kept_of_what_is_wrong() {
    let server = Server::start();
    let body = b"the very bytes";
    let (md5, sha256) = (md5(body), sha256(body));
    for (name, value, fits) in [
        ("x-image-meta-checksum", md5.as_str(), true),
        ("x-image-meta-checksum", sha256.as_str(), true),
        ("x-image-meta-size", "14", true),
        ("x-image-meta-checksum", "00000000000000000000000000000000", false),
        ("x-image-meta-checksum", &"0".repeat(64), false),
        ("x-image-meta-size", "13", false),
        ("x-image-meta-size", "15", false),
    ] {
        for chunks in [false, true] {
            let mut headers = vec![NAME, ARCH, OCTETS, (name, value)];
            let wire = if chunks { chunked(body, 5) } else { body.to_vec() };
            headers.extend(chunks.then_some(("Transfer-Encoding", "chunked")));
            let answer = server.send("POST", "/images", &headers, &wire);
            assert_eq!(answer.status, if fits { 200 } else { 400 }, "{name}: {value}: {answer:?}");
            if fits {
                server.send("DELETE", "/all", &[("x-visor-confirm", "all")], b"");
            }
            nothing_left(&server);
        }
    }
}

#[test]
fn a_body_cut_short_leaves_nothing() {
    let server = Server::start();
    let head = format!(
        "POST /images HTTP/1.1\r\nHost: {}\r\nx-image-meta-name: a\r\nx-image-meta-architecture: i386\r\n\
         Content-Type: application/octet-stream\r\n",
        server.address()
    );
    let body = noise(7, 3_000_000);
    for sent in [1, 1000, 2_999_999] {
        let mut sized = format!("{head}Content-Length: 3000000\r\n\r\n").into_bytes();
        sized.extend(&body[..sent]);
        send_and_leave(&server, &sized);
        let mut cut = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        let wire = chunked(&body, 100_000);
        cut.extend(&wire[..wire.len() * sent / 3_000_000]);
        send_and_leave(&server, &cut);
        nothing_left(&server);
    }
    let bad = format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    assert_eq!(Answer::parse(&server.raw(bad.as_bytes()), false).status, 400);
    nothing_left(&server);
}

#[test]
fn a_failed_update_may_be_tried_again() {
    let server = Server::start();
    let image = server.add("a", &[], b"");
    let path = path(&image);
    let contradicted = [OCTETS, ("x-image-meta-size", "3")];
    assert_eq!(server.send("PUT", &path, &contradicted, b"bytes").status, 400);
    let status = server.send("HEAD", &path, &[], b"");
    assert_eq!(status.header("x-image-meta-status"), Some("locked"), "refused before the first byte");
    let wrong = [OCTETS, ("x-image-meta-checksum", "00000000000000000000000000000000")];
    assert_eq!(server.send("PUT", &path, &wrong, b"bytes").status, 400);
    assert_eq!(server.send("HEAD", &path, &[], b"").header("x-image-meta-status"), Some("error"));
    assert_eq!(server.files(), (vec![], vec![]));
    let answer = server.send("PUT", &path, &[OCTETS, ("x-image-meta-format", "iso")], &iso());
    assert_eq!(answer.json()["image"]["status"], "available", "{answer:?}");
    assert!(server.get(&path).body == iso());
    assert_eq!(server.files().0, [format!("{}.iso", image["_id"].as_str().unwrap())]);
}

#[test]
fn of_two_uploads_into_one_image_one_wins() {
    let server = Server::start();
    let path = path(&server.add("a", &[], b""));
    let bodies = [noise(1, 2_000_000), noise(2, 2_000_000)];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let sent: Vec<_> =
            bodies.iter().map(|body| scope.spawn(|| server.send("PUT", &path, &[OCTETS], body).status)).collect();
        sent.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&409), "{statuses:?}");
    let winner = &bodies[statuses.iter().position(|status| *status == 200).unwrap()];
    assert!(server.get(&path).body == *winner);
}

#[test]
fn deleting_ends_an_upload_and_leaves_nothing() {
    let server = Server::start();
    let path = path(&server.add("a", &[], b""));
    let mut stream = server.connect();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhalf-",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    eventually("uploading", || server.send("HEAD", &path, &[], b"").header("x-image-meta-status") == Some("uploading"));
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
    stream.write_all(b"done.").unwrap();
    let mut answer = vec![0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 404");
    nothing_left(&server);
}

#[test]
fn a_silent_or_dripping_body_is_given_up() {
    let server = Server::configured("[upload]\nidle = \"1s\"\nrate_min = \"1 KiB\"\n");
    let head = format!(
        "POST /images HTTP/1.1\r\nHost: {}\r\nx-image-meta-name: a\r\nx-image-meta-architecture: i386\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nx",
        server.address()
    );
    for drips in [false, true] {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = [0; 12];
        eventually("the body is given up", || {
            if drips {
                let _ = stream.write_all(b"x");
            }
            std::io::Read::read_exact(&mut stream, &mut answer).is_ok()
        });
        assert_eq!(&answer, b"HTTP/1.1 408");
        nothing_left(&server);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_sent() {
    let server = Server::configured("[upload]\nimage_max = \"1 MiB\"\nfree_min = \"1 MiB\"\n");
    let announced = [NAME, ARCH, OCTETS, ("Content-Length", "2000000")];
    assert_eq!(server.send("POST", "/images", &announced, b"x").status, 413);
    let wire = chunked(&noise(3, 2_000_000), 50_000);
    let answer = server.send("POST", "/images", &[NAME, ARCH, OCTETS, ("Transfer-Encoding", "chunked")], &wire);
    assert_eq!((answer.status, &answer.json()["code"]), (413, &413.into()));
    nothing_left(&server);

    let server = Server::configured("[upload]\nfree_min = \"1000 TiB\"\n");
    let answer = server.send("POST", "/images", &[NAME, ARCH, OCTETS], b"x");
    assert_eq!(answer.status, 507, "{answer:?}");
    assert!(answer.json()["message"].as_str().unwrap().contains("too few"));
    nothing_left(&server);
}

/// The sender is told, is not reset before it can have read so, and is not listened to for ever.
#[test]
fn an_endless_body_that_is_refused_is_answered_and_ended() {
    let server = Server::start();
    let head = format!(
        "PUT /images/{} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0".repeat(36),
        server.address()
    );
    let piece = chunked(&noise(1, 50_000), 50_000);
    let piece = &piece[..piece.len() - 5];
    let mut stream = server.connect();
    let began = std::time::Instant::now();
    stream.write_all(head.as_bytes()).unwrap();
    while stream.write_all(piece).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(30), "still listened to");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(began.elapsed() > Duration::from_millis(500), "the answer had no time to arrive");

    // What is small and here already costs nobody a connection.
    let mut stream = server.connect();
    for _ in 0..2 {
        stream.write_all(format!("{head}3\r\nabc\r\n0\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = vec![0; 4096];
        let length = stream.read(&mut bytes).unwrap();
        let answer = Answer::parse(&bytes[..length], false);
        assert_eq!((answer.status, answer.header("connection")), (404, None), "{answer:?}");
    }
}

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, file, value) in parts {
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        bytes.extend(format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        bytes.extend(*value);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"--XX--\r\n");
    bytes
}

const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");

#[test]
fn forms_with_the_fields_on_either_side_of_the_file() {
    let server = Server::start();
    let file = qcow2(&noise(9, 2_500_000));
    let name: (&str, Option<&str>, &[u8]) = ("name", None, b"from a form");
    let arch: (&str, Option<&str>, &[u8]) = ("architecture", None, b"amd64");
    let os: (&str, Option<&str>, &[u8]) = ("os", None, "täst".as_bytes());
    let part: (&str, Option<&str>, &[u8]) = ("file", Some("disk.qcow2"), &file);
    for parts in [[name, arch, os, part], [part, name, arch, os], [name, part, arch, os]] {
        let answer = server.send("POST", "/images", &[FORM], &form(&parts));
        let image = answer.json()["image"].clone();
        assert_eq!((&image["name"], &image["architecture"]), (&"from a form".into(), &"x86_64".into()), "{answer:?}");
        assert_eq!((&image["os"], &image["format"]), (&"täst".into(), &"qcow2".into()));
        assert!(server.get(&path(&image)).body == file);
    }
    let without = server.send("POST", "/images", &[FORM], &form(&[name, arch]));
    assert_eq!(without.json()["image"]["status"], "locked");
    let update = format!("/images/{}", without.json()["image"]["_id"].as_str().unwrap());
    let updated = server.send("PUT", &update, &[FORM], &form(&[part]));
    assert_eq!(updated.json()["image"]["status"], "available", "{updated:?}");
}

/// What a browser sends when no file was chosen; and a type in capitals.
#[test]
fn a_form_without_a_file_is_metadata() {
    let server = Server::start();
    let body = form(&[("name", None, b"a"), ("architecture", None, b"amd64"), ("file", Some(""), b"")]);
    let answer = server.send("POST", "/images", &[("Content-Type", "Multipart/Form-Data; boundary=XX")], &body);
    assert_eq!(answer.json()["image"]["status"], "locked", "{answer:?}");
}

#[test]
fn forms_that_can_not_be_leave_nothing() {
    let server = Server::start();
    let name: (&str, Option<&str>, &[u8]) = ("name", None, b"a");
    let arch: (&str, Option<&str>, &[u8]) = ("architecture", None, b"amd64");
    let part: (&str, Option<&str>, &[u8]) = ("file", Some("x"), b"bytes");
    let whole = form(&[name, arch, part]);
    for (body, message) in [
        (form(&[part, name]), "These fields are required: architecture"),
        (form(&[name, arch, part, part]), "one part 'file'"),
        (form(&[part, name, ("architecture", None, b"vax")]), "Invalid architecture"),
        (form(&[part, name, arch, ("checksum", None, b"00000000000000000000000000000000")]), "md5"),
        (form(&[part, name, arch, ("size", None, b"6")]), "5 bytes, not 6"),
        (form(&[name, arch, ("location", None, b"http://127.0.0.1/"), part]), "location"),
        (form(&[name, arch, ("a b", None, b"x"), part]), "name of an attribute"),
        (form(&[name, arch, ("image", Some("a.iso"), b"bytes")]), "in the part 'file'"),
        (form(&[name, arch, ("file", Some("a.iso"), b"")]), "is empty"),
        (form(&[name, arch, ("note", None, &[0xff]), part]), "UTF-8"),
        (form(&[name, arch, ("note", None, &[b'x'; 70_000]), part]), "longer"),
        (whole[..whole.len() - 20].to_vec(), "malformed or ended"),
        (b"no form at all".to_vec(), "malformed or ended"),
    ] {
        let answer = server.send("POST", "/images", &[FORM], &body);
        assert_eq!(answer.status, 400, "{message}: {answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{message}: {answer:?}");
        nothing_left(&server);
    }
}

#[test]
fn bytes_that_are_there_already_are_stored_once() {
    use std::os::unix::fs::MetadataExt;
    let server = Server::start();
    let bytes = noise(20, 3_000_000);
    let [first, second, other] = [&bytes[..], &bytes, &bytes[1..]]
        .map(|bytes| server.add("twin", &[], bytes)["_id"].as_str().unwrap().to_owned());
    let inode = |id: &str| std::fs::metadata(server.dir.join(format!("images/{id}.none"))).unwrap().ino();
    assert_eq!(inode(&first), inode(&second));
    assert_ne!(inode(&first), inode(&other));
    assert!(server.files().1.is_empty(), "what was staged is gone");
    assert_eq!(server.send("DELETE", &format!("/images/{first}"), &[], b"").status, 200);
    assert!(server.get(&format!("/images/{second}")).body == bytes);
}
