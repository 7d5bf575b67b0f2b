//! Imports of Glance's API: the stores they go to, what they leave in an image, and the tasks that tell of them.

use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::glance::{Client, upstream};
use crate::harness::{Server, eventually, noise};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const RAW: &str = "{\"name\":\"a\",\"disk_format\":\"raw\",\"container_format\":\"bare\"}";

fn served() -> (Bucket, Server) {
    let bucket = Bucket::start();
    let server = Server::configured(&bucket.configuration("[fetch]\nallow = [\"127.0.0.1/32\"]\n"));
    (bucket, server)
}

fn new(client: &Client) -> String {
    client.create(&serde_json::from_str(RAW).unwrap())
}

fn staged(client: &Client, bytes: &[u8]) -> String {
    let id = new(client);
    assert_eq!(client.put(&format!("/v2/images/{id}/stage"), bytes).status, 204);
    id
}

/// `POST …/import`, with a store in the header if one is given.
fn import(server: &Server, id: &str, store: Option<&str>, body: &Value) -> u16 {
    let mut headers = vec![JSON, ("X-Auth-Token", "any"), ("X-OpenStack-Request-ID", "req-of-the-import")];
    headers.extend(store.map(|store| ("X-Image-Meta-Store", store)));
    server.send("POST", &format!("/v2/images/{id}/import"), &headers, body.to_string().as_bytes()).status
}

#[test]
fn an_import_goes_to_the_store_of_its_header() {
    let (bucket, server) = served();
    let client = Client::new(&server);
    let direct = json!({ "method": { "name": "glance-direct" } });
    let id = staged(&client, b"staged bytes");
    assert_eq!(import(&server, &id, Some("cold"), &direct), 202);
    eventually("it is there", || client.show(&id)["stores"] == "cold");
    assert_eq!((bucket.objects().len(), server.files()), (1, (vec![], vec![])));
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let download = json!({ "method": { "name": "web-download", "uri": format!("http://127.0.0.1:{port}/x") } });
    let id = new(&client);
    assert_eq!(import(&server, &id, Some("cold"), &download), 202);
    eventually("it is there", || client.show(&id)["stores"] == "cold");
    let local = client.with_bytes("local", b"x");
    assert_eq!(import(&server, &local, Some("cold"), &json!({ "method": { "name": "copy-image" } })), 202);
    eventually("the copy is there", || client.show(&local)["stores"] == "file,cold");
    // What can't be done is refused.
    let id = staged(&client, b"staged bytes");
    for (body, status) in [
        (json!({ "stores": ["cold"] }), 400),
        (json!({ "all_stores": true }), 400),
        (json!({ "all_stores": false, "stores": ["file"] }), 400),
    ] {
        let mut asked = direct.clone();
        asked.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        assert_eq!(import(&server, &id, Some("cold"), &asked), status, "{asked}");
    }
    assert_eq!(import(&server, &id, Some("warm"), &direct), 409);
    assert_eq!(client.status(&id), "uploading");
    // A new image may name the store of its bytes too.
    let headers = [JSON, ("X-Auth-Token", "any"), ("X-Image-Meta-Store", "cold")];
    let made = server.send("POST", "/v2/images", &headers, RAW.as_bytes()).json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(client.put(&format!("/v2/images/{id}/file"), b"bytes").status, 204);
    assert_eq!(client.show(id)["stores"], "cold");
    let headers = [JSON, ("X-Auth-Token", "any"), ("X-Image-Meta-Store", "warm")];
    assert_eq!(server.send("POST", "/v2/images", &headers, RAW.as_bytes()).status, 400);
}

#[test]
fn an_import_leaves_its_two_lists_empty() {
    let (bucket, server) = served();
    let client = Client::new(&server);
    let id = staged(&client, b"staged bytes");
    assert_eq!(client.show(&id).get("os_glance_failed_import"), None, "nothing was imported yet");
    let both = json!({ "method": { "name": "glance-direct" }, "stores": ["file", "cold"] });
    assert_eq!(import(&server, &id, None, &both), 202);
    eventually("it is active", || client.status(&id) == "active");
    let lists = |id: &str| {
        let image = client.show(id);
        ["os_glance_importing_to_stores", "os_glance_failed_import", "os_glance_import_task"]
            .map(|name| image.get(name).and_then(Value::as_str).map(ToOwned::to_owned))
    };
    let empty = [Some(String::new()), Some(String::new()), None];
    eventually("the import is over", || lists(&id) == empty);
    assert_eq!(client.show(&id)["stores"], "file,cold");
    let page = client.get("/v2/images").json();
    assert_eq!(page["images"][0]["os_glance_importing_to_stores"], "", "in lists too");
    // A copy, while the other side does nothing.
    let id = client.with_bytes("b", b"bytes");
    assert_eq!(lists(&id), [None, None, None], "an upload is no import");
    bucket.set_held(true);
    assert_eq!(import(&server, &id, None, &json!({ "method": { "name": "copy-image" }, "stores": ["cold"] })), 202);
    let [importing, failed, task] = lists(&id);
    assert_eq!((importing.as_deref(), failed.as_deref(), task.is_some()), (Some("cold"), Some(""), true));
    bucket.set_held(false);
    eventually("the copy is over", || lists(&id) == empty);
}

