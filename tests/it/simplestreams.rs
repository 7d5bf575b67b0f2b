//! The public images as two documents and the files that they name, as LXD, Incus and mirrors read them.

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bundles::{container, gzip, machine, tar, yaml};
use crate::harness::{Answer, Server, eventually, noise, qcow2, run, sha256};
use crate::lxd_sources::PUBLIC;
use crate::secure::Lab;

const INDEX: &str = "/streams/v1/index.json";
const PRODUCTS: &str = "/streams/v1/images.json";

fn products(server: &Server) -> serde_json::Map<String, Value> {
    let answer = server.get(PRODUCTS);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    let document = answer.json();
    for (name, value) in [("content_id", "images"), ("datatype", "image-downloads"), ("format", "products:1.0")] {
        assert_eq!(document[name], value, "{name}");
    }
    let products = document["products"].as_object().unwrap().clone();
    let index = json!({ "format": "index:1.0", "index": { "images": {
        "datatype": "image-downloads",
        "path": "streams/v1/images.json",
        "format": "products:1.0",
        "products": products.keys().collect::<Vec<_>>(),
    } } });
    assert_eq!(server.get(INDEX).json(), index, "both are of one state");
    products
}

/// How many products are listed.
fn count(server: &Server) -> usize {
    server.get(PRODUCTS).json()["products"].as_object().unwrap().len()
}

/// The items of a product, which has one version.
fn items(product: &Value) -> Vec<Value> {
    let versions = product["versions"].as_object().unwrap();
    assert_eq!(versions.len(), 1, "{product}");
    let items = versions.values().next().unwrap()["items"].as_object().unwrap();
    assert!(items.iter().all(|(name, item)| item["ftype"] == name.as_str()), "{product}");
    items.values().cloned().collect()
}

/// The bytes of an item, which are those that are listed.
fn bytes_of(server: &Server, item: &Value) -> Vec<u8> {
    let answer = server.get(&format!("/{}", item["path"].as_str().unwrap()));
    assert_eq!(answer.status, 200, "{item}: {answer:?}");
    assert_eq!((&json!(answer.body.len()), &json!(sha256(&answer.body))), (&item["size"], &item["sha256"]), "{item}");
    answer.body
}

/// What an image is called, found out of its files as LXD (or Incus, with its names) does: by the sum of both, or of the one.
fn fingerprint(server: &Server, product: &Value, family: &str) -> Option<String> {
    let items = items(product);
    let called = |ftype: &str| items.iter().find(|item| item["ftype"] == ftype);
    if let Some(combined) = called(&format!("{family}_combined.tar.gz")) {
        return Some(sha256(&bytes_of(server, combined)));
    }
    let described = called(&format!("{family}.tar.xz"))?;
    let roots = [
        ("squashfs", "combined_squashfs_sha256"),
        ("root.tar.xz", "combined_rootxz_sha256"),
        ("disk-kvm.img", "combined_disk-kvm-img_sha256"),
    ];
    let (root, key) = roots.iter().find_map(|(ftype, key)| Some((called(ftype)?, *key))).unwrap();
    let both = [bytes_of(server, described), bytes_of(server, root)].concat();
    assert_eq!(described[key], sha256(&both), "{product}");
    let combined = described.as_object().unwrap().keys().filter(|key| key.starts_with("combined")).count();
    assert_eq!(combined, 1, "no other is claimed: {described}");
    Some(sha256(&both))
}

#[test]
fn everything_listed_is_as_it_is_listed() {
    let server = Server::start();
    server.import(&container("unified"), &[PUBLIC]);
    let one_file = server.import(&machine("machine"), &[PUBLIC]);
    let squashfs = [b"hsqs".as_slice(), &noise(7, 9000)].concat();
    server.import_split("squashfs", "rootfs", &squashfs, &[PUBLIC]);
    server.import_split("tarball", "rootfs", &gzip(&tar(&[("etc/hostname", b"x")])), &[PUBLIC]);
    server.import_split("disk", "rootfs.img", &qcow2(b"disk"), &[PUBLIC]);
    server.add("raw disk", &[("x-image-meta-format", "raw")], &noise(3, 100_000));
    server.add("qcow2", &[("x-image-meta-format", "qcow2")], &qcow2(b"offered"));
    // Neither of these is there.
    server.import(&container("private"), &[]);
    server.add("of no kind", &[("x-image-meta-format", "iso")], &crate::harness::iso());
    eventually("the disks are offered", || count(&server) == 7);
    let public: BTreeSet<String> = server
        .lxd("/1.0/images?recursion=1")
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["public"] == true)
        .map(|image| image["fingerprint"].as_str().unwrap().to_owned())
        .collect();
    let products = products(&server);
    let read = |family: &str| -> BTreeSet<String> {
        products.values().filter_map(|product| fingerprint(&server, product, family)).collect()
    };
    assert_eq!(read("incus"), public);
    // LXD can't be told that one file is a machine, and would take it for a container.
    assert_eq!(read("lxd"), public.iter().filter(|one| **one != one_file).cloned().collect());
    for (name, product) in &products {
        let version = product["versions"].as_object().unwrap().keys().next().unwrap();
        let date: Vec<bool> = version.bytes().take(8).map(|byte| byte.is_ascii_digit()).collect();
        assert_eq!(date, [true; 8], "{version}");
        assert_eq!(name.split(':').count(), 5, "{name}");
        assert_eq!(product["arch"], "amd64");
    }
    let disk = products.values().find(|product| product["aliases"] == "raw disk").unwrap();
    assert_eq!((&disk["os"], &items(disk)[0]["ftype"]), (&json!("raw disk"), &json!("disk-kvm.img")));
    let combined = products.values().find(|product| product["os"] == "machine").map(items).unwrap();
    assert_eq!((combined.len(), &combined[0]["combined_type"]), (1, &json!("virtual-machine")));
}

