//! Copies that are under way when somebody stops them, or the server ends: nothing is left of them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundles::container;
use crate::fake::{Fake, Say, answer};
use crate::harness::{Answer, Server, eventually, noise};
use crate::lxd_liars::{BYTES, chunk, chunked, described, server_of};
use crate::lxd_sources::assert_empty;

const SOON: &str = "[fetch]\nallow = [\"127.0.0.1/32\"]\n[upload]\nuploads_max = 2\n[server]\ndrain = \"1s\"\n";

/// A server whose image goes on for hours.
fn slow() -> Fake {
    let mut image = described(&container("x"));
    image["size"] = json!(1_u64 << 33);
    let begun = chunked(BYTES, &[b"\x1f\x8b".as_slice(), &noise(1, 3 << 20)].concat());
    server_of(image, move || Say::Dripping(begun.clone(), chunk(&noise(2, 40_000))))
}

fn begin(server: &Server, from: &Fake) -> (String, Answer) {
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    let answer = server.send_json("POST", "/1.0/images", &json!({ "source": source, "aliases": [{ "name": "mine" }] }));
    assert_eq!(answer.status, 202, "{answer:?}");
    (answer.json()["operation"].as_str().unwrap().to_owned(), answer)
}

/// Waits until bytes have come.
fn is_under_way(server: &Server, operation: &str) {
    eventually("bytes come", || server.lxd(operation)["metadata"]["download_progress"].is_string());
    eventually("and are written", || !server.files().1.is_empty());
}

fn cancel(server: &Server, operation: &str) {
    let began = Instant::now();
    assert_eq!(server.send("DELETE", operation, &[], b"").status, 200);
    let ended = server.lxd(&format!("{operation}/wait?timeout=20"));
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    assert_eq!((&ended["status_code"], &ended["status"]), (&json!(401), &json!("Cancelled")), "{ended}");
    is_forgotten(server);
}

/// What is dropped is cleared away behind everybody's back.
fn is_forgotten(server: &Server) {
    eventually("its record is gone", || server.get("/v2/images").json()["images"] == json!([]));
    assert_empty(server);
}

#[test]
fn a_copy_that_is_cancelled_leaves_nothing() {
    let (server, from) = (Server::configured(SOON), slow());
    // More of them than there is room for at a time: each leaves its place.
    for _ in 0..3 {
        let (operation, answer) = begin(&server, &from);
        assert_eq!(answer.json()["metadata"]["may_cancel"], true);
        is_under_way(&server, &operation);
        let progress = server.lxd(&operation)["metadata"]["download_progress"].as_str().unwrap().to_owned();
        assert!(progress.starts_with("0% (") && progress.ends_with("MB/s)"), "{progress}");
        assert_eq!(server.lxd("/1.0/images"), json!([]), "it is none yet");
        cancel(&server, &operation);
    }
    // Nor is its alias taken.
    let fingerprint = server.import(&container("y"), &[("X-Incus-aliases", "alias=mine")]);
    assert_eq!(server.lxd("/1.0/images/aliases/mine")["target"], fingerprint);
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let server = Server::configured(SOON);
    for part in ["/1.0/images/aliases/", "/export", "/streams/v1/index.json"] {
        let silent = Fake::serving(None, move |asked| match asked.target() {
            target if target.contains(part) => Say::Hold(Vec::new()),
            target if target.starts_with("/1.0/images/") => {
                let image = described(&container("x"));
                let metadata = if target.ends_with("/x") { json!({ "target": image["fingerprint"] }) } else { image };
                let body = json!({ "type": "sync", "metadata": metadata });
                answer("200 OK", "Content-Type: application/json\r\n", body.to_string())
            }
            _ => answer("404 Not Found", "", ""),
        });
        let protocol = if part.starts_with("/streams") { "simplestreams" } else { "lxd" };
        let source = json!({ "type": "image", "server": silent.url(""), "alias": "x", "protocol": protocol });
        let answer = server.send_json("POST", "/1.0/images", &json!({ "source": source }));
        let operation = answer.json()["operation"].as_str().unwrap().to_owned();
        eventually("it is asked", || silent.asked().iter().any(|asked| asked.target().contains(part)));
        cancel(&server, &operation);
    }
}

#[test]
fn two_cancel_and_one_of_them_is_late() {
    let (server, from) = (Server::configured(SOON), slow());
    let (operation, _) = begin(&server, &from);
    is_under_way(&server, &operation);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| server.send("DELETE", &operation, &[], b"").status));
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&400), "{statuses:?}");
    eventually("it has ended", || server.lxd(&operation)["status_code"] == 401);
    is_forgotten(&server);
}

/// Both ends: the one that waits for what goes on, for as long as it may, and the one that nobody was told of.
#[test]
fn the_servers_end_leaves_nothing() {
    for graceful in [true, false] {
        let (server, from) = (Server::configured(SOON), slow());
        let kept = server.import(&container("kept"), &[]);
        let (operation, _) = begin(&server, &from);
        is_under_way(&server, &operation);
        let began = Instant::now();
        let dir = if graceful {
            let (dir, clean) = server.stop();
            assert!(clean);
            dir
        } else {
            server.kill()
        };
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        let dir = dir.unwrap();
        let server = Server::on(dir.path(), &[]);
        assert_eq!(server.lxd("/1.0/images"), json!([format!("/1.0/images/{kept}")]));
        assert_eq!(server.get("/v2/images").json()["images"].as_array().unwrap().len(), 1, "in whatever state");
        assert_eq!((server.files().0.len(), server.files().1.len()), (1, 0), "graceful: {graceful}");
        assert_eq!(server.get(&operation).status, 404);
        // Nothing is held that another one needs.
        server.import(&container("x"), &[("X-Incus-aliases", "alias=mine")]);
    }
}

/// While one is copied, another request for the same image is another copy: of two that come to their end, one is late.
#[test]
fn two_copies_of_one_image_end_as_one() {
    let bytes = container("x");
    let sent = bytes.clone();
    let from = server_of(described(&bytes), move || {
        std::thread::sleep(Duration::from_millis(300));
        answer("200 OK", BYTES, &sent)
    });
    let server = Server::configured(SOON);
    let source = json!({ "type": "image", "server": from.url(""), "alias": "x" });
    let body = json!({ "source": source });
    let begun = [(); 2].map(|()| server.send_json("POST", "/1.0/images", &body));
    let ended = begun.map(|answer| server.ended(&answer));
    let good = ended.iter().filter(|ended| ended["status_code"] == 200).count();
    let late = ended.iter().filter(|ended| ended["err"] == "Image with same fingerprint already exists").count();
    assert!(good >= 1 && good + late == 2, "{ended:?}");
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
    eventually("one file is left", || server.files().0.len() == 1 && server.files().1.is_empty());
}
