//! Copies of images that another server has: two servers of ours, one of which asks the other.

use serde_json::{Value, json};

use crate::bundles::{container, form, machine, tar};
use crate::harness::{Answer, Server, eventually, noise, qcow2, sha256};
use crate::lxd_images::parts_of;
use crate::secure::Lab;

pub(crate) const PUBLIC: (&str, &str) = ("X-LXD-public", "1");

/// A server that asks others on this machine.
pub(crate) fn asking() -> Server {
    Server::configured("[fetch]\nallow = [\"127.0.0.1/32\"]\n")
}

/// Where a server is asked, and with which certificate.
pub(crate) fn remote(server: &Server) -> (String, String) {
    let certificate = std::fs::read_to_string(server.dir.join("keys/tls.crt")).unwrap();
    (format!("https://{}", server.secure.as_deref().unwrap()), certificate)
}

/// A request for a copy: `source` says of what, `more` what is to become of it.
pub(crate) fn pull(server: &Server, from: &Server, source: Value, more: Value) -> Answer {
    let (url, certificate) = remote(from);
    let mut whole = json!({ "type": "image", "mode": "pull", "server": url, "certificate": certificate });
    whole.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let mut body = json!({ "source": whole });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.send_json("POST", "/1.0/images", &body)
}

pub(crate) fn image(server: &Server, fingerprint: &str) -> Value {
    server.lxd(&format!("/1.0/images/{fingerprint}"))
}

/// Nothing is there of any image, nor of anything that was to be one.
pub(crate) fn assert_empty(server: &Server) {
    assert_eq!(server.lxd("/1.0/images"), json!([]));
    assert_eq!(server.get("/v2/images").json()["images"], json!([]), "in whatever state");
    eventually("no files are left", || server.files() == (Vec::new(), Vec::new()));
}

#[test]
fn a_copy_by_an_alias_remembers_where_it_came_from() {
    let (from, server) = (Server::secure(&[]), asking());
    let headers = [PUBLIC, ("X-LXD-filename", "deb.tar.gz"), ("X-Incus-aliases", "alias=debian/13&alias=d")];
    let fingerprint = from.import(&container("debian"), &headers);
    let expiry = json!({ "public": true, "properties": { "os": "debian" }, "expires_at": "2040-01-02T03:04:05Z" });
    assert_eq!(from.send_json("PUT", &format!("/1.0/images/{fingerprint}"), &expiry).status, 200);
    let (url, certificate) = remote(&from);
    // Some clients put an alias where a fingerprint belongs.
    for field in ["alias", "fingerprint"] {
        let wanted = json!({
            "auto_update": true,
            "properties": { "os": "mine", "x": "y" },
            "aliases": [{ "name": "copy", "description": "of it" }],
        });
        let answer = pull(&server, &from, json!({ (field): "debian/13" }), wanted);
        let done = server.ended(&answer);
        let said = json!({ "fingerprint": fingerprint, "size": container("debian").len().to_string() });
        assert_eq!(done["metadata"]["fingerprint"], said["fingerprint"]);
        assert_eq!(done["metadata"]["size"], said["size"]);
        assert_eq!(done["resources"], json!({ "images": [format!("/1.0/images/{fingerprint}")] }));
        let copy = image(&server, &fingerprint);
        let source = json!({
            "alias": "debian/13", "certificate": certificate, "protocol": "lxd", "server": url, "image_type": "",
        });
        for (name, value) in [
            ("update_source", source),
            ("auto_update", json!(true)),
            ("public", json!(false)),
            ("cached", json!(false)),
            ("filename", json!("deb.tar.gz")),
            ("properties", json!({ "os": "mine", "x": "y" })),
            ("aliases", json!([{ "name": "copy", "description": "of it" }])),
            ("architecture", json!("x86_64")),
            ("type", json!("container")),
            ("created_at", json!("2023-11-14T22:13:20Z")),
            ("expires_at", json!("2040-01-02T03:04:05Z")),
        ] {
            assert_eq!(copy[name], value, "{name}");
        }
        assert_eq!(server.get(&format!("/1.0/images/{fingerprint}/export")).body, container("debian"));
        server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    }
    assert_empty(&server);
}

#[test]
fn a_copy_by_its_fingerprint_stays_what_it_is() {
    let (from, server) = (Server::secure(&[]), asking());
    let fingerprint = from.import(&machine("one"), &[PUBLIC, ("X-LXD-filename", "one.tar.gz")]);
    for named in [&fingerprint, &fingerprint[..12]] {
        let wanted = json!({ "auto_update": true, "public": true, "filename": "mine.tar.gz" });
        server.succeeded(&pull(&server, &from, json!({ "fingerprint": named }), wanted));
        let copy = image(&server, &fingerprint);
        assert!(copy.get("update_source").is_none(), "{copy}");
        let words = (&copy["auto_update"], &copy["public"], &copy["filename"], &copy["type"]);
        assert_eq!(words, (&json!(false), &json!(true), &json!("mine.tar.gz"), &json!("virtual-machine")));
        let refresh = server.send("POST", &format!("/1.0/images/{fingerprint}/refresh"), &[], b"");
        assert!(server.failed(&refresh).contains("Image source not found"));
        server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    }
}

