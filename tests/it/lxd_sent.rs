//! Images that one client asks for and another sends, by a secret that is good once.

use serde_json::{Value, json};

use crate::bundles::{container, form, metadata};
use crate::harness::{Server, noise, qcow2, sha256};

/// Asks for an image that somebody else will send, and returns the secret for it.
pub(crate) fn awaited(server: &Server, asked: &Value) -> String {
    let answer = server.send_json("POST", "/1.0/images", asked);
    assert_eq!(answer.status, 202, "{answer:?}");
    let operation = answer.json()["metadata"].clone();
    assert_eq!((&operation["class"], &operation["status_code"]), (&"token".into(), &103.into()));
    operation["metadata"]["secret"].as_str().unwrap().to_owned()
}

pub(crate) fn source(fingerprint: &str) -> Value {
    json!({ "type": "image", "mode": "push", "fingerprint": fingerprint })
}

#[test]
fn what_is_sent_becomes_what_was_asked_for() {
    let server = Server::start();
    let bytes = container("pushed");
    let fingerprint = sha256(&bytes);
    let wanted = json!({
        "source": source(&fingerprint), "public": true, "properties": { "os": "Asked" }, "filename": "asked.tar.gz",
        "aliases": [{ "name": "mine", "description": "said" }],
    });
    let secret = awaited(&server, &wanted);
    let headers = [("X-LXD-secret", secret.as_str()), ("X-LXD-properties", "os=Sent"), ("X-LXD-filename", "sent")];
    assert_eq!(server.import(&bytes, &headers), fingerprint);
    let image = server.lxd("/1.0/images/aliases/mine");
    assert_eq!((&image["target"], &image["description"]), (&fingerprint.as_str().into(), &"said".into()));
    let image = server.lxd(&format!("/1.0/images/{fingerprint}"));
    assert_eq!((&image["public"], &image["properties"]["os"]), (&true.into(), &"Asked".into()));
    assert_eq!(image["filename"], "asked.tar.gz");
    let again = server.send("POST", "/1.0/images", &[("X-LXD-secret", &secret)], &container("again"));
    assert_eq!(server.refused(&again), (403, "not authorized".to_owned()));
}

#[test]
fn another_image_than_the_one_that_was_asked_for_is_not_taken() {
    let server = Server::start();
    let secret = awaited(&server, &json!({ "source": source(&sha256(&container("asked"))) }));
    let said = server.failed(&server.send("POST", "/1.0/images", &[("X-LXD-secret", &secret)], &container("sent")));
    assert!(said.starts_with("fingerprints don't match"), "{said}");
    assert_eq!(server.lxd("/1.0/images"), json!([]));
}

#[test]
fn a_public_image_may_be_asked_for_by_its_alias() {
    let server = Server::start();
    let bytes = container("pushed");
    let (right, other) = (sha256(&bytes), sha256(b"other"));
    let secret = awaited(&server, &json!({ "source": source("debian/13") }));
    // Then it is what its sender says that it is.
    let headers = [("X-LXD-secret", secret.as_str()), ("X-LXD-fingerprint", &other)];
    let wrong = server.send("POST", "/1.0/images", &headers, &bytes);
    assert!(server.failed(&wrong).starts_with("fingerprints don't match"));
    let secret = awaited(&server, &json!({ "source": source("debian/13") }));
    assert_eq!(server.import(&bytes, &[("X-LXD-secret", &secret), ("X-LXD-fingerprint", &right)]), right);
}

#[test]
fn a_disk_is_a_machines_root_whatever_it_is_called() {
    let server = Server::start();
    let disk = qcow2(b"disk");
    let fingerprint = sha256(&[metadata("vm"), disk.clone()].concat());
    let secret = awaited(&server, &json!({ "source": source(&fingerprint) }));
    // As LXD pushes it.
    assert_eq!(server.import_split("vm", "rootfs", &disk, &[("X-LXD-secret", &secret)]), fingerprint);
    assert_eq!(server.lxd(&format!("/1.0/images/{fingerprint}"))["type"], "virtual-machine");
    let squashfs = [b"hsqs".as_slice(), &noise(7, 4092)].concat();
    let (content_type, body) = form(&[("metadata", "", &metadata("c")), ("rootfs.img", "", &squashfs)]);
    let answer = server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body);
    assert_eq!(server.failed(&answer), "Unsupported compression");
}

/// `lxc` says the name of a file as it is.
#[test]
fn a_file_may_be_called_in_any_language() {
    let server = Server::start();
    let fingerprint = server.import(&container("x"), &[("X-LXD-filename", "Größe.tar.xz")]);
    assert_eq!(server.lxd(&format!("/1.0/images/{fingerprint}"))["filename"], "Größe.tar.xz");
    for bad in ["a\u{85}b", "a\tb"] {
        let answer = server.send("POST", "/1.0/images", &[("X-LXD-filename", bad)], &container("y"));
        assert!(server.failed(&answer).contains("control character"), "{bad:?}");
    }
}
