//! Bad input: a clear answer in the asked form, in JSON and XML, and nothing left of it.

use crate::harness::{Answer, Server};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const NAME: (&str, &str) = ("x-image-meta-name", "a");
const ARCH: (&str, &str) = ("x-image-meta-architecture", "i386");

/// The same request asked for in both forms; both say the same.
fn refused(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    status: u16,
    message: &str,
) {
    let mut headers = headers.to_vec();
    let json = server.send(method, path, &headers, body);
    assert_eq!(json.status, status, "{method} {path} {headers:?}: {json:?}");
    assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(json.json()["code"], status);
    let text = json.json()["message"].as_str().unwrap().to_owned();
    assert!(text.contains(message), "{method} {path}: {text}");
    headers.push(("Accept", "application/xml"));
    let xml = server.send(method, path, &headers, body);
    assert_eq!(xml.status, status);
    assert_eq!(xml.header("content-type"), Some("application/xml; charset=utf-8"));
    check_xml(&xml, status, &text);
    leaks_nothing(server, &text);
}

/// Read by somebody else's parser, not by the inverse of our writer.
fn check_xml(answer: &Answer, status: u16, message: &str) {
    use quick_xml::events::Event;
    let text = answer.text();
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut path, mut found) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => path.push(tag.name().as_ref().to_owned()),
            Event::End(_) => drop(path.pop()),
            Event::Text(text) if path.len() == 2 => found.push((path.join("/"), text.to_string())),
            Event::GeneralRef(entity) if path.len() == 2 => {
                let c = entity.resolve_char_ref().unwrap().map(String::from);
                let c = c.unwrap_or_else(|| match &entity[..] {
                    "amp" => "&".into(),
                    "lt" => "<".into(),
                    "gt" => ">".into(),
                    "quot" => "\"".into(),
                    other => panic!("{other:?}"),
                });
                found.push((path.join("/"), c));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let of = |name: &str| found.iter().filter(|(p, _)| p == name).map(|(_, text)| text.as_str()).collect::<String>();
    assert_eq!(of("results/code"), status.to_string());
    assert_eq!(of("results/message"), message);
}

fn leaks_nothing(server: &Server, text: &str) {
    let dir = server.dir.to_string_lossy().into_owned();
    for word in [dir.as_str(), "os error", "panicked", "src/", "::"] {
        assert!(!text.contains(word), "{text}");
    }
}

#[test]
fn metadata_that_breaks_a_rule() {
    let server = Server::start();
    let post = |headers: &[(&str, &str)], body: &[u8], status, message| {
        refused(&server, "POST", "/images", headers, body, status, message);
    };
    post(&[], b"", 400, "These fields are required: name, architecture");
    post(
        &[NAME, ("x-image-meta-architecture", "vax")],
        b"",
        400,
        "Invalid architecture 'vax', available options: i386",
    );
    post(&[NAME, ARCH, ("x-image-meta-format", "../../x")], b"", 400, "Invalid format '../../x'");
    post(&[NAME, ARCH, ("x-image-meta-store", "floppy")], b"", 400, "Invalid store 'floppy'");
    post(&[NAME, ARCH, ("x-image-meta-_id", "x")], b"", 400, "These fields are read-only: _id");
    post(&[NAME, ARCH, ("x-image-meta-uri", "x")], b"", 400, "These fields are read-only: uri");
    post(&[NAME, ARCH, ("x-image-meta-size", "1")], b"", 400, "These fields are read-only: size");
    post(&[NAME, ARCH, ("x-image-meta-store", "s3"), OCTETS], b"x", 400, "The store 's3' is not supported");
    post(
        &[NAME, ARCH, ("x-image-meta-store", "http"), OCTETS],
        b"x",
        400,
        "Cannot post an image file to a HTTP backend",
    );
    let location = ("x-image-meta-location", "http://127.0.0.1/x");
    post(&[NAME, ARCH, location, OCTETS], b"x", 400, "When the location header is present");
    post(
        &[NAME, ARCH, ("x-image-meta-location", "s3://key:secret@h/b/f")],
        b"",
        400,
        "The store 's3' is not supported",
    );
    post(&[NAME, ARCH, ("x-image-meta-location", "file:///etc/passwd")], b"", 403, "import");
    post(
        &[NAME, ARCH, ("Content-Type", "text/plain")],
        b"x",
        400,
        "Request Content-Type must be application/octet-stream",
    );
    let none = "11111111-2222-4333-8444-555555555555";
    post(&[NAME, ARCH, ("x-image-meta-kernel", none)], b"", 404, "No image found with id '11111111");
    post(&[NAME, ARCH, ("x-image-meta-ramdisk", "nonsense")], b"", 404, "No image found with id 'nonsense'");
    post(&[NAME, ARCH, ("x-image-meta-checksum", "abc"), OCTETS], b"x", 400, "checksum");
    let long = "x".repeat(65_537);
    post(&[NAME, ARCH, ("x-image-meta-note", &long)], b"", 400, "longer than 65536 bytes");
    assert_eq!(server.names(""), Vec::<String>::new(), "nothing of it was kept");
    assert_eq!(server.files(), (vec![], vec![]));
}

