//! MD5 and SHA-256 of the same bytes in one pass, on one core.
//!
//! MD5 is a chain in which each step waits for the one before, so most of a core stands idle beside it: between every
//! four of its steps four rounds of SHA-256 fit, in the vector unit, for a sixth more time. Two passes one after the
//! other cost a third more. MD5's steps are written as assembly because a compiler reorders their sums, and that
//! lengthens the chain. Everything here is tested against the crates `md-5` and `sha2`, which also stand in where a
//! processor lacks the instructions.
//!
//! This is the one place with `unsafe` code: it calls instructions after asking whether the processor has them, and
//! reads blocks inside slices whose length it has checked.
#![allow(unsafe_code, reason = "processor instructions; see above")]

mod multi_lane;

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use std::ops::Range;

use super::Digests;

/// Both work on blocks of this many bytes.
const BLOCK: usize = 64;

/// Of each of eight streams: together half of a core's second cache.
const TOGETHER_BYTES: usize = 32 << 10;

/// The constants of MD5 (RFC 1321, section 3.4).
const MD5_K: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8,
    0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
    0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87,
    0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
    0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039,
    0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
    0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
    0xeb86d391,
];

/// The constants of SHA-256 (FIPS 180-4, section 4.2.2).
static SHA_K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

/// Both digests in the making.
pub struct Fused {
    md5: [u32; 4],
    sha: [u32; 8],
    /// Bytes that are no whole block yet.
    rest: [u8; BLOCK],
    bytes: u64,
}

