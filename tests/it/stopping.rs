//! The end of a server that is told to stop: once, and running transfers may end; twice, and it ends at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{Server, eventually, noise};
use crate::resumable::{OFFSET_STREAM, TUS, begin, image_path};

/// Transfers could take longer than any of these tests waits.
const DRAIN: &str = "[server]\ndrain = \"10m\"\n";

fn signal(server: &Server, name: &str) {
    let done = Command::new("kill").args([name, &server.pid().to_string()]).status().unwrap();
    assert!(done.success());
}

/// The head of a tus upload's last piece, and the first of its bytes.
fn half(server: &Server, path: &str, from: usize, bytes: &[u8], sent: usize) -> TcpStream {
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n\
         Upload-Offset: {from}\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..sent]).unwrap();
    stream
}

/// An upload in one request that does not go on.
fn hanging_upload(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    write!(
        stream,
        "POST /images HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-image-meta-name: a\r\n\
         x-image-meta-architecture: i386\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhalf-"
    )
    .unwrap();
    eventually("uploading", || server.names("").contains(&"a".to_owned()));
    stream
}

/// A download whose client reads nothing but the beginning.
fn hanging_download(server: &Server) -> TcpStream {
    let image = server.add("large", &[], &noise(70, 40_000_000));
    let mut stream = server.connect();
    write!(stream, "GET /images/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", image["_id"].as_str().unwrap()).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for second in ["-TERM", "-INT"] {
        let mut server = Server::configured(DRAIN);
        let _transfers = (hanging_download(&server), hanging_upload(&server));
        signal(&server, "-TERM");
        eventually("the log says what it waits for", || {
            server.log().contains("waiting for 1 upload, 1 download and 0 jobs")
        });
        assert!(!server.has_ended());
        signal(&server, second);
        eventually("it has ended", || server.has_ended());
    }
}

#[test]
fn a_stop_parks_uploads_in_pieces_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("visor.toml");
    std::fs::write(&config, DRAIN).unwrap();
    let mut server = Server::on(&data, &["--config", config.to_str().unwrap()]);
    let bytes = noise(71, 3_000_000);
    let paths: Vec<_> = (0..3).map(|_| begin(&server, &[TUS, ("Upload-Length", "3000000")])).collect();
    let (acknowledged, sent) = (500_000, [1_500_000, 700_000, 10]);
    for path in &paths {
        let first = [TUS, OFFSET_STREAM, ("Upload-Offset", "0")];
        assert_eq!(server.send("PATCH", path, &first, &bytes[..acknowledged]).status, 204);
    }
    let rest = &bytes[acknowledged..];
    let mut streams: Vec<_> =
        paths.iter().zip(sent).map(|(path, sent)| half(&server, path, acknowledged, rest, sent)).collect();
    // What has arrived is not seen from outside: to ask would be to take the upload over.
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&server, "-TERM");
    for stream in &mut streams {
        let mut answer = Vec::new();
        // The connection ends, though its client has not sent all.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    eventually("it has ended, with nothing to wait for", || server.has_ended());
    drop(server);
    let server = Server::on(&data, &[]);
    for (path, sent) in paths.iter().zip(sent) {
        let head = server.send("HEAD", path, &[TUS], b"");
        let offset: usize = head.header("upload-offset").unwrap().parse().unwrap();
        assert!((acknowledged..=acknowledged + sent).contains(&offset), "{offset} of {sent}");
        let rest = [TUS, OFFSET_STREAM, ("Upload-Offset", &*offset.to_string())];
        assert_eq!(server.send("PATCH", path, &rest, &bytes[offset..]).status, 204);
        assert!(server.get(&image_path(path)).body == bytes);
    }
}

/// Of five uploads and five downloads that a stop meets, those end that go on, and nothing that was acknowledged is lost.
#[test]
fn transfers_that_go_on_may_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::on(&data, &[]);
    let large = noise(72, 8_000_000);
    let id = server.add("large", &[], &large)["_id"].as_str().unwrap().to_owned();
    let uploads: Vec<_> = (0..5)
        .map(|n| {
            let mut stream = server.connect();
            write!(
                stream,
                "POST /images HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-image-meta-name: up{n}\r\n\
                 x-image-meta-architecture: i386\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhalf-"
            )
            .unwrap();
            eventually("uploading", || server.names("").contains(&format!("up{n}")));
            stream
        })
        .collect();
    let downloads: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = server.connect();
            write!(stream, "GET /images/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            stream
        })
        .collect();
    signal(&server, "-TERM");
    eventually("it takes no more connections", || TcpStream::connect(server.address()).is_err());
    for mut stream in uploads {
        stream.write_all(b"done.").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"status\":\"available\""), "{answer}");
    }
    for mut stream in downloads {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(&large[1000..]));
    }
    eventually("it has ended", || server.has_ended());
    drop(server);
    let server = Server::on(&data, &[]);
    assert_eq!(server.names("?status=available").len(), 6);
}
