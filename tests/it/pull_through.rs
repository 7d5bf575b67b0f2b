//! Containers of a synthetic server of simplestreams, which come when a client of LXD or Incus asks for their alias.

use serde_json::{Value, json};

use crate::bundles::metadata;
use crate::harness::{Server, noise, qcow2, sha256};
use crate::pulls::{Lab, fails, succeeds};
use crate::upstream::File;

/// A build: description, root of the container, disk of the machine.
struct Build {
    serial: &'static str,
    metadata: Vec<u8>,
    root: Vec<u8>,
    disk: Vec<u8>,
}

impl Build {
    fn new(serial: &'static str, seed: u64) -> Self {
        let root = [b"hsqs".as_slice(), &noise(seed, 9000)].concat();
        Self { serial, metadata: metadata(serial), root, disk: qcow2(serial.as_bytes()) }
    }

    fn path(&self, file: &str) -> String {
        format!("/lxd/images/{}/{file}", self.serial)
    }

    fn fingerprint(&self) -> String {
        sha256(&[self.metadata.clone(), self.root.clone()].concat())
    }

    fn listed(&self, disk_sum: &str) -> Value {
        let item = |ftype: &str, file: &str, bytes: &[u8]| {
            let path = format!("images/{}/{file}", self.serial);
            json!({ "ftype": ftype, "path": path, "size": bytes.len(), "sha256": sha256(bytes) })
        };
        let mut described = item("lxd.tar.xz", "lxd.tar.xz", &self.metadata);
        described["combined_squashfs_sha256"] = json!(self.fingerprint());
        described["combined_disk-kvm-img_sha256"] = json!(disk_sum);
        let items = [
            described,
            item("squashfs", "rootfs.squashfs", &self.root),
            item("disk-kvm.img", "disk.qcow2", &self.disk),
        ];
        json!({ "items": { "lxd.tar.xz": items[0], "root": items[1], "disk": items[2] } })
    }
}

/// Adds a vendor with images for LXD, whose images are pulled by asking.
fn lab(pull_through: &str) -> Lab {
    let lab = Lab::new();
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let vendor = format!(
        "[vendors.lab]\ntitle = \"Lab\"\nkind = \"simplestreams\"\nbase = \"{}\"\nlist = \"streams/v1/index.json\"\n\
         require = \"checksum\"\nexamples = [\"debian/13\"]\nformat = \"qcow2\"\nvariant = \"disk\"\n\
         variants = {{ disk = \"disk-kvm.img\", squashfs = \"squashfs\" }}\narchitectures = {{ x86_64 = \"amd64\" }}\n",
        lab.upstream.url("/lxd/"),
    );
    std::fs::write(lab.config(), format!("[lxd]\npull_through = {pull_through}\n{text}{vendor}")).unwrap();
    lab
}

fn publish(lab: &Lab, builds: &[&Build]) {
    let versions: serde_json::Map<String, Value> =
        builds.iter().map(|build| (build.serial.to_owned(), build.listed(&"0".repeat(64)))).collect();
    let product = json!({
        "aliases": "debian/trixie/default,debian/trixie,debian/13/default,debian/13", "arch": "amd64", "os": "Debian",
        "release": "trixie", "variant": "default", "requirements": { "secureboot": "false" }, "versions": versions,
    });
    let put = |path: &str, bytes: &[u8]| lab.upstream.put(path, File::new(bytes));
    put(
        "/lxd/streams/v1/images.json",
        json!({ "format": "products:1.0", "products": { "debian:trixie:amd64:default": product } })
            .to_string()
            .as_bytes(),
    );
    let index = json!({ "format": "index:1.0", "index": { "images": {
        "datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": ["a"] } } });
    put("/lxd/streams/v1/index.json", index.to_string().as_bytes());
    for build in builds {
        put(&build.path("lxd.tar.xz"), &build.metadata);
        put(&build.path("rootfs.squashfs"), &build.root);
        put(&build.path("disk.qcow2"), &build.disk);
    }
}

const ASKED: &str = "/1.0/images/aliases/debian%2F13?architecture=x86_64";

/// Fingerprint and kind of the image that an alias stands for.
fn target(server: &Server, path: &str) -> (String, String) {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let text = |name: &str| answer.json()["metadata"][name].as_str().unwrap().to_owned();
    (text("target"), text("type"))
}

