//! `Content-Disposition` (RFC 6266): the name under which a browser or `curl -OJ` saves an image. The owner of the
//! image chose it, so it may only be a plain name: no path, no hidden file, no control character.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that RFC 8187 leaves unencoded, as far as file names use them.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Maximum length of a name in characters; file systems allow 255 bytes.
const CHARS_MAX: usize = 60;

/// The header's value for a file of this name and format; `fallback` replaces an unusable name.
pub(super) fn attachment(name: Option<&str>, format: Option<&str>, fallback: &str) -> String {
    let safe = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let named: String = name.unwrap_or_default().trim().chars().map(safe).take(CHARS_MAX).collect();
    let named = named.trim_matches(['.', ' ', '_']);
    let stem = if named.is_empty() { fallback } else { named };
    let file = match format {
        Some(format) if !stem.to_ascii_lowercase().ends_with(&format!(".{format}")) => format!("{stem}.{format}"),
        _ => stem.to_owned(),
    };
    let plain: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() || "-._+".contains(c) { c } else { '_' }).collect();
    if plain == file {
        return format!("attachment; filename=\"{file}\"");
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(&file, PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_nothing_else() {
        for (name, format, expected) in [
            (Some("debian-13"), Some("iso"), "attachment; filename=\"debian-13.iso\""),
            (Some("Disk.ISO"), Some("iso"), "attachment; filename=\"Disk.ISO\""),
            (None, None, "attachment; filename=\"id\""),
            (Some("  "), Some("raw"), "attachment; filename=\"id.raw\""),
            (Some("../../etc/passwd"), None, "attachment; filename=\"etc_passwd\""),
            (Some(".bashrc"), None, "attachment; filename=\"bashrc\""),
            (Some("a\"; x=\"b\r\nc"), None, "attachment; filename=\"a___x__b__c\"; filename*=UTF-8''a_%3B%20x%3D_b__c"),
            (Some("Fünf"), Some("qcow2"), "attachment; filename=\"F_nf.qcow2\"; filename*=UTF-8''F%C3%BCnf.qcow2"),
        ] {
            assert_eq!(attachment(name, format, "id"), expected, "{name:?}");
        }
        assert!(attachment(Some(&"ü".repeat(300)), None, "id").len() < 500);
    }
}
