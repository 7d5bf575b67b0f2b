//! Events as clients hear them, with a WebSocket library of other hands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};

use crate::bundles::container;
use crate::fake::{Fake, Say, answer};
use crate::glance;
use crate::harness::{Server, eventually, request};
use crate::lxd_liars::{BYTES, described, server_of};
use crate::secure::{Client, Lab, refusal};

type Heard<S> = WebSocket<S>;

/// Listens to events, or the status that it is refused with.
fn listen_on<S: Read + Write>(stream: S, address: &str, query: &str) -> Result<Heard<S>, u16> {
    let url = format!("ws://{address}/1.0/events{query}").parse().unwrap();
    match tungstenite::client(ClientRequestBuilder::new(url), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

fn listen(client: &Client, query: &str) -> Heard<crate::secure::Stream> {
    listen_on(client.connect(), client.address(), query).unwrap()
}

/// The next event.
fn hear<S: Read + Write>(socket: &mut Heard<S>) -> Value {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Why a socket is closed, whatever is told before.
fn closing<S: Read + Write>(socket: &mut Heard<S>) -> (Option<CloseCode>, usize) {
    let mut heard = 0;
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return (frame.map(|frame| frame.code), heard),
            Ok(Message::Text(_)) => heard += 1,
            Ok(_) => {}
            Err(_) => return (None, heard),
        }
    }
}

/// Begins and stops an operation; its path.
fn token(client: &Client) -> String {
    let body = json!({ "type": "client", "name": "x", "token": true });
    let begun = client.send("POST", "/1.0/certificates", &body).json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&begun).status, 200);
    begun
}

#[test]
fn operations_are_told_in_their_order() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    let mut sockets = [
        listen(&alice, "?type=operation&project=default"),
        listen(&alice, ""),
        listen(&root, "?type=operation,lifecycle,logging&all-projects=true"),
    ];
    let mut others = listen(&bob, "");
    let path = token(&alice);
    for socket in &mut sockets {
        for (status, code) in [("Pending", 105), ("Running", 103), ("Cancelled", 401)] {
            let event = hear(socket);
            let envelope = (&event["type"], &event["location"], &event["project"]);
            assert_eq!(envelope, (&json!("operation"), &json!("none"), &json!("default")));
            let operation = &event["metadata"];
            assert_eq!((&operation["status"], &operation["status_code"]), (&json!(status), &json!(code)));
            assert!(path.ends_with(operation["id"].as_str().unwrap()));
            assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
        }
    }
    let own = token(&bob);
    assert!(own.ends_with(hear(&mut others)["metadata"]["id"].as_str().unwrap()), "of others' nothing is heard");
}

