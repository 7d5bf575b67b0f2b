//! Choices of images in documents, and servers that have such documents.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{ask, collect, fetch, sha, upstream};
use super::super::{Part, Protocol};
use super::*;
use crate::digest::hex;
use crate::error::Kind;
use crate::fetch::fake::{Asked, Fake, Say, answer, certificate};
use crate::image::{Architecture, ImageKind, Timestamp};

const META: &[u8] = b"metadata tarball";
const SQUASHFS: &[u8] = b"squashed file system";
const DISK: &[u8] = b"a disk";

fn file(ftype: &str, path: &str, bytes: &[u8]) -> Value {
    json!({"ftype": ftype, "path": path, "sha256": hex(&sha(bytes)), "size": bytes.len()})
}

/// A build with the files that both a container and a virtual machine need.
fn build(dir: &str) -> Value {
    let path = |name: &str| format!("{dir}/{name}");
    let mut meta = file("incus.tar.xz", &path("incus.tar.xz"), META);
    meta["combined_squashfs_sha256"] = hex(&sha(&[META, SQUASHFS].concat())).into();
    meta["combined_disk-kvm-img_sha256"] = hex(&sha(&[META, DISK].concat())).into();
    let mut lxd = meta.clone();
    lxd["ftype"] = "lxd.tar.xz".into();
    json!({"items": {
        "incus.tar.xz": meta, "lxd.tar.xz": lxd, "root.squashfs": file("squashfs", &path("rootfs.squashfs"), SQUASHFS),
        "disk.qcow2": file("disk-kvm.img", &path("disk.qcow2"), DISK),
    }})
}

/// A build with one container, told from others by its fingerprint.
fn small(fingerprint: u8) -> Value {
    let mut meta = file("lxd.tar.xz", "m", META);
    meta["combined_squashfs_sha256"] = hex(&[fingerprint; 32]).into();
    json!({"items": {"a": meta, "b": file("squashfs", "r", SQUASHFS)}})
}

fn product(aliases: &str, arch: &str, more: Value, versions: Value) -> Value {
    let mut product =
        json!({"aliases": aliases, "arch": arch, "os": "Debian", "release": "trixie", "versions": versions});
    product.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    product
}

fn wanted(name: &str) -> WantedImage {
    WantedImage::named(name, Some(Architecture::X86_64))
}

fn choose(documents: &[Value], wanted: WantedImage) -> Result<Found, Miss> {
    let mut choice = Choice::new(wanted);
    for document in documents {
        choice.look(document.to_string().as_bytes()).unwrap();
    }
    choice.made()
}

/// The first byte of the chosen fingerprint.
fn chosen(products: Value, wanted: WantedImage) -> Option<u8> {
    choose(&[json!({"products": products})], wanted).ok().map(|found| found.fingerprint[0])
}

#[test]
fn the_newest_build_of_the_first_product_wins() {
    let versions = json!({"20240101_05:24": small(1), "20240301_05:24": small(2), "20240301_05:23": small(3)});
    let old = json!({"20200101": small(4)});
    let products = || {
        json!({
            "a": product("debian/13,debian/trixie", "amd64", json!({"variant": "cloud"}), versions.clone()),
            "b": product("debian/13", "amd64", json!({"variant": "default"}), json!({"20250101": small(5)})),
            "c": product("debian/13", "amd64", json!({}), json!({"20260101": small(6)})),
            "d": product("debian/13", "arm64", json!({"os": "A"}), old.clone()),
            "e": product("debian/13", "vax", json!({"os": "A"}), old.clone()),
        })
    };
    for (name, expected) in [
        ("debian/13", Some(2)),
        ("debian/trixie", Some(2)),
        ("debian/13/amd64", Some(2)),
        ("debian/13/arm64", Some(4)),
        ("debian/13/x86_64", None),
        ("debian", None),
        ("", None),
        ("debian/13,debian/trixie", None),
    ] {
        assert_eq!(chosen(products(), wanted(name)), expected, "{name}");
    }
}

