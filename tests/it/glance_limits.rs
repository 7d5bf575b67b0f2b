//! As much as an image may hold in Glance: a snapshot of a machine with a dozen volumes needs it.

use serde_json::{Map, Value, json};

use crate::glance::Client;
use crate::harness::Server;

fn of(count: usize, long: usize) -> Value {
    let mut members: Map<String, Value> = (1..count).map(|n| (format!("p{n:03}"), "v".into())).collect();
    members.insert("block_device_mapping".into(), "x".repeat(long).into());
    members.insert("name".into(), "snapshot".into());
    Value::Object(members)
}

#[test]
fn an_image_has_as_many_and_as_long_properties_as_in_glance() {
    let server = Server::start();
    let client = Client::new(&server);
    let id = client.create(&of(128, 65_535));
    let image = client.show(&id);
    assert_eq!(image["block_device_mapping"].as_str().unwrap().len(), 65_535);
    assert_eq!(client.names("?p127=v"), ["snapshot"]);
    for (body, status) in [(of(129, 1), 413), (of(2, 65_536), 400)] {
        assert_eq!(client.post("/v2/images", &body).status, status);
    }
    let mut sum = of(2, 65_535);
    for n in 0..4 {
        sum[format!("q{n}")] = "x".repeat(65_535).into();
    }
    assert_eq!(client.post("/v2/images", &sum).status, 400, "more than all of them together may be");
    let more = json!([{ "op": "add", "path": "/p128", "value": "v" }]);
    assert_eq!(client.patch(&id, &more).status, 413);
}

#[test]
fn headers_stay_as_many_as_libraries_read() {
    let server = Server::start();
    let client = Client::new(&server);
    let (many, long) = (client.create(&of(128, 10)), client.create(&of(2, 65_535)));
    for (id, left_out) in [(many, true), (long, true), (client.create(&of(60, 1000)), false)] {
        let head = server.send("HEAD", &format!("/images/{id}"), &[], b"");
        assert_eq!((head.status, head.header("x-visor-left-out").is_some()), (200, left_out), "{head:?}");
        let bytes: usize = head.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert!(head.headers.len() <= 100 && bytes < 70_000, "{} headers, {bytes} bytes", head.headers.len());
        let listed = server.get(&format!("/images/detail?_id={id}")).json();
        let shown = listed["images"][0].as_object().unwrap();
        assert!(shown.contains_key("p001") && shown.contains_key("block_device_mapping"), "lists have all of it");
    }
}
