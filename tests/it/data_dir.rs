//! Data directories of earlier programs (`tests/fixtures/data-dir`), opened by today's: nothing is lost, and nothing is told
//! differently.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::auth::Account;
use crate::glance;
use crate::harness::{Server, eventually, md5, run};
use crate::identity::token;
use crate::secure::{Client, Identity};

/// A row per program that left a directory.
const VERSIONS: [&str; 1] = ["0.1.0"];

/// Nothing is looked up where it came from: that server is gone.
const CONFIG: &str = "[glance]\nos_hash_algo = \"sha512\"\n[lxd]\nauto_update_interval = \"0s\"\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-dir").join(name)
}

/// What happened to a directory before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// Its database was deleted: only the journal is left.
    DatabaseGone,
}

/// An unpacked directory, and what the program that made it said about it.
struct Left {
    notes: Value,
    dir: PathBuf,
    config: PathBuf,
    _temp: tempfile::TempDir,
}

impl Left {
    fn unpack(version: &str, variant: &str, before: Before) -> Self {
        let notes = std::fs::read_to_string(fixture(&format!("v{version}.json"))).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let (dir, config) = (temp.path().join("data"), temp.path().join("visor.toml"));
        let file = std::fs::File::open(fixture(&format!("v{version}{variant}.tar.gz"))).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(&dir).unwrap();
        std::fs::write(&config, CONFIG).unwrap();
        if before == Before::DatabaseGone {
            std::fs::remove_dir_all(dir.join("catalog/sled")).unwrap();
        }
        Self { notes: serde_json::from_str(&notes).unwrap(), dir, config, _temp: temp }
    }

    fn serve(&self) -> Server {
        Server::secure_on(&self.dir, &["--config", self.config.to_str().unwrap()])
    }

    fn text(&self, name: &str) -> &str {
        self.notes[name].as_str().unwrap()
    }

    fn account(&self, name: &str) -> Account {
        let secret = self.notes["accounts"][name].as_str().unwrap();
        Account { key: name.to_owned(), secret: secret.to_owned() }
    }

    fn glance<'a>(&self, server: &'a Server, name: &str) -> glance::Client<'a> {
        glance::Client { server, token: token(server, name, &self.account(name).secret) }
    }

    /// What the earlier program answered.
    fn answer(&self, name: &str) -> &Value {
        &self.notes["answers"][name]
    }
}