#[test]
fn a_product_says_what_its_image_says() {
    let server = Server::start();
    let properties =
        "os=Debian GNU&release=trixie&release_title=13&variant=cloud:x&version=13&requirements.secureboot=false";
    let headers = [
        PUBLIC,
        ("X-LXD-properties", properties),
        ("X-Incus-aliases", "alias=debian/13&alias=debian/trixie&alias=with%2Ccomma"),
    ];
    let fingerprint = server.import(&container("x"), &headers);
    let until = json!({ "expires_at": "2040-01-02T03:04:05Z" });
    assert_eq!(server.send_json("PATCH", &format!("/1.0/images/{fingerprint}"), &until).status, 200);
    let products = products(&server);
    let (name, product) = products.iter().next().unwrap();
    assert_eq!(*name, format!("debian-gnu:trixie:cloud-x:amd64:{fingerprint}"));
    let mut said = product.clone();
    let versions = said.as_object_mut().unwrap().remove("versions").unwrap();
    let expected = json!({
        "aliases": "debian/13,debian/trixie", "arch": "amd64", "os": "Debian GNU", "release": "trixie",
        "release_title": "13", "variant": "cloud:x", "version": "13", "support_eol": "2040-01-02",
        "requirements": { "secureboot": "false" }, "lxd_requirements": { "secureboot": "false" },
    });
    assert_eq!(said, expected);
    let path = format!("streams/v1/files/{fingerprint}/combined.tar");
    let item =
        |ftype: &str| json!({ "ftype": ftype, "path": path, "size": container("x").len(), "sha256": fingerprint });
    let items = json!({
        "incus_combined.tar.gz": item("incus_combined.tar.gz"), "lxd_combined.tar.gz": item("lxd_combined.tar.gz"),
    });
    assert_eq!(versions, json!({ "20231114_22:13": { "items": items } }));
}

fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.send("GET", path, headers, b"")
}

#[test]
fn documents_are_asked_for_on_condition() {
    let server = Server::start();
    server.import(&container("a"), &[PUBLIC]);
    for path in [INDEX, PRODUCTS] {
        let plain = server.get(path);
        let zipped = ask(&server, path, &[("accept-encoding", "gzip")]);
        let mut unzipped = Vec::new();
        flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_end(&mut unzipped).unwrap();
        assert_eq!(unzipped, plain.body);
        assert_eq!((plain.header("content-encoding"), zipped.header("content-encoding")), (None, Some("gzip")));
        let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
        assert_ne!(tag(&plain), tag(&zipped), "a cache must not take one for the other");
        for (answer, accepted) in [(&plain, "identity"), (&zipped, "deflate, GZIP;q=0.5")] {
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("content-length"), Some(length.as_str()));
            let head = server.send("HEAD", path, &[("accept-encoding", accepted)], b"");
            assert_eq!((head.status, head.header("content-length")), (200, Some(length.as_str())));
            assert_eq!(tag(&head), tag(answer));
            for known in [tag(answer), format!("\"x\", W/{}", tag(answer)), "*".to_owned()] {
                let again = ask(&server, path, &[("accept-encoding", accepted), ("if-none-match", &known)]);
                assert_eq!((again.status, again.body.len(), tag(&again)), (304, 0, tag(answer)), "{known}");
                assert_eq!(again.header("vary"), Some("Accept-Encoding"));
            }
            let other = ask(&server, path, &[("accept-encoding", accepted), ("if-none-match", "\"other\"")]);
            assert_eq!((other.status, &other.body), (200, &answer.body));
        }
        for refused in ["gzip;q=0", "identity, gzip; q=0.0", "br"] {
            assert_eq!(ask(&server, path, &[("accept-encoding", refused)]).body, plain.body, "{refused}");
        }
        // What is not listed may change; what is listed may not, without another tag.
        server.import(&container(&format!("private {path}")), &[]);
        assert_eq!(tag(&server.get(path)), tag(&plain));
        server.import(&container(&format!("public {path}")), &[PUBLIC]);
        let answer = ask(&server, path, &[("if-none-match", &tag(&plain))]);
        assert_eq!(answer.status, 200);
        assert_ne!(tag(&answer), tag(&plain));
    }
    for none in ["/streams/v1/other.json", "/streams/v1/", "/streams/v1", "/streams/v1/..%2Findex.json"] {
        assert_eq!(server.get(none).status, 404, "{none}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(server.send(method, INDEX, &[], b"{}").status, 404, "{method}");
    }
}

