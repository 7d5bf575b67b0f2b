//! Verification of derived data (index entries, state) against the rows.

use std::ops::Bound;

use super::embedded::open::stored;
use super::embedded::state::{State, each_row};
use super::engine::{Engine, KeyRange, Table};
use super::index::entries_of;
use super::keys::id_of;

/// Entries in one piece.
const PIECE: usize = 1024;

/// Most problems that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// Compares rows, index entries and state. Returns the problems as texts, and the number of images.
pub(crate) fn verify(engine: &dyn Engine) -> (Vec<String>, u64) {
    let mut problems = Problems::default();
    let images = match State::verify(engine) {
        Ok(state) => state.unwrap_or_default().images,
        Err(why) => {
            problems.add(format!("rows: {why}"));
            0
        }
    };
    let missing = each_row(engine, |_, image| {
        for key in entries_of(&image) {
            if engine.get(Table::Index, &key).map_err(|error| error.to_string())?.is_none() {
                problems.add(format!("image {}: an index entry is missing", image.id));
            }
        }
        Ok(())
    });
    if let Err(why) = missing.and_then(|()| stale_entries(engine, &mut problems)) {
        problems.add(why);
    }
    (problems.named(), images)
}

/// Entries without a matching row.
fn stale_entries(engine: &dyn Engine, problems: &mut Problems) -> Result<(), String> {
    let mut range = KeyRange::all(Table::Index);
    loop {
        let entries = engine.scan(&range, false, PIECE).map_err(|error| error.to_string())?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        range.start = Bound::Excluded(last.clone());
        for (key, _) in &entries {
            let id = id_of(key).ok_or("an index entry has no id")?;
            let known = stored(engine, id)?.is_some_and(|(image, _)| entries_of(&image).contains(key));
            if !known {
                problems.add(format!("image {id}: an index entry is out of date"));
            }
        }
    }
}

#[derive(Default)]
struct Problems {
    named: Vec<String>,
    more: usize,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn named(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more", self.more));
        }
        self.named
    }
}
