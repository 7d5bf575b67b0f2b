//! The history of the stored shape: steps over the JSON of a journal line, from each shape to the next. See README.md
//! beside this file for when a step is needed and how to write one.
//!
//! Knows JSON, and never today's types: they keep changing.

mod m0003_upload_in_its_ticket;
mod m0007_staged_bytes;

use serde_json::{Map, Value};

/// A step from the previous shape to `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Shape that the step produces.
    pub(super) to: u8,
    /// Changes a line that records an image. None where the defaults of the new fields suffice.
    pub(super) run: Option<fn(&mut Map<String, Value>)>,
}

/// Every step, in order, from shape 1 on.
static STEPS: &[Step] = &[
    Step { to: 2, run: None },
    m0003_upload_in_its_ticket::STEP,
    Step { to: 4, run: None },
    Step { to: 5, run: None },
    Step { to: 6, run: None },
    m0007_staged_bytes::STEP,
    // The next step goes here.
];

fn from(shape: u8) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().filter(move |step| step.to > shape)
}

/// Tells whether lines of this shape have to be changed before they are read.
pub(super) fn has_steps_from(shape: u8) -> bool {
    from(shape).any(|step| step.run.is_some())
}

/// Brings a line of an earlier shape that records an image to today's shape.
pub(super) fn run(shape: u8, line: &mut Map<String, Value>) {
    from(shape).filter_map(|step| step.run).for_each(|run| run(line));
}

#[cfg(test)]
mod tests;
