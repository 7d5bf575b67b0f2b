//! Names over LXD's API and the others: aliases of two accounts with one name, one alias for several architectures and kinds,
//! and disks that share a name.

use serde_json::{Value, json};

use crate::bundles::{container, gzip, machine, tar};
use crate::harness::{Server, eventually, qcow2, sha256};
use crate::lxd_sources::{PUBLIC, asking, image, pull};
use crate::secure::{Client, Lab, refusal};

const ALIASES: &str = "/1.0/images/aliases";

/// A container for a processor, in one file.
fn built_for(architecture: &str, os: &str) -> Vec<u8> {
    let yaml = format!("architecture: {architecture}\ncreation_date: 1700000000\nproperties: {{os: {os}}}\n");
    gzip(&tar(&[("metadata.yaml", yaml.as_bytes()), ("rootfs/etc/hostname", os.as_bytes())]))
}

fn target(client: &Client, alias: &str) -> Value {
    client.read(&format!("{ALIASES}/{alias}"))["target"].clone()
}

const DEBIAN: (&str, &str) = ("X-Incus-aliases", "alias=debian");

#[test]
fn a_private_alias_is_no_obstacle_for_others_and_is_not_seen() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    let hers = alice.import(&container("hers"), &[DEBIAN]);
    assert_eq!(bob.get(&format!("{ALIASES}/debian")).status, 404);
    // With the upload, later, and by a new name for another alias.
    let his = bob.import(&container("his"), &[DEBIAN]);
    assert_eq!((target(&alice, "debian"), target(&bob, "debian")), (json!(hers), json!(his)));
    let other = bob.import(&container("other"), &[("X-Incus-aliases", "alias=x")]);
    assert_eq!(bob.delete(&format!("{ALIASES}/debian")).status, 200);
    assert_eq!(bob.send("POST", ALIASES, &json!({ "name": "debian", "target": other })).status, 201);
    assert_eq!(bob.delete(&format!("{ALIASES}/debian")).status, 200);
    assert_eq!(bob.send("POST", &format!("{ALIASES}/x"), &json!({ "name": "debian" })).status, 201);
    assert_eq!((target(&alice, "debian"), target(&bob, "debian")), (json!(hers), json!(other)));
    // An administrator means its own too, and reaches another account's only where nothing is nearer.
    assert_eq!(root.send("PATCH", &format!("{ALIASES}/debian"), &json!({ "description": "d" })).status, 200);
    let roots = root.import(&container("roots"), &[DEBIAN]);
    assert_eq!(target(&root, "debian"), roots);
    assert_eq!(root.delete(&format!("{ALIASES}/debian")).status, 200);
    assert_eq!((target(&alice, "debian"), target(&bob, "debian")), (json!(hers), json!(other)));
    // One's own names are taken as before.
    let again = bob.send("POST", ALIASES, &json!({ "name": "debian", "target": his }));
    assert_eq!(refusal(&again, 409), "Alias \"debian\" already exists");
    let late = bob.ended(&bob.raw("POST", "/1.0/images", &[DEBIAN], &container("late")));
    assert_eq!(late["err"], "Alias already exists: debian");
}

/// A client removes an alias that it finds in the list before it gives the name to its own image.
#[test]
fn a_list_of_aliases_has_ones_own_and_names_find_what_is_seen() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    let hers = alice.import(&container("hers"), &[PUBLIC, DEBIAN]);
    assert_eq!((bob.read(ALIASES), root.read(ALIASES)), (json!([]), json!([])));
    assert_eq!(alice.read(ALIASES), json!([format!("{ALIASES}/debian")]));
    for client in [&bob, &root] {
        assert_eq!(target(client, "debian"), hers);
        let own = client.import(&container("own"), &[DEBIAN]);
        assert_eq!(target(client, "debian"), own, "one's own comes first");
        assert_eq!(client.read(&format!("{ALIASES}?recursion=1"))[0]["target"], own);
        assert_eq!(client.delete(&format!("{ALIASES}/debian")).status, 200);
        assert_eq!(target(client, "debian"), hers);
    }
}

