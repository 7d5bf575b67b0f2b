//! Answers that come before the end of their request: refusals of uploads whose client sends on, and requests that can't be
//! parsed. Each reaches its client, over TLS as over plain HTTP, in the form of its protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Answer, Server, eventually};
use crate::secure::{Client, Lab};

/// Tries of each case: a lost answer is a matter of chance.
const TRIES: usize = 8;

const CODE: &str = "x-visor-error";
const NONE: &str = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";

/// A connection of either kind.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Both ways to a server.
fn connections(server: &Server) -> [(&'static str, Box<dyn Stream>); 2] {
    let socket: TcpStream = server.connect();
    [("http", Box::new(socket)), ("https", Box::new(Client::new(server, None).connect()))]
}

/// Sends a head and then all of a body, looks up only then, and reads the answer.
fn send_blindly(stream: &mut dyn Stream, head: &str, body: u64, pause: Duration) -> Answer {
    let piece = vec![7; 256 << 10];
    stream.write_all(head.as_bytes()).unwrap();
    let mut left = body;
    while left > 0 {
        let length = left.min(piece.len() as u64);
        let written = stream.write_all(&piece[..length as usize]);
        assert!(written.is_ok(), "{written:?} with {left} bytes left");
        left -= length;
        std::thread::sleep(pause);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&answer, false)
}

fn put(path: &str, headers: &str, body: u64) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n{headers}Content-Length: \
         {body}\r\n\r\n"
    )
}

#[test]
fn a_client_that_sends_everything_first_gets_its_refusal() {
    const BODY: u64 = 24 << 20;
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[upload]\nimage_max = \"16 MiB\"\n").unwrap();
    let server = Server::secure(&["--config", config.path().to_str().unwrap()]);
    let made = json!({ "disk_format": "raw", "container_format": "bare" }).to_string();
    let create = || {
        let made = server.send("POST", "/v2/images", &[("Content-Type", "application/json")], made.as_bytes());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let (full, empty) = (create(), create());
    let octets = [("Content-Type", "application/octet-stream")];
    assert_eq!(server.send("PUT", &format!("/v2/images/{full}/file"), &octets, b"bytes").status, 204);
    for (path, status) in [(NONE, 404), (&*full, 409), (&*empty, 413)] {
        let head = put(&format!("/v2/images/{path}/file"), "", BODY);
        for at in 0..TRIES {
            for (scheme, mut stream) in connections(&server) {
                let answer = send_blindly(&mut *stream, &head, BODY, Duration::ZERO);
                assert_eq!(answer.status, status, "{scheme}, try {at}: {answer:?}");
            }
        }
    }
    let json = put(&format!("/v2/images/{NONE}/file"), "", BODY).replace("octet-stream", "json");
    for (scheme, mut stream) in connections(&server) {
        assert_eq!(send_blindly(&mut *stream, &json, BODY, Duration::ZERO).status, 415, "{scheme}");
    }
}

#[test]
fn a_client_without_rights_gets_its_refusal() {
    const BODY: u64 = 24 << 20;
    let lab = Lab::new();
    for (path, status) in [("/v2/images/x/file", 401), ("/images/x", 403), ("/1.0/images", 405)] {
        let head = put(&path.replace('x', NONE), "", BODY);
        for _ in 0..TRIES {
            for (scheme, mut stream) in connections(&lab.server) {
                let answer = send_blindly(&mut *stream, &head, BODY, Duration::ZERO);
                let expected = if path == "/1.0/images" { 501 } else { status };
                assert_eq!(answer.status, expected, "{scheme} {path}: {answer:?}");
            }
        }
    }
}

/// A slow line: the answer has come long before the end.
#[test]
fn a_client_that_needs_long_for_its_body_gets_its_refusal() {
    const BODY: u64 = 24 << 20;
    let server = Server::secure(&[]);
    let head = put(&format!("/v2/images/{NONE}/file"), "", BODY);
    std::thread::scope(|scope| {
        for (scheme, mut stream) in connections(&server) {
            let head = &head;
            scope.spawn(move || {
                let answer = send_blindly(&mut *stream, head, BODY, Duration::from_millis(80));
                assert_eq!(answer.status, 404, "{scheme}: {answer:?}");
            });
        }
    });
}

