//! Digests of bytes: md5 because clients compare it, sha256 because it can be trusted.

#[cfg_attr(not(target_arch = "x86_64"), path = "portable.rs")]
pub mod fused;

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use self::fused::Fused;

/// The digests of some bytes, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// For compatibility only: collisions are cheap to make.
    pub md5: Option<[u8; 16]>,
    /// The identity of the bytes.
    pub sha256: Option<[u8; 32]>,
    /// Computed on request only: Glance's clients compare it.
    pub sha512: Option<[u8; 64]>,
}

impl Digests {
    /// The md5 in lower-case hexadecimal.
    pub fn md5_hex(&self) -> Option<String> {
        self.md5.as_ref().map(|bytes| hex(bytes))
    }

    /// The sha256 in lower-case hexadecimal.
    pub fn sha256_hex(&self) -> Option<String> {
        self.sha256.as_ref().map(|bytes| hex(bytes))
    }

    /// The sha512 in lower-case hexadecimal.
    pub fn sha512_hex(&self) -> Option<String> {
        self.sha512.as_ref().map(|bytes| hex(bytes))
    }

    /// These digests, and those of `other` where these are unknown.
    pub fn or(self, other: Digests) -> Digests {
        Digests {
            md5: self.md5.or(other.md5),
            sha256: self.sha256.or(other.sha256),
            sha512: self.sha512.or(other.sha512),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that `N * 2` hexadecimal digits stand for.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|p| !p.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

/// Digests. Each can be computed on a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
    /// Both in one pass over the bytes, where this processor can; see [`Algorithm::for_images`].
    Both,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The digests that every image gets, each computed on a thread of its own: md5 because clients compare it,
    /// sha256 because it is the identity of the bytes.
    pub fn for_images() -> &'static [Self] {
        if Fused::new().is_some() { &[Self::Both] } else { &[Self::Md5, Self::Sha256] }
    }
}

/// Digests in the making.
pub enum Hasher {
    /// MD5.
    Md5(Md5),
    /// SHA-256.
    Sha256(Sha256),
    /// Both, one after the other.
    Both(Md5, Sha256),
    /// Both at once.
    Fused(Box<Fused>),
    /// SHA-512.
    Sha512(Box<Sha512>),
    /// SHA-256 that began with other bytes: of what two files hash to together, the second is the image's.
    Joint(Sha256),
}

impl Hasher {
    /// A fresh one.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Both => match Fused::new() {
                Some(both) => Self::Fused(Box::new(both)),
                None => Self::Both(Md5::new(), Sha256::new()),
            },
            Algorithm::Sha512 => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(state) => state.update(bytes),
            Self::Sha256(state) | Self::Joint(state) => state.update(bytes),
            Self::Both(md5, sha256) => {
                md5.update(bytes);
                sha256.update(bytes);
            }
            Self::Fused(both) => both.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// Takes more bytes into several at once, as [`Hasher::update`] does into each: cheaper where this processor can.
    pub fn update_together(hashers: &mut [(Self, Bytes)]) {
        let mut fused = Vec::with_capacity(hashers.len());
        for (hasher, bytes) in hashers {
            match hasher {
                Self::Fused(both) => fused.push((&mut **both, &**bytes)),
                other => other.update(bytes),
            }
        }
        Fused::update_together(&mut fused);
    }

    /// The digest of all bytes taken in. One that began with other bytes says nothing about these alone.
    pub fn finish(self) -> Digests {
        match self {
            Self::Joint(_) => Digests::default(),
            Self::Md5(state) => Digests { md5: Some(state.finalize().into()), ..Digests::default() },
            Self::Sha256(state) => Digests { sha256: Some(state.finalize().into()), ..Digests::default() },
            Self::Both(md5, sha256) => Digests {
                md5: Some(md5.finalize().into()),
                sha256: Some(sha256.finalize().into()),
                ..Digests::default()
            },
            Self::Fused(both) => both.finish(),
            Self::Sha512(state) => Digests { sha512: Some(state.finalize().into()), ..Digests::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(bytes: &[u8]) -> Digests {
        Algorithm::for_images().iter().copied().fold(Digests::default(), |all, algorithm| {
            let mut hasher = Hasher::new(algorithm);
            bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
            all.or(hasher.finish())
        })
    }

    #[test]
    fn without_the_instructions_the_digests_are_the_same() {
        let mut hasher = Hasher::Both(Md5::new(), Sha256::new());
        [b"ab".as_slice(), b"c"].iter().for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), digests(b"abc"));
    }

    #[test]
    fn together_is_as_one_by_one() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for streams in [1, 2, 3, 8, 11] {
            // Lengths that differ, and rounds that begin within a block.
            let piece = |stream: usize, round: usize| {
                let start = stream * 1000 + round;
                let length = [70_000, 64 * 5, 63, 0, 65_536 + stream, 64 * 64][(stream + round) % 6];
                Bytes::copy_from_slice(&bytes[start..start + length])
            };
            for alike in [true, false] {
                let mut together: Vec<_> = (0..streams).map(|_| (Hasher::new(Algorithm::Both), Bytes::new())).collect();
                let mut alone: Vec<_> = (0..streams).map(|_| Hasher::new(Algorithm::Both)).collect();
                for round in 0..4 {
                    for (stream, (_, chunk)) in together.iter_mut().enumerate() {
                        *chunk = if alike { piece(0, round * 6) } else { piece(stream, round) };
                        alone[stream].update(chunk);
                    }
                    Hasher::update_together(&mut together);
                }
                for ((hasher, _), alone) in together.into_iter().zip(alone) {
                    assert_eq!(hasher.finish(), alone.finish(), "{streams} {alike}");
                }
            }
        }
    }

    /// RFC 1321 A.5 and FIPS 180-2 B.1.
    #[test]
    fn published_vectors() {
        let abc = digests(b"abc");
        assert_eq!(abc.md5_hex().as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(
            abc.sha256_hex().as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }

    #[test]
    fn hexadecimal_goes_both_ways_and_refuses_the_rest() {
        assert_eq!(from_hex::<3>("00fFa1"), Some([0, 255, 161]));
        assert_eq!(hex(&[0, 255, 161]), "00ffa1");
        for bad in ["", "00ff", "00ffa", "zzzzzz", "+1+2+3", "é0ffa", "00ffa1a1"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }
}
