//! Downloads of one large image beside nginx (`sendfile on`, two workers), which is the measure for sending files:
//! throughput, and processor seconds of the server per GB. `cargo bench --bench download -- --rounds 5 --mib 1024`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::path::Path;

use common::{MIB, Process, Sample, Spread, argument, directory, measure, noise};

fn main() {
    let (rounds, mib) = (argument("--rounds", 5), argument("--mib", 1024));
    let dir = directory();
    let block = noise(64 * MIB);
    let file = dir.path().join("image");
    {
        use std::io::Write;
        let mut file = std::fs::File::create(&file).unwrap();
        (0..mib / 64).for_each(|_| file.write_all(&block).unwrap());
    }
    let visor = Process::visor(&dir.path().join("data"));
    let path = add(&visor, &file);
    let nginx = Process::nginx(dir.path());
    // Both copies into the page cache: the disk is not what is compared.
    visor.connect().download(&path, false);
    if let Some(nginx) = &nginx {
        nginx.connect().download("/image", false);
    }
    println!("| clients | client | server | GB/s | CPU-s/GB |\n|---|---|---|---|---|");
    for clients in [1, 8, 64] {
        for copying in [false, true] {
            // The same bytes for each number of clients, so that a row takes about as long as any other.
            let each = (16 / clients).max(1);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                ours.push(run(&visor, &path, clients, each, copying));
                if let Some(nginx) = &nginx {
                    theirs.push(run(nginx, "/image", clients, each, copying));
                }
            }
            let gigabytes = (clients * each * mib * MIB) as f64 / 1e9;
            report(clients, copying, "Visor", &ours, gigabytes);
            if !theirs.is_empty() {
                report(clients, copying, "nginx", &theirs, gigabytes);
                let ratio = |pick: fn(&Sample) -> f64| {
                    Spread::of(ours.iter().zip(&theirs).map(|(ours, theirs)| pick(ours) / pick(theirs)))
                };
                let speed = Spread::of(ours.iter().zip(&theirs).map(|(o, t)| t.seconds / o.seconds));
                println!("| {clients} | {} | **ratio** | {speed} | {} |", kind(copying), ratio(|s| s.cpu));
            }
        }
    }
    println!("\nVisor's peak memory: {:.0} MiB", visor.peak_mib());
}

fn kind(copying: bool) -> &'static str {
    if copying { "copying" } else { "discarding" }
}

fn report(clients: usize, copying: bool, who: &str, samples: &[Sample], gigabytes: f64) {
    let speed = Spread::of(samples.iter().map(|sample| gigabytes / sample.seconds));
    let cpu = Spread::of(samples.iter().map(|sample| sample.cpu / gigabytes));
    println!("| {clients} | {} | {who} | {speed} | {cpu} |", kind(copying));
}

fn run(server: &Process, path: &str, clients: usize, each: usize, copying: bool) -> Sample {
    measure(server, || {
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let mut connection = server.connect();
                    (0..each).for_each(|_| _ = connection.download(path, copying));
                });
            }
        });
    })
}

/// Adds the file as an image and returns the path of its bytes.
fn add(visor: &Process, file: &Path) -> String {
    let mut connection = visor.connect();
    let length = file.metadata().unwrap().len();
    let socket = connection.send_head(&format!(
        "POST /images HTTP/1.1\r\nHost: localhost\r\nx-image-meta-name: image\r\n\
         x-image-meta-architecture: x86_64\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    ));
    std::io::copy(&mut std::fs::File::open(file).unwrap(), socket).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&connection.answer()).unwrap();
    format!("/images/{}", answer["image"]["_id"].as_str().unwrap())
}
