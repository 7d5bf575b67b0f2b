//! Every method for images of Hyperkit, the Ruby client: the answers to what it sends are what it reads.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundles::{container, gzip, tar, yaml};
use crate::fake::{Fake, answer};
use crate::gem::{Gem, Raised};
use crate::harness::{Server, noise, qcow2, sha256};
use crate::secure::{Client, Identity, Lab};

/// A file to be sent.
fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn made(operation: &Value) -> String {
    assert_eq!((&operation["status_code"], &operation["err"]), (&json!(200), &json!("")), "{operation}");
    operation["metadata"]["fingerprint"].as_str().unwrap().to_owned()
}

fn not_found(text: &str) -> Raised {
    Raised { class: "NotFound", text: format!("404 - Error: {text}") }
}

fn bad(text: &str) -> Raised {
    Raised { class: "BadRequest", text: format!("400 - Error: {text}") }
}

#[test]
fn images_come_from_files_and_go_to_files() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let gem = Gem::new(&server);
    assert_eq!(gem.images(), Ok(Vec::new()));
    let bytes = container("ubuntu");
    let path = file(&dir, "ubuntu-14.04-amd64-lxc.tar.gz", &bytes);
    let options = json!({
        "fingerprint": sha256(&bytes),
        "public": true,
        "properties": { "os": "Ubuntu Linux", "path": "a/b:c", "größe": "klein", "version": 14.04 },
    });
    let fingerprint = made(&gem.create_image_from_file(&path, &options).unwrap());
    assert_eq!(fingerprint, sha256(&bytes));
    assert_eq!(gem.images(), Ok(vec![fingerprint.clone()]));
    let image = gem.image(&fingerprint, None).unwrap();
    assert_eq!(gem.image(&fingerprint[..3], None).as_ref(), Ok(&image), "as the documentation has it");
    let properties = json!({
        "os": "Ubuntu Linux", "release": "13", "path": "a/b:c", "größe": "klein", "version": "14.04",
    });
    for (name, value) in [
        ("properties", properties),
        ("filename", json!("ubuntu-14.04-amd64-lxc.tar.gz")),
        ("size", json!(bytes.len())),
        ("public", json!(true)),
        ("architecture", json!("x86_64")),
        ("aliases", json!([])),
        ("fingerprint", json!(fingerprint)),
        ("expires_at", json!("0001-01-01T00:00:00Z")),
    ] {
        assert_eq!(image[name], value, "{name}");
    }
    let exported = ("ubuntu-14.04-amd64-lxc.tar.gz".to_owned(), bytes.clone());
    assert_eq!(gem.export_image(&fingerprint, None), Ok(exported));

    // What is put is all that there is then; what is not named is as if it had never been set.
    assert_eq!(
        gem.update_image(&fingerprint[..3], &json!({ "properties": { "hello": "world", "n": 1 } })),
        Ok(json!({}))
    );
    assert_eq!(gem.sent().2, r#"{"properties":{"hello":"world","n":"1"}}"#);
    let image = gem.image(&fingerprint, None).unwrap();
    assert_eq!((&image["properties"], &image["public"]), (&json!({ "hello": "world", "n": "1" }), &json!(false)));
    gem.update_image(&fingerprint, &json!({ "public": true, "auto_update": true })).unwrap();
    let image = gem.image(&fingerprint, None).unwrap();
    let words = (&image["properties"], &image["public"], &image["auto_update"]);
    assert_eq!(words, (&json!({}), &json!(true), &json!(true)));

    let deleted = gem.delete_image(&fingerprint[..3]).unwrap();
    assert_eq!((&deleted["status"], gem.images()), (&json!("Success"), Ok(Vec::new())));
    for gone in [gem.image(&fingerprint, None), gem.delete_image("b41"), gem.update_image(&fingerprint, &json!({}))] {
        assert_eq!(gone, Err(not_found("Image not found")));
    }
    let renamed = json!({ "filename": "other.tar.gz" });
    let fingerprint = made(&gem.create_image_from_file(&path, &renamed).unwrap());
    let image = gem.image(&fingerprint, None).unwrap();
    assert_eq!((&image["filename"], &image["public"]), (&json!("other.tar.gz"), &json!(false)));
}

