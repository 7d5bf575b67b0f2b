//! Pulls of a synthetic vendor's images and of URLs, by the program, without a server and through one.

mod lab;
mod locks;
mod runs;
mod signed;
mod words;

use std::time::Duration;

pub(crate) use self::lab::{Lab, fails, succeeds};
use self::lab::{files, inode, named};
use crate::glance::Client;
use crate::harness::{Server, qcow2, sha256};
use crate::upstream::File;

/// Pulled once, an image is in every protocol; a newer build supersedes it, which stays for a while. `later` lets lists be asked for again.
fn life(lab: &Lab, later: impl Fn(), look: impl Fn(&dyn Fn(&Server))) {
    let (old, new) = (qcow2(b"old"), qcow2(b"new build"));
    lab.publish(&[("20260101", &old)]);
    let text = succeeds(&lab.pull(&["test/1"]));
    assert!(text.contains("test/1:20260101 pulled"), "{text}");
    assert_eq!(lab.gets("20260101"), 1);
    let text = succeeds(&lab.pull(&["test/1"]));
    assert!(text.contains("is here already"), "{text}");
    assert_eq!(lab.gets("20260101"), 1, "what is here is not fetched again");

    look(&|server| {
        let image = &named(server, "test/1")[0];
        assert_eq!((image["access"].as_str(), image["status"].as_str()), (Some("public"), Some("available")));
        assert_eq!(image["visor.verified"], "checksum", "{image}");
        assert_eq!(image["visor.origin"], lab.upstream.url(&Lab::image("20260101")).as_str());
        assert_eq!(server.get("/get/test/1").body, old);
        assert_eq!(server.get("/get/test/1.qcow2").header("etag"), Some(format!("\"{}\"", sha256(&old)).as_str()));
        let glance = Client::new(server).get("/v2/images?name=test/1").json();
        assert_eq!(glance["images"].as_array().unwrap().len(), 1, "{glance}");
        crate::harness::eventually("LXD has the alias", || server.get("/1.0/images/aliases/test%2F1").status == 200);
    });
    // The bytes are on the disk once.
    let blob = files(&lab.data().join("images")).into_iter().find(|path| path.extension().unwrap() == "qcow2").unwrap();
    assert!(files(&lab.data().join("cache")).iter().any(|path| inode(path) == inode(&blob)), "{blob:?}");

    lab.publish(&[("20260101", &old), ("20260202", &new)]);
    later();
    let text = succeeds(&lab.pull(&["test/1"]));
    assert!(text.contains("test/1:20260202 pulled, in the place of another build"), "{text}");
    // A build that was superseded a moment ago may be in use: no room is made of it.
    let young = succeeds(&lab.run(&["prune", "--dry-run", "--to", "0"]));
    assert!(!young.contains("a newer build took its place"), "{young}");
    assert!(young.contains(" stay, more than 0 B: what is pinned, locked or open"), "{young}");
    succeeds(&lab.run(&["prune", "--to", "0"]));
    look(&|server| {
        assert_eq!(server.get("/get/test/1").body, new);
        let (now, before) = (named(server, "test/1"), named(server, "test/1:20260101"));
        assert_eq!((now.len(), before.len()), (1, 1));
        assert!(before[0]["visor.superseded_at"].is_string(), "{}", before[0]);
        assert!(server.get("/images/test%2F1:20260101").body == old, "the old one stays");
    });
}

#[test]
fn a_pulled_image_is_like_any_other_without_a_server() {
    let lab = Lab::new();
    life(&lab, || lab.later(), |look| look(&lab.server()));
}

#[test]
fn a_pulled_image_is_like_any_other_through_a_server() {
    let lab = Lab::new();
    let server = lab.server();
    // A server has the times of its lists in memory.
    let later = || std::thread::sleep(Duration::from_millis(5_500));
    life(&lab, later, |look| look(&server));
    assert!(lab.data().join("server.json").exists());
}

