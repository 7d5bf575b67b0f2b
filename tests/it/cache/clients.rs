//! Programs that people download with, through the door while a file comes in.

use std::process::Command;

use super::Lab;
use crate::harness::{noise, sha256};
use crate::upstream::File;

const SIZE: usize = 6 << 20;

/// Runs a program; false if this machine has none of that name.
fn run(dir: &std::path::Path, program: &str, arguments: &[&str]) -> bool {
    let done = match Command::new(program).args(arguments).current_dir(dir).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
        done => done.unwrap(),
    };
    assert!(done.status.success(), "{program}: {done:?}");
    true
}

/// Gets a file that comes slowly with a program, over a beginning that it has already, and compares.
fn fetches(seed: u64, program: &str, begun: bool, arguments: &[&str]) {
    let content = noise(seed, SIZE);
    let (lab, dir) = (Lab::start(), tempfile::tempdir().unwrap());
    lab.upstream.put("/f.img", File::new(content.clone()).at_rate(8 << 20).cut_at([SIZE * 6 / 10]));
    let target = dir.path().join("f.img");
    if begun {
        std::fs::write(&target, &content[..SIZE / 3]).unwrap();
    }
    let url = format!("http://{}{}", lab.server.address(), lab.upstream.door("/f.img"));
    let reader = std::thread::scope(|scope| {
        let other = scope.spawn(|| lab.read("/f.img", &[]));
        let ran = run(dir.path(), program, &[arguments, &[&url]].concat());
        (ran, other.join().unwrap())
    });
    reader.1.is_all_of(&content);
    if reader.0 {
        assert_eq!(sha256(&std::fs::read(&target).unwrap()), sha256(&content), "{program}");
    } else {
        eprintln!("there is no {program} here");
    }
    assert!(lab.upstream.sent("/f.img") <= (SIZE + 4 * (1 << 20)) as u64, "{program}: {}", lab.upstream.sent("/f.img"));
}

#[test]
fn curl_goes_on_with_a_file() {
    fetches(81, "curl", true, &["-fsS", "-C", "-", "-O"]);
}

#[test]
fn wget_goes_on_with_a_file() {
    fetches(82, "wget", true, &["-q", "-c"]);
}

#[test]
fn aria2_reads_in_eight_places_at_once() {
    let split = ["-q", "-x8", "-s8", "-k1M", "--min-split-size=1M", "--file-allocation=none", "-o", "f.img"];
    fetches(83, "aria2c", false, &split);
}
