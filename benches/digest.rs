//! MD5 and SHA-256 of the same bytes on one core: in one pass, and one after the other with the crates that are the
//! reference. `cargo bench --bench digest -- --rounds 9`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::time::Instant;

use common::{MIB, Spread, argument, noise};
use visor::digest::{Algorithm, Hasher};

/// So much is hashed in a round, in pieces that stay in the cache, as an upload's buffers do.
const PIECES: usize = 512;

fn main() {
    let rounds = argument("--rounds", 9);
    let piece = noise(MIB);
    let run = |algorithms: &[Algorithm]| {
        let mut hashers: Vec<Hasher> = algorithms.iter().copied().map(Hasher::new).collect();
        let began = Instant::now();
        for _ in 0..PIECES {
            hashers.iter_mut().for_each(|hasher| hasher.update(&piece));
        }
        hashers.into_iter().for_each(|hasher| _ = std::hint::black_box(hasher.finish()));
        (PIECES * MIB) as f64 / 1e9 / began.elapsed().as_secs_f64()
    };
    let together = |streams: usize| {
        let mut hashers: Vec<_> =
            (0..streams).map(|_| (Hasher::new(Algorithm::Both), bytes::Bytes::copy_from_slice(&piece))).collect();
        let began = Instant::now();
        for _ in 0..PIECES / streams {
            Hasher::update_together(&mut hashers);
        }
        hashers.into_iter().for_each(|(hasher, _)| _ = std::hint::black_box(hasher.finish()));
        (PIECES / streams * streams * MIB) as f64 / 1e9 / began.elapsed().as_secs_f64()
    };
    let kinds: [(&str, &[Algorithm]); 5] = [
        ("both, as one upload has them", &[Algorithm::Both]),
        ("md-5, then sha2", &[Algorithm::Md5, Algorithm::Sha256]),
        ("md-5", &[Algorithm::Md5]),
        ("sha2", &[Algorithm::Sha256]),
        ("sha2, sha512", &[Algorithm::Sha512]),
    ];
    let crowds = [3, 4, 8];
    let mut speeds = vec![Vec::new(); kinds.len()];
    let mut crowded = vec![Vec::new(); crowds.len()];
    for _ in 0..rounds {
        for ((_, algorithms), speeds) in kinds.iter().zip(&mut speeds) {
            speeds.push(run(algorithms));
        }
        for (streams, speeds) in crowds.into_iter().zip(&mut crowded) {
            speeds.push(together(streams));
        }
    }
    println!("| one core | GB/s | to `md-5`, then `sha2` |\n|---|---|---|");
    let line = |name: &str, own: &[f64]| {
        let ratio = Spread::of(own.iter().zip(&speeds[1]).map(|(own, other)| own / other));
        println!("| {name} | {} | {ratio} |", Spread::of(own.iter().copied()));
    };
    kinds.iter().zip(&speeds).for_each(|((name, _), own)| line(name, own));
    crowds.iter().zip(&crowded).for_each(|(streams, own)| line(&format!("both, of {streams} uploads together"), own));
}