#[test]
fn kind_and_processor_are_as_they_are_wished() {
    let products = json!({
        "a": product("x", "amd64", json!({}), json!({"20240101": build("d")})),
        "b": product("x,only-arm", "arm64", json!({}), json!({"20240101": small(2)})),
        "c": product("x,old", "i386", json!({}), json!({"20240101": small(3)})),
        "d": product("old", "armhf", json!({"os": "A"}), json!({"20240101": small(4)})),
    });
    let both = sha(&[META, SQUASHFS].concat())[0];
    let disk = sha(&[META, DISK].concat())[0];
    let pick = |wanted| chosen(products.clone(), wanted);
    assert_eq!(pick(wanted("x")), Some(both));
    assert_eq!(pick(wanted("x").of_kind(ImageKind::VirtualMachine)), Some(disk));
    assert_eq!(pick(wanted("x").of_kind(ImageKind::Container)), Some(both));
    assert_eq!(pick(wanted("old").of_kind(ImageKind::VirtualMachine)), None);
    assert_eq!(pick(wanted("x").on(Architecture::Aarch64)), Some(2));
    assert_eq!(pick(wanted("x").on(Architecture::Riscv64)), None);
    assert_eq!(pick(wanted("only-arm")), Some(2), "without a wish, any is better than none");
    assert_eq!(pick(wanted("old")), Some(3), "and one whose programs this machine runs is better than another");
    let arm = WantedImage::named("old", Some(Architecture::Aarch64));
    assert_eq!(pick(arm), Some(4));
}

#[test]
fn the_best_files_are_taken() {
    let with = |roots: &[(&str, &str)], more: Value| {
        let mut meta = file("lxd.tar.xz", "m", META);
        let mut items = serde_json::Map::new();
        for (at, (ftype, sum)) in roots.iter().enumerate() {
            meta[*sum] = hex(&[at as u8 + 1; 32]).into();
            items.insert((*ftype).to_owned(), file(ftype, "r", SQUASHFS));
        }
        items.insert("meta".into(), meta);
        items.extend(more.as_object().unwrap().clone());
        let document = json!({"a": product("x", "amd64", json!({}), json!({"20240101": {"items": items}}))});
        chosen(document, wanted("x"))
    };
    let (squashfs, xz) = (("squashfs", "combined_squashfs_sha256"), ("root.tar.xz", "combined_rootxz_sha256"));
    let old_xz = ("root.tar.xz", "combined_sha256");
    let (kvm, disk1) = (("disk-kvm.img", "combined_disk-kvm-img_sha256"), ("disk1.img", "combined_disk1-img_sha256"));
    let uefi = ("uefi1.img", "combined_uefi1-img_sha256");
    assert_eq!(with(&[xz, squashfs], json!({})), Some(2));
    assert_eq!(with(&[kvm, xz], json!({})), Some(2), "a container before a virtual machine");
    assert_eq!(with(&[disk1, uefi, kvm], json!({})), Some(3));
    assert_eq!(with(&[disk1, uefi], json!({})), Some(2));
    assert_eq!(with(&[old_xz], json!({})), Some(1));
    assert_eq!(with(&[], json!({})), None);
    let combined = json!({"c": file("lxd_combined.tar.gz", "c", META)});
    assert_eq!(with(&[], combined.clone()), Some(sha(META)[0]));
    assert_eq!(with(&[squashfs], combined), Some(1));
    let machine = json!({"c": {"ftype": "incus_combined.tar.gz", "path": "c", "sha256": hex(&[9; 32]), "combined_type": "virtual-machine"}});
    assert_eq!(with(&[xz], machine), Some(1));
    for (what, bad) in [
        ("no fingerprint", json!({"meta": file("lxd.tar.xz", "m", META)})),
        (
            "a fingerprint that is none",
            json!({"meta": {"ftype": "lxd.tar.xz", "path": "m", "combined_squashfs_sha256": "../x"}}),
        ),
        ("no path", json!({"meta": {"ftype": "lxd.tar.xz", "combined_squashfs_sha256": hex(&[1; 32])}})),
        ("a path that is none", json!({"squashfs": {"ftype": "squashfs", "path": "a?b"}})),
        ("another type", json!({"squashfs": {"ftype": "squashfs.vcdiff", "path": "r"}})),
    ] {
        assert_eq!(with(&[squashfs], bad), None, "{what}");
    }
}

