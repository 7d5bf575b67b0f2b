//! Images that are given and not fetched: by somebody who is not trusted and brings a secret, and by one server to another.

use std::io::Write;

use serde_json::{Value, json};

use crate::bundles::{container, form, gzip, metadata, tar};
use crate::harness::{Server, eventually, noise, qcow2, request, sha256};
use crate::lxd_sources::{PUBLIC, asking, remote};
use crate::secure::{Client, Lab, refusal};

/// Asks for an image to be brought: the operation's path, and the secret in it.
fn ticket(client: &Client, fingerprint: &str, more: Value) -> (String, String) {
    let mut body = json!({ "source": { "type": "image", "mode": "push", "fingerprint": fingerprint } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = client.send("POST", "/1.0/images", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let operation = answer.json()["metadata"].clone();
    assert_eq!((&operation["class"], &operation["status_code"]), (&json!("token"), &json!(103)));
    assert_eq!(operation["metadata"]["fingerprint"], fingerprint);
    let secret = operation["metadata"]["secret"].as_str().unwrap().to_owned();
    (answer.json()["operation"].as_str().unwrap().to_owned(), secret)
}

/// The headers with which one brings it.
fn with<'a>(secret: &'a str, fingerprint: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("X-LXD-secret", secret), ("X-LXD-fingerprint", fingerprint), ("X-LXD-filename", "theirs.tar.gz")]
}

#[test]
fn who_brings_the_secret_brings_the_image() {
    let lab = Lab::new();
    let (alice, bob, stranger) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.stranger());
    let bytes = container("pushed");
    let fingerprint = sha256(&bytes);
    let wanted = json!({
        "public": true,
        "properties": { "os": "mine" },
        "aliases": [{ "name": "os/pushed", "description": "d" }],
        "expires_at": "2040-01-02T03:04:05Z",
    });
    let (path, secret) = ticket(&alice, &fingerprint, wanted);
    // Only what the secret's owner asked for counts.
    let mut headers = with(&secret, &fingerprint);
    headers.extend([("X-LXD-properties", "os=theirs&x=y"), ("X-Incus-aliases", "alias=theirs")]);
    let answer = stranger.raw("POST", "/1.0/images", &headers, &bytes);
    assert_eq!(answer.status, 202, "{answer:?}");
    let operation = answer.json()["operation"].as_str().unwrap().to_owned();
    let waiting = answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    assert_ne!(waiting, secret);
    for wrong in ["", "?secret=guess", &format!("?secret={secret}")] {
        refusal(&stranger.get(&format!("{operation}/wait{wrong}")), 403);
    }
    let ended = stranger.read(&format!("{operation}/wait?secret={waiting}"));
    assert_eq!((&ended["status_code"], &ended["metadata"]["fingerprint"]), (&json!(200), &json!(fingerprint)));
    let image = alice.read(&format!("/1.0/images/{fingerprint}"));
    for (name, value) in [
        ("public", json!(true)),
        ("properties", json!({ "os": "mine" })),
        ("aliases", json!([{ "name": "os/pushed", "description": "d" }])),
        ("expires_at", json!("2040-01-02T03:04:05Z")),
        ("filename", json!("theirs.tar.gz")),
    ] {
        assert_eq!(image[name], value, "{name}");
    }
    assert_eq!(alice.read(&path)["status"], "Success");
    // It is hers.
    refusal(&bob.delete(&format!("/1.0/images/{fingerprint}")), 403);
    assert_eq!(alice.ended(&alice.delete(&format!("/1.0/images/{fingerprint}")))["status"], "Success");
    assert!(!lab.server.log().contains(&secret) && !lab.server.log().contains(&waiting));
}

