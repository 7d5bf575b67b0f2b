//! Lock files: what they bring, what they are compared with, and how they are written.

use std::fs;
use std::os::unix::fs::symlink;

use super::lab::{Lab, fails, named, said, succeeds};
use crate::glance::Client;
use crate::harness::{qcow2, sha256};

#[test]
fn a_lock_brings_the_very_bytes_again() {
    let lab = Lab::new();
    let (old, new) = (qcow2(b"old"), qcow2(b"new"));
    lab.publish(&[("20260101", &old)]);
    succeeds(&lab.pull(&["test/1"]));
    succeeds(&lab.run(&["lock"]));
    succeeds(&lab.run(&["lock", "--check"]));
    lab.publish(&[("20260101", &old), ("20260202", &new)]);
    lab.later();
    succeeds(&lab.pull(&["test/1"]));
    let text = fails(&lab.run(&["lock", "--check"]), 4);
    assert!(text.contains("is test/1:20260202 here"), "{text}");
    let gets = lab.gets("20260101");
    succeeds(&lab.pull(&["--locked"]));
    succeeds(&lab.run(&["lock", "--check"]));
    assert_eq!(lab.gets("20260101"), gets, "it was here");
    assert_eq!(lab.server().get("/get/test/1").body, old);

    // Another machine has the same ones then, whatever the vendor's list says.
    std::fs::remove_dir_all(lab.data()).unwrap();
    lab.publish(&[("20260101", &old), ("20260303", &new)]);
    succeeds(&lab.pull(&["--locked", "-f", "images.lock"]));
    succeeds(&lab.run(&["lock", "--check"]));
    // The file alone is enough, with and without a server.
    for with_server in [true, false] {
        let server = lab.server();
        let id = named(&server, "test/1")[0]["_id"].as_str().unwrap().to_owned();
        assert_eq!(Client::new(&server).delete(&format!("/v2/images/{id}")).status, 204);
        let _server = with_server.then_some(server);
        let before = lab.upstream.all().len();
        succeeds(&lab.pull(&["--locked", "--offline"]));
        assert_eq!(lab.upstream.all().len(), before, "nothing was sent");
    }
}

#[test]
fn two_builds_of_a_release_are_locked_each_by_its_own_name() {
    let lab = Lab::new();
    let (old, new) = (qcow2(b"old"), qcow2(b"new"));
    let builds: [(&str, &[u8]); 2] = [("20260101", &old), ("20260202", &new)];
    lab.publish(&builds);
    succeeds(&lab.pull(&["test/1"]));
    succeeds(&lab.pull(&["test/1:20260101"]));
    assert!(succeeds(&lab.run(&["lock"])).contains("images.lock: 2 images"));
    let file = lab.dir.path().join("images.lock");
    let text = fs::read_to_string(&file).unwrap();
    let replayed = |what: &str| {
        succeeds(&lab.pull(&["--locked"]));
        succeeds(&lab.run(&["lock", "--check"]));
        succeeds(&lab.run(&["lock"]));
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{what}");
        assert_eq!(lab.server().get("/get/test/1").body, new, "{what}");
    };
    succeeds(&lab.run(&["lock", "--check"]));
    replayed("where they are");
    fs::remove_dir_all(lab.data()).unwrap();
    replayed("on another machine");
    // The list is of another day.
    fs::remove_dir_all(lab.data()).unwrap();
    lab.publish(&builds[..1]);
    succeeds(&lab.pull(&["test/1"]));
    lab.publish(&builds);
    lab.later();
    replayed("where the old one had the name");
    lab.publish(&builds[1..]);
    lab.later();
    replayed("where its vendor has forgotten the old one");

    let wrong = text.replace(&sha256(&old), &sha256(b"other"));
    fs::write(&file, wrong).unwrap();
    let said = fails(&lab.run(&["lock", "--check"]), 4);
    let words =
        format!("test/1:20260101 (x86_64) has sha256:{} here, and sha256:{} is locked", sha256(&old), sha256(b"other"));
    assert!(said.contains(&words) && said.contains("1 image is not as images.lock has it"), "{said}");
}

#[test]
fn a_lock_is_written_where_it_belongs() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"a"))]);
    succeeds(&lab.pull(&["test/1"]));
    for arguments in
        [&["pull", "--locked"][..], &["lock", "--check"], &["lock", "-f", "gone/x.lock"], &["lock", "-f", "data"]]
    {
        let done = lab.run(arguments);
        let text = said(&done);
        assert!(
            !done.status.success() && !text.contains("os error") && !text.contains(".tmp/"),
            "{arguments:?}: {text}"
        );
        assert!(
            ["visor lock makes one", "make it first", "name a file"].iter().any(|words| text.contains(words)),
            "{text}"
        );
    }
    let printed = lab.run(&["lock", "-f", "-"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.starts_with('#') && text.contains("test/1:20260101") && !lab.dir.path().join("-").exists(), "{text}");
    symlink("/dev/full", lab.dir.path().join("full")).unwrap();
    fails(&lab.run(&["lock", "-f", "full"]), 6);
    assert!(lab.dir.path().join("full").is_symlink());
    assert!(succeeds(&lab.run(&["lock", "-f", "own.lock"])).contains("own.lock: 1 image\n"));
    assert_eq!(fs::read_to_string(lab.dir.path().join("own.lock")).unwrap(), text);
}
