//! Transfers that break: upstream cuts them, the server dies in them, the content changes under them.

use std::time::Duration;

use super::{NEAR, Reading, configuration};
use crate::cache::Lab;
use crate::harness::{Server, noise, sha256};
use crate::upstream::{File, Tag, Upstream};

const SIZE: usize = 8 << 20;
/// 1.05 of the file.
const ENOUGH: u64 = (SIZE + SIZE / 20) as u64;

#[test]
fn a_transfer_that_is_cut_twice_goes_on_where_it_was() {
    let content = noise(21, SIZE);
    let lab = Lab::start();
    lab.upstream.put("/f", File::new(content.clone()).cut_at([SIZE * 6 / 10, SIZE * 7 / 10]));
    let outcome = lab.read("/f", &[]);
    outcome.is_all_of(&content);
    assert_eq!(sha256(&outcome.body), sha256(&content));
    let asked = lab.upstream.gets("/f");
    assert_eq!(asked.len(), 3, "{asked:?}");
    for resumed in &asked[1..] {
        assert_eq!(resumed.header("if-range"), outcome.header("etag"), "{resumed:?}");
        let from = resumed.header("range").unwrap().trim_start_matches("bytes=").trim_end_matches('-');
        assert!(from.parse::<usize>().unwrap() > SIZE / 2, "{resumed:?}");
    }
    assert!(lab.upstream.sent("/f") <= ENOUGH, "{}", lab.upstream.sent("/f"));
    lab.read("/f", &[]).is_all_of(&content);
    assert_eq!(lab.upstream.gets("/f").len(), 3);
}

#[test]
fn a_server_that_is_killed_goes_on_after_its_start() {
    let content = noise(22, SIZE);
    let (upstream, dir, config) = (Upstream::start(), tempfile::tempdir().unwrap(), configuration(""));
    let arguments = [&["--config", config.path().to_str().unwrap()], &NEAR[..]].concat();
    upstream.put("/f", File::new(content.clone()).held_at(SIZE / 2));
    let server = Server::on(dir.path(), &arguments);
    let mut reading = Reading::begin(&server, &upstream.door("/f"), &[]);
    reading.take(SIZE / 2 - (1 << 20));
    // A kill loses what came in the last moment.
    std::thread::sleep(Duration::from_millis(500));
    server.kill();
    upstream.release("/f");
    let server = Server::on(dir.path(), &arguments);
    let outcome = Reading::begin(&server, &upstream.door("/f"), &[]).finish();
    outcome.is_all_of(&content);
    let asked = upstream.gets("/f");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("if-range"), outcome.header("etag"), "{asked:?}");
    assert!(upstream.sent("/f") <= ENOUGH, "{}", upstream.sent("/f"));
}

/// Bytes of two contents never stand in one answer, and the next request gets the new one whole.
#[test]
fn contents_are_never_glued_together() {
    let (old, new) = (noise(23, SIZE), noise(24, SIZE));
    for (name, tag) in [
        ("with a strong tag", None),
        ("with a weak tag", Some(Tag::Is("W/\"same\"".into()))),
        ("without a tag", Some(Tag::Missing)),
        ("with a tag that lies", Some(Tag::Random)),
    ] {
        let lab = Lab::start();
        let file = |content: &[u8]| match &tag {
            Some(tag) => File::new(content).tagged(tag.clone()),
            None => File::new(content),
        };
        lab.upstream.put("/f", file(&old).held_at(SIZE / 2).cut_at([SIZE / 2 + 1000]));
        let mut reading = lab.begin("/f", &[]);
        let first = reading.take(SIZE / 2 - (1 << 20));
        assert!(first == old[..first.len()]);
        let modified = "Tue, 06 Jan 2026 07:42:00 GMT".to_owned();
        lab.upstream.put("/f", File { modified: Some(modified), ..file(&new) });
        let rest = reading.finish();
        let seen = [first, rest.body].concat();
        let is_prefix = |of: &[u8]| seen.len() <= of.len() && seen == of[..seen.len()];
        assert!(is_prefix(&old), "{name}: {} bytes are not the beginning of the old content", seen.len());
        assert!(seen.len() < SIZE || seen == old, "{name}");
        crate::harness::eventually("the new content is served", || {
            let outcome = lab.read("/f", &[("Cache-Control", "no-cache")]);
            assert!(!outcome.complete || outcome.status != 200 || outcome.body == new || outcome.body == old, "{name}");
            outcome.complete && outcome.body == new
        });
    }
}
