//! Web pages of origins that the operator lists, as a browser speaks for them; and all others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tungstenite::{ClientRequestBuilder, HandshakeError};

use crate::harness::{Answer, Server};
use crate::secure::{Identity, Lab, refusal};

const PAGE: (&str, &str) = ("Origin", "https://horizon.example");
const CROSS: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
const SETTINGS: &str = "[server]\ncors = [\"https://Horizon.example:443\", \"http://lab.example:8080\"]\n";

/// The question of a browser: may the page do that?
fn preflight(server: &Server, path: &str, origin: &str, method: &str, headers: &str) -> Answer {
    let mut asked = vec![("Origin", origin), ("Access-Control-Request-Method", method), CROSS];
    if !headers.is_empty() {
        asked.push(("Access-Control-Request-Headers", headers));
    }
    server.send("OPTIONS", path, &asked, b"")
}

/// The answer's list in a header.
fn list(answer: &Answer, name: &str) -> Vec<String> {
    answer.header(name).unwrap_or_default().split(", ").map(str::to_owned).collect()
}

#[test]
fn horizon_uploads_an_image_from_the_browser() {
    let server = Server::configured(SETTINGS);
    let secret = server.account("alice", &[])["secret_key"].as_str().unwrap().to_owned();
    let token = crate::identity::token(&server, "alice", &secret);
    // Horizon makes the image, and gives the page its address and the token.
    let wished = json!({ "name": "direct", "disk_format": "raw", "container_format": "bare" }).to_string();
    let own = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
    let made = server.send("POST", "/v2/images", &own, wished.as_bytes());
    let path = format!("/v2/images/{}/file", made.json()["id"].as_str().unwrap());

    let asked = preflight(&server, &path, PAGE.1, "PUT", "content-type,x-auth-token");
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, Some(PAGE.1)), "{asked:?}");
    assert_eq!(list(&asked, "access-control-allow-methods"), ["GET", "PUT"]);
    assert_eq!(list(&asked, "access-control-allow-headers"), ["content-type", "x-auth-token"]);
    assert!(asked.header("access-control-max-age").is_some() && asked.body.is_empty());
    assert!(asked.header("vary").unwrap().contains("Origin"));

    let sent = [PAGE, CROSS, ("X-Auth-Token", &token), ("Content-Type", "application/octet-stream")];
    let done = server.send("PUT", &path, &sent, b"bytes of the page");
    assert_eq!((done.status, done.header("access-control-allow-origin")), (204, Some(PAGE.1)), "{done:?}");
    let read = server.send("GET", &path, &[PAGE, CROSS, ("X-Auth-Token", &token)], b"");
    assert_eq!((read.status, read.body.as_slice()), (200, &b"bytes of the page"[..]));
    for name in ["content-md5", "content-disposition", "etag", "accept-ranges", "x-request-id", "x-visor-error"] {
        assert!(list(&read, "access-control-expose-headers").contains(&name.to_owned()), "{name}: {read:?}");
    }
    // A page has no rights of its own.
    for headers in [&[PAGE][..], &[PAGE, ("X-Auth-Token", "wrong")]] {
        let refused = server.send("GET", &path, headers, b"");
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(PAGE.1)), "to be read");
    }
}

/// A browser shows the certificate of its user for every page, and sends a simple request or opens a WebSocket without a question
/// before.
#[test]
fn the_certificate_of_its_user_is_no_proof_of_a_page() {
    let lab = Lab::configured(SETTINGS);
    let alice = lab.trusted(&lab.alice);
    let another = Identity::new("another");
    let wished = json!({ "type": "client", "name": "x", "certificate": STANDARD.encode(&another.der) }).to_string();
    let add = |headers: &[(&str, &str)]| alice.raw("POST", "/1.0/certificates", headers, wished.as_bytes());
    assert_eq!(refusal(&add(&[PAGE, CROSS, ("Content-Type", "text/plain")]), 403), "not authorized");
    assert_eq!(alice.raw("GET", "/1.0", &[PAGE, CROSS], b"").json()["metadata"]["auth"], "untrusted");
    for path in ["/1.0/certificates", "/1.0/images", "/1.0/operations"] {
        refusal(&alice.raw("GET", path, &[PAGE, CROSS], b""), 403);
    }
    let url = format!("ws://{}/1.0/events", alice.address()).parse().unwrap();
    let opened = tungstenite::client(ClientRequestBuilder::new(url).with_header(PAGE.0, PAGE.1), alice.connect());
    let Err(HandshakeError::Failure(tungstenite::Error::Http(refused))) = opened else { panic!("it is open") };
    assert_eq!(refused.status(), 403);
    // What it proves itself counts as from any other client.
    let proved =
        json!({ "type": "client", "certificate": STANDARD.encode(&another.der), "password": lab.bob }).to_string();
    assert_eq!(alice.raw("POST", "/1.0/certificates", &[PAGE, CROSS], proved.as_bytes()).status, 201);
    assert_eq!(refusal(&add(&[]), 409), "Certificate already in trust store", "its user may ask");
}