#[test]
fn a_container_that_lxd_asks_for_is_pulled_once() {
    let lab = lab("[\"lab\"]");
    let build = Build::new("20260101_05:24", 1);
    publish(&lab, &[&build]);
    let server = lab.server();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let found = target(&server, &format!("{ASKED}&type=container"));
                assert_eq!(found, (build.fingerprint(), "container".to_owned()));
            });
        }
    });
    let gets = |file: &str| lab.upstream.gets(&build.path(file)).len();
    assert_eq!((gets("lxd.tar.xz"), gets("rootfs.squashfs"), gets("disk.qcow2")), (1, 1, 0));
    // By clients that say no kind, and by the other spellings of it.
    for name in ["debian%2F13", "debian%2Ftrixie%2Famd64", "debian%2F13%2Fdefault%2Famd64", "lab%2Fdebian%2F13%2Famd64"]
    {
        let found = target(&server, &format!("/1.0/images/aliases/{name}"));
        assert_eq!(found, (build.fingerprint(), "container".to_owned()), "{name}");
    }
    assert_eq!(gets("rootfs.squashfs"), 1);
    let image = server.get(&format!("/1.0/images/{}", build.fingerprint())).json()["metadata"].clone();
    assert_eq!(
        (&image["public"], &image["architecture"], &image["type"]),
        (&json!(true), &json!("x86_64"), &json!("container"))
    );
    let properties = &image["properties"];
    assert_eq!((&properties["os"], &properties["requirements.secureboot"]), (&json!(build.serial), &json!("false")));
    assert_eq!(properties["visor.verified"], "checksum");
    assert_eq!(properties["visor.origin"], lab.upstream.url(&build.path("rootfs.squashfs")));
    // For every protocol, as any other image.
    let all = server.get("/images/detail").json();
    assert_eq!(
        (all["images"][0]["name"].as_str(), all["images"].as_array().unwrap().len()),
        (Some("lab/debian/13+squashfs"), 1)
    );
}

#[test]
fn a_machine_of_an_image_server_is_pulled_by_its_alias() {
    let lab = lab("[\"*\"]");
    let build = Build::new("20260101_05:24", 2);
    publish(&lab, &[&build]);
    let server = lab.server();
    let (machine, kind) =
        target(&server, "/1.0/images/aliases/lab%2Fdebian%2F13?architecture=x86_64&type=virtual-machine");
    assert_eq!(kind, "virtual-machine");
    let properties = &server.get(&format!("/1.0/images/{machine}")).json()["metadata"]["properties"];
    assert_eq!(properties["requirements.secureboot"], "false");
    // The alias is the container's besides.
    assert_eq!(target(&server, "/1.0/images/aliases/lab%2Fdebian%2F13?type=container").0, build.fingerprint());
    assert_eq!(target(&server, "/1.0/images/aliases/lab%2Fdebian%2F13?type=virtual-machine").0, machine);
}

#[test]
fn what_is_not_listed_or_not_right_is_not_pulled() {
    let closed = lab("[\"test\"]");
    let build = Build::new("20260101_05:24", 3);
    publish(&closed, &[&build]);
    let server = closed.server();
    assert_eq!(server.get(ASKED).status, 404, "another vendor");
    assert_eq!(server.get(&format!("{ASKED}&type=container")).status, 404);
    assert_eq!(closed.upstream.all().len(), 0);
    drop(server);
    let open = lab("[\"lab\"]");
    publish(&open, &[&build]);
    for file in ["rootfs.squashfs", "lxd.tar.xz"] {
        open.upstream.put(&build.path(file), File::new("tampered"));
    }
    let server = open.server();
    for name in ["debian%2F14?type=container", "alpine", "debian%2F13%2Fs390x"] {
        assert_eq!(server.get(&format!("/1.0/images/aliases/{name}")).status, 404, "{name}");
    }
    let refused = server.get(&format!("{ASKED}&type=container"));
    assert!(refused.status >= 400 && refused.text().contains("lxd.tar.xz"), "{}", refused.text());
    open.upstream.put(&build.path("lxd.tar.xz"), File::new(build.metadata.as_slice()));
    let refused = server.get(&format!("{ASKED}&type=container"));
    assert!(refused.status >= 400 && refused.text().contains("rootfs.squashfs"), "{}", refused.text());
    assert_eq!(server.get("/1.0/images").json()["metadata"], json!([]), "nothing is left");
}