#[test]
fn one_alias_stands_for_several_architectures_and_kinds() {
    let server = Server::start();
    let alias = |name: &str, target: &str| {
        let made = server.send_json("POST", ALIASES, &json!({ "name": name, "target": target, "description": "d" }));
        assert_eq!(made.status, 201, "{made:?}");
    };
    let vm = server.import(&machine("vm"), &[DEBIAN]);
    let arm = server.import(&built_for("aarch64", "arm"), &[DEBIAN]);
    let read = |query: &str| server.lxd(&format!("{ALIASES}/debian{query}"))["target"].clone();
    assert_eq!(read(""), vm, "this machine's architecture before the kind");
    let native = server.import(&container("native"), &[]);
    alias("debian", &native);
    for (query, expected) in [
        ("", &native),
        ("?type=container", &native),
        ("?type=virtual-machine", &vm),
        ("?architecture=aarch64", &arm),
        ("?architecture=arm64&type=container", &arm),
        ("/arm64", &arm),
        ("/aarch64?type=container", &arm),
        ("/amd64", &native),
        ("/x86_64?type=virtual-machine", &vm),
    ] {
        assert_eq!(read(query), *expected, "{query}");
    }
    for (query, status) in [
        ("?architecture=riscv64", 404),
        ("?architecture=arm64&type=virtual-machine", 404),
        ("?type=x", 400),
        ("?architecture=pdp11", 400),
        ("/pdp11", 404),
    ] {
        assert_eq!(server.get(&format!("{ALIASES}/debian{query}")).status, status, "{query}");
    }
    // Each is in the list of objects; the list of paths has the name once.
    let rows = server.lxd(&format!("{ALIASES}?recursion=1"));
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["target"], &row["type"])).collect();
    let (c, m) = (json!("container"), json!("virtual-machine"));
    assert_eq!(rows, [(&json!(arm), &c), (&json!(native), &c), (&json!(vm), &m)]);
    assert_eq!(server.lxd(ALIASES), json!([format!("{ALIASES}/debian")]));
    // A target of one kind takes the name from the image of that kind.
    let vm_2 = server.import(&machine("vm 2"), &[]);
    let moved = server.send_json("PUT", &format!("{ALIASES}/debian"), &json!({ "target": vm_2, "description": "" }));
    assert_eq!(moved.status, 200);
    assert_eq!((read(""), read("?type=virtual-machine"), read("/arm64")), (json!(native), json!(vm_2), json!(arm)));
    assert_eq!(image(&server, &vm)["aliases"], json!([]));
    // A client that saw one of them changes that one.
    for query in ["", "/arm64", "?type=virtual-machine"] {
        let path = format!("{ALIASES}/debian{query}");
        let tag = server.get(&path).header("etag").unwrap().to_owned();
        let body = json!({ "description": query }).to_string();
        let change = |tag: &str| server.send("PATCH", &path, &[("If-Match", tag)], body.as_bytes()).status;
        assert_eq!((change(&tag), change(&tag)), (200, 412), "{query}");
    }
    // What a request names alone is renamed and removed.
    let renamed = server.send_json("POST", &format!("{ALIASES}/debian?type=virtual-machine"), &json!({ "name": "vm" }));
    assert_eq!(renamed.status, 201);
    assert_eq!(server.lxd(&format!("{ALIASES}/vm"))["target"], vm_2);
    assert_eq!(server.send("DELETE", &format!("{ALIASES}/debian"), &[], b"").status, 200);
    assert_eq!(read(""), arm);
    assert_eq!(server.send("DELETE", &format!("{ALIASES}/debian/arm64"), &[], b"").status, 200);
    assert_eq!(server.get(&format!("{ALIASES}/debian")).status, 404);
}