#[test]
fn files_come_whole_and_in_parts() {
    let server = Server::start();
    let raw = noise(3, 200_000);
    server.add("raw", &[("x-image-meta-format", "raw")], &raw);
    eventually("it is offered", || count(&server) == 1);
    let fingerprint = server.lxd("/1.0/images/aliases/raw")["target"].as_str().unwrap().to_owned();
    let item = items(products(&server).values().next().unwrap()).swap_remove(0);
    let path = format!("/{}", item["path"].as_str().unwrap());
    let whole = bytes_of(&server, &item);
    let answer = server.get(&path);
    let tag = format!("\"{}\"", item["sha256"].as_str().unwrap());
    assert_eq!((answer.header("etag"), answer.header("accept-ranges")), (Some(tag.as_str()), Some("bytes")));
    let head = server.send("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some(whole.len().to_string().as_str())));
    // Over where the head of the disk ends, which is made on its way out, and over where its own bytes do.
    let at = whole.windows(16).position(|window| window == &raw[..16]).unwrap();
    let end = at + raw.len();
    for (first, last) in [(0, 9), (at - 5, at + 5), (at, at), (end - 3, end + 3), (whole.len() - 1, whole.len() - 1)] {
        let part = ask(&server, &path, &[("range", &format!("bytes={first}-{last}"))]);
        let range = format!("bytes {first}-{last}/{}", whole.len());
        assert_eq!((part.status, part.header("content-range")), (206, Some(range.as_str())));
        assert!(part.body == whole[first..=last], "{range}");
    }
    assert!(ask(&server, &path, &[("range", "bytes=-7")]).body == whole[whole.len() - 7..]);
    let beyond = ask(&server, &path, &[("range", &format!("bytes={}-", whole.len()))]);
    let size = format!("bytes */{}", whole.len());
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(size.as_str())));
    assert_eq!(ask(&server, &path, &[("if-none-match", &tag)]).status, 304);
    assert_eq!(ask(&server, &path, &[("range", "bytes=0-9"), ("if-range", &tag)]).status, 206);
    assert_eq!(ask(&server, &path, &[("range", "bytes=0-9"), ("if-range", "\"x\"")]).status, 200);
    for none in [
        format!("/streams/v1/files/{fingerprint}/rootfs"),
        format!("/streams/v1/files/{fingerprint}/combined.tar"),
        format!("/streams/v1/files/{fingerprint}/"),
        format!("/streams/v1/files/{}/disk.qcow2", &fingerprint[..12]),
        format!("/streams/v1/files/{}/disk.qcow2", fingerprint.to_uppercase()),
        format!("/streams/v1/files/{}/disk.qcow2", "0".repeat(64)),
        format!("/streams/v1/files/{fingerprint}/..%2F..%2Findex.json"),
    ] {
        assert_eq!(server.get(&none).status, 404, "{none}");
    }
}

#[test]
fn what_is_public_no_more_is_gone_at_once() {
    let server = Server::start();
    let fingerprint = server.import(&container("a"), &[PUBLIC]);
    let (image, file) = (format!("/1.0/images/{fingerprint}"), format!("/streams/v1/files/{fingerprint}/combined.tar"));
    assert_eq!(server.get(&file).status, 200);
    server.send_json("PATCH", &image, &json!({ "public": false }));
    assert_eq!((count(&server), server.get(&file).status), (0, 404));
    server.send_json("PATCH", &image, &json!({ "public": true }));
    assert_eq!((count(&server), server.get(&file).status), (1, 200));
    server.send_json("PATCH", &image, &json!({ "public": false }));
    server.succeeded(&server.send("DELETE", &image, &[], b""));
    assert_eq!(server.get(&file).status, 404, "it was nobody's business when it went");
    eventually("its file is gone", || server.files().0.is_empty());
    let disk = server.add("disk", &[("x-image-meta-format", "qcow2")], &qcow2(b"x"));
    eventually("it is offered", || count(&server) == 1);
    let id = disk["_id"].as_str().unwrap();
    assert_eq!(run(&["lxd-offer", id, "off", "--address", "127.0.0.1", "--port", server.port()]).0, 0);
    assert_eq!(count(&server), 0);
}

