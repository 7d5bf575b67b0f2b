//! LXD's images API beside a real LXD daemon, both over TLS, in the same run: an image until it is usable and out again, one image
//! by fingerprint, and all of them with everything. The daemon has to be run as root.
//! `cargo bench --bench lxd -- --rounds 3 --mib 512 --images 10000`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use common::lxd::{Daemon, Identity, Secure, wait_for};
use common::{MIB, Process, Spread, argument, directory, noise, warm};
use rustls::ClientConfig;

/// Requests of a kind in a round, over all clients.
const GETS: usize = 1600;

/// One of the two, as a client sees it.
struct Peer<'a> {
    address: SocketAddr,
    config: &'a Arc<ClientConfig>,
}

impl Peer<'_> {
    fn connect(&self) -> Secure {
        Secure::connect(self.address, self.config)
    }

    /// Imports an image of so many bytes that nobody has yet, and says what it is called.
    fn import(&self, block: &[u8], bytes: usize) -> String {
        let head = image_head(bytes);
        let mut connection = self.connect();
        // A whole number of blocks of the archive, and its end.
        connection.send("POST /1.0/images", &head, block, bytes);
        let done = connection.operation();
        done["fingerprint"].as_str().unwrap().to_owned()
    }

    fn delete(&self, fingerprint: &str) {
        let mut connection = self.connect();
        connection.send(&format!("DELETE /1.0/images/{fingerprint}"), b"", b"", 0);
        connection.operation();
    }

    /// A number of requests for the same, over connections that are kept. Returns how many were answered a second.
    fn gets(&self, path: &str, clients: usize, requests: usize) -> f64 {
        let each = |_| {
            let mut connection = self.connect();
            (0..requests / clients).for_each(|_| _ = connection.get(path));
        };
        requests as f64 / abreast(clients, each).1
    }
}

/// What each of so many clients does at the same time, and the seconds until the last has done it.
fn abreast<T: Send>(clients: usize, work: impl Fn(usize) -> T + Sync) -> (Vec<T>, f64) {
    let (work, began) = (&work, Instant::now());
    let done = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|client| scope.spawn(move || work(client))).collect();
        all.into_iter().map(|client| client.join().unwrap()).collect()
    });
    (done, began.elapsed().as_secs_f64())
}

/// The beginning of an archive of a container with one file of so many bytes. No two are the same.
fn image_head(bytes: usize) -> Vec<u8> {
    let yaml =
        format!("architecture: x86_64\ncreation_date: 1700000000\nproperties: {{id: {}}}\n", uuid::Uuid::new_v4());
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(yaml.len() as u64);
    archive.append_data(&mut header, "metadata.yaml", yaml.as_bytes()).unwrap();
    let mut head = archive.get_ref().clone();
    let mut header = tar::Header::new_ustar();
    header.set_path("rootfs/big").unwrap();
    header.set_size(bytes as u64);
    header.set_cksum();
    head.extend(header.as_bytes());
    head
}

fn main() {
    let (rounds, mib, images) = (argument("--rounds", 3), argument("--mib", 512), argument("--images", 10_000));
    let (dir, identity) = (directory(), Identity::new());
    let config = identity.config();
    let Some(daemon) = Daemon::start(dir.path(), &identity) else {
        return println!("There is no LXD here, or it can't be run.");
    };
    wait_for(daemon.address);
    let (visor, address) = Process::visor_tls(&dir.path().join("data"));
    let (ours, theirs) = (Peer { address, config: &config }, Peer { address: daemon.address, config: &config });
    bytes(&ours, &theirs, dir.path(), rounds, mib);
    one(&ours, &theirs, rounds);
    for count in [images / 10, images] {
        lists(&ours, &theirs, &daemon, rounds, count);
    }
    println!("\nVisor's memory at its peak: {:.0} MiB", visor.peak_mib());
}

