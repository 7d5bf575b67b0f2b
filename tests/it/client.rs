//! The commands that talk to a server: against ours, and against one that lies.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Server, eventually, noise, run, run_with, sha256, visor};

/// The objects of a command's `--json` output, a line each.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
}

/// Runs a command that has to succeed; its objects.
fn done(arguments: &[&str]) -> Vec<Value> {
    let (code, out, error) = run(&[&["--json"], arguments].concat());
    assert_eq!(code, 0, "{arguments:?}: {error}");
    objects(&out)
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_else(|| panic!("no {name}: {record}"))
}

#[test]
fn every_command_does_what_it_says() {
    let server = Server::start();
    let p = server.port();
    let dir = tempfile::tempdir().unwrap();
    let (file, save) = (dir.path().join("disk"), dir.path().join("out"));
    std::fs::create_dir(&save).unwrap();
    let body = noise(11, 3_000_000);
    std::fs::write(&file, &body).unwrap();
    let (file, save) = (file.to_str().unwrap(), save.to_str().unwrap());

    let made = &done(&["add", "name=Fünf Sterne ★", "architecture=amd64", "my-note=a=b", "-p", p])[0];
    let id = text(made, "_id");
    assert_eq!((text(made, "name"), text(made, "my_note"), text(made, "status")), ("Fünf Sterne ★", "a=b", "locked"));
    let with_file = &done(&["add", "name=disk", "architecture=i386", "format=raw", "--file", file, "-p", p])[0];
    let other = text(with_file, "_id");
    assert_eq!((text(with_file, "status"), &with_file["size"]), ("available", &3_000_000.into()));

    assert_eq!(done(&["brief", "-p", p, "--sort", "name"]).len(), 2);
    assert_eq!(done(&["brief", "-p", p, "--limit", "1"]).len(), 1);
    let found = done(&["detail", "-p", p, "-q", "name=Fünf Sterne ★"]);
    assert_eq!(found.iter().map(|one| text(one, "_id")).collect::<Vec<_>>(), [id]);
    assert_eq!(text(&done(&["head", id, "-p", p])[0], "name"), "Fünf Sterne ★");

    let saved = &done(&["get", other, "-p", p, "-S", save])[0];
    assert_eq!((text(saved, "verified"), &saved["size"]), ("sha256", &3_000_000.into()));
    assert!(std::fs::read(text(saved, "path")).unwrap() == body);

    // By name too; the file is called by the id.
    assert_eq!(text(&done(&["head", "Fünf Sterne ★", "-p", p])[0], "_id"), id);
    let link = &done(&["link", "disk", "-p", p])[0];
    assert!(text(link, "uri").contains(other), "{link}");
    for more in [&["--list"][..], &["--revoke", text(link, "_id")]] {
        assert_eq!(text(&done(&[&["link", "disk", "-p", p], more].concat())[0], "_id"), text(link, "_id"), "{more:?}");
    }
    let (_, _, refused) = run(&["get", "disk", "-p", p, "-S", save]);
    assert!(refused.contains(&format!("{other}.raw already exists")), "{refused}");
    std::fs::remove_file(text(saved, "path")).unwrap();
    assert_eq!(text(&done(&["get", "disk/i386", "-p", p, "-S", save])[0], "path"), text(saved, "path"));

    let updated = &done(&["update", id, "format=ami", "--file", file, "-p", p])[0];
    assert_eq!((text(updated, "status"), text(updated, "format")), ("available", "ami"));
    assert_eq!(text(&done(&["delete", id, "-p", p])[0], "_id"), id);
    assert_eq!(text(&done(&["delete", "-q", "name=disk", "-p", p])[0], "_id"), other);
    assert_eq!(run(&["brief", "-p", p]).0, 3);
}

#[test]
fn people_read_the_originals_words() {
    let server = Server::start();
    let p = server.port();
    let said = |arguments: &[&str], words: &[&str]| {
        let (code, out, error) = run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        words.iter().for_each(|word| assert!(out.contains(word), "no {word}: {out}"));
        out
    };
    let out = said(&["add", "name=a", "architecture=i386", "-p", p], &["Successfully added new metadata with ID "]);
    let id = out.split("with ID ").nth(1).unwrap()[..36].to_owned();
    said(&["brief", "-p", p, "-v"], &["Found 1 images records...", "ID  ", "ARCHITECTURE", &id, "Done in "]);
    said(&["detail", "-p", p], &["Found 1 images records...", "_ID: ", "STATUS: locked"]);
    said(&["update", &id, "os=linux", "-p", p, "-v"], &["Successfully updated image", "OS: linux"]);
    said(&["delete", &id, "-p", p], &["Successfully deleted image"]);
}

