//! What `kill -9`, a damaged directory and a second server do: an acknowledged change is there, half a one is not.

use std::io::Write;
use std::time::Duration;

use crate::harness::{Server, eventually, noise, sha256, visor};

/// Rounds of the crash test; more by `VISOR_CRASH_ROUNDS`.
fn rounds() -> u64 {
    std::env::var("VISOR_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Uploads without end until the server is gone; what was acknowledged comes back.
fn upload_until_gone(address: &str, seed: u64) -> Vec<(String, String)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let body = noise(seed * 1000 + number, 1 + (noise(seed + number, 2)[0] as usize) * 4000);
        let head = format!(
            "POST /images HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nx-image-meta-name: a\r\n\
             x-image-meta-architecture: i386\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = std::net::TcpStream::connect(address).and_then(|mut stream| {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer)?;
            Ok(answer)
        });
        match sent {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.ends_with('}') => {
                let id = answer.split("\"_id\":\"").nth(1).unwrap()[..36].to_owned();
                acknowledged.push((id, sha256(&body)));
            }
            _ => break,
        }
    }
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_half_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut acknowledged = Vec::new();
    for round in 0..rounds() {
        let server = Server::on(&data, &[]);
        let address = server.address().to_owned();
        let senders: Vec<_> = (0..2)
            .map(|n| {
                let address = address.clone();
                std::thread::spawn(move || upload_until_gone(&address, round * 10 + n))
            })
            .collect();
        if round == 0 {
            // On a machine that is busy no delay is long enough to be sure of it.
            eventually("something arrived", || server.get("/images").text().contains("size"));
        }
        std::thread::sleep(Duration::from_millis(20 + (round * 37) % 200));
        server.kill();
        for sender in senders {
            acknowledged.extend(sender.join().unwrap());
        }
        let server = Server::on(&data, &[]);
        for (id, digest) in &acknowledged {
            let image = server.get(&format!("/images/{id}"));
            assert_eq!(image.status, 200, "{id}: {image:?}");
            assert_eq!(sha256(&image.body), *digest, "{id}");
        }
        let listed = if server.names("").is_empty() {
            Vec::new()
        } else {
            server.get("/images/detail").json()["images"].as_array().unwrap().clone()
        };
        for image in &listed {
            assert_eq!(image["status"], "available", "an upload that was cut is gone: {image}");
        }
        let (images, staging) = server.files();
        assert_eq!((images.len(), staging.len()), (listed.len(), 0), "a file an image, and no other");
    }
    assert!(!acknowledged.is_empty(), "the test sent something");
}

#[test]
fn the_database_may_vanish_or_rot() {
    type Harm = fn(&std::path::Path);
    let harms: [Harm; 3] = [
        |sled| std::fs::remove_dir_all(sled).unwrap(),
        |sled| std::fs::write(sled.join("db"), vec![0x5a; 300_000]).unwrap(),
        |sled| std::fs::write(sled.join("snap.00000000FFFFFFFF.generating"), b"half").unwrap(),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let server = Server::on(&data, &[]);
        server.add("a", &[("x-image-meta-os", "linux")], b"bytes");
        server.add("b", &[], b"");
        if number == 0 {
            drop(server.stop())
        } else {
            drop(server.kill())
        }
        harm(&data.join("catalog/sled"));
        let server = Server::on(&data, &[]);
        assert_eq!(server.names("?sort=name&dir=desc"), ["b", "a"]);
        assert_eq!(server.names("?os=linux"), ["a"]);
        if number < 2 {
            // What sled takes for an empty database is brought forward; what it does not, or finds missing, is rebuilt.
            let log = server.log();
            assert!(log.contains("rebuilt from the journal") || log.contains("brought forward"), "{log}");
        }
    }
}

#[test]
fn a_copy_of_a_running_server_is_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::on(&data, &[]);
    let address = server.address().to_owned();
    let sender = std::thread::spawn(move || upload_until_gone(&address, 77));
    for copy in 0..3 {
        std::thread::sleep(Duration::from_millis(100));
        let before: Vec<String> = server.get("/images?status=available").json()["images"]
            .as_array()
            .map(|images| images.iter().map(|image| image["_id"].as_str().unwrap().to_owned()).collect())
            .unwrap_or_default();
        let there = dir.path().join(format!("copy-{copy}"));
        // Files come and go while they are copied; what was there before the copy began has to be in it.
        let _ = std::process::Command::new("cp").arg("-a").arg(&data).arg(&there).output().unwrap();
        let restored = Server::on(&there, &[]);
        for id in &before {
            let (was, is) = (server.get(&format!("/images/{id}")), restored.get(&format!("/images/{id}")));
            assert_eq!((is.status, is.header("x-image-meta-status")), (200, Some("available")), "{id}");
            assert!(was.body == is.body, "{id}");
        }
    }
    server.kill();
    sender.join().unwrap();
}

#[test]
fn there_is_one_server_a_directory() {
    let server = Server::start();
    let second =
        visor().args(["serve", "--listen", "127.0.0.1:0", "--no-tls", "--data-dir"]).arg(&server.dir).output().unwrap();
    assert_eq!(second.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another visor"), "{second:?}");
    assert_eq!(server.get("/status").status, 200);
}

#[test]
fn a_directory_that_can_not_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/nowhere".into()] {
        let done = visor().args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&path).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.starts_with("error: cannot use the data directory:"), "{text}");
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
}

#[test]
fn a_download_goes_on_after_the_image_is_deleted() {
    let server = Server::start();
    let body = noise(5, 20_000_000);
    let image = server.add("a", &[], &body);
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address()).unwrap();
    let mut first = vec![0; 1000];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
    assert_eq!(server.files().0, Vec::<String>::new());
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).unwrap();
    assert!(rest.ends_with(&body[body.len() - 1_000_000..]) && rest.len() + 1000 > body.len());
}

#[test]
fn stopping_lets_a_transfer_end() {
    let server = Server::start();
    let mut stream = server.connect();
    write!(
        stream,
        "POST /images HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nx-image-meta-name: a\r\n\
         x-image-meta-architecture: i386\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhalf-",
        server.address()
    )
    .unwrap();
    crate::harness::eventually("uploading", || !server.names("").is_empty());
    let finisher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stream.write_all(b"done.").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    });
    let (_dir, clean) = server.stop();
    assert!(clean);
    assert!(finisher.join().unwrap().contains("\"status\":\"available\""));
}
