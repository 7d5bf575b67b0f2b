//! Bad input for every parser, and the words of the answers: ours, and none of a parser's. A list to add to.

use serde_json::json;

use crate::bundles::{gzip, tar};
use crate::harness::{Answer, Server, run};
use crate::secure::Client;

/// Words of parsers and of their types, which mean nothing to a client.
const FORBIDDEN: &[&str] = &[
    "DuplicateKeyPolicy",
    "budget",
    "Options",
    "at line 1 column",
    "expected value",
    "expected ident",
    "expected a ",
    "expected one of",
    "EOF while",
    "trailing characters",
    "trailing comma",
    "key must be",
    "invalid type",
    "invalid value",
    "invalid length",
    "missing field",
    "unknown field",
    "unknown variant",
    "recursion limit",
    "lone leading surrogate",
    "control character (",
    "number out of range",
    "invalid digit",
    "cannot parse integer",
    "utf-8 sequence",
    "without a base",
    "empty host",
    "invalid port",
    "IPv6 address",
    "IPv4 address",
    "mapping values",
    "while parsing",
    "while scanning",
    "did not find",
    "unexpected end",
    "alias expansion",
    "unknown anchor",
    "serde",
    "saphyr",
    "struct ",
    "tuple",
    "newtype",
    "untagged",
    "Error(",
    "Error {",
    "Some(",
    "None",
    "Err(",
    "called `",
    "Invalid symbol",
    "Invalid padding",
    "Multipart",
    "io error",
    "os error",
    "usize",
    "u64",
    "i64",
];

/// Holds the words of a refusal against the list. A text of the client's may be in them, if it is not ours to choose.
fn check(what: &str, answer: &Answer, wrong: &mut Vec<String>) {
    if answer.status < 400 {
        return;
    }
    let mut said = String::from_utf8_lossy(&answer.body).into_owned();
    said.push_str(answer.header("x-error-message").unwrap_or_default());
    // Marks of the forms of answers.
    said = said.replace("\"error\":", "").replace("\"err\":", "");
    for word in FORBIDDEN.iter().filter(|word| said.contains(**word)) {
        wrong.push(format!("{what}: {} says '{word}': {said}", answer.status));
    }
    if answer.status >= 500 && answer.status != 503 && answer.status != 501 {
        wrong.push(format!("{what}: {answer:?}"));
    }
}

