//! Images in a store of S3's kind, through every protocol and through what can happen to it.

use serde_json::{Value, json};

use crate::bucket::{Bucket, SECRET};
use crate::bundles::container;
use crate::harness::{Server, eventually, noise, request, run, sha256};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const COLD: (&str, &str) = ("x-image-meta-store", "cold");
const SMALL: usize = 300_000;

/// A server with the bucket as a second store, in a directory that outlives it.
struct Lab {
    bucket: Bucket,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { bucket: Bucket::start(), dir: tempfile::tempdir().unwrap() }
    }

    fn serve(&self, more: &str) -> Server {
        self.serve_with(&self.bucket.configuration(more))
    }

    fn serve_with(&self, configuration: &str) -> Server {
        let config = self.config(configuration);
        Server::on(&self.data(), &["--config", &config])
    }

    /// Writes a configuration, and says where.
    fn config(&self, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join("visor.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }
}

fn path(image: &Value) -> String {
    format!("/images/{}", id(image))
}

fn id(image: &Value) -> &str {
    image["_id"].as_str().unwrap()
}

fn status(server: &Server, id: &str) -> Value {
    let all = server.get("/images/detail").json();
    let images = all["images"].as_array().unwrap();
    images.iter().find(|image| image["_id"] == id).unwrap()["status"].clone()
}

#[test]
fn bytes_go_to_the_store_and_come_back() {
    let lab = Lab::new();
    let server = lab.serve("");
    for length in [1, SMALL, (20 << 20) + 1] {
        let body = noise(length as u64, length);
        let image = server.add("a", &[COLD, ("x-image-meta-format", "vmdk")][..1], &body);
        assert_eq!((&image["store"], &image["status"]), (&"cold".into(), &"available".into()));
        let name = format!("{}.none", id(&image));
        assert_eq!(image["location"], format!("s3://images/lab/{name}"));
        assert!(lab.bucket.objects() == [name.clone()] && lab.bucket.object(&name) == body);
        let whole = server.get(&path(&image));
        assert_eq!((sha256(&whole.body), whole.header("accept-ranges")), (sha256(&body), Some("bytes")));
        let part = server.send("GET", &path(&image), &[("Range", &format!("bytes={}-", length / 2))], b"");
        assert!(part.status == 206 && part.body == body[length / 2..]);
        assert_eq!(server.files(), (vec![], vec![]), "nothing of it is here");
        assert_eq!(server.send("DELETE", &path(&image), &[], b"").status, 200);
        assert_eq!(lab.bucket.objects(), [""; 0]);
    }
}

#[test]
fn the_default_is_what_the_configuration_says() {
    let lab = Lab::new();
    let server = lab.serve("[stores]\ndefault = \"cold\"\n");
    let there = server.add("a", &[], b"there");
    let here = server.add("b", &[("x-image-meta-store", "file")], b"here");
    assert_eq!((&there["store"], &here["store"]), (&"cold".into(), &"file".into()));
    assert_eq!((lab.bucket.objects().len(), server.files().0.len()), (1, 1));
    let refused = server.send(
        "POST",
        "/images",
        &[("x-image-meta-name", "c"), ("x-image-meta-architecture", "i386"), ("x-image-meta-store", "walrus"), OCTETS],
        b"x",
    );
    assert_eq!((refused.status, refused.text().contains("The store 'walrus' is not supported")), (400, true));
    let unknown = server.send(
        "POST",
        "/images",
        &[("x-image-meta-name", "c"), ("x-image-meta-architecture", "i386"), ("x-image-meta-store", "attic")],
        b"",
    );
    assert!(unknown.status == 400 && unknown.text().contains("Invalid store 'attic'"), "{unknown:?}");
}

#[test]
fn images_move_by_the_command_line_and_by_their_attribute() {
    let lab = Lab::new();
    let server = lab.serve("");
    let body = noise(1, SMALL);
    let image = server.add("a", &[], &body);
    let move_to = |store: &str| run(&["move", id(&image), "--store", store, "-a", server.address()]);
    let (code, said, _) = move_to("cold");
    assert!(code == 0 && said.contains("to the store cold"), "{said}");
    assert_eq!((lab.bucket.objects().len(), server.files().0.len()), (1, 0));
    assert_eq!(sha256(&server.get(&path(&image)).body), sha256(&body));
    let moved = server.send("PUT", &path(&image), &[("x-image-meta-store", "file")], b"");
    assert_eq!((moved.status, &moved.json()["image"]["store"]), (200, &"file".into()));
    assert_eq!((lab.bucket.objects().len(), server.files().0.len()), (0, 1));
    assert_eq!((move_to("file").0, server.files().0.len()), (0, 1), "there it is");
    assert!(move_to("walrus").2.contains("The store 'walrus' is not supported"));
    let both = [("x-image-meta-store", "cold"), ("x-image-meta-name", "b")];
    assert_eq!(server.send("PUT", &path(&image), &both, b"").status, 400);
    // Bytes that somebody changed do not become a copy.
    let file = server.dir.join("images").join(&server.files().0[0]);
    std::fs::write(file, noise(2, SMALL)).unwrap();
    assert_eq!(move_to("cold").0, 1);
    assert_eq!((lab.bucket.objects(), server.get(&path(&image)).status), (vec![], 200));
}

#[test]
fn uploads_in_pieces_gather_here_and_end_there() {
    let lab = Lab::new();
    let server = lab.serve("");
    let body = noise(3, (65 << 20) + 7);
    let file = lab.dir.path().join("big");
    std::fs::write(&file, &body).unwrap();
    let arguments = ["--json", "add", "name=a", "architecture=i386", "store=cold", "-f", file.to_str().unwrap(), "-a"];
    let (code, said, wrong) = run(&[&arguments[..], &[server.address()]].concat());
    assert_eq!(code, 0, "{said}{wrong}");
    assert_eq!((server.files(), lab.bucket.objects().len()), ((vec![], vec![]), 1));
    assert_eq!(sha256(&lab.bucket.object(&lab.bucket.objects()[0])), sha256(&body));
}

#[test]
fn glance_shows_uses_and_empties_stores() {
    let lab = Lab::new();
    let server = lab.serve("description = \"the bucket\"\n");
    let known = server.get("/v2/info/stores").json();
    let expected = [
        json!({ "id": "file", "default": "true" }),
        json!({ "id": "cold", "description": "the bucket" }),
        json!({ "id": "http", "read-only": "true" }),
    ];
    assert_eq!(known, json!({ "stores": expected }));
    let json_of = |value: &Value| value.to_string().into_bytes();
    let made = json!({ "name": "g", "disk_format": "raw", "container_format": "bare" });
    let image = server.send("POST", "/v2/images", &[("Content-Type", "application/json")], &json_of(&made));
    assert_eq!(image.header("openstack-image-store-ids"), Some("file,cold"));
    let file = format!("{}/file", image.json()["self"].as_str().unwrap());
    let put = |store: &str| server.send("PUT", &file, &[OCTETS, ("x-image-meta-store", store)], b"bytes");
    assert_eq!((put("attic").status, put("cold").status), (400, 204));
    let shown = || server.get(file.trim_end_matches("/file")).json();
    assert_eq!((&shown()["stores"], &shown()["status"]), (&"cold".into(), &"active".into()));
    let import = |body: &Value| {
        let path = file.replace("/file", "/import");
        server.send("POST", &path, &[("Content-Type", "application/json")], &json_of(body)).status
    };
    let copy = |store: &str| json!({ "method": { "name": "copy-image" }, "stores": [store] });
    assert_eq!((import(&copy("cold")), import(&copy("attic")), import(&copy("file"))), (400, 409, 202));
    eventually("it is in both", || shown()["stores"] == "cold,file");
    assert_eq!(server.files().0.len(), 1);
    let id = shown()["id"].as_str().unwrap().to_owned();
    let remove = |store: &str| server.send("DELETE", &format!("/v2/stores/{store}/{id}"), &[], b"").status;
    assert_eq!((remove("attic"), remove("cold"), remove("file"), remove("cold")), (409, 204, 403, 409));
    assert_eq!((shown()["stores"].clone(), lab.bucket.objects().len()), ("file".into(), 0));
    assert_eq!(server.get(&file).body, b"bytes");

    // For VISOR's clients it is where its first copy is. All of it is only when they say that alone.
    assert_eq!(import(&copy("cold")), 202);
    eventually("it is in both again", || shown()["stores"] == "file,cold");
    let put = |meta: &[(&str, &str)]| server.send("PUT", &format!("/images/{id}"), meta, b"").status;
    let (store, name) = (("x-image-meta-store", "file"), ("x-image-meta-name", "b"));
    assert_eq!((put(&[store, name]), shown()["stores"].clone()), (200, "file,cold".into()));
    assert_eq!((put(&[store]), shown()["stores"].clone(), lab.bucket.objects().len()), (200, "file".into(), 0));
}

/// A request to another server costs time: an export of LXD's takes one, with a range and without.
#[test]
fn an_export_asks_the_store_once() {
    let lab = Lab::new();
    let server = lab.serve("[stores]\ndefault = \"cold\"\n");
    let bytes = container("x");
    let fingerprint = server.import(&bytes, &[]);
    let path = format!("/1.0/images/{fingerprint}/export");
    let last = bytes.len() - 1;
    for (range, status, body) in [
        ("", 200, &bytes[..]),
        ("bytes=0-9", 206, &bytes[..10]),
        ("bytes=10-", 206, &bytes[10..]),
        (&format!("bytes={last}-"), 206, &bytes[last..]),
    ] {
        let before = lab.bucket.gets();
        let headers = if range.is_empty() { vec![] } else { vec![("Range", range)] };
        let answer = server.send("GET", &path, &headers, b"");
        assert_eq!((answer.status, &answer.body[..], lab.bucket.gets() - before), (status, body, 1), "{range}");
        let name = answer.header("content-disposition").unwrap();
        assert!(name.contains(&fingerprint), "{name}");
    }
    // Nothing is read for an answer without bytes.
    let (before, etag) = (lab.bucket.gets(), format!("\"{fingerprint}\""));
    assert_eq!(server.send("GET", &path, &[("If-None-Match", &etag)], b"").status, 304);
    assert_eq!(server.send("GET", &path, &[("Range", "bytes=99999999-")], b"").status, 416);
    assert_eq!(lab.bucket.gets(), before);
}

#[test]
fn a_store_that_is_down_is_told_apart_and_tried_again() {
    let lab = Lab::new();
    let server = lab.serve("");
    let here = server.add("here", &[], b"here");
    let there = server.add("there", &[COLD], b"there");
    lab.bucket.set_down(true);
    assert_eq!(server.get(&path(&here)).body, b"here");
    let gone = server.get(&path(&there));
    assert!(gone.status >= 500 && gone.text().contains("cold"), "{gone:?}");
    let headers = [("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386")];
    let waiting = server.send("POST", "/images", &headers, b"").json()["image"].clone();
    let send = || server.send("PUT", &path(&waiting), &[COLD, OCTETS], &noise(1, SMALL));
    let refused = send();
    assert!(refused.status >= 500 && refused.text().contains("cold"), "{refused:?}");
    assert_eq!(status(&server, id(&waiting)), "error");
    // What can't be removed now is out of sight, and goes with a later sweep.
    assert_eq!(server.send("DELETE", &path(&there), &[], b"").status, 200);
    lab.bucket.set_down(false);
    assert_eq!(send().status, 200);
    assert_eq!(status(&server, id(&waiting)), "available");
    assert!(server.stop().1);
    let server = lab.serve("");
    eventually("what was removed is gone", || lab.bucket.objects().len() == 1);
    assert_eq!(server.names("").len(), 2);
}

#[test]
fn wrong_keys_are_said_and_leave_nothing() {
    let lab = Lab::new();
    let server = lab.serve_with(&lab.bucket.configuration("").replace(SECRET, "another-secret"));
    let headers = [("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386"), COLD, OCTETS];
    let refused = server.send("POST", "/images", &headers, &noise(1, SMALL));
    let text = refused.text();
    assert!(refused.status >= 500 && text.contains("cold"), "{refused:?}");
    assert!(!text.contains("another-secret") && !server.log().contains("another-secret"), "{text}");
    assert_eq!((server.names(""), lab.bucket.objects()), (vec![], vec![]));
}

#[test]
fn a_crash_leaves_no_piece_and_the_journal_knows_the_store() {
    let lab = Lab::new();
    let server = lab.serve("");
    let body = noise(1, SMALL);
    let kept = server.add("kept", &[COLD], &body);
    let head = [
        ("x-image-meta-name", "half"),
        ("x-image-meta-architecture", "i386"),
        COLD,
        OCTETS,
        ("Content-Length", "100000000"),
    ];
    let mut sending = server.connect();
    let mut half = request(server.address(), "POST", "/images", &head, b"");
    half.extend(noise(2, 40 << 20));
    std::io::Write::write_all(&mut sending, &half).unwrap();
    eventually("it is on its way", || server.names("").contains(&"half".to_owned()));
    server.kill();
    // Nothing but the journal is left of the catalogue.
    let config = lab.dir.path().join("visor.toml");
    let data = lab.data();
    let with = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let (code, _, wrong) = run(&[&["rebuild"], &with[..]].concat());
    assert_eq!(code, 0, "{wrong}");
    let server = lab.serve("");
    eventually("the other one is gone", || server.names("") == ["kept"]);
    assert_eq!(sha256(&server.get(&path(&kept)).body), sha256(&body));
    assert_eq!(lab.bucket.objects().len(), 1);
    assert!(server.stop().1);
    assert_eq!(run(&[&["verify"], &with[..]].concat()).0, 0);
    lab.bucket.damage(&lab.bucket.objects()[0], &noise(9, SMALL));
    let (code, said, wrong) = run(&[&["verify"], &with[..]].concat());
    assert!(code != 0 && format!("{said}{wrong}").contains(id(&kept)), "{said}{wrong}");
}

/// The secret of a store is the configuration's alone.
#[test]
fn the_secret_is_nowhere() {
    let lab = Lab::new();
    let server = lab.serve("[log]\nlevel = \"debug\"\n");
    let image = server.add("a", &[COLD], &noise(1, SMALL));
    lab.bucket.set_down(true);
    let mut said = vec![server.get(&path(&image)).text(), server.get("/images/detail").text()];
    for path in ["/v2/images", "/v2/info/stores/detail", "/v1/images/detail"] {
        said.push(server.get(path).text());
    }
    said.push(server.log());
    let config = lab.dir.path().join("visor.toml");
    said.push(run(&["config", "show", "--config", config.to_str().unwrap()]).1);
    for (at, text) in said.iter().enumerate() {
        assert!(!text.is_empty() && !text.contains(SECRET), "{at}: {text}");
    }
    assert!(said.last().unwrap().contains("not shown"));
    let mut left = vec![server.dir.clone()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{path:?}");
            }
        }
    }
}