#[test]
fn a_newer_build_takes_the_aliases_and_the_old_one_stays_offline() {
    let lab = lab("[\"lab\"]");
    let (old, new) = (Build::new("20260101_05:24", 4), Build::new("20260102_05:24", 5));
    publish(&lab, &[&old]);
    {
        let server = lab.server();
        assert_eq!(target(&server, ASKED).0, old.fingerprint());
    }
    publish(&lab, &[&old, &new]);
    lab.later();
    assert!(succeeds(&lab.pull(&["lab/debian/13+squashfs"])).contains("lab/debian/13:20260102_05:24+squashfs"));
    succeeds(&lab.run(&["lock"]));
    let server = lab.server();
    assert_eq!(target(&server, ASKED).0, new.fingerprint(), "the alias moves along");
    let image = server.get(&format!("/1.0/images/{}", new.fingerprint()));
    assert_eq!(image.status, 200, "{}", image.text());
    assert_eq!(server.get(&format!("/1.0/images/{}", old.fingerprint())).status, 200, "it stays");
    // Removed, it comes again from the cache alone.
    let removed = server.send("DELETE", &format!("/1.0/images/{}", new.fingerprint()), &[], b"");
    assert_eq!(removed.status, 202, "{}", removed.text());
    crate::harness::eventually("it is removed", || {
        server.get(&format!("/1.0/images/{}", new.fingerprint())).status == 404
    });
    let asked = lab.upstream.all().len();
    succeeds(&lab.run(&["offline", "on"]));
    assert_eq!(target(&server, &format!("{ASKED}&type=container")).0, new.fingerprint());
    assert_eq!(lab.upstream.all().len(), asked, "nothing is sent");
    let missing = server.get("/1.0/images/aliases/debian%2F14?type=container");
    assert_eq!(missing.status, 404, "{}", missing.text());
}

#[test]
fn a_lock_file_has_both_files_of_a_container() {
    let (first, second) = (lab("[\"lab\"]"), lab("[]"));
    let build = Build::new("20260101_05:24", 6);
    publish(&first, &[&build]);
    succeeds(&first.pull(&["lab/debian/13+squashfs"]));
    succeeds(&first.run(&["lock"]));
    let text = std::fs::read_to_string(first.dir.path().join("images.lock")).unwrap();
    assert!(text.contains(&sha256(&build.metadata)) && text.contains(&sha256(&build.root)), "{text}");
    std::fs::write(second.dir.path().join("images.lock"), &text).unwrap();
    succeeds(&second.run(&["pull", "--locked"]));
    assert_eq!(target(&second.server(), "/1.0/images/aliases/lab%2Fdebian%2F13+squashfs").0, build.fingerprint());
    // Another description is another image.
    let other = lab("[]");
    std::fs::write(other.dir.path().join("images.lock"), text.replace(&sha256(&build.metadata), &"0".repeat(64)))
        .unwrap();
    fails(&other.run(&["pull", "--locked"]), 4);
}

#[test]
fn a_container_that_was_sent_gets_the_alias_and_no_second_image() {
    let lab = lab("[\"lab\"]");
    let build = Build::new("20260101_05:24", 7);
    publish(&lab, &[&build]);
    let server = lab.server();
    let (content_type, body) =
        crate::bundles::form(&[("metadata", "m", &build.metadata), ("rootfs", "r", &build.root)]);
    let sent = server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body);
    assert_eq!(sent.status, 202, "{}", sent.text());
    crate::harness::eventually("it is there", || {
        server.get(&format!("/1.0/images/{}", build.fingerprint())).status == 200
    });
    assert_eq!(target(&server, &format!("{ASKED}&type=container")).0, build.fingerprint());
    assert_eq!(lab.upstream.gets(&build.path("rootfs.squashfs")).len(), 0);
    let image = server.get(&format!("/1.0/images/{}", build.fingerprint())).json()["metadata"].clone();
    assert_eq!(image["properties"].get("visor.origin"), None, "it is the sender's");
}