#[test]
fn dashes_are_standard_input_and_output() {
    let server = Server::start();
    let p = server.port();
    let dir = tempfile::tempdir().unwrap();
    let (path, body) = (dir.path().join("in"), noise(12, 2_000_001));
    std::fs::write(&path, &body).unwrap();
    let add = ["--json", "add", "name=a", "architecture=i386", "--file", "-", "-p", p];
    let (code, out, error) = run_with(&add, File::open(&path).unwrap());
    assert_eq!(code, 0, "{error}");
    let id = text(&objects(&out)[0], "_id").to_owned();
    let got = visor().args(["get", &id, "-S", "-", "-p", p]).output().unwrap();
    assert!(got.status.success() && got.stdout == body && got.stderr.is_empty());
    // Whoever has read enough is no failure, and nothing is said on the wrong stream.
    let mut child = visor().args(["get", &id, "-S", "-", "-p", p]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert!(!child.wait().unwrap().success(), "half a file is not the file");
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured("[upload]\nimage_max = \"1 KiB\"\n");
    let p = server.port();
    let file = dir.path().join("file");
    std::fs::write(&file, noise(1, 2000)).unwrap();
    let few = dir.path().join("few");
    std::fs::write(&few, "abc").unwrap();
    let (file, few) = (file.to_str().unwrap(), few.to_str().unwrap());
    let id = server.add("a", &[], b"bytes")["_id"].as_str().unwrap().to_owned();
    let nobody = "11111111-2222-4333-8444-555555555555";
    for (arguments, code, words) in [
        (vec!["head", nobody], 3, "No image found"),
        (vec!["get", nobody], 3, "No image found"),
        (vec!["delete", nobody], 3, "No image found"),
        (vec!["brief", "-q", "name=nothing"], 3, "No public images found"),
        // A name may have any character.
        (vec!["head", "a/../b"], 3, "No image found"),
        (vec!["get", "a/../b"], 3, "No image found"),
        (vec!["head", ".."], 1, "can't be the name of an image"),
        (vec!["update", "a/../b", "name=c"], 1, "not an image id"),
        (vec!["add", "architecture=i386"], 1, "name"),
        (vec!["add", "name=a", "architecture=vax"], 1, "architecture"),
        (vec!["add", "name"], 2, "name=value"),
        (vec!["add"], 2, "required"),
        (vec!["update", &id], 2, "nothing to change"),
        (vec!["update", &id, "--file", file], 8, "locked or error"),
        (vec!["add", "name=a", "architecture=i386", "--file", file], 6, "at most 1024 bytes"),
        (vec!["add", "name=a", "architecture=i386", "size=5", "--file", few], 4, "3 bytes, not 5"),
        (vec!["add", "name=a", "architecture=i386", "--file", "/nonexistent"], 1, "/nonexistent"),
        (vec!["add", "name=a", "architecture=i386", "--file", "/"], 1, "is a directory"),
        (vec!["get", &id, "-S", "/nonexistent"], 1, "not a directory"),
        (vec!["delete"], 2, "which images"),
    ] {
        let (got, out, error) = run(&[&arguments[..], &["-p", p]].concat());
        assert!(got == code && error.contains(words), "{arguments:?}: {got} {out} {error}");
        // For a program, the same as an object on standard error; data only on standard output.
        let (got, out, error) = run(&[&["--json"], &arguments[..], &["-p", p]].concat());
        assert_eq!((got, out.as_str()), (code, ""), "{arguments:?}");
        if code != 2 {
            assert_eq!(objects(&error)[0]["error"]["code"], code, "{error}");
        }
    }
    let made = run(&["--json", "account", "add", "me", "--data-dir", server.dir.to_str().unwrap()]);
    let (code, _, error) = run(&["brief", "-p", p]);
    assert!(code == 7 && error.contains("Authorization not provided"), "{error}");
    let keys = &objects(&made.1)[0];
    let mut signed = visor();
    signed.env("VISOR__CLIENT__ACCESS_KEY", text(keys, "access_key"));
    signed.env("VISOR__CLIENT__SECRET_KEY", text(keys, "secret_key"));
    let done = signed.args(["add", "name=ü", "architecture=i386", "-p", p]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn an_interrupted_upload_says_so_and_leaves_nothing() {
    let server = Server::start();
    let mut child = visor()
        .args(["add", "name=a", "architecture=i386", "--file", "-", "-p", server.port()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(1, 2_000_000)).unwrap();
    eventually("the upload has begun", || !server.names("").is_empty());
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    // Standard input stays open: nobody has to press Enter.
    let input = child.stdin.take();
    let done = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(done.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&done.stderr).contains("interrupted"));
    eventually("nothing is left", || server.names("").is_empty() && server.files() == (vec![], vec![]));
}

/// A server that gives each request, by its method, a fixed answer.
fn liar(head: String, get: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut first = String::new();
            let _ = stream.read_line(&mut first);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = if first.starts_with("HEAD") { head.as_bytes() } else { &get[..] };
            let _ = stream.get_mut().write_all(answer);
        }
    });
    port
}