/// A copy takes the image of the wanted architecture and kind, from a server with LXD's protocol as from simplestreams.
#[test]
fn a_copy_is_of_the_wanted_architecture() {
    let (from, server) = (Server::secure(&[]), asking());
    let native = from.import(&container("native"), &[PUBLIC, DEBIAN]);
    let arm = from.import(&built_for("aarch64", "arm"), &[PUBLIC, DEBIAN]);
    let vm = from.import(&machine("vm"), &[PUBLIC, DEBIAN]);
    for protocol in ["lxd", "simplestreams"] {
        for (more, expected) in [
            (json!({}), &native),
            (json!({ "image_type": "container" }), &native),
            (json!({ "architecture": "aarch64" }), &arm),
            (json!({ "alias": "debian/arm64" }), &arm),
        ] {
            let mut source = json!({ "alias": "debian", "protocol": protocol });
            source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            if protocol == "simplestreams" {
                source["server"] = json!(format!("http://{}", from.address()));
                source["certificate"] = json!("");
            }
            let done = server.succeeded(&pull(&server, &from, source.clone(), json!({})));
            assert_eq!(done["fingerprint"], **expected, "{source}");
            server.succeeded(&server.send("DELETE", &format!("/1.0/images/{expected}"), &[], b""));
        }
    }
    let source = json!({ "alias": "debian", "image_type": "virtual-machine" });
    assert_eq!(server.succeeded(&pull(&server, &from, source, json!({})))["fingerprint"], vm);
    let source = json!({ "alias": "debian", "architecture": "riscv64" });
    let text = server.failed(&pull(&server, &from, source, json!({})));
    assert!(text.contains("has no image or alias 'debian'"), "{text}");
    let refused = pull(&server, &from, json!({ "alias": "debian", "architecture": "pdp11" }), json!({}));
    assert_eq!(server.refused(&refused).0, 400);
}

/// The aliases of each product, with its processor.
fn products(server: &Server) -> Vec<(String, String, String)> {
    let document = server.get("/streams/v1/images.json").json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let products = document["products"].as_object().unwrap().iter();
    let products = products.map(|(name, product)| {
        let fingerprint = name.rsplit(':').next().unwrap().to_owned();
        (text(&product["aliases"]), text(&product["arch"]), fingerprint)
    });
    let mut all: Vec<_> = products.collect();
    all.sort();
    all
}

/// Each of them is reached: the newest of its architecture by the name, the others by their fingerprints.
#[test]
fn disks_that_share_a_name_do_not_hide_each_other() {
    let server = Server::start();
    let disk = |content: &[u8], architecture: &str| {
        let before = server.lxd("/1.0/images").as_array().unwrap().len();
        let more = [
            ("x-image-meta-format", "qcow2"),
            ("x-image-meta-architecture", architecture),
            ("x-image-meta-access", "public"),
        ];
        let headers: Vec<_> = [("x-image-meta-name", "cirros"), ("Content-Type", "application/octet-stream")]
            .into_iter()
            .chain(more)
            .collect();
        let answer = server.send("POST", "/images", &headers, &qcow2(content));
        assert_eq!(answer.status, 200, "{answer:?}");
        eventually("it is offered", || server.lxd("/1.0/images").as_array().unwrap().len() == before + 1);
        answer.json()["image"]["_id"].as_str().unwrap().to_owned()
    };
    let read = |query: &str| server.lxd(&format!("{ALIASES}/cirros{query}"))["target"].as_str().unwrap().to_owned();
    let list = || -> Vec<String> {
        let mut all: Vec<String> = server
            .lxd("/1.0/images")
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap()[12..].to_owned())
            .collect();
        all.sort();
        all
    };
    disk(b"old", "x86_64");
    let old = read("");
    let id = disk(b"new", "x86_64");
    let new = read("");
    assert_ne!(new, old, "the newest");
    disk(b"arm", "aarch64");
    let arm = read("?architecture=aarch64");
    assert_eq!((read(""), read("/arm64")), (new.clone(), arm.clone()));
    let mut all = vec![old.clone(), new.clone(), arm.clone()];
    all.sort();
    assert_eq!(list(), all);
    // The name is an alias in LXD's lists, and in the documents of simplestreams.
    for fingerprint in &all {
        let aliases = json!([{ "name": "cirros", "description": "" }]);
        assert_eq!(image(&server, fingerprint)["aliases"], aliases);
    }
    let rows = server.lxd(&format!("{ALIASES}?recursion=1"));
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["target"].as_str().unwrap()).collect();
    assert_eq!(rows, [&arm, &new]);
    let named =
        |alias: &str, arch: &str, fingerprint: &str| (alias.to_owned(), arch.to_owned(), fingerprint.to_owned());
    let mut expected = [named("", "amd64", &old), named("cirros", "amd64", &new), named("cirros", "arm64", &arm)];
    expected.sort();
    assert_eq!(products(&server), expected);
    // An alias that was given comes before a name, and a name that was taken away is no alias any more.
    let given = server.import(&container("given"), &[PUBLIC, ("X-Incus-aliases", "alias=cirros")]);
    assert_eq!((read(""), read("?type=virtual-machine")), (given.clone(), new.clone()));
    assert_eq!(server.send("DELETE", &format!("{ALIASES}/cirros"), &[], b"").status, 200);
    assert_eq!(image(&server, &given)["aliases"], json!([]));
    assert_eq!(read(""), new);
    assert_eq!(server.send("DELETE", &format!("{ALIASES}/cirros"), &[], b"").status, 200);
    assert_eq!((image(&server, &new)["aliases"].clone(), read("")), (json!([]), old.clone()));
    let described = server.send_json("PATCH", &format!("{ALIASES}/cirros"), &json!({ "description": "of old" }));
    assert_eq!(described.status, 200);
    assert_eq!(image(&server, &old)["aliases"], json!([{ "name": "cirros", "description": "of old" }]));
    // The first one of a name is found again when the newer one is gone.
    server.send("DELETE", &format!("/images/{id}"), &[], b"");
    assert_eq!(read(""), old);
}