#[test]
fn wrong_bytes_are_nothing_until_a_digest_says_otherwise() {
    let lab = Lab::new();
    let bytes = qcow2(b"bytes");
    lab.publish(&[("20260101", &bytes)]);
    let other = sha256(b"other");
    lab.upstream.put("/vendor/1/SHA256SUMS", File::new(format!("{other}  test-1-20260101.x86_64.qcow2\n")));
    fails(&lab.pull(&["test/1"]), 4);
    let gets = lab.gets("20260101");
    // Wrong first, then right: the bytes in quarantine are adopted.
    fails(&lab.pull(&["test/1", "--sha256", &sha256(b"wrong")]), 4);
    let between = lab.gets("20260101");
    assert!(gets >= 1);
    {
        let server = lab.server();
        assert!(server.names("").is_empty());
    }
    let text = succeeds(&lab.pull(&["test/1", "--sha256", &sha256(&bytes)]));
    assert!(text.contains("matches the digest that you gave"), "{text}");
    assert_eq!(lab.gets("20260101"), between, "no second download");
    assert_eq!(lab.server().get("/get/test/1").body, bytes);
}

#[test]
fn offline_gives_what_is_here_and_says_what_is_not() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"a"))]);
    succeeds(&lab.pull(&["test/1"]));
    let before = lab.upstream.all().len();
    let text = succeeds(&lab.pull(&["test/1", "--offline"]));
    assert!(text.contains("is here already"), "{text}");
    fails(&lab.pull(&[&lab.upstream.url("/else.qcow2"), "--offline"]), 5);
    succeeds(&lab.run(&["offline", "on"]));
    succeeds(&lab.pull(&["test/1"]));
    {
        let _server = lab.server();
        succeeds(&lab.pull(&["test/1", "--offline"]));
        fails(&lab.pull(&[&lab.upstream.url("/else.qcow2"), "--offline"]), 5);
    }
    assert_eq!(lab.upstream.all().len(), before, "nothing was sent");
    succeeds(&lab.run(&["offline", "off"]));
    fails(&lab.pull(&["test/2"]), 3);
    fails(&lab.pull(&["tset/1"]), 3);
}

#[test]
fn a_packed_file_is_unpacked_and_remembers_it() {
    let lab = Lab::new();
    let disk = qcow2(b"content");
    let packed = crate::bundles::gzip(&disk);
    lab.upstream.put("/disk-x86_64.qcow2.gz", File::new(packed.clone()));
    let url = lab.upstream.url("/disk-x86_64.qcow2.gz");
    succeeds(&lab.pull(&[&url, "--alias", "mine"]));
    succeeds(&lab.pull(&[&url, "--alias", "mine"]));
    let server = lab.server();
    let images = named(&server, "disk-x86_64");
    assert_eq!(images.len(), 1);
    assert_eq!(images[0]["visor.unpacked_from"], sha256(&packed).as_str());
    assert_eq!(server.get("/get/mine").body, disk);
    assert_eq!(lab.upstream.gets("/disk-x86_64.qcow2.gz").len(), 1);
}

#[test]
fn an_image_that_is_here_is_held_to_the_request() {
    let lab = Lab::new();
    let (old, new) = (qcow2(b"old"), qcow2(b"new"));
    lab.publish(&[("20260101", &old)]);
    succeeds(&lab.pull(&["test/1"]));
    let text = fails(&lab.pull(&["test/1", "--require", "signature"]), 4);
    assert!(text.contains("'signature' is demanded"), "{text}");
    fails(&lab.pull(&[&format!("test/1@sha512:{}", "e".repeat(128))]), 4);
    fails(&lab.pull(&["test/1", "--offline", "--sha256", &sha256(b"other")]), 5);
    fails(&lab.pull(&["test/1:20260202", "--offline"]), 5);
    succeeds(&lab.pull(&["test/1", "--offline", "--sha256", &sha256(&old)]));

    lab.publish(&[("20260101", &old), ("20260202", &new)]);
    succeeds(&lab.pull(&["test/1"]));
    let text = succeeds(&lab.pull(&["test/1:20260101", "--offline"]));
    assert!(text.contains("test/1:20260101 is here already"), "{text}");
    let sent = lab.upstream.sent(&Lab::image("20260101"));
    assert_eq!(sent, old.len() as u64, "it was asked about, and not sent again");
    // It was pulled without being kept, and is kept now.
    succeeds(&lab.pull(&["test/1", "--pin"]));
    let server = lab.server();
    assert_eq!(named(&server, "test/1")[0]["visor.pinned"], "true");
    fails(&lab.pull(&["test/1", "--require", "signature"]), 4);
    fails(&lab.pull(&["--locked", "--require", "tls"]), 2);
}

