//! Digests of a file that is being filled: read behind the writer, out of the page cache, so that they slow neither it nor a reader,
//! and so that a file that was begun in another run is hashed in the same way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};
use tokio::task::spawn_blocking;

use super::fill::{Fill, Voucher};
use crate::digest;
use crate::vendor::{Sum, SumAlgorithm};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// Bytes hashed in one go on a thread that others wait for too.
const ROUND: u64 = 64 << 20;

/// Digests in the making, each as far as it came.
pub(super) struct Lanes(Vec<Lane>);

struct Lane {
    kind: Kind,
    at: u64,
}

enum Kind {
    Usual(digest::Hasher),
    Sha1(Sha1),
}

impl Kind {
    fn has(&self, algorithm: SumAlgorithm) -> bool {
        match (self, algorithm) {
            (Self::Usual(digest::Hasher::Sha512(_)), SumAlgorithm::Sha512) | (Self::Sha1(_), SumAlgorithm::Sha1) => {
                true
            }
            (Self::Usual(digest::Hasher::Sha512(_)) | Self::Sha1(_), _) => false,
            (Self::Usual(_), other) => matches!(other, SumAlgorithm::Md5 | SumAlgorithm::Sha256),
        }
    }
}

impl Lanes {
    /// MD5 and SHA-256.
    pub(super) fn new() -> Self {
        Self(vec![Lane { kind: Kind::Usual(digest::Hasher::new(digest::Algorithm::Both)), at: 0 }])
    }

    /// Adds what is missing for some sums.
    pub(super) fn want(&mut self, sums: &[Sum]) {
        for algorithm in sums.iter().map(Sum::algorithm) {
            let kind = match algorithm {
                _ if self.0.iter().any(|lane| lane.kind.has(algorithm)) => continue,
                SumAlgorithm::Sha1 => Kind::Sha1(Sha1::new()),
                _ => Kind::Usual(digest::Hasher::new(digest::Algorithm::Sha512)),
            };
            self.0.push(Lane { kind, at: 0 });
        }
    }

    /// Bytes that every lane has.
    pub(super) fn at(&self) -> u64 {
        self.0.iter().map(|lane| lane.at).min().unwrap_or(0)
    }

    /// Hashes up to `end`, or a round of it. Blocking.
    pub(super) fn advance(&mut self, file: &File, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        for lane in &mut self.0 {
            let end = end.min(lane.at + ROUND);
            while lane.at < end {
                let piece = &mut buffer[..usize::try_from(end - lane.at).unwrap_or(PIECE).min(PIECE)];
                file.read_exact_at(piece, lane.at)?;
                match &mut lane.kind {
                    Kind::Usual(hasher) => hasher.update(piece),
                    Kind::Sha1(hasher) => hasher.update(&*piece),
                }
                lane.at += piece.len() as u64;
            }
        }
        Ok(())
    }

    /// Digests, the strongest first.
    pub(super) fn finish(self) -> Vec<Sum> {
        let mut sums = Vec::new();
        for lane in self.0 {
            match lane.kind {
                Kind::Sha1(hasher) => sums.extend(Sum::new(SumAlgorithm::Sha1, hasher.finalize().to_vec())),
                Kind::Usual(hasher) => {
                    let digests = hasher.finish();
                    sums.extend(digests.md5.and_then(|bytes| Sum::new(SumAlgorithm::Md5, bytes)));
                    sums.extend(digests.sha256.and_then(|bytes| Sum::new(SumAlgorithm::Sha256, bytes)));
                    sums.extend(digests.sha512.and_then(|bytes| Sum::new(SumAlgorithm::Sha512, bytes)));
                }
            }
        }
        sums.sort_by_key(|sum| std::cmp::Reverse(sum.algorithm()));
        sums
    }
}

/// Hashes a fill to its end, with what its expectation needs.
pub(super) async fn follow(fill: Arc<Fill>) -> io::Result<Vec<Sum>> {
    let mut state = fill.state.subscribe();
    let mut lanes = Lanes::new();
    lanes.want(fill.given.as_ref().map_or(&[], |given| &given.sums));
    loop {
        let at = lanes.at();
        let (end, is_last) = {
            // The sender is a field of the fill, which is here.
            let decided = |state: &super::fill::FillState| state.complete && !matches!(state.proof, Voucher::Sought);
            let ready = state.wait_for(|state| state.extents.prefix() > at || decided(state)).await;
            let state = ready.map_err(io::Error::other)?;
            if let Voucher::Known(expectation) = &state.proof {
                lanes.want(&expectation.sums);
            }
            (state.extents.prefix(), decided(&state))
        };
        if is_last && lanes.at() == end {
            return Ok(lanes.finish());
        }
        let file = Arc::clone(&fill.file);
        let advanced = spawn_blocking(move || lanes.advance(&file, end).map(|()| lanes));
        lanes = advanced.await.map_err(io::Error::other)??;
        // Readers that wait for the verdict see that it comes nearer.
        fill.state.send_modify(|_| {});
    }
}