#[test]
fn a_server_that_lies_is_found_out() {
    const ID: &str = "11111111-2222-4333-8444-555555555555";
    let meta = "x-image-meta-status: available\r\nx-image-meta-format: ../../evil\r\nConnection: close\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{meta}Content-Length: 10\r\n\r\n");
    let get =
        |more: &str, body: &str| liar(head.clone(), format!("HTTP/1.1 200 OK\r\n{meta}{more}\r\n{body}").into_bytes());
    let right = format!("Content-Length: 10\r\nETag: \"{}\"\r\n", sha256(b"0123456789"));
    let wrong = format!("Content-Length: 10\r\nETag: \"{}\"\r\n", sha256(b"other"));
    for (port, code, words, left) in [
        (get(&right, "0123456789"), 0, "", vec![format!("{ID}.none")]),
        (get(&right, "01234"), 5, "broke off", vec![format!("{ID}.none.part"), format!("{ID}.none.part.etag")]),
        (get(&wrong, "0123456789"), 4, "sha256 mismatch", vec![]),
        (liar(head.clone(), b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec()), 1, "500", vec![]),
        (liar("SSH-2.0-OpenSSH\r\n".into(), b"SSH-2.0-OpenSSH\r\n".to_vec()), 5, "broke off", vec![]),
        (liar(String::new(), Vec::new()), 5, "broke off", vec![]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (got, out, error) = run(&["get", ID, "-p", &port, "-S", dir.path().to_str().unwrap()]);
        assert!(got == code && error.contains(words), "{got} {out} {error}");
        let mut files: Vec<String> =
            dir.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, left, "{error}");
    }
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_vec();
    let (code, _, error) = run(&["brief", "-p", &liar(String::new(), page)]);
    assert!(code == 1 && error.contains("not VISOR's"), "{error}");
}

/// The id of the only image, once it is being uploaded, and how much of it is there. Asking takes the upload from whoever
/// writes to it, as another client would.
fn taken_over(server: &Server) -> (String, u64) {
    let mut id = String::new();
    eventually("an upload has begun", || {
        let list = server.get("/images");
        id = if list.status == 200 {
            list.json()["images"][0]["_id"].as_str().unwrap().to_owned()
        } else {
            String::new()
        };
        !id.is_empty()
    });
    let head = server.send("HEAD", &format!("/uploads/{id}"), &[], b"");
    assert_eq!(head.header("upload-complete"), Some("?0"), "{head:?}");
    (id, head.header("upload-offset").unwrap().parse().unwrap())
}

#[test]
fn large_files_go_on_where_they_were() {
    let server = Server::start();
    let place = tempfile::tempdir().unwrap();
    let (file, cache) = (place.path().join("large"), place.path().join("cache"));
    let mut bytes = noise(9, 1 << 20).repeat(66);
    bytes.extend(noise(10, 12_345));
    std::fs::write(&file, &bytes).unwrap();
    let add = || {
        let mut command = visor();
        command.env("XDG_CACHE_HOME", &cache).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.args(["--json", "add", "name=large", "architecture=i386", "-p", server.port(), "--file"]).arg(&file);
        command.spawn().unwrap()
    };
    // Taken from it, it waits a moment and goes on; until it is interrupted.
    let child = add();
    let (id, _) = taken_over(&server);
    // Written right behind the beginning; what is interrupted before that is not remembered.
    eventually("the upload is noted", || {
        std::fs::read_dir(cache.join("visor/uploads")).is_ok_and(|dir| dir.count() == 1)
    });
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&done.stderr).contains("continue a large file where it stopped"));
    assert_eq!(std::fs::read_dir(cache.join("visor/uploads")).unwrap().count(), 1);

    // Called again it goes on with the same upload, and once more after that was taken from it.
    let child = add();
    let (same, _) = taken_over(&server);
    assert_eq!(same, id);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let record: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((record["_id"].as_str(), record["size"].as_u64()), (Some(&*id), Some(bytes.len() as u64)));
    assert_eq!(record["checksum"].as_str(), Some(&*crate::harness::md5(&bytes)));
    assert_eq!(server.names(""), ["large"]);
    assert_eq!(std::fs::read_dir(cache.join("visor/uploads")).unwrap().count(), 0, "nothing is left to be remembered");

    // And the same for an image that is there, without a cache.
    let there = server.add("there", &[], b"")["_id"].as_str().unwrap().to_owned();
    let (code, _, error) = run(&["update", &there, "--file", file.to_str().unwrap(), "-p", server.port()]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(server.get(&format!("/images/{there}")).body.len(), bytes.len());
}
