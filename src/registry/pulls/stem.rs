//! Names of files under URLs: the image that each would be, and what they tell of it. Values only.

use crate::cache::Key;
use crate::error::{Reason, Result};
use crate::image::{Architecture, Format};
use crate::registry::mirror::source::without_query;

/// Endings of compressed files, which are no part of an image's name.
const PACKED: [&str; 6] = [".xz", ".bz2", ".zst", ".gz", ".lz4", ".tar"];

/// Name of the file under a URL, without what tells how it is packed.
fn file_name(key: &Key) -> String {
    let file = without_query(key.url()).rsplit('/').next().unwrap_or_default();
    let file = percent_encoding::percent_decode_str(file).decode_utf8_lossy().into_owned();
    let mut name = file.as_str();
    while let Some(rest) = PACKED.iter().find_map(|ending| name.strip_suffix(ending)) {
        name = rest;
    }
    name.to_owned()
}

/// Format that a file's name tells. What ends in `img` may be of any.
pub(super) fn format_in(key: &Key) -> Option<Format> {
    let name = file_name(key);
    let (_, ending) = name.rsplit_once('.')?;
    Format::parse(ending).filter(|_| ending != "img")
}

/// Name of the image of the file under a URL.
///
/// # Errors
/// `UrlRefused` for one that has none.
pub(super) fn stem(key: &Key) -> Result<String> {
    let name = file_name(key);
    let stem = name.as_str();
    let stem = stem.rsplit_once('.').filter(|(_, ending)| is_disk_ending(ending)).map_or(stem, |(rest, _)| rest);
    // A name with a slash would be one of a vendor's.
    let stem: String = stem.replace('/', "-").chars().filter(|c| !c.is_control()).take(200).collect();
    match stem.trim_start_matches('.') {
        "" => Err(Reason::UrlRefused.about("it has no file name at its end")),
        stem => Ok(stem.to_owned()),
    }
}

fn is_disk_ending(ending: &str) -> bool {
    matches!(ending, "img" | "bin" | "dd") || Format::parse(ending).is_some()
}

/// Processor that a file's name tells.
pub(super) fn architecture_in(stem: &str) -> Option<Architecture> {
    // One word has the mark between the others in it.
    let stem = stem.replace("x86_64", "amd64").replace("x86-64", "amd64");
    stem.split(['-', '_', '.']).find_map(Architecture::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_is_that_of_its_image() {
        for (url, expected) in [
            ("https://h/a/noble-server-cloudimg-amd64.img", "noble-server-cloudimg-amd64"),
            ("https://h/a/disk-1.2.raw.xz?sig=x", "disk-1.2"),
            ("https://h/kali-2026.1-cloud-genericcloud-amd64.tar.xz", "kali-2026.1-cloud-genericcloud-amd64"),
            ("https://h/a%20b.qcow2", "a b"),
            ("https://h/.hidden.iso", "hidden"),
            ("https://h/v1.2", "v1.2"),
            ("https://evil/debian%2F13.qcow2", "debian-13"),
        ] {
            assert_eq!(stem(&Key::parse(url).unwrap()).unwrap(), expected, "{url}");
        }
        assert!(stem(&Key::parse("https://h/").unwrap()).is_err());
    }

    #[test]
    fn the_name_of_a_file_may_tell_the_processor() {
        for (stem, expected) in [
            ("noble-server-cloudimg-arm64", Some(Architecture::Aarch64)),
            ("Fedora-Cloud-44-1.7.x86_64", Some(Architecture::X86_64)),
            ("alpha", None),
            ("generic_alpine-3.23.0-x86_64-bios", Some(Architecture::X86_64)),
        ] {
            assert_eq!(architecture_in(stem), expected, "{stem}");
        }
    }
}