/// The gem knows of a failed operation only by what `wait` answers.
#[test]
fn what_fails_is_raised_with_its_reason() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let gem = Gem::new(&server);
    let bytes = container("a");
    let path = file(&dir, "a.tar.gz", &bytes);
    let other = sha256(b"other");
    let wrong = gem.create_image_from_file(&path, &json!({ "fingerprint": other }));
    assert_eq!(wrong, Err(bad(&format!("fingerprints don't match, got {} expected {other}", sha256(&bytes)))));
    let junk = gem.create_image_from_file(&file(&dir, "junk", &noise(1, 2000)), &json!({}));
    assert_eq!(junk, Err(bad("Unsupported compression")));
    let empty = gem.create_image_from_file(&file(&dir, "empty", b""), &json!({}));
    assert_eq!(empty, Err(bad("EOF")));
    assert_eq!(gem.images(), Ok(Vec::new()));
    gem.create_image_from_file(&path, &json!({})).unwrap();
    let twice = gem.create_image_from_file(&path, &json!({}));
    assert_eq!(twice, Err(bad("Image with same fingerprint already exists")));
}

#[test]
fn aliases_have_names_with_slashes() {
    let server = Server::start();
    let gem = Gem::new(&server);
    let (one, two) = (server.import(&container("one"), &[]), server.import(&container("two"), &[]));
    assert_eq!(gem.image_aliases(), Ok(Vec::new()));
    let described = json!({ "description": "Ubuntu Xenial amd64" });
    assert_eq!(gem.create_image_alias(&one, "ubuntu/xenial/amd64", &described), Ok(Value::Null));
    let body = json!({ "description": "Ubuntu Xenial amd64", "target": one, "name": "ubuntu/xenial/amd64" });
    assert_eq!(gem.sent(), ("POST".into(), "/1.0/images/aliases".into(), body.to_string()));
    gem.create_image_alias(&one[..12], "with space", &json!({})).unwrap();
    assert_eq!(gem.image_aliases(), Ok(vec!["ubuntu/xenial/amd64".into(), "with space".into()]));
    let alias = gem.image_alias("ubuntu/xenial/amd64").unwrap();
    assert_eq!((&alias["target"], &alias["description"]), (&json!(one), &json!("Ubuntu Xenial amd64")));
    assert_eq!(gem.image_alias("with space").unwrap()["target"], one, "in full, whatever was given");
    let image = gem.image_by_alias("ubuntu/xenial/amd64").unwrap();
    assert_eq!(image["fingerprint"], one);
    let shown = json!({ "name": "ubuntu/xenial/amd64", "description": "Ubuntu Xenial amd64" });
    assert_eq!(image["aliases"][0], shown);

    // It sends what it has read, with what is new laid over it.
    assert_eq!(gem.update_image_alias("ubuntu/xenial/amd64", &json!({ "target": two })), Ok(json!({})));
    assert_eq!(gem.sent().2, json!({ "description": "Ubuntu Xenial amd64", "target": two }).to_string());
    gem.update_image_alias("ubuntu/xenial/amd64", &json!({ "description": "16.04" })).unwrap();
    let alias = gem.image_alias("ubuntu/xenial/amd64").unwrap();
    assert_eq!((&alias["target"], &alias["description"]), (&json!(two), &json!("16.04")));

    assert_eq!(gem.rename_image_alias("ubuntu/xenial/amd64", "ubuntu/xenial/default"), Ok(Value::Null));
    assert_eq!(gem.image_alias("ubuntu/xenial/amd64"), Err(not_found("Image alias not found")));
    assert_eq!(gem.image_by_alias("ubuntu/xenial/default").unwrap()["fingerprint"], two);
    let taken = gem.rename_image_alias("with space", "ubuntu/xenial/default").unwrap_err();
    assert_eq!(taken.class, "Conflict");
    assert_eq!(gem.create_image_alias(&one, "with space", &json!({})).unwrap_err().class, "Conflict");
    assert_eq!(gem.create_image_alias(&"0".repeat(64), "x", &json!({})).unwrap_err().class, "NotFound");

    assert_eq!(gem.delete_image_alias("ubuntu/xenial/default"), Ok(json!({})));
    assert_eq!(gem.image_aliases(), Ok(vec!["with space".into()]));
    for missing in [
        gem.delete_image_alias("x/y"),
        gem.rename_image_alias("x/y", "z"),
        gem.update_image_alias("x/y", &json!({ "target": one })),
        gem.image_by_alias("x/y"),
    ] {
        assert_eq!(missing, Err(not_found("Image alias not found")));
    }
}

