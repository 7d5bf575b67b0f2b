use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::catalog::engine::memory::MemoryEngine;
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Entry};
use crate::digest::hex;

fn contents(engine: &dyn Engine) -> Vec<(Table, Vec<Entry>)> {
    Table::ALL.into_iter().map(|table| (table, engine.scan(&KeyRange::all(table), false, 10_000).unwrap())).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn load(engine: &dyn Engine, dump: &str) {
    let mut batch = Batch::default();
    for line in dump.lines() {
        let [table, key, value] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let table = Table::ALL.into_iter().find(|t| t.name() == table).unwrap();
        batch.put(table, bytes(key), bytes(value));
    }
    engine.commit(&batch).unwrap();
}

/// The form of the fixtures. `VISOR_WRITE_FIXTURE=1 cargo test fixture` writes the newest one.
fn dump(engine: &dyn Engine) -> String {
    contents(engine)
        .into_iter()
        .flat_map(|(table, entries)| {
            entries.into_iter().map(move |(key, value)| format!("{} {} {}\n", table.name(), hex(&key), hex(&value)))
        })
        .collect()
}

#[test]
fn steps_are_dense_and_stand_in_the_readme() {
    let readme = include_str!("README.md");
    for (position, step) in STEPS.iter().enumerate() {
        assert_eq!(step.to as usize, position + 1);
        assert!(readme.contains(&format!("| {} | {} |", step.to, step.name)), "{}", step.name);
    }
}

#[test]
fn an_empty_engine_is_stamped_with_the_newest() {
    let engine = MemoryEngine::default();
    run(&engine, STEPS).unwrap();
    assert_eq!(version(&engine).unwrap(), Some(STEPS.len() as u32));
    let before = contents(&engine);
    run(&engine, STEPS).unwrap();
    assert_eq!(contents(&engine), before, "a second run changes nothing");
}

#[test]
fn newer_and_unstamped_layouts_are_refused_untouched() {
    let engine = MemoryEngine::default();
    stamp(&engine, None, 99).unwrap();
    let before = contents(&engine);
    let error = run(&engine, STEPS).unwrap_err().to_string();
    assert!(error.contains("99") && error.contains(&STEPS.len().to_string()), "{error}");
    assert_eq!(contents(&engine), before);

    let engine = MemoryEngine::default();
    load(&engine, "image 00 00");
    let before = contents(&engine);
    assert!(matches!(run(&engine, STEPS), Err(MigrationError::Unstamped)));
    assert_eq!(contents(&engine), before);
}

/// A step that fails after each of its batches in turn, and is run again: the end is always the same.
#[test]
fn a_step_may_be_interrupted_after_every_batch() {
    static BATCHES_LEFT: AtomicU32 = AtomicU32::new(0);
    fn double(engine: &dyn Engine) -> Result<(), EngineError> {
        for (key, value) in engine.scan(&KeyRange::all(Table::Access), false, 100)? {
            if value.len() == 1 {
                if BATCHES_LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
                    return Err(EngineError::Broken("interrupted".into()));
                }
                let mut batch = Batch::default();
                batch.put(Table::Access, key, [value[0], value[0]]);
                engine.commit(&batch)?;
            }
        }
        Ok(())
    }
    let steps = [STEPS[0], Step { to: 2, name: "double", run: double }];
    for batches in 0..4 {
        let engine = MemoryEngine::default();
        run(&engine, &steps[..1]).unwrap();
        load(&engine, "access 01 0a\naccess 02 0b\naccess 03 0c");
        BATCHES_LEFT.store(batches, Ordering::SeqCst);
        assert_eq!(run(&engine, &steps).is_ok(), batches == 3);
        BATCHES_LEFT.store(9, Ordering::SeqCst);
        run(&engine, &steps).unwrap();
        assert_eq!(version(&engine).unwrap(), Some(2));
        assert!(dump(&engine).contains("access 02 0b0b\n"));
    }
}

/// Every fixture, on both engines, is brought to the newest layout and read by today's program.
#[test]
fn fixtures_of_every_version_are_read() {
    let fixture = |version: u32| format!("{}/migrations/fixtures/v{version:04}.dump", env!("CARGO_MANIFEST_DIR"));
    let newest = STEPS.len() as u32;
    if std::env::var_os("VISOR_WRITE_FIXTURE").is_some() {
        let engine = MemoryEngine::default();
        run(&engine, STEPS).unwrap();
        crate::catalog::tests::fill_for_fixture(&engine, newest);
        std::fs::write(fixture(newest), dump(&engine)).unwrap();
    }
    for found in 1..=newest {
        let text = std::fs::read_to_string(fixture(found)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engines: [Box<dyn Engine>; 2] =
            [Box::new(MemoryEngine::default()), Box::new(SledEngine::open(dir.path(), 16 << 20).unwrap())];
        for engine in engines {
            load(&*engine, &text);
            assert_eq!(version(&*engine).unwrap(), Some(found));
            run(&*engine, STEPS).unwrap();
            crate::catalog::tests::check_fixture(&*engine, found);
            // A crash may come between a step's work and its stamp: then the work is done again.
            let done = contents(&*engine);
            STEPS.iter().filter(|step| step.to > found).for_each(|step| (step.run)(&*engine).unwrap());
            assert!(contents(&*engine) == done);
        }
    }
}
