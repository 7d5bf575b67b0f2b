//! Uploads beside a plain copy of the same bytes on the same disk, and beside nginx's `PUT`, which neither hashes nor
//! syncs; and the memory of many uploads at once. `cargo bench --bench upload -- --rounds 5 --mib 512`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{MIB, Process, Sample, Spread, argument, cpu_of_children, directory, measure, noise, send, warm};

/// A piece of work to be measured each round.
type Work<'a> = Box<dyn Fn() -> Sample + 'a>;

fn main() {
    let (rounds, mib) = (argument("--rounds", 5), argument("--mib", 512));
    let dir = directory();
    let block = noise(64 * MIB);
    let source = dir.path().join("source");
    {
        let mut file = File::create(&source).unwrap();
        (0..mib / 64).for_each(|_| file.write_all(&block).unwrap());
        file.sync_all().unwrap();
    }
    let visor = Process::visor(&dir.path().join("data"));
    let nginx = Process::nginx(dir.path());
    let copy = dir.path().join("copy");
    let mut works: Vec<(&str, Work<'_>)> = vec![
        ("Visor, 1 upload", Box::new(|| uploads(&visor, &block, mib, 1))),
        ("Visor, 8 uploads", Box::new(|| uploads(&visor, &block, mib / 8, 8))),
        ("cp + fsync", Box::new(|| copied(&source, &copy, &[]))),
        ("cp + fsync, md5sum, sha256sum beside", Box::new(|| copied(&source, &copy, &["md5sum", "sha256sum"]))),
    ];
    if let Some(nginx) = &nginx {
        works.push(("nginx PUT, 1 upload", Box::new(|| put(nginx, &block, mib, 1, dir.path()))));
        works.push(("nginx PUT, 8 uploads", Box::new(|| put(nginx, &block, mib / 8, 8, dir.path()))));
    }
    let mut samples = vec![Vec::new(); works.len()];
    for _ in 0..rounds {
        for ((_, work), samples) in works.iter().zip(&mut samples) {
            warm(&dir.path().join("warm"), &block, mib);
            samples.push(work());
        }
    }
    let gigabytes = (mib * MIB) as f64 / 1e9;
    println!(
        "| work, {mib} MiB | MB/s | CPU-s/GB | speed of 1 upload to Visor, to this | of 8 |\n|---|---|---|---|---|"
    );
    for ((name, _), theirs) in works.iter().zip(&samples) {
        let speed = Spread::of(theirs.iter().map(|sample| gigabytes * 1000.0 / sample.seconds));
        let cpu = Spread::of(theirs.iter().map(|sample| sample.cpu / gigabytes));
        let ratio =
            |ours: &[Sample]| Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| theirs.seconds / ours.seconds));
        println!("| {name} | {speed} | {cpu} | {} | {} |", ratio(&samples[0]), ratio(&samples[1]));
    }
    drop(works);
    drop(visor);
    for delay in [1, 5] {
        on_a_slow_disk(&dir.path().join(format!("slow{delay}")), &block, delay, (rounds, mib));
    }

    let fresh = Process::visor(&dir.path().join("fresh"));
    let idle = fresh.peak_mib();
    uploads(&fresh, &block, 1024, 8);
    println!("\nPeak memory: {:.0} MiB after 8 uploads of 1 GiB at once, {idle:.0} MiB before", fresh.peak_mib());
    drop(fresh);

    let busy = Process::visor(&dir.path().join("busy"));
    let path = add(&busy, &block);
    let idle = busy.peak_mib();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..16).for_each(|_| _ = busy.connect().download(&path, true)));
        }
        uploads(&busy, &block, 1024, 8);
    });
    println!(
        "Peak memory: {:.0} MiB after the same beside 8 downloads of 1 GiB, {idle:.0} MiB before",
        busy.peak_mib()
    );
}

/// Uploads to a disk that answers each write so many milliseconds later, in turn with uploads to the same disk as it is. A copy
/// through the page cache does not wait for such answers.
fn on_a_slow_disk(data: &Path, block: &[u8], delay: usize, (rounds, mib): (usize, usize)) {
    let Some(slow) = Process::visor_slowed(data, delay) else { return };
    let fast = Process::visor(&data.with_extension("fast"));
    for (clients, each) in [(1, mib), (8, mib / 8)] {
        let (mut slowed, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (slow, fast) = (uploads(&slow, block, each, clients), uploads(&fast, block, each, clients));
            slowed.push((mib * MIB) as f64 / 1e6 / slow.seconds);
            ratios.push(fast.seconds / slow.seconds);
        }
        let (speed, ratio) = (Spread::of(slowed), Spread::of(ratios));
        println!("{clients} uploads, each write answered {delay} ms later: {speed} MB/s, {ratio} of the disk as it is");
    }
}

/// Adds an image and returns the path of its bytes.
fn add(visor: &Process, block: &[u8]) -> String {
    let mut connection = visor.connect();
    let head = "POST /images HTTP/1.1\r\nHost: localhost\r\nx-image-meta-name: read\r\nx-image-meta-architecture: i386\r\n\
                Content-Type: application/octet-stream\r\n";
    let socket = connection.send_head(&format!("{head}Content-Length: {}\r\n\r\n", block.len()));
    socket.write_all(block).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&connection.answer()).unwrap();
    format!("/images/{}", answer["image"]["_id"].as_str().unwrap())
}

/// Sends so many MiB as each of several new images at the same time, then removes them.
fn uploads(visor: &Process, block: &[u8], mib: usize, clients: usize) -> Sample {
    let sample = measure(visor, || {
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let head = "POST /images HTTP/1.1\r\nx-image-meta-name: image\r\nx-image-meta-architecture: i386\r\n\
                                Content-Type: application/octet-stream\r\n";
                    send(visor, head, block, mib);
                });
            }
        });
    });
    visor.connect().request("DELETE", "/all", "x-visor-confirm: all\r\n");
    sample
}

fn put(nginx: &Process, block: &[u8], mib: usize, clients: usize, root: &Path) -> Sample {
    let sample = measure(nginx, || {
        std::thread::scope(|scope| {
            for client in 0..clients {
                scope.spawn(move || send(nginx, &format!("PUT /put{client} HTTP/1.1\r\n"), block, mib));
            }
        });
    });
    (0..clients).for_each(|client| std::fs::remove_file(root.join(format!("put{client}"))).unwrap());
    sample
}

/// Copies a file and makes it durable, with programs that read it at the same time.
fn copied(source: &Path, copy: &Path, beside: &[&str]) -> Sample {
    let (began, cpu) = (Instant::now(), cpu_of_children());
    let others: Vec<_> =
        beside.iter().map(|name| Command::new(name).arg(source).stdout(Stdio::null()).spawn().unwrap()).collect();
    let done = Command::new("cp").args([Path::new("--reflink=never"), source, copy]).status().unwrap();
    assert!(done.success());
    File::open(copy).unwrap().sync_all().unwrap();
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    let sample = Sample { seconds: began.elapsed().as_secs_f64(), cpu: cpu_of_children() - cpu };
    std::fs::remove_file(copy).unwrap();
    sample
}
