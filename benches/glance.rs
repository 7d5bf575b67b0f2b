//! Glance's image API with 10,000 images: registering beside the bare sync of an append, showing and listing beside an actix
//! handler that returns the same bytes, bytes in and out beside nginx.
//! `cargo bench --bench glance -- --rounds 5 --images 10000 --mib 1024`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use common::{
    Connection, MIB, Process, Sample, Spread, argument, at_once, bare, directory, measure, noise, send, syncs, warm,
};
use serde_json::{Value, json};

/// Requests of a kind in a round, over all clients.
const REQUESTS: usize = 8000;
const CREATES: usize = 1600;

/// Which images there are: one in forty is a vdi.
fn body(n: usize) -> Value {
    json!({
        "name": format!("image-{:05}", n * 7919 % 100_000),
        "disk_format": if n.is_multiple_of(40) { "vdi" } else { "qcow2" },
        "container_format": "bare",
        "visibility": "public",
        "tags": [format!("team-{}", n % 100)],
        "os_distro": "debian",
        "hw_disk_bus": "virtio",
    })
}

fn post(connection: &mut Connection, path: &str, body: &Value) -> Value {
    let text = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    connection.send_head(&head);
    serde_json::from_slice(&connection.answer()).unwrap()
}

fn main() {
    if bare::serve_if_asked() {
        return;
    }
    let (rounds, images, mib) = (argument("--rounds", 5), argument("--images", 10_000), argument("--mib", 1024));
    let dir = directory();
    let visor = Process::visor(&dir.path().join("data"));
    let began = Instant::now();
    at_once(&visor, 8, images, |connection, n| _ = post(connection, "/v2/images", &body(n)));
    println!("{images} images in {:.1} s\n", began.elapsed().as_secs_f64());
    let id = post(&mut visor.connect(), "/v2/images", &body(1))["id"].as_str().unwrap().to_owned();
    reads(&visor, &id, dir.path(), rounds);
    creates(&visor, dir.path(), rounds);
    drop(visor);
    bytes(dir.path(), rounds, mib);
}

fn reads(visor: &Process, id: &str, root: &Path, rounds: usize) {
    println!(
        "| requests a second | clients | Visor | bare handler | ratio | Visor CPU µs |\n|---|---|---|---|---|---|"
    );
    let one = format!("/v2/images/{id}");
    for (words, path) in [
        ("show by id", one.as_str()),
        ("list of 25 by name", "/v2/images?limit=25&sort=name:asc"),
        ("by name, one", "/v2/images?name=image-00000"),
        ("25 with a tag that one in a hundred has", "/v2/images?tag=team-7&limit=25"),
        ("25 of a format that one in forty has", "/v2/images?disk_format=vdi&limit=25"),
        ("25 with a property", "/v2/images?os_distro=debian&limit=25"),
    ] {
        let answer = visor.connect().raw("GET", path);
        let bare = Process::bare(root, &answer);
        for clients in [1, 8] {
            let run = |server: &Process| {
                measure(server, || at_once(server, clients, REQUESTS / 4, |c, _| _ = c.raw("GET", path)))
            };
            let samples: Vec<(Sample, Sample)> = (0..rounds).map(|_| (run(visor), run(&bare))).collect();
            let rate = |sample: &Sample| (REQUESTS / 4) as f64 / sample.seconds;
            println!(
                "| {words} | {clients} | {} | {} | {} | {} |",
                Spread::of(samples.iter().map(|(ours, _)| rate(ours))),
                Spread::of(samples.iter().map(|(_, theirs)| rate(theirs))),
                Spread::of(samples.iter().map(|(ours, theirs)| theirs.seconds / ours.seconds)),
                Spread::of(samples.iter().map(|(ours, _)| ours.cpu * 4e6 / REQUESTS as f64)),
            );
        }
    }
}

fn creates(visor: &Process, root: &Path, rounds: usize) {
    let clients = [1, 8];
    let (mut rates, mut bare) = (vec![Vec::new(); clients.len()], Vec::new());
    for _ in 0..rounds {
        bare.push(syncs(&root.join("syncs")));
        for (rates, clients) in rates.iter_mut().zip(clients) {
            let began = Instant::now();
            at_once(visor, clients, CREATES, |connection, n| _ = post(connection, "/v2/images", &body(n)));
            rates.push(CREATES as f64 / began.elapsed().as_secs_f64());
        }
    }
    println!("\n| durable | clients | a second | to the bare sync |\n|---|---|---|---|");
    println!("| append of 600 bytes and fdatasync | 1 | {} | 1 |", Spread::of(bare.clone()));
    for (rates, clients) in rates.iter().zip(clients) {
        let ratio = Spread::of(rates.iter().zip(&bare).map(|(rate, bare)| rate / bare));
        println!("| image create | {clients} | {} | {ratio} |", Spread::of(rates.clone()));
    }
}

/// Up and down, one client.
fn bytes(root: &Path, rounds: usize, mib: usize) {
    let block = noise(64 * MIB);
    let visor = Process::visor(&root.join("bytes"));
    let Some(nginx) = Process::nginx(root) else { return println!("\nThere is no nginx here.") };
    let mut all: [Vec<Sample>; 4] = Default::default();
    let put = || {
        let made =
            post(&mut visor.connect(), "/v2/images", &json!({ "disk_format": "raw", "container_format": "bare" }));
        let file = made["file"].as_str().unwrap().to_owned();
        let head = format!("PUT {file} HTTP/1.1\r\nContent-Type: application/octet-stream\r\n");
        (measure(&visor, || send(&visor, &head, &block, mib)), file)
    };
    for _ in 0..rounds {
        warm(&root.join("warm"), &block, mib);
        let (up, file) = put();
        let down = measure(&visor, || _ = visor.connect().download(&file, true));
        visor.connect().request("DELETE", file.trim_end_matches("/file"), "");
        warm(&root.join("warm"), &block, mib);
        let theirs_up = measure(&nginx, || send(&nginx, "PUT /put HTTP/1.1\r\n", &block, mib));
        let theirs_down = measure(&nginx, || _ = nginx.connect().download("/put", true));
        std::fs::remove_file(root.join("put")).unwrap();
        all.iter_mut().zip([up, theirs_up, down, theirs_down]).for_each(|(all, sample)| all.push(sample));
    }
    let gigabytes = (mib * MIB) as f64 / 1e9;
    println!("\n| {mib} MiB | Visor MB/s | nginx MB/s | ratio | Visor CPU-s/GB | nginx |\n|---|---|---|---|---|---|");
    for (words, pair) in [("upload, md5 and sha256, durable", &all[..2]), ("download right after it", &all[2..])] {
        let speed = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| gigabytes * 1e3 / sample.seconds));
        let cpu = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| sample.cpu / gigabytes));
        let ratio = Spread::of(pair[0].iter().zip(&pair[1]).map(|(ours, theirs)| theirs.seconds / ours.seconds));
        println!(
            "| {words} | {} | {} | {ratio} | {} | {} |",
            speed(&pair[0]),
            speed(&pair[1]),
            cpu(&pair[0]),
            cpu(&pair[1])
        );
    }
    std::io::stdout().flush().unwrap();
}
