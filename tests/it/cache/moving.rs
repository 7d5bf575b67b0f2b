//! Names that move, by way of their vendor's list: Debian's `latest/`, at a vendor of the test.

use std::time::Duration;

use sha2::Digest as _;

use super::{NEAR, Outcome, Reading, configuration};
use crate::harness::{Server, noise};
use crate::upstream::{File, Upstream};

const FOLDER: &str = "/cloud/trixie/";
const NAME: &str = "/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2";

fn build(serial: &str) -> String {
    format!("{FOLDER}{serial}/debian-13-genericcloud-amd64-{serial}.qcow2")
}

/// Publishes a build, and makes it the newest.
fn publish(upstream: &Upstream, serial: &str, content: &[u8]) {
    let path = build(serial);
    let (folder, file) = path.rsplit_once('/').unwrap();
    let hex = visor::digest::hex(&sha2::Sha512::digest(content));
    upstream.put(&path, File::new(content));
    upstream.put(&format!("{folder}/SHA512SUMS"), File::new(format!("{hex}  {file}\n")));
    // What lies there itself is replaced while it is read, and is not for us.
    upstream.put(NAME, File::new("between two builds"));
    let upload = format!(r#"{{"kind":"Upload","data":{{"ref":"{}"}}}}"#, path.trim_start_matches("/cloud/"));
    upstream.put(&NAME.replace(".qcow2", ".json"), File::new(format!(r#"{{"items":[{upload}]}}"#)));
}

#[test]
fn a_moving_name_is_its_newest_build() {
    let (old, new) = (noise(91, 300_000), noise(92, 310_000));
    let (upstream, dir) = (Upstream::start(), tempfile::tempdir().unwrap());
    publish(&upstream, "20260105-2299", &old);
    let config = configuration(&format!("[vendors.debian]\nbase = {:?}\n", upstream.url("/cloud/")));
    let arguments = [&["--config", config.path().to_str().unwrap()], &NEAR[..]].concat();
    let server = Server::on(dir.path(), &arguments);
    let read = |server: &Server, path: &str, headers: &[(&str, &str)]| -> Outcome {
        Reading::begin(server, &upstream.door(path), headers).finish()
    };
    let head = server.send("HEAD", &upstream.door(NAME), &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")), "{head:?}");
    let first = read(&server, NAME, &[]);
    first.is_all_of(&old);
    assert_eq!(first.header("cache-status"), Some("visor; fwd=miss; stored"));
    let dated = read(&server, &build("20260105-2299"), &[]);
    dated.is_all_of(&old);
    let named = read(&server, NAME, &[]);
    named.is_all_of(&old);
    for name in ["etag", "last-modified", "repr-digest", "x-visor-verified"] {
        assert_eq!(named.header(name), dated.header(name), "{name}");
    }
    assert!(named.header("x-visor-verified").unwrap().starts_with("checksum; matches SHA512SUMS"), "{named:?}");
    assert!(named.header("cache-status").unwrap().starts_with("visor; hit; ttl="), "{named:?}");
    let tag = named.header("etag").unwrap();
    assert_eq!(read(&server, NAME, &[("If-None-Match", tag)]).status, 304);
    let part = read(&server, NAME, &[("Range", "bytes=5-9"), ("If-Range", tag)]);
    assert_eq!((part.status, part.body.as_slice()), (206, &old[5..10]));
    assert_eq!(upstream.sent(&build("20260105-2299")), 300_000, "one transfer for both names");

    publish(&upstream, "20260112-0101", &new);
    read(&server, NAME, &[]).is_all_of(&old);
    // A client that asks for it makes the list be asked, five seconds after the last time.
    std::thread::sleep(Duration::from_millis(5500));
    read(&server, NAME, &[("Cache-Control", "no-cache")]).is_all_of(&new);
    read(&server, NAME, &[]).is_all_of(&new);
    read(&server, &build("20260105-2299"), &[]).is_all_of(&old);
    let part = read(&server, NAME, &[("Range", "bytes=5-9"), ("If-Range", tag)]);
    part.is_all_of(&new);
    assert!(upstream.asked(NAME).is_empty(), "{:?}", upstream.asked(NAME));

    server.stop();
    let name = upstream.door(NAME);
    upstream.die();
    for more in [&[][..], &["--offline"]] {
        let server = Server::on(dir.path(), &[&arguments[..], more].concat());
        Reading::begin(&server, &name, &[]).finish().is_all_of(&new);
        server.stop();
    }
}
