//! The directory of a cache as a killed server leaves it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Files that nothing speaks of, and files of JSON that speak of nothing.
pub(super) fn unaccounted(cache: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (bytes, texts) in [("files", "entries"), ("partial", "partial"), ("quarantine", "quarantine")] {
        let all = names(&cache.join(texts));
        let spoken_of: BTreeSet<_> = all.iter().filter_map(|name| name.strip_suffix(".json")).collect();
        let files = names(&cache.join(bytes));
        let files: BTreeSet<_> = files.iter().map(String::as_str).filter(|name| !name.ends_with(".json")).collect();
        found.extend(spoken_of.symmetric_difference(&files).map(|name| format!("{bytes}/{name}")));
    }
    let kept = ["entries", "files", "id", "partial", "quarantine"];
    found.extend(names(cache).into_iter().filter(|name| !kept.contains(&name.as_str())));
    found
}

/// Holds entries and transfers to the contents of their files, which `versions` gives for a URL: each is of one of them.
pub(super) fn check<'a>(cache: &Path, versions: impl Fn(&str) -> Option<&'a [Vec<u8>]>) {
    for room in ["entries", "partial"] {
        for name in names(&cache.join(room)).iter().filter(|name| name.ends_with(".json")) {
            let text = std::fs::read(cache.join(room).join(name)).unwrap();
            let value: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{room}/{name}: {error}"));
            let Some(versions) = versions(value["key"].as_str().unwrap()) else { continue };
            let stem = name.trim_end_matches(".json");
            let file = cache.join(if room == "entries" { "files" } else { "partial" }).join(stem);
            // A server that dies between two steps leaves the text without the file.
            let Ok(bytes) = std::fs::read(file) else { continue };
            let is_of = |version: &Vec<u8>| match room {
                "entries" => bytes == *version,
                _ => spans(&value).all(|(start, end)| version.get(start..end) == bytes.get(start..end)),
            };
            assert!(versions.iter().any(is_of), "{room}/{name} is of no content: {value}");
        }
    }
}

/// Spans that a transfer goes on with.
fn spans(sidecar: &Value) -> impl Iterator<Item = (usize, usize)> {
    let place = |value: &Value| value.as_u64().unwrap() as usize;
    sidecar["written"].as_array().unwrap().iter().map(move |span| (place(&span[0]), place(&span[1])))
}
