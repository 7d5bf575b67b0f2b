//! Share links, and the proofs of plain tools: keys and tokens in `Authorization`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::{Account, account};
use crate::harness::{Answer, Server};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const NAME: (&str, &str) = ("X-Image-Meta-Name", "a");
const ARCH: (&str, &str) = ("X-Image-Meta-Architecture", "i386");
const PRIVATE: (&str, &str) = ("X-Image-Meta-Access", "private");

/// Makes a private image.
fn private(server: &Server, owner: &Account, bytes: &[u8]) -> String {
    let made = owner.send(server, "POST", "/images", &[NAME, ARCH, PRIVATE, OCTETS], bytes);
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["image"]["_id"].as_str().unwrap().to_owned()
}

/// Makes a link: its id, and its address as a path.
fn link(server: &Server, owner: &Account, id: &str, life: &str) -> (String, String) {
    let made = owner.send(server, "POST", &format!("/images/{id}/links?for={life}"), &[], b"");
    assert_eq!(made.status, 201, "{made:?}");
    let link = made.json()["link"].clone();
    let uri = link["uri"].as_str().unwrap();
    let base = format!("http://{}", server.address());
    let path = uri.strip_prefix(&base).unwrap_or_else(|| panic!("{uri} is not an address of {base}"));
    (link["_id"].as_str().unwrap().to_owned(), path.to_owned())
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.header("x-visor-error").unwrap_or_default())
}

#[test]
fn a_link_opens_one_image_to_whoever_has_it() {
    let server = Server::start();
    account(&server, "root", &["--admin"]);
    let (alice, bob) = (account(&server, "alice", &[]), account(&server, "bob", &[]));
    let (id, other) = (private(&server, &alice, b"some bytes"), private(&server, &alice, b"others"));
    let (first, path) = link(&server, &alice, &id, "2d");
    let (_, second) = link(&server, &alice, &id, "1h");
    assert_eq!(code(&server.get(&format!("/images/{id}"))).0, 403, "without a link it stays closed");

    let whole = server.get(&path);
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"some bytes".as_slice()));
    assert_eq!(whole.header("x-image-meta-location"), None, "a link does not tell where the bytes are");
    let head = server.send("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    let part = server.send("GET", &path, &[("Range", "bytes=5-")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, b"bytes".as_slice()));

    let named = server.get(&path.replace('?', "/disk.iso?"));
    assert_eq!((named.status, named.body.as_slice()), (200, b"some bytes".as_slice()), "under any name");

    // It opens nothing else, and nothing of it can be changed.
    let query = path.split_once('?').unwrap().1;
    let (other_query, own_query) = (second.split_once('?').unwrap().1, query.to_owned());
    let mixed = own_query.replace("signature=", "signature=A");
    let later = own_query.replace("expires=", "expires=9");
    for bad in [
        format!("/images/{other}?{query}"),
        format!("/images/{id}?{mixed}"),
        format!("/images/{id}?{later}"),
        format!("/images/{id}?link={first}"),
        format!("/images/{id}?link={first}&{}", other_query.split_once('&').unwrap().1),
    ] {
        assert_eq!(code(&server.get(&bad)), (403, "link-refused"), "{bad}");
    }
    for (method, path) in [
        ("PUT", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("/images/{id}/links?{query}")),
        ("GET", format!("/images?{query}")),
        ("GET", format!("/v2/images/{id}/file?{query}")),
    ] {
        let refused = server.send(method, &path, &[("X-Image-Meta-Name", "b")], b"");
        assert!([401, 403].contains(&refused.status), "{method} {path}: {refused:?}");
    }

    // Only the owner makes, lists and revokes links.
    let links = format!("/images/{id}/links");
    assert_eq!(bob.send(&server, "POST", &links, &[], b"").status, 404);
    let listed = alice.send(&server, "GET", &links, &[], b"");
    assert_eq!(listed.json()["links"].as_array().unwrap().len(), 2);
    assert!(!listed.text().contains("signature"), "{}", listed.text());
    let revoke = format!("{links}/{first}");
    assert_eq!(bob.send(&server, "DELETE", &revoke, &[], b"").status, 404);
    assert_eq!(alice.send(&server, "DELETE", &revoke, &[], b"").status, 200);
    assert_eq!(code(&server.get(&path)), (403, "link-refused"));
    assert_eq!(code(&alice.send(&server, "DELETE", &revoke, &[], b"")), (404, "link-not-found"));
    assert_eq!(server.get(&second).status, 200, "the other link holds");
    for wrong in ["for=never", "for=0s", "for=400d", "for="] {
        assert_eq!(alice.send(&server, "POST", &format!("{links}?{wrong}"), &[], b"").status, 400, "{wrong}");
    }
    assert!(!server.log().contains("signature="), "the log has no signatures");

    // A link has the rights of its maker, and ends with the account.
    let (status, ..) = crate::harness::run(&["account", "remove", "alice", "--data-dir", server.dir.to_str().unwrap()]);
    assert_eq!(status, 0);
    assert_eq!(code(&server.get(&second)), (403, "link-refused"));
}

