//! LXD's images API over raw HTTP: what comes in, what is shown of it, what goes out, and what is refused.

use serde_json::{Value, json};

use crate::bundles::{container, form, gzip, machine, metadata, tar, yaml};
use crate::harness::{Server, eventually, iso, noise, qcow2, qcow2_over_a_file, sha256};

fn squashfs() -> Vec<u8> {
    [b"hsqs".as_slice(), &noise(7, 4092)].concat()
}

#[test]
fn an_image_in_one_file_comes_and_goes_as_it_is() {
    let server = Server::start();
    let bytes = container("debian");
    let properties = "os=Debian&x=a+b%26c";
    let answer = server.send(
        "POST",
        "/1.0/images",
        &[
            ("X-LXD-filename", "debian.tar.gz"),
            ("X-LXD-public", "1"),
            ("X-LXD-properties", properties),
            ("X-LXD-fingerprint", &sha256(&bytes)),
            ("X-Incus-aliases", "alias=debian%2F13&alias=d"),
        ],
        &bytes,
    );
    let operation = answer.json();
    assert_eq!((&operation["type"], &operation["status_code"]), (&"async".into(), &100.into()));
    let done = server.succeeded(&answer);
    assert_eq!(done, json!({ "fingerprint": sha256(&bytes), "size": bytes.len().to_string() }));
    let path = format!("/1.0/images/{}", sha256(&bytes));
    let image = server.lxd(&path);
    for (name, value) in [
        ("fingerprint", json!(sha256(&bytes))),
        ("size", json!(bytes.len())),
        ("type", json!("container")),
        ("architecture", json!("x86_64")),
        ("filename", json!("debian.tar.gz")),
        ("public", json!(true)),
        ("auto_update", json!(false)),
        ("cached", json!(false)),
        ("profiles", json!(["default"])),
        ("properties", json!({ "os": "Debian", "release": "13", "x": "a b&c" })),
        ("created_at", json!("2023-11-14T22:13:20Z")),
        ("expires_at", json!("0001-01-01T00:00:00Z")),
        ("last_used_at", json!("0001-01-01T00:00:00Z")),
    ] {
        assert_eq!(image[name], value, "{name}");
    }
    assert_eq!(
        image["aliases"],
        json!([{ "name": "d", "description": "" }, { "name": "debian/13", "description": "" }])
    );
    assert!(image.get("update_source").is_none());
    assert_eq!(server.lxd("/1.0/images"), json!([path]));
    assert_eq!(server.lxd("/1.0/images?recursion=1"), json!([image]));
    // Any beginning names it, and both spellings of an alias.
    assert_eq!(server.lxd(&path[..path.len() - 61]), image);
    for alias in ["debian/13", "debian%2F13"] {
        let found = server.lxd(&format!("/1.0/images/aliases/{alias}"));
        assert_eq!((&found["target"], &found["type"]), (&image["fingerprint"], &"container".into()));
    }
    let export = server.get(&format!("{path}/export"));
    assert_eq!((export.status, &export.body), (200, &bytes));
    let disposition = format!("inline;filename={}.tar.gz", sha256(&bytes));
    assert_eq!(export.header("content-disposition"), Some(disposition.as_str()));
    assert_eq!(export.header("content-type"), Some("application/octet-stream"));
    let part = server.send("GET", &format!("{path}/export"), &[("range", "bytes=10-19")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &bytes[10..20]));
    let behind = server.send("GET", &format!("{path}/export"), &[("range", "bytes=999999-")], b"");
    let length = format!("bytes */{}", bytes.len());
    assert_eq!((behind.status, behind.header("content-range")), (416, Some(length.as_str())));
    assert_ne!(server.lxd(&path)["last_used_at"], "0001-01-01T00:00:00Z");
    // The other protocols know it too, and say what it is.
    let other = server.get("/images/detail").json()["images"][0].clone();
    assert_eq!(
        (&other["type"], &other["format"], &other["fingerprint"]),
        (&"container".into(), &"tar".into(), &image["fingerprint"])
    );
    let glance = server.get("/v2/images").json()["images"][0].clone();
    assert_eq!(
        (&glance["disk_format"], &glance["status"], &glance["size"]),
        (&"tar".into(), &"active".into(), &bytes.len().into())
    );
}

