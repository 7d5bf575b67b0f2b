//! MD5 of up to eight streams abreast, each in a lane of the vector unit: what one stream can't fill, because each of its
//! steps waits for the one before, eight fill together.
//!
//! `unsafe` for the reasons of the module above.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::{BLOCK, MD5_K};

/// Streams that are hashed side by side.
pub(super) const LANES: usize = 8;

/// Tells whether this processor has the instructions.
pub(super) fn able() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Takes the same number of whole blocks into each of up to eight states. HashStream without a stream do the first one's work
/// again.
pub(super) fn compress(states: &mut [&mut [u32; 4]], streams: &[&[u8]]) {
    let blocks = streams.iter().map(|stream| stream.len() / BLOCK).min().unwrap_or(0);
    if blocks == 0 || states.len() != streams.len() || streams.len() > LANES || !able() {
        return;
    }
    let mut words = [[0; LANES]; 4];
    let pointers: [*const u8; LANES] = std::array::from_fn(|lane| streams.get(lane).unwrap_or(&streams[0]).as_ptr());
    for (word, lanes) in words.iter_mut().enumerate() {
        *lanes = std::array::from_fn(|lane| states.get(lane).unwrap_or(&states[0])[word]);
    }
    // SAFETY: the instructions are there, and every stream has so many blocks.
    unsafe { compress_lanes(&mut words, &pointers, blocks) };
    for (lane, state) in states.iter_mut().enumerate() {
        **state = std::array::from_fn(|word| words[word][lane]);
    }
}

/// The eight words of each lane, turned into eight vectors of one word of all lanes.
#[target_feature(enable = "avx2")]
fn transposed(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pairs = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let ((a0, a1), (a2, a3)) = (pairs(r0, r1), pairs(r2, r3));
    let ((a4, a5), (a6, a7)) = (pairs(r4, r5), pairs(r6, r7));
    let fours = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let ((b0, b1), (b2, b3)) = (fours(a0, a2), fours(a1, a3));
    let ((b4, b5), (b6, b7)) = (fours(a4, a6), fours(a5, a7));
    let low = |a, b| _mm256_permute2x128_si256(a, b, 0x20);
    let high = |a, b| _mm256_permute2x128_si256(a, b, 0x31);
    [low(b0, b4), low(b1, b5), low(b2, b6), low(b3, b7), high(b0, b4), high(b1, b5), high(b2, b6), high(b3, b7)]
}

/// Takes whole blocks in.
///
/// # Safety
/// The processor has AVX2, and so many blocks can be read at each place.
#[target_feature(enable = "avx2")]
unsafe fn compress_lanes(state: &mut [[u32; LANES]; 4], streams: &[*const u8; LANES], blocks: usize) {
    // SAFETY: a row of the state is one vector.
    let load = |row: &[u32; LANES]| unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
    let [mut a, mut b, mut c, mut d] = [load(&state[0]), load(&state[1]), load(&state[2]), load(&state[3])];
    let ones = _mm256_set1_epi32(-1);
    for block in 0..blocks {
        // SAFETY: a block is two vectors, and the caller has so many blocks.
        let half = |n: usize| {
            streams.map(|stream| unsafe { _mm256_loadu_si256(stream.add(block * BLOCK).cast::<__m256i>().add(n)) })
        };
        let (first, second) = (transposed(half(0)), transposed(half(1)));
        let word = |n: usize| if n < 8 { first[n] } else { second[n - 8] };
        let before = (a, b, c, d);

        macro_rules! function {
            (f $b:ident $c:ident $d:ident) => {
                _mm256_xor_si256($d, _mm256_and_si256($b, _mm256_xor_si256($c, $d)))
            };
            (g $b:ident $c:ident $d:ident) => {
                _mm256_xor_si256($c, _mm256_and_si256($d, _mm256_xor_si256($b, $c)))
            };
            (h $b:ident $c:ident $d:ident) => {
                _mm256_xor_si256($b, _mm256_xor_si256($c, $d))
            };
            (i $b:ident $c:ident $d:ident) => {
                _mm256_xor_si256($c, _mm256_or_si256($b, _mm256_xor_si256($d, ones)))
            };
        }
        macro_rules! step {
            ($f:tt, $a:ident $b:ident $c:ident $d:ident, $i:expr, $word:expr, $shift:literal) => {
                let sum = _mm256_add_epi32(_mm256_add_epi32($a, _mm256_set1_epi32(MD5_K[$i] as i32)), word($word % 16));
                let sum = _mm256_add_epi32(sum, function!($f $b $c $d));
                let turned = _mm256_or_si256(_mm256_slli_epi32(sum, $shift), _mm256_srli_epi32(sum, 32 - $shift));
                $a = _mm256_add_epi32(turned, $b);
            };
        }
        macro_rules! sixteen {
            ($f:tt, $from:literal, $by:literal, $at:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
                sixteen!($f, $from, $by, $at, $s0, $s1, $s2, $s3, [0 4 8 12]);
            };
            ($f:tt, $from:literal, $by:literal, $at:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal, [$($n:literal)*]) => {
                $(
                    step!($f, a b c d, $from + $n, $n * $by + $at, $s0);
                    step!($f, d a b c, $from + $n + 1, ($n + 1) * $by + $at, $s1);
                    step!($f, c d a b, $from + $n + 2, ($n + 2) * $by + $at, $s2);
                    step!($f, b c d a, $from + $n + 3, ($n + 3) * $by + $at, $s3);
                )*
            };
        }
        sixteen!(f, 0, 1, 0, 7, 12, 17, 22);
        sixteen!(g, 16, 5, 1, 5, 9, 14, 20);
        sixteen!(h, 32, 3, 5, 4, 11, 16, 23);
        sixteen!(i, 48, 7, 0, 6, 10, 15, 21);
        a = _mm256_add_epi32(a, before.0);
        b = _mm256_add_epi32(b, before.1);
        c = _mm256_add_epi32(c, before.2);
        d = _mm256_add_epi32(d, before.3);
    }
    for (row, word) in state.iter_mut().zip([a, b, c, d]) {
        // SAFETY: a row of the state is one vector.
        unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), word) };
    }
}
