//! Where the door leads, and for whom: no address that is not public, and no stranger's errand.

use std::net::TcpListener;

use super::{Lab, with};
use crate::harness::{Answer, Server};
use crate::upstream::{File, Upstream};

/// Checks that an answer says that its URL, or the address behind it, is none that is fetched.
fn is_refused(what: &str, answer: &Answer) {
    let code = answer.header("x-visor-error").unwrap_or_default();
    assert!(answer.status == 403 && ["url-refused", "server-refused"].contains(&code), "{what}: {answer:?}");
}

#[test]
fn addresses_that_are_not_public_are_refused() {
    let upstream = Upstream::start();
    upstream.put("/f", File::new("secret"));
    // Without --allow-fetch.
    let server = Server::start();
    let port = upstream.address().port();
    let mut paths: Vec<String> = [
        "http/169.254.169.254/latest/meta-data/",
        "http/10.0.0.1/",
        "http/192.168.1.1/",
        "http/172.16.0.1/x",
        "http/100.100.100.200/",
        "http/0.0.0.0/",
        "http/[::1]/",
        "http/[fd00:ec2::254]/",
        "http/[::ffff:169.254.169.254]/",
        "http/me:secret@images.example/x",
        "http/me@images.example/x",
        "http//etc/passwd",
        "http/images.example:65536/x",
        "https/images.example/../x",
        "https/images.example/a/%2e%2E/b",
    ]
    .map(|path| format!("/cache/{path}"))
    .into();
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "017700000001", "127.1", "127.0.0.1."] {
        paths.push(format!("/cache/http/{host}:{port}/f"));
    }
    for path in paths {
        let answer = server.get(&path);
        is_refused(&path, &answer);
    }
    for path in ["/cache/ftp/images.example/x", "/cache/file/etc/passwd", "/cache/gopher/images.example:70/x"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn redirects_lead_nowhere_else() {
    let hidden = TcpListener::bind("127.0.0.2:0").unwrap();
    hidden.set_nonblocking(true).unwrap();
    let upstream = Upstream::start();
    let config = super::configuration("");
    let server = Server::with(&["--config", config.path().to_str().unwrap(), "--allow-fetch", "127.0.0.1/32"]);
    let hidden_url = format!("http://{}/f", hidden.local_addr().unwrap());
    for (n, location) in [
        "http://169.254.169.254/latest/meta-data/",
        hidden_url.as_str(),
        "file:///etc/passwd",
        "ftp://images.example/x",
        "http://me:secret@127.0.0.1/x",
        "http://10.0.0.1/",
        "//192.168.0.1/x",
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/r{n}");
        upstream.put(&path, File::to(*location));
        let answer = server.get(&upstream.door(&path));
        is_refused(location, &answer);
    }
    assert!(hidden.accept().is_err(), "a connection was made");
}

/// Behind a proxy (`server.public_url`) nearness proves nothing: an account is needed, or an open cache and a host that is listed.
#[test]
fn strangers_get_what_is_listed_and_nothing_else() {
    let proxied = "[server]\npublic_url = \"https://images.lab\"\n";
    for public in [false, true] {
        let lab = Lab::configured(&format!("public = {public}\nhosts = [\"listed.example\"]\n{proxied}"));
        lab.upstream.put("/f", File::new("bytes"));
        let account = lab.server.account("anna", &[]);
        let secret = account["secret_key"].as_str().unwrap();
        let path = lab.upstream.door("/f");
        let as_user = |secret: &str| {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("anna:{secret}"));
            lab.server.send("GET", &path, &[("Authorization", &format!("Basic {pair}"))], b"")
        };
        let stranger = lab.server.get(&path);
        let expected = if public { (403, Some("host-not-served")) } else { (401, Some("not-authenticated")) };
        assert_eq!((stranger.status, stranger.header("x-visor-error")), expected, "{stranger:?}");
        assert_eq!(as_user("wrong").status, 401);
        assert_eq!(lab.server.send("GET", &path, &[("X-Auth-Token", "made up")], b"").status, 401);
        assert_eq!(lab.upstream.connections(), 0);
        let answer = as_user(secret);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"bytes"[..]), "{answer:?}");
        // What is here already is no more a stranger's than what is not.
        assert_eq!(lab.server.get(&path).status, expected.0);
        let only = [("Cache-Control", "only-if-cached")];
        let listed = lab.server.send("GET", "/cache/https/listed.example/x", &only, b"");
        assert_eq!(listed.status, if public { 504 } else { 401 }, "{listed:?}");
    }
}

#[test]
fn an_open_cache_serves_its_hosts_to_all() {
    let upstream = Upstream::start();
    upstream.put("/f", File::new("bytes"));
    let settings =
        format!("public = true\nhosts = [\"{}\"]\n[server]\npublic_url = \"https://images.lab\"\n", upstream.address());
    let server = with(&[], &settings);
    server.account("anna", &[]);
    assert_eq!(server.get(&upstream.door("/f")).body, b"bytes");
}
