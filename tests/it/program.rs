//! The program itself: what scripts rely on.

use serde_json::Value;

use crate::harness::{Server, eventually, noise, run, visor};

#[test]
fn the_configuration_is_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("visor.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[server]\nlisten = [\"127.0.0.1:1\"]\n").unwrap();
    assert_eq!(run(&["config", "check", "--config", path]).0, 0);
    let (code, shown, _) = run(&["config", "show", "--config", path]);
    assert!(code == 0 && shown.contains("127.0.0.1:1"), "{shown}");
    std::fs::write(&file, "[server]\nlisten_lts = []\n").unwrap();
    for command in [vec!["config", "check", "--config", path], vec!["serve", "--config", path]] {
        let (code, _, error) = run(&command);
        assert!(code == 2 && error.contains("server.listen_lts") && error.contains("server.listen_tls"), "{error}");
    }
    let done = visor().args(["config", "check"]).env("VISOR__SERVER__LISTENS", "x").output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("VISOR__SERVER__LISTEN"));
    assert_eq!(run(&["config", "check", "--config", "/nowhere.toml"]).0, 2);
}

#[test]
fn a_check_of_the_configuration_refuses_what_a_server_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("visor.toml");
    let (path, data) = (file.to_str().unwrap(), dir.path().join("data"));
    let check = |command: &[&str]| run(&[command, &["--config", path, "--data-dir", data.to_str().unwrap()]].concat());
    let lab = "[vendors.lab]\ntitle = \"Lab\"\nkind = \"fixed\"\nbase = \"https://lab.example/images\"\n\
               image = \"{release}.qcow2\"\nrequire = \"none\"\n";
    let example = include_str!("../../visor.toml");
    let example = example.replace("# [vendors.debian]\n# base", "[vendors.debian]\nbase");
    assert!(example.contains("\n[vendors.debian]\nbase"), "the example is where it was");
    for good in [lab, &example] {
        std::fs::write(&file, good).unwrap();
        for command in [&["config", "check"][..], &["vendors"]] {
            let (code, _, error) = check(command);
            assert_eq!(code, 0, "{command:?}: {error}");
        }
    }
    for (bad, words) in [
        (lab.replace("fixed", "html"), "it can be simplestreams, sums,"),
        (lab.replace("image =", "imgae ="), "unknown key vendors.lab.imgae (did you mean image?)"),
        (lab.replace("title = \"Lab\"\n", ""), "it has no title, which every vendor needs"),
        (format!("{lab}keys = [\"RWbogus\"]\n"), "nor a key of signify or minisign"),
        ("[lxd]\npull_through = [\"nowhere\"]\n".to_owned(), "lxd.pull_through: The catalogue has no vendor"),
        ("[fetch]\nproxy = \"socks5://squid.example\"\n".to_owned(), "proxy"),
    ] {
        std::fs::write(&file, &bad).unwrap();
        let (code, _, said) = check(&["config", "check"]);
        let (serves, _, error) = check(&["serve", "--listen", "127.0.0.1:0", "--no-tls"]);
        assert_eq!((code, serves), (2, 2), "{bad}: {said} {error}");
        assert!(said.contains(words), "{bad}: {said}");
        assert!(error.ends_with(&said), "the words are those of the server: {said} {error}");
    }
}

#[test]
fn a_proxy_is_named_at_the_start_and_its_password_is_not() {
    let server = Server::with(&[]);
    assert!(!server.log().contains("  proxy "), "{}", server.log());
    let dir = tempfile::tempdir().unwrap();
    let serve = |proxy: (&str, &str)| {
        let mut command = visor();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).env(proxy.0, proxy.1);
        command
    };
    let done = serve(("ALL_PROXY", "socks5://u:s3cret@squid.example:1")).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(error.contains("ALL_PROXY") && error.contains("fetch.proxy") && !error.contains("s3cret"), "{error}");
    assert_eq!(done.status.code(), Some(2));
    let ready = dir.path().join("ready");
    let mut command = serve(("HTTPS_PROXY", "http://u:s3cret@squid.example:3128"));
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut running = command.arg("--ready-file").arg(&ready).stderr(log).spawn().unwrap();
    eventually("the server is ready", || ready.exists());
    running.kill().unwrap();
    running.wait().unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let said = "  proxy   http://squid.example:3128, which resolves the names of other servers";
    assert!(log.contains(said) && !log.contains("s3cret"), "{log}");
}

