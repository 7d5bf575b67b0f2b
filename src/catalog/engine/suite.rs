//! The shared suite of the metadata seam: every engine runs it.

use std::ops::Bound;

use super::{Batch, Engine, EngineError, KeyRange, Table, after_prefix};

/// Checks the contract on an empty engine.
pub(crate) fn run(engine: &dyn Engine) {
    reads_what_was_committed(engine);
    guards_hold_or_nothing_happens(engine);
    scans_are_ordered_bounded_and_go_both_ways(engine);
    a_batch_covers_all_tables(engine);
    concurrent_counters_lose_nothing(engine);
    engine.close().unwrap();
}

fn commit(engine: &dyn Engine, build: impl FnOnce(&mut Batch)) -> Result<(), EngineError> {
    let mut batch = Batch::default();
    build(&mut batch);
    engine.commit(&batch)
}

fn reads_what_was_committed(engine: &dyn Engine) {
    assert_eq!(engine.get(Table::Image, b"absent").unwrap(), None);
    commit(engine, |b| b.put(Table::Image, "a", "1")).unwrap();
    commit(engine, |b| b.put(Table::Image, "a", "2")).unwrap();
    assert_eq!(engine.get(Table::Image, b"a").unwrap(), Some(b"2".to_vec()));
    assert_eq!(engine.get(Table::Access, b"a").unwrap(), None, "tables are apart");
    commit(engine, |b| b.put(Table::Image, "empty", "")).unwrap();
    assert_eq!(engine.get(Table::Image, b"empty").unwrap(), Some(Vec::new()), "an empty value is a value");
    commit(engine, |b| {
        b.put(Table::Image, "a", "3");
        b.delete(Table::Image, "a");
        b.delete(Table::Image, "empty");
        b.delete(Table::Image, "never there");
    })
    .unwrap();
    assert_eq!(engine.get(Table::Image, b"a").unwrap(), None, "later writes of a batch win");
}

fn guards_hold_or_nothing_happens(engine: &dyn Engine) {
    let guarded = |expect: Option<&str>, value: &str| {
        commit(engine, |b| {
            b.guard(Table::Meta, "lock", expect.map(Into::into));
            b.put(Table::Meta, "lock", value);
            b.put(Table::Image, "guarded", value);
        })
    };
    guarded(None, "1").unwrap();
    assert!(matches!(guarded(None, "2"), Err(EngineError::Conflict)));
    assert!(matches!(guarded(Some("0"), "2"), Err(EngineError::Conflict)));
    assert_eq!(engine.get(Table::Image, b"guarded").unwrap(), Some(b"1".to_vec()), "a refused batch changes nothing");
    guarded(Some("1"), "2").unwrap();
    assert_eq!(engine.get(Table::Image, b"guarded").unwrap(), Some(b"2".to_vec()));
    commit(engine, |b| b.delete(Table::Image, "guarded")).unwrap();
}

fn scans_are_ordered_bounded_and_go_both_ways(engine: &dyn Engine) {
    let keys: [&[u8]; 6] = [b"\x00", b"p", b"p\x00", b"pa", b"p\xff\xff", b"q"];
    commit(engine, |b| keys.iter().rev().for_each(|key| b.put(Table::Index, *key, *key))).unwrap();
    let scan = |range: &KeyRange, backwards, limit| -> Vec<Vec<u8>> {
        engine.scan(range, backwards, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    let all = KeyRange::all(Table::Index);
    assert_eq!(scan(&all, false, 100), keys);
    assert_eq!(scan(&all, true, 2), [keys[5], keys[4]]);
    assert_eq!(scan(&all, false, 0), Vec::<Vec<u8>>::new());
    let prefix = KeyRange::prefix(Table::Index, b"p");
    assert_eq!(scan(&prefix, false, 100), keys[1..5]);
    assert_eq!(scan(&prefix, true, 1), [keys[4]]);
    let between =
        KeyRange { table: Table::Index, start: Bound::Excluded(b"p".to_vec()), end: Bound::Included(b"pa".to_vec()) };
    assert_eq!(scan(&between, false, 100), keys[2..4]);
    let backwards =
        KeyRange { table: Table::Index, start: Bound::Included(b"q".to_vec()), end: Bound::Excluded(b"p".to_vec()) };
    assert_eq!(scan(&backwards, false, 100), Vec::<Vec<u8>>::new(), "a range that ends before it starts is empty");
    assert_eq!(after_prefix(b"\xff\xff"), Bound::Unbounded);
    commit(engine, |b| keys.iter().for_each(|key| b.delete(Table::Index, *key))).unwrap();
    assert!(scan(&all, false, 100).is_empty());
}

fn a_batch_covers_all_tables(engine: &dyn Engine) {
    commit(engine, |b| Table::ALL.iter().for_each(|table| b.put(*table, "all", table.name()))).unwrap();
    for table in Table::ALL {
        assert_eq!(engine.get(table, b"all").unwrap(), Some(table.name().into()));
    }
    commit(engine, |b| Table::ALL.iter().for_each(|table| b.delete(*table, "all"))).unwrap();
}

/// Four threads count up one key by guarded batches; every count has to arrive.
fn concurrent_counters_lose_nothing(engine: &dyn Engine) {
    const EACH: u32 = 50;
    let add_one = || {
        loop {
            let old = engine.get(Table::Meta, b"count").unwrap();
            let count = old.as_deref().map_or(0, |b| u32::from_be_bytes(b.try_into().unwrap()));
            let outcome = commit(engine, |b| {
                b.guard(Table::Meta, "count", old);
                b.put(Table::Meta, "count", (count + 1).to_be_bytes());
            });
            match outcome {
                Ok(()) => return,
                Err(EngineError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..EACH).for_each(|_| add_one()));
        }
    });
    assert_eq!(engine.get(Table::Meta, b"count").unwrap(), Some((4 * EACH).to_be_bytes().into()));
}