#[test]
fn images_come_from_remotes() {
    let (remote, server) = (Server::secure(&[]), Server::with(&["--allow-fetch", "127.0.0.1/32"]));
    let gem = Gem::new(&server);
    let url = format!("https://{}", remote.secure.as_deref().unwrap());
    let certificate = remote.lxd("/1.0")["environment"]["certificate"].as_str().unwrap().to_owned();
    let headers =
        [("X-LXD-public", "1"), ("X-LXD-filename", "xenial.tar.gz"), ("X-Incus-aliases", "alias=ubuntu/xenial")];
    let fingerprint = remote.import(&container("xenial"), &headers);
    let options = json!({
        "alias": "ubuntu/xenial",
        "auto_update": true,
        "public": true,
        "certificate": certificate,
        "properties": { "hello": "world" },
    });
    assert_eq!(made(&gem.create_image_from_remote(&url, &options).unwrap()), fingerprint);
    let image = gem.image(&fingerprint, None).unwrap();
    for (name, value) in [
        ("properties", json!({ "os": "xenial", "release": "13", "hello": "world" })),
        ("filename", json!("xenial.tar.gz")),
        ("public", json!(true)),
        ("auto_update", json!(true)),
    ] {
        assert_eq!(image[name], value, "{name}");
    }
    gem.delete_image(&fingerprint).unwrap();

    let private = remote.import(&container("private"), &[("X-LXD-filename", "private.tar.gz")]);
    let secret = Gem::new(&remote).create_image_secret(&private).unwrap()["metadata"]["secret"].clone();
    let options = json!({
        "fingerprint": private, "protocol": "lxd", "secret": secret, "certificate": certificate, "filename": "mine.tar.gz",
    });
    assert_eq!(made(&gem.create_image_from_remote(&url, &options).unwrap()), private);
    let source = json!({
        "secret": secret, "protocol": "lxd", "certificate": certificate, "type": "image", "mode": "pull", "server": url,
        "fingerprint": private,
    });
    assert_eq!(gem.sent().2, json!({ "filename": "mine.tar.gz", "source": source }).to_string());
    assert_eq!(gem.image(&private, None).unwrap()["filename"], "mine.tar.gz");

    for protocol in ["simplestreams", "lxd"] {
        let options = json!({ "alias": "ubuntu/xenial", "protocol": protocol, "certificate": certificate });
        assert_eq!(made(&gem.create_image_from_remote(&url, &options).unwrap()), fingerprint, "{protocol}");
        gem.delete_image(&fingerprint).unwrap();
        let options = json!({ "alias": "ubuntu/none", "protocol": protocol, "certificate": certificate });
        let missing = gem.create_image_from_remote(&url, &options).unwrap_err();
        assert!(
            missing.class == "BadRequest" && missing.text.contains("has no image or alias 'ubuntu/none'"),
            "{missing:?}"
        );
    }
}