/// VISOR's clients have a name where there was only an id.
#[test]
fn visors_clients_read_images_by_name() {
    let server = Server::start();
    let add = |content: &[u8], architecture: &str| {
        let more = [("x-image-meta-format", "raw"), ("x-image-meta-architecture", architecture)];
        let headers: Vec<_> = [("x-image-meta-name", "my disk"), ("Content-Type", "application/octet-stream")]
            .into_iter()
            .chain(more)
            .collect();
        let answer = server.send("POST", "/images", &headers, content);
        answer.json()["image"]["_id"].as_str().unwrap().to_owned()
    };
    let first = add(b"first", "x86_64");
    let second = add(b"second", "x86_64");
    let arm = add(b"arm", "aarch64");
    // One that has no bytes yet hides none that has.
    server.add("my disk", &[], b"");
    for path in ["/images/my%20disk", "/images/my%20disk%2Famd64"] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.header("x-image-meta-_id"), answer.body.as_slice()),
            (200, Some(second.as_str()), &b"second"[..]),
            "{path}"
        );
        let head = server.send("HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("x-image-meta-_id")), (200, Some(second.as_str())));
    }
    assert_eq!(server.get("/images/my%20disk%2Farm64").header("x-image-meta-_id"), Some(arm.as_str()));
    // An alias of LXD's names its image here too.
    let fingerprint = server.import(&container("x"), &[("X-Incus-aliases", "alias=x")]);
    assert_eq!(sha256(&server.get("/images/x").body), fingerprint);
    // Lists of a name begin with the newest; every other method needs the id.
    let ids: Vec<_> = server.get("/images?name=my%20disk").json()["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids[1..], [arm, second, first]);
    for method in ["PUT", "DELETE"] {
        let answer = server.send(method, "/images/my%20disk", &[("x-image-meta-name", "other")], b"");
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    for path in ["/images/none", "/images/my%20disk%2Fpdp11"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_name_finds_nothing_that_the_caller_may_not_know_of() {
    let lab = Lab::new();
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    alice.import(&container("hers"), &[("X-Incus-aliases", "alias=hers")]);
    for name in ["hers", "hers/amd64"] {
        let none = bob.get(&format!("{ALIASES}/none"));
        let hidden = bob.get(&format!("{ALIASES}/{name}"));
        assert_eq!((hidden.status, hidden.body), (404, none.body));
    }
}
