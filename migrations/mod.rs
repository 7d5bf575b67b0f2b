//! The history of the catalogue's layout: numbered steps from each version to the next. See README.md beside this
//! file for when a step is needed and how to write one.
//!
//! Knows the engine seam, and never today's row types: a step carries frozen copies of what it reads.

mod m0001_initial_layout;
mod m0002_container_index;

use crate::catalog::engine::{Engine, EngineError, KeyRange, Table};

/// Under which key of the meta table the version stands: a big-endian u32.
const VERSION_KEY: &[u8] = b"layout";

/// A step from the version before `to` to `to`.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The version after it.
    pub to: u32,
    /// Its name, as in the table of README.md.
    pub name: &'static str,
    /// Does it, in bounded batches. May find a part of its work done by an earlier, interrupted run. Does not
    /// write the version: that is committed behind it.
    pub run: fn(&dyn Engine) -> Result<(), EngineError>,
}

/// Every step, in order.
pub static STEPS: &[Step] = &[
    m0001_initial_layout::STEP,
    m0002_container_index::STEP,
    // The next step goes here.
];

/// Why a layout could not be brought to this program's version.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Written by a newer program.
    #[error("the catalogue has layout {found}, this program knows up to {known}: use a newer visor")]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// There are entries but no version.
    #[error("the catalogue has entries but does not say in which layout")]
    Unstamped,
    /// The engine failed, or a step did.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Brings an engine to the newest layout. Safe to interrupt anywhere and run again.
///
/// # Errors
/// See [`MigrationError`]; nothing is written when the layout is newer or unknown.
pub fn run(engine: &dyn Engine, steps: &[Step]) -> Result<(), MigrationError> {
    let known = steps.last().map_or(0, |step| step.to);
    let Some(found) = version(engine)? else {
        for table in Table::ALL {
            if !engine.scan(&KeyRange::all(table), false, 1)?.is_empty() {
                return Err(MigrationError::Unstamped);
            }
        }
        stamp(engine, None, known)?;
        return Ok(());
    };
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    for step in steps.iter().filter(|step| step.to > found) {
        log::info!("catalogue layout {}: {}", step.to, step.name);
        (step.run)(engine)?;
        stamp(engine, Some(step.to - 1), step.to)?;
    }
    Ok(())
}

/// The layout version of an engine, if it has one.
fn version(engine: &dyn Engine) -> Result<Option<u32>, EngineError> {
    let Some(bytes) = engine.get(Table::Meta, VERSION_KEY)? else { return Ok(None) };
    let bytes = bytes.try_into().map_err(|_| EngineError::Broken("its layout version can't be read".into()))?;
    Ok(Some(u32::from_be_bytes(bytes)))
}

fn stamp(engine: &dyn Engine, before: Option<u32>, after: u32) -> Result<(), EngineError> {
    let mut batch = crate::catalog::engine::Batch::default();
    batch.guard(Table::Meta, VERSION_KEY, before.map(|version| version.to_be_bytes().to_vec()));
    batch.put(Table::Meta, VERSION_KEY, version_bytes(after));
    engine.commit(&batch)
}

fn version_bytes(version: u32) -> [u8; 4] {
    version.to_be_bytes()
}

#[cfg(test)]
mod tests;