#[test]
fn values_that_are_not_text() {
    let server = Server::start();
    let mut request =
        format!("POST /images HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address()).into_bytes();
    request.extend(b"x-image-meta-architecture: i386\r\nx-image-meta-name: caf\xe9\r\n\r\n");
    let answer = Answer::parse(&server.raw(&request), false);
    assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some("The value of name is not UTF-8.")));
}

#[test]
fn updates_that_can_not_be() {
    let server = Server::start();
    let full = server.add("full", &[], b"bytes")["_id"].as_str().unwrap().to_owned();
    let path = format!("/images/{full}");
    refused(&server, "PUT", &path, &[], b"", 400, "No headers or body found for update");
    refused(&server, "PUT", &path, &[OCTETS], b"new", 409, "Can only assign image file to a locked or error image");
    refused(&server, "PUT", &path, &[NAME, OCTETS], b"new", 409, "Can only assign image file");
    refused(
        &server,
        "PUT",
        &path,
        &[("x-image-meta-created_at", "x")],
        b"",
        400,
        "These fields are read-only: created_at",
    );
    refused(&server, "PUT", &path, &[("x-image-meta-status", "weird")], b"", 400, "Invalid status 'weird'");
    let kernel = ("x-image-meta-kernel", "00000000-0000-4000-8000-000000000000");
    refused(&server, "PUT", &path, &[("x-image-meta-status", "locked"), kernel], b"", 400, "changed alone");
    refused(&server, "PUT", &path, &[("x-image-meta-architecture", "")], b"", 400, "Invalid architecture ''");
    assert_eq!(server.names(""), ["full"], "a refused update changes no metadata either");
    assert_eq!(server.get(&path).body, b"bytes");
}

#[test]
fn ids_and_paths_that_are_none() {
    let server = Server::start();
    let secret = server.dir.parent().unwrap().join("canary");
    std::fs::write(&secret, "canary").unwrap();
    for id in [
        "11111111-2222-4333-8444-555555555555",
        "nonsense",
        "..%2f..%2fcanary",
        "%2e%2e%2fcanary",
        "%00",
        "a%00b",
        "%ff",
        "%c3%28",
        "11111111-2222-4333-8444-55555555555%35",
        "{11111111-2222-4333-8444-555555555555}",
    ] {
        for method in ["GET", "DELETE"] {
            refused(&server, method, &format!("/images/{id}"), &[], b"", 404, "No image found with id '");
        }
        refused(&server, "PUT", &format!("/images/{id}"), &[NAME], b"", 404, "No image found with id '");
        let head = server.send("HEAD", &format!("/images/{id}"), &[], b"");
        assert_eq!((head.status, head.header("x-error-code"), head.body.len()), (404, Some("404"), 0), "{id}");
        assert!(head.header("x-error-message").unwrap().starts_with("No image found with id '"));
    }
    assert_eq!(std::fs::read(&secret).unwrap(), b"canary");
    std::fs::remove_file(secret).unwrap();
}