#[test]
fn accounts_are_kept_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let account = |arguments: &[&str]| run(&[&["account"], arguments, &["--data-dir", data]].concat());
    let (code, made, _) = account(&["--json", "add", "foo", "--admin"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((code, made["access_key"].as_str(), made["secret_key"].as_str().unwrap().len()), (0, Some("foo"), 40));
    let (code, _, error) = account(&["add", "foo"]);
    assert!(code == 8 && error.contains("already taken"), "{error}");
    assert_eq!(account(&["add", "a b"]).0, 1);
    let (_, listed, _) = account(&["list"]);
    assert!(
        listed.contains("foo") && listed.contains("admin") && !listed.contains(made["secret_key"].as_str().unwrap())
    );
    assert_eq!(account(&["add", "rita", "--read-only"]).0, 0);
    assert!(account(&["list"]).1.lines().any(|line| line.contains("rita") && line.contains("reader")));
    let (code, said, _) = account(&["change", "rita", "--read-write"]);
    assert_eq!((code, said.trim()), (0, "Account rita may read and change."));
    let (code, said, _) = account(&["--json", "change", "rita", "--read-only"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["read_only"], &said["admin"]), (0, &true.into(), &false.into()));
    let (code, _, error) = account(&["change", "foo", "--read-only"]);
    assert!(code != 0 && error.contains("An administrator can't be read-only"), "{error}");
    assert_eq!(account(&["change", "nora", "--read-only"]).0, 3);
    for wrong in [
        &["add", "x", "--admin", "--read-only"][..],
        &["change", "rita"],
        &["change", "rita", "--read-only", "--read-write"],
    ] {
        assert_eq!(account(wrong).0, 2, "{wrong:?}");
    }
    assert_eq!(account(&["remove", "rita"]).0, 0);
    assert_eq!(account(&["remove", "foo"]).0, 0);
    let (code, _, error) = account(&["--json", "remove", "foo"]);
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!((code, &error["error"]["code"]), (3, &3.into()));
}

#[test]
fn listeners_and_the_ready_file() {
    let server = Server::with(&["--listen", "[::1]:0", "--listen", "127.0.0.1:0"]);
    let log = server.log();
    assert_eq!(log.matches("serving http://").count(), 3, "{log}");
    assert!(log.contains("serving http://[::1]:"));
    for word in ["visor 0.1.0", "free)", "every user of this machine", "try     curl"] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[test]
fn off_loopback_the_first_start_makes_an_account() {
    let server = Server::with(&["--listen", "0.0.0.0:0"]);
    assert!(server.log().contains("created the account admin"), "{}", server.log());
    let answer = server.get("/images");
    assert_eq!(answer.status, 403);
    let accounts = std::fs::read_to_string(server.dir.join("keys/accounts.json")).unwrap();
    let secret = serde_json::from_str::<Value>(&accounts).unwrap()[0]["secret_key"].as_str().unwrap().to_owned();
    assert!(!server.log().contains(&secret));
}

#[test]
fn tls_serves_the_same_with_a_certificate_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = || {
        let ready = dir.path().join("ready");
        let child = visor()
            .args(["serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        crate::harness::eventually("ready", || ready.exists());
        let urls = std::fs::read_to_string(&ready).unwrap();
        std::fs::remove_file(ready).unwrap();
        (child, urls.lines().nth(1).unwrap().to_owned())
    };
    let certificate = || std::fs::read(data.join("keys/tls.crt")).unwrap();
    let mut first = None;
    for _ in 0..2 {
        let (mut child, url) = start();
        assert!(url.starts_with("https://127.0.0.1:"));
        let mut brief = visor();
        brief.args(["brief", "-a", &url]);
        let untrusted = brief.output().unwrap();
        let trusted = brief.env("VISOR__CLIENT__CA_FILE", data.join("keys/tls.crt")).output().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(untrusted.status.code(), Some(5), "{untrusted:?}");
        assert_eq!(trusted.status.code(), Some(3), "an empty list, and no error of TLS: {trusted:?}");
        assert_eq!(*first.get_or_insert_with(certificate), certificate());
    }
}

#[test]
fn verify_finds_what_rots_and_rebuild_mends_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = data.to_str().unwrap();
    let server = Server::on(&data, &[]);
    let image = server.add("a", &[], &noise(1, 100_000));
    server.add("b", &[], b"abc");
    let (code, _, error) = run(&["verify", "--data-dir", at]);
    assert!(code == 8 && error.contains("in use"), "{error}");
    server.stop();
    assert_eq!(run(&["verify", "--data-dir", at]).0, 0);
    assert_eq!(run(&["verify", "--data-dir", at, "11111111-2222-4333-8444-555555555555"]).0, 3);
    assert_eq!(run(&["verify", "--data-dir", at, "nonsense"]).0, 3);

    let id = image["_id"].as_str().unwrap();
    let file = data.join(format!("images/{id}.none"));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    std::fs::write(data.join("images/11111111-2222-4333-8444-555555555555.iso"), "stranger").unwrap();
    let (code, found, _) = run(&["verify", "--data-dir", at]);
    assert_eq!(code, 4);
    assert!(
        found.contains(&format!("image a ({id}): its bytes are not those")) && found.contains("no image has it"),
        "{found}"
    );
    assert!(file.exists(), "what is damaged is reported, not removed");

    std::fs::remove_dir_all(data.join("catalog/sled")).unwrap();
    let (code, done, _) = run(&["--json", "rebuild", "--data-dir", at]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&done).unwrap()),
        (0, serde_json::json!({"rebuilt": 2, "problems": []}))
    );
    assert_eq!(run(&["rebuild", "--data-dir", dir.path().join("empty").to_str().unwrap()]).0, 3);
}

