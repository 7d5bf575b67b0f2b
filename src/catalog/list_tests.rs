//! The cost of a page: what is read for it, counted, in catalogues of different sizes.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::embedded::open::{apply, with_row};
use super::embedded::state::State;
use super::engine::memory::MemoryEngine;
use super::engine::{Batch, Engine, EngineError, Entry, KeyRange, Table};
use super::list::list;
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{Attr, Format, Image, ImageId, Timestamp};

const LIMIT: usize = 20;

/// An engine that counts rows, keys that are looked up, and keys that are scanned.
#[derive(Debug, Default)]
struct Counting {
    memory: MemoryEngine,
    rows: AtomicUsize,
    looked_up: AtomicUsize,
    scanned: AtomicUsize,
}

impl Engine for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let count = if table == Table::Image { &self.rows } else { &self.looked_up };
        count.fetch_add(1, Ordering::Relaxed);
        self.memory.get(table, key)
    }

    fn scan(&self, range: &KeyRange, backwards: bool, limit: usize) -> Result<Vec<Entry>, EngineError> {
        let found = self.memory.scan(range, backwards, limit)?;
        self.scanned.fetch_add(found.len(), Ordering::Relaxed);
        Ok(found)
    }

    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        self.memory.commit(batch)
    }

    fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A catalogue of images with names in no order of their creation; `rare` says which are vdi.
fn catalogue(count: u32, rare: impl Fn(u32) -> bool) -> Counting {
    let (engine, mut state) = (Counting::default(), State::default());
    let mut batch = Batch::default();
    for n in 0..count {
        let mut image = Image::blank(ImageId::random(), Timestamp(i64::from(n.wrapping_mul(2_654_435_761))));
        image.name = Some(format!("image-{n:07}"));
        image.format = Some(if rare(n) { Format::Vdi } else { Format::Qcow2 });
        let row = with_row(image).unwrap();
        apply(&mut state, u64::from(n) + 1, row.0.id, None, Some(&row), &mut batch);
        if n % 1_000 == 999 {
            engine.commit(&std::mem::take(&mut batch)).unwrap();
        }
    }
    engine.commit(&batch).unwrap();
    engine
}

/// Rows, look-ups and scanned keys of a page of vdi by name.
async fn cost(engine: &Counting) -> (usize, usize, usize) {
    for count in [&engine.rows, &engine.looked_up, &engine.scanned] {
        count.store(0, Ordering::Relaxed);
    }
    let filter = Filter::spelled(Attr::Format, "vdi");
    let query = Query { filter, sort: Sort::by(Attr::Name, Direction::Ascending), limit: LIMIT, after: None };
    let page = list(engine, &query).await.unwrap();
    assert_eq!(page.images.len(), LIMIT);
    assert!(page.images.iter().all(|image| image.format == Some(Format::Vdi)));
    assert!(page.images.is_sorted_by_key(|image| image.name.clone()));
    [&engine.rows, &engine.looked_up, &engine.scanned].map(|count| count.load(Ordering::Relaxed)).into()
}

/// A value that one in forty has, in another order: as many rows are read from a large catalogue as from a small one.
#[tokio::test]
async fn a_rare_value_in_another_order_reads_no_more_rows_in_a_large_catalogue() {
    let small = cost(&catalogue(1_000, |n| n % 40 == 7)).await;
    let large = cost(&catalogue(30_000, |n| n % 40 == 7)).await;
    assert_eq!(small.0, 25, "all of them are gathered");
    assert!(large.0 <= LIMIT + 1, "{large:?}: what does not pass is not read");
    assert!(large.1 <= 1_100 && large.2 <= 2_000, "{large:?}: forty entries for each image of the page");
}

/// All images of the value at the end of the order: the walk is given up for the other way before it has cost much more.
#[tokio::test]
async fn a_walk_that_meets_nothing_is_given_up() {
    let engine = catalogue(30_000, |n| n >= 29_000);
    let (rows, looked_up, scanned) = cost(&engine).await;
    assert!(rows <= 1_000 + LIMIT, "{rows}");
    assert!(looked_up + scanned <= 25_000, "{looked_up} and {scanned}, and not all 30,000");
}

/// A value that most images have: looking it up first would cost more than it spares.
#[tokio::test]
async fn a_common_value_is_not_looked_up_for_long() {
    let engine = catalogue(5_000, |n| n % 50 > 0);
    let query = Query {
        filter: Filter::spelled(Attr::Format, "vdi"),
        sort: Sort::by(Attr::Name, Direction::Ascending),
        limit: 1_000,
        after: None,
    };
    assert_eq!(list(&engine, &query).await.unwrap().images.len(), 1_000);
    let looked_up = engine.looked_up.load(Ordering::Relaxed);
    assert!(looked_up <= 512, "{looked_up}");
}