/// Compares one by one, so that a failure shows what differs.
fn assert_same(what: &str, found: &[Value], expected: &[Value]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// The images of a list of VISOR's, without the address of the server that they were asked of.
fn visor_images(list: &Value) -> Vec<Value> {
    let without = |image: &Value| {
        let mut image = image.clone();
        assert!(image.as_object_mut().unwrap().remove("uri").is_some());
        image
    };
    list["images"].as_array().unwrap().iter().map(without).collect()
}

/// The images of a list of LXD's; `counted` says whether the counters of reads are still there.
fn lxd_images(list: &Value, counted: bool) -> Vec<Value> {
    let mut images = list.as_array().unwrap().clone();
    if !counted {
        images.iter_mut().for_each(|image| drop(image.as_object_mut().unwrap().remove("last_used_at")));
    }
    images
}

/// The name of a disk that is offered to LXD: an image of that name whose file name was made from it.
fn offered_name(image: &Value) -> Option<&Value> {
    let name = &image["properties"]["description"];
    let made = format!("{}.qcow2", name.as_str().unwrap_or_default());
    Some(name).filter(|_| image["aliases"] == json!([]) && image["filename"] == made.as_str())
}

/// An image of LXD's as later programs show it: without an end it ends in year 1, which every client reads as never, and the
/// name of an offered disk is an alias.
fn as_shown_today(mut image: Value) -> Value {
    if image["expires_at"] == "1970-01-01T00:00:00Z" {
        image["expires_at"] = json!("0001-01-01T00:00:00Z");
    }
    if let Some(name) = offered_name(&image).cloned() {
        image["aliases"] = json!([{ "name": name, "description": "" }]);
    }
    image
}

/// The aliases of an account as later programs list them, with the names of its offered disks.
fn aliases_today(listed: &Value, images: &Value) -> Value {
    let disks = images.as_array().unwrap().iter().filter_map(|image| {
        let name = offered_name(image)?;
        let (target, kind) = (&image["fingerprint"], &image["type"]);
        Some(json!({ "name": name, "description": "", "target": target, "type": kind }))
    });
    let mut all: Vec<Value> = listed.as_array().unwrap().iter().cloned().chain(disks).collect();
    all.sort_by_key(|alias| alias["name"].as_str().unwrap().to_owned());
    all.into()
}

fn answers_are_what_they_were(left: &Left, server: &Server, before: Before) {
    let (alice, bob) = (left.glance(server, "alice"), left.glance(server, "bob"));
    let listed = left.account("alice").send(server, "GET", "/images/detail", &[], b"").text();
    let listed = serde_json::from_str(&listed.replace(left.dir.to_str().unwrap(), "DATA")).unwrap();
    assert_same("visor", &visor_images(&listed), &visor_images(left.answer("visor")));
    for (client, name, path) in [
        (&alice, "glance_v1", "/v1/images/detail?is_public=none&limit=1000"),
        (&alice, "glance_v2", "/v2/images?limit=1000&visibility=all"),
        (&alice, "glance_v2_hidden", "/v2/images?limit=1000&visibility=all&os_hidden=true"),
        (&bob, "glance_v2_bob", "/v2/images?limit=1000"),
        (&bob, "members", &format!("/v2/images/{}/members", left.text("shared"))),
        (&alice, "metadefs", "/v2/metadefs/namespaces/OS::Lab::Flavor"),
    ] {
        let (found, expected) = (client.get(path).json(), left.answer(name));
        if let (Some(found), Some(expected)) = (found["images"].as_array(), expected["images"].as_array()) {
            assert_same(name, found, expected);
        }
        assert_eq!(&found, expected, "{name}");
    }
    let lxd = |name: &str| {
        let client = Client::new(server, Some(&Identity::new("desktop")));
        client.log_in(&format!("{name}:{}", left.account(name).secret));
        client
    };
    for (name, answer) in [("alice", "lxd"), ("bob", "lxd_bob")] {
        let listed = lxd(name).read("/1.0/images?recursion=1");
        let counted = before == Before::Nothing;
        let expected: Vec<Value> = lxd_images(left.answer(answer), counted).into_iter().map(as_shown_today).collect();
        assert_same(answer, &lxd_images(&listed, counted), &expected);
    }
    let alice = lxd("alice");
    // The images are bob's; alice was shown their aliases as an administrator.
    let aliases = aliases_today(left.answer("aliases"), left.answer("lxd"));
    assert_eq!(lxd("bob").read("/1.0/images/aliases?recursion=1"), aliases);
    assert_eq!(alice.read("/1.0/images/aliases"), json!([]));
    // Each finds its image, in the index that was made anew.
    for alias in aliases.as_array().unwrap() {
        let path = format!("/1.0/images/aliases/{}", alias["name"].as_str().unwrap().replace(' ', "%20"));
        assert_eq!(alice.read(&path), *alias);
    }
    let trusted = alice.read("/1.0/certificates?recursion=1");
    for certificate in left.answer("certificates").as_array().unwrap() {
        assert!(trusted.as_array().unwrap().contains(certificate), "{certificate}");
    }
}

fn what_was_begun_goes_on(left: &Left, server: &Server) {
    let (account, bob) = (left.account("bob"), left.glance(server, "bob"));
    let (path, whole) = (left.text("open"), b"first halfother half");
    let head = account.send(server, "HEAD", path, &[], b"");
    assert_eq!(
        (head.status, head.header("upload-offset"), head.header("upload-length")),
        (204, Some("10"), Some("20"))
    );
    let headers = [("Content-Type", "application/partial-upload"), ("Upload-Offset", "10"), ("Upload-Complete", "?1")];
    let done = account.send(server, "PATCH", path, &headers, &whole[10..]);
    assert_eq!((done.status, done.json()["image"]["checksum"].clone()), (200, json!(md5(whole))), "{done:?}");
    assert_eq!(account.send(server, "GET", &path.replace("/uploads/", "/images/"), &[], b"").body, whole);

    let staged = left.text("staged");
    let import = json!({ "method": { "name": "glance-direct" } });
    assert_eq!(bob.post(&format!("/v2/images/{staged}/import"), &import).status, 202);
    eventually("what was staged is imported", || bob.status(staged) == "active");
    assert_eq!(bob.get(&format!("/v2/images/{staged}/file")).body, b"staged");

    for id in left.notes["gone"].as_array().unwrap() {
        let again = bob.post("/v2/images", &json!({ "id": id, "name": "again" }));
        assert_eq!(again.status, 409, "an id is not used again: {again:?}");
    }
}

/// `visor verify`, which finds nothing but what is gone on purpose: a file that was linked, and URLs.
fn verified(left: &Left) {
    let directory = left.dir.to_str().unwrap();
    let (_, told, _) = run(&["--json", "verify", "--config", left.config.to_str().unwrap(), "--data-dir", directory]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let elsewhere = |image: &&Value| ["at a URL", "linked", "located"].contains(&image["name"].as_str().unwrap());
    let images = left.answer("visor")["images"].as_array().unwrap();
    let expected: BTreeSet<&str> =
        images.iter().filter(elsewhere).map(|image| image["_id"].as_str().unwrap()).collect();
    let problems: Vec<&str> = told["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    // image NAME (ID): …
    let named = problems
        .iter()
        .map(|text| text.split_once("): ").and_then(|(title, _)| title.rsplit('(').next()).unwrap_or(text));
    assert_eq!(named.collect::<BTreeSet<_>>(), expected, "{told}");
    assert_eq!(problems.len(), expected.len(), "{told}");
}

#[test]
fn a_directory_of_an_earlier_program_opens_and_nothing_is_lost() {
    for version in VERSIONS {
        for before in [Before::Nothing, Before::DatabaseGone] {
            let left = Left::unpack(version, "", before);
            verified(&left);
            let server = left.serve();
            let files = server.files();
            answers_are_what_they_were(&left, &server, before);
            assert_eq!(server.files(), files, "what lingers, and what was begun, is still there");
            what_was_begun_goes_on(&left, &server);
            if before == Before::Nothing {
                let removed = format!("/images/{}", left.text("machine"));
                let removed = left.account("bob").send(&server, "DELETE", &removed, &[], b"");
                assert_eq!(removed.json()["image"]["access_count"], 3, "{removed:?}");
            }
            assert!(server.stop().1);
            verified(&left);
        }
    }
}

#[test]
fn a_directory_of_an_earlier_program_that_was_killed_opens() {
    for version in VERSIONS {
        for before in [Before::Nothing, Before::DatabaseGone] {
            let left = Left::unpack(version, "-killed", before);
            let server = left.serve();
            let (half, bob) = (left.text("half"), left.glance(&server, "bob"));
            assert_eq!((bob.status(half).as_str(), bob.show(half)["size"].clone()), ("queued", Value::Null));
            assert!(!server.files().1.iter().any(|file| file.starts_with(half)), "the half of a file is gone");
            let path = format!("/v2/images/{half}/file");
            assert_eq!(bob.put(&path, b"half of it and the rest").status, 204);
            assert_eq!(bob.get(&path).body, b"half of it and the rest");
            bob.delete(&format!("/v2/images/{half}"));
            answers_are_what_they_were(&left, &server, before);
            what_was_begun_goes_on(&left, &server);
            assert!(server.stop().1);
            verified(&left);
        }
    }
}