/// The server does not listen for ever, and is not kept from stopping.
#[test]
fn a_client_that_sends_on_without_end_is_left() {
    let server = Server::secure(&[]);
    let head = format!("PUT /v2/images/{NONE}/file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut piece = format!("{:x}\r\n", 64 << 10).into_bytes();
    piece.extend(vec![7; 64 << 10]);
    piece.extend(b"\r\n");
    for (scheme, mut stream) in connections(&server) {
        let began = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        while stream.write_all(&piece).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(30), "still listened to: {scheme}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_server_that_stops_does_not_wait_for_what_it_drops() {
    let server = Server::secure(&[]);
    let head = put(&format!("/v2/images/{NONE}/file"), "", 1 << 40);
    let mut streams = connections(&server);
    for (_, stream) in &mut streams {
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![7; 1 << 20]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
    let began = Instant::now();
    assert!(server.stop().1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Sends a text, and then reads until the connection ends.
fn exchange(stream: &mut dyn Stream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn a_request_that_can_not_be_parsed_gets_an_answer_like_any_other() {
    let server = Server::secure(&[]);
    let long = "x".repeat(200 << 10);
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let head = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let two = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
    let mut cases = Vec::new();
    for (path, content_type, words) in [
        ("/images?a=b", "application/json", "\"code\":"),
        ("/v2/images", "text/plain; charset=UTF-8", "\n\n"),
        ("/v3/auth/tokens", "application/json", "\"error\":{"),
        ("/1.0/images", "application/json", "\"error_code\":"),
        ("/streams/v1/index.json", "text/plain; charset=utf-8", ""),
    ] {
        for (headers, status, code) in [
            (format!("x-long: {long}\r\n"), 431, "headers-too-large"),
            (many.clone(), 431, "headers-too-large"),
            ("Content-Length: x\r\n".to_owned(), 400, "malformed-request"),
            (two.to_owned(), 400, "malformed-request"),
            ("a b\r\n".to_owned(), 400, "malformed-request"),
        ] {
            cases.push((head(path, &headers), status, code, content_type, words));
        }
    }
    let plain = "text/plain; charset=utf-8";
    cases.push(("GET\r\n\r\n".to_owned(), 400, "malformed-request", plain, "The request"));
    cases.push(("GET /images HTTP/3.0\r\n\r\n".to_owned(), 400, "malformed-request", "application/json", "HTTP/1.1"));
    cases.push((format!("GET /{long}"), 431, "headers-too-large", plain, "128 KiB"));
    for (request, status, code, content_type, words) in cases {
        for (scheme, mut stream) in connections(&server) {
            let bytes = exchange(&mut *stream, request.as_bytes());
            let answer = Answer::parse(&bytes, false);
            let what = format!("{scheme} {:.60}: {answer:?}", request);
            assert_eq!((answer.status, answer.header(CODE)), (status, Some(code)), "{what}");
            assert!(answer.header("content-type").unwrap().starts_with(content_type), "{what}");
            assert_eq!(answer.header("connection"), Some("close"), "{what}");
            assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36), "{what}");
            assert!(answer.text().contains(words) && answer.body.len() > 20, "{what}");
            let length: usize = answer.header("content-length").unwrap().parse().unwrap();
            assert_eq!(length, answer.body.len(), "one answer and nothing behind it: {what}");
        }
    }
    assert_eq!(server.get("/status").status, 200);
}

#[test]
fn a_broken_body_is_answered_once() {
    let server = Server::secure(&[]);
    let headers =
        "x-image-meta-name: a\r\nx-image-meta-architecture: i386\r\nContent-Type: application/octet-stream\r\n";
    let bodies = ["zz\r\n", "3\r\nabc\r\nzz\r\n", "3\r\nabcdef\r\n0\r\n\r\n"];
    for (body, waits) in bodies.into_iter().flat_map(|body| [(body, false), (body, true)]) {
        let expect = if waits { "Expect: 100-continue\r\n" } else { "" };
        let head =
            format!("POST /images HTTP/1.1\r\nHost: localhost\r\n{headers}{expect}Transfer-Encoding: chunked\r\n\r\n");
        for (scheme, mut stream) in connections(&server) {
            let bytes = if waits {
                stream.write_all(head.as_bytes()).unwrap();
                let mut go_on = [0; 25];
                stream.read_exact(&mut go_on).unwrap();
                assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "{scheme}");
                exchange(&mut *stream, body.as_bytes())
            } else {
                exchange(&mut *stream, [&head, body].concat().as_bytes())
            };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{scheme} {body:?}: {text}");
            let answer = Answer::parse(&bytes, false);
            assert_eq!(answer.status, 400, "{scheme} {body:?}: {text}");
            assert!(answer.header("x-request-id").is_some() && answer.json()["message"].is_string(), "{text}");
        }
    }
    // The last handler ends a moment after the answer that stands for its own.
    eventually("nothing is left", || server.names("").is_empty());
}

/// Garbage behind a whole request: both get their answer. Over TLS they are lost if the first takes longer than one look at
/// it: actix-http shuts such a connection down (`h1_allow_half_closed(false)`), and runs no handler from then on. No client
/// of the protocols here sends a request before the answer to the last one.
#[test]
fn a_request_before_a_broken_one_is_answered() {
    let server = Server::secure(&[]);
    let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\r\n\r\n";
    let bytes = exchange(&mut server.connect(), request);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statuses: Vec<&str> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "400"], "{text}");
}

/// An image that looks like an answer of actix-http's is an image.
#[test]
fn bytes_that_look_like_an_error_are_sent() {
    let server = Server::secure(&[]);
    let trap = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: Mon, 30 Nov 2026 08:00:00 GMT\r\n\r\n";
    let image = server.add("trap", &[], trap);
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    for close in ["close", "keep-alive"] {
        for (scheme, mut stream) in connections(&server) {
            stream
                .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {close}\r\n\r\n").as_bytes())
                .unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(trap) {
                let mut more = [0; 4096];
                let length = stream.read(&mut more).unwrap_or(0);
                assert!(length > 0, "{scheme} {close}: {}", String::from_utf8_lossy(&bytes));
                bytes.extend(&more[..length]);
            }
            assert!(bytes.starts_with(b"HTTP/1.1 200 "), "{scheme} {close}");
        }
    }
}