/// Texts that are no JSON, and JSON of all the wrong kinds.
fn bad_json() -> Vec<Vec<u8>> {
    let deep = "[".repeat(300);
    let texts = [
        "",
        "{",
        "[",
        "}",
        "nul",
        "{\"name\":}",
        "{\"name\" 1}",
        "{'name': 1}",
        "{\"name\": \"\\ud800\"}",
        "{\"a\":1,}",
        "{} x",
        "1e999",
        "-",
        "\"\u{1}\"",
        "[1]",
        "7",
        "true",
        "null",
        "{\"name\": 7}",
        "{\"name\": {}}",
        "{\"name\": null, \"name\": 1}",
        "{\"min_disk\": 1e99}",
        "{\"min_disk\": -1}",
        "{\"tags\": 7}",
        "{\"tags\": [7]}",
        "{\"visibility\": \"sideways\"}",
        "{\"id\": \"x\"}",
        "{\"member\": 7}",
        "{\"user\": 7}",
        "{\"user\": {\"access_key\": 7}}",
        "{\"auth\": 7}",
        "{\"auth\": {\"identity\": {\"methods\": 7}}}",
        "{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": {\"user\": 7}}}}",
        "{\"source\": 7}",
        "{\"source\": {\"type\": \"image\", \"alias\": {}}}",
        "{\"source\": {\"type\": \"url\", \"url\": 7}}",
        "{\"aliases\": 7}",
        "{\"aliases\": [7]}",
        "{\"aliases\": [{\"name\": 7}]}",
        "{\"properties\": [1]}",
        "{\"public\": \"x\"}",
        "{\"expires_at\": \"x\"}",
        "{\"name\": \"a\", \"target\": 7}",
        "{\"namespace\": 7}",
        "{\"namespace\": \"a\", \"properties\": 7}",
        "{\"namespace\": \"a\", \"visibility\": 7}",
        "{\"namespace\": \"a\", \"objects\": [{\"name\": 1}]}",
        "{\"certificate\": \"!\"}",
        "{\"certificate\": 7}",
        "{\"certificate\": \"aGVsbG8=\"}",
        "{\"type\": 7}",
        "{\"method\": 7}",
        "{\"method\": {\"name\": 7}}",
        "{\"method\": {\"name\": \"web-download\", \"uri\": 7}}",
        "{\"action\": 7}",
        "[7]",
        "[{}]",
        "[{\"op\": \"add\"}]",
        "[{\"op\": \"add\", \"path\": \"/name\", \"value\": {}}]",
        "[{\"op\": 7, \"path\": 7}]",
        "[{\"op\": \"replace\", \"path\": \"/min_disk\", \"value\": \"x\"}]",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.extend([deep.into_bytes(), b"{\"name\": \"\xff\"}".to_vec(), vec![0; 40]]);
    all
}

#[test]
fn json() {
    let server = Server::secure(&[]);
    let made = server.send("POST", "/v2/images", &[("Content-Type", "application/json")], b"{}").json();
    let image = format!("/v2/images/{}", made["id"].as_str().unwrap());
    let lxd = Client::new(&server, None);
    let fingerprint = lxd.import(&crate::bundles::container("json"), &[]);
    let patch = "application/openstack-images-v2.1-json-patch";
    let json = "application/json";
    let mut wrong = Vec::new();
    for body in bad_json() {
        for (method, path, content_type) in [
            ("POST", "/users", json),
            ("PUT", "/users/alice", json),
            ("POST", "/v2/images", json),
            ("PATCH", image.as_str(), patch),
            ("POST", &format!("{image}/members"), json),
            ("POST", &format!("{image}/import"), json),
            ("POST", "/v2/metadefs/namespaces", json),
            ("POST", "/v3/auth/tokens", json),
            ("POST", "/1.0/images", json),
            ("PUT", &format!("/1.0/images/{fingerprint}"), json),
            ("PATCH", &format!("/1.0/images/{fingerprint}"), json),
            ("POST", "/1.0/images/aliases", json),
            ("POST", "/1.0/certificates", json),
            ("POST", &format!("/1.0/images/{fingerprint}/export"), json),
        ] {
            let answer = server.send(method, path, &[("Content-Type", content_type)], &body);
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&body));
            check(&what, &answer, &mut wrong);
            if answer.status == 202 {
                check(&what, &failed(&lxd.ended(&answer)), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An operation that failed, as an answer with its words.
fn failed(operation: &serde_json::Value) -> Answer {
    let words = operation["err"].as_str().unwrap_or_default();
    Answer { status: if words.is_empty() { 200 } else { 400 }, headers: Vec::new(), body: words.as_bytes().to_vec() }
}

#[test]
fn yaml() {
    let server = Server::secure(&[]);
    let lxd = Client::new(&server, None);
    let good = "architecture: x86_64\ncreation_date: 1\n";
    let bomb = (0..12).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let alias = format!("*a{n},").repeat(9);
        format!("{text}a{}: &a{} [{alias}]\n", n + 1, n + 1)
    });
    let many: String = (0..60_000).map(|n| format!("k{n}: v\n")).collect();
    let mut documents: Vec<Vec<u8>> = [
        "{",
        "}",
        "[",
        "- 1",
        "text",
        "\t- a",
        "a: b: c",
        "a: 'b",
        "a: \"b",
        "a: *b",
        "a: &a *a",
        "%YAML 9\n---\na: b",
        "a: !!binary x",
        "a: !!int x",
        "? a\n? a",
        "a: |\n b\n  c\n d: e",
        "architecture: [1]",
        "architecture: {a: b}",
        "creation_date: x",
        "creation_date: [1]",
        "creation_date: 1e99",
        "properties: 7",
        "properties: [1]",
        "properties: {a: [1]}",
        "properties: {a: 1, a: 2}",
        "expiry_date: x",
        "a: b\n---\nc: d",
        "<<: 7",
        "---\n...\n---",
    ]
    .iter()
    .flat_map(|text| [text.as_bytes().to_vec(), format!("{good}{text}").into_bytes()])
    .collect();
    documents.extend([
        format!("{good}{good}").into_bytes(),
        format!("{good}x: {}", "[".repeat(200)).into_bytes(),
        format!("{good}{bomb}").into_bytes(),
        format!("{good}{many}").into_bytes(),
        b"architecture: \xff".to_vec(),
        vec![0; 30],
    ]);
    let mut wrong = Vec::new();
    for document in documents {
        let image = gzip(&tar(&[("metadata.yaml", &document), ("rootfs/x", b"x")]));
        let answer = lxd.raw("POST", "/1.0/images", &[("Content-Type", "application/octet-stream")], &image);
        let what = format!("{:.120}", String::from_utf8_lossy(&document));
        check(&what, &answer, &mut wrong);
        if answer.status == 202 {
            check(&what, &failed(&lxd.ended(&answer)), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forms_and_xml() {
    let server = Server::secure(&[]);
    let lxd = Client::new(&server, None);
    let mut wrong = Vec::new();
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=\"b",
        "multipart/mixed; boundary=b",
        "multipart/form-data; charset=x",
        "application/xml",
        "text/xml",
        ";;",
        "a",
    ] {
        for body in [
            "",
            "--b",
            "--b\r\n",
            "--b--\r\n",
            "--b\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx",
            "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nbroken header\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"name\"\r\nContent-Length: x\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"n\u{e4}me\"\r\n\r\n\u{1}\r\n--b--\r\n",
            "<image>",
            "<image/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><image><name>&b;</name></image>",
        ] {
            for (method, path) in
                [("POST", "/images"), ("POST", "/users"), ("POST", "/v1/images"), ("POST", "/v2/images")]
            {
                let answer = server.send(method, path, &[("Content-Type", content_type)], body.as_bytes());
                check(&format!("{method} {path} {content_type} {body}"), &answer, &mut wrong);
            }
            let answer = lxd.raw("POST", "/1.0/images", &[("Content-Type", content_type)], body.as_bytes());
            check(&format!("LXD {content_type} {body}"), &answer, &mut wrong);
            if answer.status == 202 {
                check(content_type, &failed(&lxd.ended(&answer)), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn urls_headers_and_queries() {
    let server = Server::secure(&[]);
    let image = server.add("a", &[], b"bytes");
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    let upload = [("Tus-Resumable", "1.0.0"), ("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386")];
    let values = [
        "",
        "x",
        "-1",
        "1.5",
        "99999999999999999999999",
        "\u{e4}",
        "'",
        "a b",
        "%FF",
        "{}",
        "[",
        "0x10",
        "+1",
        "?1",
        "Thu, 32 Foo",
    ];
    let urls = [
        "x",
        "http://",
        "http:///a",
        "http://[::1",
        "http://a b/",
        "http://%zz/",
        "http://x:99999/",
        "http://x:y/",
        "//a",
        "http://1.2.3.4.5/",
        "http://\u{e4}/",
        "file://",
        "file:///etc/passwd",
        "http://user:pw@a/",
        "data:,x",
        "http://256.256.256.256/",
        "http://xn--/",
    ];
    let mut wrong = Vec::new();
    let mut ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answer = server.send(method, path, headers, body);
        check(&format!("{method} {path} {headers:?}"), &answer, &mut wrong);
    };
    for value in values {
        let value = value.trim();
        for name in [
            "size",
            "checksum",
            "format",
            "architecture",
            "type",
            "store",
            "kernel",
            "status",
            "access",
            "_id",
            "name",
            "location",
        ] {
            let header = format!("x-image-meta-{name}");
            ask(
                "POST",
                "/images",
                &[("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386"), (&header, value)],
                b"",
            );
            ask("HEAD", &path, &[(&header, value)], b"");
        }
        for name in [
            "size",
            "checksum",
            "disk_format",
            "container_format",
            "min_disk",
            "min_ram",
            "is_public",
            "protected",
            "store",
            "id",
            "location",
        ] {
            ask("POST", "/v1/images", &[(&format!("x-image-meta-{name}"), value)], b"");
        }
        for name in [
            "Range",
            "If-Range",
            "If-Match",
            "If-Modified-Since",
            "Accept",
            "Prefer",
            "Authorization",
            "Date",
            "X-Auth-Token",
        ] {
            ask("GET", &path, &[(name, value)], b"");
            ask("GET", "/v2/images", &[(name, value)], b"");
            ask("GET", "/streams/v1/index.json", &[(name, value)], b"");
        }
        for name in [
            "Upload-Length",
            "Upload-Offset",
            "Upload-Defer-Length",
            "Upload-Metadata",
            "Upload-Concat",
            "Upload-Complete",
        ] {
            let mut headers = upload.to_vec();
            headers.push((name, value));
            ask("POST", "/uploads", &headers, b"");
            ask("PATCH", &path.replace("images", "uploads"), &headers, b"x");
        }
        for query in [
            "limit",
            "marker",
            "sort",
            "sort_key",
            "sort_dir",
            "size_min",
            "created_at",
            "wait",
            "visibility",
            "changes-since",
            "recursion",
            "filter",
        ] {
            let query = format!("?{query}={}", value.replace(' ', "+").replace('\u{e4}', "%E4"));
            for path in [
                "/images",
                "/images/detail",
                "/v1/images",
                "/v2/images",
                "/v2/tasks",
                "/1.0/images",
                "/1.0/operations",
                "/jobs",
            ] {
                ask("GET", &format!("{path}{query}"), &[], b"");
            }
        }
    }
    for url in urls {
        let location = [
            ("x-image-meta-name", "a"),
            ("x-image-meta-architecture", "i386"),
            ("x-image-meta-store", "http"),
            ("x-image-meta-location", url),
        ];
        ask("POST", "/images", &location, b"");
        ask(
            "POST",
            "/v1/images",
            &[
                ("x-image-meta-disk_format", "raw"),
                ("x-image-meta-container_format", "bare"),
                ("x-image-meta-location", url),
            ],
            b"",
        );
        ask(
            "POST",
            "/v1/images",
            &[
                ("x-image-meta-disk_format", "raw"),
                ("x-image-meta-container_format", "bare"),
                ("x-glance-api-copy-from", url),
            ],
            b"",
        );
        let source = json!({ "source": { "type": "image", "mode": "pull", "server": url, "protocol": "simplestreams", "alias": "a" } });
        ask("POST", "/1.0/images", &[("Content-Type", "application/json")], source.to_string().as_bytes());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The configuration: the parser may say what it misses in a text, and no type of the program.
#[test]
fn toml() {
    for text in [
        "[server",
        "a = ",
        "a = b",
        "[server]\nworkers = \"x\"",
        "[server]\nworkers = -1",
        "[server]\nlisten = 7",
        "[server]\nlisten = [\"x\"]",
        "[server]\ndrain = 7",
        "[server]\ndrain = \"x\"",
        "[upload]\nimage_max = \"x\"",
        "[auth]\npublish = \"all\"",
        "[auth]\npublic_read = \"yes\"",
        "[fetch]\nallow = [\"x\"]",
        "[log]\nlevel = \"loud\"",
        "[inspect]\noff = [\"x\"]",
        "[server]\ncors = [\"*\"]",
        "[lxd]\ninstances = [7]",
    ] {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        let (code, _, said) = run(&["config", "check", "--config", config.path().to_str().unwrap()]);
        assert_ne!(code, 0, "{text}");
        for word in
            ["invalid type", "invalid value", "unknown variant", "expected usize", "u64", "struct", "serde", "Error"]
        {
            assert!(!said.contains(word), "{text}: {said}");
        }
        assert!(!said.trim_end().ends_with(':'), "{text}: {said}");
    }
}

/// A line says what happened, and nothing is left open at its end.
#[test]
fn lines_of_the_log_are_whole() {
    for access in [true, false] {
        let server = Server::configured(&format!("[log]\nlevel = \"debug\"\naccess = {access}\n"));
        let image = server.add("a", &[], b"bytes");
        let path = format!("/images/{}", image["_id"].as_str().unwrap());
        for (method, path, headers, body) in [
            ("GET", "/images/nonsense", &[][..], ""),
            ("GET", "/v2/images/nonsense", &[], ""),
            ("GET", "/v3/users/nonsense", &[], ""),
            ("GET", "/1.0/images/nonsense", &[], ""),
            ("GET", "/streams/v1/nonsense", &[], ""),
            ("POST", "/v2/images", &[], "{"),
            ("POST", "/images", &[], ""),
            ("GET", &path, &[("Range", "bytes=99-")], ""),
            ("GET", "/images", &[("Origin", "http://evil.example")], ""),
            ("POST", "/images", &[("Content-Type", "multipart/form-data; boundary=b")], "--b"),
        ] {
            server.send(method, path, headers, body.as_bytes());
        }
        std::fs::remove_dir_all(server.dir.join("images")).unwrap();
        server.get(&path);
        let log = server.log();
        assert!(log.lines().count() > 3, "{log}");
        for line in log.lines() {
            let text = line.trim_end();
            assert!(!text.ends_with(':'), "{line}");
            assert!(
                !line.contains("request_id= ") && !line.contains("request_id=\"\"") && !line.contains("request_id=}"),
                "{line}"
            );
            assert!(!line.contains(": :"), "{line}");
        }
    }
}
