//! Bytes on their way out, on connections that live on, stall, break off, or ask for much at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Answer, Server, eventually, noise};

const MIB: usize = 1 << 20;

/// An image in a server, and the path of its bytes.
fn added(server: &Server, bytes: &[u8]) -> String {
    format!("/images/{}", server.add("image", &[], bytes)["_id"].as_str().unwrap())
}

fn request(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Reads one answer of a connection that has more.
fn answer(from: &mut BufReader<TcpStream>, head: bool) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        assert!(from.read_until(b'\n', &mut bytes).unwrap() > 0, "no answer");
    }
    let mut answer = Answer::parse(&bytes, head);
    let length = answer.header("content-length").unwrap().parse().unwrap();
    if !head {
        answer.body = vec![0; length];
        from.read_exact(&mut answer.body).unwrap();
    }
    answer
}

#[test]
fn requests_one_behind_the_other_are_answered_in_their_order() {
    let server = Server::start();
    let (small, large) = (noise(1, 1000), noise(2, 9 * MIB));
    let (small_path, large_path) = (added(&server, &small), added(&server, &large));
    let mut connection = server.connect();
    let range = "Range: bytes=5000000-8999999\r\n";
    for bytes in [
        request("GET", &small_path, ""),
        request("GET", &large_path, ""),
        request("GET", "/status", ""),
        request("GET", &large_path, range),
        request("GET", &large_path, "Range: bytes=1-4, 9-10\r\n"),
        request("GET", &small_path, ""),
    ] {
        connection.write_all(&bytes).unwrap();
    }
    let mut from = BufReader::new(connection);
    assert_eq!(answer(&mut from, false).body, small);
    assert!(answer(&mut from, false).body == large);
    assert_eq!(answer(&mut from, false).body, b"OK");
    let part = answer(&mut from, false);
    assert_eq!((part.status, part.header("content-length")), (206, Some("4000000")));
    assert!(part.body == large[5_000_000..9_000_000]);
    assert_eq!(answer(&mut from, false).status, 206);
    assert_eq!(answer(&mut from, false).body, small);
    // And the connection lives on.
    from.get_mut().write_all(&request("HEAD", &large_path, "")).unwrap();
    assert_eq!(answer(&mut from, true).header("content-length"), Some("9437184"));
    from.get_mut().write_all(&request("GET", &large_path, "Connection: close\r\n")).unwrap();
    assert!(answer(&mut from, false).body == large);
    assert_eq!(from.read(&mut [0]).unwrap(), 0, "closed as asked");
}

#[test]
fn what_is_deleted_while_it_is_read_is_delivered_whole() {
    let server = Server::start();
    let bytes = noise(3, 24 * MIB);
    let path = added(&server, &bytes);
    let mut connection = server.connect();
    connection.write_all(&request("GET", &path, "Connection: close\r\n")).unwrap();
    let mut begin = vec![0; MIB];
    connection.read_exact(&mut begin).unwrap();
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
    assert!(server.files().0.is_empty());
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    begin.extend(rest);
    assert!(Answer::parse(&begin, false).body == bytes);
}

#[test]
fn a_file_that_is_cut_under_its_reader_ends_the_connection_early() {
    let server = Server::start();
    let path = added(&server, &noise(4, 32 * MIB));
    let file = server.dir.join("images").join(&server.files().0[0]);
    for ranges in ["", "Range: bytes=0-16777215, 16777216-33554431\r\n"] {
        std::fs::File::options().write(true).open(&file).unwrap().set_len(32 << 20).unwrap();
        let mut connection = server.connect();
        connection.write_all(&request("GET", &path, ranges)).unwrap();
        connection.read_exact(&mut [0; 1000]).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_len(1 << 20).unwrap();
        let mut rest = Vec::new();
        let _ = connection.read_to_end(&mut rest);
        assert!(rest.len() < 32 * MIB - 1000, "{ranges:?}: nothing is made up");
    }
    assert!(server.log().contains("cut short"), "{}", server.log());
    assert_eq!(server.get("/status").status, 200);
}

#[test]
fn readers_that_stall_cost_next_to_nothing() {
    const READERS: usize = 64;
    let server = Server::start();
    let path = added(&server, &noise(5, 24 * MIB));
    // One whole read of each kind first: what the server keeps of that is not what a stalled reader costs.
    let ranges = "Range: bytes=0-12000000, 12000001-25165823\r\n";
    for headers in ["", ranges] {
        let mut connection = server.connect();
        connection.write_all(&request("GET", &path, &format!("{headers}Connection: close\r\n"))).unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap();
    }
    for headers in ["", ranges] {
        let before = server.resident_kib();
        let stalled: Vec<TcpStream> = (0..READERS)
            .map(|_| {
                let mut connection = server.connect();
                connection.write_all(&request("GET", &path, headers)).unwrap();
                connection.read_exact(&mut [0; 1000]).unwrap();
                connection
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let each = server.resident_kib().saturating_sub(before) / READERS;
        assert!(each <= 64, "{headers:?}: {each} KiB for each");
        drop(stalled);
        eventually("the server answers", || server.get("/status").status == 200);
    }
}

#[test]
fn readers_that_leave_harm_nobody() {
    let server = Server::start();
    let bytes = noise(6, 12 * MIB);
    let path = added(&server, &bytes);
    for read in [0, 1, 1000, MIB, 5 * MIB] {
        let mut connection = server.connect();
        connection.write_all(&request("GET", &path, "")).unwrap();
        connection.read_exact(&mut vec![0; read]).unwrap();
    }
    assert!(server.get(&path).body == bytes);
    assert!(!server.log().contains("cut short"), "{}", server.log());
}

#[test]
fn a_server_that_is_told_to_stop_lets_a_download_end() {
    let server = Server::start();
    let bytes = noise(7, 24 * MIB);
    let path = added(&server, &bytes);
    let mut connection = server.connect();
    connection.write_all(&request("GET", &path, "")).unwrap();
    let mut answer = vec![0; MIB];
    connection.read_exact(&mut answer).unwrap();
    let stopping = std::thread::spawn(move || server.stop());
    std::thread::sleep(Duration::from_millis(300));
    connection.read_to_end(&mut answer).unwrap();
    assert!(Answer::parse(&answer, false).body == bytes);
    let (_dir, clean) = stopping.join().unwrap();
    assert!(clean);
}
