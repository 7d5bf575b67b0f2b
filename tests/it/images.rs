//! Records: what comes back, in what form, and in what order.

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::harness::{Server, iso, md5, noise, sha256};

fn id(image: &Value) -> String {
    image["_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_record_has_the_originals_fields_in_the_originals_order() {
    let server = Server::start();
    let file = iso();
    let image = server.add("Fedora Desktop 17", &[("x-image-meta-format", "iso"), ("x-image-meta-os", "linux")], &file);
    let keys: Vec<&str> = image.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "_id",
            "uri",
            "name",
            "architecture",
            "access",
            "format",
            "store",
            "location",
            "status",
            "size",
            "created_at",
            "uploaded_at",
            "updated_at",
            "checksum",
            "os"
        ]
    );
    assert_eq!(image["uri"], format!("http://{}/images/{}", server.address(), id(&image)));
    assert_eq!((&image["size"], &image["checksum"]), (&file.len().into(), &md5(&file).into()));
    let brief = &server.get("/images").json()["images"][0];
    let keys: Vec<&str> = brief.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["_id", "name", "architecture", "format", "store", "size"]);
    assert_eq!(server.get("/images/detail/").json()["images"][0], image, "one record, the same everywhere");

    let head = server.send("HEAD", &format!("/images/{}", id(&image)), &[], b"");
    for (name, value) in image.as_object().unwrap() {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        assert_eq!(head.header(&format!("x-image-meta-{name}")), Some(text.as_str()), "{name}");
    }
    assert_eq!((head.body.len(), head.header("content-length")), (0, Some(file.len().to_string().as_str())));
}

#[test]
fn xml_is_the_originals_byte_for_byte() {
    let server = Server::start();
    let image = server.add("a <b> & 'c'/\"d\"", &[], b"");
    let (id, created) = (id(&image), image["created_at"].as_str().unwrap());
    let record = format!(
        "<_id>{id}</_id>\n<uri>http:&#x2F;&#x2F;{}&#x2F;images&#x2F;{id}</uri>\n\
         <name>a &lt;b&gt; &amp; &#x27;c&#x27;&#x2F;&quot;d&quot;</name>\n<architecture>x86_64</architecture>\n\
         <access>public</access>\n<status>locked</status>\n<created_at>{created}</created_at>\n",
        server.address()
    );
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<results>\n";
    let xml = ("Accept", "application/xml");
    let list = server.send("GET", "/images/detail", &[xml], b"").text();
    assert_eq!(list, format!("{head}<images>\n<item>\n{record}</item>\n</images>\n</results>"));
    let gone = server.send("DELETE", &format!("/images/{id}"), &[xml], b"").text();
    assert_eq!(gone, format!("{head}<image>\n{record}<access_count>0</access_count>\n</image>\n</results>"));
}

#[test]
fn lists_filter_sort_and_page() {
    let server = Server::start();
    let sizes = [("d", 30), ("b", 10), ("a", 20), ("c", 10)];
    for (name, size) in sizes {
        let format = if size == 10 { "aki" } else { "ami" };
        server.add(name, &[("x-image-meta-format", format), ("x-image-meta-os", name)], &noise(1, size));
    }
    assert_eq!(server.names("?sort=name"), ["a", "b", "c", "d"]);
    assert_eq!(server.names("?sort=name&dir=DESC"), ["d", "c", "b", "a"]);
    assert_eq!(server.names("?sort=created_at"), ["d", "b", "a", "c"]);
    assert_eq!(server.names("?sort=size&dir=desc&limit=2"), ["d", "a"]);
    assert_eq!(server.names("?format=aki&sort=name"), ["b", "c"]);
    assert_eq!(server.names("?format=aki&os=c"), ["c"]);
    assert_eq!(server.names("?os=b&os=c"), ["c"], "the last of two wins");
    assert_eq!(server.names("?architecture=amd64&sort=name").len(), 4);
    assert_eq!(server.names("?size_min=11&size_max=29"), ["a"]);
    assert_eq!(server.names("?status=available").len(), 4);
    let images = server.get("/images/detail?sort=name").json()["images"].as_array().unwrap().clone();
    for name in ["_id", "uri", "location", "checksum", "created_at", "uploaded_at", "size"] {
        let value = images[0][name].as_str().map_or_else(|| images[0][name].to_string(), ToOwned::to_owned);
        let value = value.replace('+', "%2B").replace(' ', "+");
        assert!(server.names(&format!("?{name}={value}")).contains(&"a".to_owned()), "{name}={value}");
    }
    let mut paged = Vec::new();
    let mut marker = String::new();
    loop {
        let page = server.get(&format!("/images?sort=size&dir=desc&limit=1{marker}"));
        if page.status == 404 {
            break;
        }
        let image = page.json()["images"][0].clone();
        paged.push(image["name"].as_str().unwrap().to_owned());
        marker = format!("&marker={}", id(&image));
    }
    assert_eq!(paged, server.names("?sort=size&dir=desc"));
}