/// Who has read a list may fetch what was in it.
#[test]
fn files_of_what_was_removed_stay_for_a_while() {
    let server = Server::start();
    let bytes = gzip(&tar(&[("metadata.yaml", yaml("a").as_bytes()), ("rootfs/x", &noise(4, 50_000))]));
    let fingerprint = server.import(&bytes, &[PUBLIC]);
    let file = format!("/streams/v1/files/{fingerprint}/combined.tar");
    server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    assert_eq!((count(&server), server.lxd("/1.0/images")), (0, json!([])));
    for gone in [format!("/1.0/images/{fingerprint}"), format!("/1.0/images/{fingerprint}/export")] {
        assert_eq!(server.get(&gone).status, 404, "not by any other way");
    }
    assert!(server.get(&file).body == bytes);
    assert_eq!(ask(&server, &file, &[("range", "bytes=5-9")]).body, bytes[5..10]);
    // It can come again, and is listed again.
    assert_eq!(server.import(&bytes, &[PUBLIC]), fingerprint);
    assert_eq!((count(&server), server.get(&file).status), (1, 200));

    let server = Server::configured("[lxd]\nkeep_removed = \"0s\"\n");
    server.import(&bytes, &[PUBLIC]);
    server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    assert_eq!(server.get(&file).status, 404);
    eventually("its file is gone", || server.files().0.is_empty());
}

#[test]
fn with_accounts_one_has_to_have_one() {
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for public_read in [false, true] {
        let lab = Lab::configured(&format!("[auth]\npublic_read = {public_read}\n"));
        let (alice, stranger) = (lab.trusted(&lab.alice), lab.stranger());
        let public = alice.import(&container("public"), &[PUBLIC]);
        let private = alice.import(&container("private"), &[]);
        let file = |fingerprint: &str| format!("/streams/v1/files/{fingerprint}/combined.tar");
        let open = if public_read { 200 } else { 401 };
        for path in [INDEX, PRODUCTS, &file(&public)] {
            let answer = stranger.get(path);
            assert_eq!(answer.status, open, "{path}");
            let asked = answer.header("www-authenticate");
            assert_eq!(asked, (open == 401).then_some("Basic realm=\"visor\""));
            for wrong in ["alice:wrong", "alice:", "nobody:x", "alice", &lab.bob.replace("bob", "alice"), ""] {
                let answer = stranger.raw("GET", path, &[("authorization", &basic(wrong))], b"");
                assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Basic realm=\"visor\"")));
            }
            for wrong in ["Bearer x", "Basic", "Basic %%%", "Digest x"] {
                assert_eq!(stranger.raw("GET", path, &[("authorization", wrong)], b"").status, 401, "{wrong}");
            }
            // On plain HTTP it is the same, and the word may be written in any way.
            for (keys, scheme) in [(&lab.alice, "Basic"), (&lab.bob, "basic"), (&lab.root, "BASIC")] {
                let answer = ask(&lab.server, path, &[("authorization", &basic(keys).replacen("Basic", scheme, 1))]);
                assert_eq!(answer.status, 200, "{path}");
                assert!(!answer.body.windows(64).any(|window| window == private.as_bytes()));
            }
        }
        // Not even hers is there for herself: what is served is what everybody may have.
        for (fingerprint, status) in [(&private, 404), (&"0".repeat(64), 404)] {
            let answer = ask(&lab.server, &file(fingerprint), &[("authorization", &basic(&lab.alice))]);
            assert_eq!((answer.status, answer.text()), (status, "There is no such file.\n".to_owned()));
        }
        assert!(!lab.server.log().contains(lab.alice.split(':').nth(1).unwrap()));
    }
}

#[test]
fn what_two_have_published_is_one_product() {
    let lab = Lab::configured("[auth]\npublic_read = true\n");
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    let own = [(&alice, "alias=os/a"), (&bob, "alias=os/b")];
    let both = own.map(|(client, alias)| client.import(&container("same"), &[("X-Incus-aliases", alias)]));
    assert_eq!(both[0], both[1]);
    for (client, names) in [(&bob, "os/b"), (&alice, "os/a,os/b")] {
        let image = format!("/1.0/images/{}", both[0]);
        assert_eq!(client.send("PATCH", &image, &json!({ "public": true })).status, 200);
        let products = products(&lab.server);
        assert_eq!(products.len(), 1);
        assert_eq!(products.values().next().unwrap()["aliases"], names);
    }
    assert_eq!(alice.ended(&alice.delete(&format!("/1.0/images/{}", both[0])))["status_code"], 200);
    assert_eq!(products(&lab.server).values().next().unwrap()["aliases"], "os/b");
}