#[test]
fn images_come_from_urls_that_say_where_they_are() {
    let server = Server::with(&["--allow-fetch", "127.0.0.1/32"]);
    let (gem, bytes) = (Gem::new(&server), container("trusty"));
    let sent = bytes.clone();
    // As Apache has it, with the .htaccess of the gem's documentation in a directory.
    let web = Fake::serving(None, move |asked| {
        let host = asked.header("host").unwrap();
        match (asked.head.split(' ').next().unwrap(), asked.target()) {
            ("HEAD", "/ubuntu-14.04") => answer("301 Moved", &format!("Location: http://{host}/ubuntu-14.04/\r\n"), ""),
            ("HEAD", path @ ("/ubuntu-14.04/" | "/liar/" | "/hashless/" | "/urlless/")) => {
                let hash = sha256(if path == "/liar/" { b"other" } else { &sent });
                let hash = if path == "/hashless/" { String::new() } else { format!("LXD-Image-Hash: {hash}\r\n") };
                let url = format!("LXD-Image-URL: http://{host}{path}ubuntu-14.04-amd64-lxc.tar.gz\r\n");
                answer("200 OK", &format!("{hash}{}", if path == "/urlless/" { "" } else { &url }), "")
            }
            ("GET", path) if path.ends_with("/ubuntu-14.04-amd64-lxc.tar.gz") => {
                answer("200 OK", "Content-Type: application/x-gzip\r\n", &sent)
            }
            _ => answer("404 Not Found", "", ""),
        }
    });
    let options = json!({ "public": true, "properties": { "codename": "trusty" } });
    let fingerprint = made(&gem.create_image_from_url(&web.url("ubuntu-14.04"), &options).unwrap());
    assert_eq!(fingerprint, sha256(&bytes));
    let source = json!({ "type": "url", "url": web.url("ubuntu-14.04") });
    let body = json!({ "public": true, "properties": { "codename": "trusty" }, "source": source });
    assert_eq!(gem.sent(), ("POST".into(), "/1.0/images".into(), body.to_string()));
    assert_eq!(web.asked()[0].header("lxd-server-version"), Some("5.0.2"));
    assert!(web.asked()[0].header("lxd-server-architectures").unwrap().contains(std::env::consts::ARCH));
    let image = gem.image(&fingerprint, None).unwrap();
    assert_eq!(image["filename"], "ubuntu-14.04-amd64-lxc.tar.gz", "or the gem could not export it");
    assert_eq!(image["properties"], json!({ "os": "trusty", "release": "13", "codename": "trusty" }));
    assert_eq!((&image["public"], gem.export_image(&fingerprint, None).unwrap().1), (&json!(true), bytes.clone()));
    gem.delete_image(&fingerprint).unwrap();
    let named = json!({ "filename": "ubuntu-trusty.tar.gz" });
    assert_eq!(made(&gem.create_image_from_url(&web.url("ubuntu-14.04/"), &named).unwrap()), fingerprint);
    let image = gem.image(&fingerprint, None).unwrap();
    assert_eq!((&image["filename"], &image["public"]), (&json!("ubuntu-trusty.tar.gz"), &json!(false)));
    gem.delete_image(&fingerprint).unwrap();
    // The file of the public one stays for a while.
    let before = server.files();
    let lie = format!("{} != {}", sha256(&bytes), sha256(b"other"));
    for (path, text) in [
        ("liar/", lie.as_str()),
        ("hashless/", "Missing LXD-Image-Hash header"),
        ("urlless/", "Missing LXD-Image-URL header"),
        ("none", "Missing LXD-Image-Hash header"),
    ] {
        let raised = gem.create_image_from_url(&web.url(path), &json!({})).unwrap_err();
        assert!(raised.class == "BadRequest" && raised.text.contains(text), "{path}: {raised:?}");
    }
    assert_eq!((gem.images(), server.files()), (Ok(Vec::new()), before));
}

fn lend(dir: &Path) {
    for (state, os) in [("", "lent"), ("snapshots/snapshot1", "earlier")] {
        std::fs::create_dir_all(dir.join(state).join("rootfs/etc")).unwrap();
        std::fs::write(dir.join(state).join("rootfs/etc/hostname"), os).unwrap();
        std::fs::write(dir.join(state).join("metadata.yaml"), yaml(os)).unwrap();
    }
}