#[test]
fn an_interrupted_download_is_resumed_and_a_wrong_one_is_not_kept() {
    let server = Server::start();
    let body = noise(4, 900_000);
    let id = server.add("a", &[("x-image-meta-format", "raw")], &body)["_id"].as_str().unwrap().to_owned();
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let save = dir.path().to_str().unwrap();
    let file = dir.path().join(format!("{id}.raw"));
    let part = dir.path().join(format!("{id}.raw.part"));
    let etag = dir.path().join(format!("{id}.raw.part.etag"));
    let tag = format!("\"{}\"", crate::harness::sha256(&body));
    let get = || run(&["get", &id, "-p", &port, "-S", save]);

    std::fs::write(&part, &body[..500_000]).unwrap();
    std::fs::write(&etag, &tag).unwrap();
    let (code, _, error) = get();
    assert_eq!(code, 0, "{error}");
    assert!(std::fs::read(&file).unwrap() == body && !part.exists() && !etag.exists());
    let ranged = server.log().contains("206");
    assert!(ranged, "only what was missing was sent");
    let (code, _, error) = get();
    assert!(code == 8 && error.contains("already exists"), "{error}");

    std::fs::remove_file(&file).unwrap();
    std::fs::write(&part, noise(5, 500_000)).unwrap();
    std::fs::write(&etag, &tag).unwrap();
    let (code, _, error) = get();
    assert!(code == 4 && error.contains("sha256 mismatch"), "{error}");
    assert!(!part.exists() && !file.exists());
    assert_eq!(get().0, 0, "and the next try starts afresh");
    let (code, _, error) = run(&["brief", "-p", "1"]);
    assert!(code == 5 && error.contains("visor serve"), "{error}");
}

#[test]
fn a_ready_file_is_of_the_server_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, data) = (dir.path().join("ready"), dir.path().join("data"));
    std::fs::write(&ready, "http://stale:1\n").unwrap();
    let arguments = ["serve", "--listen", "192.0.2.1:1", "--data-dir"];
    let failed =
        visor().args(arguments).arg(&data).arg("--ready-file").arg(&ready).stderr(std::process::Stdio::null()).status();
    assert!(!failed.unwrap().success() && !ready.exists());
}

#[test]
fn flags_that_would_be_overlooked_are_refused() {
    let (code, _, error) = run(&["--listen", "127.0.0.1:0", "brief"]);
    assert!(code == 2 && error.contains("visor serve --listen"), "{error}");
    let (code, _, error) = run(&["serve", "--no-tls", "--config", "/nonexistent"]);
    assert!(code == 2 && error.contains("/nonexistent"), "{error}");
}

#[test]
fn completions_and_help() {
    let (code, script, _) = run(&["completions", "bash"]);
    assert!(code == 0 && script.contains("visor"));
    assert_eq!(run(&["--version"]).1.trim(), "visor 0.1.0");
    assert!(run(&["help", "add"]).1.contains("--file"));
    assert_eq!(run(&["frobnicate"]).0, 2);
}