#[test]
fn a_private_image_takes_a_secret() {
    let lab = Lab::configured("[auth]\npublic_read = true\n");
    let (alice, server) = (lab.trusted(&lab.alice), asking());
    let posted = alice.raw("POST", "/1.0/images", &[], &container("private"));
    let operation = posted.json()["operation"].as_str().unwrap().to_owned();
    let fingerprint = alice.read(&format!("{operation}/wait"))["metadata"]["fingerprint"].as_str().unwrap().to_owned();
    let source = |secret: &str| json!({ "fingerprint": fingerprint, "secret": secret });
    for wrong in ["", "guess"] {
        let said = server.failed(&pull(&server, &lab.server, source(wrong), json!({})));
        assert!(said.contains(&format!("has no image or alias '{fingerprint}'")), "{said}");
    }
    let secret = || {
        let answer = alice.send("POST", &format!("/1.0/images/{fingerprint}/secret"), &Value::Null);
        answer.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned()
    };
    let given = secret();
    server.succeeded(&pull(&server, &lab.server, source(&given), json!({})));
    let copy = image(&server, &fingerprint);
    assert_eq!((&copy["public"], copy.get("update_source")), (&json!(false), None));
    // The beginning of a fingerprint will do, and nothing of the secret is kept.
    server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    let short = json!({ "fingerprint": fingerprint[..16], "secret": secret() });
    server.succeeded(&pull(&server, &lab.server, short, json!({})));
    assert!(!server.log().contains(&given) && !lab.server.log().contains(&given), "no secret in a log");
}

#[test]
fn a_server_has_to_show_its_certificate() {
    let (from, other, server) = (Server::secure(&[]), Server::secure(&[]), asking());
    from.import(&container("a"), &[PUBLIC, ("X-Incus-aliases", "alias=a")]);
    let wrong = remote(&other).1;
    for certificate in [wrong.as_str(), ""] {
        for protocol in ["lxd", "simplestreams"] {
            let source = json!({ "alias": "a", "certificate": certificate, "protocol": protocol });
            let said = server.failed(&pull(&server, &from, source, json!({})));
            assert!(said.ends_with("has not the certificate that it must have to be trusted."), "{said}");
        }
    }
    for (source, text) in [
        (json!({ "alias": "a", "certificate": "no certificate" }), "certificate"),
        (json!({ "alias": "a", "server": format!("http://{}", from.address()) }), "is not https"),
        (json!({ "alias": "none" }), "has no image or alias 'none'"),
        (json!({ "alias": "a", "image_type": "virtual-machine" }), "has no image or alias 'a'"),
        (json!({ "fingerprint": "0123456789ab" }), "has no image or alias '0123456789ab'"),
        (json!({}), "must specify one of alias or fingerprint"),
    ] {
        let said = server.failed(&pull(&server, &from, source.clone(), json!({})));
        assert!(said.contains(text), "{source}: {said}");
    }
    assert_empty(&server);
    // Over plain HTTP there is nothing to show.
    let plain = json!({ "alias": "a", "certificate": "", "server": format!("http://{}", from.address()) });
    server.succeeded(&pull(&server, &from, plain, json!({})));
}

#[test]
fn what_is_here_already_is_not_copied_again() {
    let (from, server) = (Server::secure(&[]), asking());
    let fingerprint = from.import(&container("a"), &[PUBLIC, ("X-Incus-aliases", "alias=a")]);
    assert_eq!(
        server.import(&container("a"), &[("X-LXD-filename", "mine"), ("X-Incus-aliases", "alias=x")]),
        fingerprint
    );
    let wanted = json!({ "public": true, "filename": "other", "aliases": [{ "name": "y" }, { "name": "z" }] });
    let done = server.succeeded(&pull(&server, &from, json!({ "alias": "a" }), wanted));
    assert_eq!(done["fingerprint"], fingerprint);
    let here = image(&server, &fingerprint);
    let aliases = json!(["x", "y", "z"].map(|name| json!({ "name": name, "description": "" })));
    assert_eq!((&here["aliases"], &here["public"], &here["filename"]), (&aliases, &json!(true), &json!("mine")));
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
    assert_eq!(server.files().0.len(), 1);
    // An alias that stands for something else is not taken away from it.
    let other = server.import(&container("b"), &[("X-Incus-aliases", "alias=b")]);
    let taken = pull(&server, &from, json!({ "alias": "a" }), json!({ "aliases": [{ "name": "b" }] }));
    assert_eq!(server.failed(&taken), "Alias already exists: b");
    assert_eq!(server.lxd("/1.0/images/aliases/b")["target"], other);
    let new = from.import(&container("c"), &[PUBLIC]);
    let taken = pull(&server, &from, json!({ "fingerprint": new }), json!({ "aliases": [{ "name": "b" }] }));
    assert_eq!(server.failed(&taken), "Alias already exists: b");
    assert_eq!(server.get(&format!("/1.0/images/{new}")).status, 404);
    eventually("its bytes are gone", || server.files().0.len() == 2 && server.files().1.is_empty());
}

