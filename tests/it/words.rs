//! Bad bodies for every parser, and the words of the answers: ours, and none of a parser's. A list to add to.

use crate::bundles::{gzip, tar};
use crate::harness::{Answer, Server};
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
pub(crate) fn check(what: &str, answer: &Answer, wrong: &mut Vec<String>) {
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
