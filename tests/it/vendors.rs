//! The page about vendors: docs/cache.md says what the shipped catalogue says.

use visor::vendor::{Catalogue, Level, ListKind, Vendor};

/// Marks around the part of the page that is generated.
const MARKS: [&str; 2] = ["<!-- vendors -->\n", "<!-- /vendors -->\n"];

/// Meaning of the last columns.
const REMARK: &str = "
*yes*: the shape of its URLs, its list and its sums was read in public sources of 2026; ° : even that is from general knowledge. Which variants and
processors an entry has is general knowledge throughout, and no vendor was asked live: what differs can be put right by an entry of your own.
";

/// A key as people compare it.
fn short(key: &str) -> String {
    format!("`{}…{}`", &key[..8], &key[key.len() - 4..])
}

/// Words for the proof that a vendor gives.
fn verified_by(vendor: &Vendor) -> String {
    let rules = &vendor.rules;
    let names_digests = matches!(
        vendor.kind,
        ListKind::Simplestreams
            | ListKind::DebianJson
            | ListKind::FedoraJson
            | ListKind::CoreosStream
            | ListKind::OracleJson
    );
    let keys: Vec<String> = rules.keys.iter().map(|key| short(key)).collect();
    let keys = keys.join(", ");
    match rules.require {
        Level::Signature => format!("signed by {keys}"),
        Level::Weak => "md5 only".to_owned(),
        _ if !keys.is_empty() => format!("checksum over https; signed by {keys} where there is a signature"),
        _ if names_digests && rules.sums.is_empty() => "checksum in its list, over https".to_owned(),
        _ if rules.sums.is_empty() => "none".to_owned(),
        _ => "checksum over https".to_owned(),
    }
}

/// Place of a vendor's keys: in the program, or with the vendor.
fn keys_are(catalogue: &Catalogue, vendor: &Vendor) -> String {
    let keys = &vendor.rules.keys;
    let missing: Vec<&String> =
        keys.iter().filter(|key| !key.starts_with("RW") && !catalogue.keyring().has(key)).collect();
    match (keys.is_empty(), missing.is_empty()) {
        (true, _) => "–".to_owned(),
        (_, true) => "shipped".to_owned(),
        _ => format!("to be added: {}", missing.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn table() -> String {
    let catalogue = Catalogue::shipped();
    let mut table = String::from(
        "| vendor | names | list | verified by | required | keys | checked | remarks |\n|---|---|---|---|---|---|---|---|\n",
    );
    for vendor in catalogue.vendors() {
        let names: Vec<String> = vendor.known_names().iter().map(|name| format!("`{name}`")).collect();
        let checked = if vendor.checked { "yes" } else { "°" };
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {checked} | {} |\n",
            vendor.title,
            names.join(" "),
            vendor.kind.name(),
            verified_by(vendor),
            vendor.rules.require,
            keys_are(&catalogue, vendor),
            vendor.note
        ));
    }
    table.push_str(REMARK);
    table
}

/// The documentation says what the catalogue says. `VISOR_BLESS=1` writes it.
#[test]
fn the_page_has_the_catalogue() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cache.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (written, after) = rest.split_once(MARKS[1]).unwrap();
    let table = table();
    if std::env::var_os("VISOR_BLESS").is_some() {
        std::fs::write(path, format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1])).unwrap();
    } else {
        assert!(written == table, "docs/cache.md is not the catalogue: VISOR_BLESS=1 writes it");
    }
}