#[test]
fn properties_are_those_that_lxd_gives() {
    let more = json!({
        "release_title": "Trixie", "version": "13", "variant": "cloud", "support_eol": "2030-06-30",
        "requirements": {"secureboot": "false"}, "lxd_requirements": {"cdrom_agent": "true", "none": ""},
    });
    let mut version = build("images/d");
    version["label"] = "release".into();
    let products = json!({"a": product(" x , y,, ", "amd64", more, json!({"20240203_05:24": version}))});
    let found = choose(&[json!({"products": products})], wanted("y")).unwrap();
    let expected = [
        ("architecture", "amd64"),
        ("description", "Debian Trixie amd64 (release) (20240203_05:24)"),
        ("label", "release"),
        ("os", "Debian"),
        ("release", "trixie"),
        ("requirements.cdrom_agent", "true"),
        ("requirements.secureboot", "false"),
        ("serial", "20240203_05:24"),
        ("type", "squashfs"),
        ("variant", "cloud"),
        ("version", "13"),
    ];
    let properties: Vec<_> = found.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(properties, expected);
    assert_eq!((found.by_alias, found.filename.as_str()), (true, "incus.tar.xz"));
    assert_eq!(found.size, Some((META.len() + SQUASHFS.len()) as u64));
    assert_eq!(found.created_at, Some(Timestamp(1_706_918_400_000_000)));
    assert_eq!(found.expires_at, Some(Timestamp(1_909_008_000_000_000)));
}

#[test]
fn what_has_endless_texts_is_passed_over() {
    let long = || Value::from("x".repeat(2000));
    let good = || json!({"20240101": small(1)});
    let day = format!("20250101{}", "x".repeat(2000));
    let mut labelled = small(2);
    labelled["label"] = long();
    let mut item = small(3);
    for item in item["items"].as_object_mut().unwrap().values_mut() {
        item["combined_type"] = long();
    }
    let versions = json!({"20240101": small(1), day: small(4), "20250102": labelled, "20250103": item});
    let of = |more: Value, versions: Value| json!({"a": product("x", "amd64", more, versions)});
    assert_eq!(chosen(of(json!({}), versions), wanted("x")), Some(1), "builds");
    for name in ["os", "release", "release_title", "version", "variant", "support_eol"] {
        assert_eq!(chosen(of(json!({name: long()}), good()), wanted("x")), None, "{name}");
    }
    let many = vec!["y".repeat(100); 100].join(",") + ",x";
    let products = json!({"a": product(&many, "amd64", json!({"requirements": {"a": long(), "b": "c"}}), good())});
    let found = choose(&[json!({"products": products})], wanted("x")).unwrap();
    let demands: Vec<_> = found.properties.keys().filter(|name| name.starts_with("requirements")).collect();
    assert_eq!(demands, ["requirements.b"]);
}

#[test]
fn null_is_nothing() {
    let products = json!({
        "a": {"aliases": null, "arch": null, "versions": null},
        "b": {"aliases": "x", "arch": "amd64", "os": null, "versions": {"20240101": {"items": null}, "20240102": small(1)}},
        "c": {"aliases": "x", "arch": "amd64", "versions": {"20240103": {"items": {"a": {"ftype": null, "path": null}}}}},
    });
    assert_eq!(chosen(products, wanted("x")), Some(1));
}

#[test]
fn fingerprints_are_found_in_all_builds_and_documents() {
    let document = |fingerprint: u8, alias: &str| json!({"products": {"a": product(alias, "amd64", json!({}), json!({"20230101": small(fingerprint), "20240101": small(0xff)}))}});
    let documents = [document(0xab, "x"), document(0xac, "y"), document(0xab, "ac")];
    let pick = |name: &str| choose(&documents, wanted(name)).map(|found| (found.fingerprint[0], found.by_alias));
    assert_eq!(pick("abab"), Ok((0xab, false)), "the same image twice is one");
    assert_eq!(pick("ABABAB"), Ok((0xab, false)));
    assert_eq!(pick(&hex(&[0xab; 32])), Ok((0xab, false)));
    assert_eq!(pick("a"), Err(Miss::Several), "two images");
    assert_eq!(pick("ac"), Ok((0xff, true)), "an alias comes first");
    assert_eq!(pick("aba0"), Err(Miss::Nothing));
    assert_eq!(pick("xyz"), Err(Miss::Nothing));
}