#[test]
fn a_long_list_is_whole_in_both_forms() {
    let server = Server::start();
    let count = 1203;
    for n in 0..count {
        server.add(&format!("image {n:04}"), &[], b"");
    }
    let names = server.names("?sort=name");
    assert_eq!(names, (0..count).map(|n| format!("image {n:04}")).collect::<Vec<_>>());
    assert_eq!(server.names("?sort=name&limit=700").len(), 700);
    let xml = server.send("GET", "/images?sort=name", &[("Accept", "application/xml")], b"").text();
    assert_eq!(xml.matches("<item>").count(), count);
    assert!(xml.ends_with("</images>\n</results>"));
    let gone = server.send("DELETE", "/all", &[("x-visor-confirm", "all")], b"");
    assert_eq!(gone.json()["images"].as_array().unwrap().len(), count);
}

#[test]
fn updates_change_what_they_name() {
    let server = Server::start();
    let image = server.add("a", &[("x-image-meta-os", "linux"), ("x-image-meta-type", "machine")], b"abc");
    let path = format!("/images/{}", id(&image));
    let put = |headers: &[(&str, &str)]| server.send("PUT", &path, headers, b"").json()["image"].clone();
    let updated = put(&[("x-image-meta-name", "b"), ("x_image_meta_release", "13")]);
    assert_eq!((&updated["name"], &updated["os"], &updated["release"]), (&"b".into(), &"linux".into(), &"13".into()));
    assert!(updated["updated_at"].is_string());
    let emptied = put(&[("x-image-meta-os", ""), ("x-image-meta-type", "")]);
    assert!(emptied.get("os").is_none() && emptied.get("type").is_none());
    assert_eq!(server.get(&path).body, b"abc");
    assert!(server.names("?os=linux").is_empty(), "indexes follow");
    assert_eq!(server.names("?release=13"), ["b"]);
}

#[test]
fn kernels_and_ramdisks_are_what_they_are_said_to_be() {
    let server = Server::start();
    let kernel = id(&server.add("vmlinuz", &[("x-image-meta-type", "kernel")], b"k"));
    let ramdisk = id(&server.add("initrd", &[("x-image-meta-format", "ari")], b"r"));
    let pair = [("x-image-meta-kernel", kernel.as_str()), ("x-image-meta-ramdisk", ramdisk.as_str())];
    let machine = server.add("machine", &pair, b"m");
    assert_eq!((&machine["kernel"], &machine["ramdisk"]), (&kernel.clone().into(), &ramdisk.clone().into()));
    assert_eq!(server.names(&format!("?kernel={kernel}")), ["machine"]);
    for (name, other, message) in [
        ("x-image-meta-kernel", &ramdisk, "is not a kernel image."),
        ("x-image-meta-ramdisk", &kernel, "is not a ramdisk image."),
    ] {
        let answer = server.send("PUT", &format!("/images/{}", id(&machine)), &[(name, other)], b"");
        assert_eq!(answer.status, 400);
        assert!(answer.json()["message"].as_str().unwrap().ends_with(message));
    }
}

#[test]
fn counters_are_in_the_record_of_a_removed_image_only() {
    let server = Server::start();
    let image = server.add("a", &[], b"abc");
    let path = format!("/images/{}", id(&image));
    for _ in 0..3 {
        let shown = server.get(&path);
        assert!(shown.header("x-image-meta-access_count").is_none());
    }
    let gone = server.send("DELETE", &path, &[], b"").json()["image"].clone();
    assert_eq!(gone["access_count"], 3);
    assert!(gone["accessed_at"].is_string());
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 404);
    assert_eq!(server.files().0.len(), 0);
}

#[test]
fn ranges_and_conditions() {
    let server = Server::start();
    let body = noise(3, 700_000);
    let path = format!("/images/{}", id(&server.add("a", &[], &body)));
    let etag = format!("\"{}\"", sha256(&body));
    let get = |headers: &[(&str, &str)]| server.send("GET", &path, headers, b"");

    let part = get(&[("Range", "bytes=1000-1999")]);
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000-1999/700000")));
    assert!(part.body == body[1000..2000]);
    let tail = get(&[("Range", "bytes=-5"), ("If-Range", &etag)]);
    assert!(tail.status == 206 && tail.body == body[body.len() - 5..]);
    assert_eq!(get(&[("Range", "bytes=5-"), ("If-Range", "\"other\"")]).status, 200);
    let beyond = get(&[("Range", "bytes=700000-")]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */700000")));
    assert_eq!(beyond.json()["code"], 416);

    let several = [("Range", "bytes=0-9, 699990-,900000-, 500-599")];
    let parts = get(&several);
    let boundary = parts.header("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for range in [0..10, 699_990..700_000, 500..600] {
        let (start, last) = (range.start, range.end - 1);
        let head =
            format!("--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{last}");
        expected.extend(format!("\r\n{head}/700000\r\n\r\n").bytes());
        expected.extend(&body[range]);
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert!(parts.status == 206 && parts.body == expected, "{parts:?}");
    let length = expected.len().to_string();
    assert_eq!(parts.header("content-length"), Some(length.as_str()));

    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&body));
    for answer in [get(&[]), get(&[("Range", "bytes=0-9")]), server.send("HEAD", &path, &[], b"")] {
        assert_eq!(answer.header("repr-digest"), Some(format!("sha-256=:{digest}:").as_str()));
        assert_eq!(answer.header("digest"), Some(format!("sha-256={digest}").as_str()));
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a\""));
    }

    let same = get(&[("If-None-Match", &etag)]);
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(etag.as_str())));
    let modified = get(&[]).header("last-modified").unwrap().to_owned();
    assert_eq!(get(&[("If-Modified-Since", &modified)]).status, 304);
    assert_eq!(get(&[("If-Match", "\"other\"")]).status, 412);
    assert_eq!(get(&[("If-Match", &etag)]).status, 200);
    // A range is a part of what GET brings, and nothing to HEAD.
    for range in ["bytes=0-9", several[0].1, "bytes=700000-"] {
        let head = server.send("HEAD", &path, &[("Range", range)], b"");
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("700000"), 0));
        assert_eq!((head.header("content-range"), head.header("accept-ranges")), (None, Some("bytes")));
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    use std::io::{Read, Write};
    let server = Server::start();
    let path = format!("/images/{}", id(&server.add("a", &[], b"bytes")));
    let mut stream = server.connect();
    let request = |method: &str| format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answers = String::new();
    for (method, body) in [("HEAD", ""), ("GET", "bytes"), ("HEAD", ""), ("GET", "bytes")] {
        stream.write_all(request(method).as_bytes()).unwrap();
        answers.clear();
        while !answers.ends_with(&format!("\r\n\r\n{body}")) {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "the connection is kept: {answers}");
            answers.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(answers.starts_with("HTTP/1.1 200 OK") && answers.contains("content-length: 5"), "{answers}");
    }
}