fn bytes(ours: &Peer<'_>, theirs: &Peer<'_>, root: &std::path::Path, rounds: usize, mib: usize) {
    println!("| {mib} MiB each, MB/s together | clients | Visor | LXD | ratio |\n|---|---|---|---|---|");
    let block = noise(64 * MIB);
    for clients in [1, 8] {
        let speed = |seconds| (clients * mib) as f64 * 1.048_576 / seconds;
        let mut all: [[Vec<f64>; 2]; 3] = Default::default();
        for _ in 0..rounds {
            for (at, peer) in [ours, theirs].into_iter().enumerate() {
                warm(&root.join("warm"), &block, clients * mib);
                let (fingerprints, seconds) = abreast(clients, |_| peer.import(&block, mib * MIB));
                all[0][at].push(speed(seconds));
                let export =
                    |client: usize| peer.connect().get(&format!("/1.0/images/{}/export", fingerprints[client]));
                // The import may have taken long enough for the memory to be cold again. Then once from where it left the
                // image, which is the disk with Visor and memory with LXD, and once more.
                warm(&root.join("warm"), &block, clients * mib);
                all[1][at].push(speed(abreast(clients, export).1));
                all[2][at].push(speed(abreast(clients, export).1));
                fingerprints.iter().for_each(|fingerprint| peer.delete(fingerprint));
            }
        }
        for (words, [ours, theirs]) in ["import until usable", "export", "export again"].into_iter().zip(&all) {
            println!("| {words} | {clients} | {} | {} | {} |", spread(ours), spread(theirs), ratio(ours, theirs));
        }
    }
}

fn one(ours: &Peer<'_>, theirs: &Peer<'_>, rounds: usize) {
    let paths = [ours, theirs].map(|peer| format!("/1.0/images/{}", peer.import(b"x", 1)));
    println!("\n| get one, a second | clients | Visor | LXD | ratio |\n|---|---|---|---|---|");
    for clients in [1, 8] {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            a.push(ours.gets(&paths[0], clients, GETS * 4));
            b.push(theirs.gets(&paths[1], clients, GETS / 4));
        }
        println!("| by fingerprint | {clients} | {} | {} | {} |", spread(&a), spread(&b), ratio(&a, &b));
    }
}

fn lists(ours: &Peer<'_>, theirs: &Peer<'_>, daemon: &Daemon, rounds: usize, count: usize) {
    let have = |peer: &Peer<'_>| {
        let mut connection = peer.connect();
        connection.send("GET /1.0/images", b"", b"", 0);
        connection.json()["metadata"].as_array().unwrap().len()
    };
    std::thread::scope(|scope| {
        let missing = count.saturating_sub(have(ours));
        for client in 0..4 {
            scope.spawn(move || (0..(missing + client) / 4).for_each(|_| drop(ours.import(b"x", 1))));
        }
    });
    daemon.fill(have(theirs), count);
    for clients in [1, 8] {
        let timed = |peer: &Peer<'_>| {
            let (answers, seconds) = abreast(clients, |_| peer.connect().try_get("/1.0/images?recursion=1"));
            // LXD gives up on many.
            let refused = answers.iter().filter(|answer| answer.is_none()).count();
            if refused > 0 {
                println!("{refused} of {clients} were refused");
            }
            (answers.into_iter().flatten().max().unwrap_or_default(), seconds / clients as f64)
        };
        let (mut a, mut b, mut sizes) = (Vec::new(), Vec::new(), (0, 0));
        for _ in 0..rounds {
            let ((one, ours), (other, theirs)) = (timed(ours), timed(theirs));
            a.push(ours);
            b.push(theirs);
            sizes = (one, other);
        }
        println!(
            "\n{count} images with recursion=1, {clients} clients, seconds for each: Visor {} ({} KiB), LXD {} ({} KiB), {} \
             times as fast",
            spread(&a),
            sizes.0 >> 10,
            spread(&b),
            sizes.1 >> 10,
            ratio(&b, &a)
        );
    }
}

fn spread(values: &[f64]) -> Spread {
    Spread::of(values.iter().copied())
}

fn ratio(a: &[f64], b: &[f64]) -> Spread {
    Spread::of(a.iter().zip(b).map(|(a, b)| a / b))
}