#[test]
fn images_are_made_of_containers_and_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    lend(dir.path());
    let path = dir.path().display();
    let server =
        Server::configured(&format!("[lxd]\ninstances = [{{ name = \"test-container\", path = \"{path}\" }}]\n"));
    let gem = Gem::new(&server);
    let options = json!({ "filename": "ubuntu-trusty.tar.gz", "public": true, "properties": { "os": "ubuntu", "version": 14.04 } });
    let one = made(&gem.create_image_from_container("test-container", &options).unwrap());
    let (properties, source) =
        (json!({ "os": "ubuntu", "version": "14.04" }), json!({ "type": "container", "name": "test-container" }));
    let body = json!({
        "filename": "ubuntu-trusty.tar.gz", "public": true, "properties": properties, "source": source,
    });
    assert_eq!(gem.sent().2, body.to_string());
    let image = gem.image(&one, None).unwrap();
    assert_eq!(image["properties"], properties, "these, and no others");
    assert_eq!((&image["filename"], &image["public"]), (&json!("ubuntu-trusty.tar.gz"), &json!(true)));
    let other =
        made(&gem.create_image_from_snapshot("test-container", "snapshot1", &json!({ "description": "x" })).unwrap());
    let image = gem.image(&other, None).unwrap();
    assert_eq!(image["properties"], json!({ "os": "earlier", "release": "13" }));
    assert_eq!((&image["public"], &image["type"]), (&json!(false), &json!("container")));
    assert_ne!(one, other);
    for (fingerprint, text) in [(&one, "lent"), (&other, "earlier")] {
        let (_, bytes) = gem.export_image(fingerprint, None).unwrap();
        assert_eq!(&sha256(&bytes), fingerprint);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut found = String::new();
        for member in archive.entries().unwrap().map(Result::unwrap) {
            if member.path().unwrap().ends_with("rootfs/etc/hostname") {
                std::io::Read::read_to_string(&mut { member }, &mut found).unwrap();
            }
        }
        assert_eq!(found, text);
    }
    let missing = not_found("Instance not found");
    for name in ["other", "", ".."] {
        assert_eq!(gem.create_image_from_container(name, &json!({})).unwrap_err(), missing, "{name}");
    }
    // As LXD: a name with a slash is a snapshot's, which is published as one.
    for name in ["../test-container", "test-container/rootfs"] {
        assert_eq!(gem.create_image_from_container(name, &json!({})).unwrap_err(), bad("This is a snapshot"), "{name}");
    }
    for snapshot in ["other", "", "..", "../rootfs"] {
        let raised = gem.create_image_from_snapshot("test-container", snapshot, &json!({})).unwrap_err();
        assert_eq!(raised, missing, "{snapshot}");
    }
}

#[test]
fn a_secret_lets_an_untrusted_client_in() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let gem = Gem::secure(&alice);
    let dir = tempfile::tempdir().unwrap();
    let bytes = gzip(&tar(&[("metadata.yaml", yaml("a").as_bytes()), ("rootfs.img", &qcow2(b"disk"))]));
    let path = file(&dir, "a.tar.gz", &bytes);
    let fingerprint = made(&gem.create_image_from_file(&path, &json!({})).unwrap());
    let token = gem.create_image_secret(&fingerprint[..3]).unwrap();
    assert_eq!(gem.sent(), ("POST".into(), format!("/1.0/images/{}/secret", &fingerprint[..3]), "{}".into()));
    let words =
        [("class", json!("token")), ("status", json!("Running")), ("status_code", json!(103)), ("err", json!(""))];
    for (name, value) in words {
        assert_eq!(token[name], value, "{name}");
    }
    assert_eq!(token["resources"], json!({ "images": [format!("/1.0/images/{fingerprint}")] }));
    let secret = token["metadata"]["secret"].as_str().unwrap();
    let untrusted = Client::new(&lab.server, Some(&Identity::new("ruby")));
    let stranger = Gem::secure(&untrusted);
    assert_eq!(stranger.image(&fingerprint, None).unwrap_err().class, "Forbidden");
    assert_eq!(stranger.image(&fingerprint, Some("guess")).unwrap_err().class, "Forbidden");
    let image = stranger.image(&fingerprint, Some(secret)).unwrap();
    assert_eq!((&image["fingerprint"], &image["filename"]), (&json!(fingerprint), &json!("a.tar.gz")));
    // The gem reads the image without the secret first, so only who may see it can export it.
    assert_eq!(stranger.export_image(&fingerprint, Some(secret)).unwrap_err().class, "Forbidden");
    let export = untrusted.get(&format!("/1.0/images/{fingerprint}/export?secret={secret}"));
    assert_eq!((export.status, &export.body), (200, &bytes));
    assert_eq!(gem.export_image(&fingerprint, Some(secret)), Ok(("a.tar.gz".into(), bytes)));

    let token = gem.create_image_secret(&fingerprint).unwrap();
    let id = token["id"].as_str().unwrap();
    assert_eq!(gem.cancel_operation(id), Ok(json!({})));
    let secret = token["metadata"]["secret"].as_str().unwrap();
    assert_eq!(stranger.image(&fingerprint, Some(secret)).unwrap_err().class, "Forbidden", "it ends at once");
    assert_eq!(gem.cancel_operation(id).unwrap_err(), bad("Only running operations can be cancelled"));
    assert_eq!(gem.wait_for_operation(id).unwrap_err().class, "Unauthorized", "which is how the gem reads 401");
    assert_eq!(gem.create_image_secret("b41").unwrap_err(), not_found("Image not found"));
}