#[test]
fn an_import_that_must_reach_every_store_reaches_all_or_none() {
    let (bucket, server) = served();
    let client = Client::new(&server);
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let download = json!({ "name": "web-download", "uri": format!("http://127.0.0.1:{port}/x") });
    for (method, id) in [(json!({ "name": "glance-direct" }), staged(&client, b"staged")), (download, new(&client))] {
        bucket.set_down(true);
        let both = json!({ "method": method, "stores": ["file", "cold"], "all_stores_must_succeed": true });
        assert_eq!(import(&server, &id, None, &both), 202);
        eventually("it failed", || client.show(&id)["os_glance_failed_import"] == "cold");
        assert_eq!((client.status(&id).as_str(), server.files()), ("queued", (vec![], vec![])), "{method}");
        bucket.set_down(false);
        assert_eq!(client.put(&format!("/v2/images/{id}/file"), b"again").status, 204);
        assert_eq!(client.delete(&format!("/v2/images/{id}")).status, 204);
    }
    // One that may fail in some is active with the others.
    let id = staged(&client, b"staged");
    bucket.set_down(true);
    let some = json!({ "method": { "name": "glance-direct" }, "all_stores": true, "all_stores_must_succeed": false });
    assert_eq!(import(&server, &id, None, &some), 202);
    eventually("it failed in one", || client.show(&id)["os_glance_failed_import"] == "cold");
    assert_eq!((client.status(&id).as_str(), &client.show(&id)["stores"]), ("active", &"file".into()));
    bucket.set_down(false);
    // Staged in another store than those asked for, it ends in those alone.
    let bytes = noise(3, 100_000);
    let id = staged(&client, &bytes);
    let cold = json!({ "method": { "name": "glance-direct" }, "stores": ["cold"] });
    assert_eq!(import(&server, &id, None, &cold), 202);
    eventually("it is there alone", || client.show(&id)["stores"] == "cold");
    assert!(client.get(&format!("/v2/images/{id}/file")).body == bytes);
}

#[test]
fn a_task_tells_what_was_asked_for() {
    let (_bucket, server) = served();
    let client = Client::new(&server);
    let id = staged(&client, b"staged bytes");
    let body =
        json!({ "method": { "name": "glance-direct" }, "stores": ["cold", "file"], "all_stores_must_succeed": false });
    assert_eq!(import(&server, &id, None, &body), 202);
    let task = || client.get(&format!("/v2/images/{id}/tasks")).json()["tasks"][0].clone();
    eventually("it is over", || task()["status"] == "success");
    assert_eq!((&task()["request_id"], &task()["type"]), (&"req-of-the-import".into(), &"api_image_import".into()));
    assert_eq!(task()["input"], json!({ "image_id": id, "import_req": body, "backend": ["cold", "file"] }));
    let shown = client.get(&format!("/v2/tasks/{}", task()["id"].as_str().unwrap())).json();
    assert_eq!((&shown["request_id"], &shown["image_id"]), (&"req-of-the-import".into(), &id.as_str().into()));
    assert_eq!((&shown["input"], &shown["result"]), (&task()["input"], &json!({ "image_id": id })));
    let other = staged(&client, b"more");
    assert_eq!(import(&server, &other, None, &json!({ "method": { "name": "glance-direct" } })), 202);
    let tasks = client.get(&format!("/v2/images/{other}/tasks")).json()["tasks"].clone();
    assert_eq!(tasks[0]["input"]["backend"], json!(["file"]), "the default");
    // A task keeps what was understood, and nothing else of a body.
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let url = format!("http://127.0.0.1:{port}/x");
    let padded = format!("{}{url}?token=s3cret", " ".repeat(100_000));
    let method = json!({ "name": "web-download", "uri": padded, "note": "x".repeat(100_000) });
    let body = json!({ "method": method, "stores": vec!["file"; 10_000], "more": vec![0; 100_000] });
    let large = new(&client);
    assert_eq!(import(&server, &large, None, &body), 202);
    let tasks = client.get(&format!("/v2/images/{large}/tasks"));
    assert!(tasks.body.len() < 4096, "{} bytes", tasks.body.len());
    let understood = json!({ "method": { "name": "web-download", "uri": url }, "stores": ["file"] });
    let input = json!({ "image_id": large, "import_req": understood, "backend": ["file"] });
    assert_eq!(tasks.json()["tasks"][0]["input"], input);
    // Lists have pages.
    let page = client.get("/v2/tasks?limit=1").json();
    assert_eq!((page["tasks"].as_array().unwrap().len(), &page["first"]), (1, &"/v2/tasks?limit=1".into()));
    let next = client.get(page["next"].as_str().unwrap()).json();
    assert_eq!(next["tasks"][0]["image_id"], other.as_str());
    let last = client.get(next["next"].as_str().unwrap()).json();
    assert_eq!((&last["tasks"][0]["image_id"], last.get("next")), (&id.as_str().into(), None));
    assert_eq!(client.get("/v2/tasks?status=nonsense").status, 400);
    assert_eq!(client.get("/v2/tasks?type=import").json()["tasks"], json!([]));
}