#[test]
fn files_are_registered_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let imports = dir.path().join("isos");
    std::fs::create_dir(&imports).unwrap();
    let file = imports.join("debian.iso");
    std::fs::write(&file, b"abc").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", imports.join("link")).unwrap();
    let config = dir.path().join("visor.toml");
    std::fs::write(&config, format!("[stores.file]\nimport_dirs = [{imports:?}]\n")).unwrap();
    let server = Server::with(&["--config", config.to_str().unwrap()]);
    let locate = |path: &str| {
        let location = format!("file://{path}");
        let headers =
            [("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386"), ("x-image-meta-location", &location)];
        server.send("POST", "/images", &headers, b"")
    };
    let image = locate(file.to_str().unwrap()).json()["image"].clone();
    assert_eq!((&image["status"], &image["size"], &image["store"]), (&"available".into(), &3.into(), &"file".into()));
    assert_eq!(image["checksum"], "900150983cd24fb0d6963f7d28e17f72");
    let path = format!("/images/{}", id(&image));
    assert_eq!(server.get(&path).body, b"abc");
    for outside in ["/etc/hostname", "/etc/../etc/hostname", "relative"] {
        assert_eq!(locate(outside).status, 404, "{outside}");
    }
    assert_eq!(locate(imports.join("link").to_str().unwrap()).status, 404, "a link leads out");
    assert_eq!(locate(&format!("{}/../visor.toml", imports.display())).status, 404);
    std::fs::write(&file, b"changed").unwrap();
    assert_eq!(server.get(&path).status, 409, "what was changed behind our back is not given out");
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
    assert!(file.exists(), "what we did not write we do not remove");
}

#[test]
fn urls_are_registered_and_given_out_through_the_guarded_fetcher() {
    let origin = Server::start();
    let body = noise(8, 300_000);
    let url = format!("http://{}/images/{}", origin.address(), id(&origin.add("a", &[], &body)));
    let register = |server: &Server, url: &str| {
        let headers =
            [("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386"), ("x-image-meta-location", url)];
        server.send("POST", "/images", &headers, b"")
    };
    let closed = Server::start();
    assert_eq!(register(&closed, &url).status, 400, "loopback is not public");
    assert!(closed.names("").is_empty());

    let open = Server::with(&["--allow-fetch", "127.0.0.0/8"]);
    let image = register(&open, &url).json()["image"].clone();
    assert_eq!((&image["status"], &image["store"]), (&"available".into(), &"http".into()));
    assert_eq!((&image["size"], &image["checksum"]), (&300_000.into(), &sha256(&body).into()));
    let path = format!("/images/{}", id(&image));
    assert!(open.get(&path).body == body);
    let part = open.send("GET", &path, &[("Range", "bytes=10-19")], b"");
    assert!(part.status == 206 && part.body == body[10..20]);
    let claim = [
        ("x-image-meta-name", "a"),
        ("x-image-meta-architecture", "i386"),
        ("x-image-meta-location", url.as_str()),
        ("x-image-meta-checksum", "00000000000000000000000000000000"),
    ];
    assert_eq!(open.send("POST", "/images", &claim, b"").status, 400, "a claim that is not verified is not taken");
    let missing = register(&open, &format!("http://{}/fake", origin.address()));
    assert_eq!(missing.status, 404);
    assert!(missing.json()["message"].as_str().unwrap().starts_with("No image file found at http://"));
    drop(origin);
    assert_ne!(open.get(&path).status, 200, "an upstream that is gone is said to be");
}