/// A server with one product; `change` may answer instead.
fn server(change: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static) -> Fake {
    Fake::serving(None, move |asked| change(asked).unwrap_or_else(|| honest(asked)))
}

fn honest(asked: &Asked) -> Say {
    let json = |value: Value| answer("200 OK", "Content-Type: application/json\r\n", value.to_string());
    let products = json!({"debian": product("debian/13", "amd64", json!({}), json!({"20240101": build("images/d")}))});
    match asked.target() {
        "/streams/v1/index.json" => json(json!({"format": "index:1.0", "index": {
            "empty": {"datatype": "image-downloads", "path": "nowhere.json", "products": []},
            "other": {"datatype": "content-download", "path": "nowhere.json", "products": ["x"]},
            "images": {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["debian"]},
        }})),
        "/streams/v1/images.json" => json(json!({"format": "products:1.0", "products": products})),
        "/images/d/incus.tar.xz" => answer("200 OK", "", META),
        "/images/d/rootfs.squashfs" => answer("200 OK", "", SQUASHFS),
        "/images/d/disk.qcow2" => answer("200 OK", "", DISK),
        _ => answer("404 N", "", "<html>"),
    }
}

#[tokio::test]
async fn an_image_comes_from_a_web_server() {
    let fake = server(|_| None);
    let container =
        Ask { architecture: Some(Architecture::X86_64), ..ask(&fake, Protocol::Simplestreams, "debian/13") };
    let expected = [
        (Part::Metadata, "incus.tar.xz".to_owned(), META.to_vec()),
        (Part::Rootfs, "rootfs.squashfs".to_owned(), SQUASHFS.to_vec()),
    ];
    assert_eq!(fetch(&container).await.unwrap(), expected);
    let targets: Vec<_> = fake.asked().iter().map(|asked| asked.target().to_owned()).collect();
    let files =
        ["/streams/v1/index.json", "/streams/v1/images.json", "/images/d/incus.tar.xz", "/images/d/rootfs.squashfs"];
    assert_eq!(targets, files);

    let machine = Ask { kind: Some(ImageKind::VirtualMachine), ..container.clone() };
    assert_eq!(fetch(&machine).await.unwrap()[1], (Part::Rootfs, "disk.qcow2".to_owned(), DISK.to_vec()));
    // Below a path of its own as well, and with a certificate.
    let (pem, tls) = certificate();
    let fake = Fake::serving(Some(tls), |asked| {
        honest(&Asked { head: asked.head.replacen("/mirror/", "/", 1), body: Vec::new() })
    });
    let below = Ask { server: fake.url("mirror/"), certificate: Some(pem), ..container.clone() };
    assert_eq!(fetch(&below).await.unwrap(), expected);
    let none = upstream().find(&Ask { image: "debian/12".into(), ..container.clone() }).await.unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound);
}

/// Servers of static files have all sorts of types for these.
#[tokio::test]
async fn a_type_says_nothing_about_a_file_whose_digest_is_listed() {
    for kind in ["text/html", "text/plain; charset=utf-8", "application/json", "application/x-xz", "nonsense", ""] {
        let header = format!("Content-Type: {kind}\r\n");
        let fake =
            server(move |asked| asked.target().ends_with("squashfs").then(|| answer("200 OK", &header, SQUASHFS)));
        let ask = ask(&fake, Protocol::Simplestreams, "debian/13");
        assert_eq!(fetch(&ask).await.unwrap()[1].2, SQUASHFS, "{kind}");
    }
}

