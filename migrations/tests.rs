use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::catalog::embedded::journal::{Bond, Journal, put_line};
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Engine, Table};
use crate::catalog::stored::{SHAPE, StoredImage};
use crate::catalog::tests::{check_fixture, fixture_images};

const CACHE: u64 = 16 << 20;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/fixtures").join(name)
}

/// The journal of a shape.
fn journal(shape: u8) -> String {
    std::fs::read_to_string(fixture(&format!("shape-{shape}.jsonl"))).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// A database of the time when layouts had versions.
fn load(dir: &Path, dump: &str) {
    let engine = SledEngine::open(dir, CACHE).unwrap();
    let mut batch = Batch::default();
    for line in std::fs::read_to_string(fixture(dump)).unwrap().lines() {
        let [table, key, value] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let table = Table::ALL.into_iter().find(|t| t.name() == table).unwrap();
        batch.put(table, bytes(key), bytes(value));
    }
    engine.commit(&batch).unwrap();
    engine.close().unwrap();
}

#[test]
fn steps_are_dense_and_stand_in_the_readme() {
    let readme = include_str!("README.md");
    for (position, step) in STEPS.iter().enumerate() {
        assert_eq!(usize::from(step.to), position + 2);
        assert!(readme.contains(&format!("\n| {} | ", step.to)), "{}", step.to);
    }
    assert_eq!(STEPS.last().unwrap().to, SHAPE);
}

#[test]
fn an_upload_moves_into_its_ticket() {
    let line = json!({ "op": "put", "image": { "ticket": { "boot": "x" } }, "resumable": { "offset": 4 } });
    let Value::Object(mut line) = line else { panic!("an object") };
    run(2, &mut line);
    let expected = json!({ "op": "put", "image": { "ticket": { "boot": "x", "resumable": { "offset": 4 } } } });
    assert_eq!(Value::Object(line.clone()), expected);
    run(2, &mut line);
    assert_eq!(Value::Object(line), expected, "a second time changes nothing");
    let Value::Object(mut line) = json!({ "op": "put", "image": { "ticket": null }, "resumable": null }) else {
        panic!("an object")
    };
    run(1, &mut line);
    assert_eq!(Value::Object(line), json!({ "op": "put", "image": { "ticket": null } }));
}

#[test]
fn bytes_that_may_be_staged_are_marked() {
    for (fallback, offset, marked) in [("fail", 9, true), ("fail", 4, false), ("discard", 9, false)] {
        let resumable = json!({ "offset": offset, "size_bytes": 9 });
        let Value::Object(mut line) =
            json!({ "image": { "ticket": { "fallback": fallback, "resumable": resumable } } })
        else {
            panic!("an object")
        };
        assert!(has_steps_from(6) && !has_steps_from(7));
        run(6, &mut line);
        let staged = line["image"]["ticket"]["resumable"].get("staged").and_then(Value::as_bool);
        assert_eq!(staged, marked.then_some(true), "{fallback} {offset}");
    }
    let Value::Object(mut line) = json!({ "image": { "ticket": null } }) else { panic!("an object") };
    run(6, &mut line);
    assert_eq!(Value::Object(line), json!({ "image": { "ticket": null } }));
}

/// Tells whether every field of a value is present and not empty.
fn is_full(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(all) => !all.is_empty() && all.iter().all(is_full),
        Value::Object(all) => !all.is_empty() && all.values().all(is_full),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The newest fixture is written by `VISOR_WRITE_FIXTURE=1 cargo test fixture`. A change of the shape raises its number.
#[test]
fn the_fixture_of_todays_number_is_of_todays_shape() {
    let [image] = &fixture_images(SHAPE)[..] else { panic!("one image") };
    assert!(is_full(&serde_json::to_value(StoredImage::from(image)).unwrap()), "the fixture is to have every field");
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 0, 0, std::iter::empty()).unwrap();
    journal.append(&put_line(1, image, Bond::default()).unwrap(), 1).unwrap();
    let lines = std::fs::read_to_string(dir.path().join("journal-1.jsonl")).unwrap();
    let path = fixture(&format!("shape-{SHAPE}.jsonl"));
    if std::env::var_os("VISOR_WRITE_FIXTURE").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    assert_eq!(self::journal(SHAPE), lines, "another shape has another number: see README.md");
}

#[test]
fn journals_of_every_shape_are_read() {
    for shape in 1..=SHAPE {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal-1.jsonl"), journal(shape)).unwrap();
        let catalog = Catalog::open(dir.path(), CACHE).unwrap();
        check_fixture(&catalog, shape);
        assert!(!catalog.may_have_lost_changes());
        assert_eq!(std::fs::read_to_string(dir.path().join("journal-1.jsonl")).unwrap(), journal(shape));
    }
}

/// Databases of old layouts, with the shape of their journals.
const LAYOUTS: [(&str, u8); 2] = [("v0001.dump", 1), ("v0002.dump", 3)];

#[test]
fn databases_of_every_layout_are_made_anew() {
    for (dump, shape) in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        load(&dir.path().join("sled"), dump);
        std::fs::write(dir.path().join("journal-1.jsonl"), journal(shape)).unwrap();
        for _ in 0..2 {
            let catalog = Catalog::open(dir.path(), CACHE).unwrap();
            check_fixture(&catalog, shape);
            assert!(!catalog.may_have_lost_changes());
            catalog.close();
        }
    }
}

/// A damaged journal may lack changes that only a database of an earlier shape has: nothing is deleted to serve without them.
#[test]
fn an_earlier_database_beside_a_damaged_journal_is_kept() {
    type Harm = fn(&str) -> Option<String>;
    let harms: [(&str, Harm); 4] = [
        ("no journal", |_| None),
        ("a line changed", |text| Some(text.replacen("kernel", "kernal", 1))),
        ("its beginning gone", |text| Some(text.split_once('\n').unwrap().1.to_owned())),
        ("its last line torn", |text| Some(text[..text.len() - 9].to_owned())),
    ];
    for (dump, shape) in LAYOUTS {
        for (name, harm) in &harms {
            let dir = tempfile::tempdir().unwrap();
            load(&dir.path().join("sled"), dump);
            let (path, harmed) = (dir.path().join("journal-1.jsonl"), harm(&journal(shape)));
            if let Some(text) = &harmed {
                std::fs::write(&path, text).unwrap();
            }
            let refused = Catalog::open(dir.path(), CACHE).unwrap_err().to_string();
            let told = ["earlier visor", "Nothing was changed", "sled away"].map(|part| refused.contains(part));
            assert_eq!(told, [true; 3], "{name}: {refused}");
            assert_eq!(std::fs::read_to_string(&path).ok(), harmed, "{name}");
            // As the refusal says: the server serves the rest of the journal and reports the loss.
            std::fs::rename(dir.path().join("sled"), dir.path().join("away")).unwrap();
            let catalog = Catalog::open(dir.path(), CACHE).unwrap();
            let torn = harmed.as_ref().is_none_or(|text| !text.ends_with('\n'));
            assert_eq!(catalog.may_have_lost_changes(), !torn, "{name}");
        }
    }
}
