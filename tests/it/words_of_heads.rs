//! Bad values in URLs, headers and queries, and the words of the answers.

use serde_json::json;

use crate::harness::Server;
use crate::words::check;

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