#[test]
fn an_image_in_two_files_is_named_by_both() {
    let server = Server::start();
    for (part, root, kind, suffix) in
        [("rootfs", squashfs(), "container", "squashfs"), ("rootfs.img", qcow2(b"disk"), "virtual-machine", "qcow2")]
    {
        let both = sha256(&[metadata(part), root.clone()].concat());
        let headers = [("X-Incus-public", "on"), ("X-LXD-filename", "meta.tar.gz")];
        assert_eq!(server.import_split(part, part, &root, &headers), both);
        let image = server.lxd(&format!("/1.0/images/{both}"));
        assert_eq!(
            (&image["type"], &image["public"], &image["filename"]),
            (&kind.into(), &true.into(), &"root.bin".into())
        );
        assert_eq!(image["size"], metadata(part).len() + root.len());
        let export = server.get(&format!("/1.0/images/{both}/export"));
        let content_type = export.header("content-type").unwrap();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let head = |name: &str, file: &str| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: \
                 application/octet-stream\r\n\r\n"
            )
        };
        let expected = [
            head("metadata", &format!("meta-{both}.tar.gz")).as_bytes(),
            &metadata(part),
            b"\r\n",
            head(part, &format!("{both}.{suffix}")).as_bytes(),
            &root,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        assert_eq!(export.header("content-length").unwrap(), expected.len().to_string());
        assert!(export.body == expected, "{export:?}");
    }
    let (images, staging) = server.files();
    assert_eq!((images.len(), staging.len()), (4, 0));
    // What the other protocols give out is the root.
    let records = server.get("/images/detail").json()["images"].as_array().unwrap().clone();
    let disk = records.iter().find(|record| record["type"] == "virtual-machine").unwrap();
    let file = server.send("GET", &format!("/images/{}", disk["_id"].as_str().unwrap()), &[], b"");
    assert_eq!(file.body, qcow2(b"disk"));
}

#[test]
fn a_body_may_come_in_chunks_and_without_a_type() {
    let server = Server::start();
    let bytes = machine("chunked");
    let chunked = [
        format!("{:x}\r\n", 10).as_bytes(),
        &bytes[..10],
        b"\r\n",
        format!("{:x}\r\n", bytes.len() - 10).as_bytes(),
        &bytes[10..],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let fingerprint = server.import(&chunked, &[("transfer-encoding", "chunked")]);
    assert_eq!(fingerprint, sha256(&bytes));
    assert_eq!(server.lxd(&format!("/1.0/images/{fingerprint}"))["type"], "virtual-machine");
    let expecting = server.send("POST", "/1.0/images", &[("expect", "100-continue")], &container("expected"));
    server.succeeded(&expecting);
}

#[test]
fn what_is_no_image_fails_and_leaves_nothing() {
    let server = Server::start();
    let described = |yaml: &str| gzip(&tar(&[("metadata.yaml", yaml.as_bytes()), ("rootfs/x", b"")]));
    let twice =
        tar(&[("metadata.yaml", yaml("a").as_bytes()), ("metadata.yaml", yaml("b").as_bytes()), ("rootfs/x", b"")]);
    let wrong = sha256(b"something else");
    let fingerprint = [("X-LXD-fingerprint", wrong.as_str())];
    let mismatch = format!("fingerprints don't match, got {} expected {wrong}", sha256(&container("a")));
    for (bytes, headers, expected) in [
        (noise(1, 3000), &[][..], "Unsupported compression"),
        (gzip(&tar(&[("rootfs/x", b"")])), &[], "Metadata tarball is missing metadata.yaml"),
        (described("architecture: pdp11\ncreation_date: 1\n"), &[], "Architecture isn't supported: pdp11"),
        (described("architecture: amd64\n"), &[], "Missing creation date"),
        (described("a: [b"), &[], ""),
        (twice, &[], ""),
        (metadata("no root"), &[], "The image has neither a rootfs nor a rootfs.img"),
        (qcow2(b""), &[], "Metadata tarball is missing metadata.yaml"),
        (container("a"), &fingerprint, mismatch.as_str()),
    ] {
        let said = server.failed(&server.send("POST", "/1.0/images", headers, &bytes));
        assert!(if expected.is_empty() { !said.is_empty() } else { said == expected }, "{said}");
    }
    let meta = metadata("a");
    for parts in [
        &[("rootfs", "", squashfs())][..],
        &[("metadata", "", meta.clone())],
        &[("rootfs", "", squashfs()), ("metadata", "", meta.clone())],
        &[("metadata", "", meta.clone()), ("root", "", squashfs())],
        &[("metadata", "", meta.clone()), ("rootfs", "", squashfs()), ("more", "", meta.clone())],
    ] {
        let parts: Vec<_> = parts.iter().map(|(name, file, bytes)| (*name, *file, bytes.as_slice())).collect();
        let (content_type, body) = form(&parts);
        let answer = server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body);
        assert_eq!(server.failed(&answer), "Invalid multipart image");
    }
    // Nor does a disk describe anything.
    let (content_type, body) = form(&[("metadata", "", &qcow2(b"")), ("rootfs", "", &squashfs())]);
    let answer = server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body);
    assert_eq!(server.failed(&answer), "Metadata tarball is missing metadata.yaml");
    // A disk that would open others is none, whoever it is for.
    let (content_type, body) = form(&[("metadata", "", &meta), ("rootfs.img", "", &qcow2_over_a_file(b""))]);
    server.failed(&server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body));
    let (content_type, body) = form(&[("metadata", "", &meta), ("rootfs.img", "", &iso())]);
    let answer = server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body);
    assert_eq!(server.failed(&answer), "Unsupported compression");
    let empty = server.send("POST", "/1.0/images", &[("content-length", "0")], b"");
    assert_eq!(server.failed(&empty), "EOF");
    assert_eq!(server.files(), (Vec::new(), Vec::new()));
    assert_eq!(server.get("/images").status, 404, "no record is left either");
}