#[tokio::test]
async fn files_are_those_that_are_listed() {
    type Change = fn() -> Say;
    let cases: [(&str, Change, Kind); 9] = [
        ("other bytes", || answer("200 OK", "", b"squashed file systeM"), Kind::DigestMismatch),
        ("fewer bytes", || answer("200 OK", "", b"squashed"), Kind::Upstream),
        ("more bytes", || answer("200 OK", "", b"squashed file system and more"), Kind::Upstream),
        ("fewer bytes in the end", || Say::Bytes(b"HTTP/1.1 200 OK\r\n\r\nsquashed".to_vec()), Kind::Upstream),
        ("endless bytes", || Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![0; 65536]), Kind::Upstream),
        ("silence", || Say::Hold(b"HTTP/1.1 200 OK\r\n\r\nsquash".to_vec()), Kind::Upstream),
        (
            "a web page",
            || answer("200 OK", "Content-Type: text/html\r\n", b"squashed file systeM"),
            Kind::DigestMismatch,
        ),
        ("nothing", || answer("404 N", "", b"<html>"), Kind::NotFound),
        ("the inside", || answer("302 F", "Location: http://169.254.169.254/\r\n", b""), Kind::Invalid),
    ];
    for (what, change, kind) in cases {
        let fake = server(move |asked| asked.target().ends_with("squashfs").then(change));
        let ask = ask(&fake, Protocol::Simplestreams, "debian/13");
        let found = upstream().find(&ask).await.unwrap();
        let error = collect(upstream().download(&ask, &found).await.unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
        assert!(error.message().len() < 400 && !error.message().contains("<html>"), "{what}: {error}");
    }
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let index = |entry: Value| answer("200 OK", "", json!({"index": {"a": entry}}).to_string());
    let entry = |path: &str| json!({"datatype": "image-downloads", "path": path, "products": ["x"]});
    for (what, bad) in [
        ("a web page", "<html>".to_owned()),
        ("nothing", String::new()),
        ("a list", "[]".to_owned()),
        ("depth", "[".repeat(100_000)),
        ("other types", r#"{"index":{"a":{"datatype":1}},"products":[]}"#.to_owned()),
    ] {
        for document in ["index.json", "images.json"] {
            let body = bad.clone();
            let fake = server(move |asked| asked.target().ends_with(document).then(|| answer("200 OK", "", &body)));
            let error = upstream().find(&ask(&fake, Protocol::Simplestreams, "debian/13")).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Upstream, "{what} in {document}: {error:?}");
            assert!(error.message().contains("simplestreams"), "{error}");
        }
    }
    for path in ["", "a?b", "a\nb"] {
        let fake = server(move |asked| asked.target().ends_with("index.json").then(|| index(entry(path))));
        let error = upstream().find(&ask(&fake, Protocol::Simplestreams, "debian/13")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Upstream, "{path}");
    }
    let endless = server(|_| Some(Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 1 << 20])));
    let error = upstream().find(&ask(&endless, Protocol::Simplestreams, "debian/13")).await.unwrap_err();
    assert!(error.message().contains("more or less than it announced"), "{error}");
}

/// JSON of the right shape with the wrong things in it.
fn documents() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("lxd.tar.xz".to_owned()),
        Just("squashfs".to_owned()),
        Just("amd64".to_owned()),
        Just("20240101".to_owned()),
        Just("99999999".to_owned()),
        Just("2024-13-45".to_owned()),
        Just(",,x,".to_owned()),
        Just("a".repeat(64)),
        "\\PC{0,12}",
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "products", "versions", "items", "aliases", "arch", "os", "ftype", "path", "sha256", "size", "support_eol",
            "combined_squashfs_sha256", "requirements", "label",
        ])
        .prop_map(str::to_owned),
        1 => text.clone(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A good document with one thing in it replaced.
fn replaced(document: &mut Value, at: &mut usize, by: &Value) {
    if *at == 0 {
        *document = by.clone();
    }
    *at = at.wrapping_sub(1);
    match document {
        Value::Object(map) => map.values_mut().for_each(|value| replaced(value, at, by)),
        Value::Array(list) => list.iter_mut().for_each(|value| replaced(value, at, by)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(
        wild in documents(),
        at in 0usize..60,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        name in "\\PC{0,20}",
    ) {
        let versions = json!({"20240101": build("d"), "20240102": small(1)});
        let mut bent = json!({"products": {"a": product("x", "amd64", json!({"support_eol": "2030-01-01"}), versions)}});
        replaced(&mut bent, &mut { at }, &wild);
        for wanted in [|_: &str| wanted("x"), |_: &str| wanted("a"), wanted] {
            let mut choice = Choice::new(wanted(&name));
            for document in [wild.to_string(), bent.to_string(), json!({"products": wild}).to_string()] {
                let _ = choice.look(document.as_bytes());
            }
            let _ = choice.look(&bytes);
            if let Ok(found) = choice.made() {
                prop_assert!(!found.filename.contains('/') && !found.properties.values().any(String::is_empty));
            }
        }
        let _ = paths(wild.to_string().as_bytes());
    }
}
