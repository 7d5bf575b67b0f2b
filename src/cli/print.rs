//! Standard output, for data only. A reader that closes it early is no failure.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use super::failure::Failure;
use crate::client::Record;

/// Columns of the brief table: title, attribute, width, length of the rule below. As the original prints them, columns
/// with one blank between, rules with two: its last two rules are off by one.
const COLUMNS: [(&str, &str, usize, usize); 7] = [
    ("ID", "_id", 37, 36),
    ("NAME", "name", 22, 21),
    ("ARCHITECTURE", "architecture", 13, 12),
    ("TYPE", "type", 10, 9),
    ("FORMAT", "format", 8, 6),
    ("STORE", "store", 10, 10),
    ("SIZE", "size", 10, 10),
];

/// The order of a record's lines; others follow as they came.
const ORDER: [&str; 16] = [
    "_id",
    "uri",
    "name",
    "architecture",
    "access",
    "status",
    "type",
    "format",
    "size",
    "store",
    "location",
    "kernel",
    "ramdisk",
    "created_at",
    "updated_at",
    "checksum",
];

/// Prints a line.
pub(super) fn line(text: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader, such as `head`, has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::general(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A number of things: `1 image`, `2 images`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{end}")
}

/// Writes a value for people.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        // Text from a server must not move the cursor of the terminal.
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Some(other) => other.to_string(),
    }
}

/// The table of brief records.
pub(super) fn table(records: &[Record]) -> String {
    // A column is as wide as the original's, or as its longest cell.
    let columns = COLUMNS.map(|(title, name, width, rule)| {
        let longest = records.iter().map(|record| text(record.get(name)).chars().count()).max().unwrap_or(0);
        let more = longest.saturating_sub(width);
        (title, name, width + more, rule + more)
    });
    let titles: Vec<String> = columns.iter().map(|(title, _, width, _)| format!("{title:<width$}")).collect();
    let rules: Vec<String> = columns.iter().map(|(_, _, _, rule)| "-".repeat(*rule)).collect();
    let mut lines = vec![titles.join(" ").trim_end().to_owned(), rules.join("  ")];
    for record in records {
        let cells = columns.iter().map(|(_, name, width, _)| format!("{:<width$}", text(record.get(*name))));
        lines.push(cells.collect::<Vec<_>>().join(" ").trim_end().to_owned());
    }
    lines.join("\n")
}

/// Writes a record, one attribute per line.
pub(super) fn record(record: &Record) -> String {
    let known = ORDER.iter().map(|name| (*name, record.get(*name)));
    let others = record.iter().filter(|(name, _)| !ORDER.contains(&name.as_str()));
    let all = known.chain(others.map(|(name, value)| (name.as_str(), Some(value))));
    let lines: Vec<String> = all.map(|(name, value)| format!("{:>12}: {}", name.to_uppercase(), text(value))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let json = serde_json::json!({ "_id": "x", "name": "a", "size": 12, "os": "linux" });
        json.as_object().unwrap().clone()
    }

    #[test]
    fn the_table_has_the_originals_columns() {
        let table = table(&[sample()]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with("ID                                    NAME                   ARCHITECTURE  TYPE")
        );
        let rules: Vec<usize> = lines[1].match_indices("  -").map(|(at, _)| at + 2).collect();
        let titles: Vec<usize> =
            COLUMNS[1..].iter().map(|(title, ..)| lines[0].find(&format!(" {title}")).unwrap() + 1).collect();
        assert_eq!(rules[..4], titles[..4], "each title stands over its rule");
        assert!(lines[2].ends_with("12"));
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|number| count(number, "image")), ["0 images", "1 image", "2 images"]);
    }

    #[test]
    fn a_long_name_moves_its_column_and_not_its_line() {
        let mut long = sample();
        long.insert("name".to_owned(), "ubuntu/24.04:20260105+container-disk".into());
        long.insert("architecture".to_owned(), "x86_64".into());
        let table = super::table(&[sample(), long]);
        let lines: Vec<&str> = table.lines().collect();
        let at = lines[0].find("ARCHITECTURE").unwrap();
        assert_eq!((lines[1].as_bytes()[at - 1], lines[1].as_bytes()[at]), (b' ', b'-'), "{table}");
        assert_eq!(lines[3].find("x86_64"), Some(at), "{table}");
    }

    #[test]
    fn terminals_are_not_controlled_by_servers() {
        assert_eq!(text(Some(&"a\u{1b}[2Jb\u{9b}\nü".into())), "a\u{fffd}[2Jb\u{fffd}\u{fffd}ü");
    }

    #[test]
    fn records_have_the_originals_order() {
        let text = record(&sample());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "         _ID: x");
        assert_eq!(lines[3], "ARCHITECTURE: -");
        assert_eq!(lines[lines.len() - 1], "          OS: linux");
    }
}