#[test]
fn a_secret_is_good_once_and_for_one_image() {
    let lab = Lab::new();
    let (alice, bob, stranger) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.stranger());
    let (bytes, other) = (container("wanted"), container("other"));
    let fingerprint = sha256(&bytes);
    let bring = |secret: &str, expected: &str, bytes: &[u8]| {
        stranger.raw("POST", "/1.0/images", &with(secret, expected), bytes)
    };
    let (_, secret) = ticket(&alice, &fingerprint, json!({}));
    // Whatever the bringer says that it is.
    let answer = bring(&secret, &sha256(&other), &other);
    let waiting = answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    let path = answer.json()["operation"].as_str().unwrap().to_owned();
    let failed = stranger.read(&format!("{path}/wait?secret={waiting}"));
    let text = format!("fingerprints don't match, got {} expected {fingerprint}", sha256(&other));
    assert_eq!((&failed["status_code"], &failed["err"]), (&json!(400), &json!(text)));
    for gone in [secret.as_str(), "guess", &waiting] {
        assert_eq!(refusal(&bring(gone, &fingerprint, &bytes), 403), "not authorized");
        // Not for somebody who would be let in without one, either.
        let answer = bob.raw("POST", "/1.0/images", &with(gone, &fingerprint), &bytes);
        assert_eq!(refusal(&answer, 403), "not authorized");
    }
    let (path, secret) = ticket(&alice, &fingerprint, json!({}));
    assert_eq!(alice.delete(&path).status, 200);
    assert_eq!(refusal(&bring(&secret, &fingerprint, &bytes), 403), "not authorized");
    // A secret for reading is none for writing, and the other way round.
    let here = alice.import(&container("here"), &[]);
    let answer = alice.send("POST", &format!("/1.0/images/{here}/secret"), &Value::Null);
    let reading = answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(refusal(&bring(&reading, &fingerprint, &bytes), 403), "not authorized");
    let (_, secret) = ticket(&alice, &here, json!({}));
    refusal(&stranger.get(&format!("/1.0/images/{here}?secret={secret}")), 403);
    assert_eq!(alice.read("/1.0/images"), json!([format!("/1.0/images/{here}")]));
    eventually("no files are left", || lab.server.files().0.len() == 1 && lab.server.files().1.is_empty());
}

/// Clients send along what the other server showed as the end of the image, whoever had said that.
#[test]
fn an_end_that_came_along_ends_nothing() {
    let lab = Lab::new();
    let (alice, stranger) = (lab.trusted(&lab.alice), lab.stranger());
    let bytes = container("old");
    let fingerprint = sha256(&bytes);
    let (_, secret) = ticket(&alice, &fingerprint, json!({ "expires_at": "2001-01-02T03:04:05Z" }));
    let answer = stranger.raw("POST", "/1.0/images", &with(&secret, &fingerprint), &bytes);
    let waiting = answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    let path = answer.json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(stranger.read(&format!("{path}/wait?secret={waiting}"))["status_code"], 200);
    let image = alice.read(&format!("/1.0/images/{fingerprint}"));
    assert_eq!(image["expires_at"], "2001-01-02T03:04:05Z");
    // Whatever has expired goes at a start.
    let (dir, clean) = lab.server.stop();
    assert!(clean);
    let server = Server::on(dir.as_ref().unwrap().path(), &[]);
    assert_eq!(server.files().0.len(), 1);
}

#[test]
fn an_image_in_two_files_is_brought_as_a_form() {
    let lab = Lab::new();
    let (alice, stranger) = (lab.trusted(&lab.alice), lab.stranger());
    let disk = qcow2(b"disk");
    let fingerprint = sha256(&[metadata("split"), disk.clone()].concat());
    let (_, secret) = ticket(&alice, &fingerprint, json!({ "filename": "mine.img" }));
    let (content_type, body) = form(&[("metadata", "m", &metadata("split")), ("rootfs.img", "theirs.img", &disk)]);
    let headers = [("content-type", content_type.as_str()), ("X-Incus-secret", &secret)];
    let answer = stranger.raw("POST", "/1.0/images", &headers, &body);
    let waiting = answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
    let path = answer.json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(stranger.read(&format!("{path}/wait?secret={waiting}"))["status_code"], 200);
    let image = alice.read(&format!("/1.0/images/{fingerprint}"));
    assert_eq!((&image["filename"], &image["public"]), (&json!("mine.img"), &json!(false)));
}

/// A body that is not let in is not waited for, and one that breaks off leaves nothing.
#[test]
fn who_may_not_is_told_before_the_body() {
    let lab = Lab::new();
    let (alice, stranger) = (lab.trusted(&lab.alice), lab.stranger());
    let fingerprint = sha256(&container("a"));
    let (_, secret) = ticket(&alice, &fingerprint, json!({}));
    for (mut headers, content_type) in
        [(vec![], "application/octet-stream"), (with("guess", &fingerprint), "multipart/form-data; boundary=x")]
    {
        headers.extend([("content-length", "1000000000"), ("content-type", content_type)]);
        refusal(&stranger.raw("POST", "/1.0/images", &headers, b"\x1f\x8b and then nothing"), 403);
    }
    let mut all = with(&secret, &fingerprint);
    all.push(("content-length", "1000000"));
    let mut stream = stranger.connect();
    let half = gzip(&tar(&[("rootfs/x", &noise(5, 100_000))]));
    stream.write_all(&request(stranger.address(), "POST", "/1.0/images", &all, &half)).unwrap();
    eventually("it begins", || !lab.server.files().1.is_empty());
    drop(stream);
    eventually("nothing is left", || lab.server.files() == (Vec::new(), Vec::new()));
    refusal(&stranger.raw("POST", "/1.0/images", &with(&secret, &fingerprint), &container("a")), 403);
    assert_eq!(alice.read("/1.0/images"), json!([]));
}

