//! Commands beside a server, and pulls through one: how they end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::lab::{Lab, said, succeeds};
use crate::harness::{eventually, qcow2, visor};
use crate::upstream::File;

/// Sends a signal to a process.
fn send(signal: &str, to: &Child) {
    let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {}", to.id())]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_command_runs_beside_a_server() {
    let lab = Lab::new();
    lab.publish(&[("20260101", &qcow2(b"a"))]);
    succeeds(&lab.pull(&["test/1"]));
    let script = "test -n \"$VISOR_URL\" && echo \"at $VISOR_URL\"; exit 7";
    let done = visor().arg("run").args(lab.places()).args(["--", "/bin/sh", "-c", script]).output().unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", said(&done));
    assert!(said(&done).contains("at http://127.0.0.1:"), "{}", said(&done));
    assert!(!lab.data().join("server.json").exists(), "the server has ended");
}

#[test]
fn a_server_ends_with_the_command_that_began_it() {
    let lab = Lab::new();
    let mut run = visor().arg("run").args(lab.places()).args(["--", "/bin/sleep", "5"]).spawn().unwrap();
    crate::harness::eventually("the server is there", || lab.data().join("server.json").exists());
    run.kill().unwrap();
    run.wait().unwrap();
    crate::harness::eventually("the server has ended", || !lab.data().join("server.json").exists());
    succeeds(&lab.run(&["lock"]));
}

#[test]
fn a_signal_ends_the_command_and_then_the_server() {
    let lab = Lab::new();
    let (server, ready, last) =
        (lab.data().join("server.json"), lab.dir.path().join("ready"), lab.dir.path().join("last"));
    // It waits for the signal as long as the test does, writes whether the server is there, and ends with a code for the signal.
    let ending = |signal: &str, code: u8| {
        format!("trap 'test -e {} && echo there > {}; exit {code}' {signal};", server.display(), last.display())
    };
    let script = [ending("TERM", 11), ending("HUP", 12), ending("QUIT", 13)].concat();
    let script = format!("{script} touch {}; while :; do sleep 0.1; done", ready.display());
    for (signal, code) in [("TERM", 11), ("HUP", 12), ("QUIT", 13)] {
        let mut run = visor().arg("run").args(lab.places()).args(["--", "/bin/sh", "-c", &script]).spawn().unwrap();
        eventually("the command runs", || ready.exists());
        send(signal, &run);
        assert_eq!(run.wait().unwrap().code(), Some(code), "{signal}");
        assert_eq!(std::fs::read_to_string(&last).unwrap().trim(), "there", "the server ends last");
        assert!(!server.exists(), "the server has ended");
        std::fs::remove_file(&ready).unwrap();
        std::fs::remove_file(&last).unwrap();
    }
}

#[test]
fn a_command_that_does_not_exist_has_the_code_of_shells() {
    let lab = Lab::new();
    for (command, code, words) in [
        ("nosuchcommand", 127, "there is no such command in the folders of PATH"),
        ("./nosuchcommand", 127, "there is no such command"),
        ("/dev/null", 126, "may not run it"),
    ] {
        let done = visor().arg("run").args(lab.places()).args(["--", command]).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{}", said(&done));
        assert!(said(&done).contains(words) && !said(&done).contains("os error"), "{}", said(&done));
    }
}

#[test]
fn an_interrupted_pull_says_which_job_goes_on() {
    let lab = Lab::new();
    let bytes = qcow2(&[7; 300_000]);
    lab.publish(&[("20260101", &bytes)]);
    lab.upstream.put(&Lab::image("20260101"), File::new(&*bytes).held_at(100_000));
    let server = lab.server();
    let mut pull =
        visor().args(["pull", "--arch", "x86_64", "test/1"]).args(lab.places()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(pull.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("filling") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended");
    }
    send("INT", &pull);
    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    assert_eq!(pull.wait().unwrap().code(), Some(130), "{text}");
    let id = text
        .split("visor jobs stop ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(text.contains(&format!("the server goes on with the job {id}")), "{text}");
    // By the data directory alone.
    succeeds(&lab.run(&["jobs", "stop", id]));
    drop(server);
}
