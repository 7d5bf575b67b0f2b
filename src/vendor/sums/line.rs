//! Lines of a list of checksums, each on its own: what form it has and what it says. Knows nothing of the other lines.

use crate::vendor::sum::{Sum, SumAlgorithm};

/// Content of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SumsLine {
    /// Digest of a named file.
    Named(Sum, String),
    /// Digest alone: the document's own name says of what.
    Bare(Sum),
    /// Digest with a name that is of no algorithm known here, or under a heading of one.
    Unknown,
    /// Length of a named file, in bytes.
    Size(u64, String),
    /// Heading: the algorithm of the lines below, `None` when it is not one of ours.
    Heading(Option<SumAlgorithm>),
    /// Nothing about a file: blank, comment, text.
    Other,
    /// Digest of another length than the algorithm has that the line names.
    Disagrees(SumAlgorithm),
}

/// Reads a line without its end.
pub(super) fn read(line: &str) -> SumsLine {
    if let Some(comment) = line.strip_prefix('#') {
        return read_comment(comment.trim());
    }
    let (escaped, line) = line.strip_prefix('\\').map_or((false, line), |rest| (true, rest));
    let name = |name: &str| if escaped { unescaped(name) } else { name.to_owned() };
    if let Some((algorithm, named, digest)) = tagged(line) {
        let Some(algorithm) = algorithm_named(algorithm) else { return SumsLine::Unknown };
        return match Sum::of_hex(digest).filter(|sum| sum.algorithm() == algorithm) {
            Some(sum) => SumsLine::Named(sum, name(named)),
            None => SumsLine::Disagrees(algorithm),
        };
    }
    let digits = line.bytes().take_while(u8::is_ascii_hexdigit).count();
    let (digest, rest) = line.split_at(digits);
    let Some(sum) = Sum::of_hex(digest) else { return SumsLine::Other };
    if rest.trim().is_empty() {
        return SumsLine::Bare(sum);
    }
    let Some(rest) = rest.strip_prefix([' ', '\t']) else { return SumsLine::Other };
    // A second blank is text mode's, `*` binary mode's. Some vendors write one blank only.
    SumsLine::Named(sum, name(rest.strip_prefix([' ', '*']).unwrap_or(rest)))
}

/// Reads a comment: a length, a heading, or nothing.
fn read_comment(comment: &str) -> SumsLine {
    if let Some(of) = comment.strip_suffix(" HASH") {
        return SumsLine::Heading(algorithm_named(of));
    }
    let size = comment.strip_suffix(" bytes").and_then(|rest| rest.rsplit_once(": "));
    match size.and_then(|(name, count)| Some((name, count.parse().ok()?))) {
        Some((name, count)) => SumsLine::Size(count, name.to_owned()),
        None => SumsLine::Other,
    }
}

/// Takes a line in BSD's form apart: `SHA256 (name) = digest`, with or without the blanks, as OpenSSL writes it.
fn tagged(line: &str) -> Option<(&str, &str, &str)> {
    let (algorithm, rest) = line.split_once('(')?;
    let algorithm = algorithm.trim_end();
    let word = algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_'));
    if algorithm.is_empty() || !word || Sum::of_hex(algorithm).is_some() {
        return None;
    }
    let (name, digest) = rest.rsplit_once(')')?;
    let digest = digest.trim().strip_prefix('=')?.trim();
    Some((algorithm, name, digest))
}

/// Algorithm of a name, in the spellings that vendors use.
pub(super) fn algorithm_named(name: &str) -> Option<SumAlgorithm> {
    match name.to_ascii_uppercase().as_str() {
        "SHA512" | "SHA-512" | "SHA2-512" => Some(SumAlgorithm::Sha512),
        "SHA256" | "SHA-256" | "SHA2-256" => Some(SumAlgorithm::Sha256),
        "SHA1" | "SHA-1" => Some(SumAlgorithm::Sha1),
        "MD5" => Some(SumAlgorithm::Md5),
        _ => None,
    }
}

/// Undoes the escapes of a name: `\\`, `\n` and `\r`. Others stay as they are.
fn unescaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(next) = rest.next() {
        let escape = if next == '\\' { rest.clone().next() } else { None };
        let meant = match escape {
            Some('\\') => '\\',
            Some('n') => '\n',
            Some('r') => '\r',
            _ => {
                text.push(next);
                continue;
            }
        };
        rest.next();
        text.push(meant);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: SumAlgorithm) -> (Sum, String) {
        let hex = "aB".repeat(algorithm.length());
        (Sum::of_hex(&hex).unwrap(), hex)
    }

    #[test]
    fn each_form_of_a_line_is_read() {
        for algorithm in SumAlgorithm::ALL {
            let (sum, hex) = sum(algorithm);
            let named = |name: &str| SumsLine::Named(sum.clone(), name.to_owned());
            let tag = algorithm.name().to_ascii_uppercase();
            for (line, is) in [
                (format!("{hex}  a b.img"), named("a b.img")),
                (format!("{hex} *a.img"), named("a.img")),
                (format!("{hex} a.img"), named("a.img")),
                (format!("{hex}\ta.img"), named("a.img")),
                (format!("{hex}   a.img"), named(" a.img")),
                (format!("{hex}  *a.img"), named("*a.img")),
                (format!("\\{hex}  a\\\\b\\nc\\rd\\te\\"), named("a\\b\nc\rd\\te\\")),
                (format!("{tag} (a (1).img) = {hex}"), named("a (1).img")),
                (format!("{tag}(a.img)= {hex}"), named("a.img")),
                (format!("\\{tag} (a\\nb) = {hex}"), named("a\nb")),
                (format!("{hex}  (a) = b"), named("(a) = b")),
                (hex.clone(), SumsLine::Bare(sum.clone())),
                (format!("{hex} "), SumsLine::Bare(sum.clone())),
                (format!("{tag} (a.img) = {hex}0"), SumsLine::Disagrees(algorithm)),
                (format!("{tag} (a.img) = "), SumsLine::Disagrees(algorithm)),
                (format!("{hex}x  a.img"), SumsLine::Other),
                (format!("{hex}0  a.img"), SumsLine::Other),
            ] {
                assert_eq!(read(&line), is, "{line:?}");
            }
        }
    }

    #[test]
    fn names_of_algorithms_are_spelled_in_several_ways() {
        let (sha256, hex) = sum(SumAlgorithm::Sha256);
        for tag in ["SHA2-256", "SHA-256", "sha256"] {
            assert_eq!(read(&format!("{tag} (a) = {hex}")), SumsLine::Named(sha256.clone(), "a".into()));
        }
        assert_eq!(read(&format!("RMD160 (a) = {}", "a".repeat(40))), SumsLine::Unknown);
        assert_eq!(read("# SHA512 HASH"), SumsLine::Heading(Some(SumAlgorithm::Sha512)));
        assert_eq!(read("# BLAKE2B HASH"), SumsLine::Heading(None));
    }

    #[test]
    fn comments_have_sizes() {
        assert_eq!(read("# a: b.qcow2: 536870912 bytes"), SumsLine::Size(536_870_912, "a: b.qcow2".into()));
        for other in ["", "# text", "# a: many bytes", "# a: -1 bytes", "#", "<html>", "Hash: SHA256", "\\", "a (b) c"]
        {
            assert_eq!(read(other), SumsLine::Other, "{other:?}");
        }
    }
}
