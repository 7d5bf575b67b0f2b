//! Looks after the start, in the background, whether every row has its index entries.
//!
//! Rows are checked before the first answer, because they say so themselves when one is lost. Entries are ten times as
//! many, and a lost one hides an image from some lists: not worth waiting for at every start, and not to be left to
//! chance either.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::commit::{Current, current};
use super::engine::{Engine, Table};
use super::index::entries_of;
use super::load::stored;
use super::state::each_row;

/// After so many rows it rests, for as long as they took: requests come first.
const ROWS: usize = 64;

/// A check that is running.
#[derive(Debug)]
pub(crate) struct Audit {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts it. `tell` is told what is wrong with which engine.
    pub(crate) fn start(
        engine: &Current,
        tell: impl FnOnce(String, Arc<dyn Engine>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, engine) = (Arc::new(AtomicBool::new(false)), current(engine));
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("catalog-audit".into()).spawn(move || {
            if let Err(why) = check(&*engine, &flag) {
                tell(why, engine);
            }
        })?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends it, finished or not.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the check of the index ended in a panic");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Looks for every entry of every row, unless told to stop.
///
/// # Errors
/// In words, what is missing.
fn check(engine: &dyn Engine, stop: &AtomicBool) -> Result<(), String> {
    let (mut rows, mut began, mut stopped) = (0, Instant::now(), false);
    let checked = each_row(engine, |bytes, image| {
        rows += 1;
        if rows % ROWS == 0 {
            std::thread::sleep(began.elapsed());
            began = Instant::now();
        }
        if stop.load(Ordering::Relaxed) {
            stopped = true;
            return Err("stopped".into());
        }
        for key in entries_of(&image) {
            let there = || engine.get(Table::Index, &key).map_err(|error| error.to_string());
            if there()?.is_some() {
                continue;
            }
            // A row and its entries change in one step: if this is still the row, the entry should be there.
            let same = stored(engine, image.id)?.is_some_and(|(_, row)| row == bytes);
            if same && there()?.is_none() {
                return Err(format!("an index entry of image {} is missing", image.id));
            }
        }
        Ok(())
    });
    if stopped { Ok(()) } else { checked }
}
