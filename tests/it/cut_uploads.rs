//! Uploads through Glance's API that are cut: by their connection, or by the death of the server. The image is queued again when
//! the client can know of it, and takes its bytes in another try.

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::json;

use crate::glance::Client;
use crate::harness::{Server, eventually, noise};

/// Both ways in, with the status meanwhile.
const WAYS: [(&str, &str); 2] = [("stage", "uploading"), ("file", "saving")];

fn new(client: &Client) -> String {
    client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }))
}

/// A request that announces more than it sends.
fn cut(id: &str, way: &str, framing: &str) -> String {
    format!(
        "PUT /v2/images/{id}/{way} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n{framing}"
    )
}

/// Sends all bytes, and imports what was staged.
fn send_again(client: &Client, id: &str, way: &str, bytes: &[u8]) {
    let sent = client.put(&format!("/v2/images/{id}/{way}"), bytes);
    assert_eq!(sent.status, 204, "{sent:?}");
    if way == "stage" {
        let direct = json!({ "method": { "name": "glance-direct" } });
        assert_eq!(client.post(&format!("/v2/images/{id}/import"), &direct).status, 202);
    }
    eventually("it is active", || client.status(id) == "active");
    assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
}

#[test]
fn an_image_is_queued_again_by_the_time_of_the_answer() {
    let server = Server::start();
    let client = Client::new(&server);
    for (way, _) in WAYS {
        for framing in ["Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n"] {
            let id = new(&client);
            let mut stream = server.connect();
            stream.write_all(cut(&id, way, framing).as_bytes()).unwrap();
            stream.write_all(&noise(90, 2_500_000)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{way}: {answer}");
            assert_eq!(client.status(&id), "queued", "{way}");
            assert!(server.files().1.is_empty(), "{way}");
            send_again(&client, &id, way, &noise(91, 3000));
        }
    }
}

#[test]
fn an_image_is_queued_again_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    for (way, meanwhile) in WAYS {
        let server = Server::on(&path, &[]);
        let client = Client::new(&server);
        let id = new(&client);
        let mut stream = server.connect();
        stream.write_all(cut(&id, way, "Content-Length: 5000000\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(&noise(92, 2_500_000)).unwrap();
        eventually("it receives bytes", || client.status(&id) == meanwhile);
        server.kill();
        let server = Server::on(&path, &[]);
        let client = Client::new(&server);
        assert_eq!(client.status(&id), "queued", "{way}");
        assert!(server.files().1.is_empty(), "{way}");
        send_again(&client, &id, way, &noise(93, 3000));
    }
}