#[test]
fn a_task_makes_an_image_of_a_url() {
    let (_bucket, server) = served();
    let client = Client::new(&server);
    let port = upstream("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nremote");
    let url = format!("http://127.0.0.1:{port}/x");
    let task = |format: &str, properties: Value, url: &str| {
        let input = json!({ "import_from": url, "import_from_format": format, "image_properties": properties });
        client.post("/v2/tasks", &json!({ "type": "import", "input": input }))
    };
    let properties = json!({ "name": "made", "disk_format": "raw", "container_format": "bare", "os_distro": "x" });
    let made = task("raw", properties.clone(), &format!("{url}?token=s3cret"));
    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    let path = format!("/v2/tasks/{}", shown["id"].as_str().unwrap());
    assert_eq!((made.header("location"), &shown["type"]), (Some(path.as_str()), &"import".into()));
    assert!(["pending", "processing"].contains(&shown["status"].as_str().unwrap()) && !made.text().contains("s3cret"));
    assert_eq!(
        shown["input"],
        json!({ "import_from": url, "import_from_format": "raw", "image_properties": properties })
    );
    eventually("it is over", || client.get(&path).json()["status"] == "success");
    let id = client.get(&path).json()["result"]["image_id"].as_str().unwrap().to_owned();
    let image = client.show(&id);
    assert_eq!(
        (&image["name"], &image["status"], &image["os_distro"]),
        (&"made".into(), &"active".into(), &"x".into())
    );
    assert_eq!(image.get("os_glance_importing_to_stores"), None, "as in Glance");
    assert_eq!(client.get(&format!("/v2/images/{id}/file")).text(), "remote");
    assert_eq!(client.get("/v2/tasks?type=import").json()["tasks"][0]["id"], shown["id"]);
    // One without its bytes leaves nothing.
    let gone = upstream("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let made = task("raw", json!({ "name": "gone" }), &format!("http://127.0.0.1:{gone}/x")).json();
    let path = format!("/v2/tasks/{}", made["id"].as_str().unwrap());
    eventually("it failed", || client.get(&path).json()["status"] == "failure");
    assert!(!client.get(&path).json()["message"].as_str().unwrap().is_empty());
    assert_eq!(client.get(&path).json()["result"], Value::Null, "its image is removed again");
    assert_eq!(client.names("?name=gone"), Vec::<String>::new());
    for (body, status) in [
        (json!({}), 400),
        (json!({ "type": "import" }), 400),
        (json!({ "type": "export", "input": {} }), 400),
        (json!({ "type": "import", "input": { "import_from": url, "import_from_format": "raw" } }), 400),
        (json!({ "type": "import", "input": { "import_from_format": "raw", "image_properties": {} } }), 400),
        (json!({ "type": "import", "input": { "import_from": url, "image_properties": {} } }), 400),
        (
            json!({ "type": "import", "input": { "import_from": url, "import_from_format": "raw", "image_properties": {}, "stores": ["cold"] } }),
            400,
        ),
    ] {
        assert_eq!(client.post("/v2/tasks", &body).status, status, "{body}");
    }
    for (format, properties, url, status) in [
        ("raw", json!({ "disk_format": "qcow2" }), url.as_str(), 400),
        ("floppy", json!({}), &url, 400),
        ("raw", json!({ "status": "active" }), &url, 403),
        ("raw", json!({}), "file:///etc/passwd", 400),
        ("raw", json!({}), "http://169.254.169.254/latest", 400),
    ] {
        assert_eq!(task(format, properties, url).status, status, "{format} {url}");
    }
    assert_eq!(client.delete(&path).status, 405);
}

#[test]
fn hidden_locations_are_forbidden() {
    let server = Server::start();
    let client = Client::new(&server);
    for (id, _) in [(new(&client), "queued"), (client.with_bytes("b", b"x"), "active")] {
        let entry = json!({ "url": "http://127.0.0.1/x", "metadata": {} });
        for (operation, words) in [
            (json!({ "op": "add", "path": "/locations/-", "value": entry }), "not allowed to add locations"),
            (json!({ "op": "replace", "path": "/locations", "value": [entry] }), "not allowed to update locations"),
            (json!({ "op": "remove", "path": "/locations/0" }), "not allowed to remove locations"),
        ] {
            let answer = client.patch(&id, &json!([operation]));
            assert_eq!(answer.status, 403, "{operation}");
            assert!(answer.text().contains(words), "{answer:?}");
        }
        assert_eq!(client.patch(&id, &json!([{ "op": "add", "path": "/locations/0/x", "value": "1" }])).status, 400);
        assert_eq!(client.show(&id).get("locations"), None);
    }
    // Both lists of stores have that of URLs.
    for path in ["/v2/info/stores", "/v2/info/stores/detail"] {
        let stores = client.get(path).json()["stores"].clone();
        let http = stores.as_array().unwrap().iter().find(|store| store["id"] == "http").unwrap();
        assert_eq!(http["read-only"], "true", "{path}");
    }
}
