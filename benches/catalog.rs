//! Metadata: pages of a list at three sizes of the catalogue, durable creates, start and rebuild, and memory, all over
//! HTTP against the real program. `cargo bench --bench catalog -- --rounds 5 --images 100000`. With `--keep DIR` what was loaded
//! stays there, and the next run goes on with it: a million images take their time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Process, Spread, argument, directory, own_peak_mib, quantile, syncs, text};
use futures_util::StreamExt;
use visor::catalog::Catalog;
use visor::config::DataDir;
use visor::image::{Architecture, Format, Image, ImageId, Timestamp, Visibility};

/// What a page is asked for, and in words. `MARKER` is the id of an image in the middle.
const PAGES: [(&str, &str); 6] = [
    ("architecture = half of all, newest first", "architecture=x86_64&sort=created_at&dir=desc&limit=20"),
    ("the same, from the middle", "architecture=x86_64&sort=created_at&dir=desc&limit=20&marker=MARKER"),
    ("architecture = half of all, by name", "architecture=x86_64&sort=name&limit=20"),
    ("format = one in forty, newest first", "format=vdi&sort=created_at&dir=desc&limit=20"),
    ("format = one in forty, by name", "format=vdi&sort=name&limit=20"),
    ("name = one", "name=image-0000000&limit=20"),
];

/// Requests of a kind in a round.
const REQUESTS: usize = 400;

fn main() {
    let (rounds, most) = (argument("--rounds", 5), argument("--images", 100_000));
    let sizes = [1000, most / 10, most];
    let (dir, kept) = (directory(), text("--keep"));
    let place = kept.as_deref().map_or(dir.path(), Path::new);
    println!(
        "| images | load (in process) | peak memory | start | rebuild | peak memory of the rebuild |\n|---|---|---|---|---|---|"
    );
    let servers: Vec<(usize, Process, String)> = sizes
        .into_iter()
        .map(|count| {
            let (data, note) = (place.join(count.to_string()), place.join(format!("{count}.middle")));
            if let Ok(middle) = std::fs::read_to_string(&note) {
                let (server, started) = started_kept(&data);
                println!("| {count} | there already | | {started:.2} s | | |");
                return (count, server, middle);
            }
            let began = Instant::now();
            let middle = load(&data, count);
            if kept.is_some() {
                std::fs::write(&note, &middle).unwrap();
            }
            let loaded = began.elapsed().as_secs_f64();
            let started = started(&data);
            std::fs::remove_dir_all(DataDir::catalog(&data).join("sled")).unwrap();
            let rebuilt = started_kept(&data);
            println!(
                "| {count} | {loaded:.1} s, {:.0} a second | {:.0} MiB | {started:.2} s | {:.2} s | {:.0} MiB |",
                count as f64 / loaded,
                own_peak_mib(),
                rebuilt.1,
                rebuilt.0.peak_mib()
            );
            drop(rebuilt);
            (count, started_kept(&data).0, middle)
        })
        .collect();
    pages(&servers, rounds);
    for (count, server, _) in &servers {
        println!("\nPeak memory with {count} images after all pages: {:.0} MiB", server.peak_mib());
    }
    drop(servers);
    creates(dir.path(), rounds);
}

fn started(data: &Path) -> f64 {
    started_kept(data).1
}

/// How long it takes from the command to the first answer.
fn started_kept(data: &Path) -> (Process, f64) {
    let began = Instant::now();
    let server = Process::visor(data);
    server.connect().request("GET", "/images?limit=1", "");
    (server, began.elapsed().as_secs_f64())
}

/// Fills a catalogue through the library, many changes in flight. Returns the id of an image in the middle.
fn load(data: &Path, count: usize) -> String {
    let catalog = Catalog::open(&DataDir::catalog(data), 64 << 20).unwrap();
    let middle = actix_web::rt::System::new().block_on(async {
        let inserts = (0..count).map(|n| catalog.insert(image(n)));
        let mut images = futures_util::stream::iter(inserts).buffered(256);
        let mut middle = None;
        let mut n = 0;
        while let Some(image) = images.next().await {
            // Even ones are x86_64, as the pages ask for.
            if n == count / 4 * 2 {
                middle = Some(image.unwrap().id.to_string());
            }
            n += 1;
        }
        middle.unwrap()
    });
    catalog.close();
    middle
}