/// A store behind a closed port: the client is told soon, and the clean-up of what never began keeps it from that no longer.
#[test]
fn a_store_that_takes_no_connection_is_told_soon() {
    let lab = Lab::new();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let configuration = lab.bucket.configuration("").replace(&lab.bucket.address.to_string(), &closed);
    let server = lab.serve_with(&format!("[log]\nlevel = \"debug\"\n{configuration}"));
    eventually("the start has given up", || server.log().contains("the store cold could not be swept"));
    let id = server.add("a", &[COLD], b"")["_id"].as_str().unwrap().to_owned();
    let image = format!("/images/{id}");
    for length in [SMALL, 20 << 20] {
        let said = server.log().len();
        let new = [("x-image-meta-name", "b"), ("x-image-meta-architecture", "x86_64"), COLD, OCTETS];
        let bytes = noise(80, length);
        for sent in [server.send("POST", "/images", &new, &bytes), server.send("PUT", &image, &[OCTETS], &bytes)] {
            assert_eq!((sent.status, sent.header("x-visor-error")), (503, Some("store-unavailable")), "{sent:?}");
        }
        let log = server.log()[said..].to_owned();
        assert!(!log.contains("is asked again"), "it is known that nothing answers: {log}");
        assert_eq!((server.names(""), status(&server, &id)), (vec!["a".to_owned()], "error".into()));
    }
}

/// A store that goes away is tried twice more, for little more than a second; then, until it comes back, each request has one try.
#[test]
fn a_store_that_goes_away_is_tried_again_and_not_for_long() {
    let lab = Lab::new();
    let server = lab.serve_with(&format!("[log]\nlevel = \"debug\"\n{}", lab.bucket.configuration("")));
    let bytes = noise(81, SMALL);
    assert_eq!(server.add("a", &[COLD], &bytes)["status"], "available");
    lab.bucket.shut();
    let said = server.log().len();
    let new = [("x-image-meta-name", "b"), ("x-image-meta-architecture", "x86_64"), COLD, OCTETS];
    assert_eq!(server.send("POST", "/images", &new, &bytes).status, 503);
    let pauses = |log: &str| log.matches("is asked again in").count();
    // Of the upload itself: all that follows it knows that nothing answers.
    assert_eq!(pauses(&server.log()[said..]), 2, "{}", &server.log()[said..]);
}
