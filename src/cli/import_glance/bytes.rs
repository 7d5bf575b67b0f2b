//! The bytes of an image on their way: counted, hashed, and held back at their end until they are those that were announced.

use std::io::{Error, ErrorKind};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;

use super::plan::text;
use crate::client::Progress;
use crate::client::openstack::ByteStream;
use crate::digest::{Algorithm, Digests, Hasher};

/// Size and digest that a record announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) size: u64,
    /// The digest to compare, in hexadecimal: the strongest that is known here.
    digest: Option<(Algorithm, String)>,
}

/// The digest of a record by an algorithm.
pub(super) fn digest_of(record: &Value, algorithm: Algorithm) -> Option<&str> {
    let strong = text(record, "os_hash_value");
    let found = match (algorithm, text(record, "os_hash_algo")) {
        (Algorithm::Sha512, "sha512") | (Algorithm::Sha256, "sha256") | (Algorithm::Md5, "md5") => strong,
        (Algorithm::Md5, _) => text(record, "checksum"),
        _ => "",
    };
    (!found.is_empty()).then_some(found)
}

/// All algorithms, the strongest first.
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Md5];

/// A digest in hexadecimal.
pub(super) fn hex_of(digests: &Digests) -> Option<String> {
    digests.sha512_hex().or_else(|| digests.sha256_hex()).or_else(|| digests.md5_hex())
}

impl Announced {
    /// Reads a record; none if the size is not known there, as of an image under a URL whose server tells none.
    pub(super) fn of(record: &Value) -> Option<Self> {
        let size = record.get("size")?.as_u64()?;
        let digest = ALGORITHMS
            .into_iter()
            .find_map(|algorithm| digest_of(record, algorithm).map(|digest| (algorithm, digest.to_ascii_lowercase())));
        Some(Self { size, digest })
    }
}

/// A stream on its way.
struct Passing {
    from: ByteStream,
    hasher: Option<Hasher>,
    announced: Announced,
    passed: u64,
    held: Option<Bytes>,
    ended: bool,
    progress: Progress,
}

/// Passes the bytes on. Its last piece comes only when size and digest are right: a receiver that waits for `size` bytes never
/// has a whole image that is wrong.
pub(super) fn verified(
    from: ByteStream,
    announced: Announced,
    progress: Progress,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let hasher = announced.digest.as_ref().map(|(algorithm, _)| Hasher::new(*algorithm));
    let passing = Passing { from, hasher, announced, passed: 0, held: None, ended: false, progress };
    stream::try_unfold(passing, Passing::next).boxed()
}

impl Passing {
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        if self.ended {
            return Ok(None);
        }
        while let Some(piece) = self.from.next().await.transpose()? {
            if piece.is_empty() {
                continue;
            }
            self.passed += piece.len() as u64;
            if self.passed > self.announced.size {
                return Err(wrong("there are more bytes than announced"));
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&piece);
            }
            (self.progress)(self.passed);
            if let Some(before) = self.held.replace(piece) {
                return Ok(Some((before, self)));
            }
        }
        self.ended = true;
        if self.passed < self.announced.size {
            return Err(wrong("there are fewer bytes than announced"));
        }
        if let (Some(hasher), Some((_, expected))) = (self.hasher.take(), &self.announced.digest)
            && hex_of(&hasher.finish()).as_ref() != Some(expected)
        {
            return Err(wrong("the bytes do not have the announced digest"));
        }
        Ok(self.held.take().map(|last| (last, self)))
    }
}

/// A fault of the source, told from one of the connection.
fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    async fn pass(pieces: &[&'static str], record: Value) -> Result<String, String> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let mut passed = String::new();
        let mut stream = verified(stream::iter(pieces).boxed(), Announced::of(&record).unwrap(), Arc::new(|_| {}));
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => passed.push_str(std::str::from_utf8(&piece).unwrap()),
                Err(error) => return Err(format!("{passed}: {error}")),
            }
        }
        Ok(passed)
    }

    /// MD5, SHA-256 and SHA-512 of `hello`.
    const MD5: &str = "5d41402abc4b2a76b9719d911017c592";
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[tokio::test]
    async fn good_bytes_pass() {
        for record in [
            json!({ "size": 5 }),
            json!({ "size": 5, "checksum": MD5 }),
            json!({ "size": 5, "os_hash_algo": "sha256", "os_hash_value": SHA256.to_uppercase(), "checksum": "not looked at" }),
            json!({ "size": 5, "os_hash_algo": "blake2b", "os_hash_value": "not known", "checksum": MD5 }),
        ] {
            assert_eq!(pass(&["he", "", "llo"], record.clone()).await.as_deref(), Ok("hello"), "{record}");
        }
        assert_eq!(pass(&[], json!({ "size": 0 })).await.as_deref(), Ok(""));
    }

    #[test]
    fn without_a_size_nothing_is_announced() {
        for record in
            [json!({ "size": null }), json!({}), json!({ "size": -1 }), json!({ "size": "5", "checksum": MD5 })]
        {
            assert_eq!(Announced::of(&record), None, "{record}");
        }
    }

    #[tokio::test]
    async fn bad_bytes_never_arrive_whole() {
        for (pieces, record, word) in [
            (&["he", "llo"][..], json!({ "size": 5, "checksum": SHA256 }), "digest"),
            (&["he", "llp"], json!({ "size": 5, "os_hash_algo": "sha256", "os_hash_value": SHA256 }), "digest"),
            (&["he", "llo"], json!({ "size": 6 }), "fewer"),
            (&["he", "llo"], json!({ "size": 4 }), "more"),
            (&["hello"], json!({ "size": 5, "checksum": SHA256 }), "digest"),
            (&[], json!({ "size": 5 }), "fewer"),
        ] {
            let said = pass(pieces, record).await.unwrap_err();
            assert!(said.contains(word) && said.len() < 64 && !said.starts_with("hello"), "{said}");
        }
    }
}