#[test]
fn what_is_here_already_is_said_to_be() {
    let server = Server::start();
    let bytes = container("twice");
    let fingerprint = server.import(&bytes, &[]);
    let again = server.ended(&server.send("POST", "/1.0/images", &[], &bytes));
    assert_eq!(
        (&again["status_code"], &again["err"]),
        (&400.into(), &"Image with same fingerprint already exists".into())
    );
    assert_eq!(again["metadata"]["fingerprint"], fingerprint);
    let other = container("other");
    let taken = [("X-Incus-aliases", "alias=mine")];
    server.import(&other, &taken);
    let late = server.send("POST", "/1.0/images", &taken, &container("late"));
    assert_eq!(server.failed(&late), "Alias already exists: mine");
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 2);
    assert_eq!(server.files().0.len(), 2);
}

#[test]
fn changes_are_put_or_patched_if_nobody_was_faster() {
    let server = Server::start();
    let fingerprint = server.import(&container("debian"), &[("X-LXD-public", "yes")]);
    let path = format!("/1.0/images/{fingerprint}");
    let tag = server.get(&path).header("etag").unwrap().to_owned();
    let patch =
        server.send_json("PATCH", &path, &json!({ "properties": { "a": "1" }, "expires_at": "2040-01-02T03:04:05Z" }));
    assert_eq!((patch.status, patch.json()["metadata"].clone()), (200, json!({})));
    let image = server.lxd(&path);
    assert_eq!(image["properties"], json!({ "os": "debian", "release": "13", "a": "1" }));
    assert_eq!((&image["public"], &image["expires_at"]), (&true.into(), &"2040-01-02T03:04:05Z".into()));
    let stale = server.send("PUT", &path, &[("if-match", &tag)], br#"{"public":true}"#);
    assert_eq!(server.refused(&stale).0, 412);
    let tag = server.get(&path).header("etag").unwrap().replace('"', "");
    let put = server.send(
        "PUT",
        &path,
        &[("if-match", &tag)],
        br#"{"properties":{"b":"2"},"auto_update":true,"profiles":["default"],"expires_at":"0001-01-01T00:00:00Z"}"#,
    );
    assert_eq!(put.status, 200, "{put:?}");
    let image = server.lxd(&path);
    assert_eq!((&image["properties"], &image["public"]), (&json!({ "b": "2" }), &false.into()));
    assert_eq!((&image["auto_update"], &image["expires_at"]), (&true.into(), &"2040-01-02T03:04:05Z".into()));
    // What is made empty is gone.
    for (method, properties, left) in [
        ("PATCH", json!({ "b": "", "c": "3", "never": "" }), json!({ "c": "3" })),
        ("PUT", json!({ "c": "", "d": "4" }), json!({ "d": "4" })),
    ] {
        assert_eq!(server.send_json(method, &path, &json!({ "properties": properties })).status, 200);
        assert_eq!(server.lxd(&path)["properties"], left);
    }
    assert_eq!(server.send_json("PUT", &path, &json!({ "expires_at": "1970-01-01T00:00:00Z" })).status, 200);
    assert_eq!(server.lxd(&path)["expires_at"], "0001-01-01T00:00:00Z");
    for (body, expected) in [
        (json!({ "public": "yes" }), 400),
        (json!({ "properties": { "a": 1 } }), 400),
        (json!({ "profiles": ["other"] }), 400),
        (json!({ "expires_at": "tomorrow" }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(server.refused(&server.send_json("PUT", &path, &body)).0, expected, "{body}");
    }
    let none = format!("/1.0/images/{}", "0".repeat(64));
    assert_eq!(server.refused(&server.send_json("PUT", &none, &json!({}))), (404, "Image not found".into()));
}

#[test]
fn a_removed_image_takes_its_aliases_along() {
    let server = Server::start();
    let fingerprint = server.import(&container("a"), &[("X-Incus-aliases", "alias=a&alias=b")]);
    let answer = server.send("DELETE", &format!("/1.0/images/{}", &fingerprint[..12]), &[], b"");
    let operation = server.ended(&answer);
    assert_eq!(operation["resources"], json!({ "images": [format!("/1.0/images/{fingerprint}")] }));
    assert_eq!((server.lxd("/1.0/images"), server.lxd("/1.0/images/aliases")), (json!([]), json!([])));
    let again = server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b"");
    assert_eq!(server.refused(&again), (404, "Image not found".into()));
    server.import(&container("a"), &[("X-Incus-aliases", "alias=a")]);
    assert_eq!(server.lxd("/1.0/images/aliases"), json!(["/1.0/images/aliases/a"]));
}

#[test]
fn names_that_fit_none_or_several_are_told_apart() {
    let server = Server::start();
    // Until two begin the same: one in sixteen does.
    let mut seen: Vec<String> = Vec::new();
    let shared = (0..).find_map(|n| {
        let fingerprint = server.import(&container(&n.to_string()), &[]);
        let twin = seen.iter().any(|other| other[..1] == fingerprint[..1]);
        seen.push(fingerprint.clone());
        twin.then(|| fingerprint[..1].to_owned())
    });
    let (status, text) = server.refused(&server.get(&format!("/1.0/images/{}", shared.unwrap())));
    assert_eq!((status, text.as_str()), (400, "More than one image matches"));
    for none in ["%25", "_", "zz", "0123G", &seen[0].to_uppercase(), &"0".repeat(65), "..%2F..%2Fetc"] {
        let answer = server.get(&format!("/1.0/images/{none}"));
        assert_eq!(server.refused(&answer), (404, "Image not found".into()), "{none}");
    }
}

#[test]
fn aliases_have_all_their_verbs() {
    let server = Server::start();
    let (one, two) = (server.import(&container("one"), &[]), server.import(&machine("two"), &[]));
    let create = |name: &str, target: &str| {
        server.send_json(
            "POST",
            "/1.0/images/aliases",
            &json!({ "name": name, "target": target, "description": "text" }),
        )
    };
    let made = create("os/x", &one[..20]);
    assert_eq!((made.status, made.header("location")), (201, Some("/1.0/images/aliases/os/x")));
    assert_eq!(made.json()["metadata"], Value::Null);
    let shown = json!({ "name": "os/x", "target": one, "description": "text", "type": "container" });
    assert_eq!(server.lxd("/1.0/images/aliases/os%2Fx"), shown);
    assert_eq!(server.lxd("/1.0/images/aliases?recursion=1"), json!([shown]));
    // Another container, or the same one again. One of a machine would have the alias beside it, see `lxd_names`.
    let other = server.import(&container("other"), &[]);
    for target in [&one, &other] {
        assert_eq!(server.refused(&create("os/x", target)), (409, "Alias \"os/x\" already exists".into()));
    }
    assert_eq!(server.refused(&create("y", &"0".repeat(64))).0, 404);
    for body in
        [json!({ "name": "y" }), json!({ "target": one }), json!({ "name": "", "target": one }), json!({ "name": 1 })]
    {
        assert_eq!(server.refused(&server.send_json("POST", "/1.0/images/aliases", &body)).0, 400, "{body}");
    }
    let path = "/1.0/images/aliases/os/x";
    let tag = server.get(path).header("etag").unwrap().to_owned();
    // To another image: the name stands for one of them at any moment.
    assert_eq!(server.send_json("PUT", path, &json!({ "target": two })).status, 200);
    let moved = json!({ "name": "os/x", "target": two, "description": "", "type": "virtual-machine" });
    assert_eq!(server.lxd(path), moved);
    assert_eq!(server.lxd(&format!("/1.0/images/{one}"))["aliases"], json!([]));
    assert_eq!(
        server
            .refused(&server.send("PUT", path, &[("if-match", &tag)], json!({ "target": one }).to_string().as_bytes()))
            .0,
        412
    );
    assert_eq!(server.refused(&server.send_json("PUT", path, &json!({ "description": "x" }))).0, 400);
    assert_eq!(server.send_json("PATCH", path, &json!({ "description": "new" })).status, 200);
    assert_eq!(server.lxd(path)["description"], "new");
    create("z", &server.import(&machine("z"), &[]));
    assert_eq!(server.refused(&server.send_json("POST", path, &json!({ "name": "z" }))).0, 409);
    assert_eq!(server.refused(&server.send_json("POST", path, &json!({ "name": "" }))).0, 400);
    let renamed = server.send_json("POST", path, &json!({ "name": "new" }));
    assert_eq!((renamed.status, renamed.header("location")), (201, Some("/1.0/images/aliases/new")));
    assert_eq!(server.refused(&server.get(path)).0, 404);
    assert_eq!(server.send("DELETE", "/1.0/images/aliases/new", &[], b"").status, 200);
    for (method, body) in [
        ("DELETE", Value::Null),
        ("PUT", json!({ "target": one })),
        ("POST", json!({ "name": "q" })),
        ("PATCH", json!({})),
    ] {
        let answer = server.send_json(method, "/1.0/images/aliases/new", &body);
        assert_eq!(server.refused(&answer).0, 404, "{method}");
    }
}

#[test]
fn lists_can_be_filtered() {
    let server = Server::start();
    let (one, two) = (server.import(&container("one"), &[]), server.import(&machine("two"), &[("X-LXD-public", "1")]));
    let list = |filter: &str| {
        let filter = percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC);
        server.get(&format!("/1.0/images?recursion=1&filter={filter}"))
    };
    let found = |filter: &str| -> Vec<String> {
        let images = list(filter).json()["metadata"].as_array().unwrap().clone();
        images.iter().map(|image| image["fingerprint"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("type eq container"), std::slice::from_ref(&one));
    assert_eq!(found("properties.os eq TWO and public eq true"), std::slice::from_ref(&two));
    assert_eq!(found("not type eq container"), std::slice::from_ref(&two));
    assert_eq!(found("properties.os eq none"), Vec::<String>::new());
    assert_eq!(server.refused(&list("type like x")).0, 400);
}

#[test]
fn long_lists_come_whole() {
    let server = Server::start();
    let mut all: Vec<String> = (0..300).map(|n| server.import(&container(&format!("{n}")), &[])).collect();
    all.sort();
    let paths: Vec<Value> = all.iter().map(|fingerprint| format!("/1.0/images/{fingerprint}").into()).collect();
    assert_eq!(server.lxd("/1.0/images"), Value::Array(paths));
    assert_eq!(server.lxd("/1.0/images?recursion=1").as_array().unwrap().len(), 300);
    assert_eq!(server.lxd("/1.0/images?filter=type%20eq%20virtual-machine"), json!([]));
}

#[test]
fn a_secret_opens_one_image_for_a_moment() {
    let server = Server::start();
    let fingerprint = server.import(&container("private"), &[]);
    let answer = server.send("POST", &format!("/1.0/images/{}/secret", &fingerprint[..12]), &[], b"");
    let operation = answer.json()["metadata"].clone();
    assert_eq!(
        (&operation["class"], &operation["status_code"], &operation["may_cancel"]),
        (&"token".into(), &103.into(), &true.into())
    );
    assert_eq!(operation["resources"]["images"], json!([format!("/1.0/images/{fingerprint}")]));
    let secret = operation["metadata"]["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(server.get(&format!("/1.0/images/{fingerprint}?secret={secret}")).status, 200);
    let path = operation["id"].as_str().unwrap();
    assert_eq!(server.send("DELETE", &format!("/1.0/operations/{path}"), &[], b"").status, 200);
}

#[test]
fn requests_for_nothing_in_particular_are_refused() {
    let server = Server::start();
    for (body, text) in [
        (json!({}), "Missing source in the request"),
        (json!({ "source": null }), "Missing source in the request"),
        (json!({ "source": { "type": "nothing" } }), "Invalid images JSON: the type of its source is unknown"),
        (json!({ "source": { "type": "url" } }), "Missing URL"),
        (
            json!({ "source": { "type": "image", "server": "https://h", "protocol": "ftp", "alias": "x" } }),
            "Unknown protocol \"ftp\"",
        ),
        (json!({ "source": { "type": "image", "mode": "relay" } }), "Invalid mode \"relay\": use pull or push"),
        (json!({ "source": { "type": "image", "mode": "push" } }), "A push needs the fingerprint of its image"),
        (json!({ "source": { "type": "image", "alias": "x" } }), "Missing server"),
        (json!({ "source": { "type": "snapshot", "name": "c1" } }), "Not a snapshot"),
        (json!({ "source": { "type": "container", "name": "c1/one" } }), "This is a snapshot"),
        (json!({ "source": { "type": "instance", "name": "c1/one" } }), "This is a snapshot"),
        (json!({ "source": { "type": "virtual-machine", "name": "c1/one" } }), "This is a snapshot"),
    ] {
        let answer = server.send_json("POST", "/1.0/images", &body);
        assert_eq!(server.refused(&answer), (400, text.to_owned()), "{body}");
        // Clients need not say that it is JSON.
        let answer = server.send("POST", "/1.0/images", &[], format!(" {body}").as_bytes());
        assert_eq!(server.refused(&answer).0, 400, "{body}");
    }
    // What no image may have is not kept until somebody sends one, nor is more than a little of what it may.
    let many = |count: usize, text: usize| -> Value {
        let one = |n| json!({ "name": format!("a{n}"), "description": "x".repeat(text) });
        let source = json!({ "mode": "push", "fingerprint": "0".repeat(64) });
        json!({ "source": source, "aliases": (0..count).map(one).collect::<Vec<_>>() })
    };
    for (body, status) in [(many(60, 4096), 400), (many(1, 5000), 400), (many(500, 1), 400), (many(20, 4096), 202)] {
        assert_eq!(server.send_json("POST", "/1.0/images", &body).status, status);
    }
    let broken = server.send("POST", "/1.0/images", &[("content-type", "application/json")], b"{");
    assert_eq!(server.refused(&broken).0, 400);
    for kind in ["container", "instance", "virtual-machine"] {
        let answer = server.send_json("POST", "/1.0/images", &json!({ "source": { "type": kind, "name": "c1" } }));
        assert_eq!(server.refused(&answer), (404, "Instance not found".to_owned()));
    }
    let fingerprint = server.import(&container("x"), &[]);
    let refresh = server.send("POST", &format!("/1.0/images/{fingerprint}/refresh"), &[], b"");
    assert!(server.failed(&refresh).contains("Image source not found"));
    // Nothing is fetched from this very machine unless the operator says so.
    for source in [
        json!({ "type": "image", "server": "https://127.0.0.1:1", "alias": "x" }),
        json!({ "type": "image", "server": "http://localhost:1", "protocol": "simplestreams", "alias": "x" }),
        json!({ "type": "url", "url": "http://169.254.169.254/latest" }),
    ] {
        let said = server.failed(&server.send_json("POST", "/1.0/images", &json!({ "source": source })));
        assert!(!said.is_empty(), "{source}");
    }
    for (method, path) in [
        ("HEAD", "/1.0/images"),
        ("DELETE", "/1.0/images"),
        ("PUT", "/1.0/images/aliases"),
        ("PATCH", "/1.0/images/x/export"),
    ] {
        assert_eq!(server.send(method, path, &[], b"").status, 501, "{method} {path}");
    }
}

#[test]
fn a_disk_of_another_protocol_is_offered_as_a_machine() {
    let server = Server::start();
    let raw = [noise(3, 70_000), vec![0; 5]].concat();
    server.add("disk", &[("x-image-meta-format", "qcow2")], &qcow2(b"x"));
    server.add("raw", &[("x-image-meta-format", "raw")], &raw);
    server.add("no disk", &[("x-image-meta-format", "iso")], &iso());
    eventually("both disks are offered", || server.lxd("/1.0/images").as_array().unwrap().len() == 2);
    let images = server.lxd("/1.0/images?recursion=1").as_array().unwrap().clone();
    for image in &images {
        assert_eq!(
            (&image["type"], &image["public"], &image["architecture"]),
            (&"virtual-machine".into(), &true.into(), &"x86_64".into())
        );
        let fingerprint = image["fingerprint"].as_str().unwrap();
        let export = server.get(&format!("/1.0/images/{fingerprint}/export"));
        let parts = parts_of(&export);
        assert_eq!((parts.len(), sha256(&parts.concat()).as_str()), (2, fingerprint));
        assert_eq!(image["size"], parts.concat().len());
        assert!(parts[1].starts_with(b"QFI\xfb"));
        // By the name that it has elsewhere it is found here.
        let name = image["properties"]["description"].as_str().unwrap();
        assert_eq!(server.lxd(&format!("/1.0/images/aliases/{name}"))["target"], fingerprint);
        if name == "raw" {
            let at = parts[1].len() - raw.len().next_multiple_of(64 << 10);
            assert!(parts[1][at..][..raw.len()] == raw);
        } else {
            assert_eq!(parts[1], qcow2(b"x"));
        }
    }
    // Who does not want it says so, and may change his mind.
    let records = server.get("/images/detail?name=disk").json();
    let id = records["images"][0]["_id"].as_str().unwrap();
    let set = |offer| server.send("PUT", &format!("/images/{id}"), &[("x-image-meta-lxd_offer", offer)], b"");
    assert_eq!(set("false").json()["image"]["lxd_offer"], "false");
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
    assert_eq!(server.files().0.iter().filter(|name| name.ends_with(".metadata")).count(), 1);
    assert_eq!(set("true").status, 200);
    eventually("it is offered again", || server.lxd("/1.0/images").as_array().unwrap().len() == 2);
    // One for another processor is another image.
    let before = server.lxd("/1.0/images/aliases/disk")["target"].clone();
    server.send("PUT", &format!("/images/{id}"), &[("x-image-meta-architecture", "aarch64")], b"");
    eventually("it is described anew", || {
        let found = server.get("/1.0/images/aliases/disk");
        found.status == 200 && found.json()["metadata"]["target"] != before
    });
    let target = server.lxd("/1.0/images/aliases/disk")["target"].as_str().unwrap().to_owned();
    assert_eq!(server.lxd(&format!("/1.0/images/{target}"))["architecture"], "aarch64");
}

/// What Glance's users leave out of its lists is left out of these too, and found by whoever knows it.
#[test]
fn hidden_images_are_found_and_not_listed() {
    let server = Server::start();
    server.add("disk", &[("x-image-meta-format", "qcow2")], &qcow2(b"x"));
    let listed = || server.lxd("/1.0/images").as_array().unwrap().len();
    let products = || server.get("/streams/v1/images.json").json()["products"].as_object().unwrap().len();
    eventually("it is offered", || (listed(), products()) == (1, 1));
    let record = server.get("/images/detail?name=disk").json()["images"][0].clone();
    let hide = |hidden: bool| {
        let patch = format!(r#"[{{"op": "replace", "path": "/os_hidden", "value": {hidden}}}]"#);
        let kind = ("Content-Type", "application/openstack-images-v2.1-json-patch");
        let path = format!("/v2/images/{}", record["_id"].as_str().unwrap());
        assert_eq!(server.send("PATCH", &path, &[kind], patch.as_bytes()).status, 200);
    };
    hide(true);
    assert_eq!((listed(), products()), (0, 0));
    let target = server.lxd("/1.0/images/aliases/disk")["target"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/1.0/images/{target}/export")).status, 200);
    hide(false);
    assert_eq!((listed(), products()), (1, 1));
}

#[test]
fn nothing_is_offered_where_the_operator_does_not_want_it() {
    let server = Server::configured("[lxd]\noffer_disks = false\n");
    server.add("disk", &[("x-image-meta-format", "qcow2")], &qcow2(b"x"));
    server.import(&container("x"), &[]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
}

/// The contents of the parts of a form.
pub(crate) fn parts_of(answer: &crate::harness::Answer) -> Vec<Vec<u8>> {
    let boundary = answer.header("content-type").unwrap().split("boundary=").nth(1).unwrap();
    let (mut parts, mut rest) = (Vec::new(), answer.body.as_slice());
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    while let Some(start) = find(rest, b"\r\n\r\n") {
        let end = format!("\r\n--{boundary}");
        let length = find(&rest[start + 4..], end.as_bytes()).unwrap();
        parts.push(rest[start + 4..start + 4 + length].to_vec());
        rest = &rest[start + 4 + length + 2..];
    }
    parts
}