#[test]
fn what_is_made_and_removed_is_told_with_who_did_it() {
    let lab = Lab::new();
    let (alice, identity) = lab.newcomer("laptop");
    alice.log_in(&lab.alice);
    let mut socket = listen(&alice, "?type=lifecycle");
    token(&alice);
    let path = alice.read("/1.0/certificates")[0].as_str().unwrap().to_owned();
    alice.delete(&path);
    let event = hear(&mut socket);
    assert_eq!(event["type"], "lifecycle", "operations were not asked for");
    let said = &event["metadata"];
    assert_eq!((&said["action"], &said["source"]), (&json!("certificate-deleted"), &json!(path)));
    let who = &said["requestor"];
    assert_eq!((&who["username"], &who["protocol"]), (&json!(identity.fingerprint), &json!("tls")));
    assert!(who["address"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn only_who_is_trusted_listens_and_only_on_a_websocket() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    refusal(&alice.get("/1.0/events"), 400);
    let upgrade = |client: &Client, query: &str| listen_on(client.connect(), client.address(), query).map(|_| ());
    assert_eq!(upgrade(&lab.stranger(), ""), Err(403));
    assert_eq!(upgrade(&alice, "?type=weather"), Err(400));
    assert_eq!(upgrade(&alice, "?project=other"), Err(404));
    assert_eq!(upgrade(&alice, "?type="), Ok(()));
}

/// Also through the connection that sends files by itself.
#[test]
fn plain_http_has_websockets_too() {
    let server = Server::secure(&[]);
    let mut socket = listen_on(server.connect(), server.address(), "").unwrap();
    let path = token(&Client::new(&server, None));
    for status in ["Pending", "Running", "Cancelled"] {
        let event = hear(&mut socket);
        assert_eq!(event["metadata"]["status"], status);
        assert!(path.ends_with(event["metadata"]["id"].as_str().unwrap()));
    }
    socket.close(None).unwrap();
    assert_eq!(closing(&mut socket), (None, 0), "a goodbye is answered");
}

#[test]
fn there_are_signs_of_life_and_trust_that_ends_is_noticed() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let began = Instant::now();
    let (mut socket, mut silent) = (listen(&alice, ""), listen(&alice, ""));
    assert!(matches!(socket.read().unwrap(), Message::Ping(_)));
    assert!((9..90).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let path = alice.read("/1.0/certificates")[0].as_str().unwrap().to_owned();
    alice.delete(&path);
    assert_eq!(closing(&mut socket).0, Some(CloseCode::Policy));
    assert_eq!(closing(&mut silent).0, Some(CloseCode::Policy));
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}

#[test]
fn who_shows_no_sign_of_life_is_sent_away() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let mut stream = alice.connect();
    let ask = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let began = Instant::now();
    stream.write_all(&request(alice.address(), "GET", "/1.0/events", &ask, b"")).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    assert!((30..90).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// A listener that does not keep up hears everything up to some point, and is told that there was more. It reads one event of
/// nine, so that it is never taken for one that is gone, on however slow a machine.
#[test]
fn who_reads_too_slowly_is_sent_away_and_nobody_waits_for_it() {
    let server = Server::secure(&[]);
    let address: SocketAddr = server.address().parse().unwrap();
    let slow = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&slow, 4096).unwrap();
    rustix::net::connect(&slow, &address).unwrap();
    let slow = TcpStream::from(slow);
    slow.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut slow = listen_on(slow, server.address(), "").unwrap();
    let mut quick = listen_on(server.connect(), server.address(), "").unwrap();

    // Names make events long: six megabytes of them.
    let body = json!({ "type": "client", "name": "x".repeat(250), "token": true }).to_string();
    let keep = [("Connection", "keep-alive")];
    let mut stream = server.connect();
    let (mut told, mut heard) = (0, 0);
    for round in 0..1600 {
        stream.write_all(&request(server.address(), "POST", "/1.0/certificates", &keep, body.as_bytes())).unwrap();
        let path = read_one(&mut stream)["operation"].as_str().unwrap().to_owned();
        stream.write_all(&request(server.address(), "DELETE", &path, &keep, b"")).unwrap();
        read_one(&mut stream);
        for _ in 0..3 {
            hear(&mut quick);
            told += 1;
        }
        if round % 3 == 0 {
            hear(&mut slow);
            heard += 1;
            slow.send(Message::Pong(Vec::new().into())).unwrap();
        }
    }
    let reason = loop {
        match slow.read().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            Message::Text(_) => heard += 1,
            _ => {}
        }
    };
    assert_eq!((reason.code, reason.reason.as_str()), (CloseCode::Policy, "too slow"));
    assert!(heard > 600 && heard < told, "{heard} of {told}");
}

/// One answer on a connection that stays.
fn read_one(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 8192];
        let count = stream.read(&mut more).unwrap();
        assert!(count > 0, "closed");
        bytes.extend(&more[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length == Some(body.len()) {
            return serde_json::from_str(body).unwrap();
        }
    }
}

#[test]
fn the_servers_end_is_told() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let mut socket = listen(&alice, "");
    let began = Instant::now();
    let (_, clean) = lab.server.stop();
    assert!(clean && began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(closing(&mut socket).0, Some(CloseCode::Away));
}

/// Only patience ends these servers in less than five minutes: longer than any machine takes, and shorter than the wait.
const DRAIN: &str = "[fetch]\nallow = [\"127.0.0.1/32\"]\n[server]\ndrain = \"5m\"\n";

/// A listener is told of the end at once, whatever goes on that it hears nothing of: an import of Glance's here.
#[test]
fn a_listener_holds_the_server_for_no_import() {
    let endless = Fake::serving(None, |_| {
        Say::Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000000\r\n\r\n".to_vec(), vec![7; 40_000])
    });
    let server = Server::configured(DRAIN);
    let mut socket = listen_on(server.connect(), server.address(), "").unwrap();
    let client = glance::Client::new(&server);
    let id = client.create(&json!({ "disk_format": "raw", "container_format": "bare" }));
    let import = json!({ "method": { "name": "web-download", "uri": endless.url("x") } });
    assert_eq!(client.post(&format!("/v2/images/{id}/import"), &import).status, 202);
    eventually("it goes on", || !server.files().1.is_empty());
    let began = Instant::now();
    let (_dir, clean) = server.stop();
    assert!(clean && began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
    assert_eq!(closing(&mut socket).0, Some(CloseCode::Away));
}

/// A client that follows its operation hears of its end before the server's.
#[test]
fn a_listener_is_told_how_its_operation_ended_before_the_server_does() {
    let bytes = container("x");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (wait, sent) = (std::sync::Mutex::new(wait), bytes.clone());
    let from = server_of(described(&bytes), move || {
        let _ = wait.lock().unwrap().recv();
        answer("200 OK", BYTES, &sent)
    });
    // With several, a thread ends when it has no connection any more, and interrupts the work that was begun on it.
    let server = Server::configured(&format!("{DRAIN}workers = 1\n"));
    let address = server.address().to_owned();
    let mut socket = listen_on(server.connect(), &address, "?type=operation").unwrap();
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    assert_eq!(server.send_json("POST", "/1.0/images", &json!({ "source": source })).status, 202);
    eventually("the file is asked for", || from.asked().iter().any(|asked| asked.target().contains("/export")));
    let stopping = std::thread::spawn(move || server.stop());
    eventually("the server takes no more connections", || TcpStream::connect(&address).is_err());
    go.send(()).unwrap();
    let mut last = Value::Null;
    let code = loop {
        match socket.read().unwrap() {
            Message::Text(text) => last = serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => break frame.map(|frame| frame.code),
            _ => {}
        }
    };
    assert_eq!((&last["metadata"]["status"], code), (&json!("Success"), Some(CloseCode::Away)), "{last}");
    assert!(stopping.join().unwrap().1);
}
