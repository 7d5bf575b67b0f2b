//! Small requests: images of 64 KiB beside nginx, a record beside an actix handler that returns the same bytes and knows
//! nothing, and what a server that has nothing to do costs. `cargo bench --bench requests -- --rounds 5`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Process, Sample, Spread, argument, at_once, bare, directory, measure, noise};

/// Small files, so many that no cache of one helps.
const FILES: usize = 200;
const FILE_BYTES: usize = 64 << 10;

/// Requests of a kind in a round, over all clients.
const REQUESTS: usize = 20_000;

fn main() {
    if bare::serve_if_asked() {
        return;
    }
    let rounds = argument("--rounds", 5);
    let dir = directory();
    starts(&dir.path().join("empty"), rounds);
    let visor = Process::visor(&dir.path().join("data"));
    let files: Vec<String> = (0..FILES).map(|n| add(&visor, n)).collect();
    small_files(&visor, &files, dir.path(), rounds);
    records(&visor, &files[0], dir.path(), rounds);
}

/// From the command to the first answer with an empty catalogue, and the memory after it.
fn starts(data: &Path, rounds: usize) {
    let samples: Vec<(f64, f64)> = (0..rounds * 3)
        .map(|_| {
            let began = Instant::now();
            let server = Process::visor(data);
            server.connect().request("GET", "/status", "");
            (began.elapsed().as_secs_f64() * 1e3, server.resident_mib())
        })
        .collect();
    let (times, memory) = (samples.iter().map(|sample| sample.0), samples.iter().map(|sample| sample.1));
    println!(
        "From the command to the first answer: {} ms; resident then: {} MiB\n",
        Spread::of(times),
        Spread::of(memory)
    );
}

/// Adds a small image, and puts the same file where nginx finds it. Returns its path.
fn add(visor: &Process, n: usize) -> String {
    let mut bytes = noise(FILE_BYTES);
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    let mut connection = visor.connect();
    let socket = connection.send_head(&format!(
        "POST /images HTTP/1.1\r\nHost: localhost\r\nx-image-meta-name: small\r\nx-image-meta-architecture: x86_64\r\n\
         x-image-meta-access: public\r\nContent-Type: application/octet-stream\r\nContent-Length: {FILE_BYTES}\r\n\r\n"
    ));
    std::io::Write::write_all(socket, &bytes).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&connection.answer()).unwrap();
    format!("/images/{}", answer["image"]["_id"].as_str().unwrap())
}

fn small_files(visor: &Process, files: &[String], root: &Path, rounds: usize) {
    let Some(nginx) = Process::nginx(root) else { return };
    for path in files {
        let to = root.join(&path[1..]);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, visor.connect().request("GET", path, "")).unwrap();
    }
    println!("| 64 KiB files, clients | Visor requests/s | nginx requests/s | ratio | Visor CPU µs | nginx CPU µs |");
    println!("|---|---|---|---|---|---|");
    for clients in [8, 64] {
        compare(&clients.to_string(), rounds, [visor, &nginx], |server| {
            measure(server, || {
                at_once(server, clients, REQUESTS, |connection, n| _ = connection.download(&files[n % FILES], true))
            })
        });
    }
}

fn records(visor: &Process, image: &str, root: &Path, rounds: usize) {
    println!(
        "\n| a record, 8 clients | Visor requests/s | bare handler requests/s | ratio | Visor CPU µs | bare CPU µs |"
    );
    println!("|---|---|---|---|---|---|");
    let list = format!("/images?_id={}", &image["/images/".len()..]);
    for (words, method, path) in [("show by id, as JSON", "GET", list.as_str()), ("head by id", "HEAD", image)] {
        let answer = visor.connect().raw(method, path);
        let bare = Process::bare(root, &answer);
        compare(words, rounds, [visor, &bare], |server| {
            measure(server, || at_once(server, 8, REQUESTS, |connection, _| _ = connection.raw(method, path)))
        });
    }
}

/// Runs both in turn and prints a line.
fn compare(words: &str, rounds: usize, servers: [&Process; 2], run: impl Fn(&Process) -> Sample) {
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (samples, server) in samples.iter_mut().zip(servers) {
            samples.push(run(server));
        }
    }
    let [ours, theirs] = &samples;
    let rate = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| REQUESTS as f64 / sample.seconds));
    let cpu = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| sample.cpu * 1e6 / REQUESTS as f64));
    let ratio = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| theirs.seconds / ours.seconds));
    println!("| {words} | {} | {} | {ratio} | {} | {} |", rate(ours), rate(theirs), cpu(ours), cpu(theirs));
}
