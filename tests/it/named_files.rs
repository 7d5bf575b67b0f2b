//! `/images/ID/NAME`: an image's file under any name, for tools that go by its end.

use crate::harness::{Server, noise};

#[test]
fn a_file_has_any_name() {
    let server = Server::start();
    let bytes = noise(3, 100_000);
    let image = server.add("debian", &[], &bytes);
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    for name in ["debian.iso", "boot%20me.efi", "x", "image.qcow2?a=b", "detail"] {
        let whole = server.get(&format!("{path}/{name}"));
        assert_eq!((whole.status, whole.body == bytes), (200, true), "{name}");
        let head = server.send("HEAD", &format!("{path}/{name}"), &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("100000")), "{name}");
        assert_eq!(head.header("etag"), whole.header("etag"));
        let part = server.send("GET", &format!("{path}/{name}"), &[("Range", "bytes=10-19")], b"");
        assert_eq!((part.status, part.body.as_slice()), (206, &bytes[10..20]), "{name}");
    }
    for name in ["a/b.iso", ".hidden", "..%2Fx", "a%2Fb.iso", "a%0Ab"] {
        let answer = server.get(&format!("{path}/{name}"));
        assert!([400, 404].contains(&answer.status), "{name}: {answer:?}");
    }
    assert_eq!(server.send("PUT", &format!("{path}/a.iso"), &[], b"x").status, 405, "it is read only");
    assert_eq!(server.get("/images/debian/a.iso").body, bytes, "by its own name too");
    let empty = server.add("nothing yet", &[], b"");
    let empty = format!("/images/{}/a.iso", empty["_id"].as_str().unwrap());
    for method in ["GET", "HEAD"] {
        assert_eq!(server.send(method, &empty, &[], b"").status, 409, "no file is not an empty one");
    }
    assert_eq!(server.get("/images/edfa919a-0415-4d26-b54d-ae78ffc4dc79/a.iso").status, 404);
    assert_eq!(server.get("/images/nonsense/a.iso").status, 404);
}