impl Fused {
    /// A fresh one; `None` when the processor lacks an instruction.
    pub fn new() -> Option<Self> {
        let able = is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3");
        (able && is_x86_feature_detected!("sse4.1")).then_some(Self {
            md5: [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476],
            sha: [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
            rest: [0; BLOCK],
            bytes: 0,
        })
    }

    /// Takes more bytes in.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let filled = (self.bytes % BLOCK as u64) as usize;
        self.bytes += bytes.len() as u64;
        if filled > 0 {
            let more = bytes.len().min(BLOCK - filled);
            self.rest[filled..filled + more].copy_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if filled + more < BLOCK {
                return;
            }
            let block = self.rest;
            self.take(&block, &block);
        }
        let whole = bytes.len() / BLOCK * BLOCK;
        self.take(&bytes[..whole], &bytes[..whole]);
        self.rest[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
    }

    /// Takes more bytes into several at once, as [`Fused::update`] does into each: cheaper from three on. The part of
    /// them that all have is taken in together.
    pub fn update_together(streams: &mut [(&mut Self, &[u8])]) {
        for group in streams.chunks_mut(multi_lane::LANES) {
            let aligned = group.iter().all(|(stream, _)| stream.bytes.is_multiple_of(BLOCK as u64));
            if group.len() >= 3 && aligned && multi_lane::able() {
                let common = group.iter().map(|(_, bytes)| bytes.len() / BLOCK * BLOCK).min().unwrap_or(0);
                // In pieces that stay in the cache until both have read them.
                for at in (0..common).step_by(TOGETHER_BYTES) {
                    Self::take_together(group, at..common.min(at + TOGETHER_BYTES));
                }
                group.iter_mut().for_each(|(_, bytes)| *bytes = &bytes[common..]);
            }
            group.iter_mut().for_each(|(stream, bytes)| stream.update(bytes));
        }
    }

    fn take_together(group: &mut [(&mut Self, &[u8])], range: Range<usize>) {
        for (stream, bytes) in group.iter_mut() {
            let (blocks, _) = bytes[range.clone()].as_chunks();
            sha2::block_api::compress256(&mut stream.sha, blocks);
            stream.bytes += range.len() as u64;
        }
        let (mut states, pieces): (Vec<_>, Vec<_>) =
            group.iter_mut().map(|(stream, bytes)| (&mut stream.md5, &bytes[range.clone()])).unzip();
        multi_lane::compress(&mut states, &pieces);
    }

    /// The digests of all bytes taken in.
    pub fn finish(mut self) -> Digests {
        let filled = (self.bytes % BLOCK as u64) as usize;
        let mut last = [0; 2 * BLOCK];
        last[..filled].copy_from_slice(&self.rest[..filled]);
        last[filled] = 0x80;
        let end = if filled < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        let bits = self.bytes.wrapping_mul(8);
        // They differ in the order of the length's bytes, and in nothing else before this.
        let mut other = last;
        last[end - 8..end].copy_from_slice(&bits.to_le_bytes());
        other[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        self.take(&last[..end], &other[..end]);
        let (mut md5, mut sha256) = ([0; 16], [0; 32]);
        md5.chunks_exact_mut(4).zip(self.md5).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        sha256.chunks_exact_mut(4).zip(self.sha).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
        Digests { md5: Some(md5), sha256: Some(sha256), ..Digests::default() }
    }

    /// Takes whole blocks in, as many for one as for the other.
    fn take(&mut self, for_md5: &[u8], for_sha: &[u8]) {
        let blocks = for_md5.len().min(for_sha.len()) / BLOCK;
        // SAFETY: `new` found the instructions, and both slices have as many blocks.
        unsafe { compress(&mut self.md5, &mut self.sha, for_md5.as_ptr(), for_sha.as_ptr(), blocks) }
    }
}

/// One step of MD5: `a` becomes what follows `b`. The arms differ in the function of `b`, `c` and `d`; each adds first
/// what does not wait for `b`.
macro_rules! step {
    ($p:ident, $a:ident, [$($function:literal),+], $word:expr, $k:expr, $shift:literal, $b:ident, $c:ident, $d:ident) => {
        // SAFETY: reads one word of the block at `p`, writes registers only.
        unsafe {
            asm!(
                "add {a:e}, dword ptr [{p} + {word}]",
                "add {a:e}, {k}",
                $($function,)+
                "rol {a:e}, {shift}",
                "add {a:e}, {b:e}",
                p = in(reg) $p,
                a = inout(reg) $a,
                b = in(reg) $b,
                c = in(reg) $c,
                d = in(reg) $d,
                t = out(reg) _,
                word = const ($word) % 16 * 4,
                k = const MD5_K[$k] as i32,
                shift = const $shift,
                options(pure, readonly, nostack)
            );
        }
    };
}

/// Takes whole blocks in.
///
/// # Safety
/// The processor has the instructions, and `blocks` blocks can be read at both places.
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn compress(md5: &mut [u32; 4], sha: &mut [u32; 8], for_md5: *const u8, for_sha: *const u8, blocks: usize) {
    let [mut a, mut b, mut c, mut d] = *md5;
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    // The instructions want the state as ABEF and CDGH.
    // SAFETY: eight words are two vectors.
    let (low, high) = unsafe { (_mm_loadu_si128(sha.as_ptr().cast()), _mm_loadu_si128(sha.as_ptr().add(4).cast())) };
    let (low, high) = (_mm_shuffle_epi32(low, 0xb1), _mm_shuffle_epi32(high, 0x1b));
    let (mut abef, mut cdgh) = (_mm_alignr_epi8(low, high, 8), _mm_blend_epi16(high, low, 0xf0));

    for block in 0..blocks {
        // SAFETY: the caller has so many blocks.
        let (p, q) = unsafe { (for_md5.add(block * BLOCK), for_sha.add(block * BLOCK).cast::<__m128i>()) };
        let before = (a, b, c, d, abef, cdgh);

        macro_rules! four {
            (f $i:literal) => {
                four!(
                    [
                        "mov {t:e}, {c:e}",
                        "xor {t:e}, {d:e}",
                        "and {t:e}, {b:e}",
                        "xor {t:e}, {d:e}",
                        "add {a:e}, {t:e}"
                    ],
                    $i,
                    1,
                    0,
                    7,
                    12,
                    17,
                    22
                )
            };
            (g $i:literal) => {
                four!(
                    [
                        "mov {t:e}, {d:e}",
                        "not {t:e}",
                        "and {t:e}, {c:e}",
                        "add {a:e}, {t:e}",
                        "mov {t:e}, {d:e}",
                        "and {t:e}, {b:e}",
                        "add {a:e}, {t:e}"
                    ],
                    $i,
                    5,
                    1,
                    5,
                    9,
                    14,
                    20
                )
            };
            (h $i:literal) => {
                four!(
                    ["mov {t:e}, {c:e}", "xor {t:e}, {d:e}", "xor {t:e}, {b:e}", "add {a:e}, {t:e}"],
                    $i,
                    3,
                    5,
                    4,
                    11,
                    16,
                    23
                )
            };
            (i $i:literal) => {
                four!(
                    ["mov {t:e}, {d:e}", "not {t:e}", "or {t:e}, {b:e}", "xor {t:e}, {c:e}", "add {a:e}, {t:e}"],
                    $i,
                    7,
                    0,
                    6,
                    10,
                    15,
                    21
                )
            };
            ($f:tt, $i:literal, $by:literal, $from:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
                step!(p, a, $f, $i * $by + $from, $i, $s0, b, c, d);
                step!(p, d, $f, ($i + 1) * $by + $from, $i + 1, $s1, a, b, c);
                step!(p, c, $f, ($i + 2) * $by + $from, $i + 2, $s2, d, a, b);
                step!(p, b, $f, ($i + 3) * $by + $from, $i + 3, $s3, c, d, a);
            };
        }
        macro_rules! rounds {
            ($i:literal, $w:ident) => {
                // SAFETY: four of 64 constants.
                let k = _mm_add_epi32($w, unsafe { _mm_loadu_si128(SHA_K.as_ptr().add($i).cast()) });
                cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
                abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
            };
        }
        macro_rules! schedule {
            ($w0:ident, $w1:ident, $w2:ident, $w3:ident) => {
                let sum = _mm_add_epi32(_mm_sha256msg1_epu32($w0, $w1), _mm_alignr_epi8($w3, $w2, 4));
                $w0 = _mm_sha256msg2_epu32(sum, $w3);
            };
        }
        macro_rules! load {
            ($n:literal) => {
                // SAFETY: a block is four vectors.
                _mm_shuffle_epi8(unsafe { _mm_loadu_si128(q.add($n)) }, swap)
            };
        }
        let (mut w0, mut w1, mut w2, mut w3) = (load!(0), load!(1), load!(2), load!(3));
        four!(f 0);
        rounds!(0, w0);
        four!(f 4);
        rounds!(4, w1);
        four!(f 8);
        rounds!(8, w2);
        four!(f 12);
        rounds!(12, w3);
        schedule!(w0, w1, w2, w3);
        four!(g 16);
        rounds!(16, w0);
        schedule!(w1, w2, w3, w0);
        four!(g 20);
        rounds!(20, w1);
        schedule!(w2, w3, w0, w1);
        four!(g 24);
        rounds!(24, w2);
        schedule!(w3, w0, w1, w2);
        four!(g 28);
        rounds!(28, w3);
        schedule!(w0, w1, w2, w3);
        four!(h 32);
        rounds!(32, w0);
        schedule!(w1, w2, w3, w0);
        four!(h 36);
        rounds!(36, w1);
        schedule!(w2, w3, w0, w1);
        four!(h 40);
        rounds!(40, w2);
        schedule!(w3, w0, w1, w2);
        four!(h 44);
        rounds!(44, w3);
        schedule!(w0, w1, w2, w3);
        four!(i 48);
        rounds!(48, w0);
        schedule!(w1, w2, w3, w0);
        four!(i 52);
        rounds!(52, w1);
        schedule!(w2, w3, w0, w1);
        four!(i 56);
        rounds!(56, w2);
        schedule!(w3, w0, w1, w2);
        four!(i 60);
        rounds!(60, w3);

        a = a.wrapping_add(before.0);
        b = b.wrapping_add(before.1);
        c = c.wrapping_add(before.2);
        d = d.wrapping_add(before.3);
        abef = _mm_add_epi32(abef, before.4);
        cdgh = _mm_add_epi32(cdgh, before.5);
    }

    *md5 = [a, b, c, d];
    let (low, high) = (_mm_shuffle_epi32(abef, 0x1b), _mm_shuffle_epi32(cdgh, 0xb1));
    // SAFETY: eight words are two vectors.
    unsafe {
        _mm_storeu_si128(sha.as_mut_ptr().cast(), _mm_blend_epi16(low, high, 0xf0));
        _mm_storeu_si128(sha.as_mut_ptr().add(4).cast(), _mm_alignr_epi8(high, low, 8));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    fn expected(bytes: &[u8]) -> Digests {
        Digests {
            md5: Some(md5::Md5::digest(bytes).into()),
            sha256: Some(sha2::Sha256::digest(bytes).into()),
            ..Digests::default()
        }
    }

    fn fused<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Digests> {
        let mut both = Fused::new()?;
        pieces.into_iter().for_each(|piece| both.update(piece));
        Some(both.finish())
    }

    /// Every length around one and two blocks, where padding takes another block.
    #[test]
    fn every_short_length_is_right() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 7 + 3) as u8).collect();
        for length in 0..bytes.len() {
            let Some(found) = fused([&bytes[..length]]) else { return };
            assert_eq!(found, expected(&bytes[..length]), "{length}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..400), 0..12)) {
            if let Some(found) = fused(pieces.iter().map(Vec::as_slice)) {
                prop_assert_eq!(found, expected(&pieces.concat()));
            }
        }
    }
}