#[test]
fn two_urls_with_one_file_name_are_two_images() {
    let lab = Lab::new();
    let (one, two, newer) = (qcow2(b"one"), qcow2(b"two"), qcow2(b"newer"));
    lab.upstream.put("/a/disk-x86_64.qcow2", File::new(&*one));
    lab.upstream.put("/b/disk-x86_64.qcow2", File::new(&*two));
    let urls = ["/a/disk-x86_64.qcow2", "/b/disk-x86_64.qcow2"].map(|path| lab.upstream.url(path));
    for _ in 0..2 {
        succeeds(&lab.pull(&[&urls[0]]));
        succeeds(&lab.pull(&[&urls[1]]));
    }
    {
        let server = lab.server();
        assert_eq!(server.get("/get/disk-x86_64").body, one, "the name stays with the first");
        let second = format!("disk-x86_64:{}", &sha256(&two)[..12]);
        assert_eq!(named(&server, &second).len(), 1);
        assert_eq!(server.names("").len(), 2);
    }
    lab.upstream.put("/a/disk-x86_64.qcow2", File::new(&*newer));
    lab.later();
    succeeds(&lab.run(&["cache", "refresh", &urls[0]]));
    succeeds(&lab.pull(&[&urls[0]]));
    assert_eq!(lab.server().get("/get/disk-x86_64").body, newer);
}

#[test]
fn an_address_that_is_refused_has_a_code_of_its_own() {
    let lab = Lab::new();
    let url = "http://10.255.255.1/x.qcow2?sig=SECRET";
    let text = fails(&lab.pull(&[url]), 7);
    assert!(!text.replace(url, "").contains("SECRET"), "{text}");
    let _server = lab.server();
    fails(&lab.pull(&[url]), 7);
}

#[test]
fn two_pulls_of_one_name_make_one_image() {
    let lab = Lab::new();
    let bytes = qcow2(b"a");
    lab.publish(&[("20260101", &bytes)]);
    let server = lab.server();
    std::thread::scope(|scope| {
        let pulls = [0; 3].map(|_| scope.spawn(|| succeeds(&lab.pull(&["test/1"]))));
        let said = pulls.map(|pull| pull.join().unwrap());
        assert_eq!(said.iter().filter(|text| text.contains("test/1:20260101 pulled")).count(), 1, "{said:?}");
    });
    assert_eq!((named(&server, "test/1").len(), lab.gets("20260101")), (1, 1));
}

#[test]
fn an_alias_that_lxd_asks_for_is_pulled_once() {
    let lab = Lab::new();
    let bytes = qcow2(b"disk");
    lab.publish(&[("20260101", &bytes)]);
    let path = "/1.0/images/aliases/test%2F1?architecture=x86_64&type=virtual-machine";
    {
        let server = lab.server();
        assert_eq!(server.get(path).status, 404, "nothing is pulled unless it is configured");
    }
    let text = std::fs::read_to_string(lab.config()).unwrap();
    std::fs::write(lab.config(), format!("[lxd]\npull_through = [\"test\"]\n{text}")).unwrap();
    let server = lab.server();
    assert_eq!(server.get("/1.0/images/aliases/debian%2F13").status, 404, "another vendor");
    assert_eq!(server.get("/1.0/images/aliases/test%2F1?type=container").status, 404);
    assert_eq!(lab.gets("20260101"), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer = server.get(path);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.json()["metadata"]["type"], "virtual-machine");
            });
        }
    });
    assert_eq!(lab.gets("20260101"), 1);
    let target = server.get(path).json()["metadata"]["target"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/1.0/images/{target}")).status, 200);
}

#[test]
fn a_pulled_image_is_proved_again_without_its_vendor() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"bytes"))]);
    succeeds(&lab.pull(&["test/1"]));
    let asked = lab.upstream.all().len();
    let text = succeeds(&lab.run(&["verify", "test/1"]));
    assert!(text.contains("test/1:20260101: matches SHA256SUMS of the same host"), "{text}");
    assert!(text.contains("verified: 1 image, 0 problems"), "{text}");
    assert_eq!(lab.upstream.all().len(), asked, "nothing was sent");
    fails(&lab.run(&["verify", "test/2"]), 3);
    succeeds(&lab.run(&["cache", "drop", &lab.upstream.url("/vendor/1/SHA256SUMS")]));
    let text = succeeds(&lab.run(&["verify", "test/1"]));
    assert!(text.contains("not proved again"), "{text}");
}