#[test]
fn paths_and_methods_that_are_none() {
    let server = Server::start();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let answer = server.send(method, "/fake", &[], b"");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.text(), r#"{"code":404,"message":"Invalid operation or path."}"#);
    }
    for (method, path, allow) in [
        ("PUT", "/images", "GET, POST"),
        ("DELETE", "/images", "GET, POST"),
        ("POST", "/images/fake", "DELETE, GET, HEAD, PUT"),
        ("OPTIONS", "/images/fake/", "DELETE, GET, HEAD, PUT"),
        ("POST", "/images/detail", "GET"),
        ("GET", "/all", "DELETE"),
    ] {
        let answer = server.send(method, path, &[], b"");
        assert_eq!(
            (answer.status, answer.header("allow"), answer.body.len()),
            (405, Some(allow), 0),
            "{method} {path}"
        );
    }
    assert_eq!(server.get("/status").text(), "OK");
    assert_eq!(server.send("POST", "/status/", &[], b"").text(), "OK");
}

#[test]
fn lists_that_can_not_be() {
    let server = Server::start();
    server.add("a", &[], b"");
    for (query, message) in [
        ("sort=os", "can't be sorted by 'os'"),
        ("dir=up", "'asc' or 'desc'"),
        ("limit=0", "at least 1"),
        ("limit=many", "number"),
        ("marker=x", "no image 'x'"),
        ("marker=11111111-2222-4333-8444-555555555555", "no image"),
        ("name=%ff", "UTF-8"),
    ] {
        refused(&server, "GET", &format!("/images?{query}"), &[], b"", 400, message);
    }
    for query in ["name=b", "format=xml", "os=linux", "size=1", "type=", "created_at=yesterday"] {
        refused(
            &server,
            "GET",
            &format!("/images?{query}"),
            &[],
            b"",
            404,
            "No public images found with given parameters.",
        );
    }
}

#[test]
fn nothing_is_removed_by_a_slip() {
    let server = Server::start();
    server.add("a", &[], b"");
    refused(&server, "DELETE", "/all", &[], b"", 400, "x-visor-confirm: all");
    refused(&server, "DELETE", "/all", &[("x-visor-confirm", "yes")], b"", 400, "x-visor-confirm: all");
    assert_eq!(server.names(""), ["a"]);
    let answer = server.send("DELETE", "/all", &[("x-visor-confirm", "all")], b"");
    assert_eq!(answer.json()["images"].as_array().unwrap().len(), 1);
    assert!(server.names("").is_empty());
}

#[test]
fn web_pages_do_not_get_in() {
    let server = Server::start();
    for header in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Host", "evil.example"),
        ("Host", "10.0.0.1"),
    ] {
        for (method, path) in [("GET", "/images"), ("POST", "/images"), ("DELETE", "/all"), ("GET", "/fake")] {
            let answer = server.send(method, path, &[header, NAME, ARCH, ("x-visor-confirm", "all")], b"");
            assert_eq!((answer.status, &answer.json()["code"]), (403, &403.into()), "{header:?} {method} {path}");
        }
    }
    let foreign = [("Host", "evil.example"), ("Accept", "application/xml")];
    check_xml(
        &server.send("GET", "/images", &foreign, b""),
        403,
        "This server is not called by that name. Names of its own are listed in server.names.",
    );
    assert!(server.send("HEAD", "/images/x", &foreign, b"").header("x-error-message").is_some());
    let own = format!("http://{}", server.address());
    assert_eq!(server.send("GET", "/status", &[("Origin", &own)], b"").status, 200);
    assert!(server.names("").is_empty());
}

#[test]
fn too_much_of_a_head() {
    let server = Server::start();
    let huge = format!("GET /images HTTP/1.1\r\nHost: {}\r\nx-a: {}\r\n\r\n", server.address(), "x".repeat(1 << 20));
    assert_eq!(Answer::parse(&server.raw(huge.as_bytes()), false).status, 431);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /images HTTP/1.1\r\nHost: {}\r\n{many}\r\n", server.address());
    assert!(String::from_utf8_lossy(&server.raw(many.as_bytes())).contains(" 431 "));
    assert_eq!(server.get("/status").status, 200, "the server lives on");
}

/// Malformed framing is refused, and one request is never taken for two.
#[test]
fn smuggling() {
    let server = Server::start();
    let hidden = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
    ] {
        let request = format!("POST /images HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n0\r\n\r\n{hidden}");
        let answer = String::from_utf8_lossy(&server.raw(request.as_bytes())).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing}: {answer}");
    }
    assert!(server.names("").is_empty());
}
