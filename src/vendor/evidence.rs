//! Evidence in words: one line for people on whose word the digests of a file rest.

use super::expectation::Evidence;
use super::level::Level;
use super::place::{last_part, origin};
use super::signature::{Signed, day};
use super::sum::Sum;

/// Evidence of a document without a signature that counts: where it was asked for, where it came from, and the file that it is about.
pub(super) fn unsigned(asked: &str, came_from: &str, file: &str, sums: &[Sum]) -> Evidence {
    let name = last_part(asked);
    let weak = sums.iter().all(|sum| sum.algorithm().is_weak());
    let (scheme, host) = origin(came_from);
    let of = if host == origin(file).1 { "the same host" } else { host };
    let (level, words) = match (weak, scheme) {
        (true, _) => (Level::Weak, format!("matches {name}: guards against accidents only")),
        (false, "https") => (Level::Checksum, format!("matches {name} of {of}, over https")),
        (false, _) => {
            (Level::Checksum, format!("matches {name} of {of}, over http: it can have been changed on the way"))
        }
    };
    Evidence { level, words, documents: vec![asked.to_owned()], ..Evidence::default() }
}

/// Evidence of a good signature by a vendor: over a list, or over the file itself.
pub(super) fn signed(title: &str, signed: &Signed, over_file: bool, documents: Vec<String>) -> Evidence {
    let when = match (signed.at.map(day), over_file) {
        (Some(day), false) => format!(", sums of {day}"),
        (Some(day), true) => format!(", the file itself, {day}"),
        (None, false) => String::new(),
        (None, true) => ", the file itself".to_owned(),
    };
    Evidence {
        level: Level::Signature,
        words: format!("signed by {title} ({}){when}", short(&signed.key)),
        fingerprint: Some(signed.key.clone()),
        signed_at: signed.at.map(|at| at.0),
        documents,
    }
}

/// A key's fingerprint, or its line, as people compare it: its beginning and its end.
fn short(key: &str) -> String {
    if !key.is_ascii() || key.len() < 12 {
        return key.to_owned();
    }
    let between = if key.bytes().all(|byte| byte.is_ascii_hexdigit()) { " " } else { "" };
    format!("{}{between}{}…{}", &key[..4], &key[4..8], &key[key.len() - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Timestamp;

    #[test]
    fn words_say_on_whose_word() {
        let key = "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81".to_owned();
        let at = Some(Timestamp(1_767_600_000_000_000));
        let by = |signed_by: &Signed, over_file| signed("Ubuntu Cloud Images", signed_by, over_file, Vec::new()).words;
        let ubuntu = Signed { key, at };
        assert_eq!(by(&ubuntu, false), "signed by Ubuntu Cloud Images (D2EB 4462…7C81), sums of 2026-01-05");
        assert_eq!(by(&ubuntu, true), "signed by Ubuntu Cloud Images (D2EB 4462…7C81), the file itself, 2026-01-05");
        let line = Signed { key: "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".to_owned(), at: None };
        assert_eq!(by(&line, false), "signed by Ubuntu Cloud Images (RWQf6LRC…GFO3)");
        let sums = [Sum::of_hex(&"a".repeat(64)).unwrap(), Sum::of_hex(&"a".repeat(32)).unwrap()];
        let words = |came_from, sums| unsigned("https://h/SHA256SUMS", came_from, "https://h/x.img", sums);
        assert_eq!(words("https://h/SHA256SUMS", &sums).words, "matches SHA256SUMS of the same host, over https");
        assert_eq!(words("https://mirror/SHA256SUMS", &sums).words, "matches SHA256SUMS of mirror, over https");
        let http = "matches SHA256SUMS of the same host, over http: it can have been changed on the way";
        assert_eq!(words("http://h/SHA256SUMS", &sums).words, http);
        let weak = words("https://h/SHA256SUMS", &sums[1..]);
        assert_eq!(
            (weak.level, weak.words.as_str()),
            (Level::Weak, "matches SHA256SUMS: guards against accidents only")
        );
    }
}