#[test]
fn each_path_says_its_methods() {
    let server = Server::configured(SETTINGS);
    for (path, methods) in [
        ("/images", &["GET", "POST"][..]),
        // PATCH is Glance's, which `Accept` chooses there.
        ("/images/x", &["DELETE", "GET", "HEAD", "PATCH", "PUT"]),
        ("/images/x/", &["DELETE", "GET", "HEAD", "PATCH", "PUT"]),
        ("/uploads/x", &["DELETE", "HEAD", "PATCH", "POST"]),
        ("/v2/images/x", &["DELETE", "GET", "PATCH"]),
        ("/v3/auth/tokens", &["DELETE", "GET", "HEAD", "POST"]),
        ("/1.0/images/x", &["DELETE", "GET", "PATCH", "PUT"]),
    ] {
        let answer = preflight(&server, path, PAGE.1, "DELETE", "");
        assert_eq!(
            (answer.status, list(&answer, "access-control-allow-methods")),
            (204, methods.iter().map(|m| (*m).to_owned()).collect()),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-headers"), None);
    }
    let nothing = preflight(&server, "/nothing/here", PAGE.1, "GET", "");
    assert_eq!((nothing.status, nothing.header("access-control-allow-origin")), (404, Some(PAGE.1)));
    // A client of tus that asks without being a page.
    assert!(server.send("OPTIONS", "/uploads", &[], b"").header("tus-version").is_some());
}

#[test]
fn pages_of_other_origins_are_foreign() {
    let none = Server::start();
    let some = Server::configured(SETTINGS);
    for (server, origin) in [
        (&none, PAGE.1),
        (&some, "https://evil.example"),
        (&some, "http://horizon.example"),
        (&some, "https://horizon.example:8443"),
        (&some, "null"),
    ] {
        for answer in [
            preflight(server, "/images", origin, "POST", "x-image-meta-name"),
            server.send("GET", "/images", &[("Origin", origin)], b""),
            server.send(
                "POST",
                "/images",
                &[("Origin", origin), ("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386")],
                b"",
            ),
        ] {
            assert_eq!((answer.status, answer.header("x-visor-error")), (403, Some("foreign-request")), "{origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        }
    }
    // What a page loads without a word of its own has no origin.
    assert_eq!(some.send("GET", "/images", &[CROSS], b"").status, 403);
    assert_eq!(none.names(""), Vec::<String>::new());
    assert_eq!(none.get("/status").header("vary"), None);
    assert_eq!(some.get("/status").header("vary"), Some("Origin"), "for caches");
    let listed = some.send("GET", "/status", &[("Origin", "http://lab.example:8080")], b"");
    assert_eq!(listed.header("access-control-allow-origin"), Some("http://lab.example:8080"));
    assert_eq!(listed.header("access-control-allow-credentials"), None);
}

#[test]
fn what_is_no_origin_is_no_setting() {
    for bad in ["*", "horizon.example", "https://a.example/horizon", "ftp://a.example"] {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), format!("[server]\ncors = [\"{bad}\"]\n")).unwrap();
        let (code, _, said) = crate::harness::run(&["config", "check", "--config", config.path().to_str().unwrap()]);
        assert!(code != 0 && said.contains("is not an origin of web pages"), "{bad}: {said}");
    }
}