fn offer(from: &Server, name: &str, to: &str, certificate: &str, secret: &str) -> Value {
    let body = json!({ "target": to, "certificate": certificate, "secret": secret, "aliases": [{ "name": "x" }] });
    from.ended(&from.send_json("POST", &format!("/1.0/images/{name}/export"), &body))
}

#[test]
fn one_server_gives_another_its_images() {
    let (from, lab) = (asking(), Lab::new());
    let alice = lab.trusted(&lab.alice);
    let (to, certificate) = remote(&lab.server);
    from.add("raw", &[("x-image-meta-format", "raw")], &noise(3, 100_000));
    eventually("it is offered", || from.lxd("/1.0/images").as_array().unwrap().len() == 1);
    let root = gzip(&tar(&[("etc/hostname", b"x")]));
    from.import(&container("one"), &[PUBLIC, ("X-LXD-filename", "a name.tar.gz"), ("X-Incus-aliases", "alias=os/one")]);
    from.import_split("two", "rootfs", &root, &[]);
    for image in from.lxd("/1.0/images?recursion=1").as_array().unwrap() {
        let fingerprint = image["fingerprint"].as_str().unwrap();
        // `lxc` puts an alias into the path.
        let name = if image["filename"] == "a name.tar.gz" { "os%2Fone" } else { fingerprint };
        let (path, secret) = ticket(&alice, fingerprint, json!({}));
        let ended = offer(&from, name, &to, &certificate, &secret);
        assert_eq!((&ended["status_code"], &ended["err"]), (&json!(200), &json!("")), "{ended}");
        assert_eq!(ended["resources"], json!({ "images": [format!("/1.0/images/{fingerprint}")] }));
        let there = alice.read(&format!("/1.0/images/{fingerprint}"));
        for field in ["type", "architecture", "size"] {
            assert_eq!(there[field], image[field], "{field}");
        }
        assert_eq!((&there["public"], &there["aliases"]), (&json!(false), &json!([])));
        assert_eq!(alice.read(&path)["status"], "Success");
    }
    let fingerprint = sha256(&container("one"));
    let (_, secret) = ticket(&alice, &fingerprint, json!({}));
    for text in ["Image with same fingerprint already exists", "not authorized"] {
        let again = offer(&from, &fingerprint, &to, &certificate, &secret);
        assert_eq!((&again["status_code"], refused_with(&again)), (&json!(400), text));
    }
    assert!(from.log().lines().all(|line| !line.contains("secret=")));
}

/// What another server said to an image that it does not take.
fn refused_with(ended: &Value) -> &str {
    ended["err"].as_str().unwrap().split_once("did not take the image: ").unwrap().1
}

#[test]
fn what_can_not_be_given_is_said_so() {
    let (from, closed, lab) = (asking(), Server::start(), Lab::new());
    let (to, certificate) = remote(&lab.server);
    let bytes = container("one");
    let (mine, _) = (from.import(&bytes, &[]), closed.import(&bytes, &[]));
    let other = std::fs::read_to_string(Server::secure(&[]).dir.join("keys/tls.crt")).unwrap();
    for (from, to, certificate, text) in [
        (&from, to.as_str(), other.as_str(), "has not the certificate"),
        (&from, to.as_str(), "", "has not the certificate"),
        (&from, to.as_str(), certificate.as_str(), "did not take the image: not authorized"),
        (
            &from,
            "http://169.254.169.254/",
            "",
            "Unable to connect to: 169.254.169.254: its address with its port may not be reached",
        ),
        (&from, "file:///etc/passwd", "", "is not fetched"),
        (&closed, to.as_str(), certificate.as_str(), "its address with its port may not be reached"),
    ] {
        let ended = offer(from, &mine, to, certificate, "guess");
        let said = ended["err"].as_str().unwrap();
        assert!(ended["status_code"] == 400 && said.contains(text), "{to}: {ended}");
    }
    for body in [json!({}), json!({ "target": to }), json!({ "secret": "x" }), json!({ "target": "", "secret": "x" })] {
        let answer = from.send_json("POST", &format!("/1.0/images/{mine}/export"), &body);
        assert!(from.refused(&answer).1.ends_with(" is required"), "{body}");
    }
    let missing = from.send_json("POST", "/1.0/images/none/export", &json!({ "target": to, "secret": "x" }));
    assert_eq!(from.refused(&missing), (404, "Image not found".into()));
}