#[test]
fn a_link_survives_a_restart_and_gives_no_withheld_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path(), &[]);
    let root = account(&server, "root", &["--admin"]);
    let id = private(&server, &root, b"bytes");
    let (_, path) = link(&server, &root, &id, "90min");
    drop(server);
    let server = Server::on(dir.path(), &[]);
    assert_eq!(server.get(&path).status, 200);
    let withheld = [("X-Image-Meta-Status", "locked")];
    assert_eq!(root.send(&server, "PUT", &format!("/images/{id}"), &withheld, b"").status, 200);
    let refused = server.get(&path);
    assert_eq!(refused.header("x-visor-error"), Some("withheld"), "{refused:?}");
}

#[test]
fn plain_tools_read_private_images_by_keys_and_tokens_in_every_protocol() {
    let server = Server::start();
    account(&server, "root", &["--admin"]);
    let (alice, bob) = (account(&server, "alice", &[]), account(&server, "bob", &[]));
    let id = private(&server, &alice, b"some bytes");
    let basic = |key: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
    let token = |who: &Account| format!("bearer {}", crate::identity::token(&server, &who.key, &who.secret));
    let get = |path: &str, proof: &str| server.send("GET", path, &[("Authorization", proof)], b"");
    let paths = [
        (format!("/images/{id}"), 404, 403),
        (format!("/v2/images/{id}/file"), 404, 401),
        (format!("/v1/images/{id}"), 404, 401),
    ];
    for (path, unknown, wrong) in &paths {
        for proof in [basic(&alice.key, &alice.secret), token(&alice)] {
            let read = get(path, &proof);
            assert_eq!((read.status, read.body.as_slice()), (200, b"some bytes".as_slice()), "{path}");
        }
        for proof in [basic(&bob.key, &bob.secret), token(&bob)] {
            assert_eq!(get(path, &proof).status, *unknown, "{path}");
        }
        for proof in [basic(&alice.key, "guess"), basic("carol", "x"), "Basic !".into(), "Bearer x".into()] {
            assert_eq!(get(path, &proof).status, *wrong, "{path} {proof}");
        }
    }
    for (path, ok) in [("/streams/v1/index.json", 200), ("/1.0/images", 200)] {
        for proof in [basic(&alice.key, &alice.secret), token(&alice)] {
            assert_eq!(get(path, &proof).status, ok, "{path}");
        }
        assert!([401, 403].contains(&get(path, &basic(&alice.key, "guess")).status), "{path}");
    }
    // Changes need the protocol's own proof: browsers send such headers without being asked.
    let proof = basic(&alice.key, &alice.secret);
    for (method, path) in [("DELETE", format!("/images/{id}")), ("DELETE", format!("/v2/images/{id}"))] {
        let refused = server.send(method, &path, &[("Authorization", &proof)], b"");
        assert!([401, 403].contains(&refused.status), "{method} {path}: {refused:?}");
    }
    assert_eq!(get(&format!("/images/{id}"), &proof).status, 200);
}