/// All kinds of images, each as its server has it: one file, or two.
fn all_kinds(from: &Server) -> Vec<(String, Value)> {
    let squashfs = [b"hsqs".as_slice(), &noise(7, 9000)].concat();
    let tarball = crate::bundles::gzip(&tar(&[("etc/hostname", b"x")]));
    from.import(&container("unified"), &[PUBLIC]);
    from.import(&machine("machine"), &[PUBLIC]);
    from.import_split("squashfs", "rootfs", &squashfs, &[PUBLIC]);
    from.import_split("tarball", "rootfs", &tarball, &[PUBLIC]);
    from.import_split("disk", "rootfs.img", &qcow2(b"disk"), &[PUBLIC]);
    from.add("raw", &[("x-image-meta-format", "raw")], &noise(3, 100_000));
    from.add("qcow2", &[("x-image-meta-format", "qcow2")], &qcow2(b"offered"));
    eventually("the disks are offered", || from.lxd("/1.0/images").as_array().unwrap().len() == 7);
    let all = from.lxd("/1.0/images?recursion=1").as_array().unwrap().clone();
    all.into_iter().map(|image| (image["fingerprint"].as_str().unwrap().to_owned(), image)).collect()
}

/// The files of an image, as they are exported.
fn files(server: &Server, fingerprint: &str) -> Vec<Vec<u8>> {
    let export = server.get(&format!("/1.0/images/{fingerprint}/export"));
    assert_eq!(export.status, 200, "{export:?}");
    let split = export.header("content-type").unwrap().starts_with("multipart/form-data");
    if split { parts_of(&export) } else { vec![export.body] }
}

fn every_kind_of_image_comes_over(protocol: &str) {
    let (from, server) = (Server::secure(&[]), asking());
    let all = all_kinds(&from);
    for (fingerprint, original) in &all {
        let source = json!({ "fingerprint": fingerprint, "protocol": protocol });
        let done = server.succeeded(&pull(&server, &from, source, json!({ "public": true })));
        assert_eq!((&done["fingerprint"], &done["size"]), (&json!(fingerprint), &json!(original["size"].to_string())));
        let copy = image(&server, fingerprint);
        for name in ["type", "architecture", "size", "public"] {
            assert_eq!(copy[name], original[name], "{protocol} {name}: {original}");
        }
        if protocol != "simplestreams" {
            for name in ["properties", "filename", "created_at", "expires_at"] {
                assert_eq!(copy[name], original[name], "{protocol} {name}: {original}");
            }
        }
        let bytes = files(&server, fingerprint);
        assert!(bytes == files(&from, fingerprint), "{protocol}: {original}");
        assert_eq!(&sha256(&bytes.concat()), fingerprint);
    }
}

#[test]
fn every_kind_of_image_comes_over_lxds_protocol() {
    every_kind_of_image_comes_over("lxd");
}

#[test]
fn every_kind_of_image_comes_over_that_of_incus() {
    every_kind_of_image_comes_over("incus");
}

#[test]
fn every_kind_of_image_comes_over_simplestreams() {
    every_kind_of_image_comes_over("simplestreams");
}

/// A copy of a disk that was offered is an image like others, and gives its disk to the other protocols.
#[test]
fn the_other_protocols_know_copies() {
    let (from, server) = (Server::secure(&[]), asking());
    from.add("raw", &[("x-image-meta-format", "raw")], &noise(3, 100_000));
    eventually("it is offered", || from.lxd("/1.0/images").as_array().unwrap().len() == 1);
    server.succeeded(&pull(&server, &from, json!({ "alias": "raw" }), json!({})));
    let records = server.get("/images/detail").json()["images"].as_array().unwrap().clone();
    assert_eq!((records.len(), &records[0]["format"]), (1, &json!("qcow2")));
    let id = records[0]["_id"].as_str().unwrap();
    let disk = server.get(&format!("/images/{id}")).body;
    let fingerprint = from.lxd("/1.0/images/aliases/raw")["target"].as_str().unwrap().to_owned();
    assert!(disk == files(&from, &fingerprint)[1]);
    // It is given on as it came, by whatever way.
    let third = asking();
    let parts = files(&server, &fingerprint);
    let (content_type, body) = form(&[("metadata", "m", &parts[0]), ("rootfs.img", "r", &parts[1])]);
    assert_eq!(third.import(&body, &[("content-type", &content_type)]), fingerprint);
}