fn image(n: usize) -> Image {
    let mut image = Image::blank(ImageId::random(), Timestamp(1_700_000_000_000_000 + 1_000_000 * n as i64));
    // Names in another order than ages.
    image.name = Some(format!("image-{:07}", n * 7919 % 10_000_000));
    image.visibility = Visibility::Public;
    image.architecture = Architecture::parse(if n.is_multiple_of(2) { "x86_64" } else { "i386" });
    image.format = Format::parse(if n.is_multiple_of(40) { "vdi" } else { "qcow2" });
    image.owner = Some("bench".into());
    for key in ["os_distro", "os_version", "description"] {
        image.properties.insert(key.into(), format!("some words about image number {n}"));
    }
    image
}

/// Each page at each size in turn, request by request: a machine that is faster for a while is so for all of them.
fn pages(servers: &[(usize, Process, String)], rounds: usize) {
    println!("\n| page of 20 | images | p50 µs | p99 µs | p50 to the smallest |\n|---|---|---|---|---|");
    for (words, query) in PAGES {
        let mut medians = vec![Vec::new(); servers.len()];
        let mut tails = vec![Vec::new(); servers.len()];
        for _ in 0..rounds {
            let mut connections: Vec<_> = servers.iter().map(|(_, server, _)| server.connect()).collect();
            let paths: Vec<_> =
                servers.iter().map(|(.., middle)| format!("/images?{}", query.replace("MARKER", middle))).collect();
            let mut times = vec![Vec::new(); servers.len()];
            for _ in 0..REQUESTS {
                for ((connection, path), times) in connections.iter_mut().zip(&paths).zip(&mut times) {
                    let began = Instant::now();
                    let body = connection.request("GET", path, "");
                    times.push(began.elapsed().as_secs_f64() * 1e6);
                    assert!(body.len() > 100, "a page has images");
                }
            }
            for (index, times) in times.iter_mut().enumerate() {
                medians[index].push(quantile(times, 0.5));
                tails[index].push(quantile(times, 0.99));
            }
        }
        for (index, (count, ..)) in servers.iter().enumerate() {
            let ratio = Spread::of(medians[index].iter().zip(&medians[0]).map(|(own, first)| own / first));
            let (p50, p99) = (Spread::of(medians[index].clone()), Spread::of(tails[index].clone()));
            println!("| {words} | {count} | {p50} | {p99} | {ratio} |");
        }
    }
}

/// Images without bytes, each acknowledged when it is durable, beside the bare sync of a small append on this disk.
fn creates(dir: &Path, rounds: usize) {
    let server = Process::visor(&dir.join("creates"));
    let clients = [1, 8, 64];
    let (mut rates, mut bare) = (vec![Vec::new(); clients.len()], Vec::new());
    for _ in 0..rounds {
        bare.push(syncs(&dir.join("syncs")));
        for (rates, clients) in rates.iter_mut().zip(clients) {
            let each = 1600 / clients;
            let began = Instant::now();
            std::thread::scope(|scope| {
                for client in 0..clients {
                    let server = &server;
                    scope.spawn(move || {
                        let mut connection = server.connect();
                        for n in 0..each {
                            let headers = format!(
                                "x-image-meta-name: {client}-{n}\r\nx-image-meta-architecture: i386\r\n\
                                 Content-Length: 0\r\n"
                            );
                            connection.request("POST", "/images", &headers);
                        }
                    });
                }
            });
            rates.push((each * clients) as f64 / began.elapsed().as_secs_f64());
        }
    }
    println!("\n| durable | a second | to the bare sync |\n|---|---|---|");
    println!("| append of 600 bytes and fdatasync, 1 thread | {} | 1 |", Spread::of(bare.clone()));
    for (rates, clients) in rates.iter().zip(clients) {
        let ratio = Spread::of(rates.iter().zip(&bare).map(|(rate, bare)| rate / bare));
        println!("| create over HTTP, {clients} clients | {} | {ratio} |", Spread::of(rates.clone()));
    }
}
