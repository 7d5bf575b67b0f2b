//! What a person reads when a pull fails, and the exit code of it: without a server, and through one.

use super::lab::{Lab, fails, named, said, succeeds};
use crate::harness::{Server, qcow2, sha256};

/// Tries something without a server, and through one.
fn both(lab: &Lab, mut try_it: impl FnMut(Option<&Server>)) {
    try_it(None);
    let server = lab.server();
    try_it(Some(&server));
}

#[test]
fn a_wrong_name_is_a_wrong_command_line() {
    let lab = Lab::new();
    both(&lab, |_| {
        for (name, words) in [
            ("debian", "A name is vendor/release[:build][+variant], such as debian/13."),
            ("test/", "such as debian/13."),
            ("test/1:", "behind the : stands a build"),
            ("TEST/1", "(did you mean test/1?)"),
            ("", "such as debian/13."),
            ("ftp://h.example/x.qcow2", "it has to begin with http:// or https://"),
            ("http://", "its host is malformed"),
            ("https://h.example/", "it has no file name at its end"),
            ("./disk.qcow2", "visor add name=NAME --file FILE"),
        ] {
            let text = fails(&lab.pull(&[name]), 2);
            assert!(text.contains(words), "{name}: {text}");
        }
        let text = fails(&lab.run(&["cache", "pin", "test/"]), 2);
        assert!(text.contains("such as debian/13."), "{text}");
    });
}

#[test]
fn a_secret_in_a_url_is_not_said() {
    let lab = Lab::new();
    let absent = format!("{}?token=hunter2", lab.upstream.url("/x.qcow2"));
    let with_user = lab.upstream.url("/x.qcow2").replace("://", "://alice:hunter2@");
    let refused = "http://10.0.0.1/x.qcow2?token=hunter2".to_owned();
    both(&lab, |server| {
        for json in [&[][..], &["--json"]] {
            for (url, code) in [(&absent, 3), (&with_user, 2), (&refused, 7)] {
                let text = fails(&lab.pull(&[&[url.as_str()], json].concat()), code);
                assert!(!text.contains("hunter2") && !text.contains("alice"), "{text}");
                let text = fails(&lab.run(&[&["cache", "pin", url.as_str()], json].concat()), code.min(3));
                assert!(!text.contains("hunter2") && !text.contains("alice"), "{text}");
            }
        }
        let text = fails(&lab.pull(&[&with_user]), 2);
        assert!(text.contains("it has user information in it"), "{text}");
        let log = server.map(Server::log).unwrap_or_default();
        assert!(!log.contains("hunter2"), "{log}");
    });
}

#[test]
fn a_name_that_can_not_be_resolved_is_told_from_a_refused_address() {
    let lab = Lab::new();
    let (unknown, refused) = ("https://no-such-name.invalid/x.qcow2", "https://10.0.0.1/x.qcow2");
    both(&lab, |server| {
        let text = fails(&lab.pull(&[unknown]), 5);
        assert!(text.contains("no-such-name.invalid: its name can't be resolved; check the network"), "{text}");
        let text = fails(&lab.pull(&[refused]), 7);
        assert!(text.contains("may not be reached"), "{text}");
        assert!(server.is_some() || !text.contains("server"), "there is none: {text}");
    });
    // One that is no administrator does not learn which names there are.
    let server = lab.server();
    server.account("root", &["--admin"]);
    let account = server.account("joe", &[]);
    let [access_key, secret_key] = ["access_key", "secret_key"].map(|key| account[key].as_str().unwrap().to_owned());
    let keys = format!("\n[client]\naccess_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"\n");
    let text = std::fs::read_to_string(lab.config()).unwrap();
    std::fs::write(lab.config(), text + &keys).unwrap();
    std::fs::set_permissions(lab.config(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    // `localhost` is refused without fetch.allow for port and address.
    let text = fails(&lab.pull(&[unknown]), 7);
    assert!(text.contains("its host is not known, or has an address that may not be reached"), "{text}");
}

#[test]
fn of_several_failures_the_first_one_of_the_command_line_tells_the_code() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"a"))]);
    let (absent, refused) = (lab.upstream.url("/x.qcow2"), "http://10.0.0.1/x.qcow2");
    for (names, code) in [([absent.as_str(), "test/1", refused], 3), ([refused, "test/1", absent.as_str()], 7)] {
        let done = lab.pull(&names);
        let text = fails(&done, code);
        assert!(text.contains("test/1:20260101"), "the others go on: {text}");
        assert!(names.iter().filter(|name| text.contains(&format!("error: {name}: "))).count() == 2, "{text}");
    }
}

