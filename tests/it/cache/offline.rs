//! Servers that do not answer, and a cache that is told not to ask.

use std::time::{Duration, Instant};

use super::{Lab, NEAR, Reading, age, configuration};
use crate::harness::{Server, noise};
use crate::upstream::{BlackHole, File, Upstream};

/// A file that is stale as soon as it may be.
fn short_lived(content: &[u8]) -> File {
    File::new(content).with("Cache-Control", "max-age=0")
}

/// The shortest time for which a copy is fresh, whatever its server says.
const FRESH: Duration = Duration::from_millis(5500);

#[test]
fn a_dead_server_costs_one_wait_and_then_nothing() {
    let content = noise(71, 200_000);
    let lab = Lab::configured("stale_after = \"300ms\"\n");
    lab.upstream.put("/current/f", short_lived(&content));
    lab.upstream.put("/other", File::new("other").held_at(File::HEAD));
    lab.read("/current/f", &[]).is_all_of(&content);
    lab.upstream.change("/current/f", |file| file.hold = Some(File::HEAD));
    std::thread::sleep(FRESH);
    let stale = lab.read("/current/f", &[]);
    stale.is_all_of(&content);
    let status = stale.header("cache-status").unwrap().to_owned();
    assert!(status.contains("hit") && status.contains("detail="), "{status}");
    let (connections, asked) = (lab.upstream.connections(), lab.upstream.all().len());
    for _ in 0..20 {
        lab.read("/current/f", &[]).is_all_of(&content);
    }
    assert_eq!((lab.upstream.connections(), lab.upstream.all().len()), (connections, asked), "nothing was sent");
    // What is not here waits for the server, and not for ever.
    let uncached = lab.read("/other", &[]);
    assert_eq!((uncached.status, uncached.header("x-visor-error")), (504, Some("upstream-dead")), "{uncached:?}");
}

#[test]
fn a_server_that_refuses_connections_is_as_good_as_its_copies() {
    let content = noise(72, 200_000);
    let lab = Lab::start();
    lab.upstream.put("/current/f", short_lived(&content));
    lab.upstream.put("/other", File::new("other"));
    lab.read("/current/f", &[]).is_all_of(&content);
    let (here, other) = (lab.upstream.door("/current/f"), lab.upstream.door("/other"));
    lab.upstream.die();
    let read = |path: &str| Reading::begin(&lab.server, path, &[("Cache-Control", "no-cache")]).finish();
    read(&here).is_all_of(&content);
    let refused = read(&other);
    assert_eq!((refused.status, refused.header("x-visor-error")), (504, Some("upstream-dead")), "{refused:?}");
}

#[test]
fn a_black_hole_is_given_up() {
    let hole = BlackHole::open();
    let lab = Lab::start();
    let began = Instant::now();
    let refused = Reading::begin(&lab.server, &hole.door("/f"), &[]).finish();
    assert_eq!((refused.status, refused.header("x-visor-error")), (504, Some("upstream-dead")), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    // It is dead already.
    let again = Instant::now();
    assert_eq!(Reading::begin(&lab.server, &hole.door("/g"), &[]).finish().status, 504);
    assert!(again.elapsed() < began.elapsed() / 2 + Duration::from_millis(500));
}

#[test]
fn a_pause_is_no_end() {
    let content = noise(73, 2 << 20);
    let lab = Lab::configured("patience = \"1s\"\n");
    lab.upstream.put("/f", File::new(content.clone()).held_at(1 << 20));
    // Longer than a reader waits: it is told, and not with a clean end.
    let outcome = lab.read("/f", &[]);
    assert!(!outcome.complete && outcome.body == content[..outcome.body.len()], "{}", outcome.body.len());
    lab.upstream.release("/f");
    crate::harness::eventually("the file is whole", || {
        let outcome = lab.read("/f", &[]);
        outcome.complete && outcome.body == content
    });
}

#[test]
fn offline_nothing_is_sent() {
    let content = noise(74, 200_000);
    let (upstream, dir, config) = (Upstream::start(), tempfile::tempdir().unwrap(), configuration(""));
    upstream.put("/current/f", short_lived(&content));
    upstream.put("/other", File::new("other"));
    let arguments = [&["--config", config.path().to_str().unwrap()], &NEAR[..]].concat();
    let server = Server::on(dir.path(), &arguments);
    let read = |server: &Server, path: &str, headers: &[(&str, &str)]| {
        Reading::begin(server, &upstream.door(path), headers).finish()
    };
    read(&server, "/current/f", &[]).is_all_of(&content);
    server.stop();
    let before = upstream.connections();
    age(dir.path());
    let server = Server::on(dir.path(), &[&arguments[..], &["--offline"]].concat());
    for headers in [&[][..], &[("Cache-Control", "no-cache")], &[("Range", "bytes=0-199999")]] {
        let outcome = read(&server, "/current/f", headers);
        assert!(outcome.body == content && outcome.complete, "{outcome:?}");
    }
    for path in ["/other", "/current/SHA256SUMS"] {
        let refused = read(&server, path, &[]);
        assert_eq!((refused.status, refused.header("x-visor-error")), (504, Some("offline")), "{refused:?}");
    }
    let head = server.send("HEAD", &upstream.door("/other"), &[], b"");
    assert_eq!(head.status, 504);
    let place = upstream.url("/other");
    let registered = server.send(
        "POST",
        "/images",
        &[("x-image-meta-name", "x"), ("x-image-meta-architecture", "x86_64"), ("x-image-meta-location", &place)],
        b"",
    );
    assert!(registered.status >= 400 && registered.text().contains("visor offline off"), "{registered:?}");
    assert_eq!(upstream.connections(), before);
}
