//! The image cache beside nginx's `proxy_cache`, in front of one upstream server: hits, and the first bytes of a file that nobody had
//! asked for before. `cargo bench --bench cache -- --rounds 5 --mib 512`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{MIB, Process, Sample, Spread, argument, at_once, directory, measure, noise, quantile};

/// Clients of a classroom.
const CLASS: usize = 30;

/// Rate of the slow upstream server, in bytes a second.
const SLOW_RATE: usize = 4 * MIB;

/// Size of a file of the slow upstream server: it takes two seconds.
const SLOW_BYTES: usize = 8 * MIB;

/// Two servers that keep what they bring from a third.
struct Caches {
    visor: Process,
    nginx: Process,
    upstream: Process,
}

impl Caches {
    /// Path of a file at Visor's door.
    fn door(&self, file: &str) -> String {
        format!("/cache/http/{}/{file}", self.upstream.address)
    }
}

fn main() {
    let (rounds, mib) = (argument("--rounds", 5), argument("--mib", 512));
    let dir = directory();
    let Some(caches) = open(dir.path()) else { return println!("There is no nginx here to compare with.") };
    hits(&caches, dir.path(), rounds, mib);
    small_hits(&caches, dir.path(), rounds);
    first_bytes(&caches, dir.path(), rounds);
    dead_upstream(&caches, dir.path());
    println!("\nVisor's peak memory: {:.0} MiB", caches.visor.peak_mib());
}

fn open(dir: &Path) -> Option<Caches> {
    let files = dir.join("files");
    std::fs::create_dir_all(files.join("slow")).unwrap();
    let slow = format!("location /slow/ {{ limit_rate {SLOW_RATE}; }} root {};", files.display());
    let upstream = Process::nginx_as(dir, "upstream", "", &slow)?;
    let nginx = Process::nginx_cache(dir, upstream.address)?;
    let config = dir.join("visor.toml");
    // The upstream server speaks plain HTTP, and has nothing to check against.
    std::fs::write(&config, "[cache]\nrequire = \"none\"\n[fetch]\nallow = [\"127.0.0.0/8\"]\n").unwrap();
    Some(Caches { visor: Process::visor_configured(&dir.join("data"), &config), nginx, upstream })
}

/// Whole files that both caches have.
fn hits(caches: &Caches, dir: &Path, rounds: usize, mib: usize) {
    let block = noise(64 * MIB);
    let bytes: Vec<u8> = block.iter().copied().cycle().take(mib * MIB).collect();
    std::fs::write(dir.join("files/image-1.qcow2"), bytes).unwrap();
    let door = caches.door("image-1.qcow2");
    caches.visor.connect().download(&door, false);
    caches.nginx.connect().download("/image-1.qcow2", false);
    println!("| hits of {mib} MiB, clients | server | GB/s | CPU-s/GB |\n|---|---|---|---|");
    for clients in [1, 8, 64] {
        let each = (16 / clients).max(1);
        let run = |server: &Process, path: &str| {
            measure(server, || {
                at_once(server, clients, clients * each, |connection, _| _ = connection.download(path, false))
            })
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(run(&caches.visor, &door));
            theirs.push(run(&caches.nginx, "/image-1.qcow2"));
        }
        let gigabytes = (clients * each * mib * MIB) as f64 / 1e9;
        report(clients, &ours, &theirs, gigabytes);
    }
}

/// Files of 64 KiB that both caches have: what a request costs.
fn small_hits(caches: &Caches, dir: &Path, rounds: usize) {
    std::fs::write(dir.join("files/small-1.img"), noise(64 << 10)).unwrap();
    let door = caches.door("small-1.img");
    caches.visor.connect().download(&door, false);
    caches.nginx.connect().download("/small-1.img", false);
    println!("\n| hits of 64 KiB, clients | server | thousand/s | CPU-s/thousand |\n|---|---|---|---|");
    for clients in [8, 64] {
        let run = |server: &Process, path: &str| {
            measure(server, || at_once(server, clients, 6400, |connection, _| _ = connection.download(path, false)))
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(run(&caches.visor, &door));
            theirs.push(run(&caches.nginx, "/small-1.img"));
        }
        report(clients, &ours, &theirs, 6.4);
    }
}

fn report(clients: usize, ours: &[Sample], theirs: &[Sample], amount: f64) {
    for (who, samples) in [("Visor", ours), ("nginx", theirs)] {
        let speed = Spread::of(samples.iter().map(|sample| amount / sample.seconds));
        let cpu = Spread::of(samples.iter().map(|sample| sample.cpu / amount));
        println!("| {clients} | {who} | {speed} | {cpu} |");
    }
    let speed = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| theirs.seconds / ours.seconds));
    let cpu = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu / theirs.cpu));
    println!("| {clients} | **ratio** | {speed} | {cpu} |");
}

/// A class that asks for a new file at once: how long until each has its first byte, beside one client of the upstream server itself.
fn first_bytes(caches: &Caches, dir: &Path, rounds: usize) {
    println!("\n| first byte of a new file, ms | first client | last of {CLASS} |\n|---|---|---|");
    let (mut direct, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let file = format!("slow/new-{round}.img");
        std::fs::write(dir.join("files").join(&file), noise(SLOW_BYTES)).unwrap();
        direct.push(class(&caches.upstream, &format!("/{file}"), 1));
        ours.push(class(&caches.visor, &caches.door(&file), CLASS));
        theirs.push(class(&caches.nginx, &format!("/{file}"), CLASS));
    }
    for (who, rounds) in [("upstream, one client", direct), ("Visor", ours), ("nginx", theirs)] {
        let pick =
            |share: f64| Spread::of(rounds.iter().map(|waits| quantile(&mut waits.clone(), share)).collect::<Vec<_>>());
        println!("| {who} | {} | {} |", pick(0.0), pick(1.0));
    }
}

/// Milliseconds until the first byte of each of some clients.
fn class(server: &Process, path: &str, clients: usize) -> Vec<f64> {
    let connections: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let waits = connections.into_iter().map(|connection| {
            scope.spawn(move || {
                connection.first_byte(path);
                began.elapsed().as_secs_f64() * 1e3
            })
        });
        let waits: Vec<_> = waits.collect();
        waits.into_iter().map(|wait| wait.join().unwrap()).collect()
    })
}

/// A server that no longer answers: how long its stale copies take.
fn dead_upstream(caches: &Caches, dir: &Path) {
    let file = "current/moving.img";
    std::fs::create_dir_all(dir.join("files/current")).unwrap();
    std::fs::write(dir.join("files").join(file), noise(64 << 10)).unwrap();
    let door = caches.door(file);
    caches.visor.connect().download(&door, true);
    // The shortest time for which a copy is fresh.
    let refresh = "Cache-Control: no-cache\r\n";
    std::thread::sleep(Duration::from_secs(6));
    caches.upstream.halt(true);
    let ask = || {
        let began = Instant::now();
        caches.visor.connect().request("GET", &door, refresh);
        began.elapsed().as_secs_f64() * 1e3
    };
    let first = ask();
    let mut next: Vec<f64> = (0..200).map(|_| ask()).collect();
    caches.upstream.halt(false);
    let (median, most) = (quantile(&mut next, 0.5), quantile(&mut next, 1.0));
    println!(
        "\nStale copies of a dead upstream server, ms: first {first:.0}, then median {median:.2}, at most {most:.2}"
    );
}