#[test]
fn a_file_of_the_cache_is_called_by_the_name_of_its_image() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"a"))]);
    succeeds(&lab.pull(&["test/1", "--pin"]));
    let origin = lab.upstream.url(&Lab::image("20260101"));
    let is_pinned = |output: &std::process::Output| {
        let text = said(output);
        text.lines().any(|line| line.contains(" pin ") && line.ends_with(&origin))
    };
    both(&lab, |server| {
        assert!(is_pinned(&lab.run(&["cache"])));
        for name in ["test/1", "test/1:20260101"] {
            succeeds(&lab.run(&["cache", "unpin", name]));
            assert!(!is_pinned(&lab.run(&["cache"])), "{name}");
            if let Some(server) = server {
                assert!(named(server, "test/1")[0]["visor.pinned"].is_null(), "the image is not pinned either");
            }
            succeeds(&lab.run(&["cache", "pin", name]));
            assert!(is_pinned(&lab.run(&["cache"])), "{name}");
        }
        succeeds(&lab.run(&["cache", "refresh", "test/1"]));
        let absent = lab.upstream.url("/absent.qcow2");
        for action in ["pin", "unpin", "drop"] {
            let text = fails(&lab.run(&["cache", action, &absent]), 3);
            assert!(text.contains("is not in the cache."), "{action}: {text}");
            let text = fails(&lab.run(&["cache", action, "tset/1"]), 3);
            assert!(text.contains("No image that was pulled is called tset/1 (did you mean test/1?)."), "{text}");
        }
    });
    succeeds(&lab.run(&["cache", "drop", "test/1"]));
    assert!(!said(&lab.run(&["cache"])).contains(&origin));
    fails(&lab.run(&["cache", "drop", "test/1"]), 3);
    succeeds(&lab.run(&["cache", "unpin", "test/1"]));
}

#[test]
fn a_download_by_name_says_what_was_meant() {
    let lab = Lab::new();
    let bytes = qcow2(b"a");
    lab.publish(&[("20260101", &bytes)]);
    let server = lab.server();
    let answer = server.get("/get/");
    assert!(answer.status == 400 && answer.text().contains("/get/debian/13"), "{answer:?}");
    for (path, words) in [
        ("/get/tset/1", "No image is called tset/1 (did you mean test/1?)."),
        ("/get/TEST/1", "No image is called TEST/1 (did you mean test/1?)."),
        ("/get/plan9/1", "No image is called plan9/1."),
    ] {
        let answer = server.get(path);
        assert!(answer.status == 404 && answer.text().contains(words), "{path}: {answer:?}");
    }
    assert!(server.get("/images/test%2F1").text().contains("'test/1'"), "as it is called, not as it was written");
    // Not here yet, then here.
    let path = format!("/get/test/1@sha256:{}?architecture=x86_64", sha256(&bytes));
    for _ in 0..2 {
        let answer = server.get(&path);
        assert_eq!((answer.status, &answer.body), (200, &bytes), "{answer:?}");
    }
    assert_eq!(lab.gets("20260101"), 1);
    let other = format!("/get/test/1@sha256:{}?architecture=x86_64", sha256(b"other"));
    assert_eq!(server.get(&other).status, 502);
}
